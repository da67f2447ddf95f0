// A hot hit from the bytes that came to the bytes that go: parse, key, lookup, head with its date, body.
//
// The same calls that the reactor makes, without what surrounds them: transport, journal and the walk have benchmarks
// of their own. A pipeline's worth of requests, so that no step is measured with everything but it in the cache.
#include "perf/micro/bench_cache.h"
#include "src/http/request_parser.h"

#include <benchmark/benchmark.h>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace penstock {
namespace {

constexpr std::string_view HOST = "127.0.0.1:8080";
constexpr std::string_view DATE = "Sun, 22 Nov 2026 08:00:00 GMT";
constexpr uint32_t FILES = 1000;
constexpr size_t REQUESTS = 4096;

struct World : BenchCache {
  explicit World(size_t body_bytes) : BenchCache(uint64_t{1} << 30, 1) {
    for (uint32_t i = 0; i < FILES; ++i) put(HOST, "/" + std::to_string(i) + ".bin", body_bytes);
    for (size_t i = 0; i < REQUESTS; ++i) {
      requests.push_back("GET /" + std::to_string(i * 7919 % FILES) + ".bin HTTP/1.1\r\nHost: " + std::string(HOST) +
                         "\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n");
    }
    table->online(0);
  }
  ~World() { table->offline(0); }

  std::vector<std::string> requests;
};

// Gives how many bytes the answer has; 0: a step failed.
size_t answer(World& world, std::string_view bytes, RequestHead& head, char* out) {
  RequestParser parser;
  if (parser.parse(bytes, {}, head) != ParseState::COMPLETE || !head.plain) return 0;
  const KeyView key{.host = head.authority, .target = head.target};
  Verdict why{};
  const Entry* entry = world.table->lookup(0, key, hash_key(key, World::SEED), 0, world.now, why);
  if (entry == nullptr) return 0;
  const Variant* variant = entry->pick(head.accept_mask);
  const std::string_view stored = variant->head();
  std::memcpy(out, stored.data(), stored.size());
  std::memcpy(out + variant->date_offset, DATE.data(), DATE.size());
  std::memcpy(out + stored.size(), variant->body_data, variant->body_size);
  return stored.size() + variant->body_size;
}

void decode_lookup_compose(benchmark::State& state) {
  World world(static_cast<size_t>(state.range(0)));
  const auto head = std::make_unique<RequestHead>();
  std::vector<char> out(16 * (512 + static_cast<size_t>(state.range(0))));
  size_t next = 0;
  size_t at = 0;
  for (auto _ : state) {
    const size_t size = answer(world, world.requests[next % REQUESTS], *head, out.data() + at);
    if (size == 0) return state.SkipWithError("no hit");
    benchmark::DoNotOptimize(out.data());
    benchmark::ClobberMemory();
    at = ++next % 16 == 0 ? 0 : at + size;
    if (at == 0) world.table->quiescent(0);
  }
}
BENCHMARK(decode_lookup_compose)->Arg(64)->Arg(1024);

}  // namespace
}  // namespace penstock

BENCHMARK_MAIN();
