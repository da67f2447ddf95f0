// Replay: an engine in the place of one of the two peers of a Recording, in simulated time.
//
// The other peer's segments come in as they were recorded, at their time and in their order, but for what depends on
// whom it speaks to: its acknowledgements, SACK blocks and echoed timestamps are moved to the engine's numbers, and its
// own numbers so that they pass 2^32 on the way. What the replaced peer's program did (send, half-close, reset) the
// engine's owner does when the recording shows it. After losses the engine's congestion control may let less go than
// the replaced peer's did: then an acknowledgement says as much as the peer could have received, what was lost not
// before it was sent again; these are counted as shortened, and at the end the last one comes until all is
// acknowledged.
//
// Payload is a function of its place in the stream. What RFC 9293 and its kin ask of the engine is checked with each
// segment that it sends; `faults()` says what was wrong, and is empty where nothing was.
#pragma once

#include "src/base/hash.h"
#include "src/net/net_stack.h"
#include "tests/net_sim/recording.h"
#include "tests/support/tcp_bench.h"

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace penstock {

class Replay {
 public:
  // `engine` is the side whose place it takes.
  Replay(const Recording& recording, Side engine);
  ~Replay();

  void run();
  [[nodiscard]] const std::string& faults() const { return faults_; }
  [[nodiscard]] const NetCounters& counters() const { return stack_->counters(); }
  // Segments of the peer's that had to say less than they did.
  [[nodiscard]] uint32_t shortened() const { return shortened_; }

 private:
  // Numbers are places in a stream: 0 is the SYN, 1 the first byte.
  struct Sent {
    std::vector<uint32_t> last;  // the step at which each number of ours was last sent
    uint32_t max = 0;            // behind the highest ever sent
  };

  void introduce();
  void act(size_t index);
  [[nodiscard]] bool is_full(const RecordedSegment& segment) const;
  void queue_until(uint32_t bytes);
  void queue_what_waits(size_t index);
  void shorten(RecordedSegment& segment);
  void inject(const RecordedSegment& segment);
  [[nodiscard]] std::vector<uint8_t> frame_of(const RecordedSegment& segment);
  void move_options(uint8_t* tcp, const RecordedSegment& segment) const;
  void take_text(const RecordedSegment& segment);
  void expect_answer(const RecordedSegment& segment, const NetCounters& before);
  void note_acknowledgement(const RecordedSegment& segment);
  void note_missing(const RecordedSegment& segment);
  [[nodiscard]] uint32_t receivable(uint32_t from, uint32_t behind) const;

  void turn();
  void pass_until(MonoTime until);
  void look_at_frames();
  void look_at_segment(const TcpHeader& header, const TcpOptions& options, std::span<const uint8_t> data);
  void look_at_syn(const TcpHeader& header, const TcpOptions& options);
  void look_at_data(const TcpHeader& header, std::span<const uint8_t> data);
  void look_at_acknowledgement(const TcpHeader& header, const TcpOptions& options);
  void take_events();
  void finish();
  void complain(const std::string& what);

  // All of it has come already.
  [[nodiscard]] bool is_known(const RecordedSegment& segment) const;
  [[nodiscard]] static uint8_t byte_at(Side from, uint32_t place) {
    return static_cast<uint8_t>(hash_word((uint64_t{static_cast<uint8_t>(from)} << 32) + place));
  }
  [[nodiscard]] uint32_t peer_place(uint32_t seq) const { return seq - recording_.isns[static_cast<size_t>(peer_)]; }
  [[nodiscard]] bool both_scale() const { return syn_ != nullptr && syn_->options.has_window_scale; }
  // The connection is over for one of the two: what still comes is no matter of its.
  [[nodiscard]] bool over() const { return reset_ || ended_by_us_ || state() == TcpState::CLOSED; }
  [[nodiscard]] TcpState state() const {
    return owned_ ? stack_->state(conn_) : ended_by_us_ ? TcpState::CLOSED : TcpState::SYN_RECEIVED;
  }
  [[nodiscard]] uint32_t own_place(uint32_t ack) const { return ack - recording_.isns[static_cast<size_t>(engine_)]; }

  const Recording& recording_;
  Side engine_;
  Side peer_;
  MonoTime begin_ = {1'000'000'000'000};
  MonoTime now_ = begin_;
  ScriptDevice device_;
  std::unique_ptr<NetStack> stack_;
  uint32_t step_ = 0;  // segments of the recording so far
  uint32_t shortened_ = 0;
  std::string faults_;

  // The engine's end.
  Handle conn_;
  bool owned_ = false;
  bool failed_ = false;
  bool ended_by_us_ = false;
  bool peer_closed_ = false;
  uint32_t iss_ = 0;
  uint8_t own_scale_ = 0;
  uint32_t queued_ = 0;  // bytes
  uint32_t told_sent_ = 0;
  uint32_t received_ = 0;  // bytes that the owner was given
  bool fin_queued_ = false;
  std::vector<std::unique_ptr<std::vector<uint8_t>>> memory_;
  Sent sent_;
  uint32_t last_ts_ = 0;    // TSval that it sent last
  uint32_t edge_told_ = 0;  // right edge of its window

  // What the peer has shown.
  const RecordedSegment* syn_ = nullptr;
  const RecordedSegment* last_ = nullptr;  // with ACK
  uint32_t seq_shift_ = 0;
  uint32_t rcv_nxt_ = 0;                 // behind what came in order, SYN and FIN included
  std::map<uint32_t, uint32_t> beyond_;  // out of order: place, behind
  uint32_t peer_fin_ = UINT32_MAX;       // where it is
  uint32_t acknowledged_ = 0;            // of ours, by it
  std::map<uint32_t, uint32_t> sacked_;  // of ours: place, behind
  std::vector<uint32_t> missing_;        // the step at which the peer has shown that a number of ours is lost; 0: none
  uint32_t duplicate_acks_ = 0;
  uint32_t edge_ = 0;  // of its window
  uint32_t window_ = 0;
  std::vector<uint32_t> ts_vals_;
  bool reset_ = false;  // by it
  bool we_closed_first_ = false;

  // Before the segment in hand.
  uint32_t nxt_before_ = 0;
  bool had_gap_ = false;
  bool known_ = false;

  // What is owed to it.
  MonoTime ack_owed_since_ = MonoTime::never();
  uint32_t full_unacknowledged_ = 0;
  bool acked_now_ = false;  // an ACK went in the turn of the last segment
  TcpOptions ack_options_;
};

}  // namespace penstock
