// The drain: what is finished is in the log, once, whatever happens to logd, the disk and the file.
#include "src/log/drain/drain.h"

#include "src/base/bytes.h"
#include "src/base/prng.h"
#include "src/log/drain/rotation.h"
#include "tests/unit/log/journal_fixture.h"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

namespace penstock {
namespace {

using namespace log_test;

const WallTime WALL{1'795'318'352'000'000'000};  // 2026-11-22T03:32:32Z

std::string read_all(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<std::string> lines_in(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    const std::string line = text.substr(at, end - at);
    if (line.empty() || line[0] != '#') lines.push_back(line);
    at = end == text.npos ? text.size() : end + 1;
  }
  return lines;
}

// A folder of its own, journals, and a drain that may die and be replaced.
class DrainTest : public ::testing::Test {
 protected:
  DrainTest() {
    char name[] = "/tmp/penstock_drain_XXXXXX";
    folder_ = ::mkdtemp(name);
    path_ = folder_ + "/access.log";
    settings_.format = LogFormat::W3C;
    settings_.path = path_;
    settings_.fields = {LogField::CS_URI};
    ::signal(SIGXFSZ, SIG_IGN);
    for (uint32_t i = 0; i < 2; ++i) pairs_.push_back(std::make_unique<Pair>(64, 1U << 17, i));
    new_logd();
  }
  ~DrainTest() override {
    limit_file_size(RLIM_INFINITY);
    drain_.reset();
    std::filesystem::remove_all(folder_);
  }

