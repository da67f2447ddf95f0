// Several logs of the same rings: each gets what it wants, once, and none holds up another.
#include "src/log/drain/log_books.h"

#include "src/base/prng.h"
#include "tests/unit/log/journal_fixture.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <unistd.h>

namespace penstock {
namespace {

using namespace log_test;

class LogBooksTest : public ::testing::Test {
 protected:
  static constexpr uint64_t RING_BYTES = 1U << 17;

  LogBooksTest() {
    char name[] = "/tmp/penstock_books_XXXXXX";
    folder_ = ::mkdtemp(name);
    for (uint32_t i = 0; i < 2; ++i) pairs_.push_back(std::make_unique<Pair>(64, RING_BYTES, i));
    logs_ = {log("", {}), log("shop", {"site=shop"}), log("errors", {"status>=500"})};
    new_logd();
  }
  ~LogBooksTest() override {
    books_.reset();
    std::filesystem::remove_all(folder_);
  }

  AccessLogSettings log(const std::string& name, std::vector<std::string> where) {
    AccessLogSettings settings;
    settings.name = name;
    settings.format = LogFormat::W3C;
    settings.path = path(name);
    settings.fields = {LogField::CS_URI};
    settings.where = std::move(where);
    if (!name.empty()) settings.on_full = LogFullSetting::DROP_OLDEST;
    return settings;
  }
  [[nodiscard]] std::string path(const std::string& name) const {
    return folder_ + "/" + (name.empty() ? "access" : name) + ".log";
  }
  void new_logd() {
    books_.reset();
    std::vector<const JournalMap*> maps;
    for (const auto& pair : pairs_) maps.push_back(&pair->drain_map);
    books_ = std::make_unique<LogBooks>(maps, "host", 1);
  }
  [[nodiscard]] Status apply() { return books_->apply(logs_, now_, wall_); }
  Duration pass() {
    now_ = now_ + seconds(3);  // behind any retry
    wall_ = wall_ + seconds(3);
    Duration wait{};
    while ((wait = books_->pass(now_, wall_)) == Duration{0}) {
    }
    return wait;
  }
  std::string request(std::string_view site, uint16_t status, size_t reactor = 0) {
    const std::string target = "/" + std::to_string(sent_++);
    Outcome outcome = ok_outcome();
    outcome.site = site;
    outcome.status = status;
    pairs_[reactor]->journal->end(begin_one(*pairs_[reactor]->journal, target, {1}), {2}, outcome);
    return target;
  }
  [[nodiscard]] std::vector<std::string> lines(const std::string& name, bool remarks = false) const {
    std::ifstream in(path(name));
    std::vector<std::string> found;
    for (std::string line; std::getline(in, line);) {
      if (remarks ? line.starts_with("#Remark") : !line.starts_with("#")) found.push_back(line);
    }
    return found;
  }
  [[nodiscard]] uint64_t free_bytes() const {
    const uint64_t used = pairs_[0]->watch_map.producer().head.load() - pairs_[0]->watch_map.ack().tail.load();
    return RING_BYTES - used;
  }

