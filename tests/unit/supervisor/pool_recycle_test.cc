// What PoolKeeper decides, event by event: recycling and rapid-fail protection.
#include "tests/unit/supervisor/pool_keeper_fixture.h"

namespace penstock::test {
namespace {

// --- recycling ---------------------------------------------------------------------------------

struct RecycleCase {
  const char* what;
  void (*rules)(PoolRules&);
  void (*before)(PoolKeeper&, MonoTime&);
  void (*trigger)(PoolKeeper&, MonoTime&);
  const char* logged;  // the reason
};

TEST_F(PoolKeeperTest, every_reason_to_recycle_starts_the_replacement_first) {
  const RecycleCase cases[] = {
      {"time", [](PoolRules& r) { r.recycle_time = seconds(100); },
       [](PoolKeeper& k, MonoTime& now) { k.tick(now = now + seconds(99)); },
       [](PoolKeeper& k, MonoTime& now) { k.tick(now = now + seconds(1)); }, "recycled after 1 min 40 s"},
      {"requests", [](PoolRules& r) { r.recycle_requests = 1000; },
       [](PoolKeeper& k, MonoTime& now) { k.load(1, 999, 0, {}, now); },
       [](PoolKeeper& k, MonoTime& now) { k.load(1, 1000, 0, {}, now); }, "recycled after 1000 requests"},
      {"memory", [](PoolRules& r) { r.recycle_memory = 1 << 20; },
       [](PoolKeeper& k, MonoTime& now) { k.memory_seen(1, (1 << 20) - 1, now); },
       [](PoolKeeper& k, MonoTime& now) { k.memory_seen(1, 1 << 20, now); }, "recycled at 1 MiB of memory"},
      {"CPU time", [](PoolRules& r) { r.recycle_cpu = 50, r.recycle_cpu_window = seconds(10); },
       [](PoolKeeper& k, MonoTime& now) {
         k.cpu_seen(1, milliseconds(4'999), now = now + seconds(10));  // in the first window
         k.cpu_seen(1, milliseconds(9'998), now = now + seconds(9));   // and in the second
       },
       [](PoolKeeper& k, MonoTime& now) { k.cpu_seen(1, milliseconds(9'999), now); },
       "recycled after 5.0 s of CPU time in 9.0 s"},
      {"a time of day, a command, a changed file", [](PoolRules&) {}, [](PoolKeeper& k, MonoTime& now) { k.tick(now); },
       [](PoolKeeper& k, MonoTime& now) { k.recycle("recycled by schedule", now); }, "recycled by schedule"},
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
       },
       "its settings have changed"},
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
    EXPECT_TRUE(logged(std::string("is ready after 0 ms: in place of worker 1, ") + one.logged)) << seen_.front().text;
    EXPECT_TRUE(logged(std::string("gets no new requests: ") + one.logged));
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

}  // namespace
}  // namespace penstock::test
