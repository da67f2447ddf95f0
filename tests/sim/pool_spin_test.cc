// The server's end of the rings: it looks for answers a little before it sleeps, while that pays (AdaptiveSpin).
#include "src/base/adaptive_spin.h"
#include "tests/sim/pool_scene.h"

namespace penstock {
namespace {

class PoolSpin : public PoolScene {
 protected:
  PoolSpin() { turn_rings = false; }
  [[nodiscard]] uint64_t spins() { return world.counters(0).spins.get(); }
  [[nodiscard]] uint64_t paid() { return world.counters(0).spins_paid.get(); }
  // The worker takes what is inside and answers it at that look of the reactor's; whether it would have rung.
  bool answer_at_look(HandWorker& worker, uint32_t look) {
    bool rung = false;
    uint32_t looks = 0;
    world.transport(0).on_look = [&, look] {
      if (++looks != look) return;
      worker.hear();
      if (worker.requests.empty()) return;
      EXPECT_TRUE(worker.link->send_head(worker.requests.back().exchange, {.status = 200, .length = 2}, "hi", true));
      rung = worker.link->flush();
    };
    world.step();
    world.transport(0).on_look = nullptr;
    EXPECT_GE(looks, look);
    return rung;
  }
};

TEST_F(PoolSpin, an_answer_that_comes_meanwhile_is_found_without_a_doorbell) {
  HandWorker& worker = start();
  const uint32_t client = connect();
  world.transport(0).client_send(client, GET);
  world.step();
  world.step();
  worker.hear();
  ASSERT_EQ(worker.requests.size(), 1U);
  const uint64_t before = paid();
  EXPECT_FALSE(answer_at_look(worker, 100));
  EXPECT_EQ(paid(), before + 1);
  EXPECT_TRUE(take(client).ends_with("hi"));
}

TEST_F(PoolSpin, ends_at_none_where_the_answers_never_come_so_soon) {
  (void)start();
  (void)ask(GET);
  for (int i = 0; i < 20; ++i) world.step();
  const uint64_t before = spins();
  for (int i = 0; i < 500; ++i) world.step();
  EXPECT_LE(spins() - before, 500 / AdaptiveSpin::PROBE_EVERY + 1);
  EXPECT_EQ(paid(), 0U);
}

TEST_F(PoolSpin, is_for_requests_that_are_inside_workers_alone) {
  HandWorker& worker = start();
  for (int i = 0; i < 100; ++i) world.step();
  EXPECT_EQ(spins(), 0U);
  const uint32_t client = ask(GET);
  EXPECT_GT(spins(), 0U);
  ASSERT_EQ(worker.requests.size(), 1U);
  worker.answer(worker.requests[0].exchange, "there");
  EXPECT_TRUE(take(client).ends_with("there"));
  const uint64_t before = spins();
  for (int i = 0; i < 2'000; ++i) world.step();
  EXPECT_EQ(spins(), before);
}

TEST_F(PoolSpin, the_key_turns_it_off_and_on_again) {
  world.apply(CONFIG + "server.spin_us = 0\n");
  HandWorker& worker = start();
  const uint32_t client = ask(GET);
  ASSERT_EQ(worker.requests.size(), 1U);
  EXPECT_EQ(spins(), 0U);
  world.apply(CONFIG + "server.spin_us = 20\n");
  turn();
  EXPECT_GT(spins(), 0U);
  worker.answer(worker.requests[0].exchange, "there");
  EXPECT_TRUE(take(client).ends_with("there"));
}

}  // namespace
}  // namespace penstock
