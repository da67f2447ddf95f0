// cache_trace: replays a trace of requests through the response cache's eviction and prints miss ratios.
//
// Reads plain text on standard input, one request a line: "id", or with --sizes "time id size". Every
// miss is admitted. Beside penstock's eviction stand LRU and plain S3-FIFO's exact algorithm, written here
// from its paper and independent of cache/. perf/trace/run decompresses the traces and calls this.
#include "cache/eviction.h"
#include "src/base/bytes.h"
#include "src/base/clock.h"
#include "src/base/hash.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace penstock {
namespace {

struct Request {
  uint64_t id;
  uint64_t bytes;
};

struct Object {
  uint64_t id = 0;
  uint64_t hash = 0;
  uint64_t bytes = 0;
  std::atomic<uint8_t> freq{0};
  uint8_t queue = 0;
  Object* prev = nullptr;
  Object* next = nullptr;
};

struct ObjectTraits {
  static uint64_t hash(const Object* o) { return o->hash; }
  static uint64_t bytes(const Object* o) { return o->bytes; }
  static std::atomic<uint8_t>& freq(Object* o) { return o->freq; }
  static Object*& prev(Object* o) { return o->prev; }
  static Object*& next(Object* o) { return o->next; }
  static uint8_t& queue(Object* o) { return o->queue; }
};

// The code of cache/, as the table uses it.
class Penstock {
 public:
  explicit Penstock(uint64_t capacity) : capacity_(capacity), eviction_(1 << 24) { eviction_.set_capacity(capacity); }

  bool access(const Request& request) {
    if (const auto found = objects_.find(request.id); found != objects_.end()) {
      count_hit(found->second.freq);
      return true;
    }
    if (request.bytes > capacity_) return false;
    while (eviction_.bytes() + request.bytes > capacity_) {
      ++evictions_;
      objects_.erase(eviction_.evict()->id);
    }
    Object& object = objects_[request.id];
    object.id = request.id;
    object.hash = hash_word(request.id + 0x9e3779b97f4a7c15ULL);
    object.bytes = request.bytes;
    eviction_.insert(&object);
    return false;
  }
  [[nodiscard]] uint64_t evictions() const { return evictions_; }

 private:
  uint64_t capacity_;
  uint64_t evictions_ = 0;
  Eviction<Object, ObjectTraits> eviction_;
  std::unordered_map<uint64_t, Object> objects_;  // node-based: addresses are stable
};

class Lru {
 public:
  explicit Lru(uint64_t capacity) : capacity_(capacity) {}

  bool access(const Request& request) {
    if (const auto found = index_.find(request.id); found != index_.end()) {
      queue_.splice(queue_.begin(), queue_, found->second);
      return true;
    }
    if (request.bytes > capacity_) return false;
    while (bytes_ + request.bytes > capacity_) {
      bytes_ -= queue_.back().bytes;
      index_.erase(queue_.back().id);
      queue_.pop_back();
    }
    queue_.push_front(request);
    index_[request.id] = queue_.begin();
    bytes_ += request.bytes;
    return false;
  }

 private:
  uint64_t capacity_;
  uint64_t bytes_ = 0;
  std::list<Request> queue_;
  std::unordered_map<uint64_t, std::list<Request>::iterator> index_;
};

// S3-FIFO as published: small 10 %, ghost 90 %, promotion at two hits, fixed shares.
class S3FifoReference {
 public:
  explicit S3FifoReference(uint64_t capacity)
      : capacity_(capacity), small_max_(std::max<uint64_t>(1, capacity / 10)), ghost_max_(capacity - small_max_) {}

  bool access(const Request& request) {
    if (const auto found = index_.find(request.id); found != index_.end()) {
      found->second->freq = std::min(found->second->freq + 1, 3);
      return true;
    }
    if (request.bytes > capacity_) return false;
    while (small_bytes_ + main_bytes_ + request.bytes > capacity_) evict();
    const auto ghost = ghosts_.find(request.id);
    const bool to_main = ghost != ghosts_.end() || (!evicted_ && small_bytes_ >= small_max_);
    if (ghost != ghosts_.end()) {
      ghost_bytes_ -= ghost->second->bytes;
      ghost_queue_.erase(ghost->second);
      ghosts_.erase(ghost);
    }
    std::list<Item>& queue = to_main ? main_ : small_;
    (to_main ? main_bytes_ : small_bytes_) += request.bytes;
    queue.push_front({request.id, request.bytes, 0});
    index_[request.id] = queue.begin();
    return false;
  }

 private:
  struct Item {
    uint64_t id;
    uint64_t bytes;
    int freq;
  };

  void evict() {
    evicted_ = true;
    while (true) {
      const bool from_main = small_.empty() || main_bytes_ > capacity_ - small_max_;
      std::list<Item>& queue = from_main ? main_ : small_;
      uint64_t& bytes = from_main ? main_bytes_ : small_bytes_;
      const auto item = std::prev(queue.end());
      if (item->freq >= (from_main ? 1 : 2)) {
        item->freq = from_main ? item->freq - 1 : 0;
        bytes -= item->bytes;
        main_bytes_ += item->bytes;
        main_.splice(main_.begin(), queue, item);
        continue;
      }
      bytes -= item->bytes;
      index_.erase(item->id);
      if (!from_main) remember(*item);
      queue.erase(item);
      return;
    }
  }

