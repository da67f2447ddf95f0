// Pools, case by case: workers that fail, bodies, older and half-closed clients. What the seeds of pools_test.cc meet
// by chance at best.
#include "tests/sim/pool_scene.h"

namespace penstock {
namespace {

class PoolCases : public PoolScene {};

// --- doorbells ------------------------------------------------------------------------------

TEST_F(PoolCases, a_doorbell_of_a_worker_that_is_listened_to_costs_no_system_call) {
  turn_rings = false;
  HandWorker& worker = start();
  const uint32_t client = connect();
  const uint64_t before = world.counters(0).syscalls.get();
  for (size_t i = 0; i < 50; ++i) {
    say(client, GET);
    ASSERT_EQ(worker.requests.size(), i + 1);
    worker.answer(worker.requests[i].exchange, "x");
  }
  EXPECT_EQ(count_of(take(client), "200 OK"), 50U);
  EXPECT_LT(world.counters(0).syscalls.get() - before, 5U);
}

TEST_F(PoolCases, a_lie_is_heard_also_where_its_doorbell_rang_with_one_that_is_listened_to) {
  turn_rings = false;
  HandWorker& first = start();
  HandWorker& second = start();
  (void)reports();
  (void)ask(GET);
  HandWorker& talker = first.requests.empty() ? second : first;
  HandWorker& liar = first.requests.empty() ? first : second;
  ASSERT_EQ(talker.requests.size(), 1U);
  ASSERT_TRUE(talker.link->send_head(talker.requests[0].exchange, {}, {}, false));
  bool told = false;
  for (int i = 0; i < 50 && !told; ++i) {
    ASSERT_TRUE(talker.link->send_data(talker.requests[0].exchange, "x", false));
    talker.ring();
    if (i == 0) liar.lie();
    world.advance(milliseconds(10));
    world.step();  // and no flush(), which would take the lie back
    told = has(reports(), PoolReport::Kind::BROKE);
  }
  EXPECT_TRUE(told);
}

// --- workers that fail ----------------------------------------------------------------------

TEST_F(PoolCases, a_head_that_cannot_be_sent_and_then_a_lie_is_one_502) {
  HandWorker& worker = start();
  const uint32_t client = ask(GET);
  ASSERT_EQ(worker.requests.size(), 1U);
  const Fields fields = {{"X-Split", "a\r\nSet-Cookie: b=c"}};
  ASSERT_TRUE(worker.link->send_head(worker.requests[0].exchange, {.length = 1, .fields = fields}, {}, false));
  worker.lie();
  const std::string answer = take(client);
  EXPECT_EQ(status_of(answer), "502");
  EXPECT_EQ(answer.find("b=c"), std::string::npos);
  HandWorker& other = start();
  turn();
  EXPECT_TRUE(other.requests.empty());
  EXPECT_TRUE(has(reports(), PoolReport::Kind::BROKE));
}

TEST_F(PoolCases, what_a_worker_said_before_it_ended_is_delivered) {
  HandWorker& worker = start();
  const uint32_t client = ask("POST /app/a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi");
  ASSERT_EQ(worker.requests.size(), 1U);
  worker.answer(worker.requests[0].exchange, "done");
  world.pools().gone(1);
  const std::string answer = take(client);
  EXPECT_EQ(status_of(answer), "200");
  EXPECT_TRUE(answer.ends_with("\r\n\r\ndone"));
}

TEST_F(PoolCases, what_was_inside_of_a_worker_that_was_ended_for_an_intrusion_is_not_tried_again) {
  HandWorker& worker = start();
  const uint32_t client = ask(GET);
  ASSERT_EQ(worker.requests.size(), 1U);
  world.pools().gone(1, true);
  EXPECT_EQ(status_of(take(client)), "502");
  HandWorker& other = start();
  turn();
  EXPECT_TRUE(other.requests.empty());
}

// The server looks at that index when half of the ring is used by its own count: then it finds it between two requests.
TEST_F(PoolCases, an_index_that_lies_is_told_also_if_nothing_is_under_way_when_it_is_seen) {
  world.apply(CONFIG + "pool.p.ping_interval = 0\n");
  HandWorker& worker = start();
  (void)reports();
  std::string text;
  for (int i = 0; i < 60; ++i) text += GET;
  const uint32_t client = ask(text);
  bool told = false;
  for (size_t i = 0; i < worker.requests.size() && !told; ++i) {
    worker.answer(worker.requests[i].exchange, "x");
    worker.memory.worker.request_head += 1000;
    world.step();
    worker.memory.worker.request_head -= 1000;
    turn_rings = false;
    turn(3);
    (void)world.transport(0).client_take(client);
    told = has(reports(), PoolReport::Kind::BROKE);
  }
  EXPECT_TRUE(told);
}

// --- bodies ---------------------------------------------------------------------------------

TEST_F(PoolCases, the_next_request_is_read_when_the_end_of_a_body_found_no_room) {
  HandWorker& worker = start();
  worker.reads = false;
  const uint32_t client = ask("POST /app/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
  ASSERT_EQ(worker.requests.size(), 1U);
  for (int i = 0; i < 16; ++i) say(client, "1\r\nx\r\n");  // one chunk of the ring each: LinkLimits
  say(client, "0\r\n\r\n");
  ASSERT_FALSE(worker.requests[0].whole);
  worker.answer(worker.requests[0].exchange, "early");
  EXPECT_EQ(status_of(take(client)), "200");
  say(client, GET);
  ASSERT_EQ(worker.requests.size(), 2U);
  worker.answer(worker.requests[1].exchange, "next");
  EXPECT_TRUE(take(client).ends_with("next"));
}

TEST_F(PoolCases, a_request_that_waits_behind_an_upload_is_its_own) {
  HandWorker& worker = start();
  const uint32_t client =
      ask("POST /app/a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello" + GET +
          "POST /app/b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n" + GET);
  for (size_t i = 0; i < 4; ++i) {
    ASSERT_EQ(worker.requests.size(), i + 1);
    EXPECT_TRUE(worker.requests[i].whole);
    worker.answer(worker.requests[i].exchange, "answer " + std::to_string(i));
    turn();
  }
  EXPECT_EQ(worker.requests[0].body, "hello");
  EXPECT_EQ(worker.requests[1].body, "");
  EXPECT_EQ(worker.requests[2].body, "abc");
  EXPECT_EQ(worker.requests[3].body, "");
  EXPECT_EQ(count_of(take(client), "answer "), 4U);
}

TEST_F(PoolCases, who_waits_for_100_gets_it_once_a_worker_has_the_request) {
  const uint32_t client = ask("POST /app/a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(take(client), "");
  HandWorker& worker = start();
  ASSERT_EQ(worker.requests.size(), 1U);
  EXPECT_EQ(take(client), "HTTP/1.1 100 Continue\r\n\r\n");
  say(client, "hi");
  EXPECT_TRUE(worker.requests[0].whole);
  worker.answer(worker.requests[0].exchange, "got it");
  EXPECT_TRUE(take(client).ends_with("got it"));
  say(client, GET);  // the connection lives
  EXPECT_EQ(worker.requests.size(), 2U);
}

TEST_F(PoolCases, who_waits_for_100_gets_it_also_behind_a_slow_answer) {
  HandWorker& worker = start();
  const auto answer_long = [&](size_t bytes) {
    const Handle exchange = worker.requests.back().exchange;
    ASSERT_TRUE(worker.link->send_head(exchange, {.length = bytes}, {}, false));
    for (size_t left = bytes; left > 0;) {
      const size_t size = std::min<size_t>(left, 16'384);
      left -= size;
      ASSERT_TRUE(worker.link->send_data(exchange, std::string(size, 'x'), left == 0));
    }
    worker.ring();
    turn(20);
  };
  const uint32_t client = ask(GET);
  ASSERT_EQ(worker.requests.size(), 1U);
  answer_long(120'000);
  const size_t head_bytes = take(client).find("\r\n\r\n") + 4;
  // Two buffers of the server lie in the socket, one is being sent, and the last one has ten bytes left.
  say(client, GET + "POST /app/a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  ASSERT_EQ(worker.requests.size(), 2U);
  answer_long(4 * 32'768 - head_bytes - 10);
  ASSERT_EQ(worker.requests.size(), 3U);
  EXPECT_TRUE(take(client).ends_with("HTTP/1.1 100 Continue\r\n\r\n"));
}

TEST_F(PoolCases, the_patience_for_a_body_does_not_run_while_the_request_waits_for_another_worker) {
  HandWorker& worker = start();
  const uint32_t client = ask("PUT /app/a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n");
  ASSERT_EQ(worker.requests.size(), 1U);
  world.pools().gone(1);
  turn();
  say(client, "hi");
  world.advance(seconds(31));  // limits.body_timeout
  turn();
  HandWorker& other = start();
  ASSERT_EQ(other.requests.size(), 1U);
  EXPECT_EQ(other.requests[0].body, "hi");
  other.answer(other.requests[0].exchange, "put");
  EXPECT_TRUE(take(client).ends_with("put"));
}

TEST_F(PoolCases, the_patience_for_a_body_does_not_run_while_an_early_answer_is_sent) {
  HandWorker& worker = start();
  const uint32_t client = ask("POST /app/a HTTP/1.1\r\nHost: h\r\nContent-Length: 200\r\n\r\n");
  ASSERT_EQ(worker.requests.size(), 1U);
  const std::string body(200'000, 'x');
  worker.answer(worker.requests[0].exchange, body);
  turn();
  world.advance(seconds(31));
  turn();
  EXPECT_TRUE(take(client).ends_with(body));
  say(client, std::string(200, 'y') + GET);
  EXPECT_EQ(worker.requests.size(), 2U);
}

TEST_F(PoolCases, a_body_that_is_no_good_is_answered_also_if_its_worker_answers_meanwhile) {
  HandWorker& worker = start();
  const uint32_t client = ask("POST /app/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
  ASSERT_EQ(worker.requests.size(), 1U);
  world.transport(0).client_send(client, "zz\r\n");
  worker.answer(worker.requests[0].exchange, "fine");
  EXPECT_EQ(status_of(take(client)), "400");
  EXPECT_EQ(state(client), SimTransport::ClientState::FINISHED);
}

// --- older and half-closed clients ----------------------------------------------------------

TEST_F(PoolCases, an_old_client_gets_an_answer_without_length_until_the_end) {
  HandWorker& worker = start();
  const uint32_t client = ask("GET /app/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  ASSERT_EQ(worker.requests.size(), 1U);
  const Handle exchange = worker.requests[0].exchange;
  ASSERT_TRUE(worker.link->send_head(exchange, {}, "one ", false));
  ASSERT_TRUE(worker.link->send_data(exchange, "two", true));
  worker.ring();
  const std::string answer = take(client);
  EXPECT_EQ(status_of(answer), "200");
  EXPECT_TRUE(answer.ends_with("\r\n\r\none two"));
  EXPECT_EQ(answer.find("chunked"), std::string::npos);
  EXPECT_NE(answer.find("Connection: close"), std::string::npos);
  EXPECT_EQ(state(client), SimTransport::ClientState::FINISHED);
}

TEST_F(PoolCases, a_head_request_gets_the_length_and_no_body) {
  HandWorker& worker = start();
  const uint32_t client = ask("HEAD /app/a HTTP/1.1\r\nHost: h\r\n\r\n" + GET);
  ASSERT_EQ(worker.requests.size(), 1U);
  worker.answer(worker.requests[0].exchange, "seven b");
  turn();
  ASSERT_EQ(worker.requests.size(), 2U);
  worker.answer(worker.requests[1].exchange, "whole", {}, 200);
  const std::string answers = take(client);
  EXPECT_NE(answers.find("Content-Length: 7\r\n"), std::string::npos);
  EXPECT_EQ(answers.find("seven b"), std::string::npos);
  EXPECT_TRUE(answers.ends_with("whole"));
}

TEST_F(PoolCases, who_says_no_more_still_gets_the_answer_of_a_worker_that_has_the_request) {
  HandWorker& worker = start();
  const uint32_t client = ask(GET);
  ASSERT_EQ(worker.requests.size(), 1U);
  world.transport(0).client_half_close(client);
  turn();
  worker.answer(worker.requests[0].exchange, "late");
  EXPECT_TRUE(take(client).ends_with("late"));
  EXPECT_EQ(state(client), SimTransport::ClientState::FINISHED);
}

}  // namespace
}  // namespace penstock
