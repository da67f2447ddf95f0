// What the response cache costs: a hit by one and by two reactors, with and without a pin, a miss, an
// insertion that evicts, and the operations that must not stop traffic at a million entries.
#include "cache/admission.h"
#include "cache/fill.h"
#include "perf/micro/bench_cache.h"
#include "src/base/prng.h"

#include <benchmark/benchmark.h>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace penstock {
namespace {

constexpr uint64_t SEED = BenchCache::SEED;
constexpr std::string_view HOST = "www.example.org";
constexpr uint32_t REACTORS = 2;

struct Cache : BenchCache {
  explicit Cache(uint64_t bytes_max) : BenchCache(bytes_max, REACTORS) {}
  void put(uint64_t number, size_t body_bytes) {
    BenchCache::put(HOST, "/some/path/object-" + std::to_string(number), body_bytes);
  }
};

// The targets that a reactor asks for, as a parser would leave them in its buffer.
std::vector<std::string> targets(uint64_t count, uint64_t seed) {
  Prng prng(seed);
  std::vector<std::string> list;
  for (uint32_t i = 0; i < 4096; ++i) {
    list.push_back("/some/path/object-" + std::to_string(prng.below(static_cast<uint32_t>(count))));
  }
  return list;
}

// One cache a size, shared by the threads of a benchmark.
Cache& cache_of(uint64_t entries) {
  static std::mutex mutex;
  static std::unordered_map<uint64_t, std::unique_ptr<Cache>> caches;
  const std::lock_guard lock(mutex);
  auto& cache = caches[entries];
  if (cache == nullptr) {
    caches.clear();
    auto& fresh = caches[entries];
    fresh = std::make_unique<Cache>(uint64_t{8} << 30);
    for (uint64_t i = 0; i < entries; ++i) fresh->put(i, 256);
    return *fresh;
  }
  return *cache;
}

enum class Hold { LENT, PINNED };

void hit(benchmark::State& state, Hold hold) {
  const auto entries = static_cast<uint64_t>(state.range(0));
  Cache& cache = cache_of(entries);
  const auto reactor = static_cast<uint32_t>(state.thread_index());
  const std::vector<std::string> list = targets(entries, reactor + 1);
  cache.table->online(reactor);
  uint64_t found = 0;
  size_t next = 0;
  for (auto _ : state) {
    const KeyView key{.host = HOST, .target = list[next++ % list.size()]};
    Verdict why{};
    const Entry* entry = cache.table->lookup(reactor, key, hash_key(key, SEED), 0, cache.now, why);
    found += entry != nullptr ? 1 : 0;
    if (hold == Hold::PINNED) entry->pin();
    benchmark::DoNotOptimize(entry->pick(0)->head_size);
    if (hold == Hold::PINNED) entry->unpin();
    if (next % 16 == 0) cache.table->quiescent(reactor);
  }
  cache.table->offline(reactor);
  if (found != static_cast<uint64_t>(state.iterations())) state.SkipWithError("a lookup missed");
}

void BM_hit(benchmark::State& state) { hit(state, Hold::LENT); }
void BM_hit_pinned(benchmark::State& state) { hit(state, Hold::PINNED); }
BENCHMARK(BM_hit)->Arg(1)->Arg(1000)->Arg(1'000'000)->ThreadRange(1, REACTORS)->UseRealTime();
BENCHMARK(BM_hit_pinned)->Arg(1)->Arg(1000)->Arg(1'000'000)->ThreadRange(1, REACTORS)->UseRealTime();

void BM_hash_key(benchmark::State& state) {
  const KeyView key{.host = HOST, .target = "/some/path/object-123456"};
  for (auto _ : state) benchmark::DoNotOptimize(hash_key(key, SEED));
}
BENCHMARK(BM_hash_key);

// The alternative to one shared index: an index of each reactor's own, here the standard one.
void BM_private_index(benchmark::State& state) {
  const auto entries = static_cast<uint64_t>(state.range(0));
  std::unordered_map<std::string_view, uint64_t> index;
  std::vector<std::string> names;
  for (uint64_t i = 0; i < entries; ++i) names.push_back("/some/path/object-" + std::to_string(i));
  for (const std::string& name : names) index[name] = name.size();
  const std::vector<std::string> list = targets(entries, 1);
  size_t next = 0;
  for (auto _ : state) benchmark::DoNotOptimize(index.find(list[next++ % list.size()])->second);
}
BENCHMARK(BM_private_index)->Arg(1000)->Arg(1'000'000);

void BM_miss(benchmark::State& state) {
  Cache& cache = cache_of(1000);
  cache.table->online(0);
  const KeyView key{.host = HOST, .target = "/not/there"};
  Verdict why{};
  for (auto _ : state) {
    benchmark::DoNotOptimize(cache.table->lookup(0, key, hash_key(key, SEED), 0, cache.now, why));
  }
  cache.table->offline(0);
}
BENCHMARK(BM_miss);

void BM_admission(benchmark::State& state) {
  Admission admission;
  uint64_t number = 0;
  for (auto _ : state) benchmark::DoNotOptimize(admission.miss(hash_word(++number), MonoTime{1}));
}
BENCHMARK(BM_admission);

// Make and insert an entry of 1 KiB: with room for it, and in a full cache, where one is evicted, retired and
// freed for it. The difference is the cost of an eviction.
void BM_insert_with_room(benchmark::State& state) {
  Cache cache(uint64_t{16} << 30);
  uint64_t number = 0;
  for (auto _ : state) cache.put(++number, 1024);
}
void BM_insert_evicting(benchmark::State& state) {
  Cache cache(64 << 20);
  uint64_t number = 0;
  while (cache.table->stats().evicted == 0) cache.put(++number, 1024);
  for (auto _ : state) cache.put(++number, 1024);
}
BENCHMARK(BM_insert_with_room)->Iterations(100'000);
BENCHMARK(BM_insert_evicting)->Iterations(100'000);

void BM_fill_lead_and_complete(benchmark::State& state) {
  FillTable fills(64, 64);
  const KeyView key{.host = HOST, .target = "/x"};
  std::vector<FillWaiter> woken;
  for (auto _ : state) {
    const FillTable::Joined joined = fills.join({.key = key, .hash = 1}, {});
    fills.complete(joined.fill, woken);
  }
}
BENCHMARK(BM_fill_lead_and_complete);

// At a million entries. The logical effect of a purge is the purge call itself.
void BM_purge_prefix_million(benchmark::State& state) {
  Cache& cache = cache_of(1'000'000);
  for (auto _ : state) {
    cache.table->purge_prefix("www.example.org/not/there");
    state.PauseTiming();
    while (cache.table->maintain(cache.now)) {
    }
    state.ResumeTiming();
  }
}
BENCHMARK(BM_purge_prefix_million)->Iterations(20);

void BM_sweep_million(benchmark::State& state) {
  Cache& cache = cache_of(1'000'000);
  for (auto _ : state) {
    cache.table->purge_prefix("www.example.org/not/there");
    while (cache.table->maintain(cache.now)) {
    }
  }
}
BENCHMARK(BM_sweep_million)->Unit(benchmark::kMillisecond)->Iterations(5);

void BM_top20_million(benchmark::State& state) {
  Cache& cache = cache_of(1'000'000);
  cache.table->online(0);
  Verdict why{};
  Prng prng(9);
  for (int i = 0; i < 300'000; ++i) {
    const std::string target = "/some/path/object-" + std::to_string(prng.below(1 + prng.below(1'000'000)));
    const KeyView key{.host = HOST, .target = target};
    (void)cache.table->lookup(0, key, hash_key(key, SEED), 0, cache.now, why);
  }
  cache.table->offline(0);
  for (auto _ : state) benchmark::DoNotOptimize(cache.table->top(20));
}
BENCHMARK(BM_top20_million)->Unit(benchmark::kMillisecond);

void BM_purge_all_and_free_million(benchmark::State& state) {
  for (auto _ : state) {
    state.PauseTiming();
    Cache& cache = cache_of(999'999);
    state.ResumeTiming();
    cache.table->purge_all();
    while (cache.table->maintain(cache.now)) {
    }
    state.PauseTiming();
    cache_of(1);
    state.ResumeTiming();
  }
}
BENCHMARK(BM_purge_all_and_free_million)->Unit(benchmark::kMillisecond)->Iterations(1);

}  // namespace
}  // namespace penstock

BENCHMARK_MAIN();
