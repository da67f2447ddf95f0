// A new worker is asked its pool's warm-up URLs before it gets requests of clients.
#include "tests/sim/pool_scene.h"

namespace penstock {
namespace {

class PoolWarmUps : public PoolScene {
 protected:
  PoolWarmUps() : PoolScene(CONFIG + "pool.p.warmup = /app/one http://h.example/two?x=1\n") {}

  // What was reported, since the last call.
  std::vector<PoolReport> told() {
    uint64_t dropped = 0;
    return world.pool_reports().take(dropped);
  }
  static std::string text_of(const std::vector<PoolReport>& reports, PoolReport::Kind kind) {
    const auto it = std::ranges::find(reports, kind, &PoolReport::kind);
    return it == reports.end() ? "none" : it->text;
  }
};

TEST_F(PoolWarmUps, clients_wait_until_every_answer_was_2xx) {
  const uint32_t client = ask(GET);
  HandWorker& worker = start();
  ASSERT_EQ(worker.requests.size(), 1U);
  EXPECT_EQ(worker.requests[0].method, "GET");
  EXPECT_EQ(worker.requests[0].path, "/app/one");
  auto reports = told();
  EXPECT_EQ(text_of(reports, PoolReport::Kind::WARMING), "GET /app/one");
  EXPECT_EQ(text_of(reports, PoolReport::Kind::READY), "none");
  worker.answer(worker.requests[0].exchange, std::string(10'000, 'x'));
  turn();
  ASSERT_EQ(worker.requests.size(), 2U);
  EXPECT_EQ(worker.requests[1].path, "/two");
  EXPECT_EQ(text_of(told(), PoolReport::Kind::READY), "none");
  worker.answer(worker.requests[1].exchange, "", {}, 204);
  turn();
  EXPECT_EQ(text_of(told(), PoolReport::Kind::READY), "");
  ASSERT_EQ(worker.requests.size(), 3U);
  EXPECT_EQ(worker.requests[2].path, "/app/a");
  worker.answer(worker.requests[2].exchange, "for the client");
  EXPECT_TRUE(take(client).ends_with("for the client"));
}

TEST_F(PoolWarmUps, an_answer_that_is_longer_than_the_window_is_read_to_its_end) {
  HandWorker& worker = start();
  ASSERT_EQ(worker.requests.size(), 1U);
  const Handle exchange = worker.requests[0].exchange;
  ASSERT_TRUE(worker.link->send_head(exchange, {.length = PENSTOCK_LENGTH_UNKNOWN}, {}, false));
  const std::string piece(16'000, 'x');
  for (size_t sent = 0, tries = 0; sent < 1 << 20; ++tries) {
    ASSERT_LT(tries, 1000U);
    if (worker.link->window(exchange) >= piece.size() && worker.link->send_data(exchange, piece, false)) {
      sent += piece.size();
    }
    worker.ring();
    turn(1);
  }
  ASSERT_TRUE(worker.link->send_data(exchange, "x", true));
  worker.ring();
  turn();
  EXPECT_EQ(worker.requests.size(), 2U);
}

TEST_F(PoolWarmUps, any_other_answer_is_told_and_the_worker_gets_nothing) {
  (void)ask(GET);
  HandWorker& worker = start();
  (void)told();
  worker.answer(worker.requests[0].exchange, "moved", {{"Location", "/"}}, 302);
  turn();
  EXPECT_EQ(text_of(told(), PoolReport::Kind::COLD), "GET /app/one was answered 302");
  EXPECT_EQ(worker.requests.size(), 1U);
}

TEST_F(PoolWarmUps, giving_up_is_told) {
  HandWorker& worker = start();
  (void)told();
  ASSERT_TRUE(worker.link->abort(worker.requests[0].exchange));
  worker.ring();
  turn();
  EXPECT_EQ(text_of(told(), PoolReport::Kind::COLD), "GET /app/one was given up");
}

// However long it takes: the start-up limit is the supervisor's.
TEST_F(PoolWarmUps, no_ping_and_no_request_timeout_ends_it) {
  HandWorker& worker = start();
  (void)told();
  for (int i = 0; i < 100; ++i) {
    world.advance(seconds(2));
    turn(1);
  }
  EXPECT_EQ(text_of(told(), PoolReport::Kind::SILENT), "none");
  worker.answer(worker.requests[0].exchange, "late");
  turn();
  worker.answer(worker.requests[1].exchange, "late");
  turn();
  EXPECT_EQ(text_of(told(), PoolReport::Kind::READY), "");
}

TEST_F(PoolWarmUps, a_worker_that_ends_or_lies_in_it_leaves_nothing_behind) {
  HandWorker& first = start();
  world.pools().gone(1);
  turn();
  HandWorker& second = start();
  (void)told();
  second.lie();
  turn();
  EXPECT_NE(text_of(told(), PoolReport::Kind::BROKE), "none");
  EXPECT_EQ(first.requests.size(), 1U);
}

}  // namespace
}  // namespace penstock
