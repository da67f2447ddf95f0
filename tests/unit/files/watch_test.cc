// The real inotify, events taken in by turn() on this thread: whatever a test has just done is queued
// when the call returns. Time is moved by hand.
#include "cache/validity.h"
#include "src/files/inotify_watch.h"
#include "tests/support/hand_clock.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace penstock {
namespace {

class Watching : public testing::Test {
 protected:
  Watching() {
    clock.set_wall(RealClock().wall() + seconds(3600));
    make();
    dir.make_dir("a");
    dir.make_dir("a/b");
    dir.write("a/b/f", "first");
  }
  void make() {
    watch.reset();
    auto made = InotifyWatch::create(cells, clock, options);
    EXPECT_TRUE(made.has_value());
    watch = std::move(*made);
  }

  WatchTicket place(std::string_view directory, std::vector<std::string_view> names,
                    SymlinkPolicy symlinks = SymlinkPolicy::ALL) {
    return watch->watch(
        {.root = {dir.fd(), dir.path().c_str()}, .symlinks = symlinks, .directory = directory, .names = names});
  }
  bool fresh(const WatchTicket& ticket) {
    (void)watch->turn(Duration{0});
    return cells.fresh(ticket.validity);
  }
  UniqueFd open(const char* name, int flags) const { return UniqueFd(::open(dir.at(name).c_str(), flags | O_CLOEXEC)); }

