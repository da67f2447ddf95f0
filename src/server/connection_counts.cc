// Invariants, of an entry under its shard's mutex:
//  - it is free where no place counts anything in its own epoch; what else it holds means nothing then.
//  - `passed` of a bucket is at least the number of entries in use that found it full and lie behind it. (More, where
//    a server was killed that had such: it costs looking on in vain.)
//  - a client has one entry at most: it is looked for up to the first bucket that nobody passed.

#include "src/server/connection_counts.h"

#include "src/base/assert.h"

#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <new>
#include <pthread.h>
#include <utility>

namespace penstock {
namespace {

constexpr uint64_t MAGIC = 0x31544e434e455031ULL;
constexpr uint32_t SHARDS = 64;
constexpr uint32_t ENTRIES = 16;  // of a bucket

constexpr uint64_t one_at(uint32_t place) { return uint64_t{1} << (32 * place); }

}  // namespace

struct ConnectionCounts::Entry {
  uint64_t client;
  struct Count {
    uint32_t epoch;
    uint32_t open;
  };
  std::array<Count, PLACES> of;
};

struct alignas(64) ConnectionCounts::Bucket {
  uint32_t passed;
  std::array<Entry, ENTRIES> entries;
};

struct alignas(64) ConnectionCounts::Shard {
  pthread_mutex_t mutex;
};

struct ConnectionCounts::Layout {
  uint64_t magic;
  uint64_t seed;
  uint64_t buckets;  // of a shard
  std::array<std::atomic<uint32_t>, PLACES> epoch;
  alignas(64) std::atomic<uint64_t> open;
  std::array<Shard, SHARDS> shards;
};

// A shard's mutex, also where its last holder was killed.
class ConnectionCounts::Held {
 public:
  Held(Layout& layout, uint64_t client) : mutex_(layout.shards[client >> 58].mutex) {
    const int error = ::pthread_mutex_lock(&mutex_);
    if (error == EOWNERDEAD) {
      ASSERT(::pthread_mutex_consistent(&mutex_) == 0);
    } else {
      ASSERT(error == 0);
    }
  }
  ~Held() { ::pthread_mutex_unlock(&mutex_); }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

 private:
  pthread_mutex_t& mutex_;
};

namespace {

constexpr uint64_t bytes_of(uint64_t layout_bytes, uint64_t bucket_bytes, uint64_t buckets) {
  return layout_bytes + SHARDS * bucket_bytes * buckets;
}

void make_robust(pthread_mutex_t& mutex) {
  pthread_mutexattr_t how;
  ASSERT(::pthread_mutexattr_init(&how) == 0);
  ASSERT(::pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED) == 0);
  ASSERT(::pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST) == 0);
  ASSERT(::pthread_mutex_init(&mutex, &how) == 0);
  ::pthread_mutexattr_destroy(&how);
}

}  // namespace

ConnectionCounts::ConnectionCounts(UniqueFd fd, SharedMapping memory, uint32_t buckets)
    : fd_(std::move(fd)), memory_(std::move(memory)), buckets_(buckets) {}

ConnectionCounts::Layout& ConnectionCounts::layout() const {
  return *std::launder(reinterpret_cast<Layout*>(memory_.data()));
}

Result<ConnectionCounts> ConnectionCounts::create(uint32_t connections_max, uint64_t seed) {
  // Twice as many entries as there can be clients; pages that no client falls into cost nothing.
  const uint64_t entries = uint64_t{connections_max} * PLACES * 2;
  const auto buckets = static_cast<uint32_t>(std::bit_ceil(entries / (SHARDS * ENTRIES) + 1));
  const uint64_t bytes = bytes_of(sizeof(Layout), sizeof(Bucket), buckets);
  Result<UniqueFd> fd = create_shared_memory("penstock-connections", bytes);
  if (!fd) return std::unexpected(fd.error());
  Result<SharedMapping> memory = SharedMapping::map(fd->get(), bytes, SharedMapping::Access::READ_WRITE);
  if (!memory) return std::unexpected(memory.error());
  ConnectionCounts counts(std::move(*fd), std::move(*memory), buckets);
  Layout& layout = counts.layout();  // all zero
  layout.magic = MAGIC;
  layout.seed = seed;
  layout.buckets = buckets;
  for (std::atomic<uint32_t>& epoch : layout.epoch) epoch.store(1, std::memory_order_relaxed);
  for (Shard& shard : layout.shards) make_robust(shard.mutex);
  return counts;
}

Result<ConnectionCounts> ConnectionCounts::map(UniqueFd fd) {
  Result<SharedMapping> head = SharedMapping::map(fd.get(), sizeof(Layout), SharedMapping::Access::READ);
  if (!head) return std::unexpected(head.error());
  const auto* const layout = std::launder(reinterpret_cast<const Layout*>(head->data()));
  const uint64_t buckets = layout->buckets;
  if (layout->magic != MAGIC || !std::has_single_bit(buckets) || buckets > UINT32_MAX) {
    return fail("the counts of connections make no sense");
  }
  const uint64_t bytes = bytes_of(sizeof(Layout), sizeof(Bucket), buckets);
  if (Status ok = check_shared_memory(fd.get(), bytes, "the counts of connections"); !ok) {
    return std::unexpected(ok.error());
  }
  Result<SharedMapping> memory = SharedMapping::map(fd.get(), bytes, SharedMapping::Access::READ_WRITE);
  if (!memory) return std::unexpected(memory.error());
  return ConnectionCounts(std::move(fd), std::move(*memory), static_cast<uint32_t>(buckets));
}

