// RingReader: logd's end of one reactor's finish ring, for one of its logs.
//
// Runs in logd, on memory that the server writes and may have spoiled: a record is copied once, the copy
// is checked, the copy is used. Reading moves a private position; only acknowledge() frees the bytes, after they are
// in the log file: for the reactor, once every log of the ring has done so. What makes no sense is skipped and counted;
// no content of the ring can make a call loop, fault or block.
#pragma once

#include "src/log/journal_abi.h"
#include "src/log/journal_memory.h"

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

namespace penstock {

// A checked copy of a finish record; `texts` point into the buffer it was copied to.
struct EndRecordView {
  EndRecord head{};
  std::array<std::string_view, TEXT_COUNT> texts;
  [[nodiscard]] std::string_view text(Text which) const { return texts[static_cast<size_t>(which)]; }
};

// Checks a private copy of a record: kind REQUEST or CONNECTION, sizes that add up, strings within their
// limits. Pure. The views last as long as `bytes`.
[[nodiscard]] std::optional<EndRecordView> decode_end_record(std::span<const unsigned char> bytes);

class RingReader {
 public:
  // Starts at the acknowledged tail of log.access. REQUIRES: `map` was mapped as DRAIN and outlives this; one reader
  // of each log at a time.
  explicit RingReader(const JournalMap& map) : RingReader(map, 0) {}
  // Of the further log `number` (not 0): goes on where a reader of that number stopped; a new one begins with what
  // log.access has not taken yet. Nothing if the ring has as many logs as it can.
  [[nodiscard]] static std::unique_ptr<RingReader> open(const JournalMap& map, uint64_t number);
  // Forgets the further logs that are not `kept`: what they have not read holds up the reactor no more.
  static void forget_logs(const JournalMap& map, std::span<const uint64_t> kept);
  RingReader(const RingReader&) = delete;
  RingReader& operator=(const RingReader&) = delete;

  // The next record, or nothing when the ring is drained. Valid until the next call.
  [[nodiscard]] const EndRecordView* next();

  // Bytes consumed by next() since creation of the memory; compare with acknowledged().
  [[nodiscard]] uint64_t position() const { return position_; }
  [[nodiscard]] uint64_t acknowledged() const;
  // Bytes that wait between position() and what the reactor has published.
  [[nodiscard]] uint64_t waiting() const;
  [[nodiscard]] uint64_t ring_bytes() const { return ring_bytes_; }
  // Forgets what was read and not acknowledged: next() starts at the tail again.
  void rewind();

  // Everything up to position() is in the log (or given up): frees it. `records` of it were records.
  void acknowledge(uint64_t records);

  // Frees everything up to position() although it is not in the log: `records` of it. What is read next has them in
  // its gap.
  void give_up(uint64_t records);

  // Publishes what is about to be written, before the write; see WriteIntent.
  void publish_intent(const WriteIntent& intent);
  // The intent of a predecessor that did not live to acknowledge(): nothing if there is none.
  [[nodiscard]] std::optional<WriteIntent> open_intent() const;
  // The intent's batch proved to be in the file: moves the tail over it.
  void accept_intent(const WriteIntent& intent);

  // Tells the reactor how logd waits. After announce(ASLEEP or DOZING) look at waiting() once more before
  // waiting: the reactor rings only for what it publishes later.
  void announce(DrainState state);

  // Records that the reactor dropped before the one last returned (gap of seq_finish); 0 if none.
  [[nodiscard]] uint64_t gap_before() const { return gap_before_; }
  // Ring bytes that log.access skipped because they made no sense.
  [[nodiscard]] uint64_t lost_bytes() const;
  [[nodiscard]] uint32_t reactor() const { return map_.header().reactor; }
  [[nodiscard]] uint64_t instance() const { return map_.header().instance; }

 private:
  RingReader(const JournalMap& map, size_t cursor);
  const EndRecordView* skip_all(uint64_t head);
  void move_tail();

  const JournalMap& map_;
  AckPage& ack_;
  LogCursor& cursor_;
  uint64_t ring_bytes_;
  uint64_t position_ = 0;
  uint64_t seq_next_ = 0;
  uint64_t gap_before_ = 0;
  uint64_t epoch_ = 0;
  EndRecordView view_;
  alignas(64) std::array<unsigned char, RECORD_BYTES_MAX> copy_;
};

}  // namespace penstock