  void remember(const Item& item) {
    ghost_queue_.push_front(item);
    ghosts_[item.id] = ghost_queue_.begin();
    ghost_bytes_ += item.bytes;
    while (ghost_bytes_ > ghost_max_) {
      ghost_bytes_ -= ghost_queue_.back().bytes;
      ghosts_.erase(ghost_queue_.back().id);
      ghost_queue_.pop_back();
    }
  }

  uint64_t capacity_, small_max_, ghost_max_;
  uint64_t small_bytes_ = 0, main_bytes_ = 0, ghost_bytes_ = 0;
  bool evicted_ = false;
  std::list<Item> small_, main_, ghost_queue_;
  std::unordered_map<uint64_t, std::list<Item>::iterator> index_, ghosts_;
};

struct Ratios {
  double objects;
  double bytes;
};

template <typename Cache>
Ratios replay(Cache& cache, const std::vector<Request>& trace) {
  uint64_t misses = 0, miss_bytes = 0, bytes = 0;
  for (const Request& request : trace) {
    bytes += request.bytes;
    if (cache.access(request)) continue;
    ++misses;
    miss_bytes += request.bytes;
  }
  return {static_cast<double>(misses) / static_cast<double>(trace.size()),
          static_cast<double>(miss_bytes) / static_cast<double>(bytes)};
}

bool read_trace(bool sizes, bool ignore_sizes, std::vector<Request>& trace) {
  std::string line;
  while (std::getline(std::cin, line)) {
    std::string_view rest = line;
    uint64_t fields[3] = {0, 0, 1};
    const size_t first = sizes ? 0 : 1;
    const size_t last = sizes ? 2 : 1;
    for (size_t i = first; i <= last; ++i) {
      const size_t space = rest.find(' ');
      const auto value = parse_decimal(rest.substr(0, space));
      if (!value || (space == std::string_view::npos) != (i == last)) return false;
      fields[i] = *value;
      rest.remove_prefix(i == last ? 0 : space + 1);
    }
    trace.push_back({fields[1], ignore_sizes ? 1 : std::max<uint64_t>(1, fields[2])});
  }
  return !trace.empty();
}

struct Options {
  bool sizes = false;
  bool ignore_sizes = false;
  struct Row {
    uint64_t capacity;
    std::string_view goal;  // a published miss ratio to stand beside ours, or empty
  };
  std::vector<Row> rows;
};

bool read_options(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const size_t equals = std::min(argument.find('='), argument.size());
    if (argument == "--sizes") {
      options.sizes = true;
    } else if (argument == "--ignore-sizes") {
      options.ignore_sizes = true;
    } else if (const auto value = parse_decimal(argument.substr(0, equals)); value && *value > 0) {
      options.rows.push_back({*value, argument.substr(std::min(equals + 1, argument.size()))});
    } else {
      return false;
    }
  }
  return !options.rows.empty();
}

void print_row(const Options& options, const Options::Row& row, const std::vector<Request>& trace) {
  const bool by_bytes = options.sizes && !options.ignore_sizes;
  Lru lru(row.capacity);
  S3FifoReference reference(row.capacity);
  Penstock ours(row.capacity);
  const Ratios l = replay(lru, trace);
  const Ratios s = replay(reference, trace);
  RealClock clock;
  const MonoTime before = clock.now();
  const Ratios p = replay(ours, trace);
  const auto ns = static_cast<double>((clock.now() - before).ns) / static_cast<double>(trace.size());
  std::printf("%10llu | %8.4f %8.4f %8.4f |", static_cast<unsigned long long>(row.capacity), l.objects, s.objects,
              p.objects);
  if (by_bytes) std::printf(" %8.4f %8.4f %8.4f |", l.bytes, s.bytes, p.bytes);
  std::printf(" %8.*s | %6.0f\n", static_cast<int>(row.goal.size()), row.goal.data(), ns);
}

int run(int argc, char** argv) {
  Options options;
  std::vector<Request> trace;
  if (!read_options(argc, argv, options) || !read_trace(options.sizes, options.ignore_sizes, trace)) {
    std::fputs("usage: cache_trace [--sizes [--ignore-sizes]] CAPACITY[=GOAL]... < trace\n", stderr);
    return 2;
  }
  const bool by_bytes = options.sizes && !options.ignore_sizes;
  std::printf("%10s | %8s %8s %8s |", "capacity", "LRU", "S3-FIFO", "penstock");
  if (by_bytes) std::printf(" %8s %8s %8s |", "LRU/B", "S3/B", "ours/B");
  std::printf(" %8s | %s\n", "goal", "ns an access");
  for (const Options::Row& row : options.rows) print_row(options, row, trace);
  return 0;
}

}  // namespace
}  // namespace penstock

int main(int argc, char** argv) { return penstock::run(argc, argv); }
