// The binary log: what is written is what is read, through full tables, damage and several reactors.
#include "src/base/prng.h"
#include "src/log/drain/binary_reader.h"
#include "src/log/drain/binary_writer.h"
#include "src/log/drain/convert.h"
#include "src/log/drain/string_table.h"
#include "tests/support/effort.h"
#include "tests/unit/log/journal_fixture.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <map>

namespace penstock {
namespace {

using namespace log_test;

const WallTime NOW{1'795'318'352'123'456'000};

std::vector<std::string> lines_of(std::span<const std::string_view> files, const ConvertOptions& options,
                                  ConvertReport* report = nullptr) {
  std::string all;
  const auto result = convert_binary_logs(files, NOW, options, [&](std::string_view lines) -> Status {
    all += lines;
    return {};
  });
  EXPECT_TRUE(result.has_value());
  if (result && report != nullptr) *report = *result;
  std::vector<std::string> lines;
  for (size_t at = 0; at < all.size();) {
    const size_t end = all.find('\n', at);
    lines.push_back(all.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

std::vector<std::string> lines_of(const std::string& file, const ConvertOptions& options,
                                  ConvertReport* report = nullptr) {
  const std::string_view files[] = {file};
  return lines_of(files, options, report);
}

// Records from real journals, one per reactor, drained to a binary file by the writer.
class Source {
 public:
  explicit Source(uint32_t reactors) {
    for (uint32_t i = 0; i < reactors; ++i) {
      pairs_.push_back(std::make_unique<Pair>(1024, 1ULL << 20, i));
      pairs_.back()->journal->set_wall({0}, {1'700'000'000'000'000'000});
    }
    writer_.start(buffer_, NOW, true);
  }
  Pair& pair(uint32_t reactor) { return *pairs_[reactor]; }
  void drain(uint32_t reactor) {
    RingReader& ring = *pairs_[reactor]->ring;
    while (const EndRecordView* record = ring.next()) writer_.add(buffer_, *record, ring.reactor(), ring.instance());
    writer_.finish(buffer_);
    ring.acknowledge(0);
  }
  BinaryWriter& writer() { return writer_; }
  LineBuffer& buffer() { return buffer_; }
  std::string file() { return std::string(buffer_.view()); }

 private:
  std::vector<std::unique_ptr<Pair>> pairs_;
  BinaryWriter writer_{99};
  LineBuffer buffer_;
};

const LineFormatOptions JSON_ALL{
    .format = LogFormat::JSON,
    .fields = {LogField::TIMESTAMP,    LogField::C_IP,         LogField::C_PORT,        LogField::S_IP,
               LogField::S_PORT,       LogField::S_SITENAME,   LogField::CS_USERNAME,   LogField::CS_METHOD,
               LogField::CS_URI,       LogField::CS_HOST,      LogField::CS_VERSION,    LogField::CS_USER_AGENT,
               LogField::CS_REFERER,   LogField::SC_STATUS,    LogField::SC_SUBSTATUS,  LogField::X_REASON_NAME,
               LogField::X_CACHE,      LogField::X_HEAD_BYTES, LogField::X_BODY_BYTES,  LogField::CS_BYTES,
               LogField::TIME_TAKEN,   LogField::X_TIME_QUEUE, LogField::X_TIME_WORKER, LogField::X_TIME_FIRST_BYTE,
               LogField::X_CODING,     LogField::X_REQUEST,    LogField::X_REACTOR,     LogField::X_SEQ_START,
               LogField::X_SEQ_FINISH, LogField::X_GENERATION, LogField::X_KIND,        LogField::X_FLAGS}};

// As logd writes it in that format: each string escaped for each record.
std::string converted_line(const EndRecordView& view, uint32_t reactor, const LineFormatOptions& options) {
  LineFormat format(options);
  EntryTexts texts;
  AccessEntry entry = entry_of(view.head, reactor);
  texts.fill(entry, view, escape_of(options.format));
  LineBuffer out;
  format.line(out, entry);
  return std::string(out.view().substr(0, out.size() - 1));
}

void random_request(Journal& journal, Prng& prng, int64_t now) {
  if (prng.one_in(10)) {
    Outcome outcome;
    outcome.reason = static_cast<uint16_t>(prng.below(40));
    journal.connection({now}, facts(), 1, outcome);
    return;
  }
  const std::string target = "/" + std::to_string(prng.below(50)) + (prng.one_in(9) ? "\n\"\xff" : "");
  const std::string host = "h" + std::to_string(prng.below(3));
  const JournalSlot slot = journal.begin({now}, facts(), 1 + prng.below(65535), prng.below(9), {});
  journal.head(slot, {}, {.method = prng.one_in(4) ? "POST" : "GET", .target = target, .host = host});
  if (prng.one_in(2)) {
    journal.stage(slot, Stage::QUEUED, {now + 1000});
    journal.stage(slot, Stage::WORKER, {now + 500'000});
  }
  journal.moment(slot, Moment::FIRST_BYTE_OUT, {now + 900'000});
  Outcome outcome = ok_outcome();
  outcome.status = static_cast<uint16_t>(200 + prng.below(300));
  outcome.sub_status = static_cast<uint16_t>(prng.below(700));
  outcome.body_bytes_out = prng.next() >> (16 + prng.below(40));
  outcome.version = prng.one_in(2) ? HttpVersion::HTTP_10 : HttpVersion::HTTP_2;
  outcome.coding = static_cast<BodyCoding>(prng.below(4));
  outcome.flags = static_cast<uint16_t>(prng.below(32));
  outcome.user = prng.one_in(5) ? "anna" : "";
  journal.end(slot, {now + prng.below(2'000'000)}, outcome);
}

TEST(BinaryLog, converting_gives_the_lines_that_logging_in_that_format_gives) {
  Prng prng(8);
  Source source(2);
  std::vector<std::string> expected;
  for (int batch = 0; batch < 40; ++batch) {
    const auto reactor = static_cast<uint32_t>(batch % 2);
    for (int i = 0; i < 50; ++i) random_request(*source.pair(reactor).journal, prng, 1'000'000'000 + batch * 1000 + i);
    RingReader& ring = *source.pair(reactor).ring;
    while (const EndRecordView* record = ring.next()) expected.push_back(converted_line(*record, reactor, JSON_ALL));
    ring.rewind();
    source.drain(reactor);
    if (batch == 20) source.writer().start(source.buffer(), NOW, false);  // a new logd goes on in the file
  }
  ConvertReport report;
  const std::vector<std::string> got = lines_of(source.file(), {.line = JSON_ALL}, &report);
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], expected[i]);
  EXPECT_EQ(report.records, expected.size());
  EXPECT_EQ(report.skipped_bytes, 0U);
}

// The converter escapes a string once and then copies it; what it copies must be what each line would have got.
TEST(BinaryLog, strings_that_are_escaped_once_are_those_escaped_for_each_line) {
  const std::string_view hostile[] = {"plain",
                                      "",
                                      "#",
                                      "\"",
                                      "\\",
                                      "\\\"\\",
                                      "?",
                                      "?\"?\n",
                                      "a b\tc\r\nd",
                                      "\x01\x1f\x7f",
                                      "\xff\xfe",
                                      "\xc3",
                                      "\xc3\xa4",
                                      "\xed\xa0\x80",
                                      "\xe2\x80\xa8\xc2\x85",
                                      "\xf4\x90\x80\x80",
                                      "%41+\\x41",
                                      "\xe2\x81\xa6 \xf0\x9f\x98\x80\""};
  for (const LogFormat form : {LogFormat::W3C, LogFormat::NCSA, LogFormat::JSON}) {
    LineFormatOptions options = JSON_ALL;
    options.format = form;
    options.fields.insert(options.fields.end(), {LogField::CS_URI_STEM, LogField::CS_URI_QUERY});
    Source source(1);
    std::vector<std::string> expected;
    for (size_t round = 0; round < 3; ++round) {  // each string is in the table when it comes again
      for (const std::string_view text : hostile) {
        const std::string target = "/" + std::string(text) + "?" + std::string(text);
        Outcome outcome = ok_outcome();
        outcome.user = outcome.site = text;
        Journal& journal = *source.pair(0).journal;
        const JournalSlot slot = journal.begin({1'000'000'000}, facts(), 1, 3, {});
        journal.head(slot, {}, {.method = text, .target = target, .host = text, .user_agent = text, .referer = text});
        journal.end(slot, {1'000'500'000}, outcome);
      }
      RingReader& ring = *source.pair(0).ring;
      while (const EndRecordView* record = ring.next()) expected.push_back(converted_line(*record, 0, options));
      ring.rewind();
      source.drain(0);
    }
    std::vector<std::string> got = lines_of(source.file(), {.line = options});
    if (form == LogFormat::W3C) got.erase(got.begin(), got.begin() + 4);  // the directives
    EXPECT_EQ(got, expected);
    EXPECT_EQ(got.size(), 3 * std::size(hostile));
  }
}

TEST(BinaryLog, order_by_start_is_the_order_of_arrival_and_by_finish_that_of_ends) {
  Prng prng(21);
  Source source(3);
  const LineFormatOptions uri{.format = LogFormat::W3C, .fields = {LogField::CS_URI}};
  std::vector<std::string> arrived;
  std::vector<std::string> ended;
  std::vector<std::pair<uint32_t, std::pair<JournalSlot, std::string>>> open;
  int64_t now = 1'000'000'000;
  for (int turn = 0; turn < one_threaded_rounds(60'000); ++turn) {
    now += 1000;
    const uint32_t reactor = prng.below(3);
    if (open.size() < 900 && !prng.one_in(3)) {
      const std::string target = "/" + std::to_string(arrived.size());
      const JournalSlot slot = source.pair(reactor).journal->begin({now}, facts(), 2, 1, {});
      source.pair(reactor).journal->head(slot, {}, {.method = "GET", .target = target});
      open.push_back({reactor, {slot, target}});
      arrived.push_back(target);
    } else if (!open.empty()) {
      const size_t pick = prng.below(static_cast<uint32_t>(open.size()));
      source.pair(open[pick].first).journal->end(open[pick].second.first, {now}, ok_outcome());
      ended.push_back(open[pick].second.second);
      open[pick] = open.back();
      open.pop_back();
    }
    if (prng.one_in(50)) source.drain(reactor);
  }
  for (const auto& [reactor, request] : open) {
    now += 1000;
    source.pair(reactor).journal->end(request.first, {now}, ok_outcome());
    ended.push_back(request.second);
    source.drain(reactor);
  }
  for (uint32_t reactor = 0; reactor < 3; ++reactor) source.drain(reactor);
  std::vector<std::string> by_start = lines_of(source.file(), {.line = uri, .order = LogOrder::START});
  std::vector<std::string> by_finish = lines_of(source.file(), {.line = uri, .order = LogOrder::FINISH});
  by_start.erase(by_start.begin(), by_start.begin() + 4);  // directives
  by_finish.erase(by_finish.begin(), by_finish.begin() + 4);
  EXPECT_TRUE(by_start == arrived);
  EXPECT_TRUE(by_finish == ended);
}

TEST(BinaryLog, order_by_start_spans_rotated_files) {
  Source source(1);
  Journal& journal = *source.pair(0).journal;
  const auto begin = [&](const char* target, int64_t now) {
    const JournalSlot slot = journal.begin({now}, facts(), 2, 1, {});
    journal.head(slot, {}, {.method = "GET", .target = target});
    return slot;
  };
  const JournalSlot slow = begin("/slow", 1000);
  journal.end(begin("/fast", 2000), {3000}, ok_outcome());
  source.drain(0);
  const std::string first = source.file();
  source.buffer().clear();
  source.writer().start(source.buffer(), NOW, true);
  journal.end(slow, {9000}, ok_outcome());
  source.drain(0);
  const std::string second = source.file();
  const std::string_view files[] = {first, second};
  const std::vector<std::string> lines =
      lines_of(files, {.line = {.format = LogFormat::JSON, .fields = {LogField::CS_URI}}, .order = LogOrder::START});
  EXPECT_EQ(lines, (std::vector<std::string>{"{\"uri\":\"/slow\"}", "{\"uri\":\"/fast\"}"}));
}

TEST(BinaryLog, a_full_table_starts_a_new_one_and_no_string_is_mixed_up) {
  Source source(1);
  std::vector<std::string> expected;
  // The small table takes 65,535 strings; methods are what a client can fill it with.
  for (int i = 0; i < 70'000; ++i) {
    const std::string method = "M" + std::to_string(i);
    const JournalSlot slot = source.pair(0).journal->begin({i + 1}, facts(), 2, 1, {});
    source.pair(0).journal->head(slot, {}, {.method = method, .target = method});
    source.pair(0).journal->end(slot, {i + 2}, ok_outcome());
    expected.push_back("{\"method\":\"" + method + "\",\"uri\":\"" + method + "\"}");
    if (i % 1000 == 999) source.drain(0);
  }
  source.drain(0);
  const LineFormatOptions line{.format = LogFormat::JSON, .fields = {LogField::CS_METHOD, LogField::CS_URI}};
  EXPECT_TRUE(lines_of(source.file(), {.line = line}) == expected);
}

TEST(BinaryLog, damage_costs_what_it_hit_and_never_mixes_strings) {
  Source source(1);
  Prng prng(4);
  // Ten stretches, each opened by a reset, of five blocks.
  for (int i = 0; i < 500; ++i) {
    const std::string target = "/" + std::to_string(i);
    const JournalSlot slot = source.pair(0).journal->begin({i + 1}, facts(), 2, 1, {});
    source.pair(0).journal->head(slot, {}, {.method = target, .target = target, .host = target});
    source.pair(0).journal->end(slot, {i + 2}, ok_outcome());
    if (i % 10 == 9) source.drain(0);
    if (i % 50 == 49) source.writer().start(source.buffer(), NOW, false);
  }
  const std::string whole = source.file();
  const LineFormatOptions line{
      .format = LogFormat::W3C,
      .fields = {LogField::CS_METHOD, LogField::CS_URI, LogField::CS_HOST, LogField::X_SEQ_START}};
  for (int round = 0; round < one_threaded_rounds(500); ++round) {
    std::string file = whole;
    if (round % 2 == 0) {
      file.resize(32 + prng.below(static_cast<uint32_t>(file.size() - 32)));  // cut short
    } else {
      file[32 + prng.below(static_cast<uint32_t>(file.size() - 32))] ^= static_cast<char>(1 + prng.below(255));
    }
    ConvertReport report;
    const std::vector<std::string> lines =
        lines_of(file, {.line = line, .order = static_cast<LogOrder>(round % 3)}, &report);
    ASSERT_LE(report.records, 500U);
    for (const std::string& text : lines) {
      if (text[0] == '#') continue;
      const std::string seq = text.substr(text.rfind(' ') + 1);
      ASSERT_EQ(text, "/" + seq + " /" + seq + " /" + seq + " " + seq);
    }
    if (round % 2 == 1) {
      ASSERT_GE(report.records, 400U);
    }
  }
}

TEST(BinaryLog, gaps_and_foreign_files_are_reported) {
  Source source(1);
  source.writer().gap(source.buffer(), 0, 7, 12);
  ConvertReport report;
  const std::vector<std::string> lines =
      lines_of(source.file(), {.line = {.format = LogFormat::JSON, .fields = default_log_fields()}}, &report);
  EXPECT_EQ(report.dropped, 12U);
  EXPECT_EQ(lines, (std::vector<std::string>{"{\"kind\":\"gap\",\"reactor\":0,\"dropped\":12}"}));
  EXPECT_FALSE(BinaryReader::open("").has_value());
  EXPECT_FALSE(BinaryReader::open("#Software: penstock\n#Version: 1.0\n").has_value());
}

// The example of binary_log.h.
TEST(BinaryLog, the_worked_example_is_what_is_written) {
  Pair pair(4);
  pair.journal->set_wall({0}, {0x1000});
  ConnectionFacts from = facts();
  const JournalSlot slot = pair.journal->begin({0x10}, from, 1, 3, {});
  pair.journal->head(slot, {}, {.method = "GET", .target = "/a"});
  Outcome outcome = ok_outcome();
  outcome.site = "";
  pair.journal->end(slot, {0x10 + 2'000'000}, outcome);
  BinaryWriter writer(1);
  LineBuffer out;
  writer.start(out, {0x0102030405060708}, true);
  writer.add(out, *pair.ring->next(), 0, 7);
  writer.finish(out);
  const std::string_view bytes = out.view();
  ASSERT_EQ(bytes.size(), 32U + 48 + 21 + 48 + 15 + 48 + 96);
  EXPECT_EQ(bytes.substr(0, 32), std::string_view("PENSLOG1\1\0\0\0\40\0\0\0\x08\7\6\5\4\3\2\1\0\0\0\0\0\0\0\0", 32));
  EXPECT_EQ(bytes.substr(32, 16), std::string_view("BLK1\1\0\1\0\2\0\0\0\25\0\0\0", 16));
  EXPECT_EQ(bytes.substr(80, 21), std::string_view("\3\0GET\16\0"
                                                   "192.0.2.1 8080",
                                                   21));
  EXPECT_EQ(bytes.substr(101, 16), std::string_view("BLK1\2\0\0\0\2\0\0\0\17\0\0\0", 16));
  EXPECT_EQ(bytes.substr(149, 15), std::string_view("\x09\0"
                                                    "192.0.2.7\2\0/a",
                                                    15));
  EXPECT_EQ(bytes.substr(164, 16), std::string_view("BLK1\3\0\0\0\1\0\0\0\140\0\0\0", 16));
  BinaryRecord record;
  std::memcpy(&record, bytes.data() + 212, sizeof(record));
  EXPECT_EQ(record.begin_wall_ns, 0x1010);
  EXPECT_EQ(record.duration_us & LOW_48, 2000U);
  EXPECT_EQ(record.method, 1);
  EXPECT_EQ(record.server, 2);
  EXPECT_EQ(record.client, 1U);
  EXPECT_EQ(record.target, 2U);
  EXPECT_EQ(record.answer, 200U | 1U << 20);
}

TEST(StringTable, gives_each_string_one_number_until_it_is_full) {
  StringTable table(1000, 1 << 20, 3);
  std::map<std::string, uint32_t> model;
  Prng prng(2);
  for (int i = 0; i < 20'000; ++i) {
    const std::string text = "s" + std::to_string(prng.below(1500));
    const auto id = table.id_of(text);
    if (const auto known = model.find(text); known != model.end()) {
      ASSERT_EQ(id, known->second);
    } else if (model.size() < 1000) {
      ASSERT_TRUE(id.has_value());
      ASSERT_EQ(*id, model.size() + 1);
      ASSERT_EQ(table.at(*id), text);
      model[text] = *id;
    } else {
      ASSERT_FALSE(id.has_value());
    }
  }
  EXPECT_EQ(table.id_of(""), 0U);
  table.clear();
  EXPECT_EQ(table.id_of("x"), 1U);
  StringTable small(10, 8, 3);
  EXPECT_TRUE(small.id_of("12345678").has_value());
  EXPECT_FALSE(small.id_of("9").has_value());
}

}  // namespace
}  // namespace penstock
