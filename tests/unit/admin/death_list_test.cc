// DeathList: what is kept, what is cut, and how an end is called.
#include "src/admin/death_list.h"

#include <csignal>
#include <gtest/gtest.h>

namespace penstock {
namespace {

Death death_with(size_t requests, const std::string& pool = "p") {
  Death death;
  death.pool = pool;
  death.worker = 7;
  death.pid = 70;
  death.ended = {5'000'000};
  death.inside.resize(requests);
  for (size_t i = 0; i < requests; ++i) {
    death.inside[i].seq_start = i;
    death.inside[i].begin = {1'000'000};
    death.inside[i].method = "GET";
    death.inside[i].target = "/" + std::to_string(i);
  }
  return death;
}

TEST(DeathList, keeps_the_last_hundred_and_counts_the_others) {
  DeathList list;
  for (size_t i = 0; i < DeathList::DEATHS_MAX + 3; ++i) list.add(death_with(1));
  EXPECT_EQ(list.deaths().size(), DeathList::DEATHS_MAX);
  EXPECT_EQ(list.forgotten(), 3U);
  EXPECT_EQ(list.deaths().front().number, 4U);
  EXPECT_EQ(list.deaths().back().number, DeathList::DEATHS_MAX + 3);
}

TEST(DeathList, a_loop_of_failing_starts_does_not_crowd_out_who_had_requests) {
  DeathList list;
  list.add(death_with(2));
  for (size_t i = 0; i < 10 * DeathList::DEATHS_MAX; ++i) list.add(death_with(0));
  EXPECT_EQ(list.deaths().size(), DeathList::DEATHS_MAX + 1);
  EXPECT_EQ(list.deaths().front().inside.size(), 2U);
  EXPECT_EQ(list.forgotten(), 9 * DeathList::DEATHS_MAX);
}

TEST(DeathList, requests_beyond_the_limit_are_counted_and_the_first_stay) {
  DeathList list;
  list.add(death_with(DeathList::REQUESTS_MAX + 5));
  EXPECT_EQ(list.deaths()[0].inside.size(), DeathList::REQUESTS_MAX);
  EXPECT_EQ(list.deaths()[0].inside.back().seq_start, DeathList::REQUESTS_MAX - 1);
  EXPECT_EQ(list.deaths()[0].left_out, 5U);
  EXPECT_EQ(json_number(list.json("")["killers"][0], "left_out"), 5U);
}

TEST(DeathList, all_requests_together_are_bounded_and_the_newest_stay) {
  DeathList list;
  constexpr size_t FIT = DeathList::REQUESTS_ALL_MAX / DeathList::REQUESTS_MAX;
  for (size_t i = 0; i < FIT + 4; ++i) list.add(death_with(DeathList::REQUESTS_MAX));
  EXPECT_EQ(list.deaths().size(), FIT);
  EXPECT_EQ(list.forgotten(), 4U);
  list.add(death_with(0));  // takes no room
  EXPECT_EQ(list.deaths().size(), FIT + 1);
  list.add(death_with(1));
  EXPECT_EQ(list.deaths().size(), FIT + 1);
  EXPECT_EQ(list.deaths().front().number, 6U);
}

TEST(DeathList, json_is_newest_first_and_of_one_pool) {
  DeathList list;
  list.add(death_with(1, "a"));
  list.add(death_with(2, "b"));
  Death server = death_with(0, "");
  server.worker = 0;
  list.add(server);
  const Json all = list.json("");
  ASSERT_EQ(all["killers"].size(), 3U);
  EXPECT_EQ(json_text(all["killers"][0], "process"), "server");
  EXPECT_FALSE(all["killers"][0].contains("pool"));
  EXPECT_EQ(json_text(all["killers"][1], "pool"), "b");
  EXPECT_EQ(all["killers"][1]["requests"].size(), 2U);
  EXPECT_EQ(json_text(all["killers"][1]["requests"][1], "target"), "/1");
  EXPECT_EQ(all["killers"][1]["requests"][1]["age_us"], 4000);
  const Json one = list.json("a");
  ASSERT_EQ(one["killers"].size(), 1U);
  EXPECT_EQ(json_number(one["killers"][0], "number"), 1U);
}

TEST(DeathList, a_request_without_a_target_is_told_by_its_first_bytes) {
  DeathList list;
  Death death = death_with(1);
  death.inside[0].target.clear();
  death.inside[0].excerpt = "GET /long";
  list.add(death);
  EXPECT_EQ(json_text(list.json("")["killers"][0]["requests"][0], "head"), "GET /long");
}

TEST(DeathKind, tells_whose_doing_it_was) {
  const RoleExit killed = {.signal = SIGKILL};
  const RoleExit term = {.signal = SIGTERM};
  const RoleExit crash = {.signal = SIGSEGV};
  const RoleExit forbidden = {.signal = SIGSYS};
  const RoleExit left = {.code = 3};
  EXPECT_EQ(death_kind(killed, DeathOrder::NOTHING, false), DeathKind::SIGNAL);
  EXPECT_EQ(death_kind(killed, DeathOrder::NOTHING, true), DeathKind::MEMORY);
  EXPECT_EQ(death_kind(killed, DeathOrder::HANG, false), DeathKind::HANG);
  EXPECT_EQ(death_kind(term, DeathOrder::OVERDUE, false), DeathKind::OVERDUE);
  EXPECT_EQ(death_kind(killed, DeathOrder::PROTOCOL, false), DeathKind::PROTOCOL);
  EXPECT_EQ(death_kind(killed, DeathOrder::OTHER, false), DeathKind::STOPPED);
  EXPECT_EQ(death_kind(crash, DeathOrder::OTHER, false), DeathKind::SIGNAL);  // on its way out
  EXPECT_EQ(death_kind(forbidden, DeathOrder::NOTHING, false), DeathKind::SANDBOX);
  EXPECT_EQ(death_kind(left, DeathOrder::NOTHING, false), DeathKind::EXIT);
}

}  // namespace
}  // namespace penstock
