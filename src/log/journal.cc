// Invariants:
//  - A slot's `version` is odd exactly while its plain fields are being rewritten; `stage` is FREE
//    exactly while the slot is in free_ (or was never taken).
//  - producer_.head moves only after the record's bytes are written; head_ - tail_seen_ <= ring_bytes_.
//  - A request's record is published before its slot is freed. A crash in between leaves an open slot
//    whose record exists: close_abandoned() recognises it by ProducerPage::last_record.
#include "src/log/journal.h"

#include "src/base/assert.h"
#include "src/base/doorbell.h"
#include "src/log/journal_reader.h"

#include <algorithm>
#include <cstring>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace penstock {
namespace {

constexpr uint32_t LONG_TEXTS_MAX = 256;  // heads with long strings in flight at most; beyond, strings are cut

// Opens and closes a slot's sequence lock around a rewrite.
class SlotWrite {
 public:
  explicit SlotWrite(Slot& slot) : slot_(slot), odd_(slot.version.load(RELAXED) | 1U) {
    slot_.version.store(odd_, RELAXED);
    std::atomic_thread_fence(std::memory_order_release);  // odd before the fields; pairs with JournalReader::read
  }
  SlotWrite(const SlotWrite&) = delete;
  SlotWrite& operator=(const SlotWrite&) = delete;
  ~SlotWrite() { slot_.version.store(odd_ + 1, std::memory_order_release); }

 private:
  Slot& slot_;
  uint32_t odd_;
};

uintptr_t address_of(const char* p) { return reinterpret_cast<uintptr_t>(p); }

constexpr std::array<Moment, STAGE_NAMES.size()> STAGE_MOMENT = {
    Moment::NONE,
#define STAGE(name, moment, text) Moment::moment,
#include "src/log/journal.def"
};

}  // namespace

JournalAddress journal_address(const sockaddr* address) {
  JournalAddress result;
  if (address == nullptr) return result;
  if (address->sa_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, address, sizeof(in));
    result.family = JournalAddress::IPV4;
    result.port = ntohs(in.sin_port);
    result.ip[10] = result.ip[11] = 0xff;
    std::memcpy(&result.ip[12], &in.sin_addr, 4);
  } else if (address->sa_family == AF_INET6) {
    sockaddr_in6 in{};
    std::memcpy(&in, address, sizeof(in));
    result.family = IN6_IS_ADDR_V4MAPPED(&in.sin6_addr) ? JournalAddress::IPV4 : JournalAddress::IPV6;
    result.port = ntohs(in.sin6_port);
    std::memcpy(result.ip.data(), &in.sin6_addr, 16);
  } else if (address->sa_family == AF_UNIX) {
    result.family = JournalAddress::UNIX;
  }
  return result;
}

Journal::Journal(JournalMap& map, int doorbell_fd)
    : map_(map),
      counters_(map.counters()),
      producer_(map.producer()),
      ack_(map.ack()),
      ring_(map.ring()),
      ring_bytes_(map.header().ring_bytes),
      slot_count_(map.header().slot_count),
      doorbell_fd_(doorbell_fd),
      full_mark_(ring_bytes_ / 4 * 3),
      longer_(slot_count_, nullptr),
      long_texts_(LONG_TEXTS_MAX) {
  head_ = record_round_up(producer_.head.load(RELAXED));
  producer_.head.store(head_, std::memory_order_release);
  head_told_ = head_;
  const uint64_t tail = ack_.tail.load(std::memory_order_acquire);
  tail_seen_ = head_ - tail <= ring_bytes_ ? tail : head_ - ring_bytes_;
  seq_start_ = producer_.seq_start.load(RELAXED);
  seq_finish_ = producer_.seq_finish.load(RELAXED);
  slots_used_ = static_cast<uint32_t>(std::min<uint64_t>(producer_.slots_used.load(RELAXED), slot_count_));
  // Ids unique among reactors and processes of this instance: reactor (12 bits), process (12), count (40).
  const uint64_t incarnation = producer_.incarnation.load(RELAXED) + 1;
  producer_.incarnation.store(incarnation, RELAXED);
  connection_ids_ = (uint64_t{map.header().reactor} & 0xfff) << 52 | (incarnation & 0xfff) << 40;
  free_.reserve(slot_count_);
  for (uint32_t index = slots_used_; index-- > 0;) {
    if (map_.slot(index).stage.load(RELAXED) == static_cast<uint32_t>(Stage::FREE)) free_.push_back(index);
  }
  counters_.requests_open.set(0);
}

