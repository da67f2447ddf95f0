#include "tests/unit/transport/tls_peers.h"

#include "src/tls/tls_transport.h"
#include "tests/support/fake_kernel_tls.h"
#include "tests/support/tls_world.h"

#include <algorithm>

namespace penstock::test {
namespace {

class TlsWorld;

class TlsPeer final : public Peer {
 public:
  TlsPeer(TlsWorld& world, std::unique_ptr<Peer> inner);
  ~TlsPeer() override;

  size_t write(std::string_view bytes) override {
    constexpr size_t SOCKET_BYTES = 65'536;
    bytes = bytes.substr(0, held_.size() + out_.size() < SOCKET_BYTES ? SOCKET_BYTES : 0);
    held_ += bytes;
    drive();
    return bytes.size();
  }
  std::string read(size_t bytes_max) override {
    drive();
    std::string got;
    while (got.size() < bytes_max && client_.done()) {
      const std::string more = client_.read(bytes_max - got.size());
      got += more;
      if (!more.empty()) continue;
      if (client_.closed() || client_.failed()) break;
      const std::string cipher = inner_->read(20'000);
      if (cipher.empty()) break;
      client_.feed(cipher);
    }
    if (got.empty() && client_.closed()) (void)inner_->read(1);
    return got;
  }
  End end() override { return inner_->end(); }
  void half_close() override {
    closes_ = true;
    drive();
  }
  void reset() override { inner_->reset(); }
  PeerAddress address() override { return inner_->address(); }

  // The handshake, and what waits to be sent; reads nothing once the handshake is done.
  void drive() {
    while (!client_.done() && !client_.failed()) {
      client_.feed(inner_->read(20'000));
      client_.step();
      const std::string fresh = client_.take_output();
      out_ += fresh;
      push();
      if (fresh.empty()) break;
    }
    if (client_.done() && !held_.empty()) {
      client_.write(held_);
      held_.clear();
    }
    if (client_.done() && closes_ && !said_goodbye_) {
      client_.goodbye();
      said_goodbye_ = true;
    }
    out_ += client_.take_output();
    push();
    if (said_goodbye_ && out_.empty() && !half_closed_) {
      inner_->half_close();
      half_closed_ = true;
    }
  }

 private:
  void push() {
    while (!out_.empty()) {
      const size_t taken = inner_->write(out_);
      if (taken == 0) return;
      out_.erase(0, taken);
    }
  }

  TlsWorld& world_;
  std::unique_ptr<Peer> inner_;
  TlsClient client_;
  std::string held_;  // plaintext that waits for the handshake
  std::string out_;   // ciphertext that the socket has not taken
  bool closes_ = false;
  bool said_goodbye_ = false;
  bool half_closed_ = false;
};

class TlsWorld final : public World {
 public:
  TlsWorld(std::unique_ptr<World> inner, const TransportOptions& options, bool with_kernel)
      : inner_(std::move(inner)),
        kernel_(inner_->transport(), {.chunk_max = 20'000}),
        tls_(with_kernel ? kernel_ : inner_->transport(), *parts_.context, nullptr, clock_, options) {
    tls_.set_layers(1, {.tls = true});
  }
  Transport& transport() override { return tls_; }
  bool listen(Family family, uint32_t id) override {
    tls_.set_layers(id, {.tls = true});
    return inner_->listen(family, id);
  }
  void unlisten(uint32_t id) override { inner_->unlisten(id); }
  std::unique_ptr<Peer> connect(uint32_t listener, bool slow) override {
    auto peer = inner_->connect(listener, slow);
    return peer == nullptr ? nullptr : std::make_unique<TlsPeer>(*this, std::move(peer));
  }
  void add_wake(uint32_t id) override { inner_->add_wake(id); }
  void wake(uint32_t id) override { inner_->wake(id); }
  std::vector<std::string> violations() override {
    std::vector<std::string> found = inner_->violations();
    found.insert(found.end(), kernel_.violations().begin(), kernel_.violations().end());
    if (tls_.blocks_taken() != 0) found.push_back("blocks of ciphertext are left");
    if (tls_.buffers_lent() != 0) found.push_back("buffers of plaintext are left");
    return found;
  }
  void drive(MonoTime now) override {
    inner_->drive(now);
    for (TlsPeer* peer : peers_) peer->drive();
  }
  MonoTime next_happening() override { return inner_->next_happening(); }
  bool waits_for_machine() override { return inner_->waits_for_machine(); }
  void add(TlsPeer* peer) { peers_.push_back(peer); }
  void remove(TlsPeer* peer) { std::erase(peers_, peer); }

 private:
  std::vector<TlsPeer*> peers_;
  RealClock clock_;
  TlsParts parts_;
  std::unique_ptr<World> inner_;
  FakeKernelTls kernel_;
  TlsTransport tls_;
};

TlsPeer::TlsPeer(TlsWorld& world, std::unique_ptr<Peer> inner) : world_(world), inner_(std::move(inner)) {
  world_.add(this);
  drive();
}
TlsPeer::~TlsPeer() { world_.remove(this); }

}  // namespace

std::unique_ptr<World> make_tls_world(std::unique_ptr<World> inner, const TransportOptions& options, bool with_kernel) {
  return std::make_unique<TlsWorld>(std::move(inner), options, with_kernel);
}

}  // namespace penstock::test
