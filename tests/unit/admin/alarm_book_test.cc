// AlarmBook, AlarmQueue, ProgramBook: what is an alarm, what is counted, and what happens at each limit.
#include "src/admin/alarm_book.h"

#include "src/admin/alarm_queue.h"
#include "src/admin/program_book.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

Alarm tried(const std::string& what, MonoTime at = {}, const std::string& pool = "p") {
  Alarm alarm;
  alarm.pool = pool;
  alarm.what = what;
  alarm.at = at;
  return alarm;
}

TEST(AlarmBook, the_first_of_a_kind_is_an_alarm_and_the_rest_is_counted) {
  AlarmBook book;
  const Alarm* first = book.book(tried("mount"), seconds(600));
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(first->number, 1U);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(book.book(tried("mount"), seconds(600)), nullptr);
  EXPECT_EQ(first->count, 6U);
  EXPECT_EQ(book.occurrences(), 6U);
  EXPECT_NE(book.book(tried("bpf"), seconds(600)), nullptr);
  EXPECT_NE(book.book(tried("mount", {}, "other"), seconds(600)), nullptr);
  Alarm learnt = tried("mount");
  learnt.learnt = true;
  EXPECT_NE(book.book(learnt, seconds(600)), nullptr);
}

TEST(AlarmBook, a_kind_that_was_quiet_is_an_alarm_again) {
  AlarmBook book;
  ASSERT_NE(book.book(tried("mount"), seconds(10)), nullptr);
  EXPECT_EQ(book.book(tried("mount", MonoTime{} + seconds(9)), seconds(10)), nullptr);
  EXPECT_EQ(book.book(tried("mount", MonoTime{} + seconds(18)), seconds(10)), nullptr);
  const Alarm* again = book.book(tried("mount", MonoTime{} + seconds(28)), seconds(10));
  ASSERT_NE(again, nullptr);
  EXPECT_EQ(again->count, 4U);
  EXPECT_EQ(book.alarms().size(), 1U);
  EXPECT_EQ(book.book(tried("mount", MonoTime{} + seconds(9000)), Duration{}), nullptr) << "0 is never";
}

TEST(AlarmBook, a_pool_cannot_fill_it_and_that_it_tried_is_one_alarm_more) {
  AlarmBook book;
  for (size_t i = 0; i < AlarmBook::KINDS_OF_POOL; ++i) {
    ASSERT_NE(book.book(tried("/x" + std::to_string(i)), seconds(600)), nullptr);
  }
  const Alarm* more = book.book(tried("/y"), seconds(600));
  ASSERT_NE(more, nullptr);
  EXPECT_EQ(more->kind, AlarmKind::MORE);
  EXPECT_EQ(more->detail, "the last one: /y");
  EXPECT_EQ(book.book(tried("/z"), seconds(600)), nullptr);
  EXPECT_EQ(more->count, 2U);
  EXPECT_NE(book.book(tried("/z", {}, "other"), seconds(600)), nullptr);
}

TEST(AlarmBook, files_that_are_looked_for_do_not_hide_what_is_worse) {
  AlarmBook book;
  const auto access = [](const std::string& path) {
    Alarm alarm = tried(path);
    alarm.kind = AlarmKind::ACCESS;
    return alarm;
  };
  for (size_t i = 0; i < AlarmBook::KINDS_OF_POOL; ++i) {
    ASSERT_NE(book.book(access("/x" + std::to_string(i)), seconds(600)), nullptr);
  }
  const Alarm* more = book.book(access("/y"), seconds(600));
  ASSERT_NE(more, nullptr);
  EXPECT_EQ(more->kind, AlarmKind::MORE);
  EXPECT_EQ(more->what, "more than 32 files and addresses");
  EXPECT_EQ(book.book(access("/z"), seconds(600)), nullptr);
  const Alarm* call = book.book(tried("mount"), seconds(600));
  ASSERT_NE(call, nullptr);
  EXPECT_EQ(call->what, "mount");
}

TEST(AlarmBook, when_it_is_full_the_kind_not_seen_for_longest_goes_and_is_counted) {
  AlarmBook book;
  for (size_t i = 0; i < AlarmBook::KINDS_MAX; ++i) {
    ASSERT_NE(book.book(tried("mount", {}, "p" + std::to_string(i)), seconds(600)), nullptr);
  }
  EXPECT_EQ(book.book(tried("mount", {}, "p0"), seconds(600)), nullptr);  // seen lately
  ASSERT_NE(book.book(tried("mount", {}, "new"), seconds(600)), nullptr);
  EXPECT_EQ(book.alarms().size(), AlarmBook::KINDS_MAX);
  EXPECT_EQ(book.forgotten(), 1U);
  EXPECT_EQ(book.book(tried("mount", {}, "p0"), seconds(600)), nullptr);
  EXPECT_NE(book.book(tried("mount", {}, "p1"), seconds(600)), nullptr);
}

TEST(AlarmBook, a_test_is_always_an_alarm) {
  AlarmBook book;
  Alarm test = tried("/bin/sh");
  test.kind = AlarmKind::TEST;
  EXPECT_NE(book.book(test, seconds(600)), nullptr);
  EXPECT_NE(book.book(test, seconds(600)), nullptr);
  EXPECT_EQ(book.alarms().size(), 1U);
}

