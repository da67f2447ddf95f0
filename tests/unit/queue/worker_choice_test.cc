#include "pool/queue/worker_choice.h"

#include <array>
#include <gtest/gtest.h>
#include <vector>

namespace penstock {
namespace {

WorkerLoad worker(uint64_t number, uint32_t inside, uint32_t capacity, bool takes = true) {
  return {.number = number, .inside = inside, .capacity = capacity, .takes = takes};
}

TEST(WorkerChoice, finds_none_where_none_has_room) {
  EXPECT_EQ(choose_worker({}, {}), std::nullopt);
  const std::vector<WorkerLoad> full = {worker(1, 1, 1), worker(2, 0, 4, false), worker(3, 0, 0)};
  for (const WorkerPolicy policy : {WorkerPolicy::ROUND_ROBIN, WorkerPolicy::LEAST_LOADED, WorkerPolicy::STICKY}) {
    EXPECT_EQ(choose_worker(full, {.policy = policy, .sticky = 1}), std::nullopt);
  }
}

TEST(WorkerChoice, goes_round_past_those_that_are_full) {
  const std::vector<WorkerLoad> workers = {worker(1, 3, 4), worker(2, 4, 4), worker(3, 0, 4), worker(4, 0, 4, false)};
  EXPECT_EQ(choose_worker(workers, {.policy = WorkerPolicy::ROUND_ROBIN, .after = 0}), 2U);
  EXPECT_EQ(choose_worker(workers, {.policy = WorkerPolicy::ROUND_ROBIN, .after = 2}), 0U);
  EXPECT_EQ(choose_worker(workers, {.policy = WorkerPolicy::ROUND_ROBIN, .after = 77}), 2U) << "a place that is gone";
}

TEST(WorkerChoice, takes_the_one_with_the_smallest_part_in_use) {
  const std::vector<WorkerLoad> workers = {worker(1, 2, 4), worker(2, 3, 16), worker(3, 1, 4)};
  EXPECT_EQ(choose_worker(workers, {.policy = WorkerPolicy::LEAST_LOADED}), 1U);
}

TEST(WorkerChoice, lets_equals_take_turns) {
  const std::vector<WorkerLoad> idle = {worker(1, 0, 1), worker(2, 0, 1), worker(3, 0, 1)};
  uint32_t after = 2;
  for (const uint32_t expected : {0U, 1U, 2U, 0U}) {
    after = *choose_worker(idle, {.policy = WorkerPolicy::LEAST_LOADED, .after = after});
    EXPECT_EQ(after, expected);
  }
}

TEST(WorkerChoice, stays_with_the_cookies_worker_and_waits_for_it) {
  std::vector<WorkerLoad> workers = {worker(7, 0, 1), worker(8, 0, 1)};
  EXPECT_EQ(choose_worker(workers, {.policy = WorkerPolicy::STICKY, .sticky = 8}), 1U);
  workers[1].inside = 1;
  EXPECT_EQ(choose_worker(workers, {.policy = WorkerPolicy::STICKY, .sticky = 8}), std::nullopt) << "it is only busy";
  workers[1].takes = false;
  EXPECT_EQ(choose_worker(workers, {.policy = WorkerPolicy::STICKY, .sticky = 8}), 0U) << "it is being replaced";
  EXPECT_EQ(choose_worker(workers, {.policy = WorkerPolicy::STICKY, .sticky = 99}), 0U) << "it is gone";
  EXPECT_EQ(choose_worker(workers, {.policy = WorkerPolicy::STICKY}), 0U);
}

TEST(WorkerChoice, tries_a_lost_request_once_more_where_nobody_can_tell) {
  const LostRequest fine{.idempotent = true};
  EXPECT_EQ(answer_lost(fine), LostAnswer::AGAIN);
  LostRequest request = fine;
  request.tries = 2;
  EXPECT_EQ(answer_lost(request), LostAnswer::BAD_GATEWAY);
  request = fine;
  request.idempotent = false;
  EXPECT_EQ(answer_lost(request), LostAnswer::BAD_GATEWAY);
  request = fine;
  request.body_kept = false;
  EXPECT_EQ(answer_lost(request), LostAnswer::BAD_GATEWAY);
  request = fine;
  request.harmful = true;
  EXPECT_EQ(answer_lost(request), LostAnswer::BAD_GATEWAY) << "it would do the same to the next worker";
  request = fine;
  request.answer_begun = true;
  EXPECT_EQ(answer_lost(request), LostAnswer::CUT);
}

}  // namespace
}  // namespace penstock