uint64_t ConnectionCounts::seed() const { return layout().seed; }

uint64_t ConnectionCounts::open() const {
  const uint64_t both = layout().open.load(std::memory_order_relaxed);
  return (both >> 32) + (both & UINT32_MAX);
}

void ConnectionCounts::forget(uint32_t place) {
  ASSERT(place < PLACES);
  Layout& at = layout();
  at.epoch[place].fetch_add(1, std::memory_order_relaxed);
  at.open.fetch_and(~(uint64_t{UINT32_MAX} << (32 * place)), std::memory_order_relaxed);
}

ConnectionCounts::Answer ConnectionCounts::enter(uint32_t place, uint32_t total_max) {
  std::atomic<uint64_t>& open = layout().open;
  uint64_t both = open.load(std::memory_order_relaxed);
  do {
    if ((both >> 32) + (both & UINT32_MAX) >= total_max) return Answer::OVER_TOTAL;
  } while (!open.compare_exchange_weak(both, both + one_at(place), std::memory_order_relaxed));
  return Answer::ADMITTED;
}

// --- by client: all of it with the shard held -------------------------------------------------

ConnectionCounts::Bucket& ConnectionCounts::bucket(uint64_t client, uint32_t step) const {
  auto* const first = std::launder(reinterpret_cast<Bucket*>(memory_.data() + sizeof(Layout)));
  const uint64_t shard = client >> 58;
  return first[shard * buckets_ + ((static_cast<uint32_t>(client) + step) & (buckets_ - 1))];
}

uint32_t ConnectionCounts::count(const Entry& entry) const {
  uint32_t sum = 0;
  for (uint32_t place = 0; place < PLACES; ++place) {
    if (entry.of[place].epoch == layout().epoch[place].load(std::memory_order_relaxed)) sum += entry.of[place].open;
  }
  return sum;
}

// The client's entry, `steps` buckets from its first; nullptr where it has none.
ConnectionCounts::Entry* ConnectionCounts::find(uint64_t client, uint32_t& steps) const {
  for (steps = 0; steps < buckets_; ++steps) {
    Bucket& at = bucket(client, steps);
    for (Entry& entry : at.entries) {
      if (entry.client == client && count(entry) > 0) return &entry;
    }
    if (at.passed == 0) return nullptr;
  }
  return nullptr;
}

ConnectionCounts::Entry* ConnectionCounts::find_free(uint64_t client, uint32_t& steps) const {
  for (steps = 0; steps < buckets_; ++steps) {
    for (Entry& entry : bucket(client, steps).entries) {
      if (count(entry) == 0) return &entry;
    }
  }
  return nullptr;
}

// The client's entry, or else a free one; nullptr where its shard is full.
struct ConnectionCounts::Seat {
  Entry* entry;
  uint32_t steps;
  bool known;
};

ConnectionCounts::Seat ConnectionCounts::seat_of(uint64_t client) const {
  uint32_t steps = 0;
  if (Entry* const entry = find(client, steps)) return {entry, steps, true};
  Entry* const entry = find_free(client, steps);
  return {entry, steps, false};
}

void ConnectionCounts::take(const Seat& seat, uint32_t place, uint64_t client) {
  const uint32_t epoch = layout().epoch[place].load(std::memory_order_relaxed);
  if (!seat.known) {
    for (uint32_t i = 0; i < seat.steps; ++i) ++bucket(client, i).passed;
    seat.entry->of = {};  // counts of epochs that are over
    seat.entry->client = client;
  }
  Entry::Count& mine = seat.entry->of[place];
  if (mine.epoch != epoch) mine = {.epoch = epoch, .open = 0};
  ++mine.open;
}

ConnectionCounts::Answer ConnectionCounts::enter(uint32_t place, uint32_t total_max, uint64_t client,
                                                 uint32_t client_max) {
  const Held held(layout(), client);
  const Seat seat = seat_of(client);
  // There are more entries than connections; should a shard be full all the same, it lets nobody in.
  if (seat.entry == nullptr || (seat.known && count(*seat.entry) >= client_max)) return Answer::OVER_CLIENT;
  if (const Answer answer = enter(place, total_max); answer != Answer::ADMITTED) return answer;
  take(seat, place, client);
  return Answer::ADMITTED;
}

bool ConnectionCounts::add(uint32_t place, uint64_t client) {
  const Held held(layout(), client);
  const Seat seat = seat_of(client);
  if (seat.entry == nullptr) return false;
  take(seat, place, client);
  return true;
}

void ConnectionCounts::leave(uint32_t place, const uint64_t* client) {
  if (client != nullptr) {
    const Held held(layout(), *client);
    uint32_t steps = 0;
    Entry* const entry = find(*client, steps);
    // What is missing is the work of a server that went mad: nothing here relies on the other one.
    if (entry != nullptr && entry->of[place].open > 0) {
      --entry->of[place].open;
      if (count(*entry) == 0) {
        for (uint32_t i = 0; i < steps; ++i) --bucket(*client, i).passed;
      }
    }
  }
  layout().open.fetch_sub(one_at(place), std::memory_order_relaxed);
}

}  // namespace penstock