// True if the record written last belongs to this request and was published before the crash.
bool Journal::already_finished(uint64_t seq_start) const {
  const uint64_t at = producer_.last_record.load(RELAXED);
  if (at % RECORD_ALIGN != 0 || at >= head_ || head_ - at > RECORD_BYTES_MAX) return false;
  const uint64_t offset = at & (ring_bytes_ - 1);
  if (ring_bytes_ - offset < END_RECORD_HEAD) return false;
  EndRecord record;
  std::memcpy(&record, ring_ + offset, sizeof(record));
  return record.kind == RecordKind::REQUEST && record.seq_start == seq_start && at + record.size == head_;
}

uint32_t Journal::close_abandoned(MonoTime now, uint16_t reason) {
  const JournalReader reader(map_);
  uint32_t closed = 0;
  for (uint32_t index = 0; index < slots_used_; ++index) {
    Slot& slot = map_.slot(index);
    if (slot.stage.load(RELAXED) == static_cast<uint32_t>(Stage::FREE)) continue;
    const std::optional<InFlightRequest> open = reader.read(index);
    if (open && !already_finished(open->seq_start)) {
      EndRecord record{};
      record.kind = RecordKind::REQUEST;
      record.flags = RECORD_ABANDONED;
      record.seq_start = open->seq_start;
      record.begin_mono = open->begin.ns;
      record.begin_wall = open->begin_wall.ns;
      record.connection = open->connection;
      record.request_number = open->request_number;
      record.generation = open->generation;
      record.moments = open->moments;
      record.moments[static_cast<size_t>(Moment::FINISH)] = now.ns;
      record.reason = reason;
      record.client = open->client;
      record.server = open->server;
      Texts texts{};
      texts[static_cast<size_t>(Text::method)] = open->method;
      texts[static_cast<size_t>(Text::target)] = open->target;
      texts[static_cast<size_t>(Text::host)] = open->host;
      finish(record, texts);
      ++closed;
    }
    {
      const SlotWrite write(slot);
      slot.stage.store(static_cast<uint32_t>(Stage::FREE), RELAXED);
    }
    free_.push_back(index);
  }
  return closed;
}

JournalSlot Journal::begin(MonoTime now, const ConnectionFacts& connection, uint32_t request_number,
                           uint32_t generation, std::string_view raw) {
  uint32_t index = 0;
  if (!free_.empty()) {
    index = free_.back();
    free_.pop_back();
  } else if (slots_used_ < slot_count_) {
    index = slots_used_++;
    producer_.slots_used.store(slots_used_, RELAXED);
  } else {
    counters_.journal_slots_exhausted.add();
    return {};
  }
  // The number is used up before the slot shows it: after a crash no second request gets it.
  producer_.seq_start.store(seq_start_ + 1, RELAXED);

  Slot& slot = map_.slot(index);
  const SlotWrite write(slot);
  slot.seq_start = seq_start_++;
  slot.connection = connection.id;
  slot.request_number = request_number;
  slot.generation = generation;
  slot.begin_mono = now.ns;
  slot.begin_wall = now.ns + wall_minus_mono_;
  for (std::atomic<int64_t>& moment : slot.moments) moment.store(0, RELAXED);
  if (request_number == 1) {
    slot.moments[static_cast<size_t>(Moment::ACCEPT)].store(connection.accepted.ns, RELAXED);
  }
  slot.moments[static_cast<size_t>(Moment::FIRST_BYTE)].store(now.ns, RELAXED);
  slot.client = connection.client;
  slot.server = connection.server;
  slot.texts = {};
  slot.flags = 0;
  const size_t kept = std::min(raw.size(), Slot::EXCERPT_MAX);
  slot.excerpt_bytes = static_cast<uint16_t>(kept);
  // The one copy of a request's bytes on the hot path: the begin record must outlive this process.
  if (kept > 0) std::memcpy(slot.text.data(), raw.data(), kept);
  slot.worker.store(0, RELAXED);
  slot.worker_left.store(0, RELAXED);
  slot.bytes_in.store(0, RELAXED);
  slot.bytes_out.store(0, RELAXED);
  slot.stage.store(static_cast<uint32_t>(Stage::DECODE), RELAXED);
  ++open_count_;
  counters_.requests.add();
  counters_.requests_open.add();
  return {index};
}