  using Names = std::vector<std::string>;
  std::string folder_;
  std::vector<std::unique_ptr<Pair>> pairs_;
  std::vector<AccessLogSettings> logs_;
  std::unique_ptr<LogBooks> books_;
  MonoTime now_{seconds(1000).ns};
  WallTime wall_{1'795'318'352'000'000'000};  // 2026-11-22T03:32:32Z
  int sent_ = 0;
};

TEST_F(LogBooksTest, each_log_gets_the_records_for_which_its_conditions_hold) {
  ASSERT_TRUE(apply());
  const std::string a = request("main", 200), b = request("shop", 200), c = request("shop", 503), d = request("", 500);
  pass();
  EXPECT_EQ(lines(""), (Names{a, b, c, d}));
  EXPECT_EQ(lines("shop"), (Names{b, c}));
  EXPECT_EQ(lines("errors"), (Names{c, d}));
  EXPECT_TRUE(books_->drained());
  EXPECT_EQ(free_bytes(), RING_BYTES);
}

TEST_F(LogBooksTest, conditions_change_from_one_record_to_the_next) {
  ASSERT_TRUE(apply());
  const std::string a = request("shop", 404), b = request("shop", 500);
  pass();
  logs_[0].where = {"status<400"};
  logs_[2].where = {"status>=400", "site=shop"};
  ASSERT_TRUE(apply());
  const std::string c = request("shop", 404), d = request("main", 404), e = request("main", 200);
  pass();
  EXPECT_EQ(lines("errors"), (Names{b, c}));
  EXPECT_EQ(lines("shop"), (Names{a, b, c}));
  EXPECT_EQ(lines(""), (Names{a, b, e}));
}

TEST_F(LogBooksTest, a_log_that_cannot_be_written_holds_up_neither_the_others_nor_the_reactors) {
  logs_[1].path = folder_ + "/not/yet/shop.log";
  EXPECT_FALSE(apply());  // which one it was is told; the others are written
  Names all;
  for (int i = 0; i < 300; ++i) {
    for (int k = 0; k < 20; ++k) all.push_back(request("shop", 200));
    (void)books_->pass(now_, wall_);
    ASSERT_GT(free_bytes(), RING_BYTES / 4);
  }
  EXPECT_EQ(lines(""), all);
  EXPECT_EQ(pairs_[0]->watch_map.producer().dropped.load(), 0U);
  std::filesystem::create_directories(folder_ + "/not/yet");
  pass();
  std::filesystem::rename(logs_[1].path, path("shop"));
  const Names kept = lines("shop");
  ASSERT_GT(kept.size(), 50U);
  EXPECT_EQ(kept, Names(all.end() - static_cast<ptrdiff_t>(kept.size()), all.end()));
  const Names remarks = lines("shop", true);
  ASSERT_EQ(remarks.size(), 1U);
  EXPECT_TRUE(remarks[0].starts_with("#Remark: " + std::to_string(all.size() - kept.size()) + " records"));
}

TEST_F(LogBooksTest, a_log_that_is_gone_took_what_waited_for_it_and_holds_nothing_back) {
  ASSERT_TRUE(apply());
  const std::string a = request("shop", 200);
  logs_.erase(logs_.begin() + 1);
  ASSERT_TRUE(apply());
  EXPECT_EQ(lines("shop"), Names{a});
  for (int i = 0; i < 2000; ++i) {
    (void)request("shop", 200);
    if (i % 20 == 0) (void)books_->pass(now_, wall_);
  }
  EXPECT_EQ(pairs_[0]->watch_map.producer().dropped.load(), 0U);
  pass();
  logs_.push_back(log("shop", {"site=shop"}));
  ASSERT_TRUE(apply());
  const std::string b = request("shop", 200);
  pass();
  EXPECT_EQ(lines("shop"), (Names{a, b}));
  EXPECT_EQ(lines("shop", true), Names{});  // what it did not want is no gap
}

// Also of a log that a successor no longer has.
TEST_F(LogBooksTest, a_killed_logd_is_replaced_with_the_logs_that_are_wanted_now) {
  ASSERT_TRUE(apply());
  const std::string a = request("shop", 500);
  pass();
  const std::string b = request("shop", 500);
  new_logd();
  logs_.pop_back();
  ASSERT_TRUE(apply());
  pass();
  EXPECT_EQ(lines("shop"), (Names{a, b}));
  EXPECT_EQ(lines("errors"), Names{a});
  EXPECT_EQ(free_bytes(), RING_BYTES);
}

TEST_F(LogBooksTest, random_kills_rotations_and_settings_lose_and_double_nothing) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    Prng prng(seed);
    books_.reset();
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) std::filesystem::remove(entry.path());
    new_logd();
    ASSERT_TRUE(apply());
    Names all, shop, errors;
    for (int turn = 0; turn < 60; ++turn) {
      for (uint64_t i = prng.below(8); i > 0; --i) {
        const bool of_shop = prng.one_in(2), fails = prng.one_in(3);
        all.push_back(request(of_shop ? "shop" : "main", fails ? 500 : 200, prng.below(2)));
        if (of_shop) shop.push_back(all.back());
        if (fails) errors.push_back(all.back());
      }
      if (!prng.one_in(4)) pass();
      if (prng.one_in(6)) {
        new_logd();
        ASSERT_TRUE(apply());
      }
      if (prng.one_in(10)) {
        ASSERT_TRUE(books_->rotate(wall_));
      }
      if (prng.one_in(10)) {
        logs_[prng.below(3)].rotate_bytes = prng.one_in(2) ? 500 : 0;
        ASSERT_TRUE(apply());
      }
    }
    pass();
    ASSERT_TRUE(books_->drained());
    std::map<std::string, Names> got;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      const std::string file = entry.path().filename();
      std::ifstream in(entry.path());
      for (std::string line; std::getline(in, line);) {
        if (!line.starts_with("#")) got[file.substr(0, file.find('.'))].push_back(line);
      }
    }
    for (auto& [name, wanted] : std::map<std::string, Names>{{"access", all}, {"shop", shop}, {"errors", errors}}) {
      std::ranges::sort(got[name]);
      Names sorted = wanted;
      std::ranges::sort(sorted);
      ASSERT_EQ(got[name], sorted) << name << " of seed " << seed;
    }
  }
}

TEST_F(LogBooksTest, tells_the_reactors_of_its_sleep_only_when_every_log_sleeps) {
  const auto told = [&] { return static_cast<DrainState>(pairs_[1]->watch_map.ack().sleep_word.load() & 3); };
  ASSERT_TRUE(apply());
  (void)request("shop", 200);
  EXPECT_EQ(books_->pass(now_, wall_), Drain::BATCH_INTERVAL);
  EXPECT_EQ(told(), DrainState::DOZING);
  EXPECT_EQ(pass(), Drain::UNTIL_BELL);
  EXPECT_EQ(told(), DrainState::ASLEEP);
  logs_.push_back(log("broken", {}));
  logs_.back().path = folder_ + "/none/broken.log";
  ASSERT_FALSE(apply());
  EXPECT_EQ(books_->pass(now_, wall_), Drain::BATCH_INTERVAL);  // the others would miss their bell
  EXPECT_EQ(told(), DrainState::DOZING);
  // A record that came before the announcement was read is not slept over.
  logs_.pop_back();
  ASSERT_TRUE(apply());
  EXPECT_EQ(pass(), Drain::UNTIL_BELL);
  (void)request("shop", 200);
  EXPECT_NE(pass(), Drain::UNTIL_BELL);
}

TEST_F(LogBooksTest, there_are_as_many_logs_as_a_ring_has_places) {
  logs_.resize(1);
  for (size_t i = 1; i < LogBooks::LOGS_MAX; ++i) logs_.push_back(log("l" + std::to_string(i), {}));
  ASSERT_TRUE(apply());
  logs_.push_back(log("more", {}));
  EXPECT_FALSE(apply());
  const std::string a = request("shop", 200);
  pass();
  EXPECT_EQ(lines("l15"), Names{a});
  EXPECT_EQ(books_->find("more"), nullptr);
}

}  // namespace
}  // namespace penstock
