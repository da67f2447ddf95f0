// The rings between server and worker: what an exchange costs both ends, and how long a round trip takes between two
// threads that are awake (FEATURES DY12: p50 at most 6 us, p99 at most 20 us).
#include "pool/ring/server_link.h"
#include "pool/ring/worker_link.h"

#include <algorithm>
#include <atomic>
#include <benchmark/benchmark.h>
#include <chrono>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace penstock {
namespace {

constexpr std::string_view BODY =
    "112 bytes of an answer, as in the comparison with other servers: long enough to be one, short enough not to "
    "matter..";

struct World {
  SegmentMemory memory = create_segment({}).value();
  Segment server_side = Segment::map(memory.server_half.get(), memory.worker_half.get(), Segment::Side::SERVER).value();
  Segment worker_side = Segment::map(memory.server_half.get(), memory.worker_half.get(), Segment::Side::WORKER).value();
  ServerLink server{server_side.channel(0), 1, {}};
  WorkerLink worker{worker_side.channel(0)};

  void ask(uint64_t serial) {
    const std::span<char> room = server.request_room();
    const penstock_request_head head{.bytes = 400};
    std::memcpy(room.data(), &head, sizeof head);
    (void)server.begin({.serial = serial, .head_bytes = 400, .length = 0});
  }
  bool serve() {
    WorkerEvent event;
    bool some = false;
    while (worker.next(event)) {
      some = true;
      if (event.kind != WorkerEvent::Kind::REQUEST) continue;
      const std::pair<std::string_view, std::string_view> fields[] = {{"Content-Type", "text/plain"}};
      (void)worker.send_head(event.exchange, {.length = BODY.size(), .fields = fields}, BODY, true);
    }
    (void)worker.flush();
    return some;
  }
  uint32_t listen() {
    LinkEvent event;
    uint32_t heads = 0;
    while (server.next(event)) heads += event.kind == LinkEvent::Kind::HEAD;
    return heads;
  }
};

// Both ends on one thread, `range` exchanges at a time: the instructions of a request without any waiting.
void BM_exchange_both_ends(benchmark::State& state) {
  World world;
  (void)world.serve();
  (void)world.listen();
  uint64_t serial = 0;
  for (auto _ : state) {
    for (int64_t i = 0; i < state.range(0); ++i) world.ask(++serial);
    (void)world.server.flush();
    (void)world.serve();
    if (world.listen() != state.range(0)) state.SkipWithError("an answer is missing");
  }
  state.SetItemsProcessed(static_cast<int64_t>(serial));
}
BENCHMARK(BM_exchange_both_ends)->Arg(1)->Arg(32);

// One exchange at a time, the worker on the other core; both spin.
void BM_round_trip(benchmark::State& state) {
  World world;
  std::atomic<bool> stop{false};
  std::thread worker([&] {
    while (!stop.load(std::memory_order_relaxed)) (void)world.serve();
  });
  while (world.server.request_room().empty()) (void)world.listen();
  std::vector<int64_t> took;
  took.reserve(1 << 22);
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    world.ask(1);
    (void)world.server.flush();
    while (world.listen() == 0) {
    }
    if (took.size() < took.capacity()) took.push_back((std::chrono::steady_clock::now() - start).count());
  }
  stop = true;
  worker.join();
  std::sort(took.begin(), took.end());
  state.counters["p50_ns"] = static_cast<double>(took[took.size() / 2]);
  state.counters["p99_ns"] = static_cast<double>(took[took.size() * 99 / 100]);
}
BENCHMARK(BM_round_trip)->UseRealTime();

}  // namespace
}  // namespace penstock

BENCHMARK_MAIN();
