// What PoolKeeper decides, event by event.
#include "pool/supervisor/pool_keeper.h"

#include <algorithm>
#include <csignal>
#include <gtest/gtest.h>
#include <optional>

namespace penstock {
namespace {

using Kind = PoolOrder::Kind;
using State = PoolKeeper::State;
using WorkerState = PoolKeeper::WorkerState;

constexpr uint32_t SERVER = 7;
constexpr WorkerEnd CRASH = {false, {}};

// A keeper with a server, whose processes start when told.
class PoolKeeperTest : public testing::Test {
 protected:
  void open(PoolRules rules) {
    keeper_.emplace(std::move(rules), numbers_);
    keeper_->server_ready(SERVER, now_);
    run();
  }

  // Collects orders until there are none; what is to start is started.
  void run() {
    for (auto orders = keeper_->take_orders(); !orders.empty(); orders = keeper_->take_orders()) {
      for (PoolOrder& order : orders) {
        if (order.kind == Kind::START) keeper_->spawned(order.worker, now_);
        seen_.push_back(std::move(order));
      }
    }
  }

  template <typename Call>
  void tell(Call call) {
    seen_.clear();
    call(*keeper_);
    run();
  }

  void after(Duration span) {
    now_ = now_ + span;
    tell([&](PoolKeeper& k) { k.tick(now_); });
  }

  void ready(uint64_t worker) {
    tell([&](PoolKeeper& k) { k.ready(worker, now_); });
  }
  void need(Duration oldest = {}, uint32_t waiting = 1) {
    tell([&](PoolKeeper& k) { k.need(SERVER, waiting, oldest, now_); });
  }
  void ended(uint64_t worker, WorkerEnd end = CRASH) {
    tell([&](PoolKeeper& k) { k.ended(worker, end, now_); });
  }
  void load(uint64_t worker, uint64_t served, uint32_t inside = 0, Duration idle = {}) {
    tell([&](PoolKeeper& k) { k.load(worker, served, inside, idle, now_); });
  }

  // The workers that got an order of that kind since the last tell().
  [[nodiscard]] std::vector<uint64_t> got(Kind kind, int signal = 0) const {
    std::vector<uint64_t> out;
    for (const PoolOrder& order : seen_) {
      if (order.kind == kind && order.signal == signal) out.push_back(order.worker);
    }
    return out;
  }
  [[nodiscard]] bool logged(const std::string& part) const {
    return std::any_of(seen_.begin(), seen_.end(), [&](const PoolOrder& order) {
      return order.kind == Kind::LOG && order.text.find(part) != std::string::npos;
    });
  }
  [[nodiscard]] WorkerState state_of(uint64_t worker) const { return keeper_->workers().at(worker).state; }
  using List = std::vector<uint64_t>;