  void new_logd() {
    drain_.reset();
    std::vector<RingReader*> rings;
    for (const auto& pair : pairs_) {
      pair->restart_logd();
      rings.push_back(pair->ring.get());
    }
    drain_ = std::make_unique<Drain>(rings, "host", 1);
  }
  Status apply() { return drain_->apply(settings_, now_, wall_); }
  Duration pass() {
    now_ = now_ + seconds(3);  // behind any retry
    return drain_->pass(now_, wall_).wait;
  }
  void request(const std::string& target, size_t reactor = 0) {
    pairs_[reactor]->journal->end(begin_one(*pairs_[reactor]->journal, target, {1}), {2}, ok_outcome());
  }
  std::vector<std::string> requests(int count, size_t reactor = 0) {
    std::vector<std::string> targets;
    for (int i = 0; i < count; ++i) {
      targets.push_back("/" + std::to_string(sent_++));
      request(targets.back(), reactor);
    }
    return targets;
  }
  static void limit_file_size(rlim_t bytes) {
    rlimit limit{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  }
  std::vector<std::string> logged() { return lines_in(read_all(path_)); }

  std::string folder_;
  std::string path_;
  AccessLogSettings settings_;
  std::vector<std::unique_ptr<Pair>> pairs_;
  std::unique_ptr<Drain> drain_;
  MonoTime now_{seconds(1000).ns};
  WallTime wall_ = WALL;
  int sent_ = 0;
};

TEST_F(DrainTest, writes_what_every_ring_holds_and_frees_it) {
  ASSERT_TRUE(apply());
  std::vector<std::string> sent = requests(100, 0);
  const std::vector<std::string> other = requests(50, 1);
  sent.insert(sent.end(), other.begin(), other.end());
  EXPECT_EQ(pass(), Drain::BATCH_INTERVAL);
  std::vector<std::string> got = logged();
  std::sort(got.begin(), got.end());
  std::sort(sent.begin(), sent.end());
  EXPECT_EQ(got, sent);
  EXPECT_TRUE(drain_->drained());
  EXPECT_EQ(pairs_[0]->ring->acknowledged(), pairs_[0]->reactor_map.producer().head.load());
  EXPECT_EQ(read_all(path_).rfind("#Software", 0), 0U);
  struct stat info {};
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0640U & ~static_cast<unsigned>(022));
}

TEST_F(DrainTest, sleeps_only_after_a_quiet_second) {
  ASSERT_TRUE(apply());
  requests(1);
  EXPECT_EQ(drain_->pass(now_, wall_).wait, Drain::BATCH_INTERVAL);
  EXPECT_EQ(drain_->pass(now_ + milliseconds(900), wall_).state, DrainState::DOZING);
  const DrainRest rest = drain_->pass(now_ + milliseconds(1001), wall_);
  EXPECT_EQ(rest.wait, Drain::UNTIL_BELL);
  EXPECT_EQ(rest.state, DrainState::ASLEEP);
}

TEST_F(DrainTest, without_a_log_records_are_taken_and_thrown_away) {
  settings_.format = LogFormat::NONE;
  ASSERT_TRUE(apply());
  requests(10);
  pass();
  EXPECT_TRUE(drain_->drained());
  EXPECT_EQ(drain_->stats().discarded, 10U);
  EXPECT_FALSE(std::filesystem::exists(path_));
}

// logd dies with a batch partly in the file, at each possible byte.
TEST_F(DrainTest, a_logd_killed_inside_a_write_is_replaced_without_loss_double_or_torn_line) {
  for (const LogFormat format : {LogFormat::W3C, LogFormat::BINARY}) {
    settings_.format = format;
    size_t whole = 0;
    {
      ASSERT_TRUE(apply());
      requests(3);
      pass();
      whole = read_all(path_).size();
    }
    for (size_t cut = 0; cut <= whole + 10; cut += format == LogFormat::W3C ? 1 : 7) {
      std::filesystem::remove(path_);
      new_logd();
      ASSERT_TRUE(apply());
      std::vector<std::string> sent = requests(2);
      pass();
      const size_t before = read_all(path_).size();
      const std::vector<std::string> more = requests(3);
      sent.insert(sent.end(), more.begin(), more.end());
      limit_file_size(before + cut);
      pass();
      limit_file_size(RLIM_INFINITY);
      new_logd();  // the old one never got to acknowledge, unless all fitted
      ASSERT_TRUE(apply());
      pass();
      ASSERT_TRUE(drain_->drained());
      if (format == LogFormat::W3C) {
        ASSERT_EQ(logged(), sent) << cut;
      } else {
        ASSERT_EQ(drain_->stats().uncertain, 0U);
        ASSERT_EQ(drain_->stats().records + (drain_->stats().records == 0 ? 3 : 0), 3U);
      }
    }
    std::filesystem::remove(path_);
    new_logd();
  }
}

// logd dies behind the write and before the acknowledgement: the file has all, the ring does not know it.
TEST_F(DrainTest, a_logd_killed_between_write_and_acknowledgement_is_replaced_without_a_double) {
  ASSERT_TRUE(apply());
  std::vector<std::string> sent = requests(5);
  pass();
  LogCursor& ack = pairs_[0]->drain_map.ack().cursors[0];
  const uint64_t tail = ack.tail.load();
  const uint64_t records = ack.records.load();
  const uint64_t seq = ack.seq_written.load();
  const std::vector<std::string> more = requests(7);
  sent.insert(sent.end(), more.begin(), more.end());
  pass();
  ack.tail.store(tail);
  ack.records.store(records);
  ack.seq_written.store(seq);
  new_logd();
  ASSERT_TRUE(apply());
  EXPECT_EQ(drain_->stats().accepted, 1U);
  pass();
  EXPECT_EQ(logged(), sent);
  EXPECT_EQ(ack.records.load(), 12U);
  EXPECT_EQ(drain_->stats().records, 0U);
}

// The repair itself is interrupted: another ring's batch must not make the old intent look fulfilled.
TEST_F(DrainTest, an_intent_is_closed_before_anything_else_is_appended) {
  ASSERT_TRUE(apply());
  const std::vector<std::string> sent = requests(3, 0);
  limit_file_size(40);
  pass();
  limit_file_size(RLIM_INFINITY);
  ASSERT_TRUE(pairs_[0]->ring->open_intent().has_value());
  new_logd();
  ASSERT_TRUE(apply());
  EXPECT_FALSE(pairs_[0]->ring->open_intent().has_value());
  pass();
  EXPECT_EQ(logged(), sent);
}

uint64_t gaps_in(const std::string& text) {
  uint64_t dropped = 0;
  for (size_t at = text.find("#Remark: "); at != text.npos; at = text.find("#Remark: ", at + 1)) {
    dropped += parse_decimal(std::string_view(text).substr(at + 9, text.find(' ', at + 9) - at - 9)).value_or(0);
  }
  return dropped;
}

TEST_F(DrainTest, with_drop_oldest_a_log_that_cannot_be_written_ends_with_the_newest_records) {
  settings_.on_full = LogFullSetting::DROP_OLDEST;
  ASSERT_TRUE(apply());
  std::vector<std::string> sent;
  const auto send_and_pass = [&] {
    const std::vector<std::string> some = requests(20);
    sent.insert(sent.end(), some.begin(), some.end());
    (void)drain_->pass(now_, wall_);  // as the bell at half a ring would have it
  };
  limit_file_size(60);  // a part of the first batch is in the file when it is given up
  for (int i = 0; i < 200; ++i) send_and_pass();
  EXPECT_GT(drain_->stats().given_up, 1000U);
  new_logd();  // what is missing is known to who comes after
  ASSERT_TRUE(apply());
  for (int i = 0; i < 50; ++i) send_and_pass();
  limit_file_size(RLIM_INFINITY);
  pass();
  ASSERT_TRUE(drain_->drained());

  const std::vector<std::string> got = logged();
  ASSERT_GT(got.size(), 50U);
  ASSERT_LT(got.size(), sent.size());
  EXPECT_EQ(got, std::vector<std::string>(sent.end() - static_cast<ptrdiff_t>(got.size()), sent.end()));
  const JournalReader::RingStatus status = JournalReader(pairs_[0]->watch_map).ring_status();
  EXPECT_EQ(status.dropped, sent.size() - got.size());
  EXPECT_EQ(status.drained, got.size());
  EXPECT_EQ(gaps_in(read_all(path_)), status.dropped);
  EXPECT_EQ(pairs_[0]->watch_map.counters().journal_drops.get(), 0U);  // the reactor never met a full ring
}

TEST_F(DrainTest, random_kills_full_disks_and_rotations_lose_and_double_nothing) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    Prng prng(seed);
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) std::filesystem::remove(entry.path());
    new_logd();
    settings_.rotate_bytes = prng.one_in(2) ? 2000 : 0;
    ASSERT_TRUE(apply());
    std::vector<std::string> sent;
    for (int turn = 0; turn < 120; ++turn) {
      const std::vector<std::string> some = requests(static_cast<int>(prng.below(8)), prng.below(2));
      sent.insert(sent.end(), some.begin(), some.end());
      if (prng.one_in(3)) limit_file_size(prng.below(3000));
      pass();
      if (prng.one_in(3)) limit_file_size(RLIM_INFINITY);
      if (prng.one_in(6)) {
        new_logd();
        ASSERT_TRUE(apply());
      }
      wall_ = wall_ + seconds(prng.below(3));
      if (prng.one_in(12)) {
        ASSERT_TRUE(drain_->rotate(wall_));
      }
    }
    limit_file_size(RLIM_INFINITY);
    pass();
    ASSERT_TRUE(drain_->drained());
    ASSERT_EQ(drain_->stats().uncertain, 0U);
    std::vector<std::string> got;
    std::vector<std::string> files = rotated_files(path_);
    files.push_back(path_);
    for (const std::string& file : files) {
      const std::vector<std::string> lines = lines_in(read_all(file));
      got.insert(got.end(), lines.begin(), lines.end());
    }
    std::sort(got.begin(), got.end());
    std::sort(sent.begin(), sent.end());
    ASSERT_EQ(got, sent) << "seed " << seed;
    for (const auto& pair : pairs_) ASSERT_EQ(pair->reactor_map.producer().dropped.load(), 0U);
  }
}

