// What the journal costs a request: begin, head and end together (budget: 150 ns), and each alone.
//
// The ring is emptied by moving logd's tail, as logd does; the numbers include the copy of the head into
// the slot and of the finish record into the ring.
#include "src/base/clock.h"
#include "src/log/journal.h"

#include <benchmark/benchmark.h>
#include <string>

namespace penstock {
namespace {

struct World {
  explicit World(uint64_t ring_bytes)
      : memory(create_journal_memory({.slot_count = 8192, .ring_bytes = ring_bytes}).value()),
        map(JournalMap::map(memory.data.get(), memory.ack.get(), JournalAccess::REACTOR).value()),
        drain(JournalMap::map(memory.data.get(), memory.ack.get(), JournalAccess::DRAIN).value()),
        journal(map, -1) {}
  void drained() { drain.ack().tail.store(map.producer().head.load(), std::memory_order_release); }

  JournalMemory memory;
  JournalMap map;
  JournalMap drain;
  Journal journal;
};

// A browser's head of 400 bytes; `texts` as the parser gives them.
struct Request {
  std::string raw =
      "GET /assets/app-3f1c.css HTTP/1.1\r\nHost: www.example.org\r\n"
      "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
      "Accept: text/css,*/*;q=0.1\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n"
      "Referer: https://www.example.org/docs/index.html\r\nConnection: keep-alive\r\nSec-Fetch-Dest: style\r\n"
      "Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Site: same-origin\r\n\r\n";
  HeadTexts texts;
  Request() {
    const std::string_view all = raw;
    texts.method = all.substr(0, 3);
    texts.target = all.substr(4, 20);
    texts.host = all.substr(all.find("www."), 15);
    texts.user_agent = all.substr(all.find("Mozilla"), 70);
    texts.referer = all.substr(all.find("https:"), 39);
  }
};

Outcome outcome() {
  Outcome o;
  o.status = 200;
  o.bytes_in = 400;
  o.head_bytes_out = 230;
  o.body_bytes_out = 1024;
  o.site = "main";
  return o;
}

void one_request(Journal& journal, const Request& request, const ConnectionFacts& facts, const Outcome& o,
                 MonoTime now) {
  const JournalSlot slot = journal.begin(now, facts, 2, 1, request.raw);
  journal.head(slot, request.raw, request.texts);
  journal.stage(slot, Stage::LOOKUP, now);
  journal.stage(slot, Stage::DELIVER, now);
  journal.moment(slot, Moment::FIRST_BYTE_OUT, now);
  journal.moment_again(slot, Moment::LAST_BYTE_OUT, now);
  journal.end(slot, now, o);
}

// All that a hot hit calls, in bursts of 64 requests as a busy turn has them.
void journal_begin_head_end(benchmark::State& state) {
  World world(static_cast<uint64_t>(state.range(0)));
  const Request request;
  ConnectionFacts facts;
  const Outcome o = outcome();
  MonoTime now{1};
  int64_t n = 0;
  for (auto _ : state) {
    for (int i = 0; i < 64; ++i) one_request(world.journal, request, facts, o, now);
    world.journal.turn_end();
    now.ns += 1000;
    n += 64;
    if ((n & 4095) == 0) world.drained();
  }
  state.SetItemsProcessed(n);
  state.counters["ns_per_request"] =
      benchmark::Counter(static_cast<double>(n) * 1e-9, benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  if (world.map.counters().journal_drops.get() != 0) state.SkipWithError("records were dropped");
}
BENCHMARK(journal_begin_head_end)->Arg(4 << 20)->Arg(16 << 20);

// 64 requests in flight at once: every slot is another line of the cache.
void journal_64_in_flight(benchmark::State& state) {
  World world(16 << 20);
  const Request request;
  ConnectionFacts facts;
  const Outcome o = outcome();
  MonoTime now{1};
  JournalSlot slots[64];
  int64_t n = 0;
  for (auto _ : state) {
    for (JournalSlot& slot : slots) {
      slot = world.journal.begin(now, facts, 2, 1, request.raw);
      world.journal.head(slot, request.raw, request.texts);
      world.journal.stage(slot, Stage::DELIVER, now);
    }
    for (const JournalSlot& slot : slots) world.journal.end(slot, now, o);
    world.journal.turn_end();
    n += 64;
    if ((n & 4095) == 0) world.drained();
  }
  state.counters["ns_per_request"] =
      benchmark::Counter(static_cast<double>(n) * 1e-9, benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(journal_64_in_flight);

// log.access.format = none: slots only.
void journal_not_recording(benchmark::State& state) {
  World world(1 << 20);
  world.journal.set_recording(false);
  const Request request;
  ConnectionFacts facts;
  const Outcome o = outcome();
  int64_t n = 0;
  for (auto _ : state) {
    one_request(world.journal, request, facts, o, {1});
    ++n;
  }
  state.counters["ns_per_request"] =
      benchmark::Counter(static_cast<double>(n) * 1e-9, benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(journal_not_recording);

// What the end of a request is stamped with, and the clock that it stands in for.
void moment_by_counter(benchmark::State& state) {
  RealClock clock;
  Clock& behind_the_seam = clock;
  TurnClock turn;
  MonoTime now = clock.now();
  for (int i = 0; i < 2; ++i) {
    while (clock.now() < now + milliseconds(120)) {
    }
    now = clock.now();
    turn.turn(now, clock.ticks());
  }
  for (auto _ : state) benchmark::DoNotOptimize(turn.at(behind_the_seam.ticks()));
}
BENCHMARK(moment_by_counter);

void moment_by_clock(benchmark::State& state) {
  RealClock clock;
  Clock& behind_the_seam = clock;
  for (auto _ : state) benchmark::DoNotOptimize(behind_the_seam.now());
}
BENCHMARK(moment_by_clock);

}  // namespace
}  // namespace penstock

BENCHMARK_MAIN();
