// What PoolKeeper decides where a pool warms its workers up.
#include "tests/unit/supervisor/pool_keeper_fixture.h"

namespace penstock::test {
namespace {

class PoolWarmUp : public PoolKeeperTest {
 protected:
  void warming(uint64_t worker) {
    tell([&](PoolKeeper& k) { k.warming(worker, "GET /a"); });
  }
  void cold(uint64_t worker) {
    tell([&](PoolKeeper& k) { k.cold(worker, "GET /a was answered 500", now_); });
  }
};

TEST_F(PoolWarmUp, a_failed_one_is_a_failed_start_with_its_reason) {
  open(garden(0, 1));
  need();
  warming(1);
  cold(1);
  EXPECT_EQ(got(Kind::SIGNAL, SIGKILL), List{1});
  EXPECT_TRUE(logged("GET /a was answered 500"));
  EXPECT_EQ(keeper_->crashes(), 1U);
  ended(1);
  EXPECT_EQ(keeper_->crashes(), 1U) << "one start, one failure";
}

TEST_F(PoolWarmUp, failures_take_the_pool_out_of_service) {
  open(garden(1, 1));
  for (uint64_t worker = 1; worker <= 5; ++worker) {
    EXPECT_EQ(keeper_->state(), State::SERVING);
    cold(worker);
    ended(worker);
    after(seconds(10));
  }
  EXPECT_EQ(keeper_->state(), State::FAILED);
}

TEST_F(PoolWarmUp, the_start_up_limit_holds_and_names_what_was_asked) {
  PoolRules rules = garden(0, 1);
  rules.start_timeout = seconds(600);
  open(rules);
  need();
  warming(1);
  after(seconds(599));
  EXPECT_EQ(state_of(1), WorkerState::STARTING);
  after(seconds(1));
  EXPECT_EQ(got(Kind::SIGNAL, SIGKILL), List{1});
  EXPECT_TRUE(logged("it was not ready in 10 min 0 s, in its warm-up: GET /a"));
}

TEST_F(PoolWarmUp, a_worker_goes_on_serving_when_its_replacement_fails_in_it) {
  open(garden(0, 1));
  need();
  ready(1);
  tell([&](PoolKeeper& k) { k.recycle("by command", now_); });
  ASSERT_EQ(got(Kind::START), List{2});
  cold(2);
  ended(2);
  EXPECT_EQ(state_of(1), WorkerState::READY);
  EXPECT_EQ(got(Kind::RETIRE), List{});
}

TEST_F(PoolWarmUp, says_of_a_crash_what_was_asked) {
  open(garden(0, 1));
  need();
  warming(1);
  ended(1, {false, "was killed by SIGSEGV"});
  EXPECT_TRUE(logged("was killed by SIGSEGV"));
  EXPECT_TRUE(logged("in its warm-up: GET /a"));
}

}  // namespace
}  // namespace penstock::test