TEST_F(DrainTest, a_disk_that_stays_full_stops_nothing_but_the_log_and_the_gap_is_told) {
  ASSERT_TRUE(apply());
  requests(1);
  pass();
  limit_file_size(read_all(path_).size());
  uint64_t finished = 1;
  while (pairs_[0]->reactor_map.producer().dropped.load() < 10) {
    requests(1);
    ++finished;
    pass();
  }
  EXPECT_FALSE(drain_->stats().failing.empty());
  EXPECT_NE(drain_->take_message().value_or("").find("cannot be written"), std::string::npos);
  EXPECT_FALSE(drain_->take_message().has_value());  // said once
  EXPECT_EQ(drain_->pass(now_, wall_).state, DrainState::AWAKE);
  limit_file_size(RLIM_INFINITY);
  pass();
  requests(1);
  ++finished;
  pass();
  EXPECT_TRUE(drain_->stats().failing.empty());
  EXPECT_EQ(drain_->take_message().value_or(""), "access log is being written again");
  const uint64_t dropped = pairs_[0]->reactor_map.producer().dropped.load();
  EXPECT_EQ(logged().size() + dropped, finished);
  EXPECT_NE(read_all(path_).find("#Remark: " + std::to_string(dropped) + " records of reactor 0 were dropped here\n"),
            std::string::npos);
}

