// The site of a host among 100,000 names of ten sites (FEATURES VH1: at most 300 ns for 99 of 100 look-ups, and at most
// 200 bytes for a name beyond its own).
#include "src/base/prng.h"
#include "src/route/route_table.h"

#include <algorithm>
#include <benchmark/benchmark.h>
#include <chrono>
#include <cstddef>
#include <malloc.h>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {
namespace {

constexpr size_t SITES = 10;
constexpr size_t NAMES_OF_SITE = 10'000;
constexpr size_t NAMES = SITES * NAMES_OF_SITE;

std::string name_of(size_t number) { return "host" + std::to_string(number) + ".customers.example.org"; }

size_t heap_bytes() {
  const struct mallinfo2 heap = mallinfo2();
  return heap.uordblks + heap.hblkhd;
}

// What a snapshot of the configuration has of them: the settings and the table.
struct World {
  World() {
    const size_t before = heap_bytes();
    auto made = std::make_unique<Settings>();
    made->sites.resize(SITES);
    size_t own = 0;
    for (size_t site = 0; site < SITES; ++site) {
      made->sites[site].name = "s" + std::to_string(site);
      made->sites[site].hosts.reserve(NAMES_OF_SITE);
      for (size_t i = 0; i < NAMES_OF_SITE; ++i) {
        made->sites[site].hosts.push_back(name_of(site * NAMES_OF_SITE + i));
        own += made->sites[site].hosts.back().size();
      }
    }
    settings = std::move(made);
    table = std::make_unique<RouteTable>(*settings);
    bytes_each = (static_cast<double>(heap_bytes() - before) - static_cast<double>(own)) / NAMES;
  }

  std::unique_ptr<Settings> settings;
  std::unique_ptr<RouteTable> table;
  double bytes_each = 0;
};

// As the parser leaves them: one buffer, in no order.
std::vector<std::string> asked_for() {
  Prng prng(7);
  std::vector<std::string> names;
  for (size_t i = 0; i < NAMES; ++i) names.push_back(name_of(prng.below(NAMES)));
  return names;
}

void find_site(benchmark::State& state) {
  const World world;
  const std::vector<std::string> names = asked_for();
  std::vector<int64_t> took;
  took.reserve(size_t{1} << 22);
  std::string asked;
  size_t next = 0;
  for (auto _ : state) {
    asked.assign(names[next++ % NAMES]);  // the parser has just read it
    const std::string_view name = asked;
    const auto start = std::chrono::steady_clock::now();
    const Site* site = world.table->find_site(name);
    benchmark::DoNotOptimize(site);
    const auto end = std::chrono::steady_clock::now();
    if (site == nullptr) return state.SkipWithError("a name has no site");
    if (took.size() < took.capacity()) took.push_back((end - start).count());
  }
  std::sort(took.begin(), took.end());
  state.counters["p50_ns"] = static_cast<double>(took[took.size() / 2]);
  state.counters["p99_ns"] = static_cast<double>(took[took.size() * 99 / 100]);
  state.counters["bytes_each"] = world.bytes_each;
}
BENCHMARK(find_site);

}  // namespace
}  // namespace penstock

BENCHMARK_MAIN();