void Journal::extend(JournalSlot handle, std::string_view raw) {
  Slot& slot = map_.slot(handle.index);
  const size_t have = slot.excerpt_bytes;
  const size_t kept = std::min(raw.size(), Slot::EXCERPT_MAX);
  if (kept <= have) return;
  const SlotWrite write(slot);
  std::memcpy(slot.text.data() + have, raw.data() + have, kept - have);
  slot.excerpt_bytes = static_cast<uint16_t>(kept);
}

void Journal::keep_text(Slot& slot, uint32_t index, size_t text_index, std::string_view text, std::string_view raw,
                        size_t& area_used) {
  if (text.empty()) return;
  if (text.size() > TEXT_BYTES_MAX[text_index]) {
    text = text.substr(0, TEXT_BYTES_MAX[text_index]);
    slot.flags |= RECORD_TRUNCATED;
  }
  // Inside the excerpt: the bytes are there already.
  const uintptr_t offset = address_of(text.data()) - address_of(raw.data());
  if (offset + text.size() <= slot.excerpt_bytes && offset < slot.excerpt_bytes) {
    slot.texts[text_index] = {static_cast<uint16_t>(offset), static_cast<uint16_t>(text.size())};
    return;
  }
  if (area_used + text.size() <= Slot::TEXT_AREA) {
    std::memcpy(slot.text.data() + area_used, text.data(), text.size());
    slot.texts[text_index] = {static_cast<uint16_t>(area_used), static_cast<uint16_t>(text.size())};
    area_used += text.size();
    return;
  }
  LongTexts*& longer = longer_[index];
  if (longer == nullptr) longer = long_texts_.take();
  if (longer == nullptr) {
    slot.flags |= RECORD_TRUNCATED;
    return;
  }
  ASSERT(longer->used + text.size() <= longer->bytes.size());
  std::memcpy(longer->bytes.data() + longer->used, text.data(), text.size());
  longer->spans[text_index] = {static_cast<uint16_t>(longer->used), static_cast<uint16_t>(text.size())};
  longer->used += static_cast<uint32_t>(text.size());
}

void Journal::head(JournalSlot handle, std::string_view raw, const HeadTexts& texts) {
  Slot& slot = map_.slot(handle.index);
  const SlotWrite write(slot);
  const std::string_view list[HEAD_TEXT_COUNT] = {texts.method, texts.target, texts.host, texts.user_agent,
                                                  texts.referer};
  size_t area_used = slot.excerpt_bytes;
  for (size_t i = 0; i < HEAD_TEXT_COUNT; ++i) keep_text(slot, handle.index, i, list[i], raw, area_used);
}

void Journal::client(JournalSlot handle, const JournalAddress& address) {
  Slot& slot = map_.slot(handle.index);
  const SlotWrite write(slot);
  slot.client = address;
}

void Journal::stage(JournalSlot handle, Stage stage, MonoTime now) {
  Slot& slot = map_.slot(handle.index);
  slot.stage.store(static_cast<uint32_t>(stage), RELAXED);
  const Moment implied = STAGE_MOMENT[static_cast<size_t>(stage)];
  if (implied != Moment::NONE) moment(handle, implied, now);
}

void Journal::worker_done(JournalSlot handle, MonoTime now) {
  Slot& slot = map_.slot(handle.index);
  slot.left_mono.store(now.ns, RELAXED);
  slot.worker_left.store(slot.worker.load(RELAXED), RELAXED);
  slot.worker.store(0, RELAXED);
}

void Journal::bytes_in(JournalSlot handle, uint64_t bytes) { map_.slot(handle.index).bytes_in.store(bytes, RELAXED); }

void Journal::bytes_out(JournalSlot handle, uint64_t bytes) { map_.slot(handle.index).bytes_out.store(bytes, RELAXED); }

void Journal::worker(JournalSlot handle, uint64_t number, MonoTime now) {
  // The number first: whoever sees the stage sees whose it is.
  map_.slot(handle.index).worker.store(number, RELAXED);
  stage(handle, number != 0 ? Stage::WORKER : Stage::QUEUED, now);
}

void Journal::filter(JournalSlot handle, uint64_t number, MonoTime now) {
  map_.slot(handle.index).worker.store(number, RELAXED);
  stage(handle, Stage::FILTER, now);
}

void Journal::moment(JournalSlot handle, Moment moment, MonoTime now) {
  std::atomic<int64_t>& word = map_.slot(handle.index).moments[static_cast<size_t>(moment)];
  if (word.load(RELAXED) == 0) word.store(now.ns, RELAXED);
}

void Journal::moment_again(JournalSlot handle, Moment moment, MonoTime now) {
  map_.slot(handle.index).moments[static_cast<size_t>(moment)].store(now.ns, RELAXED);
}