TEST_F(DrainTest, retries_with_growing_pauses) {
  settings_.path = folder_ + "/no/such/access.log";
  EXPECT_FALSE(apply());
  EXPECT_EQ(drain_->pass(now_, wall_).wait, Drain::RETRY_MIN);
  EXPECT_EQ(drain_->pass(now_ + milliseconds(100), wall_).wait, milliseconds(200));
  EXPECT_EQ(drain_->pass(now_ + milliseconds(150), wall_).wait, milliseconds(150));
  now_ = now_ + milliseconds(300);
  Duration last{};
  for (int i = 0; i < 10; ++i) {
    last = drain_->pass(now_, wall_).wait;
    now_ = now_ + last;
  }
  EXPECT_EQ(last, Drain::RETRY_MAX);
  const std::vector<std::string> sent = requests(3);
  std::filesystem::create_directories(folder_ + "/no/such");
  pass();
  EXPECT_EQ(lines_in(read_all(settings_.path)), sent);
}

TEST_F(DrainTest, a_full_device_that_is_no_file_is_retried_too) {
  settings_.path = "/dev/full";
  ASSERT_TRUE(apply());
  requests(3);
  pass();
  EXPECT_FALSE(drain_->stats().failing.empty());
  EXPECT_FALSE(drain_->drained());
  settings_.path = path_;
  ASSERT_TRUE(apply());  // a live change of the path takes the waiting records along
  pass();
  EXPECT_EQ(logged().size(), 3U);
}

TEST_F(DrainTest, settings_change_live_and_a_bad_path_leaves_the_old_log) {
  ASSERT_TRUE(apply());
  const std::vector<std::string> first = requests(2);
  pass();
  AccessLogSettings bad = settings_;
  bad.path = folder_;
  EXPECT_FALSE(drain_->apply(bad, now_, wall_));
  const std::vector<std::string> second = requests(2);
  pass();
  EXPECT_EQ(logged().size(), 4U);

  settings_.format = LogFormat::JSON;
  settings_.path = folder_ + "/other.log";
  ASSERT_TRUE(apply());
  const std::vector<std::string> third = requests(1);
  pass();
  EXPECT_EQ(read_all(settings_.path), "{\"uri\":\"" + third[0] + "\"}\n");
  EXPECT_EQ(logged().size(), 4U);
}

TEST_F(DrainTest, a_second_writer_of_the_same_log_is_kept_out) {
  ASSERT_TRUE(apply());
  Pair other;
  Drain second({other.ring.get()}, "host", 1);
  EXPECT_FALSE(second.apply(settings_, now_, wall_));
}

TEST_F(DrainTest, rotates_by_size_between_batches_and_keeps_n) {
  settings_.rotate_bytes = 300;
  settings_.keep = 2;
  ASSERT_TRUE(apply());
  std::vector<std::string> sent;
  for (int i = 0; i < 20; ++i) {
    const std::vector<std::string> some = requests(30);
    sent.insert(sent.end(), some.begin(), some.end());
    pass();
    wall_ = wall_ + seconds(1);
  }
  const std::vector<std::string> files = rotated_files(path_);
  ASSERT_EQ(files.size(), 2U);
  EXPECT_GE(drain_->stats().rotations, 9U);
  EXPECT_EQ(drain_->stats().pruned, drain_->stats().rotations - 2);
  std::vector<std::string> kept = lines_in(read_all(files[0]));
  for (const std::string& line : lines_in(read_all(files[1]))) kept.push_back(line);
  for (const std::string& line : logged()) kept.push_back(line);
  EXPECT_TRUE(std::equal(kept.begin(), kept.end(), sent.end() - static_cast<int64_t>(kept.size())));
  for (const std::string& file : files) EXPECT_EQ(read_all(file).rfind("#Software", 0), 0U);
}

