// Invariant: position_ is a multiple of RECORD_ALIGN, tail <= position_, and [tail, position_) was returned
// by next() or skipped and counted.
#include "src/log/ring_reader.h"

#include <algorithm>
#include <cstring>

namespace penstock {

std::optional<EndRecordView> decode_end_record(std::span<const unsigned char> bytes) {
  if (bytes.size() < END_RECORD_HEAD) return std::nullopt;
  EndRecordView view;
  std::memcpy(&view.head, bytes.data(), END_RECORD_HEAD);
  const EndRecord& head = view.head;
  if (head.kind != RecordKind::REQUEST && head.kind != RecordKind::CONNECTION) return std::nullopt;
  if (head.size != bytes.size()) return std::nullopt;
  size_t at = END_RECORD_HEAD;
  for (size_t i = 0; i < TEXT_COUNT; ++i) {
    const size_t size = head.text_bytes[i];
    if (size > TEXT_BYTES_MAX[i] || at + size > bytes.size()) return std::nullopt;
    view.texts[i] = {reinterpret_cast<const char*>(bytes.data()) + at, size};
    at += size;
  }
  if (record_round_up(at) != bytes.size()) return std::nullopt;
  return view;
}

namespace {

// The reactor may write over what every log is done with. Release pairs with Journal::reserve: our copies are made.
void free_for_reactor(AckPage& ack) {
  uint64_t least = ack.cursors[0].tail.load(RELAXED);
  for (size_t i = 1; i < LOG_CURSORS; ++i) {
    if (ack.cursors[i].log.load(RELAXED) != 0) least = std::min(least, ack.cursors[i].tail.load(RELAXED));
  }
  ack.tail.store(least, std::memory_order_release);
}

}  // namespace

std::unique_ptr<RingReader> RingReader::open(const JournalMap& map, uint64_t number) {
  AckPage& ack = map.ack();
  size_t free = LOG_CURSORS;
  for (size_t i = LOG_CURSORS - 1; i > 0; --i) {
    const uint64_t log = ack.cursors[i].log.load(RELAXED);
    if (log == number) return std::unique_ptr<RingReader>(new RingReader(map, i));
    if (log == 0) free = i;
  }
  if (free == LOG_CURSORS) return nullptr;
  LogCursor& cursor = ack.cursors[free];
  cursor.tail.store(ack.cursors[0].tail.load(RELAXED), RELAXED);
  cursor.seq_written.store(ack.cursors[0].seq_written.load(RELAXED), RELAXED);
  cursor.records.store(0, RELAXED);
  cursor.given_up.store(0, RELAXED);
  cursor.log.store(number, std::memory_order_release);  // last: a logd killed before leaves the cursor free
  auto reader = std::unique_ptr<RingReader>(new RingReader(map, free));
  reader->publish_intent({});
  return reader;
}

void RingReader::forget_logs(const JournalMap& map, std::span<const uint64_t> kept) {
  AckPage& ack = map.ack();
  for (size_t i = 1; i < LOG_CURSORS; ++i) {
    std::atomic<uint64_t>& log = ack.cursors[i].log;
    if (std::find(kept.begin(), kept.end(), log.load(RELAXED)) == kept.end()) log.store(0, RELAXED);
  }
  free_for_reactor(ack);
}

RingReader::RingReader(const JournalMap& map, size_t cursor)
    : map_(map), ack_(map.ack()), cursor_(map.ack().cursors[cursor]), ring_bytes_(map.header().ring_bytes) {
  rewind();
  epoch_ = ack_.sleep_word.load(std::memory_order_relaxed) >> 2;
}

void RingReader::rewind() {
  position_ = record_round_up(cursor_.tail.load(std::memory_order_relaxed));
  seq_next_ = cursor_.seq_written.load(std::memory_order_relaxed);
  gap_before_ = 0;
}

uint64_t RingReader::acknowledged() const { return cursor_.tail.load(std::memory_order_relaxed); }

uint64_t RingReader::waiting() const { return map_.producer().head.load(std::memory_order_acquire) - position_; }

uint64_t RingReader::lost_bytes() const { return ack_.lost.load(std::memory_order_relaxed); }

// What lies between position_ and `head` cannot be read: it is given up, counted, and reading goes on at `head`.
const EndRecordView* RingReader::skip_all(uint64_t head) {
  const uint64_t lost = std::min(head - position_, ring_bytes_);
  if (&cursor_ == &ack_.cursors[0]) ack_.lost.store(lost_bytes() + lost, std::memory_order_relaxed);
  position_ = head & ~static_cast<uint64_t>(RECORD_ALIGN - 1);
  return nullptr;
}

const EndRecordView* RingReader::next() {
  const uint64_t head = map_.producer().head.load(std::memory_order_acquire);  // pairs with Journal::finish
  gap_before_ = 0;
  for (int steps = 0; steps < 2; ++steps) {  // a pad is followed by a record
    const uint64_t waiting = head - position_;
    if (waiting < RECORD_ALIGN) return nullptr;
    if (waiting > ring_bytes_) return skip_all(head);
    const uint64_t offset = position_ & (ring_bytes_ - 1);
    const unsigned char* at = map_.ring() + offset;
    const uint64_t bound = std::min(waiting, ring_bytes_ - offset);

    std::memcpy(copy_.data(), at, RECORD_ALIGN);
    uint32_t size = 0;
    auto kind = RecordKind::PAD;
    std::memcpy(&size, copy_.data() + offsetof(EndRecord, size), sizeof(size));
    std::memcpy(&kind, copy_.data() + offsetof(EndRecord, kind), sizeof(kind));
    if (size < RECORD_ALIGN || size % RECORD_ALIGN != 0 || size > bound) return skip_all(head);
    if (kind == RecordKind::PAD) {
      position_ += size;
      continue;
    }
    if (size > RECORD_BYTES_MAX) return skip_all(head);
    std::memcpy(copy_.data() + RECORD_ALIGN, at + RECORD_ALIGN, size - RECORD_ALIGN);
    const std::optional<EndRecordView> view = decode_end_record({copy_.data(), size});
    if (!view) return skip_all(head);
    view_ = *view;
    position_ += size;
    const uint64_t seq = view_.head.seq_finish;
    if (seq > seq_next_) gap_before_ = seq - seq_next_;
    seq_next_ = seq + 1;
    return &view_;
  }
  return nullptr;
}

void RingReader::move_tail() {
  cursor_.tail.store(position_, std::memory_order_relaxed);
  free_for_reactor(ack_);
}

void RingReader::acknowledge(uint64_t records) {
  cursor_.records.store(cursor_.records.load(std::memory_order_relaxed) + records, std::memory_order_relaxed);
  cursor_.seq_written.store(seq_next_, std::memory_order_relaxed);
  move_tail();
}

void RingReader::give_up(uint64_t records) {
  cursor_.given_up.store(cursor_.given_up.load(std::memory_order_relaxed) + records, std::memory_order_relaxed);
  seq_next_ = cursor_.seq_written.load(std::memory_order_relaxed);
  move_tail();
}

void RingReader::publish_intent(const WriteIntent& intent) {
  std::array<uint64_t, sizeof(WriteIntent) / 8> words{};
  std::memcpy(words.data(), &intent, sizeof(intent));
  const uint64_t odd = cursor_.intent_seq.load(std::memory_order_relaxed) | 1U;
  cursor_.intent_seq.store(odd, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  for (size_t i = 0; i < words.size(); ++i) cursor_.intent[i].store(words[i], std::memory_order_relaxed);
  cursor_.intent_seq.store(odd + 1, std::memory_order_release);
}

std::optional<WriteIntent> RingReader::open_intent() const {
  if ((cursor_.intent_seq.load(std::memory_order_acquire) & 1U) != 0) return std::nullopt;  // died before the write
  std::array<uint64_t, sizeof(WriteIntent) / 8> words{};
  for (size_t i = 0; i < words.size(); ++i) words[i] = cursor_.intent[i].load(std::memory_order_relaxed);
  WriteIntent intent;
  std::memcpy(&intent, words.data(), sizeof(intent));
  const uint64_t ahead = intent.tail_after - acknowledged();
  if (ahead == 0 || ahead > ring_bytes_) return std::nullopt;
  return intent;
}

void RingReader::accept_intent(const WriteIntent& intent) {
  uint64_t records = 0;
  rewind();
  while (position_ < intent.tail_after && next() != nullptr) ++records;
  position_ = intent.tail_after;
  acknowledge(records);
}

void RingReader::announce(DrainState state) {
  if (state != DrainState::AWAKE) ++epoch_;
  ack_.sleep_word.store(epoch_ << 2 | static_cast<uint64_t>(state), std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // pairs with Journal::turn_end
}

}  // namespace penstock
