// The rings between server and worker: what an exchange costs both ends, and how long a round trip takes between two
// threads with a core each (FEATURES DY12: p50 at most 6 us, p99 at most 20 us, no system call while both are busy).
#include "pool/ring/server_link.h"
#include "pool/ring/worker_link.h"
#include "src/base/adaptive_spin.h"
#include "src/base/doorbell.h"

#include <algorithm>
#include <atomic>
#include <benchmark/benchmark.h>
#include <chrono>
#include <cstring>
#include <sched.h>
#include <string>
#include <sys/epoll.h>
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
    bool rings = false;
    return serve(rings);
  }
  // `rings`: whether the server sleeps and is to be woken.
  bool serve(bool& rings) {
    WorkerEvent event;
    bool some = false;
    while (worker.next(event)) {
      some = true;
      if (event.kind != WorkerEvent::Kind::REQUEST) continue;
      const std::pair<std::string_view, std::string_view> fields[] = {{"Content-Type", "text/plain"}};
      (void)worker.send_head(event.exchange, {.length = BODY.size(), .fields = fields}, BODY, true);
    }
    rings = worker.flush();
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

// Where one end sleeps, and how: as the reactor and the workers' loop do, by looking again as long as that pays and
// then in the kernel. Counts what it asks of the kernel.
struct Sleeper {
  UniqueFd bed = make_bed().value();
  UniqueFd bell = make_bell().value();
  AdaptiveSpin spin;
  uint64_t calls = 0;

  Sleeper() { (void)hang_bell(bell, {bed.get()}); }
  void wake(uint64_t& caller_calls) {
    ++caller_calls;
    ring_bell(bell.get());
  }
  // Nothing was found; `link` is this end's.
  void rest(auto& link) {
    if (spin.again()) return spin_once();
    if (link.may_sleep()) {
      ++calls;
      epoll_event rang;
      (void)::epoll_wait(bed.get(), &rang, 1, -1);
    }
    link.awake();
  }
};

// The calling thread keeps to the `which`-th of the cores that `allowed` has; false: there are not so many.
bool keep_to(const cpu_set_t& allowed, int which) {
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (!CPU_ISSET(core, &allowed) || which-- > 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    return ::sched_setaffinity(0, sizeof one, &one) == 0;
  }
  return false;
}

// One exchange at a time, the worker on the other core; either end sleeps as soon as looking does not pay.
void BM_round_trip(benchmark::State& state) {
  World world;
  Sleeper server;
  Sleeper worker;
  std::atomic<bool> stop{false};
  cpu_set_t allowed;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0 || !keep_to(allowed, 0))
    return state.SkipWithError("no core");
  std::thread other([&] {
    (void)keep_to(allowed, 1);  // with one core they share it, and sleep
    while (!stop.load(std::memory_order_relaxed)) {
      bool rings = false;
      const bool some = world.serve(rings);
      if (rings) server.wake(worker.calls);
      if (some) {
        worker.spin.worked();
      } else {
        worker.rest(world.worker);
      }
    }
  });
  while (world.server.request_room().empty()) (void)world.listen();
  std::vector<int64_t> took;
  took.reserve(1 << 22);
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    world.ask(1);
    if (world.server.flush()) worker.wake(server.calls);
    while (world.listen() == 0) server.rest(world.server);
    server.spin.worked();
    if (took.size() < took.capacity()) took.push_back((std::chrono::steady_clock::now() - start).count());
  }
  stop = true;
  ring_bell(worker.bell.get());
  other.join();
  (void)::sched_setaffinity(0, sizeof allowed, &allowed);
  state.counters["calls"] = static_cast<double>(server.calls + worker.calls) / static_cast<double>(took.size());
  std::sort(took.begin(), took.end());
  state.counters["p50_ns"] = static_cast<double>(took[took.size() / 2]);
  state.counters["p99_ns"] = static_cast<double>(took[took.size() * 99 / 100]);
}
BENCHMARK(BM_round_trip)->UseRealTime();

}  // namespace
}  // namespace penstock

BENCHMARK_MAIN();