  TempDir dir;
  HandClock clock;
  WatchOptions options;
  ValidityTable cells{256};
  std::unique_ptr<InotifyWatch> watch;
};

TEST_F(Watching, says_what_each_name_led_to) {
  const WatchTicket ticket = place("a/b", {"f", "absent"});
  ASSERT_EQ(ticket.status, WatchStatus::WATCHED);
  FileInfo info;
  ASSERT_EQ(read_file_info_at(dir.fd(), "a/b/f", info), 0);
  EXPECT_EQ(ticket.files[0], info.id);
  EXPECT_EQ(ticket.files[1], FileId{});
  EXPECT_TRUE(fresh(ticket));
}

TEST_F(Watching, the_same_request_gets_the_same_cell_until_it_is_bumped) {
  const WatchTicket first = place("a/b", {"f"});
  const uint64_t placed = watch->counters().inotify_watches;
  const WatchTicket second = place("a/b", {"f"});
  EXPECT_EQ(first.validity, second.validity);
  dir.replace("a/b/f", "new");
  EXPECT_FALSE(fresh(first));
  const WatchTicket third = place("a/b", {"f"});
  EXPECT_EQ(third.validity.cell, first.validity.cell);
  EXPECT_NE(third.validity.value, first.validity.value);
  EXPECT_NE(third.files[0], first.files[0]);
  EXPECT_TRUE(fresh(third));
  EXPECT_EQ(watch->counters().inotify_watches, placed) << "the old inode's watch is gone";
}

// One change of the tree that must make the file's entry stale at once.
struct Change {
  const char* what;
  void (*make)(const TempDir& dir);
};

TEST_F(Watching, every_change_of_a_name_on_the_way_is_seen_at_once) {
  const Change changes[] = {
      {"replaced by rename", [](const TempDir& d) { d.replace("a/b/f", "x"); }},
      {"removed", [](const TempDir& d) { d.remove("a/b/f"); }},
      {"renamed away", [](const TempDir& d) { d.rename("a/b/f", "a/b/g"); }},
      {"mode changed", [](const TempDir& d) { ASSERT_EQ(::chmod(d.at("a/b/f").c_str(), 0600), 0); }},
      {"times changed",
       [](const TempDir& d) { ASSERT_EQ(::utimensat(AT_FDCWD, d.at("a/b/f").c_str(), nullptr, 0), 0); }},
      {"linked again", [](const TempDir& d) { d.hard_link("a/b/f", "other"); }},
      {"directory renamed", [](const TempDir& d) { d.rename("a/b", "a/c"); }},
      {"ancestor renamed", [](const TempDir& d) { d.rename("a", "z"); }},
      {"ancestor's mode changed", [](const TempDir& d) { ASSERT_EQ(::chmod(d.at("a").c_str(), 0700), 0); }},
      {"directory exchanged",
       [](const TempDir& d) {
         d.make_dir("a/new");
         d.write("a/new/f", "x");
         ASSERT_EQ(::renameat2(AT_FDCWD, d.at("a/new").c_str(), AT_FDCWD, d.at("a/b").c_str(), RENAME_EXCHANGE), 0);
       }},
      {"a sibling appears", [](const TempDir& d) { d.write("a/b/f.gz", "z"); }},
      {"written in place", [](const TempDir& d) { d.write("a/b/f", "x"); }},
  };
  for (const Change& change : changes) {
    TempDir other;
    other.make_dir("a");
    other.make_dir("a/b");
    other.write("a/b/f", "first");
    const std::string_view names[] = {"f", "f.gz"};
    const WatchTicket ticket =
        watch->watch({.root = {other.fd(), other.path().c_str()}, .directory = "a/b", .names = names});
    ASSERT_EQ(ticket.status, WatchStatus::WATCHED);
    ASSERT_TRUE(fresh(ticket)) << change.what;
    change.make(other);
    EXPECT_FALSE(fresh(ticket)) << change.what;
  }
}

TEST_F(Watching, changes_of_neighbours_are_not_seen) {
  dir.write("a/b/neighbour", "n");
  const WatchTicket ticket = place("a/b", {"f"});
  dir.write("a/b/neighbour", "other");
  dir.replace("a/b/neighbour", "more");
  dir.write("a/b/new", "new");
  dir.make_dir("a/c");
  { const UniqueFd reader = open("a/b/f", O_RDONLY); }
  EXPECT_TRUE(fresh(ticket));
}

TEST_F(Watching, every_link_on_the_way_is_watched) {
  dir.link_to("b", "a/link");
  dir.make_dir("elsewhere");
  dir.write("elsewhere/f", "e");
  dir.link_to("../elsewhere", "a/far");
  WatchTicket ticket = place("a/link", {"f"});
  ASSERT_EQ(ticket.status, WatchStatus::WATCHED);
  EXPECT_TRUE(fresh(ticket));
  dir.link_to("far", "a/new_link");
  dir.rename("a/new_link", "a/link");
  EXPECT_FALSE(fresh(ticket));
  ticket = place("a/link", {"f"});
  EXPECT_TRUE(fresh(ticket));
  dir.replace("elsewhere/f", "changed");
  EXPECT_FALSE(fresh(ticket));
  ticket = place("a/link", {"f"});
  dir.rename("elsewhere", "gone");
  EXPECT_FALSE(fresh(ticket));
}

TEST_F(Watching, a_link_as_the_last_name_is_watched_with_its_target) {
  dir.write("target", "t");
  dir.link_to("../../target", "a/b/link");
  WatchTicket ticket = place("a/b", {"link"});
  ASSERT_EQ(ticket.status, WatchStatus::WATCHED);
  FileInfo info;
  ASSERT_EQ(read_file_info_at(dir.fd(), "target", info), 0);
  EXPECT_EQ(ticket.files[0], info.id);
  EXPECT_TRUE(fresh(ticket));
  dir.write("target", "u");
  EXPECT_FALSE(fresh(ticket));
  ticket = place("a/b", {"link"}, SymlinkPolicy::NONE);
  EXPECT_EQ(ticket.files[0], FileId{}) << "a link that is not followed leads nowhere";
}

TEST_F(Watching, every_write_makes_the_entry_stale_at_once_and_a_writer_is_known_until_he_closes) {
  WatchTicket ticket = place("a/b", {"f"});
  EXPECT_EQ(watch->write_state(ticket.validity).since, MonoTime{});
  UniqueFd writer = open("a/b/f", O_WRONLY);
  EXPECT_TRUE(fresh(ticket)) << "opening changes nothing";
  const MonoTime begun = clock.now();
  for (int i = 0; i < 3; ++i) {
    TempDir::put(writer.get(), "part");
    EXPECT_FALSE(fresh(ticket));
    EXPECT_FALSE(watch->write_state(ticket.validity).current);
    ticket = place("a/b", {"f"});
    EXPECT_TRUE(fresh(ticket));
    const WriteState state = watch->write_state(ticket.validity);
    EXPECT_TRUE(state.current);
    EXPECT_EQ(state.since, begun);
    EXPECT_EQ(state.last, clock.now());
    clock.advance(milliseconds(100));
  }
  writer.reset();
  EXPECT_FALSE(fresh(ticket));
  EXPECT_EQ(watch->write_state(place("a/b", {"f"}).validity).since, MonoTime{});
}

TEST_F(Watching, writes_far_apart_are_not_one_rewriting) {
  (void)place("a/b", {"f"});
  const UniqueFd log = open("a/b/f", O_WRONLY | O_APPEND);
  TempDir::put(log.get(), "line");
  EXPECT_NE(watch->write_state(place("a/b", {"f"}).validity).since, MonoTime{});
  clock.advance(seconds(2));
  TempDir::put(log.get(), "line");
  EXPECT_EQ(watch->write_state(place("a/b", {"f"}).validity).since, clock.now());
}

TEST_F(Watching, truncating_by_name_makes_stale_at_once_though_no_closing_follows) {
  const WatchTicket ticket = place("a/b", {"f"});
  ASSERT_EQ(::truncate(dir.at("a/b/f").c_str(), 2), 0);
  EXPECT_FALSE(fresh(ticket));
  EXPECT_EQ(watch->write_state(place("a/b", {"f"}).validity).since, clock.now());
}

TEST_F(Watching, the_writers_of_all_files_of_a_watch_are_told_together) {
  dir.write("a/b/f.gz", "z");
  (void)place("a/b", {"f", "f.gz"});
  const UniqueFd first = open("a/b/f", O_WRONLY);
  TempDir::put(first.get(), "x");
  (void)watch->turn(Duration{0});
  const MonoTime begun = clock.now();
  clock.advance(milliseconds(10));
  UniqueFd second = open("a/b/f.gz", O_WRONLY);
  TempDir::put(second.get(), "x");
  WriteState state = watch->write_state(place("a/b", {"f", "f.gz"}).validity);
  EXPECT_EQ(state.since, begun);
  EXPECT_EQ(state.last, clock.now());
  second.reset();
  state = watch->write_state(place("a/b", {"f", "f.gz"}).validity);
  EXPECT_EQ(state.last, begun);
}

TEST_F(Watching, closing_after_writing_counts_even_without_a_write_event) {
  // A shared mapping makes none; its file is closed only when it is unmapped.
  const WatchTicket ticket = place("a/b", {"f"});
  { const UniqueFd writer = open("a/b/f", O_RDWR); }
  EXPECT_FALSE(fresh(ticket));
}

TEST_F(Watching, writing_through_another_name_of_the_inode_is_seen) {
  TempDir outside;
  ASSERT_EQ(::link(dir.at("a/b/f").c_str(), outside.at("other").c_str()), 0);
  const WatchTicket ticket = place("a/b", {"f"});
  EXPECT_TRUE(fresh(ticket));
  const UniqueFd writer(::open(outside.at("other").c_str(), O_WRONLY | O_CLOEXEC));
  EXPECT_TRUE(fresh(ticket));
  TempDir::put(writer.get(), "through the other name, and not closed yet");
  EXPECT_FALSE(fresh(ticket));
}

TEST_F(Watching, readers_are_neither_writers_nor_changes) {
  const WatchTicket ticket = place("a/b", {"f"});
  { const UniqueFd reader = open("a/b/f", O_RDONLY); }
  EXPECT_TRUE(fresh(ticket));
  EXPECT_EQ(watch->write_state(ticket.validity).since, MonoTime{});
  EXPECT_EQ(watch->counters().events, 0U) << "reading files wakes the watch";
}

TEST_F(Watching, a_file_created_under_a_watched_name_is_not_whole_before_its_close) {
  const WatchTicket ticket = place("a/b", {"f"});
  dir.remove("a/b/f");
  UniqueFd writer = open("a/b/f", O_WRONLY | O_CREAT);
  EXPECT_FALSE(fresh(ticket));
  const WatchTicket during = place("a/b", {"f"});
  EXPECT_EQ(watch->write_state(during.validity).since, clock.now());
  TempDir::put(writer.get(), "whole");
  writer.reset();
  EXPECT_FALSE(fresh(during));
  EXPECT_EQ(watch->write_state(place("a/b", {"f"}).validity).since, MonoTime{});
}

TEST_F(Watching, a_file_closed_before_its_own_watch_stood_is_whole) {
  (void)place("a/b", {"f"});
  dir.replace("a/b/f", "another inode");
  dir.write("a/b/f", "rewritten before anybody asked again");
  EXPECT_EQ(watch->write_state(place("a/b", {"f"}).validity).since, MonoTime{});
  dir.replace("a/b/f", "a third inode");
  const UniqueFd writer = open("a/b/f", O_WRONLY | O_TRUNC);
  EXPECT_EQ(watch->write_state(place("a/b", {"f"}).validity).since, clock.now()) << "this one is not closed yet";
}

TEST_F(Watching, a_second_name_is_whole_when_it_is_made) {
  dir.write("other", "o");
  const WatchTicket ticket = place("a/b", {"g"});
  dir.hard_link("other", "a/b/g");
  EXPECT_FALSE(fresh(ticket));
  EXPECT_EQ(watch->write_state(place("a/b", {"g"}).validity).since, MonoTime{});
}

TEST_F(Watching, makes_everything_stale_when_events_were_lost) {
  const WatchTicket ticket = place("a/b", {"f"});
  watch->bump_all();
  EXPECT_FALSE(cells.fresh(ticket.validity));
  EXPECT_TRUE(fresh(place("a/b", {"f"})));
}

TEST_F(Watching, an_overflow_of_the_kernels_queue_makes_everything_stale) {
  const WatchTicket ticket = place("a/b", {"f"});
  const WatchTicket noisy = place("", {"noise0", "noise1"});
  ASSERT_EQ(noisy.status, WatchStatus::WATCHED);
  // Two names in turn, so that no two equal events follow each other and merge.
  const std::string names[] = {dir.at("noise0"), dir.at("noise1")};
  for (int i = 0; i < 40'000 && watch->counters().overflows == 0; ++i) {
    const UniqueFd fd(::open(names[i % 2].c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    ASSERT_TRUE(fd.valid());
    if (i % 2 == 1) {
      ::unlink(names[0].c_str());
      ::unlink(names[1].c_str());
    }
  }
  EXPECT_FALSE(fresh(ticket));
  EXPECT_GE(watch->counters().overflows, 1U);
  EXPECT_TRUE(fresh(place("a/b", {"f"})));
}

TEST_F(Watching, refuses_at_its_bound_and_makes_room_from_what_is_stale_or_old) {
  options.files_max = 2;
  make();
  for (const char* name : {"x", "y", "z"}) dir.write(name, name);
  const WatchTicket x = place("", {"x"});
  const WatchTicket y = place("", {"y"});
  ASSERT_EQ(y.status, WatchStatus::WATCHED);
  EXPECT_EQ(place("", {"z"}).status, WatchStatus::LIMIT);
  EXPECT_TRUE(fresh(x));
  watch->forget(y.validity);
  EXPECT_FALSE(cells.fresh(y.validity));
  EXPECT_EQ(place("", {"z"}).status, WatchStatus::WATCHED);
  EXPECT_TRUE(fresh(x));
  EXPECT_EQ(place("", {"y"}).status, WatchStatus::LIMIT);
  clock.advance(options.reuse_after);
  EXPECT_EQ(place("", {"y"}).status, WatchStatus::WATCHED);
  EXPECT_FALSE(fresh(x)) << "the oldest made room, and whoever depended on it knows";
  EXPECT_EQ(watch->counters().watched, 2U);
}

TEST_F(Watching, is_refused_when_cells_run_out) {
  ValidityTable few(2);  // cell 0 and one more
  auto made = InotifyWatch::create(few, clock, options);
  ASSERT_TRUE(made.has_value());
  const std::string_view f[] = {"f"};
  const std::string_view g[] = {"g"};
  const RootDir root{dir.fd(), dir.path().c_str()};
  EXPECT_EQ((*made)->watch({.root = root, .directory = "a/b", .names = f}).status, WatchStatus::WATCHED);
  const WatchTicket refused = (*made)->watch({.root = root, .directory = "a/b", .names = g});
  EXPECT_EQ(refused.status, WatchStatus::LIMIT);
  EXPECT_EQ(refused.validity.cell, 0U);
}

TEST_F(Watching, gives_up_on_directories_that_are_not_there) {
  EXPECT_EQ(place("none", {"f"}).status, WatchStatus::UNSUPPORTED);
  EXPECT_EQ(place("a/b/f", {"x"}).status, WatchStatus::UNSUPPORTED);
  EXPECT_EQ(watch->counters().watched, 0U);
  EXPECT_EQ(watch->counters().inotify_watches, 0U);
}

TEST_F(Watching, refuses_file_systems_that_change_without_an_event) {
  const UniqueFd proc(::open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!proc.valid()) GTEST_SKIP() << "no /proc here";
  const std::string_view names[] = {"version"};
  EXPECT_EQ(watch->watch({.root = {proc.get(), "/proc"}, .directory = "", .names = names}).status,
            WatchStatus::UNSUPPORTED);
}

TEST_F(Watching, leaves_the_current_directory_where_it_was) {
  char before[4096];
  char after[4096];
  ASSERT_NE(::getcwd(before, sizeof before), nullptr);
  ASSERT_EQ(place("a/b", {"f"}).status, WatchStatus::WATCHED);
  ASSERT_NE(::getcwd(after, sizeof after), nullptr);
  EXPECT_STREQ(before, after);
}

}  // namespace
}  // namespace penstock