TEST_F(DrainTest, rotates_at_the_hour_and_a_restart_behind_midnight_rotates_too) {
  settings_.rotate_period = RotatePeriod::HOURLY;
  ASSERT_TRUE(apply());
  requests(1);
  pass();
  wall_ = {wall_.ns + seconds(27 * 60 + 27).ns};  // 03:59:59
  requests(1);
  pass();
  EXPECT_EQ(drain_->stats().rotations, 0U);
  wall_ = wall_ + seconds(1);
  requests(1);
  pass();
  EXPECT_EQ(drain_->stats().rotations, 1U);
  EXPECT_EQ(rotated_files(path_), std::vector<std::string>{path_ + ".20261122-040000"});
  EXPECT_EQ(logged().size(), 1U);

  settings_.rotate_period = RotatePeriod::DAILY;
  const timespec yesterday[2] = {{(WALL.ns / 1'000'000'000) - 86400, 0}, {(WALL.ns / 1'000'000'000) - 86400, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, path_.c_str(), yesterday, 0), 0);
  new_logd();
  ASSERT_TRUE(apply());
  requests(1);
  pass();
  EXPECT_EQ(drain_->stats().rotations, 1U);
  EXPECT_EQ(rotated_files(path_).size(), 2U);
}

TEST_F(DrainTest, rotate_by_command_reopens_what_another_program_moved_away) {
  ASSERT_TRUE(apply());
  requests(2);
  pass();
  ASSERT_EQ(::rename(path_.c_str(), (path_ + ".1").c_str()), 0);
  requests(1);
  pass();
  EXPECT_EQ(lines_in(read_all(path_ + ".1")).size(), 3U);  // still the same file, until told
  ASSERT_TRUE(drain_->rotate(wall_));
  requests(1);
  pass();
  EXPECT_EQ(logged().size(), 1U);
  EXPECT_TRUE(rotated_files(path_).empty());
  ASSERT_TRUE(drain_->rotate(wall_));
  EXPECT_EQ(rotated_files(path_).size(), 1U);
  ASSERT_TRUE(drain_->rotate(wall_));  // an empty log has nothing to rotate
  EXPECT_EQ(rotated_files(path_).size(), 1U);
}

TEST(Rotation, names_collide_without_overwriting_and_sort_as_they_happened) {
  char name[] = "/tmp/penstock_rotation_XXXXXX";
  const std::string folder = ::mkdtemp(name);
  const std::string path = folder + "/a.log";
  for (int i = 0; i < 12; ++i) {
    std::ofstream(path) << i;
    ASSERT_TRUE(rotate_away(path, WALL, true).has_value());
  }
  std::ofstream(path + ".bak") << "x";
  std::ofstream(path + ".20261122-03323") << "x";
  const std::vector<std::string> files = rotated_files(path);
  ASSERT_EQ(files.size(), 12U);
  for (size_t i = 0; i < 12; ++i) EXPECT_EQ(read_all(files[i]), std::to_string(i));
  EXPECT_EQ(prune_rotated(path, 5).value(), 7U);
  EXPECT_EQ(rotated_files(path), (std::vector<std::string>(files.begin() + 7, files.end())));
  EXPECT_TRUE(std::filesystem::exists(path + ".bak"));
  std::filesystem::remove_all(folder);
}

TEST(Rotation, knows_its_names) {
  EXPECT_TRUE(is_rotated_name("a.log.20261122-033232", "a.log"));
  EXPECT_TRUE(is_rotated_name("a.log.20261122-033232-07", "a.log"));
  for (const char* name : {"a.log", "a.log.1", "a.log.20261122-03323x", "a.log.20261122-033232-7",
                           "b.log.20261122-033232", "a.log.20261122-033232.gz", "a.logs.20261122-033232"}) {
    EXPECT_FALSE(is_rotated_name(name, "a.log")) << name;
  }
}

}  // namespace
}  // namespace penstock
