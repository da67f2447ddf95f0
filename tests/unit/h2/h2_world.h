// H2World: nghttp2's client at one end of an H2Transport over SimTransport, and the upper side at the other, by hand.
//
// The client's own checks are off, so that it says whatever a test wants said. `piece`: bytes that reach the server at
// once.
#pragma once

#include "src/http/h2/h2_transport.h"
#include "tests/support/sim_transport.h"

#include <map>
#include <memory>
#include <nghttp2/nghttp2.h>
#include <string>
#include <vector>

namespace penstock {

using Fields = std::vector<std::pair<std::string, std::string>>;

inline const std::vector<std::string> NOTHING;  // no fault

class H2World {
 public:
  static constexpr uint32_t CONNECTIONS_MAX = 16;
  static constexpr uint32_t STREAMS_MAX = 256;

  // `memory`: of the server's nghttp2.
  explicit H2World(const Http2Options& options = {.cleartext = true}, const SimFaults& faults = {}, uint64_t seed = 1,
                   nghttp2_mem* memory = nullptr);
  ~H2World();
  H2World(const H2World&) = delete;
  H2World& operator=(const H2World&) = delete;

  // ---- the client
  struct Reply {
    Fields head;          // of the final answer
    std::string interim;  // statuses of 1xx, each with a space behind
    Fields trailers;
    std::string body;
    uint32_t frames = 0;  // of DATA
    bool ended = false;   // END_STREAM
    bool closed = false;
    uint32_t code = 0;  // of RST_STREAM, where closed
    [[nodiscard]] std::string field(const std::string& name) const;
  };
  static Fields get(const std::string& path) {
    return {{":method", "GET"}, {":scheme", "http"}, {":path", path}, {":authority", "a.example"}};
  }
  // `body`: nullptr sends END_STREAM with the head.
  int32_t request(const Fields& fields, const std::string* body = nullptr, const Fields& trailers = {});
  [[nodiscard]] const Reply& reply(int32_t id) { return replies_[id]; }
  [[nodiscard]] nghttp2_session* client() { return client_; }
  // Bytes past the client's own machine.
  void raw(std::string_view bytes) {
    pump_client();
    to_server_ += bytes;
  }
  std::string frame(uint8_t type, uint8_t flags, int32_t stream, std::string_view payload) const;
  [[nodiscard]] int64_t goaway() const { return goaway_; }  // its code; -1: none came
  [[nodiscard]] std::vector<int32_t> ended_in_order() const { return ended_order_; }
  [[nodiscard]] std::vector<int32_t> data_in_order() const { return data_order_; }  // the stream of each DATA frame
  bool client_reads = true;
  size_t piece = SIZE_MAX;

  // ---- the upper side
  struct Conn {
    Handle handle;
    bool stream = false;
    std::string received;
    uint32_t sent = 0;
    bool failed = false;
    bool peer_closed = false;
    std::vector<uint32_t> kept;  // buffers, where keep_buffers
  };
  // The n-th stream that was accepted, or the carrier (-1).
  [[nodiscard]] Conn& stream(size_t n) { return streams_.at(n); }
  [[nodiscard]] size_t streams() const { return streams_.size(); }
  [[nodiscard]] Conn& carrier() { return carrier_; }
  bool keep_buffers = false;
  // Sends it on the stream and keeps the text alive. `close`: closes when it is sent.
  void answer(size_t n, const std::string& text, bool close = true);
  void close(Conn& conn, bool reset = false);
  void refuse(Conn& conn);
  [[nodiscard]] const std::vector<Reason>& noted() const { return noted_; }

  // What the client has to say is said at once, whatever `piece` is.
  void flush_client();
  // So many polls, with the client's share before and behind each.
  void turn(int count = 12);
  void advance(Duration by) { now_ = now_ + by; }
  [[nodiscard]] H2Transport& transport() { return h2_; }
  [[nodiscard]] SimTransport& below() { return sim_; }
  [[nodiscard]] uint32_t socket() const { return socket_; }
  // Everything closed, nothing lent, no breach of the contract.
  [[nodiscard]] std::vector<std::string> faults_at_end();

 private:
  friend struct H2ClientCalls;
  void pump_client();
  void take(const TransportEvent& event);
  [[nodiscard]] Conn* find(Handle handle);

  MonoTime now_{};
  SimTransport sim_;
  H2Transport h2_;
  uint32_t socket_ = 0;
  nghttp2_session* client_ = nullptr;
  std::string to_server_;
  int64_t goaway_ = -1;
  std::map<int32_t, Reply> replies_;
  std::map<int32_t, std::pair<std::string, size_t>> bodies_;
  std::map<int32_t, Fields> trailers_;
  std::vector<int32_t> ended_order_;
  std::vector<int32_t> data_order_;
  Conn carrier_;
  std::vector<Conn> streams_;
  std::vector<std::unique_ptr<std::string>> texts_;
  std::vector<size_t> close_when_sent_;
  std::vector<Reason> noted_;
  uint32_t closed_owed_ = 0;
};

}  // namespace penstock
