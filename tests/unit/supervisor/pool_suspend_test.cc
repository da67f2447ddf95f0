// Idle workers. pool.NAME.idle_action = suspend: they are stopped and kept, and woken when somebody asks;
// pool.NAME.idle_memory: they may be idle for less where memory is scarce.
#include "tests/unit/supervisor/pool_keeper_fixture.h"

namespace penstock::test {
namespace {

class PoolSuspend : public PoolKeeperTest {
 protected:
  static PoolRules sleepy(uint32_t min = 0, uint32_t max = 2) {
    PoolRules rules = garden(min, max);
    rules.idle_timeout = seconds(60);
    rules.idle_suspend = true;
    return rules;
  }
  void rests(uint64_t worker) {
    tell([&](PoolKeeper& k) { k.rests(worker, now_); });
  }
  // Worker 1 is to sleep.
  void open_suspending(PoolRules rules = sleepy()) {
    open(std::move(rules));
    need();
    ready(1);
    after(seconds(60));
  }
  // Worker 1 sleeps.
  void open_asleep(PoolRules rules = sleepy()) {
    open_suspending(std::move(rules));
    rests(1);
  }
};

TEST_F(PoolSuspend, an_idle_worker_gets_nothing_more_and_is_stopped_once_it_rests) {
  open(sleepy());
  need();
  ready(1);
  after(seconds(59));
  EXPECT_EQ(got(Kind::SUSPEND), List{});
  after(seconds(1));
  EXPECT_EQ(got(Kind::SUSPEND), List{1});
  EXPECT_EQ(got(Kind::RETIRE), List{});
  EXPECT_EQ(got(Kind::FREEZE), List{}) << "a request may be inside";
  EXPECT_EQ(state_of(1), WorkerState::SUSPENDING);
  rests(1);
  EXPECT_EQ(got(Kind::FREEZE), List{1});
  EXPECT_EQ(got(Kind::RECLAIM), List{1});
  EXPECT_EQ(state_of(1), WorkerState::SUSPENDED);
  EXPECT_TRUE(logged("is suspended: idle for 1 min 0 s")) << "the event, with its cause";
  after(seconds(3600));
  EXPECT_EQ(state_of(1), WorkerState::SUSPENDED);
  EXPECT_EQ(keeper_->crashes(), 0U);
}

TEST_F(PoolSuspend, a_need_wakes_it_and_starts_none) {
  open_asleep();
  now_ = now_ + seconds(100);
  need();
  EXPECT_EQ(got(Kind::THAW), List{1});
  EXPECT_EQ(got(Kind::RESUME), List{1});
  EXPECT_EQ(got(Kind::START), List{});
  EXPECT_EQ(state_of(1), WorkerState::READY);
  EXPECT_TRUE(logged("is woken after 1 min 40 s: a request waits"));
  load(1, 5, 0, seconds(160));  // from before it was woken
  EXPECT_EQ(state_of(1), WorkerState::READY);
  after(seconds(59));
  EXPECT_EQ(got(Kind::SUSPEND), List{});
  after(seconds(1));
  EXPECT_EQ(got(Kind::SUSPEND), List{1}) << "idle anew";
}

TEST_F(PoolSuspend, one_that_is_needed_before_it_rests_was_never_stopped) {
  open_suspending();
  need();
  EXPECT_EQ(got(Kind::RESUME), List{1});
  EXPECT_EQ(got(Kind::THAW), List{});
  EXPECT_EQ(state_of(1), WorkerState::READY);
  rests(1);  // said before its server knew
  EXPECT_EQ(got(Kind::FREEZE), List{});
  EXPECT_EQ(state_of(1), WorkerState::READY);
}

TEST_F(PoolSuspend, one_whose_server_never_says_that_it_rests_goes_on) {
  open_suspending();
  after(PoolKeeper::REST_PATIENCE);
  EXPECT_EQ(got(Kind::RESUME), List{1});
  EXPECT_EQ(state_of(1), WorkerState::READY);
}

TEST_F(PoolSuspend, one_that_has_a_request_after_all_goes_on) {
  open_suspending();
  load(1, 0, 1);
  EXPECT_EQ(got(Kind::RESUME), List{1});
  load(1, 1, 0, {});
  after(seconds(60));
  rests(1);
  load(1, 1, 1);
  EXPECT_EQ(got(Kind::THAW), List{1});
  EXPECT_EQ(state_of(1), WorkerState::READY);
}

TEST_F(PoolSuspend, workers_min_stay_awake_and_more_need_wakes_before_it_starts) {
  open(sleepy(1, 3));
  ready(1);
  need(seconds(1));
  ready(2);
  load(1, 1, 1);
  after(seconds(60));
  rests(2);
  EXPECT_EQ(state_of(1), WorkerState::READY);
  EXPECT_EQ(state_of(2), WorkerState::SUSPENDED);
  need(seconds(1), 5);
  EXPECT_EQ(got(Kind::RESUME), List{2});
  EXPECT_EQ(got(Kind::START), List{});
  now_ = now_ + seconds(10);
  need(seconds(1), 1);
  EXPECT_EQ(got(Kind::START), List{3});
}

TEST_F(PoolSuspend, the_last_to_sleep_is_the_first_to_wake) {
  open(sleepy(0, 2));
  need();
  ready(1);
  now_ = now_ + seconds(5);
  need(seconds(1));
  ready(2);
  after(seconds(55));
  rests(1);
  after(seconds(5));
  rests(2);
  need();
  EXPECT_EQ(got(Kind::RESUME), List{2});
  EXPECT_EQ(state_of(1), WorkerState::SUSPENDED);
}

TEST_F(PoolSuspend, waking_is_no_start_and_waits_for_no_pause) {
  PoolRules rules = sleepy(0, 2);
  rules.idle_timeout = milliseconds(10);
  open(rules);
  need();
  ready(1);
  load(1, 0, 1);
  need(seconds(1));
  ended(2);
  need(seconds(1));
  ended(3);  // the second failure: 100 ms
  load(1, 1, 0);
  after(milliseconds(10));
  rests(1);
  ASSERT_EQ(state_of(1), WorkerState::SUSPENDED);
  need();
  EXPECT_EQ(got(Kind::RESUME), List{1});
}

TEST_F(PoolSuspend, one_that_dies_asleep_is_a_failure_and_nobody_takes_its_place) {
  open_asleep();
  ended(1, {false, "was killed by SIGKILL"});
  EXPECT_TRUE(logged("was killed by SIGKILL"));
  EXPECT_TRUE(logged("while it was suspended"));
  EXPECT_EQ(got(Kind::GONE), List{1});
  EXPECT_EQ(got(Kind::START), List{}) << "nobody asks";
  EXPECT_EQ(keeper_->crashes(), 1U);
  need();
  EXPECT_EQ(got(Kind::START), List{2});
}

// What ends a suspended worker: it is let go on, so that it can leave in good order.
TEST_F(PoolSuspend, stop_wakes_it_to_leave) {
  open_asleep();
  tell([&](PoolKeeper& k) { k.stop("by hand", now_); });
  EXPECT_EQ(got(Kind::THAW), List{1});
  EXPECT_EQ(got(Kind::RETIRE), List{1});
  EXPECT_EQ(got(Kind::RESUME), List{});
  EXPECT_EQ(state_of(1), WorkerState::RETIRING);
}

TEST_F(PoolSuspend, recycling_ends_it_without_a_replacement) {
  for (const int how : {0, 1, 2}) {
    numbers_ = {};
    PoolRules rules = sleepy();
    rules.recycle_time = seconds(3600);
    open_asleep(rules);
    if (how == 0) tell([&](PoolKeeper& k) { k.recycle("by command", now_); });
    if (how == 1) {
      rules.recipe = "another";
      tell([&](PoolKeeper& k) { k.configure(rules, now_); });
    }
    if (how == 2) after(seconds(3540));
    EXPECT_EQ(got(Kind::THAW), List{1}) << how;
    EXPECT_EQ(got(Kind::RETIRE), List{1}) << how;
    EXPECT_EQ(got(Kind::START), List{}) << how;
    EXPECT_EQ(keeper_->recycled(), 1U) << how;
  }
}

TEST_F(PoolSuspend, one_that_is_recycled_before_it_rests_ends_when_it_does) {
  open_suspending();
  tell([&](PoolKeeper& k) { k.recycle("by command", now_); });
  rests(1);
  EXPECT_EQ(got(Kind::RETIRE), List{1});
  EXPECT_EQ(got(Kind::THAW), List{1});
}

TEST_F(PoolSuspend, shut_down_and_the_end_of_an_old_server_reach_it) {
  open_asleep();
  tell([&](PoolKeeper& k) { k.server_ready(SERVER + 1, now_); });
  EXPECT_EQ(got(Kind::SIGNAL, SIGTERM), List{}) << "requests of the old server may still need it";
  tell([&](PoolKeeper& k) { k.server_gone(SERVER, now_); });
  EXPECT_EQ(got(Kind::SIGNAL, SIGTERM), List{1});
  EXPECT_EQ(got(Kind::THAW), List{1}) << "a stopped process does not hear SIGTERM";
}

TEST_F(PoolSuspend, settings_that_want_none_or_fewer_end_it) {
  open_asleep();
  PoolRules rules = sleepy();
  rules.idle_suspend = false;
  tell([&](PoolKeeper& k) { k.configure(rules, now_); });
  EXPECT_EQ(got(Kind::RETIRE), List{1});
  numbers_ = {};
  open_asleep(sleepy(0, 2));
  need();
  need(seconds(1), 5);
  EXPECT_EQ(got(Kind::START), List{2});
  ready(2);
  load(2, 1, 1);
  after(seconds(60));
  rests(1);
  ASSERT_EQ(state_of(1), WorkerState::SUSPENDED);
  tell([&](PoolKeeper& k) { k.configure(sleepy(0, 1), now_); });
  EXPECT_EQ(got(Kind::RETIRE), List{1});
}

TEST_F(PoolSuspend, it_sleeps_through_the_death_of_its_server_and_is_taken_over_when_needed) {
  open_asleep();
  tell([&](PoolKeeper& k) { k.server_gone(SERVER, now_); });
  tell([&](PoolKeeper& k) { k.server_ready(SERVER + 1, now_); });
  EXPECT_EQ(got(Kind::GIVE), List{});
  EXPECT_EQ(state_of(1), WorkerState::SUSPENDED);
  tell([&](PoolKeeper& k) { k.need(SERVER + 1, 1, {}, now_); });
  EXPECT_EQ(got(Kind::THAW), List{1});
  EXPECT_EQ(got(Kind::GIVE), List{1});
  EXPECT_EQ(got(Kind::START), List{});
  EXPECT_EQ(state_of(1), WorkerState::STARTING);
  ready(1);
  EXPECT_EQ(state_of(1), WorkerState::READY);
  // Before it rested it was not stopped: it is taken over like any other.
  after(seconds(60));
  EXPECT_EQ(state_of(1), WorkerState::SUSPENDING);
  tell([&](PoolKeeper& k) { k.server_gone(SERVER + 1, now_); });
  tell([&](PoolKeeper& k) { k.server_ready(SERVER + 2, now_); });
  EXPECT_EQ(got(Kind::GIVE), List{1});
}

// --- how long they may be idle -------------------------------------------------------------------

TEST_F(PoolSuspend, the_more_memory_is_in_use_the_sooner_idle_workers_are_stopped) {
  const auto stopped_after = [this](uint32_t used, Duration idle) {
    numbers_ = {};
    PoolRules rules = garden(0, 1);
    rules.idle_timeout = seconds(64);
    rules.idle_memory = 50;
    open(rules);
    need();
    ready(1);
    tell([&](PoolKeeper& k) { k.memory_used(used, now_); });
    after(idle - milliseconds(1));
    const bool stayed = got(Kind::RETIRE).empty();
    after(milliseconds(1));
    return stayed && got(Kind::RETIRE) == List{1};
  };
  EXPECT_TRUE(stopped_after(0, seconds(64)));
  EXPECT_TRUE(stopped_after(39, seconds(64)));
  EXPECT_TRUE(stopped_after(40, seconds(32))) << "80 %";
  EXPECT_TRUE(stopped_after(43, seconds(16))) << "86 %";
  EXPECT_TRUE(stopped_after(45, seconds(8)));
  EXPECT_TRUE(stopped_after(48, seconds(4)));
  EXPECT_TRUE(stopped_after(50, seconds(2)));
  EXPECT_TRUE(stopped_after(100, seconds(2)));
}

TEST_F(PoolSuspend, memory_that_comes_free_for_good_gives_idle_workers_their_time_back) {
  PoolRules rules = garden(0, 1);
  rules.idle_timeout = seconds(64);
  rules.idle_memory = 50;
  open(rules);
  need();
  ready(1);
  const auto used = [&](uint32_t percent) {
    tell([&](PoolKeeper& k) { k.memory_used(percent, now_); });
    return keeper_->next_deadline(now_) - now_;
  };
  EXPECT_EQ(used(45), seconds(8));
  EXPECT_TRUE(logged("keeps idle workers for 8.0 s: 45 % of memory is in use"));
  EXPECT_EQ(used(44), seconds(8)) << "it goes up and down by itself";
  EXPECT_FALSE(logged("keeps idle workers"));
  EXPECT_EQ(used(42), seconds(16));
  EXPECT_EQ(used(10), seconds(64));
  EXPECT_EQ(used(60), seconds(2));
  rules.idle_memory = 0;
  tell([&](PoolKeeper& k) { k.configure(rules, now_); });
  EXPECT_EQ(keeper_->next_deadline(now_) - now_, seconds(64));
}

}  // namespace
}  // namespace penstock::test
