// Pools, case by case: what answers at each limit, pools that leave service or the configuration, servers that drain.
#include "tests/sim/pool_scene.h"

namespace penstock {
namespace {

class PoolLimits : public PoolScene {};

// --- limits ---------------------------------------------------------------------------------

TEST_F(PoolLimits, one_more_than_the_queue_holds_is_503_at_once_and_the_others_are_served) {
  std::vector<uint32_t> waiting;
  for (uint8_t i = 0; i < 3; ++i) waiting.push_back(ask(GET, i));  // pool.p.queue_max
  EXPECT_EQ(status_of(take(ask(GET))), "503");
  HandWorker& worker = start();
  EXPECT_EQ(worker.requests.size(), 2U);  // pool.p.concurrency
  for (size_t i = 0; i < 3; ++i) {
    ASSERT_GT(worker.requests.size(), i);
    worker.answer(worker.requests[i].exchange, "served");
    turn();
  }
  for (const uint32_t client : waiting) EXPECT_TRUE(take(client).ends_with("served"));
}

TEST_F(PoolLimits, one_more_than_the_queue_holds_is_reset_where_the_pool_says_so_behind_what_was_answered_before) {
  world.tree().put("a.txt", "content", world.clock().wall());
  std::vector<uint32_t> waiting;
  for (uint8_t i = 0; i < 3; ++i) waiting.push_back(ask(GET, i));
  EXPECT_EQ(status_of(take(ask(GET))), "503");
  world.apply(CONFIG + "pool.p.queue_full = reset\n");
  turn();
  const auto counted = [this] { return world.transport(0).counters(); };
  const uint64_t sends = counted().sends;
  const uint64_t bytes = counted().bytes_sent;
  const uint32_t one = ask("GET /a.txt HTTP/1.1\r\nHost: h\r\n\r\n" + GET + GET);
  EXPECT_EQ(state(one), SimTransport::ClientState::RESET);
  EXPECT_EQ(counted().sends, sends + 1);
  EXPECT_GT(counted().bytes_sent, bytes + std::string_view("HTTP/1.1 200 OK\r\n\r\ncontent").size());
  const uint32_t uploads = ask("POST /app/a HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf");
  EXPECT_EQ(take(uploads), "");
  EXPECT_EQ(state(uploads), SimTransport::ClientState::RESET);
  HandWorker& worker = start();
  for (size_t i = 0; i < 3; ++i) {
    ASSERT_GT(worker.requests.size(), i);
    worker.answer(worker.requests[i].exchange, "served");
    turn();
  }
  for (const uint32_t client : waiting) EXPECT_TRUE(take(client).ends_with("served"));
}

// Who is reset may ask again, as if nothing had happened: but an application has worked on this one.
TEST_F(PoolLimits, a_full_queue_is_503_for_a_request_that_an_application_has_passed_on) {
  world.apply(CONFIG + "pool.p.queue_full = reset\nsite.s.route.b.prefix = /b\nsite.s.route.b.handler = pool\n" +
              "site.s.route.b.pool = q\npool.q.app = /app\n");
  HandWorker& passes = start("q");
  std::vector<uint32_t> waiting;
  for (uint8_t i = 0; i < 3; ++i) waiting.push_back(ask(GET, i));
  const uint32_t client = ask("GET /b HTTP/1.1\r\nHost: h\r\n\r\n");
  ASSERT_EQ(passes.requests.size(), 1U);
  ASSERT_TRUE(passes.link->execute(passes.requests[0].exchange, "/app/a"));
  passes.ring();
  EXPECT_EQ(status_of(take(client)), "503");
  for (const uint32_t one : waiting) EXPECT_EQ(take(one), "");
}

TEST_F(PoolLimits, who_waits_too_long_in_the_queue_gets_503_and_reaches_no_worker) {
  world.apply(CONFIG + "pool.p.queue_timeout = 5s\n");
  turn();
  const uint32_t client = ask(GET);
  world.advance(milliseconds(4900));
  turn();
  EXPECT_EQ(take(client), "");
  world.advance(milliseconds(200));
  EXPECT_EQ(status_of(take(client)), "503");
  EXPECT_TRUE(start().requests.empty());
}

// It waits for a worker a second time: what it had waited before counts, not what the worker that was lost took.
TEST_F(PoolLimits, time_inside_of_a_worker_that_is_lost_is_no_time_in_the_queue) {
  world.apply(CONFIG + "pool.p.queue_timeout = 5s\npool.p.request_timeout = 0\npool.p.ping_interval = 0\n");
  const auto lose_after_a_minute = [&] {
    const uint32_t client = ask(GET);
    world.advance(seconds(3));
    turn();
    EXPECT_EQ(start().requests.size(), 1U);
    world.advance(seconds(60));
    turn();
    world.pools().gone(workers.size());
    turn();
    world.advance(milliseconds(1'900));
    EXPECT_EQ(take(client), "");
    return client;
  };
  const uint32_t served = lose_after_a_minute();
  HandWorker& next = start();
  ASSERT_EQ(next.requests.size(), 1U);
  next.answer(next.requests[0].exchange, "served");
  EXPECT_TRUE(take(served).ends_with("served"));
  world.pools().gone(workers.size());
  const uint32_t late = lose_after_a_minute();
  world.advance(milliseconds(200));
  EXPECT_EQ(status_of(take(late)), "503");
}

TEST_F(PoolLimits, a_request_over_its_time_is_502_and_a_worker_that_keeps_it_is_told_of_once) {
  world.apply(CONFIG + "pool.p.request_timeout = 5s\npool.p.ping_interval = 0\n");
  HandWorker& worker = start();
  const uint32_t client = ask(GET);
  ASSERT_EQ(worker.requests.size(), 1U);
  (void)reports();
  world.advance(milliseconds(5010));
  EXPECT_EQ(status_of(take(client)), "502");
  EXPECT_EQ(worker.cancelled.size(), 1U);
  size_t overdue = 0;
  for (int i = 0; i < 20; ++i) {
    world.advance(milliseconds(100));
    turn(1);
    for (const PoolReport::Kind kind : reports()) overdue += kind == PoolReport::Kind::OVERDUE ? 1 : 0;
  }
  EXPECT_EQ(overdue, 1U);
}

TEST_F(PoolLimits, a_worker_that_gives_a_request_over_its_time_back_goes_on) {
  world.apply(CONFIG + "pool.p.request_timeout = 5s\npool.p.ping_interval = 0\n");
  HandWorker& worker = start();
  const uint32_t client = ask(GET);
  ASSERT_EQ(worker.requests.size(), 1U);
  (void)reports();
  world.advance(milliseconds(5010));
  turn(2);
  ASSERT_EQ(worker.cancelled.size(), 1U);
  ASSERT_TRUE(worker.link->abort(worker.requests[0].exchange));
  worker.ring();
  turn();
  world.advance(seconds(1));
  turn();
  EXPECT_FALSE(has(reports(), PoolReport::Kind::OVERDUE));
  EXPECT_EQ(status_of(take(client)), "502");
  say(client, GET);
  ASSERT_EQ(worker.requests.size(), 2U);
  worker.answer(worker.requests[1].exchange, "again");
  EXPECT_TRUE(take(client).ends_with("again"));
}

TEST_F(PoolLimits, as_many_requests_as_recycling_wants_are_told_with_the_last_of_them_and_once) {
  world.apply(CONFIG + "pool.p.recycle.requests = 2\n");
  HandWorker& worker = start();
  (void)reports();
  const auto served_one = [&] {
    const uint32_t client = ask(GET);
    worker.answer(worker.requests.back().exchange, "served");
    EXPECT_TRUE(take(client).ends_with("served"));
    return has(reports(), PoolReport::Kind::SERVED);
  };
  EXPECT_FALSE(served_one());
  EXPECT_TRUE(served_one());
  EXPECT_FALSE(served_one());
  world.apply(CONFIG + "pool.p.recycle.requests = 5\n");
  EXPECT_FALSE(served_one());
  EXPECT_TRUE(served_one()) << "another limit";
}

TEST_F(PoolLimits, a_url_that_names_itself_ends_after_five) {
  HandWorker& worker = start();
  const uint32_t client = ask("POST /app/a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi" + GET);
  for (size_t i = 0; i < 6; ++i) {
    ASSERT_EQ(worker.requests.size(), i + 1);
    EXPECT_EQ(worker.requests[i].method, i == 0 ? "POST" : "GET");
    EXPECT_EQ(worker.requests[i].body, i == 0 ? "hi" : "");
    ASSERT_TRUE(worker.link->execute(worker.requests[i].exchange, "/app/a?x"));
    worker.ring();
    turn();
  }
  ASSERT_EQ(worker.requests.size(), 7U);  // the client's next one
  worker.answer(worker.requests[6].exchange, "next");
  const std::string answers = take(client);
  EXPECT_EQ(status_of(answers), "500");
  EXPECT_TRUE(answers.ends_with("next"));
}

TEST_F(PoolLimits, a_hostile_target_of_execute_is_502) {
  for (const std::string_view target :
       {"x", "/a\r\nb", "/../x", "//h/../..", "/a?\r\n", "/a%0", "http://h/", "/a?b c", "/%00"}) {
    HandWorker& worker = start();
    const uint32_t client = ask(GET);
    ASSERT_EQ(worker.requests.size(), 1U);
    ASSERT_TRUE(worker.link->execute(worker.requests[0].exchange, target));
    worker.ring();
    const std::string answer = take(client);
    EXPECT_EQ(status_of(answer), "502") << target << ": " << answer;
    world.pools().gone(workers.size());
    turn();
  }
}

TEST_F(PoolLimits, how_many_wait_is_told_when_it_has_changed_and_only_then) {
  const auto told = [&] {
    std::string text;
    for (const PoolTable::Queue& queue : world.pools().changed_queues()) {
      text += std::string(queue.pool) + "=" + std::to_string(queue.waiting) + " ";
    }
    return text;
  };
  EXPECT_EQ(told(), "");
  const uint32_t served = ask(GET, 1);
  const uint32_t gone = ask(GET, 2);
  EXPECT_EQ(told(), "p=2 ");
  EXPECT_EQ(told(), "");
  world.transport(0).client_reset(gone);
  turn();
  EXPECT_EQ(told(), "p=1 ");
  HandWorker& worker = start();
  EXPECT_EQ(told(), "p=0 ");
  ASSERT_EQ(worker.requests.size(), 1U);
  worker.answer(worker.requests[0].exchange, "served");
  EXPECT_TRUE(take(served).ends_with("served"));
}

// --- pools that go --------------------------------------------------------------------------

TEST_F(PoolLimits, requests_that_wait_for_a_pool_that_is_removed_are_503) {
  const uint32_t client = ask(GET);
  world.apply(SITE + "site.s.route.app.handler = status\nsite.s.route.app.status = 404\n");
  EXPECT_EQ(status_of(take(client)), "503");
  EXPECT_EQ(status_of(take(ask(GET))), "404");
}

TEST_F(PoolLimits, a_pool_that_is_removed_answers_what_its_workers_have) {
  HandWorker& worker = start();
  const uint32_t client = ask(GET);
  ASSERT_EQ(worker.requests.size(), 1U);
  world.apply(SITE + "site.s.route.app.handler = status\nsite.s.route.app.status = 404\n");
  turn();
  world.pools().retire(1);
  turn();
  EXPECT_FALSE(has(reports(), PoolReport::Kind::IDLE));
  worker.answer(worker.requests[0].exchange, "last");
  EXPECT_TRUE(take(client).ends_with("last"));
  EXPECT_TRUE(has(reports(), PoolReport::Kind::IDLE));
}

TEST_F(PoolLimits, a_pool_out_of_service_is_503_for_who_waits_and_who_comes_and_serves_again) {
  const uint32_t client = ask(GET);
  world.pools().set_service("p", PoolService::STOPPED);
  EXPECT_EQ(status_of(take(client)), "503");
  EXPECT_EQ(status_of(take(ask(GET))), "503");
  world.pools().set_service("p", PoolService::FAILED);
  EXPECT_EQ(status_of(take(ask(GET))), "503");
  world.pools().set_service("p", PoolService::SERVING);
  const uint32_t last = ask(GET);
  HandWorker& worker = start();
  ASSERT_EQ(worker.requests.size(), 1U);
  worker.answer(worker.requests[0].exchange, "back");
  EXPECT_TRUE(take(last).ends_with("back"));
}

TEST_F(PoolLimits, a_kept_answer_reaches_no_worker_also_when_the_pool_is_out_of_service) {
  HandWorker& worker = start();
  const uint32_t first = ask(GET);
  ASSERT_EQ(worker.requests.size(), 1U);
  worker.answer(worker.requests[0].exchange, "kept", {{"Cache-Control", "max-age=60"}});
  EXPECT_TRUE(take(first).ends_with("kept"));
  EXPECT_TRUE(take(ask(GET)).ends_with("kept"));
  world.pools().set_service("p", PoolService::FAILED);
  turn();
  EXPECT_TRUE(take(ask(GET)).ends_with("kept"));
  EXPECT_EQ(worker.requests.size(), 1U);
  world.advance(seconds(61));
  EXPECT_EQ(status_of(take(ask(GET))), "503");
}

// --- workers that sleep ---------------------------------------------------------------------

TEST_F(PoolLimits, a_worker_to_be_suspended_gets_nothing_more_and_rests_when_it_is_empty) {
  HandWorker& worker = start();
  const uint32_t inside = ask(GET);
  ASSERT_EQ(worker.requests.size(), 1U);
  world.pools().suspend(1);
  turn();
  const uint32_t later = ask(GET);
  EXPECT_EQ(worker.requests.size(), 1U) << "it has a place, and is not to be given it";
  EXPECT_TRUE(has(reports(), PoolReport::Kind::NEED)) << "the supervisor wakes it, or another";
  EXPECT_TRUE(world.pools().rested().empty());
  worker.answer(worker.requests[0].exchange, "first");
  EXPECT_TRUE(take(inside).ends_with("first"));
  EXPECT_EQ(world.pools().rested(), std::vector<uint64_t>{1});
  EXPECT_TRUE(world.pools().rested().empty()) << "told once";
  world.pools().resume(1);
  turn();
  ASSERT_EQ(worker.requests.size(), 2U);
  worker.answer(worker.requests[1].exchange, "second");
  EXPECT_TRUE(take(later).ends_with("second"));
}

TEST_F(PoolLimits, a_worker_that_sleeps_is_not_asked_whether_it_lives_nor_taken_for_hung_when_it_wakes) {
  HandWorker& worker = start();
  (void)reports();
  world.advance(seconds(2));
  world.step();  // a ping has gone out
  world.pools().suspend(1);
  world.step();
  EXPECT_EQ(world.pools().rested(), std::vector<uint64_t>{1});
  for (int i = 0; i < 100; ++i) {  // it does not hear, however long
    world.advance(seconds(1));
    world.step();
  }
  EXPECT_FALSE(has(reports(), PoolReport::Kind::SILENT));
  world.pools().resume(1);
  world.step();
  world.advance(seconds(1));
  world.step();
  EXPECT_FALSE(has(reports(), PoolReport::Kind::SILENT)) << "its time begins anew";
  const uint32_t client = ask(GET);
  ASSERT_EQ(worker.requests.size(), 1U);
  worker.answer(worker.requests[0].exchange, "awake");
  EXPECT_TRUE(take(client).ends_with("awake"));
}

// --- requests that nobody waits for ---------------------------------------------------------

TEST_F(PoolLimits, a_worker_to_be_stopped_does_not_wait_for_a_request_whose_client_has_gone) {
  HandWorker& worker = start();
  const uint32_t gone = ask(GET);
  const uint32_t stays = ask(GET);
  ASSERT_EQ(worker.requests.size(), 2U);
  world.transport(0).client_reset(gone);
  turn();
  ASSERT_EQ(worker.cancelled.size(), 1U);
  world.pools().retire(1);
  turn();
  EXPECT_FALSE(has(reports(), PoolReport::Kind::IDLE)) << "another waits for its answer";
  worker.answer(worker.requests[1].exchange, "last");
  EXPECT_TRUE(take(stays).ends_with("last"));
  EXPECT_TRUE(has(reports(), PoolReport::Kind::IDLE)) << "the worker has never ended the first";
}

TEST_F(PoolLimits, a_client_that_has_shut_its_half_is_asked_whether_it_is_there_when_its_worker_is_to_stop) {
  HandWorker& worker = start();
  const uint32_t client = ask(GET);
  const uint32_t open = ask(GET);
  ASSERT_EQ(worker.requests.size(), 2U);
  world.transport(0).client_half_close(client);
  world.advance(seconds(1));
  EXPECT_EQ(take(client), "") << "its worker serves on: nobody is in a hurry";
  world.pools().retire(1);
  for (int i = 0; i < 40; ++i) {
    world.advance(milliseconds(250));
    turn(2);
  }
  const std::string asked = take(client);
  EXPECT_EQ(count_of(asked, "HTTP/1.1 100 Continue\r\n\r\n"), 8U);
  EXPECT_EQ(asked.size(), 8 * 25U);
  EXPECT_EQ(take(open), "");
  worker.answer(worker.requests[0].exchange, "after all");
  worker.answer(worker.requests[1].exchange, "as ever");
  EXPECT_TRUE(take(client).ends_with("after all"));
  EXPECT_TRUE(take(open).ends_with("as ever"));
}

// --- a server that drains -------------------------------------------------------------------

TEST_F(PoolLimits, a_server_that_drains_serves_what_waits_and_what_is_inside) {
  HandWorker& worker = start();
  std::vector<uint32_t> waiting;
  for (uint8_t i = 0; i < 3; ++i) waiting.push_back(ask(GET, i));
  ASSERT_EQ(worker.requests.size(), 2U);
  world.drain();
  turn();
  for (size_t i = 0; i < 3; ++i) {
    ASSERT_GT(worker.requests.size(), i);
    worker.answer(worker.requests[i].exchange, "served");
    turn();
  }
  for (const uint32_t client : waiting) {
    EXPECT_TRUE(take(client).ends_with("served"));
    EXPECT_EQ(state(client), SimTransport::ClientState::FINISHED);
  }
}

}  // namespace
}  // namespace penstock
