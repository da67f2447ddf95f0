// What it costs to turn the binary log of 2,000 sites into lines: each format with the fields it has by default, and
// with the file's own order. One core; the file lies in memory and the lines go nowhere.
#include "src/base/prng.h"
#include "src/log/drain/binary_writer.h"
#include "src/log/drain/convert.h"
#include "src/log/drain/fields.h"
#include "src/log/drain/filter.h"
#include "src/log/journal.h"
#include "src/log/journal_memory.h"

#include <benchmark/benchmark.h>
#include <string>
#include <vector>

namespace penstock {
namespace {

constexpr uint64_t RECORDS = 300'000;
constexpr uint64_t SITES = 2'000;
constexpr uint64_t TARGETS = 5'000;
constexpr uint64_t CLIENTS = 20'000;
constexpr WallTime NOW{1'795'318'352'000'000'000};

void write_request(Journal& journal, const std::string& site, const std::string& host, const std::string& target,
                   const ConnectionFacts& facts, MonoTime now, uint64_t body_bytes) {
  const JournalSlot slot = journal.begin(now, facts, 1, 1, {});
  journal.head(slot, {},
               {.method = "GET",
                .target = target,
                .host = host,
                .user_agent = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
                .referer = "https://www.example.org/"});
  journal.stage(slot, Stage::LOOKUP, now);
  journal.stage(slot, Stage::DELIVER, now);
  journal.moment(slot, Moment::FIRST_BYTE_OUT, now);
  Outcome outcome;
  outcome.status = 200;
  outcome.bytes_in = 400;
  outcome.head_bytes_out = 230;
  outcome.body_bytes_out = body_bytes;
  outcome.site = site;
  journal.end(slot, {now.ns + 123'456}, outcome);
}

// As logd writes it, from the ring of one reactor.
class BinaryFile {
 public:
  BinaryFile() {
    writer_.start(buffer_, NOW, true);
    journal_.set_wall({0}, NOW);
    for (uint64_t i = 0; i < RECORDS; ++i) {
      request(i);
      if (i % 1000 == 999) drain();
    }
    drain();
  }
  [[nodiscard]] std::string_view bytes() const { return buffer_.view(); }

 private:
  void request(uint64_t i) {
    const uint64_t site = prng_.below(SITES);
    const std::string name = "site" + std::to_string(site), host = name + ".example.org";
    const std::string target = "/articles/2026/" + std::to_string(prng_.below(TARGETS)) + ".html?page=2";
    ConnectionFacts facts;
    facts.client = {.ip = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 198, 51}, .port = 40000, .family = 4};
    const uint64_t client = prng_.below(CLIENTS);
    facts.client.ip[14] = static_cast<uint8_t>(client >> 8);
    facts.client.ip[15] = static_cast<uint8_t>(client);
    write_request(journal_, name, host, target, facts, MonoTime{static_cast<int64_t>(i) * 10'000},
                  prng_.below(100'000));
  }
  void drain() {
    while (const EndRecordView* record = ring_.next()) writer_.add(buffer_, *record, ring_.reactor(), ring_.instance());
    writer_.finish(buffer_);
    ring_.acknowledge(0);
  }

  JournalMemory memory_ = create_journal_memory({.slot_count = 64, .ring_bytes = 4 << 20}).value();
  JournalMap reactor_ = JournalMap::map(memory_.data.get(), memory_.ack.get(), JournalAccess::REACTOR).value();
  JournalMap logd_ = JournalMap::map(memory_.data.get(), memory_.ack.get(), JournalAccess::DRAIN).value();
  Journal journal_{reactor_, -1};
  RingReader ring_{logd_};
  BinaryWriter writer_{7};
  LineBuffer buffer_;
  Prng prng_{11};
};

void binary_to_lines(benchmark::State& state, LogFormat format) {
  static const BinaryFile file;
  ConvertOptions options;
  options.line.format = format;
  options.line.fields = default_log_fields();
  const std::string_view files[] = {file.bytes()};
  uint64_t records = 0, bytes = 0;
  for (auto _ : state) {
    const auto report = convert_binary_logs(files, NOW, options, [&](std::string_view lines) -> Status {
      bytes += lines.size();
      return {};
    });
    if (!report || report->records != RECORDS) return state.SkipWithError("not all records were converted");
    records += report->records;
  }
  state.counters["records_per_second"] = benchmark::Counter(static_cast<double>(records), benchmark::Counter::kIsRate);
  state.counters["bytes_a_line"] = static_cast<double>(bytes) / static_cast<double>(records);
}
BENCHMARK_CAPTURE(binary_to_lines, w3c, LogFormat::W3C)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(binary_to_lines, ncsa, LogFormat::NCSA)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(binary_to_lines, json, LogFormat::JSON)->Unit(benchmark::kMillisecond);

// Whether a follower or a log with a condition wants a record: one of two thousand in a ring.
void filtered(benchmark::State& state, const char* condition) {
  const JournalMemory memory = create_journal_memory({.slot_count = 64, .ring_bytes = 4 << 20}).value();
  JournalMap reactor = JournalMap::map(memory.data.get(), memory.ack.get(), JournalAccess::REACTOR).value();
  JournalMap logd = JournalMap::map(memory.data.get(), memory.ack.get(), JournalAccess::DRAIN).value();
  Journal journal(reactor, -1);
  for (int i = 0; i < 2'000; ++i)
    write_request(journal, "main", "main.example.org", "/articles/2026/1.html", {}, MonoTime{i}, 1024);
  RingReader ring(logd);
  const std::string conditions[] = {condition};
  LogFilter filter = LogFilter::parse(conditions).value();
  EntryTexts texts;
  uint64_t records = 0, wanted = 0;
  for (auto _ : state) {
    while (const EndRecordView* record = ring.next()) {
      wanted += filter.wants(*record, 0, texts) ? 1 : 0;
      ++records;
    }
    ring.rewind();
  }
  if (records == 0 || wanted != 0) state.SkipWithError("there are no records, or some are wanted");
  state.counters["ns_per_record"] = benchmark::Counter(static_cast<double>(records) * 1e-9,
                                                       benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK_CAPTURE(filtered, by_number, "status>=500");
BENCHMARK_CAPTURE(filtered, by_text, "method=POST");

}  // namespace
}  // namespace penstock

BENCHMARK_MAIN();