Journal::Texts Journal::texts_of(const Slot& slot, uint32_t index, const Outcome& outcome) const {
  Texts texts{};
  const LongTexts* longer = longer_[index];
  for (size_t i = 0; i < HEAD_TEXT_COUNT; ++i) {
    const Slot::Span span = slot.texts[i];
    if (span.size > 0) {
      texts[i] = {slot.text.data() + span.offset, span.size};
    } else if (longer != nullptr) {
      texts[i] = {longer->bytes.data() + longer->spans[i].offset, longer->spans[i].size};
    }
  }
  texts[static_cast<size_t>(Text::site)] = outcome.site;
  texts[static_cast<size_t>(Text::user)] = outcome.user;
  texts[static_cast<size_t>(Text::client_subject)] = outcome.client_subject;
  texts[static_cast<size_t>(Text::client_fingerprint)] = outcome.client_fingerprint;
  texts[static_cast<size_t>(Text::filter)] = outcome.filter;
  return texts;
}

void Journal::end(JournalSlot handle, MonoTime now, const Outcome& outcome) {
  const Slot& slot = map_.slot(handle.index);
  ASSERT(slot.stage.load(RELAXED) != static_cast<uint32_t>(Stage::FREE));
  if (recording_) {
    EndRecord record;
    record.kind = RecordKind::REQUEST;
    record.flags = static_cast<uint16_t>(slot.flags | outcome.flags);
    record.seq_start = slot.seq_start;
    record.begin_mono = slot.begin_mono;
    record.begin_wall = slot.begin_wall;
    record.connection = slot.connection;
    record.request_number = slot.request_number;
    record.generation = slot.generation;
    for (size_t i = 0; i < MOMENT_COUNT; ++i) record.moments[i] = slot.moments[i].load(RELAXED);
    record.moments[static_cast<size_t>(Moment::FINISH)] = now.ns;
    record.bytes_in = outcome.bytes_in;
    record.head_bytes_out = outcome.head_bytes_out;
    record.body_bytes_out = outcome.body_bytes_out;
    record.status = outcome.status;
    record.sub_status = outcome.sub_status;
    record.reason = outcome.reason;
    record.verdict = outcome.verdict;
    record.client = slot.client;
    record.server = slot.server;
    record.version = outcome.version;
    record.coding = outcome.coding;
    finish(record, texts_of(slot, handle.index, outcome), outcome.expendable);
  }
  count_response(outcome.status);
  release(handle.index);
}

void Journal::connection(MonoTime now, const ConnectionFacts& connection, uint32_t generation, const Outcome& outcome,
                         const HeadTexts& head) {
  producer_.seq_start.store(seq_start_ + 1, RELAXED);
  const uint64_t seq = seq_start_++;
  count_response(outcome.status);
  if (!recording_) return;
  EndRecord record{};
  record.kind = RecordKind::CONNECTION;
  record.flags = outcome.flags;
  record.seq_start = seq;
  record.begin_mono = now.ns;
  record.begin_wall = now.ns + wall_minus_mono_;
  record.connection = connection.id;
  record.generation = generation;
  record.moments[static_cast<size_t>(Moment::ACCEPT)] = connection.accepted.ns;
  record.moments[static_cast<size_t>(Moment::FINISH)] = now.ns;
  record.bytes_in = outcome.bytes_in;
  record.head_bytes_out = outcome.head_bytes_out;
  record.body_bytes_out = outcome.body_bytes_out;
  record.status = outcome.status;
  record.sub_status = outcome.sub_status;
  record.reason = outcome.reason;
  record.verdict = outcome.verdict;
  record.client = connection.client;
  record.server = connection.server;
  record.version = outcome.version;
  record.coding = outcome.coding;
  finish(record, {head.method, head.target, head.host, head.user_agent, head.referer, outcome.site, outcome.user,
                  outcome.client_subject, outcome.client_fingerprint, outcome.filter});
}

void Journal::count_response(uint16_t status) {
  switch (status / 100) {
    case 2:
      counters_.responses_2xx.add();
      break;
    case 3:
      counters_.responses_3xx.add();
      break;
    case 4:
      counters_.responses_4xx.add();
      break;
    case 5:
      counters_.responses_5xx.add();
      break;
    default:
      break;
  }
}