  WorkerNumbers numbers_;
  std::optional<PoolKeeper> keeper_;
  std::vector<PoolOrder> seen_;
  MonoTime now_{1'000'000'000'000};
};

PoolRules garden(uint32_t min, uint32_t max) {
  PoolRules rules;
  rules.workers_min = min;
  rules.workers_max = max;
  return rules;
}

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
  tell([&](PoolKeeper& k) { k.overdue(1, {41, 42}, now_); });
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

// --- recycling ---------------------------------------------------------------------------------

struct RecycleCase {
  const char* what;
  void (*rules)(PoolRules&);
  void (*before)(PoolKeeper&, MonoTime&);
  void (*trigger)(PoolKeeper&, MonoTime&);
};

TEST_F(PoolKeeperTest, every_reason_to_recycle_starts_the_replacement_first) {
  const RecycleCase cases[] = {
      {"time", [](PoolRules& r) { r.recycle_time = seconds(100); },
       [](PoolKeeper& k, MonoTime& now) { k.tick(now = now + seconds(99)); },
       [](PoolKeeper& k, MonoTime& now) { k.tick(now = now + seconds(1)); }},
      {"requests", [](PoolRules& r) { r.recycle_requests = 1000; },
       [](PoolKeeper& k, MonoTime& now) { k.load(1, 999, 0, {}, now); },
       [](PoolKeeper& k, MonoTime& now) { k.load(1, 1000, 0, {}, now); }},
      {"memory", [](PoolRules& r) { r.recycle_memory = 1 << 20; },
       [](PoolKeeper& k, MonoTime& now) { k.memory_seen(1, (1 << 20) - 1, now); },
       [](PoolKeeper& k, MonoTime& now) { k.memory_seen(1, 1 << 20, now); }},
      {"command", [](PoolRules&) {}, [](PoolKeeper& k, MonoTime& now) { k.tick(now); },
       [](PoolKeeper& k, MonoTime& now) { k.recycle("by command", now); }},
      {"configuration", [](PoolRules&) {},
       [](PoolKeeper& k, MonoTime& now) {
         PoolRules rules = k.rules();
         rules.idle_timeout = seconds(9999);  // not what a worker is started with
         k.configure(rules, now);
       },
       [](PoolKeeper& k, MonoTime& now) {
         PoolRules rules = k.rules();
         rules.recipe = "another";
         k.configure(rules, now);
       }},
  };
  for (const RecycleCase& one : cases) {
    SCOPED_TRACE(one.what);
    numbers_ = {};
    PoolRules rules = garden(0, 1);
    one.rules(rules);
    open(rules);
    need();
    ready(1);
    tell([&](PoolKeeper& k) { one.before(k, now_); });
    EXPECT_EQ(got(Kind::START), List{});
    tell([&](PoolKeeper& k) { one.trigger(k, now_); });
    EXPECT_EQ(got(Kind::START), List{2}) << "beyond workers_max";
    EXPECT_EQ(got(Kind::RETIRE), List{});
    ready(2);
    EXPECT_EQ(got(Kind::RETIRE), List{1});
    EXPECT_EQ(got(Kind::START), List{});
    ended(1, {true, "exited with code 0"});
    EXPECT_EQ(got(Kind::START), List{});
    EXPECT_EQ(keeper_->recycled(), 1U);
  }
}

TEST_F(PoolKeeperTest, without_overlap_the_old_one_ends_first) {
  PoolRules rules = garden(0, 1);
  rules.recycle_overlap = false;
  open(rules);
  need();
  ready(1);
  tell([&](PoolKeeper& k) { k.recycle("by command", now_); });
  EXPECT_EQ(got(Kind::RETIRE), List{1});
  EXPECT_EQ(got(Kind::START), List{});
  ended(1, {true, "exited with code 0"});
  EXPECT_EQ(got(Kind::START), List{2});
}

TEST_F(PoolKeeperTest, a_replacement_that_fails_leaves_the_old_one_in_service_and_is_tried_again) {
  open(garden(0, 1));
  need();
  ready(1);
  tell([&](PoolKeeper& k) { k.recycle("changed file", now_); });
  ended(2);
  EXPECT_EQ(got(Kind::START), List{3}) << "the first retry is at once";
  EXPECT_EQ(state_of(1), WorkerState::READY);
  ended(3);
  EXPECT_EQ(got(Kind::START), List{});
  EXPECT_LT(keeper_->next_deadline(now_), now_ + seconds(1));
  after(milliseconds(100));
  EXPECT_EQ(got(Kind::START), List{4});
  ready(4);
  EXPECT_EQ(got(Kind::RETIRE), List{1});
}

TEST_F(PoolKeeperTest, an_old_one_that_dies_first_is_replaced_by_what_is_under_way) {
  open(garden(1, 1));
  ready(1);
  tell([&](PoolKeeper& k) { k.recycle("by command", now_); });
  ended(1);
  EXPECT_EQ(got(Kind::START), List{}) << "2 takes its place";
  ready(2);
  EXPECT_EQ(got(Kind::RETIRE), List{});
}

TEST_F(PoolKeeperTest, a_garden_is_recycled_a_quarter_at_a_time) {
  open(garden(8, 8));
  for (uint64_t worker = 1; worker <= 8; ++worker) ready(worker);
  tell([&](PoolKeeper& k) { k.recycle("by command", now_); });
  EXPECT_EQ(got(Kind::START), List({9, 10}));
  ready(9);
  EXPECT_EQ(got(Kind::START), List{11});
  for (uint64_t worker = 10; worker <= 16; ++worker) ready(worker);
  EXPECT_EQ(keeper_->recycled(), 8U);
  EXPECT_EQ(got(Kind::START), List{});
}

// --- rapid-fail protection -----------------------------------------------------------------------

class RapidFail : public PoolKeeperTest {
 protected:
  // Five failures; the pool is out of service.
  void break_pool(uint64_t first = 1) {
    uint64_t worker = first;
    for (int i = 0; i < 5; ++i) {
      need();
      worker = keeper_->workers().empty() ? worker : keeper_->workers().rbegin()->first;
      ended(worker);
      now_ = now_ + seconds(6);
    }
  }
  // Tries until the probe is running, and gives its number.
  uint64_t probe() {
    after(seconds(30));
    const List started = got(Kind::START);
    return started.size() == 1 ? started[0] : 0;
  }
};

TEST_F(RapidFail, five_failures_in_the_window_take_the_pool_out_of_service) {
  open(garden(0, 1));
  for (int i = 0; i < 4; ++i) {
    need();
    ended(keeper_->workers().rbegin()->first);
    EXPECT_EQ(keeper_->state(), State::SERVING);
    now_ = now_ + seconds(10);
  }
  need();
  ended(keeper_->workers().rbegin()->first);
  EXPECT_EQ(keeper_->state(), State::FAILED);
  EXPECT_EQ(got(Kind::STATE).size(), 1U);
  need();
  EXPECT_EQ(got(Kind::START), List{});
}

TEST_F(RapidFail, failures_further_apart_than_the_window_do_not) {
  PoolRules rules = garden(0, 1);
  rules.rapid_fail_window = seconds(40);
  open(rules);
  for (int i = 0; i < 20; ++i) {
    need();
    ended(keeper_->workers().rbegin()->first);
    now_ = now_ + seconds(10);
  }
  EXPECT_EQ(keeper_->state(), State::SERVING);
}

TEST_F(RapidFail, healthy_workers_of_a_failed_pool_finish_what_is_inside) {
  PoolRules rules = garden(2, 2);
  rules.rapid_fail_crashes = 1;
  open(rules);
  ready(1);
  ready(2);
  ended(1);
  EXPECT_EQ(got(Kind::RETIRE), List{2});
  EXPECT_EQ(got(Kind::START), List{}) << "workers_min does not hold out of service";
}

TEST_F(RapidFail, probe_that_serves_closes_it) {
  open(garden(2, 4));
  PoolRules rules = garden(2, 4);
  rules.rapid_fail_crashes = 1;
  tell([&](PoolKeeper& k) { k.configure(rules, now_); });
  ended(1);
  for (uint64_t worker = 2; worker <= 2; ++worker) ended(worker);
  EXPECT_EQ(keeper_->state(), State::FAILED);
  after(seconds(29));
  EXPECT_EQ(got(Kind::START), List{});
  after(seconds(1));
  ASSERT_EQ(got(Kind::START).size(), 1U);
  const uint64_t worker = got(Kind::START)[0];
  EXPECT_EQ(keeper_->state(), State::FAILED) << "not ready yet";
  ready(worker);
  EXPECT_EQ(keeper_->state(), State::SERVING);
  EXPECT_EQ(got(Kind::STATE).size(), 1U);
  EXPECT_TRUE(keeper_->trial());
  need(seconds(5), 50);
  EXPECT_EQ(got(Kind::START), List{}) << "one alone while on trial";
  load(worker, 1);
  EXPECT_FALSE(keeper_->trial());
  EXPECT_EQ(got(Kind::START).size(), 1U) << "workers_min again";
}

TEST_F(RapidFail, probe_that_fails_opens_it_again) {
  open(garden(0, 1));
  break_pool();
  ASSERT_EQ(keeper_->state(), State::FAILED);
  const uint64_t first = probe();
  ASSERT_NE(first, 0U);
  ended(first);
  EXPECT_EQ(keeper_->state(), State::FAILED);
  const uint64_t second = probe();
  ASSERT_NE(second, 0U);
  ready(second);
  EXPECT_EQ(keeper_->state(), State::SERVING);
  ended(second);
  EXPECT_EQ(keeper_->state(), State::FAILED) << "one failure is enough on trial";
}

TEST_F(RapidFail, the_past_of_others_does_not_close_it) {
  PoolRules rules = garden(0, 2);
  rules.rapid_fail_crashes = 1;
  open(rules);
  need();
  ready(1);
  need(seconds(1));
  ready(2);
  ended(1);
  EXPECT_EQ(state_of(2), WorkerState::RETIRING);
  const uint64_t worker = probe();
  ready(worker);
  load(2, 1000);
  EXPECT_TRUE(keeper_->trial());
}

TEST_F(RapidFail, probe_0_waits_for_the_operator_who_starts_with_a_clean_record) {
  PoolRules rules = garden(1, 1);
  rules.rapid_fail_probe = {};
  open(rules);
  break_pool();
  after(seconds(36000));
  EXPECT_EQ(got(Kind::START), List{});
  EXPECT_EQ(keeper_->next_deadline(now_), MonoTime::never());
  tell([&](PoolKeeper& k) { k.start(now_); });
  EXPECT_EQ(keeper_->state(), State::SERVING);
  ASSERT_EQ(got(Kind::START).size(), 1U);
  ended(got(Kind::START)[0]);
  EXPECT_EQ(keeper_->state(), State::SERVING) << "the old failures are forgotten";
}

TEST_F(RapidFail, other_settings_are_tried_at_once) {
  open(garden(0, 1));
  break_pool();
  tell([&](PoolKeeper& k) {
    PoolRules rules = k.rules();
    rules.recipe = "the cure";
    k.configure(rules, now_);
  });
  EXPECT_EQ(got(Kind::START).size(), 1U);
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
  for (const uint64_t worker : {1, 2, 3}) ended(worker);
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
}  // namespace penstock
