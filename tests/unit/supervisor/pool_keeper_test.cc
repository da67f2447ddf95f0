// What PoolKeeper decides, event by event: how many workers, how they end, commands, servers.
#include "tests/unit/supervisor/pool_keeper_fixture.h"

namespace penstock::test {
namespace {

// --- demand, and how many -----------------------------------------------------------------------

TEST_F(PoolKeeperTest, nothing_runs_and_nothing_is_due_while_nobody_asks) {
  open(garden(0, 4));
  EXPECT_TRUE(keeper_->empty());
  EXPECT_EQ(keeper_->next_deadline(now_), MonoTime::never());
}

TEST_F(PoolKeeperTest, first_need_starts_one_and_more_need_waits_for_it) {
  open(garden(0, 4));
  need();
  EXPECT_EQ(got(Kind::START), List{1});
  EXPECT_EQ(got(Kind::GIVE), List{1});
  need(seconds(3), 100);
  EXPECT_EQ(got(Kind::START), List{}) << "what was started may be enough";
}

TEST_F(PoolKeeperTest, workers_min_are_started_without_need) {
  open(garden(2, 4));
  EXPECT_EQ(got(Kind::START), List({1, 2}));
}

TEST_F(PoolKeeperTest, delay_starts_more_twice_as_many_each_time_up_to_workers_max) {
  open(garden(0, 8));
  need();
  ready(1);
  need(milliseconds(99), 50);
  EXPECT_EQ(got(Kind::START), List{}) << "below scale_delay";
  need(milliseconds(100), 50);
  EXPECT_EQ(got(Kind::START), List{2});
  ready(2);
  need(milliseconds(200), 50);
  EXPECT_EQ(got(Kind::START), List({3, 4}));
  ready(3);
  need(milliseconds(300), 50);
  EXPECT_EQ(got(Kind::START), List{}) << "4 is still starting";
  ready(4);
  need(milliseconds(400), 50);
  EXPECT_EQ(got(Kind::START).size(), 4U);
  for (uint64_t worker = 5; worker <= 8; ++worker) ready(worker);
  need(seconds(1), 50);
  EXPECT_EQ(got(Kind::START), List{});
}

TEST_F(PoolKeeperTest, idle_workers_are_stopped_longest_idle_too_down_to_workers_min) {
  PoolRules rules = garden(1, 4);
  rules.idle_timeout = seconds(60);
  open(rules);
  ready(1);
  need(seconds(1));
  ready(2);
  now_ = now_ + seconds(30);
  load(1, 10, 1);
  now_ = now_ + seconds(29);
  EXPECT_EQ(keeper_->next_deadline(now_), now_ + seconds(1));
  after(seconds(1));
  EXPECT_EQ(got(Kind::RETIRE), List{2});
  EXPECT_TRUE(logged("idle for"));
  load(1, 11, 0, seconds(0));
  after(seconds(600));
  EXPECT_EQ(got(Kind::RETIRE), List{}) << "workers_min";
}

TEST_F(PoolKeeperTest, a_busy_worker_is_not_idle_however_long_ago_the_report) {
  PoolRules rules = garden(0, 1);
  rules.idle_timeout = seconds(60);
  open(rules);
  need();
  ready(1);
  load(1, 0, 1);
  after(seconds(3600));
  EXPECT_EQ(got(Kind::RETIRE), List{});
  load(1, 1, 0, seconds(59));
  EXPECT_EQ(got(Kind::RETIRE), List{});
  after(seconds(1));
  EXPECT_EQ(got(Kind::RETIRE), List{1});
}

TEST_F(PoolKeeperTest, fewer_workers_max_retires_the_longest_idle) {
  open(garden(0, 3));
  need();
  ready(1);
  need(seconds(1));
  ready(2);
  now_ = now_ + seconds(5);
  load(1, 1, 1);
  tell([&](PoolKeeper& k) { k.configure(garden(0, 1), now_); });
  EXPECT_EQ(got(Kind::RETIRE), List{2});
}

// --- the end of a worker -----------------------------------------------------------------------

TEST_F(PoolKeeperTest, a_retired_worker_leaves_by_itself_or_is_made_to) {
  open(garden(0, 1));
  need();
  ready(1);
  tell([&](PoolKeeper& k) { k.stop("by hand", now_); });
  EXPECT_EQ(got(Kind::RETIRE), List{1});
  EXPECT_EQ(got(Kind::STATE).size(), 1U);
  EXPECT_EQ(keeper_->state(), State::STOPPED);
  tell([&](PoolKeeper& k) { k.idle(1, now_); });
  after(PoolKeeper::LEAVE_GRACE);
  EXPECT_EQ(got(Kind::SIGNAL, SIGTERM), List{1});
  after(PoolKeeper::TERM_GRACE);
  EXPECT_EQ(got(Kind::SIGNAL, SIGKILL), List{1});
  ended(1);
  EXPECT_EQ(got(Kind::GONE), List{1});
  EXPECT_TRUE(keeper_->empty());
  EXPECT_EQ(keeper_->crashes(), 0U);
}

TEST_F(PoolKeeperTest, stop_timeout_ends_a_worker_that_does_not_finish) {
  PoolRules rules = garden(0, 1);
  rules.stop_timeout = seconds(20);
  open(rules);
  need();
  ready(1);
  tell([&](PoolKeeper& k) { k.stop("by hand", now_); });
  EXPECT_EQ(keeper_->next_deadline(now_), now_ + seconds(20));
  after(seconds(20));
  EXPECT_EQ(got(Kind::SIGNAL, SIGTERM), List{1});
  EXPECT_TRUE(logged("has not finished in 20.0 s"));
}

TEST_F(PoolKeeperTest, start_timeout_kills_and_counts) {
  PoolRules rules = garden(0, 1);
  rules.start_timeout = seconds(5);
  open(rules);
  need();
  after(seconds(5));
  EXPECT_EQ(got(Kind::SIGNAL, SIGKILL), List{1});
  EXPECT_EQ(keeper_->crashes(), 1U);
  ended(1);
  EXPECT_EQ(keeper_->crashes(), 1U) << "once";
  need();
  EXPECT_EQ(got(Kind::START), List{2});
}

TEST_F(PoolKeeperTest, overdue_is_asked_then_killed_and_replaced_at_once) {
  open(garden(0, 1));
  need();
  ready(1);
  tell([&](PoolKeeper& k) { k.overdue(1, {41, 42}, now_, "GET /a"); });
  EXPECT_TRUE(logged("is ended: GET /a"));
  EXPECT_EQ(got(Kind::SIGNAL, SIGTERM), List{1});
  EXPECT_EQ(got(Kind::START), List{2}) << "the slot is refilled before the old one is dead";
  after(milliseconds(99));
  EXPECT_EQ(got(Kind::SIGNAL, SIGKILL), List{});
  after(milliseconds(1));
  EXPECT_EQ(got(Kind::SIGNAL, SIGKILL), List{1});
  ended(1);
  EXPECT_EQ(seen_.front().serials, (List{41, 42}));
  EXPECT_EQ(keeper_->crashes(), 0U) << "a slow request is not a failure of the pool";
}

TEST_F(PoolKeeperTest, a_worker_all_of_whose_places_overran_is_replaced_and_no_failure) {
  open(garden(0, 1));
  need();
  for (uint64_t worker = 1; worker <= 10; ++worker) {
    ready(worker);
    after(milliseconds(500));
    ended(worker, {.text = "exited with code 70", .overran = true});
    EXPECT_EQ(got(Kind::START), List{worker + 1});
    EXPECT_TRUE(logged("requests that took longer than request_timeout held all that it had"));
  }
  EXPECT_EQ(keeper_->crashes(), 0U);
  EXPECT_EQ(keeper_->state(), State::SERVING);
}

TEST_F(PoolKeeperTest, one_that_says_so_as_soon_as_it_is_ready_has_failed) {
  open(garden(0, 1));
  need();
  ready(1);
  ended(1, {.text = "exited with code 70", .overran = true});
  EXPECT_EQ(keeper_->crashes(), 1U);
}

TEST_F(PoolKeeperTest, overdue_while_being_stopped_shortens_the_patience) {
  open(garden(0, 1));
  need();
  ready(1);
  tell([&](PoolKeeper& k) { k.stop("by hand", now_); });
  after(seconds(90));
  tell([&](PoolKeeper& k) { k.overdue(1, {}, now_); });
  after(PoolKeeper::OVERDUE_GRACE);
  EXPECT_EQ(got(Kind::SIGNAL, SIGKILL), List{1});
}

TEST_F(PoolKeeperTest, a_liar_is_killed_at_once_and_replaced) {
  open(garden(0, 1));
  need();
  ready(1);
  tell([&](PoolKeeper& k) { k.broke(1, "bad slot", {5}, now_); });
  EXPECT_EQ(got(Kind::SIGNAL, SIGKILL), List{1});
  EXPECT_EQ(got(Kind::START), List{2});
  EXPECT_EQ(keeper_->crashes(), 1U);
  tell([&](PoolKeeper& k) { k.broke(1, "again", {}, now_); });
  EXPECT_EQ(keeper_->crashes(), 1U);
}

TEST_F(PoolKeeperTest, a_silent_worker_is_killed_and_replaced) {
  open(garden(0, 1));
  need();
  ready(1);
  tell([&](PoolKeeper& k) { k.silent(1, {}, now_); });
  EXPECT_EQ(got(Kind::SIGNAL, SIGKILL), List{1});
  EXPECT_EQ(got(Kind::FREEZE), List{});
  EXPECT_EQ(got(Kind::START), List{2});
}

TEST_F(PoolKeeperTest, orphans_are_frozen_acted_on_and_kept_for_their_time) {
  PoolRules rules = garden(0, 2);
  rules.orphan_enable = true;
  rules.orphan_ttl = seconds(600);
  open(rules);
  need();
  ready(1);
  tell([&](PoolKeeper& k) { k.silent(1, {77}, now_); });
  EXPECT_EQ(got(Kind::FREEZE), List{1});
  EXPECT_EQ(got(Kind::GONE), List{1});
  EXPECT_EQ(got(Kind::ACT), List{1});
  EXPECT_EQ(got(Kind::START), List{2});
  EXPECT_EQ(got(Kind::SIGNAL, SIGKILL), List{});
  ready(2);
  tell([&](PoolKeeper& k) { k.silent(2, {}, now_); });
  EXPECT_EQ(got(Kind::FREEZE), List{}) << "orphan.max is 1";
  EXPECT_EQ(got(Kind::SIGNAL, SIGKILL), List{2});
  after(seconds(600));
  EXPECT_EQ(got(Kind::SIGNAL, SIGKILL), List{1});
  ended(1);
  EXPECT_EQ(got(Kind::GONE), List{}) << "the server was told when it was frozen";
}

TEST_F(PoolKeeperTest, an_intruded_worker_is_killed_or_frozen_as_asked_and_replaced) {
  open(garden(0, 2));
  need();
  ready(1);
  bool known = false;
  tell([&](PoolKeeper& k) { known = k.intruded(1, "tried mount", true, now_); });
  EXPECT_TRUE(known);
  EXPECT_EQ(got(Kind::FREEZE), List{1}) << "whether or not orphans are enabled for hangs";
  EXPECT_EQ(got(Kind::GONE), List{1});
  EXPECT_EQ(got(Kind::ACT), List{1});
  EXPECT_EQ(got(Kind::START), List{2});
  EXPECT_TRUE(logged("tried mount: frozen"));
  EXPECT_EQ(keeper_->crashes(), 1U);
  ready(2);
  tell([&](PoolKeeper& k) { known = k.intruded(2, "tried mount", true, now_); });
  EXPECT_EQ(got(Kind::FREEZE), List{}) << "orphan.max is 1";
  EXPECT_EQ(got(Kind::SIGNAL, SIGKILL), List{2});
  tell([&](PoolKeeper& k) { known = k.intruded(2, "tried mount", false, now_); });
  EXPECT_EQ(got(Kind::SIGNAL, SIGKILL), List{}) << "once is enough";
  tell([&](PoolKeeper& k) { known = k.intruded(99, "tried mount", false, now_); });
  EXPECT_FALSE(known);
}

TEST_F(PoolKeeperTest, a_crashed_worker_is_replaced_and_one_that_leaves_after_work_is_no_crash) {
  open(garden(0, 1));
  need();
  ready(1);
  ended(1, {false, "was killed by SIGSEGV"});
  EXPECT_EQ(got(Kind::GONE), List{1});
  EXPECT_EQ(got(Kind::START), List{2});
  EXPECT_TRUE(logged("was killed by SIGSEGV after"));
  EXPECT_EQ(keeper_->crashes(), 1U);
  ready(2);
  load(2, 5);
  ended(2, {true, "exited with code 0"});
  EXPECT_EQ(got(Kind::START), List{3});
  EXPECT_EQ(keeper_->crashes(), 1U);
  ready(3);
  ended(3, {true, "exited with code 0"});
  EXPECT_EQ(keeper_->crashes(), 2U) << "it has served nothing";
}

TEST_F(PoolKeeperTest, crashes_in_a_row_are_answered_ever_later) {
  PoolRules rules = garden(1, 1);
  rules.rapid_fail_enable = false;
  open(rules);
  ended(1);
  EXPECT_EQ(got(Kind::START), List{2}) << "the first at once";
  ended(2);
  EXPECT_EQ(got(Kind::START), List{});
  need();
  EXPECT_EQ(got(Kind::START), List{}) << "need does not override it";
  EXPECT_EQ(keeper_->next_deadline(now_), now_ + milliseconds(100));
  after(milliseconds(100));
  EXPECT_EQ(got(Kind::START), List{3});
  ended(3);
  after(milliseconds(199));
  EXPECT_EQ(got(Kind::START), List{});
  after(milliseconds(1));
  EXPECT_EQ(got(Kind::START), List{4});
}

TEST_F(PoolKeeperTest, a_program_that_cannot_be_started_fails_without_a_loop) {
  WorkerNumbers numbers;
  PoolKeeper keeper(garden(1, 1), numbers);
  keeper.server_ready(SERVER, now_);
  size_t starts = 0;
  for (auto orders = keeper.take_orders(); !orders.empty(); orders = keeper.take_orders()) {
    for (const PoolOrder& order : orders) {
      if (order.kind != Kind::START) continue;
      ++starts;
      keeper.start_failed(order.worker, "no such file", now_);
    }
  }
  EXPECT_EQ(starts, 2U);
  EXPECT_GT(keeper.next_deadline(now_), now_);
}

// --- commands, configuration ---------------------------------------------------------------------

TEST_F(PoolKeeperTest, a_stopped_pool_starts_nothing_until_it_is_started) {
  open(garden(1, 2));
  ready(1);
  tell([&](PoolKeeper& k) { k.stop("by hand", now_); });
  tell([&](PoolKeeper& k) { k.stop("by hand", now_); });
  EXPECT_EQ(got(Kind::STATE), List{}) << "said once";
  need(seconds(9));
  EXPECT_EQ(got(Kind::START), List{});
  tell([&](PoolKeeper& k) { k.configure(garden(2, 2), now_); });
  EXPECT_EQ(got(Kind::START), List{});
  tell([&](PoolKeeper& k) { k.server_ready(SERVER + 1, now_); });
  EXPECT_EQ(got(Kind::STATE).size(), 1U) << "the new server is told";
  tell([&](PoolKeeper& k) { k.start(now_); });
  EXPECT_EQ(got(Kind::START).size(), 2U);
  EXPECT_EQ(keeper_->state(), State::SERVING);
}

TEST_F(PoolKeeperTest, a_starting_worker_of_a_stopped_pool_is_killed) {
  open(garden(1, 1));
  tell([&](PoolKeeper& k) { k.stop("by hand", now_); });
  EXPECT_EQ(got(Kind::SIGNAL, SIGKILL), List{1});
}

TEST_F(PoolKeeperTest, a_removed_pool_ends_its_workers_and_may_come_back) {
  open(garden(1, 1));
  ready(1);
  tell([&](PoolKeeper& k) { k.remove(now_); });
  EXPECT_EQ(got(Kind::RETIRE), List{1});
  need();
  EXPECT_EQ(got(Kind::START), List{});
  tell([&](PoolKeeper& k) { k.configure(garden(1, 1), now_); });
  EXPECT_EQ(got(Kind::START), List{2});
}

TEST_F(PoolKeeperTest, shut_down_ends_all_and_starts_none) {
  PoolRules rules = garden(2, 2);
  rules.orphan_enable = true;
  open(rules);
  ready(1);
  tell([&](PoolKeeper& k) { k.silent(1, {}, now_); });
  tell([&](PoolKeeper& k) { k.server_gone(SERVER, now_); });
  tell([&](PoolKeeper& k) { k.shut_down(now_); });
  EXPECT_EQ(got(Kind::SIGNAL, SIGKILL), List{1}) << "the orphan";
  EXPECT_EQ(got(Kind::SIGNAL, SIGTERM), List({2, 3}));
  after(PoolKeeper::TERM_GRACE);
  EXPECT_EQ(got(Kind::SIGNAL, SIGKILL), List({2, 3}));
  for (const uint64_t worker : {1U, 2U, 3U}) ended(worker);
  EXPECT_TRUE(keeper_->empty());
  EXPECT_EQ(got(Kind::START), List{});
}

// --- servers -----------------------------------------------------------------------------------

TEST_F(PoolKeeperTest, workers_of_a_dead_server_are_given_to_the_next) {
  open(garden(0, 2));
  need();
  ready(1);
  load(1, 100, 1);
  tell([&](PoolKeeper& k) { k.server_gone(SERVER, now_); });
  EXPECT_EQ(got(Kind::SIGNAL, SIGTERM), List{});
  EXPECT_EQ(keeper_->workers().size(), 1U);
  after(seconds(3600));
  EXPECT_EQ(got(Kind::SIGNAL, SIGKILL), List{}) << "no time runs while no server can see it ready";
  tell([&](PoolKeeper& k) { k.server_ready(SERVER + 1, now_); });
  EXPECT_EQ(got(Kind::GIVE), List{1});
  EXPECT_EQ(got(Kind::START), List{});
  EXPECT_EQ(seen_.front().server, SERVER + 1);
  ready(1);
  EXPECT_EQ(state_of(1), WorkerState::READY);
  load(1, 5);
  EXPECT_EQ(keeper_->workers().at(1).served, 105U);
}

TEST_F(PoolKeeperTest, a_worker_that_does_not_follow_the_new_server_is_replaced) {
  PoolRules rules = garden(0, 1);
  rules.start_timeout = seconds(5);
  open(rules);
  need();
  ready(1);
  tell([&](PoolKeeper& k) { k.server_gone(SERVER, now_); });
  tell([&](PoolKeeper& k) { k.server_ready(SERVER + 1, now_); });
  after(seconds(5));
  EXPECT_EQ(got(Kind::SIGNAL, SIGKILL), List{1});
  EXPECT_EQ(got(Kind::START), List{2});
}

TEST_F(PoolKeeperTest, a_retiring_worker_of_a_dead_server_is_ended) {
  open(garden(0, 1));
  need();
  ready(1);
  tell([&](PoolKeeper& k) { k.stop("by hand", now_); });
  tell([&](PoolKeeper& k) { k.server_gone(SERVER, now_); });
  EXPECT_EQ(got(Kind::SIGNAL, SIGTERM), List{1});
}

TEST_F(PoolKeeperTest, a_server_that_is_replaced_keeps_its_workers_until_it_ends) {
  open(garden(0, 1));
  need();
  ready(1);
  load(1, 3, 1);
  tell([&](PoolKeeper& k) { k.server_ready(SERVER + 1, now_); });
  EXPECT_EQ(got(Kind::START), List{2}) << "the new one gets its own, although workers_max is 1";
  EXPECT_EQ(got(Kind::RETIRE), List{});
  ready(2);
  EXPECT_EQ(got(Kind::RETIRE), List{});
  tell([&](PoolKeeper& k) { k.server_gone(SERVER, now_); });
  EXPECT_EQ(got(Kind::SIGNAL, SIGTERM), List{1});
  EXPECT_EQ(state_of(2), WorkerState::READY);
}

TEST_F(PoolKeeperTest, idle_workers_are_not_doubled_for_a_new_server) {
  open(garden(0, 1));
  need();
  ready(1);
  load(1, 3, 0);
  now_ = now_ + seconds(60);
  tell([&](PoolKeeper& k) { k.server_ready(SERVER + 1, now_); });
  EXPECT_EQ(got(Kind::START), List{});
}

TEST_F(PoolKeeperTest, requests_that_wait_in_a_draining_server_get_a_worker_there) {
  open(garden(0, 1));
  need();
  ready(1);
  now_ = now_ + seconds(60);
  tell([&](PoolKeeper& k) { k.server_ready(SERVER + 1, now_); });
  ended(1);
  need(milliseconds(1));
  const List started = got(Kind::START);
  ASSERT_EQ(started.size(), 1U);
  EXPECT_EQ(keeper_->workers().at(started[0]).server, SERVER);
}

TEST_F(PoolKeeperTest, a_worker_started_without_a_server_waits_for_one) {
  WorkerNumbers numbers;
  keeper_.emplace(garden(1, 1), numbers);
  tell([&](PoolKeeper& k) { k.tick(now_); });
  EXPECT_EQ(got(Kind::START), List{1});
  EXPECT_EQ(got(Kind::GIVE), List{});
  after(seconds(3600));
  EXPECT_EQ(got(Kind::SIGNAL, SIGKILL), List{});
  tell([&](PoolKeeper& k) { k.server_ready(SERVER, now_); });
  EXPECT_EQ(got(Kind::GIVE), List{1});
}

}  // namespace
}  // namespace penstock::test
