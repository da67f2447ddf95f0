// One request of HTTP/2 and its answer of 1 KiB through H2Transport: frames in, an HTTP/1.1 head up, an HTTP/1.1 answer
// down, frames out. Nothing but that layer and nghttp2: the transport below and the server above are a few lines here.
//
// For instructions instead of time: valgrind --tool=callgrind build/perf/micro/h2_bench 20000
#include "src/base/bytes.h"
#include "src/http/h2/h2_transport.h"

#include <array>
#include <chrono>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

namespace penstock {
namespace {

constexpr uint32_t STREAMS = 32;
constexpr Handle CONNECTION{.index = 0, .generation = 1};

// A connection on which a client asks for STREAMS answers at once, and for the next as soon as it has them.
class Wire final : public Transport {
 public:
  explicit Wire(uint32_t requests) : left_(requests) {
    nghttp2_hd_deflater* deflater = nullptr;
    (void)nghttp2_hd_deflate_new(&deflater, 4096);
    first_ = block(deflater);
    next_ = block(deflater);
    nghttp2_hd_deflate_del(deflater);
    const std::string settings("\0\0\6\4\0\0\0\0\0\0\4\x3f\xff\xff\xff", 15);
    const std::string window("\0\0\4\x8\0\0\0\0\0\x3f\xff\xff\xff", 13);
    received_ = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + window;
  }

  [[nodiscard]] const char* name() const override { return "wire"; }
  [[nodiscard]] size_t poll(MonoTime, MonoTime, std::span<TransportEvent> out) override {
    if (!accepted_) {
      accepted_ = true;
      out[0] = {.conn = CONNECTION, .kind = TransportEventKind::ACCEPTED};
      return 1;
    }
    size_t count = 0;
    if (sending_) out[count++] = {.conn = CONNECTION, .kind = TransportEventKind::SENT};
    sending_ = false;
    if (!lent_ && answered_ == asked_ && left_ > 0) {
      for (uint32_t i = 0; i < STREAMS && left_ > 0; ++i, --left_) ask();
      lent_ = true;
      out[count++] = {.conn = CONNECTION,
                      .data = received_.data(),
                      .size = static_cast<uint32_t>(received_.size()),
                      .kind = TransportEventKind::RECEIVED};
    }
    return count;
  }
  void release(uint32_t) override {
    lent_ = false;
    received_.clear();
  }
  void send(Handle, std::span<const SendPart> parts, bool) override {
    sending_ = true;
    for (const SendPart& part : parts) bytes_ += part.size;
  }
  void answered() { ++answered_; }
  [[nodiscard]] uint64_t bytes() const { return bytes_; }
  [[nodiscard]] uint32_t answers() const { return answered_; }

  [[nodiscard]] LayerFacts layer(Handle) const override { return {.secure = true, .protocol = "h2"}; }
  [[nodiscard]] Status add_listener(int, uint32_t) override { return {}; }
  void remove_listener(uint32_t) override {}
  void pause_accept(bool) override {}
  void set_zerocopy_min(uint32_t) override {}
  [[nodiscard]] Status add_wake_source(int, uint32_t) override { return {}; }
  [[nodiscard]] bool is_open(Handle) const override { return true; }
  [[nodiscard]] uint32_t connection_count() const override { return 1; }
  void set_context(Handle, void*) override {}
  [[nodiscard]] uint64_t bytes_sent(Handle) const override { return bytes_; }
  void set_receiving(Handle, bool) override {}
  void shutdown_send(Handle) override {}
  bool close(Handle) override { return false; }
  bool reset(Handle) override { return false; }
  [[nodiscard]] PeerAddress local_address(Handle) const override { return {}; }
  [[nodiscard]] const TransportCounters& counters() const override { return counters_; }

 private:
  static std::string block(nghttp2_hd_deflater* deflater) {
    std::array<nghttp2_nv, 5> fields;
    const std::array<std::pair<std::string, std::string>, 5> texts = {{{":path", "/k.bin"},
                                                                       {":scheme", "https"},
                                                                       {":authority", "127.0.0.1:8443"},
                                                                       {":method", "GET"},
                                                                       {"user-agent", "h2load nghttp2/1.52.0"}}};
    const auto bytes = [](const std::string& text) {
      return reinterpret_cast<uint8_t*>(const_cast<char*>(text.data()));
    };
    for (size_t i = 0; i < fields.size(); ++i) {
      const auto& [name, value] = texts[i];
      fields[i] = {bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
    }
    std::array<uint8_t, 1024> room;
    const auto size = nghttp2_hd_deflate_hd(deflater, room.data(), room.size(), fields.data(), fields.size());
    return {reinterpret_cast<const char*>(room.data()), static_cast<size_t>(size)};
  }
  void ask() {
    const std::string& fields = asked_ == 0 ? first_ : next_;
    const uint32_t stream = 2 * asked_++ + 1;
    received_ += std::string("\0\0", 2) + static_cast<char>(fields.size()) + "\1\5";  // HEADERS, whole and the end
    for (const int shift : {24, 16, 8, 0}) received_ += static_cast<char>(stream >> shift);
    received_ += fields;
  }

  TransportCounters counters_;
  std::string first_;
  std::string next_;
  std::string received_;
  uint32_t left_;
  uint32_t asked_ = 0;
  uint32_t answered_ = 0;
  uint64_t bytes_ = 0;
  bool accepted_ = false;
  bool sending_ = false;
  bool lent_ = false;
};

const std::string ANSWER =
    "HTTP/1.1 200 OK\r\nDate: Sun, 29 Nov 2026 08:00:00 GMT\r\nServer: penstock\r\nContent-Type: "
    "application/octet-stream\r\nLast-Modified: Sun, 29 Nov 2026 07:00:00 GMT\r\nETag: \"6929a0b0-400-1a2b3c\"\r\n"
    "Accept-Ranges: bytes\r\nContent-Length: 1024\r\n\r\n" +
    std::string(1024, 'x');

int run(uint32_t requests) {
  Wire wire(requests);
  H2Transport h2(wire, 1, 1024);
  h2.set_http2({.control_frames = 1'000'000});
  h2.set_layers(1, {.tls = true});
  std::array<TransportEvent, 256> events;
  const auto begun = std::chrono::steady_clock::now();
  while (wire.answers() < requests) {
    const size_t count = h2.poll({}, {}, events);
    for (size_t i = 0; i < count; ++i) {
      const TransportEvent& event = events[i];
      if (event.kind == TransportEventKind::RECEIVED) {
        h2.send_bytes(event.conn, ANSWER.data(), ANSWER.size());
        h2.release(event.buffer);
      } else if (event.kind == TransportEventKind::SENT) {
        (void)h2.close(event.conn);
        wire.answered();
      } else if (event.kind != TransportEventKind::ACCEPTED) {
        std::fprintf(stderr, "h2_bench: unexpected event %d, error %d\n", static_cast<int>(event.kind), event.error);
        return 1;
      }
    }
  }
  const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - begun;
  std::printf("%u requests, %.0f ns and %.0f bytes each\n", requests, took.count() / requests,
              static_cast<double>(wire.bytes()) / requests);
  return 0;
}

}  // namespace
}  // namespace penstock

int main(int count, char** arguments) {
  std::optional<uint64_t> requests = 200'000;
  if (count > 1) requests = penstock::parse_decimal(arguments[1]);
  if (!requests || *requests == 0 || *requests > 1'000'000) {
    std::fputs("h2_bench [REQUESTS], 1000000 at most\n", stderr);
    return 2;
  }
  return penstock::run(static_cast<uint32_t>(*requests));
}
