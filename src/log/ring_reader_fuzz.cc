// The memory of a journal as a broken-in server may leave it: ring, indices and slots are the input's.
// Whatever it holds, reading ends, stays inside, and reports only what is well formed.
#include "src/base/assert.h"
#include "src/log/journal.h"
#include "src/log/journal_reader.h"
#include "src/log/ring_reader.h"

#include <algorithm>
#include <cstring>

namespace {

using namespace penstock;

constexpr uint32_t SLOTS = 4;

struct World {
  JournalMemory memory = create_journal_memory({.slot_count = SLOTS, .ring_bytes = RING_BYTES_MIN}).value();
  JournalMap writer = JournalMap::map(memory.data.get(), memory.ack.get(), JournalAccess::REACTOR).value();
  JournalMap drain = JournalMap::map(memory.data.get(), memory.ack.get(), JournalAccess::DRAIN).value();
};

// Takes up to `size` bytes off the input.
void take(const uint8_t*& data, size_t& left, void* out, size_t size) {
  const size_t n = std::min(size, left);
  if (n > 0) std::memcpy(out, data, n);
  data += n;
  left -= n;
}

void read_slots(const JournalMap& map) {
  const JournalReader reader(map);
  for (const InFlightRequest& request : reader.in_flight()) {
    ASSERT(request.excerpt.size() <= Slot::EXCERPT_MAX && request.target.size() <= Slot::TEXT_AREA);
    ASSERT(static_cast<size_t>(request.stage) < STAGE_NAMES.size());
    ASSERT(!address_text(request.client).empty());
  }
  ASSERT(reader.ring_status().bytes_waiting <= RING_BYTES_MIN);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static World world;
  ProducerPage& producer = world.writer.producer();
  uint64_t words[4] = {};
  take(data, size, words, sizeof(words));
  world.drain.ack().tail.store(words[0] & ~uint64_t{63});
  world.drain.ack().cursors[0].tail.store(words[0] & ~uint64_t{63});
  producer.head.store(words[1]);
  producer.slots_used.store(words[2]);
  producer.last_record.store(words[3]);
  for (uint32_t i = 0; i < SLOTS; ++i) take(data, size, &world.writer.slot(i), sizeof(Slot));
  unsigned char* ring = world.writer.ring();
  const uint64_t at = words[0] & (RING_BYTES_MIN - 64);
  const size_t first = std::min<size_t>(size, RING_BYTES_MIN - at);
  take(data, size, ring + at, first);
  take(data, size, ring, at);

  read_slots(world.drain);
  {
    RingReader reader(world.drain);
    (void)reader.open_intent();
    // Each call consumes at least 64 bytes, gives something up, or finds nothing.
    for (uint64_t calls = 0;; ++calls) {
      ASSERT(calls <= RING_BYTES_MIN / RECORD_ALIGN + 1);
      const uint64_t before = reader.position();
      const EndRecordView* record = reader.next();
      if (record == nullptr) {
        if (reader.position() == before || reader.waiting() < RECORD_ALIGN) break;
        continue;
      }
      size_t sum = END_RECORD_HEAD;
      for (const std::string_view text : record->texts) sum += text.size();
      ASSERT(record_round_up(sum) == record->head.size && record->head.size <= RECORD_BYTES_MAX);
    }
    reader.acknowledge(0);
  }
  // A new server takes over what the old one left.
  Journal journal(world.writer, -1);
  (void)journal.close_abandoned({1}, 1);
  const JournalSlot slot = journal.begin({1}, {}, 1, 1, "GET / HTTP/1.1\r\n\r\n");
  ASSERT(slot.valid());
  journal.end(slot, {2}, {});
  return 0;
}
