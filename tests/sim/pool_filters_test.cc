// Filters by hand: what each side does while the other waits, dies or leaves.
#include "tests/sim/pool_scene.h"

namespace penstock {
namespace {

const std::string FILTER =
    "pool.f.app = /f\npool.f.concurrency = 2\npool.f.queue_max = 2\nsite.s.route.app.filters = f\n";
constexpr uint32_t BOTH = PENSTOCK_WANTS_RESPONSE | PENSTOCK_WANTS_LOG;

class FilterScene : public PoolScene {
 protected:
  explicit FilterScene(const std::string& more = "") : PoolScene(CONFIG + FILTER + more) {}

  // The oldest that the filter is asked; it is to be of that moment.
  static Handle asked(HandWorker& filter, penstock_to_worker kind) {
    EXPECT_FALSE(filter.requests.empty()) << kind;
    if (filter.requests.empty()) return {};
    const HandWorker::Request request = filter.requests.front();
    filter.requests.pop_front();
    EXPECT_EQ(request.asked, kind);
    return request.exchange;
  }
  static Handle taken(HandWorker& worker) { return asked(worker, PENSTOCK_REQUEST); }
  // A request that the filter lets pass, wanting to see the rest; the application has it then.
  uint32_t pass_one(HandWorker& filter, std::string_view request = GET, uint32_t wants = BOTH) {
    const uint32_t client = ask(request);
    filter.pass(asked(filter, PENSTOCK_FILTER_REQUEST), {.wants = wants});
    turn();
    return client;
  }
};

TEST_F(FilterScene, is_asked_before_the_application_and_again_before_its_answer_and_its_record) {
  HandWorker& application = start();
  HandWorker& filter = start("f");
  const uint32_t client = ask(GET);
  EXPECT_TRUE(application.requests.empty());
  filter.pass(asked(filter, PENSTOCK_FILTER_REQUEST), {.wants = BOTH});
  turn();
  application.answer(taken(application), "hello", {{"A", "1"}, {"B", "2"}});
  EXPECT_EQ(take(client), "");
  ASSERT_FALSE(filter.requests.empty());
  EXPECT_EQ(filter.requests.front().status, 200);
  const WorkerEdit edits[] = {{.what = PENSTOCK_EDIT_SET, .name = "a", .value = "3"},
                              {.what = PENSTOCK_EDIT_REMOVE, .name = "B", .value = ""}};
  filter.pass(asked(filter, PENSTOCK_FILTER_RESPONSE), {.status = 203, .edits = edits});
  const std::string answer = take(client);
  EXPECT_EQ(status_of(answer), "203");
  EXPECT_EQ(count_of(answer, "A: 3\r\n"), 1U);
  EXPECT_EQ(count_of(answer, "B: "), 0U);
  EXPECT_TRUE(answer.ends_with("\r\n\r\nhello"));
  say(client, GET);  // it waits for no record
  filter.pass(asked(filter, PENSTOCK_FILTER_LOG), {.log = "seen"});
  filter.pass(asked(filter, PENSTOCK_FILTER_REQUEST));
  turn();
  application.answer(taken(application), "again");
  EXPECT_EQ(status_of(take(client)), "200");
}

TEST_F(FilterScene, holds_an_answer_and_all_that_comes_of_it) {
  HandWorker& application = start();
  HandWorker& filter = start("f");
  const uint32_t client = pass_one(filter);
  const Handle exchange = taken(application);
  ASSERT_TRUE(application.link->send_head(exchange, {.length = 9}, "one", false));
  application.ring();
  turn();
  ASSERT_TRUE(application.link->send_data(exchange, "two", false));
  application.ring();
  turn();
  ASSERT_TRUE(application.link->send_data(exchange, "six", true));
  application.ring();
  EXPECT_EQ(take(client), "");
  world.pools().gone(1);  // it has said all, and is needed no more
  turn();
  filter.pass(asked(filter, PENSTOCK_FILTER_RESPONSE));
  EXPECT_TRUE(take(client).ends_with("\r\n\r\nonetwosix"));
  filter.pass(asked(filter, PENSTOCK_FILTER_LOG));
  turn();
}

TEST_F(FilterScene, is_asked_anew_where_another_worker_answers_in_the_end) {
  HandWorker& application = start();
  HandWorker& filter = start("f");
  const uint32_t client = pass_one(filter, GET, PENSTOCK_WANTS_RESPONSE);
  const Handle exchange = taken(application);
  ASSERT_TRUE(application.link->send_head(exchange, {.length = 9}, "one", false));
  application.ring();
  turn();
  const Handle first = asked(filter, PENSTOCK_FILTER_RESPONSE);
  HandWorker& next = start();
  world.pools().gone(1);
  turn();
  ASSERT_EQ(filter.cancelled.size(), 1U);
  EXPECT_EQ(filter.cancelled.front(), first);
  ASSERT_TRUE(filter.link->abort(first));
  filter.ring();
  next.answer(taken(next), "whole");
  turn();
  filter.pass(asked(filter, PENSTOCK_FILTER_RESPONSE));
  EXPECT_TRUE(take(client).ends_with("whole"));
}

TEST_F(FilterScene, that_dies_is_asked_once_more_and_then_its_request_is_refused) {
  (void)start();
  HandWorker& first = start("f");
  const uint32_t client = ask(GET);
  (void)asked(first, PENSTOCK_FILTER_REQUEST);
  HandWorker& second = start("f");
  world.pools().gone(2);
  turn();
  (void)asked(second, PENSTOCK_FILTER_REQUEST);
  EXPECT_EQ(take(client), "");
  world.pools().gone(3);
  EXPECT_EQ(status_of(take(client)), "500");
}

TEST_F(FilterScene, that_lies_lets_nothing_out) {
  HandWorker& application = start();
  HandWorker& filter = start("f");
  const uint32_t client = pass_one(filter);
  application.answer(taken(application), "secret");
  turn();
  (void)asked(filter, PENSTOCK_FILTER_RESPONSE);
  filter.lie();
  turn();
  HandWorker& next = start("f");
  (void)asked(next, PENSTOCK_FILTER_RESPONSE);
  next.lie();
  const std::string answer = take(client);
  EXPECT_EQ(status_of(answer), "500");
  EXPECT_EQ(count_of(answer, "secret"), 0U);
}

TEST_F(FilterScene, that_takes_too_long_is_told_so_and_its_request_refused) {
  HandWorker& application = start();
  HandWorker& filter = start("f");
  const uint32_t client = pass_one(filter);
  application.answer(taken(application), "secret");
  turn();
  const Handle exchange = asked(filter, PENSTOCK_FILTER_RESPONSE);
  world.advance(seconds(89));
  EXPECT_EQ(take(client), "");
  world.advance(seconds(2));
  EXPECT_EQ(status_of(take(client)), "500");
  ASSERT_EQ(filter.cancelled.size(), 1U);
  EXPECT_EQ(filter.cancelled.front(), exchange);
}

TEST_F(FilterScene, has_a_queue_of_its_own_that_can_be_full) {
  (void)start();
  const uint32_t first = ask(GET);
  const uint32_t second = ask(GET, 2);
  EXPECT_EQ(status_of(take(ask(GET, 3))), "503");
  EXPECT_EQ(take(first) + take(second), "");
}

TEST_F(FilterScene, lets_go_of_requests_whose_clients_have_left) {
  HandWorker& application = start();
  HandWorker& filter = start("f");
  const uint32_t asking = ask(GET);
  const Handle asked_first = asked(filter, PENSTOCK_FILTER_REQUEST);
  world.transport(0).client_reset(asking);
  turn();
  ASSERT_EQ(filter.cancelled.size(), 1U);
  filter.pass(asked_first);  // it had not looked yet: nobody hears of it
  turn();
  EXPECT_TRUE(application.requests.empty());
  const uint32_t waiting = pass_one(filter);
  application.answer(taken(application), "held");
  turn();
  const Handle exchange = asked(filter, PENSTOCK_FILTER_RESPONSE);
  world.transport(0).client_reset(waiting);
  turn();
  filter.pass(asked(filter, PENSTOCK_FILTER_LOG), {.log = "left"});  // of it there is a record all the same
  filter.pass(exchange);
  turn();
  const uint32_t queued = ask(GET);
  world.transport(0).client_reset(queued);
  turn();
}

TEST_F(FilterScene, of_a_record_may_die_without_a_record_lost) {
  HandWorker& application = start();
  HandWorker& filter = start("f");
  const uint32_t client = pass_one(filter, GET, PENSTOCK_WANTS_LOG);
  application.answer(taken(application), "hello");
  EXPECT_EQ(status_of(take(client)), "200");
  (void)asked(filter, PENSTOCK_FILTER_LOG);
  world.pools().gone(2);
  turn();
  HandWorker& next = start("f");
  (void)asked(next, PENSTOCK_FILTER_LOG);
  world.pools().gone(3);
  turn();
}

TEST_F(FilterScene, that_fails_is_covered_up_by_no_answer_of_before) {
  HandWorker& application = start();
  HandWorker& filter = start("f");
  const Fields kept = {{"Cache-Control", "max-age=1, stale-if-error=1000"}};
  uint32_t client = pass_one(filter, GET, PENSTOCK_WANTS_RESPONSE);
  application.answer(taken(application), "before", kept);
  turn();
  filter.pass(asked(filter, PENSTOCK_FILTER_RESPONSE));
  EXPECT_EQ(status_of(take(client)), "200");
  world.advance(seconds(5));
  client = pass_one(filter, GET, PENSTOCK_WANTS_RESPONSE);
  application.answer(taken(application), "now", kept);
  turn();
  ASSERT_TRUE(filter.link->abort(asked(filter, PENSTOCK_FILTER_RESPONSE)));
  filter.ring();
  EXPECT_EQ(status_of(take(client)), "500");
  // The application's own failure is covered up, and that is filtered as well.
  client = pass_one(filter, GET, PENSTOCK_WANTS_RESPONSE);
  ASSERT_TRUE(application.link->abort(taken(application)));
  application.ring();
  turn();
  filter.pass(asked(filter, PENSTOCK_FILTER_RESPONSE), {.status = 299});
  const std::string stale = take(client);
  EXPECT_EQ(status_of(stale), "299");
  EXPECT_TRUE(stale.ends_with("before"));
}

TEST_F(FilterScene, answers_in_the_applications_place_and_a_body_is_still_read) {
  HandWorker& application = start();
  HandWorker& filter = start("f");
  const uint32_t client = ask("POST /app/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab");
  filter.answer(asked(filter, PENSTOCK_FILTER_REQUEST), "no", {}, 403);
  EXPECT_EQ(status_of(take(client)), "403");
  say(client, "c\r\n0\r\n\r\n" + GET);
  filter.answer(asked(filter, PENSTOCK_FILTER_REQUEST), "nor this", {}, 403);
  EXPECT_EQ(status_of(take(client)), "403");
  EXPECT_TRUE(application.requests.empty());
}

TEST_F(FilterScene, changes_a_request_as_if_the_client_had_sent_it) {
  HandWorker& application = start();
  HandWorker& filter = start("f");
  const auto ask_with = [&](const WorkerVerdict& verdict) {
    const uint32_t client = ask(GET);
    filter.pass(asked(filter, PENSTOCK_FILTER_REQUEST), verdict);
    turn();
    return client;
  };
  const uint32_t moved = ask_with({.target = "/app/%62?c"});
  ASSERT_FALSE(application.requests.empty());
  EXPECT_EQ(application.requests.front().path, "/app/b");
  application.answer(taken(application), "moved");
  EXPECT_EQ(status_of(take(moved)), "200");
  const auto refused = [&](const WorkerVerdict& verdict) {
    return status_of(take(ask_with(verdict))) == "500" && application.requests.empty();
  };
  for (const char* target :
       {"app", "/a b", "/a\r\nX: y", "/a HTTP/1.1\r\nX: y", "/%zz", "/../..", "http://h.example/", "*"}) {
    EXPECT_TRUE(refused({.target = target})) << target;
  }
  for (const auto& [name, value] : Fields{{"A", "b\r\nC: d"}, {"A b", "c"}, {"A:", "b"}, {"A\n", "b"}, {"A", "\x01"}}) {
    const WorkerEdit edits[] = {{.what = PENSTOCK_EDIT_ADD, .name = name, .value = value}};
    EXPECT_TRUE(refused({.edits = edits})) << name;
  }
}

TEST_F(FilterScene, makes_no_answer_that_HTTP_does_not_allow) {
  HandWorker& application = start();
  HandWorker& filter = start("f");
  const std::string unseen = "secret";
  for (const auto& [name, value] : Fields{{"A", "b\r\nC: d"}, {"A b", "c"}, {"A:", "b"}, {"A\n", "b"}, {"A", "\x01"}}) {
    for (const bool ours : {false, true}) {  // the answer of the application, and one that it does not take
      const uint32_t client = pass_one(filter, ours ? "BREW" + GET.substr(3) : GET, PENSTOCK_WANTS_RESPONSE);
      if (!ours) application.answer(taken(application), unseen);
      turn();
      const WorkerEdit edits[] = {{.what = PENSTOCK_EDIT_ADD, .name = name, .value = value}};
      filter.pass(asked(filter, PENSTOCK_FILTER_RESPONSE), {.edits = edits});
      const std::string answer = take(client);
      EXPECT_EQ(status_of(answer), "500") << name;
      EXPECT_EQ(count_of(answer, unseen), 0U);
    }
  }
}

}  // namespace
}  // namespace penstock
