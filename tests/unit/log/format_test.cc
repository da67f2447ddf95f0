// Formats: golden lines, and that one request is one line whatever bytes it holds.
#include "src/base/prng.h"
#include "src/http/status.h"
#include "src/http/utf8.h"
#include "src/log/drain/line_format.h"
#include "src/log/drain/line_put.h"
#include "tests/support/effort.h"
#include "tests/unit/log/journal_fixture.h"

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace penstock {
namespace {

using namespace log_test;

// A finish record as it comes out of the ring.
struct Finished {
  Pair pair{4};
  const EndRecordView* view = nullptr;
  explicit Finished(const HeadTexts& texts, Outcome outcome = ok_outcome(), bool is_connection = false) {
    pair.journal->set_wall({0}, {1'795'318'352'123'456'000});  // 2026-11-22T03:32:32.123456Z
    if (is_connection) {
      pair.journal->connection({0}, facts(), 3, outcome, texts);
    } else {
      const JournalSlot slot = pair.journal->begin({0}, facts(), 1, 3, {});
      pair.journal->head(slot, {}, texts);
      pair.journal->moment_again(slot, Moment::FIRST_BYTE, {1'000'000});
      pair.journal->stage(slot, Stage::LOOKUP, {1'010'000});
      pair.journal->stage(slot, Stage::QUEUED, {1'020'000});
      pair.journal->stage(slot, Stage::WORKER, {1'050'000});
      pair.journal->moment(slot, Moment::FIRST_BYTE_OUT, {1'250'000});
      pair.journal->moment(slot, Moment::LAST_BYTE_OUT, {2'250'000});
      pair.journal->end(slot, {4'234'000}, outcome);
    }
    view = pair.ring->next();
  }
};

constexpr HeadTexts PLAIN{.method = "GET",
                          .target = "/a/b?x=1&y=2",
                          .host = "example.org",
                          .user_agent = "Mozilla/5.0 (X11; Linux)",
                          .referer = "http://r/"};

std::string formatted_line(const EndRecordView& view, LineFormatOptions options) {
  const Escape escape = escape_of(options.format);
  LineFormat format(std::move(options));
  EntryTexts texts;
  AccessEntry entry = entry_of(view.head, 5);
  texts.fill(entry, view, escape);
  LineBuffer out;
  format.line(out, entry);
  return std::string(out.view());
}

std::vector<LogField> all_fields() {
  std::vector<LogField> fields;
  for (size_t i = 0; i < LOG_FIELD_INFO.size(); ++i) fields.push_back(static_cast<LogField>(i));
  return fields;
}

TEST(W3cFormat, writes_the_default_fields_as_iis_does) {
  const Finished finished(PLAIN);
  EXPECT_EQ(formatted_line(*finished.view, {.format = LogFormat::W3C, .fields = default_log_fields()}),
            "2026-11-22 03:32:32.123 192.0.2.7 - 192.0.2.1 8080 GET /a/b x=1&y=2 200 0 " +
                std::string(REASONS[1].phrase) + " hit-206 1224 100 3.234 Mozilla/5.0+(X11;+Linux) http://r/\n");
}

TEST(W3cFormat, header_names_the_fields_and_the_date) {
  LineFormat format({.format = LogFormat::W3C, .fields = {LogField::DATE, LogField::CS_USER_AGENT, LogField::CS_HOST}});
  LineBuffer out;
  format.header(out, {1'795'318'352'000'000'000});
  EXPECT_EQ(out.view(),
            "#Software: penstock\n#Version: 1.0\n#Date: 2026-11-22 03:32:32\n#Fields: date cs(User-Agent) cs-host\n");
}

TEST(W3cFormat, stage_times_are_microseconds_and_a_dash_where_a_stage_did_not_happen) {
  const std::vector<LogField> fields = {LogField::X_TIME_RECEIVE,    LogField::X_TIME_ROUTE, LogField::X_TIME_QUEUE,
                                        LogField::X_TIME_WORKER,     LogField::X_TIME_SEND,  LogField::X_TIME_ACK,
                                        LogField::X_TIME_FIRST_BYTE, LogField::TIME_TAKEN};
  const Finished finished(PLAIN);
  EXPECT_EQ(formatted_line(*finished.view, {.format = LogFormat::W3C, .fields = fields}),
            "10 10 30 200 1000 1984 250 3.234\n");
  const Finished refused({}, {}, true);
  EXPECT_EQ(formatted_line(*refused.view, {.format = LogFormat::W3C, .fields = fields}), "- - - - - - - 0.000\n");
}

// Moments in ns; 0: not reached. The times in us, -1 where there is none.
struct Timed {
  int64_t first_byte, head_complete, queued, dequeued, first_byte_out, last_byte_out, finish;
};
std::vector<int64_t> times_of(const Timed& t) {
  EndRecord head{};
  head.kind = RecordKind::REQUEST;
  const auto set = [&head](Moment moment, int64_t ns) { head.moments[static_cast<size_t>(moment)] = ns; };
  set(Moment::FIRST_BYTE, t.first_byte);
  set(Moment::HEAD_COMPLETE, t.head_complete);
  set(Moment::QUEUED, t.queued);
  set(Moment::DEQUEUED, t.dequeued);
  set(Moment::FIRST_BYTE_OUT, t.first_byte_out);
  set(Moment::LAST_BYTE_OUT, t.last_byte_out);
  set(Moment::FINISH, t.finish);
  const AccessEntry e = entry_of(head, 0);
  return {e.receive_us, e.route_us, e.queue_us, e.worker_us, e.send_us, e.ack_us, e.duration_us};
}

TEST(StageTimes, are_together_the_whole_to_the_microsecond) {
  // Each gap is a few hundred ns: cut one by one they would all be 0.
  EXPECT_EQ(times_of({1000, 1700, 2400, 3100, 3800, 4500, 5200}), (std::vector<int64_t>{0, 1, 1, 0, 1, 1, 4}));
  Prng prng(3);
  for (int round = 0; round < one_threaded_rounds(100'000); ++round) {
    int64_t at = 1 + prng.below(5'000);
    const auto next = [&] { return prng.one_in(3) ? 0 : at += prng.below(3'000); };
    Timed timed{.first_byte = at};
    for (int64_t Timed::*moment :
         {&Timed::head_complete, &Timed::queued, &Timed::dequeued, &Timed::first_byte_out, &Timed::last_byte_out}) {
      timed.*moment = next();
    }
    timed.finish = at + prng.below(3'000);
    const std::vector<int64_t> us = times_of(timed);
    int64_t sum = 0;
    for (size_t i = 0; i + 1 < us.size(); ++i) sum += std::max<int64_t>(us[i], 0);
    ASSERT_EQ(sum, us.back());
    ASSERT_EQ(us.back(), (timed.finish - timed.first_byte) / 1000);
  }
}

TEST(StageTimes, the_stage_in_which_a_request_ended_has_the_rest_and_those_after_it_none) {
  EXPECT_EQ(times_of({1000, 3000, 6000, 0, 0, 0, 10'000}), (std::vector<int64_t>{2, 3, 4, -1, -1, -1, 9}));
  EXPECT_EQ(times_of({1000, 0, 0, 0, 0, 0, 9000}), (std::vector<int64_t>{8, -1, -1, -1, -1, -1, 8}));
}

TEST(StageTimes, a_moment_that_seems_to_lie_before_the_one_before_it_lies_there) {
  EXPECT_EQ(times_of({5000, 9000, 0, 0, 8000, 30'000, 20'000}), (std::vector<int64_t>{4, 0, -1, -1, 11, 0, 15}));
  EXPECT_EQ(times_of({5000, 0, 0, 0, 0, 0, 1000}).back(), 0);
}

TEST(W3cFormat, a_line_never_begins_like_a_directive) {
  const Finished finished({.method = "#Fields:", .target = "/"});
  EXPECT_EQ(
      formatted_line(*finished.view, {.format = LogFormat::W3C, .fields = {LogField::CS_METHOD, LogField::CS_URI}}),
      "%23Fields: /\n");
}

TEST(W3cFormat, every_reason_is_one_word) {
  for (const ReasonInfo& reason : REASONS) {
    EXPECT_FALSE(reason.phrase.empty());
    EXPECT_EQ(reason.phrase.find_first_of(" \"\\\n\t+"), std::string_view::npos) << reason.name;
  }
}

TEST(NcsaFormat, writes_combined) {
  Outcome outcome = ok_outcome();
  outcome.user = "frank b";
  const Finished finished(PLAIN, outcome);
  EXPECT_EQ(formatted_line(*finished.view, {.format = LogFormat::NCSA}),
            "192.0.2.7 - frank\\x20b [22/Nov/2026:03:32:32 +0000] \"GET /a/b?x=1&y=2 HTTP/1.1\" 200 1024 "
            "\"http://r/\" \"Mozilla/5.0 (X11; Linux)\"\n");
  const Finished refused({}, {}, true);
  EXPECT_EQ(formatted_line(*refused.view, {.format = LogFormat::NCSA}),
            "192.0.2.7 - - [22/Nov/2026:03:32:32 +0000] \"-\" 000 - \"-\" \"-\"\n");
}

TEST(JsonFormat, writes_numbers_bare_and_missing_times_as_null) {
  const Finished finished({.method = "GET", .target = "/\"\\\n"});
  EXPECT_EQ(formatted_line(*finished.view, {.format = LogFormat::JSON,
                                            .fields = {LogField::TIMESTAMP, LogField::SC_STATUS, LogField::CS_URI,
                                                       LogField::TIME_TAKEN, LogField::CS_REFERER, LogField::X_KIND}}),
            "{\"timestamp\":\"2026-11-22T03:32:32.123456Z\",\"status\":200,\"uri\":\"/\\\"\\\\\\u000a\","
            "\"time_taken_ms\":3.234,\"referer\":\"\",\"kind\":\"request\"}\n");
  const Finished refused({}, {}, true);
  EXPECT_EQ(
      formatted_line(*refused.view, {.format = LogFormat::JSON, .fields = {LogField::X_TIME_QUEUE, LogField::X_KIND}}),
      "{\"queue_us\":null,\"kind\":\"connection\"}\n");
}

TEST(LineFormat, gaps_are_told_where_the_format_has_a_place_for_it) {
  LineBuffer out;
  LineFormat({.format = LogFormat::W3C, .fields = default_log_fields()}).gap(out, 3, 17);
  EXPECT_EQ(out.view(), "#Remark: 17 records of reactor 3 were dropped here\n");
  out.clear();
  LineFormat({.format = LogFormat::JSON, .fields = default_log_fields()}).gap(out, 3, 17);
  EXPECT_EQ(out.view(), "{\"kind\":\"gap\",\"reactor\":3,\"dropped\":17}\n");
}

TEST(LineFormat, local_time_has_its_offset) {
  ASSERT_EQ(::setenv("TZ", "XXX-5:30", 1), 0);
  ::tzset();
  const Finished finished(PLAIN);
  EXPECT_EQ(formatted_line(*finished.view, {.format = LogFormat::JSON, .fields = {LogField::TIMESTAMP}, .utc = false}),
            "{\"timestamp\":\"2026-11-22T09:02:32.123456+05:30\"}\n");
  EXPECT_NE(
      formatted_line(*finished.view, {.format = LogFormat::NCSA, .utc = false}).find("[22/Nov/2026:09:02:32 +0530]"),
      std::string::npos);
  ASSERT_EQ(::unsetenv("TZ"), 0);
  ::tzset();
}

TEST(LineFormat, a_time_is_that_of_its_own_record) {
  const auto fields = {LogField::DATE, LogField::TIME, LogField::S_COMPUTERNAME, LogField::TIMESTAMP};
  LineFormat format({.format = LogFormat::W3C, .fields = fields});
  const std::pair<int64_t, std::string_view> times[] = {
      {1'795'318'352'123'456'789, "2026-11-22 03:32:32.123 - 2026-11-22T03:32:32.123456Z\n"},
      {1'795'318'352'000'000'000, "2026-11-22 03:32:32.000 - 2026-11-22T03:32:32.000000Z\n"},
      {1'795'318'353'009'000'999, "2026-11-22 03:32:33.009 - 2026-11-22T03:32:33.009000Z\n"},
      {1'795'391'999'999'999'999, "2026-11-22 23:59:59.999 - 2026-11-22T23:59:59.999999Z\n"},
      {1'795'392'000'000'000'000, "2026-11-23 00:00:00.000 - 2026-11-23T00:00:00.000000Z\n"},
      {1'795'318'352'010'000'000, "2026-11-22 03:32:32.010 - 2026-11-22T03:32:32.010000Z\n"}};
  for (const auto& [ns, line] : times) {
    LineBuffer out;
    format.header(out, {0});  // another second lies between
    out.clear();
    AccessEntry entry;
    entry.begin_wall = ns;
    format.line(out, entry);
    EXPECT_EQ(out.view(), line);
  }
}

TEST(LineFormat, numbers_of_every_width_are_whole) {
  const auto check = [](uint64_t value) {
    char digits[24];
    ASSERT_EQ(std::string_view(digits, put_number(digits, value)), std::to_string(value));
  };
  for (uint64_t value = 0; value < 30'000; ++value) check(value);
  for (uint64_t power = 1; power <= UINT64_MAX / 10; power *= 10) {
    for (const uint64_t value : {power * 10 - 1, power * 10, power * 10 + 1, power * 7 + power / 3}) check(value);
  }
  check(UINT64_MAX);
}

TEST(LineFormat, codes_that_name_nothing_are_survived) {
  Outcome outcome;
  outcome.reason = 65535;
  outcome.verdict = 65535;
  outcome.version = static_cast<HttpVersion>(200);
  outcome.coding = static_cast<BodyCoding>(200);
  const Finished finished(PLAIN, outcome);
  EXPECT_EQ(formatted_line(*finished.view, {.format = LogFormat::W3C,
                                            .fields = {LogField::X_REASON, LogField::X_CACHE, LogField::CS_VERSION,
                                                       LogField::X_CODING}}),
            "? ? - -\n");
}

TEST(LogFields, names_are_known_in_either_case_and_others_refused) {
  const std::vector<std::string> good = {"Date", "cs(user-agent)", "cs(Host)"};
  EXPECT_EQ(log_fields(good).value(),
            (std::vector<LogField>{LogField::DATE, LogField::CS_USER_AGENT, LogField::CS_HOST}));
  const std::vector<std::string> bad = {"date", "sc-win32-status"};
  const auto refused = log_fields(bad);
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("sc-win32-status"), std::string::npos);
  EXPECT_FALSE(log_fields({}).has_value());
  EXPECT_FALSE(log_fields(std::vector<std::string>(65, "date")).has_value());
}

// What a strict reader of lines sees: also the breaks that only some readers know.
size_t breaks_in(std::string_view text) {
  size_t count = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<uint8_t>(text[i]);
    count += c < 0x20 || c == 0x7f ? 1 : 0;
    count += text.substr(i, 2) == "\xc2\x85" ? 1 : 0;
    count += text.substr(i, 3) == "\xe2\x80\xa8" || text.substr(i, 3) == "\xe2\x80\xa9" ? 1 : 0;
  }
  return count;
}

// Each line is one line of valid UTF-8, and has the shape that its format promises.
void check_line(LogFormat format, std::string_view line, size_t fields) {
  ASSERT_FALSE(line.empty());
  ASSERT_EQ(line.back(), '\n');
  line.remove_suffix(1);
  ASSERT_EQ(breaks_in(line), 0U) << line;
  ASSERT_EQ(check_utf8(line), Utf8Check::VALID) << line;
  if (format == LogFormat::W3C) {
    ASSERT_EQ(static_cast<size_t>(std::count(line.begin(), line.end(), ' ')), fields - 1) << line;
    ASSERT_NE(line.front(), '#');
    return;
  }
  size_t quotes = 0;  // not escaped ones
  for (size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\\') {
      ++i;
    } else if (line[i] == '"') {
      ++quotes;
    }
  }
  if (format == LogFormat::NCSA) {
    ASSERT_EQ(quotes, 6U) << line;
  } else {
    ASSERT_EQ(quotes % 2, 0U) << line;
    ASSERT_EQ(line.front(), '{');
    ASSERT_EQ(line.back(), '}');
  }
}

void check_text_everywhere(std::string_view text) {
  Outcome outcome = ok_outcome();
  outcome.user = text;
  outcome.site = text;
  outcome.client_subject = text;
  outcome.client_fingerprint = text;
  const Finished finished({.method = text, .target = text, .host = text, .user_agent = text, .referer = text}, outcome);
  const std::vector<LogField> fields = all_fields();
  for (const LogFormat format : {LogFormat::W3C, LogFormat::NCSA, LogFormat::JSON}) {
    check_line(format,
               formatted_line(*finished.view, {.format = format, .fields = fields, .computer_name = std::string(text)}),
               fields.size());
  }
}

TEST(LogInjection, every_file_of_the_corpus_stays_one_line) {
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(PENSTOCK_SOURCE_ROOT "/tests/corpus/log_injection")) {
    std::ifstream in(entry.path(), std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(in)), {});
    check_text_everywhere(bytes);
    ++files;
  }
  EXPECT_GE(files, 12U);
}

TEST(LogInjection, every_pair_of_bytes_stays_one_line) {
  // Each byte before and behind a letter, and each pair of them through the escapers.
  for (int a = 0; a < 256; ++a) {
    const std::string one = {'x', static_cast<char>(a), 'y'};
    check_text_everywhere(one);
    for (int b = 0; b < 256; ++b) {
      const std::string two = {static_cast<char>(a), static_cast<char>(b)};
      for (const Escape escape : {Escape::W3C, Escape::NCSA, Escape::JSON}) {
        char out[2 * ESCAPE_GROWTH_MAX];
        const size_t size = escape_text(escape, two, out);
        ASSERT_LE(size, sizeof(out));
        ASSERT_EQ(breaks_in({out, size}), 0U) << a << ' ' << b;
        ASSERT_EQ(check_utf8({out, size}), Utf8Check::VALID) << a << ' ' << b;
      }
    }
  }
}

TEST(LogInjection, random_bytes_stay_one_line) {
  Prng prng(5);
  for (int round = 0; round < one_threaded_rounds(300); ++round) {
    std::string bytes(prng.below(2000), ' ');
    for (char& c : bytes) {
      c = prng.one_in(2) ? static_cast<char>(prng.next()) : "\n\r\"\\ %+#\xe2\x80\xa8\xc2\x85\xf4\x8f"[prng.below(16)];
    }
    check_text_everywhere(bytes);
    if (HasFatalFailure()) FAIL() << "round " << round;
  }
}

TEST(Escape, plain_text_and_valid_utf8_pass_and_the_rest_is_shown) {
  const auto escaped = [](Escape escape, std::string_view text) {
    std::string out(text.size() * ESCAPE_GROWTH_MAX, '\0');
    out.resize(escape_text(escape, text, out.data()));
    return out;
  };
  for (const Escape escape : {Escape::W3C, Escape::NCSA, Escape::JSON}) {
    EXPECT_EQ(escaped(escape, "/caf\xc3\xa9/\xe6\x97\xa5\xf0\x9f\x98\x80"),
              "/caf\xc3\xa9/\xe6\x97\xa5\xf0\x9f\x98\x80");
  }
  EXPECT_EQ(escaped(Escape::W3C, "a b\t\xff\xc0\xaf\xed\xa0\x80"), "a+b%09%FF%C0%AF%ED%A0%80");
  EXPECT_EQ(escaped(Escape::NCSA, "a b\t\"\\\xff"), "a b\\x09\\\"\\\\\\xff");
  EXPECT_EQ(escaped(Escape::JSON, "a b\t\"\\\xff"), "a b\\u0009\\\"\\\\%FF");
  EXPECT_EQ(escaped(Escape::W3C, "\xe2\x80\xae"), "%E2%80%AE");  // right-to-left override
  EXPECT_EQ(escaped(Escape::JSON, "\xe2\x80\xa8"), "\\u2028");
  EXPECT_EQ(escaped(Escape::JSON, "\xc2\x85"), "\\u0085");
}

}  // namespace
}  // namespace penstock