// Writes `record` (all but size, seq_finish and text_bytes filled in) and its strings to the ring.
void Journal::finish(EndRecord& record, const Texts& texts, bool expendable) {
  size_t bytes = END_RECORD_HEAD;
  for (size_t i = 0; i < TEXT_COUNT; ++i) {
    size_t size = texts[i].size();
    if (size > TEXT_BYTES_MAX[i]) {
      size = TEXT_BYTES_MAX[i];
      record.flags |= RECORD_TRUNCATED;
    }
    record.text_bytes[i] = static_cast<uint16_t>(size);
    bytes += size;
  }
  record.reserved = {};
  if ((record.flags & RECORD_TRUNCATED) != 0) counters_.journal_truncated.add();
  record.size = static_cast<uint32_t>(record_round_up(bytes));
  record.seq_finish = seq_finish_++;

  unsigned char* out = expendable && log_is_full() ? nullptr : reserve(record.size);
  if (out == nullptr) {
    producer_.dropped.store(producer_.dropped.load(RELAXED) + 1, RELAXED);
    producer_.seq_finish.store(seq_finish_, RELAXED);
    counters_.journal_drops.add();
    return;
  }
  std::memcpy(out, &record, sizeof(record));
  unsigned char* at = out + sizeof(record);
  for (size_t i = 0; i < TEXT_COUNT; ++i) {
    if (record.text_bytes[i] > 0) std::memcpy(at, texts[i].data(), record.text_bytes[i]);
    at += record.text_bytes[i];
  }
  producer_.seq_finish.store(seq_finish_, RELAXED);
  producer_.last_record.store(head_, RELAXED);
  head_ += record.size;
  producer_.head.store(head_, std::memory_order_release);  // pairs with RingReader's acquire
  counters_.journal_records.add();
}

// Whether logd has not made room since this was last looked at.
bool Journal::still_full() {
  const uint64_t tail = ack_.tail.load(std::memory_order_acquire);
  if (head_ - tail <= head_ - tail_seen_) tail_seen_ = tail;
  return head_ - tail_seen_ + open_count_ * USUAL_RECORD > full_mark_;
}

// Room for `bytes` at head_, which first steps over the ring's end if the record would cross it; nullptr
// when the ring is full. What logd says of its tail is checked: a tail that cannot be is not believed.
unsigned char* Journal::reserve(size_t bytes) {
  const uint64_t to_end = ring_bytes_ - (head_ & (ring_bytes_ - 1));
  const uint64_t pad = bytes > to_end ? to_end : 0;
  if (head_ + pad + bytes - tail_seen_ > ring_bytes_) {
    const uint64_t tail = ack_.tail.load(std::memory_order_acquire);
    if (head_ - tail <= head_ - tail_seen_) tail_seen_ = tail;
    if (head_ + pad + bytes - tail_seen_ > ring_bytes_) return nullptr;
  }
  if (pad > 0) {
    EndRecord filler{};
    filler.size = static_cast<uint32_t>(pad);
    filler.kind = RecordKind::PAD;
    std::memcpy(ring_ + (head_ & (ring_bytes_ - 1)), &filler, std::min<size_t>(RECORD_ALIGN, sizeof(filler)));
    head_ += pad;  // published together with the record behind it
  }
  return ring_ + (head_ & (ring_bytes_ - 1));
}

void Journal::release(uint32_t index) {
  Slot& slot = map_.slot(index);
  slot.stage.store(static_cast<uint32_t>(Stage::FREE), std::memory_order_release);
  if (longer_[index] != nullptr) {
    long_texts_.give(longer_[index]);
    longer_[index] = nullptr;
  }
  free_.push_back(index);
  --open_count_;
  counters_.requests_open.sub();
}

uint32_t Journal::ring_fill() const {
  const uint64_t used = head_ - ack_.tail.load(RELAXED);
  if (used >= ring_bytes_) return 1024;
  return static_cast<uint32_t>(used * 1024 / ring_bytes_);
}

void Journal::turn_end() {
  if (head_ == head_told_) return;
  head_told_ = head_;
  // Either logd sees the new head before it sleeps, or we see that it sleeps (pairs with RingReader::sleep).
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const uint64_t word = ack_.sleep_word.load(RELAXED);
  const auto state = static_cast<DrainState>(word & 3);
  const uint64_t epoch = word >> 2;
  if (state == DrainState::AWAKE || epoch == epoch_rung_) return;
  if (state == DrainState::DOZING && ring_fill() < 512) return;
  epoch_rung_ = epoch;
  if (doorbell_fd_ < 0) return;
  if (ring_bell(doorbell_fd_)) counters_.journal_doorbells.add();
}

}  // namespace penstock
