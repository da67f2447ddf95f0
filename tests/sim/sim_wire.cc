#include "tests/sim/sim_wire.h"

#include "tests/support/tls_world.h"

namespace penstock {
namespace {

class PlainWire final : public SimWire {
 public:
  PlainWire(SimTransport& transport, uint32_t listener, const PeerAddress& peer)
      : transport_(transport), number_(transport.client_connect(listener, peer)) {}
  void send(std::string_view bytes) override { transport_.client_send(number_, bytes); }
  std::string take(size_t bytes_max) override { return transport_.client_take(number_, bytes_max); }
  void half_close() override { transport_.client_half_close(number_); }
  void reset() override { transport_.client_reset(number_); }
  State state() override { return transport_.client_state(number_); }

 private:
  SimTransport& transport_;
  uint32_t number_;
};

class TlsWire final : public SimWire {
 public:
  TlsWire(std::unique_ptr<SimWire> below, const std::string& protocol)
      : below_(std::move(below)), client_({.server_name = "sim.test", .protocols = {protocol}}) {
    client_.step();
    push();
  }
  void send(std::string_view bytes) override {
    held_ += bytes;
    push();
  }
  std::string take(size_t bytes_max) override {
    client_.feed(below_->take(client_.done() ? bytes_max : SIZE_MAX));
    client_.step();
    std::string got;
    while (client_.done()) {
      const std::string more = client_.read(16'384);
      if (more.empty()) break;
      got += more;
    }
    push();
    return got;
  }
  void half_close() override {
    closes_ = true;
    push();
  }
  void reset() override { below_->reset(); }
  State state() override { return below_->state(); }
  std::string fault() const override {
    if (client_.failed()) return "TLS broke";
    const bool cut_off = below_->state() == State::FINISHED && client_.done() && !client_.closed();
    return cut_off ? "the end of a TLS connection that says no goodbye" : "";
  }

 private:
  void push() {
    if (client_.done() && !held_.empty()) {
      client_.write(held_);
      held_.clear();
    }
    const bool ends = closes_ && !closed_ && client_.done();
    if (ends) client_.goodbye();
    below_->send(client_.take_output());
    if (ends) below_->half_close();
    closed_ = closed_ || ends;
  }

  std::unique_ptr<SimWire> below_;
  test::TlsClient client_;
  std::string held_;  // until the handshake is done
  bool closes_ = false;
  bool closed_ = false;
};

}  // namespace

std::unique_ptr<SimWire> make_sim_wire(SimProtocol protocol, SimTransport& transport, uint32_t listener,
                                       const PeerAddress& peer) {
  std::unique_ptr<SimWire> wire = std::make_unique<PlainWire>(transport, listener, peer);
  if (is_over_tls(protocol)) {
    wire = std::make_unique<TlsWire>(std::move(wire), is_over_h2(protocol) ? "h2" : "http/1.1");
  }
#ifdef PENSTOCK_HTTP2
  if (is_over_h2(protocol)) return make_sim_h2_wire(std::move(wire));
#endif
  return wire;
}

}  // namespace penstock
