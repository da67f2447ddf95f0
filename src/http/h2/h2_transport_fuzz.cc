// Any bytes as a client, any deeds as the upper side: the contract of Transport holds on both sides, nothing is left.
//
// The input is a list of deeds. A frame's head is made for it, so that the fuzzer gets past it; raw bytes come, too.
#include "src/base/assert.h"
#include "src/http/h2/h2_transport.h"
#include "tests/support/fuzz_deeds.h"
#include "tests/support/sim_transport.h"

#include <algorithm>
#include <map>
#include <string>

using namespace penstock;

namespace {

constexpr uint32_t CONNECTIONS_MAX = 4;
const std::string ANSWERS[] = {
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n" + std::string(50'000, 'x'),
    "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
    "HTTP/1.1 200 OK\r\n\r\nuntil close",
    "no answer\r\n\r\n",
};

class World {
 public:
  explicit World(uint8_t options)
      : sim_({.connections_max = CONNECTIONS_MAX, .receive_buffers = 8, .receive_buffer_bytes = 512}, options,
             (options & 1) != 0 ? SimFaults::from_seed(options) : SimFaults{}),
        h2_(sim_, CONNECTIONS_MAX, 16) {
    h2_.set_http2({.cleartext = true,
                   .streams = 8,
                   .stream_window_bytes = 2'000,
                   .connection_window_bytes = 65'535,
                   .head_bytes = 600,
                   .control_frames = 100,
                   .resets = 20});
    ASSERT(h2_.add_listener(-1, 1).has_value());
    client_ = sim_.client_connect(1, {});
    turn();
  }

  void client(std::string_view bytes) { sim_.client_send(client_, bytes); }

  void upper(uint8_t deed) {
    if (conns_.empty()) return;
    auto& [handle, conn] = test::pick(conns_, deed >> 4);
    if (!h2_.is_open(handle)) return;
    switch (deed & 15) {
      case 8:
        return end(handle, StreamEnd::CLOSE);
      case 9:
        return end(handle, (deed & 0x80) != 0 ? StreamEnd::REFUSE : StreamEnd::RESET);
      case 10:
      case 11:
        if (!conn.failed) h2_.set_receiving(handle, (deed & 1) != 0);
        return;
      case 12:
        for (const uint32_t buffer : conn.kept) h2_.release(buffer);
        conn.kept.clear();
        return;
      case 13:
        keeps_ = !keeps_;
        return;
      case 14:
        return h2_.drain(handle);
      case 15:
        if (conn.stream && !conn.sending && !conn.failed) h2_.shutdown_send(handle);
        conn.shut = true;
        return;
      default:
        if (!conn.stream || conn.sending || conn.failed || conn.shut) return;
        conn.sending = true;
        h2_.send_bytes(handle, ANSWERS[deed & 7].data(), ANSWERS[deed & 7].size());
        (void)h2_.bytes_sent(handle);
    }
  }

  void turn() {
    now_ = now_ + milliseconds(20);
    std::array<TransportEvent, 16> events;
    const size_t count = h2_.poll(now_, now_, events);
    for (size_t i = 0; i < count; ++i) take(events[i]);
    (void)sim_.client_take(client_, 30'000);
  }

  void finish() {
    sim_.stop_faults();
    for (auto& [handle, conn] : conns_) {
      for (const uint32_t buffer : conn.kept) h2_.release(buffer);
      conn.kept.clear();
    }
    keeps_ = false;
    for (int round = 0; round < 3; ++round) {
      for (auto& [handle, conn] : conns_) end(handle, StreamEnd::CLOSE);
      for (int i = 0; i < 60; ++i) turn();
      now_ = now_ + seconds(3);
    }
    for (int i = 0; i < 60; ++i) turn();
    ASSERT(sim_.connection_count() == 0);
    ASSERT(h2_.connection_count() == 0);  // no stream either
    ASSERT(sim_.buffers_lent() == 0);
    ASSERT(closed_owed_ == 0);
    sim_.at_end();
    ASSERT(sim_.violations().empty());
  }

 private:
  struct Conn {
    bool stream = false;
    bool sending = false;
    bool failed = false;
    bool shut = false;
    bool peer_closed = false;
    std::vector<uint32_t> kept;
  };

  bool end_by(Handle handle, StreamEnd how) {
    if (how == StreamEnd::REFUSE) return h2_.reset_refused(handle);
    return how == StreamEnd::RESET ? h2_.reset(handle) : h2_.close(handle);
  }
  void end(Handle handle, StreamEnd how) {
    if (!h2_.is_open(handle)) return;
    for (const uint32_t buffer : conns_[handle].kept) h2_.release(buffer);
    conns_[handle].kept.clear();
    if (end_by(handle, how)) ++closed_owed_;
  }

  void take(const TransportEvent& event) {
    if (event.kind == TransportEventKind::NOTED) return;
    if (event.kind == TransportEventKind::CLOSED) {
      ASSERT(closed_owed_-- > 0 && event.context == this);
      return;
    }
    if (event.kind == TransportEventKind::ACCEPTED) {
      ASSERT(h2_.is_open(event.conn) && !conns_.contains(event.conn));
      conns_[event.conn].stream = h2_.layer(event.conn).stream;
      h2_.set_context(event.conn, this);
      return;
    }
    const bool open = h2_.is_open(event.conn);
    if (event.kind == TransportEventKind::RECEIVED && !open) return h2_.release(event.buffer);
    if (!open) return;
    Conn& conn = conns_.at(event.conn);
    ASSERT(event.context == this && !conn.failed);
    switch (event.kind) {
      case TransportEventKind::RECEIVED:
        ASSERT(event.size > 0 && !conn.peer_closed);
        if (!keeps_) return h2_.release(event.buffer);
        return conn.kept.push_back(event.buffer);
      case TransportEventKind::SENT:
        ASSERT(conn.sending);
        conn.sending = false;
        return;
      case TransportEventKind::PEER_CLOSED:
        ASSERT(!conn.peer_closed);
        conn.peer_closed = true;
        return;
      default:
        ASSERT(event.kind == TransportEventKind::FAILED);
        conn.failed = true;
        conn.sending = false;
    }
  }

  MonoTime now_{};
  SimTransport sim_;
  H2Transport h2_;
  uint32_t client_ = 0;
  std::map<Handle, Conn> conns_;
  bool keeps_ = false;
  int closed_owed_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  World world(data[0]);
  test::FuzzDeeds list(data + 1, size - 1);
  const auto byte = [&list] { return list.byte(); };
  const auto text = [&list] { return list.text(list.byte()); };
  if ((data[0] & 2) == 0) world.client(std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33));
  for (int deeds = 0; !list.empty() && deeds < 200; ++deeds) {
    const uint8_t deed = byte();
    if (deed < 0xa0) {  // a frame: type, flags, stream, payload
      const uint8_t type = deed % 0x12;
      const uint8_t flags = byte();
      const uint8_t stream = byte();
      const std::string_view payload = text();
      std::string frame(9, '\0');
      frame[2] = static_cast<char>(payload.size());
      frame[3] = static_cast<char>(type);
      frame[4] = static_cast<char>(flags);
      frame[8] = static_cast<char>(stream);
      world.client(frame.append(payload));
    } else if (deed < 0xb0) {
      world.client(text());
    } else if (deed < 0xe0) {
      world.upper(byte());
    } else {
      world.turn();
    }
  }
  world.finish();
  return 0;
}
