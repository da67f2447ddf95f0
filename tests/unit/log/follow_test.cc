// Who follows the log live, and the conditions that he sets.
#include "src/log/drain/drain.h"
#include "src/log/drain/filter.h"
#include "src/log/drain/followers.h"
#include "tests/unit/log/journal_fixture.h"

#include <algorithm>
#include <string>
#include <utility>

namespace penstock {
namespace {

using namespace log_test;

constexpr MonoTime BEGUN{1'000'000'000};
constexpr WallTime BEGUN_WALL{1'795'318'352'000'000'000};

LogFilter filter(const std::vector<std::string>& terms) {
  auto parsed = LogFilter::parse(terms);
  EXPECT_TRUE(parsed.has_value()) << (parsed ? "" : parsed.error().message);
  return parsed ? std::move(*parsed) : LogFilter{};
}

struct FollowTest : ::testing::Test {
  void request(const std::string& target, uint16_t status = 200, MonoTime end = {2'000'000}) {
    Outcome outcome = ok_outcome();
    outcome.status = status;
    pair.journal->end(begin_one(*pair.journal, target, {1}), end, outcome);
  }
  uint64_t open(const std::vector<std::string>& where = {}, LogFormat format = LogFormat::NCSA) {
    const auto number =
        followers.open({.format = format, .fields = {LogField::CS_URI}}, filter(where), BEGUN, BEGUN_WALL);
    EXPECT_TRUE(number.has_value());
    return number.value_or(0);
  }
  std::vector<std::string> targets(uint64_t number) {
    std::vector<std::string> found;
    const auto fetched = followers.fetch(number, BEGUN);
    EXPECT_TRUE(fetched.has_value());
    std::string_view lines = fetched ? std::string_view(fetched->lines) : std::string_view{};
    while (!lines.empty()) {
      const size_t end = lines.find('\n');
      const std::string_view line = lines.substr(0, end);
      const size_t at = line.find("GET ");
      found.emplace_back(line.substr(at + 4, line.find(' ', at + 4) - at - 4));
      lines.remove_prefix(end + 1);
    }
    return found;
  }
  void pass() { (void)drain.pass(BEGUN, BEGUN_WALL); }

  Pair pair{64, uint64_t{1} << 23};
  LogFollowers followers;
  Drain drain{{pair.ring.get()}, "host", 1};
  FollowTest() { drain.set_followers(&followers); }
};

TEST_F(FollowTest, is_shown_what_comes_from_then_on_each_record_once) {
  request("/before");
  pass();
  const uint64_t all = open();
  const uint64_t errors = open({"status>=500"});
  request("/good");
  request("/bad", 503);
  pass();
  EXPECT_EQ(targets(all), (std::vector<std::string>{"/good", "/bad"}));
  EXPECT_EQ(targets(errors), (std::vector<std::string>{"/bad"}));
  EXPECT_TRUE(targets(all).empty()) << "each once";
}

TEST_F(FollowTest, who_reads_too_slowly_is_told_how_many_he_lost_and_nobody_waits) {
  const uint64_t slow = open();
  const std::string target = "/" + std::string(4000, 'x');
  uint64_t asked = 0;
  for (; asked < 400; ++asked) {
    request(target);
    pass();
  }
  EXPECT_TRUE(drain.drained());
  const auto fetched = followers.fetch(slow, BEGUN);
  ASSERT_TRUE(fetched.has_value());
  const auto shown = static_cast<uint64_t>(std::ranges::count(fetched->lines, '\n'));
  EXPECT_LE(fetched->lines.size(), LogFollowers::BYTES_MAX);
  EXPECT_GT(shown, 0u);
  EXPECT_EQ(shown + fetched->lost, asked);
  request("/after");
  pass();
  EXPECT_EQ(targets(slow), (std::vector<std::string>{"/after"}));
  EXPECT_EQ(followers.fetch(slow, BEGUN)->lost, 0u) << "told once";
}

TEST_F(FollowTest, who_does_not_fetch_is_forgotten_and_too_many_are_refused) {
  for (size_t i = 0; i < LogFollowers::FOLLOWERS_MAX; ++i) open();
  EXPECT_FALSE(followers.open({.format = LogFormat::JSON}, {}, BEGUN, BEGUN_WALL).has_value());
  EXPECT_FALSE(followers.open({.format = LogFormat::BINARY}, {}, BEGUN, BEGUN_WALL).has_value());
  const MonoTime later = BEGUN + LogFollowers::IDLE_MAX + nanoseconds(1);
  EXPECT_TRUE(followers.open({.format = LogFormat::JSON}, {}, later, BEGUN_WALL).has_value());
  EXPECT_FALSE(followers.fetch(1, later).has_value());
}

TEST_F(FollowTest, every_operator_holds_for_what_it_says) {
  const std::pair<const char*, bool> cases[] = {
      {"sc-status=404", true},  {"status=404", true},    {"status!=404", false},     {"status<404", false},
      {"status<=404", true},    {"status>404", false},   {"status>=404", true},      {"status>=404.5", false},
      {"time-taken>1.9", true}, {"time-taken>2", false}, {"cs-uri-stem=/a/b", true}, {"path^=/a/", true},
      {"path^=/b", false},      {"query*=y=1", true},    {"query*=z", false},        {"cs(User-Agent)*=test", true},
      {"method!=GET", false},   {"user=-", true},        {"queue_us>0", false},      {"queue_us!=1", true},
  };
  for (const auto& [term, holds] : cases) {
    const uint64_t number = open({term});
    request("/a/b?x=0&y=1", 404);
    pass();
    EXPECT_EQ(targets(number).size(), holds ? 1u : 0u) << term;
    followers.expire(BEGUN + seconds(60));
  }
  const uint64_t both = open({"status>=400", "path^=/a"});
  request("/a", 200);
  request("/b", 404);
  request("/a", 404);
  pass();
  EXPECT_EQ(targets(both).size(), 1u);
}

TEST(LogFilter, a_number_taken_from_the_record_is_that_of_its_line) {
  EndRecord head{};
  head.status = 503;
  head.sub_status = 7;
  head.bytes_in = uint64_t{1} << 40;
  head.head_bytes_out = 230;
  head.body_bytes_out = 1'000'000;
  head.connection = 11;
  head.request_number = 12;
  head.generation = 13;
  head.seq_start = 14;
  head.seq_finish = 15;
  const AccessEntry entry = entry_of(head, 0);
  size_t taken = 0;
  for (size_t i = 0; i < LOG_FIELD_INFO.size(); ++i) {
    const auto field = static_cast<LogField>(i);
    const auto number = whole_number(field, head);
    EXPECT_EQ(number, whole_number(field, entry)) << LOG_FIELD_INFO[i].w3c;
    if (!number) continue;
    ++taken;
    EXPECT_EQ(LOG_FIELD_INFO[i].type, LogFieldType::NUMBER) << LOG_FIELD_INFO[i].w3c;
    LineFormat format({.format = LogFormat::W3C, .fields = {field}});
    LineBuffer line;
    format.line(line, entry);
    EXPECT_EQ(line.view(), std::to_string(*number) + "\n") << LOG_FIELD_INFO[i].w3c;
  }
  EXPECT_EQ(taken, 11u);
}

TEST(LogFilter, names_the_condition_that_is_none) {
  for (const std::string term :
       {"", "status", "=5", "none=1", "status~5", "status=x", "status^=4", "path<1", "status=", "status>=5 0", "a!b"}) {
    const auto parsed = LogFilter::parse(std::span(&term, 1));
    ASSERT_FALSE(parsed.has_value()) << term;
    EXPECT_TRUE(parsed.error().message.starts_with("'" + term + "'")) << parsed.error().message;
  }
  EXPECT_FALSE(LogFilter::parse(std::vector<std::string>(LogFilter::TERMS_MAX + 1, "status=1")).has_value());
}

}  // namespace
}  // namespace penstock