TEST(AlarmBook, texts_and_requests_are_cut) {
  AlarmBook book;
  Alarm alarm = tried(std::string(100'000, 'x'));
  alarm.inside.resize(Alarm::REQUESTS_MAX + 7);
  const Alarm* booked = book.book(alarm, Duration{});
  ASSERT_NE(booked, nullptr);
  EXPECT_EQ(booked->what.size(), AlarmBook::TEXT_BYTES_MAX);
  EXPECT_EQ(booked->left_out, 7U);
  EXPECT_EQ(book.json("")["alarms"][0]["requests"].size(), Alarm::REQUESTS_MAX);
  EXPECT_TRUE(book.json("other")["alarms"].empty());
}

AlarmQueue::Delivery delivery(uint64_t alarm) {
  AlarmQueue::Delivery out;
  out.alarm = alarm;
  return out;
}

TEST(AlarmQueue, runs_a_few_at_a_time_in_order) {
  AlarmQueue queue;
  for (uint64_t i = 1; i <= AlarmQueue::RUNNING_MAX + 2; ++i) ASSERT_TRUE(queue.add(delivery(i), {}));
  for (uint64_t i = 1; i <= AlarmQueue::RUNNING_MAX; ++i) EXPECT_EQ(queue.next({})->alarm, i);
  EXPECT_FALSE(queue.next({}));
  EXPECT_EQ(queue.next_deadline(), MonoTime::never());
  EXPECT_EQ(queue.done(delivery(1), true, {}), AlarmQueue::Outcome::TOLD);
  EXPECT_EQ(queue.next({})->alarm, AlarmQueue::RUNNING_MAX + 1);
  EXPECT_EQ(queue.told(), 1U);
}

TEST(AlarmQueue, tries_again_with_longer_pauses_and_gives_up) {
  AlarmQueue queue;
  ASSERT_TRUE(queue.add(delivery(1), {}));
  MonoTime now;
  Duration pause = AlarmQueue::FIRST_PAUSE;
  for (uint32_t tries = 1; tries < AlarmQueue::TRIES_MAX; ++tries) {
    auto one = queue.next(now);
    ASSERT_TRUE(one);
    EXPECT_EQ(one->tries, tries);
    EXPECT_EQ(queue.done(*one, false, now), AlarmQueue::Outcome::AGAIN);
    EXPECT_FALSE(queue.next(now));
    EXPECT_EQ(queue.next_deadline(), now + pause);
    now = now + pause;
    pause = pause + pause;
  }
  EXPECT_EQ(queue.done(*queue.next(now), false, now), AlarmQueue::Outcome::GIVEN_UP);
  EXPECT_EQ(queue.waiting(), 0U);
  EXPECT_EQ(queue.given_up(), 1U);
}

TEST(AlarmQueue, one_more_than_it_holds_is_refused_and_counted) {
  AlarmQueue queue;
  for (uint64_t i = 0; i < AlarmQueue::WAITING_MAX; ++i) ASSERT_TRUE(queue.add(delivery(i), {}));
  EXPECT_FALSE(queue.add(delivery(99), {}));
  EXPECT_EQ(queue.refused(), 1U);
}

ProgramRecord program(pid_t pid, const std::string& path, MonoTime at = {}) {
  ProgramRecord record;
  record.pool = "p";
  record.pid = pid;
  record.path = path;
  record.started_at = at;
  return record;
}

TEST(ProgramBook, starts_and_ends_are_pairs) {
  ProgramBook book;
  const uint64_t number = book.start(program(7, "/bin/a"))->number;
  book.end(number, "exited with code 3", {}, MonoTime{} + seconds(2));
  book.end(number, "again", {}, {});
  ASSERT_EQ(book.ended().size(), 1U);
  EXPECT_EQ(book.ended()[0].end, "exited with code 3");
  EXPECT_FALSE(book.ended()[0].running);
  EXPECT_EQ(book.json("", {})["programs"][0]["age_us"], 2'000'000);
  EXPECT_EQ(book.started_total(), 1U);
  EXPECT_EQ(book.ended_total(), 1U);
}

TEST(ProgramBook, a_process_that_executes_another_program_ends_the_first) {
  ProgramBook book;
  book.start(program(7, "/bin/a"));
  const ProgramRecord* second = book.start(program(7, "/bin/b"));
  ASSERT_NE(second, nullptr);
  ASSERT_EQ(book.ended().size(), 1U);
  EXPECT_EQ(book.ended()[0].path, "/bin/a");
  EXPECT_EQ(book.ended()[0].end, "executed another program");
  EXPECT_EQ(book.running().size(), 1U);
}

TEST(ProgramBook, is_bounded_and_says_what_it_does_not_follow) {
  ProgramBook book;
  for (size_t i = 0; i < ProgramBook::RUNNING_MAX; ++i) {
    ASSERT_NE(book.start(program(static_cast<pid_t>(i + 1), "/a")), nullptr);
  }
  EXPECT_EQ(book.start(program(999'999, "/b")), nullptr);
  EXPECT_EQ(book.not_followed(), 1U);
  EXPECT_EQ(book.ended().back().path, "/b");
  for (uint64_t i = 1; i <= ProgramBook::ENDED_MAX + 5; ++i) book.end(i, "ended", {}, {});
  EXPECT_EQ(book.ended().size(), ProgramBook::ENDED_MAX);
  EXPECT_EQ(book.json("", {})["forgotten"], 6U);
}

TEST(ProgramBook, shows_who_runs_for_long) {
  ProgramBook book;
  book.start(program(1, "/old"));
  book.start(program(2, "/young", MonoTime{} + seconds(50)));
  const Json old = book.running_json(seconds(30), MonoTime{} + seconds(60));
  ASSERT_EQ(old.size(), 1U);
  EXPECT_EQ(old[0]["path"], "/old");
  EXPECT_EQ(book.running_json({}, MonoTime{} + seconds(60)).size(), 2U);
}

}  // namespace
}  // namespace penstock
