// TapEngine: an engine on a TAP device, driven by a thread of its own in real time, with small servers on its ports.
//
// What is sent and expected is one endless text, PATTERN over and over, so that every byte has one right value.
#pragma once

#include "src/base/clock.h"
#include "src/net/net_stack.h"
#include "tests/net_tap/tap_device.h"

#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace penstock {

// Not a multiple of anything that segments are cut at.
constexpr size_t PATTERN_BYTES = 1'000'003;
[[nodiscard]] const std::vector<uint8_t>& pattern();
// Whether `bytes` are what stands at `offset` of the text.
[[nodiscard]] bool is_pattern(uint64_t offset, const uint8_t* bytes, size_t size);

enum class TapService : uint16_t {
  ECHO = 7,      // sends back what comes, out of the frames it came in
  SINK = 9,      // takes all; at the peer's end says how many bytes came (8, network order; wrong ones: all ones)
  SOURCE = 19,   // told a size (8 bytes), sends so much of the text, and closes
  PARTING = 20,  // sends "bye" and its FIN at once, and then is a SINK without an answer
  RESET = 21,    // resets at the first byte
};

class TapEngine {
 public:
  TapEngine(const NetConfig& config, std::unique_ptr<TapDevice> device, uint64_t seed, const TapFaults& faults);
  ~TapEngine();
  TapEngine(const TapEngine&) = delete;
  TapEngine& operator=(const TapEngine&) = delete;

  // In the engine's thread, between two turns; returns when it is done.
  void run(const std::function<void(NetStack&)>& job);
  [[nodiscard]] NetCounters counters();
  // Waits for it, ten seconds at the most.
  [[nodiscard]] bool wait_until(const std::function<bool(NetStack&)>& holds);

  // What the services have seen; read in run() only.
  struct Seen {
    uint32_t accepted = 0;
    uint32_t failed = 0;
    int last_error = 0;
    uint64_t sunk_bytes = 0;  // of sessions that ended, right ones
    uint32_t connected = 0;   // of connects
    uint32_t wrong = 0;       // sessions with a wrong byte
  };
  Seen seen;
  // New SINKs do not read until start_reading().
  bool lazy = false;
  void start_reading();
  // Begins a connection to a server that echoes, sends `bytes` of the text there, half-closes, and sinks what comes.
  [[nodiscard]] bool connect(const IpAddress& remote, uint16_t port, uint64_t bytes);
  [[nodiscard]] size_t frames_lent() const { return tap_->lent(); }
  [[nodiscard]] const FaultyDevice& faulty() const { return faulty_; }

 private:
  struct Session {
    TapService service = TapService::ECHO;
    Handle conn;
    uint64_t received = 0;
    bool right = true;
    std::vector<uint8_t> head;  // of SOURCE: the size as it comes
    uint64_t send_size = 0;
    uint64_t send_queued = 0;
    uint64_t answer = 0;  // of SINK
    std::list<NetEvent> unsent;
    std::vector<uint32_t> lent;  // by ECHO
    bool peer_closed = false;
    bool finishing = false;
  };

  void loop();
  void handle(const NetEvent& event);
  void received(Session& session, const NetEvent& event);
  void push(Session& session);
  void finish(Session& session, bool with_reset);
  void forget(Session& session);

  std::unique_ptr<TapDevice> tap_;
  FaultyDevice faulty_;
  RealClock clock_;
  NetStack stack_;
  std::list<Session> sessions_;
  std::list<Session> dead_;  // until the end of the turn
  UniqueFd wake_;
  std::mutex mutex_;
  std::vector<std::function<void()>> jobs_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace penstock
