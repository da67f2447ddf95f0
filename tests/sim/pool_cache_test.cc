// Answers of applications in the response cache, with workers whose every word the test says and a clock that it moves.
#include "src/server/pools/answer_copy.h"
#include "tests/sim/pool_scene.h"

#include <map>

namespace penstock {
namespace {

// The worker answers what it is told to, and so no ping: the clock moves far.
const std::string QUIET = CONFIG + "pool.p.ping_interval = 0\n";

class PoolCache : public PoolScene {
 protected:
  explicit PoolCache(uint32_t connections_max = 64) : PoolScene(QUIET, connections_max) {}

  static std::string get(std::string_view path, std::string_view fields = "", std::string_view method = "GET") {
    return std::string(method)
        .append(" ")
        .append(path)
        .append(" HTTP/1.1\r\nHost: h\r\n")
        .append(fields)
        .append("\r\n");
  }
  std::string fetch(std::string_view path, std::string_view fields = "", std::string_view method = "GET") {
    return finish(ask(get(path, fields, method)));
  }
  // Its answer; then the client goes.
  std::string finish(uint32_t client) {
    std::string answer = take(client);
    world.transport(0).client_reset(client);
    std::erase(clients, client);
    turn(2);
    return answer;
  }
  static std::string body_of(const std::string& answer) {
    const size_t end = answer.find("\r\n\r\n");
    return end == std::string::npos ? "" : answer.substr(end + 4);
  }

  // The next request that the worker has got is answered.
  void answer_next(HandWorker& worker, std::string_view body, const Fields& fields = {}, uint16_t status = 200) {
    ASSERT_GT(worker.requests.size(), answered_);
    worker.answer(worker.requests[answered_++].exchange, body, fields, status);
    turn();
  }
  // Asks once so that the worker is called, and keeps its answer.
  void fill(HandWorker& worker, std::string_view path, std::string_view body, const Fields& fields,
            std::string_view request_fields = "", uint16_t status = 200) {
    const uint32_t client = ask(get(path, request_fields));
    answer_next(worker, body, fields, status);
    EXPECT_EQ(body_of(finish(client)), body);
  }
  size_t calls(const HandWorker& worker) const { return worker.requests.size(); }

  size_t answered_ = 0;
};

TEST_F(PoolCache, a_lifetime_ends_when_it_should_and_the_age_is_told) {
  HandWorker& worker = start();
  fill(worker, "/app/a", "one", {{"Cache-Control", "max-age=10"}});
  std::string answer = fetch("/app/a");
  EXPECT_EQ(body_of(answer), "one");
  EXPECT_NE(answer.find("\r\nAge: 0\r\n"), std::string::npos) << answer;
  world.advance(seconds(8));
  answer = fetch("/app/a");
  EXPECT_EQ(body_of(answer), "one");
  EXPECT_NE(answer.find("\r\nAge: 8\r\n"), std::string::npos) << answer;
  EXPECT_EQ(calls(worker), 1U);
  world.advance(seconds(2));
  const uint32_t late = ask(get("/app/a"));
  EXPECT_EQ(calls(worker), 2U);
  answer_next(worker, "two", {{"Cache-Control", "max-age=10"}});
  EXPECT_EQ(body_of(take(late)), "two");
}

// SC8: each answer is asked for once, because the clock moves with every turn.
TEST_F(PoolCache, a_workers_lifetime_is_kept_to_ten_milliseconds) {
  HandWorker& worker = start();
  for (const bool over : {false, true}) {
    const std::string path = over ? "/app/over" : "/app/fresh";
    const uint32_t first = ask(get(path));
    MonoTime kept = world.clock().now();
    const WorkerPolicy policy{};
    ASSERT_TRUE(worker.link->send_head(worker.requests.at(answered_++).exchange,
                                       {.ttl_ms = 5'000, .length = 3, .policy = &policy}, "one", true));
    worker.ring();
    turn();
    if (over) kept = world.clock().now();
    EXPECT_EQ(body_of(take(first)), "one");
    const size_t before = calls(worker);
    world.advance(kept + milliseconds(over ? 5'010 : 4'990) - world.clock().now());
    const uint32_t second = ask(get(path));
    EXPECT_EQ(calls(worker) - before, over ? 1U : 0U);
    EXPECT_EQ(body_of(take(second)), over ? "" : "one");
    if (over) answer_next(worker, "two");
  }
}

TEST_F(PoolCache, an_age_that_an_answer_came_with_counts) {
  HandWorker& worker = start();
  fill(worker, "/app/a", "one", {{"Cache-Control", "max-age=10"}, {"Age", "7"}});
  const std::string answer = fetch("/app/a");
  EXPECT_NE(answer.find("\r\nAge: 7\r\n"), std::string::npos) << answer;
  EXPECT_EQ(answer.find("Age: 7\r\n"), answer.rfind("Age: "));
  world.advance(seconds(3));
  (void)ask(get("/app/a"));
  EXPECT_EQ(calls(worker), 2U);
}

TEST_F(PoolCache, a_stale_answer_comes_at_once_and_one_call_fetches_the_next) {
  HandWorker& worker = start();
  fill(worker, "/app/a", "old", {{"Cache-Control", "max-age=10, stale-while-revalidate=30"}});
  world.advance(seconds(11));
  for (int i = 0; i < 20; ++i) EXPECT_EQ(body_of(fetch("/app/a")), "old");
  EXPECT_EQ(calls(worker), 2U) << "one call, whoever asks";
  answer_next(worker, "new", {{"Cache-Control", "max-age=10, stale-while-revalidate=30"}});
  const std::string answer = fetch("/app/a");
  EXPECT_EQ(body_of(answer), "new");
  EXPECT_NE(answer.find("\r\nAge: 0\r\n"), std::string::npos);
  EXPECT_EQ(calls(worker), 2U);
  world.advance(seconds(41));
  (void)ask(get("/app/a"));
  EXPECT_EQ(calls(worker), 3U);
  world.advance(milliseconds(1));
  EXPECT_EQ(world.open_requests(), 1U) << "beyond its grace the client waits";
}

TEST_F(PoolCache, a_refresh_is_a_plain_GET_without_the_clients_conditions) {
  HandWorker& worker = start();
  fill(worker, "/app/a", "old", {{"Cache-Control", "max-age=10, stale-while-revalidate=30"}, {"ETag", "\"1\""}});
  world.advance(seconds(11));
  const std::string answer = fetch("/app/a", "If-None-Match: \"1\"\r\n", "HEAD");
  EXPECT_EQ(status_of(answer), "304");
  ASSERT_EQ(calls(worker), 2U);
  EXPECT_EQ(worker.requests[1].method, "GET");
  EXPECT_TRUE(worker.requests[1].whole);
  answer_next(worker, "new", {{"Cache-Control", "max-age=10"}});
  EXPECT_EQ(body_of(fetch("/app/a")), "new");
}

TEST_F(PoolCache, a_refresh_that_fails_leaves_the_entry_and_one_that_says_otherwise_ends_it) {
  HandWorker& worker = start();
  const Fields kept = {{"Cache-Control", "max-age=10, stale-while-revalidate=100"}};
  fill(worker, "/app/a", "old", kept);
  world.advance(seconds(11));
  EXPECT_EQ(body_of(fetch("/app/a")), "old");
  answer_next(worker, "broken", {}, 500);
  EXPECT_EQ(body_of(fetch("/app/a")), "old");
  ASSERT_EQ(calls(worker), 3U) << "and it is tried again";
  answer_next(worker, "private", {{"Cache-Control", "private"}});
  const uint32_t client = ask(get("/app/a"));
  ASSERT_EQ(calls(worker), 4U);
  answer_next(worker, "mine", {});
  EXPECT_EQ(body_of(take(client)), "mine");
}

TEST_F(PoolCache, a_refresh_dies_with_its_worker_and_the_next_request_has_another) {
  HandWorker& first = start();
  fill(first, "/app/a", "old", {{"Cache-Control", "max-age=10, stale-while-revalidate=100"}});
  world.advance(seconds(11));
  EXPECT_EQ(body_of(fetch("/app/a")), "old");
  ASSERT_EQ(calls(first), 2U);
  world.pools().gone(1);
  turn();
  HandWorker& second = start();
  EXPECT_EQ(body_of(fetch("/app/a")), "old");
  ASSERT_EQ(calls(second), 1U);
  second.answer(second.requests[0].exchange, "new", {{"Cache-Control", "max-age=10"}});
  turn();
  EXPECT_EQ(body_of(fetch("/app/a")), "new");
}

TEST_F(PoolCache, a_stale_answer_stands_in_for_every_kind_of_failure_within_its_grace_only) {
  HandWorker& worker = start();
  fill(worker, "/app/a", "old", {{"Cache-Control", "max-age=10, stale-if-error=60"}});
  world.advance(seconds(11));
  uint32_t client = ask(get("/app/a"));
  ASSERT_EQ(calls(worker), 2U) << "first it is tried";
  answer_next(worker, "broken", {}, 503);
  std::string answer = take(client);
  EXPECT_EQ(status_of(answer), "200");
  EXPECT_EQ(body_of(answer), "old");
  EXPECT_NE(answer.find("\r\nAge: 11\r\n"), std::string::npos) << answer;

  client = ask(get("/app/a"));
  ASSERT_EQ(calls(worker), 3U);
  world.pools().gone(1);  // inside of it
  EXPECT_EQ(body_of(take(client)), "old");

  world.pools().set_service("p", PoolService::FAILED);
  EXPECT_EQ(body_of(fetch("/app/a")), "old");
  world.pools().set_service("p", PoolService::STOPPED);
  EXPECT_EQ(body_of(fetch("/app/a")), "old");
  EXPECT_EQ(status_of(fetch("/app/b")), "503");
  world.advance(seconds(60));
  EXPECT_EQ(status_of(fetch("/app/a")), "503") << "beyond its grace";
}

TEST_F(PoolCache, an_answer_that_is_no_error_ends_the_old_one_whether_it_is_kept_or_not) {
  HandWorker& worker = start();
  fill(worker, "/app/a", "old", {{"Cache-Control", "max-age=10, stale-if-error=60"}});
  world.advance(seconds(11));
  fill(worker, "/app/a", "not here", {}, "", 404);
  world.pools().set_service("p", PoolService::FAILED);
  EXPECT_EQ(status_of(fetch("/app/a")), "503");
}

TEST_F(PoolCache, a_stale_answer_stands_in_where_the_queue_is_full_or_the_request_times_out) {
  world.apply(QUIET + "pool.p.request_timeout = 5s\n");
  HandWorker& worker = start();
  fill(worker, "/app/a", "old", {{"Cache-Control", "max-age=10, stale-if-error=60"}});
  world.advance(seconds(11));
  std::vector<uint32_t> others;
  for (int i = 0; i < 5; ++i) others.push_back(ask(get("/app/" + std::to_string(i))));  // two inside, three wait
  EXPECT_EQ(body_of(fetch("/app/a")), "old");
  for (int i = 0; i < 5; ++i) answer_next(worker, "x");
  const uint32_t client = ask(get("/app/a"));
  world.advance(seconds(6));
  EXPECT_EQ(body_of(take(client)), "old");
}

TEST_F(PoolCache, the_routes_graces_count_where_the_answer_says_nothing) {
  world.apply(QUIET + "site.s.route.app.stale_while_revalidate = 20s\nsite.s.route.app.stale_if_error = 40s\n");
  HandWorker& worker = start();
  fill(worker, "/app/a", "old", {{"Cache-Control", "max-age=10"}});
  world.advance(seconds(12));
  EXPECT_EQ(body_of(fetch("/app/a")), "old");
  EXPECT_EQ(calls(worker), 2U);
  answer_next(worker, "broken", {}, 500);
  world.pools().set_service("p", PoolService::FAILED);
  world.advance(seconds(25));
  EXPECT_EQ(body_of(fetch("/app/a")), "old");
}

TEST_F(PoolCache, a_workers_policy_goes_all_the_way) {
  HandWorker& worker = start();
  const auto answer_with = [&](std::string_view body, const WorkerPolicy& policy, uint32_t ttl_ms) {
    ASSERT_GT(worker.requests.size(), answered_);
    const Handle exchange = worker.requests[answered_++].exchange;
    ASSERT_TRUE(
        worker.link->send_head(exchange, {.ttl_ms = ttl_ms, .length = body.size(), .policy = &policy}, body, true));
    worker.ring();
    turn();
  };
  constexpr std::string_view VARY[] = {"X-Tier"};
  constexpr std::string_view TAGS[] = {"news"};
  const WorkerPolicy policy{.revalidate_ms = 1'000, .error_ms = 60'000, .vary = VARY, .tags = TAGS};
  const uint32_t gold = ask(get("/app/a", "X-Tier: gold\r\n"));
  answer_with("for gold", policy, 500);
  std::string answer = take(gold);
  EXPECT_EQ(body_of(answer), "for gold");
  EXPECT_NE(answer.find("\r\nVary: X-Tier\r\n"), std::string::npos) << answer;
  const uint32_t lead = ask(get("/app/a", "X-Tier: lead\r\n"));
  answer_with("for lead", policy, 500);
  EXPECT_EQ(body_of(take(lead)), "for lead");
  answer = fetch("/app/a", "X-Tier: gold\r\n");
  EXPECT_EQ(body_of(answer), "for gold");
  EXPECT_NE(answer.find("\r\nVary: X-Tier\r\n"), std::string::npos) << answer;
  EXPECT_EQ(body_of(fetch("/app/a", "X-Tier: lead\r\n")), "for lead");
  EXPECT_EQ(calls(worker), 2U);
  world.advance(milliseconds(600));
  EXPECT_EQ(body_of(fetch("/app/a", "X-Tier: lead\r\n")), "for lead");
  ASSERT_EQ(calls(worker), 3U) << "while its successor is fetched";
  answer_with("new lead", policy, 500'000);
  EXPECT_EQ(body_of(fetch("/app/a", "X-Tier: lead\r\n")), "new lead");
  (void)world.cache().purge_label(tag_label("news", world.cache().hash_seed()));
  const uint32_t again = ask(get("/app/a", "X-Tier: lead\r\n"));
  ASSERT_EQ(calls(worker), 4U);
  answer_with("never", {.never = true}, 0);
  EXPECT_EQ(body_of(take(again)), "never");
  (void)ask(get("/app/a", "X-Tier: lead\r\n"));
  EXPECT_EQ(calls(worker), 5U);
}

TEST_F(PoolCache, each_variant_of_a_URL_is_its_own_and_there_is_a_bound) {
  world.apply(QUIET + "site.s.route.app.cache_vary = X-Tier\n");
  HandWorker& worker = start();
  const auto tier = [](uint32_t i) { return "X-Tier: t" + std::to_string(i) + "\r\n"; };
  const Fields varies = {{"Cache-Control", "max-age=100"}, {"Vary", "X-Tier, Accept-Encoding"}};
  for (uint32_t i = 0; i < VARIANTS_MAX; ++i) fill(worker, "/app/a", "body " + std::to_string(i), varies, tier(i));
  for (uint32_t i = 0; i < VARIANTS_MAX; ++i) EXPECT_EQ(body_of(fetch("/app/a", tier(i))), "body " + std::to_string(i));
  EXPECT_EQ(calls(worker), VARIANTS_MAX);
  EXPECT_EQ(body_of(fetch("/app/a", tier(3) + "Accept-Encoding: deflate\r\n")), "body 3") << "means the same";
  fill(worker, "/app/a", "one more", varies, tier(VARIANTS_MAX));
  EXPECT_EQ(body_of(fetch("/app/a", tier(1))), "body 1");
  fill(worker, "/app/a", "the oldest had gone", varies, tier(0));
}

TEST_F(PoolCache, variants_that_nobody_asks_for_again_do_not_drive_out_one_that_is_asked_for) {
  world.apply(QUIET + "site.s.route.app.cache_vary = X-Tier\n");
  HandWorker& worker = start();
  const Fields varies = {{"Cache-Control", "max-age=100"}, {"Vary", "X-Tier"}};
  fill(worker, "/app/a", "wanted", varies, "X-Tier: gold\r\n");
  for (uint32_t i = 0; i < 5 * VARIANTS_MAX; ++i) {
    if (i % (VARIANTS_MAX / 2) == 0) {
      EXPECT_EQ(body_of(fetch("/app/a", "X-Tier: gold\r\n")), "wanted") << i;
    }
    fill(worker, "/app/a", "flood", varies, "X-Tier: t" + std::to_string(i) + "\r\n");
  }
  EXPECT_EQ(body_of(fetch("/app/a", "X-Tier: gold\r\n")), "wanted");
}

TEST_F(PoolCache, what_cannot_be_told_apart_is_not_kept) {
  HandWorker& worker = start();
  for (const char* vary : {"*", "User-Agent", "Cookie"}) {
    const size_t before = calls(worker);
    fill(worker, "/app/a", "one", {{"Cache-Control", "max-age=100"}, {"Vary", vary}});
    fill(worker, "/app/a", "two", {{"Cache-Control", "max-age=100"}, {"Vary", vary}});
    EXPECT_EQ(calls(worker), before + 2);
  }
}

TEST_F(PoolCache, other_statuses_are_kept_with_a_lifetime_of_their_own) {
  HandWorker& worker = start();
  fill(worker, "/app/none", "not here", {{"Cache-Control", "max-age=10"}}, "", 404);
  const std::string answer = fetch("/app/none", "If-None-Match: *\r\nRange: bytes=0-1\r\n");
  EXPECT_EQ(status_of(answer), "404") << "conditions are for a 200";
  EXPECT_EQ(body_of(answer), "not here");
  EXPECT_EQ(calls(worker), 1U);
  fill(worker, "/app/moved", "", {{"Cache-Control", "max-age=10"}, {"Location", "/x"}}, "", 302);
  EXPECT_NE(fetch("/app/moved").find("\r\nLocation: /x\r\n"), std::string::npos);
  EXPECT_EQ(calls(worker), 2U);
}

TEST_F(PoolCache, a_range_and_a_condition_are_answered_from_an_entry_with_its_age) {
  HandWorker& worker = start();
  fill(worker, "/app/a", "0123456789", {{"Cache-Control", "max-age=10"}, {"ETag", "\"1\""}});
  world.advance(seconds(2));
  const std::string part = fetch("/app/a", "Range: bytes=2-4\r\n");
  EXPECT_EQ(status_of(part), "206");
  EXPECT_EQ(body_of(part), "234");
  EXPECT_NE(part.find("\r\nAge: 2\r\n"), std::string::npos) << part;
  const std::string same = fetch("/app/a", "If-None-Match: \"1\"\r\n");
  EXPECT_EQ(status_of(same), "304");
  EXPECT_NE(same.find("\r\nAge: 2\r\n"), std::string::npos) << same;
}

TEST_F(PoolCache, an_unsafe_method_ends_what_was_kept_of_its_URL) {
  HandWorker& worker = start();
  const Fields kept = {{"Cache-Control", "max-age=100, stale-while-revalidate=100"}};
  fill(worker, "/app/a", "one", kept);
  fill(worker, "/app/list", "list", kept);
  fill(worker, "/app/other", "other", kept);
  uint32_t client = ask(get("/app/a", "Content-Length: 0\r\n", "POST"));
  answer_next(worker, "no", {}, 409);
  (void)take(client);
  EXPECT_EQ(body_of(fetch("/app/a")), "one") << "an error changed nothing";
  client = ask(get("/app/a", "Content-Length: 0\r\n", "PUT"));
  answer_next(worker, "done", {{"Location", "/app/list#top"}});
  (void)take(client);
  const size_t before = calls(worker);
  EXPECT_EQ(body_of(fetch("/app/other")), "other");
  EXPECT_EQ(calls(worker), before);
  fill(worker, "/app/a", "two", kept);
  fill(worker, "/app/list", "new list", kept);
}

TEST_F(PoolCache, an_answer_that_was_under_way_when_its_URL_changed_is_not_kept) {
  HandWorker& worker = start();
  const uint32_t reading = ask(get("/app/a"));
  const uint32_t writing = ask(get("/app/a", "Content-Length: 0\r\n", "POST"));
  ASSERT_EQ(calls(worker), 2U);
  worker.answer(worker.requests[1].exchange, "changed");
  turn();
  worker.answer(worker.requests[0].exchange, "before", {{"Cache-Control", "max-age=100"}});
  turn();
  EXPECT_EQ(body_of(take(reading)), "before");
  (void)take(writing);
  (void)ask(get("/app/a"));
  EXPECT_EQ(calls(worker), 3U);
}

TEST_F(PoolCache, a_purge_by_tag_takes_effect_for_what_is_kept_and_what_is_under_way) {
  HandWorker& worker = start();
  const Fields tagged = {{"Cache-Control", "max-age=100"}, {"Cache-Tag", "news, front"}};
  fill(worker, "/app/a", "a", tagged);
  fill(worker, "/app/b", "b", {{"Cache-Control", "max-age=100"}, {"Cache-Tag", "sport"}});
  EXPECT_EQ(fetch("/app/a").find("Cache-Tag"), std::string::npos) << "that is between us";
  const uint32_t under_way = ask(get("/app/c"));
  EXPECT_EQ(world.cache().purge_label(tag_label("news", world.cache().hash_seed())), 1U);
  answer_next(worker, "c", tagged);
  EXPECT_EQ(body_of(take(under_way)), "c");
  EXPECT_EQ(body_of(fetch("/app/b")), "b");
  EXPECT_EQ(calls(worker), 3U);
  fill(worker, "/app/a", "a2", tagged);
  fill(worker, "/app/c", "c2", tagged);
  EXPECT_EQ(body_of(fetch("/app/a")), "a2");
}

// --- one call for all -----------------------------------------------------------------------

class PoolThousand : public PoolCache {
 protected:
  PoolThousand() : PoolCache(1'200) {}
  void SetUp() override {
    world.apply(SITE + ROUTE +
                "site.s.route.app.collapse = 1\npool.p.app = /app\npool.p.concurrency = 2\npool.p.ping_interval = 0\n");
  }
  static constexpr size_t MANY = 1'000;
  std::vector<uint32_t> crowd(std::string_view fields = "") {
    std::vector<uint32_t> asking;
    for (size_t i = 0; i < MANY; ++i) {
      asking.push_back(connect());
      world.transport(0).client_send(asking.back(), get("/app/a", fields));
      if (i % 50 == 0) turn(1);
    }
    turn(60);  // until the last of them is read
    return asking;
  }
  // How many got `body`.
  size_t count(const std::vector<uint32_t>& asking, std::string_view body) {
    std::map<uint32_t, std::string> answers;
    size_t got = 0;
    for (int i = 0; i < 100 && got < asking.size(); ++i) {
      turn(4);
      got = 0;
      for (const uint32_t client : asking) {
        answers[client] += world.transport(0).client_take(client);
        got += body_of(answers[client]) == body ? 1 : 0;
      }
    }
    return got;
  }
};

TEST_F(PoolThousand, misses_are_one_call) {
  HandWorker& worker = start();
  const auto asking = crowd();
  EXPECT_EQ(calls(worker), 1U);
  answer_next(worker, "shared", {{"Cache-Control", "max-age=60"}});
  EXPECT_EQ(count(asking, "shared"), MANY);
  EXPECT_EQ(calls(worker), 1U);
}

TEST_F(PoolThousand, whose_worker_dies_get_the_stale_answer_where_there_is_one) {
  HandWorker& worker = start();
  fill(worker, "/app/a", "old", {{"Cache-Control", "max-age=10, stale-if-error=600"}});
  world.advance(seconds(11));
  const auto asking = crowd();
  EXPECT_EQ(calls(worker), 2U);
  world.pools().gone(1);
  EXPECT_EQ(count(asking, "old"), MANY);
}

TEST_F(PoolThousand, whose_worker_dies_get_the_answer_of_the_second_try_where_there_is_none) {
  (void)start();
  const auto asking = crowd();
  world.pools().gone(1);
  turn();
  HandWorker& other = start();
  ASSERT_EQ(calls(other), 1U);
  other.answer(other.requests[0].exchange, "second", {{"Cache-Control", "max-age=60"}});
  EXPECT_EQ(count(asking, "second"), MANY);
  EXPECT_EQ(calls(other), 1U);
}

TEST_F(PoolThousand, for_two_languages_are_two_calls) {
  HandWorker& worker = start();
  auto german = crowd("Accept-Language: de\r\n");
  std::vector<uint32_t> english;
  for (int i = 0; i < 20; ++i) english.push_back(ask(get("/app/a", "Accept-Language: en\r\n")));
  const Fields varies = {{"Cache-Control", "max-age=60"}, {"Vary", "Accept-Language"}};
  answer_next(worker, "deutsch", varies);
  EXPECT_EQ(count(german, "deutsch"), MANY);
  ASSERT_EQ(calls(worker), 2U) << "those who wanted another answer are one call again";
  answer_next(worker, "english", varies);
  EXPECT_EQ(count(english, "english"), english.size());
  EXPECT_EQ(calls(worker), 2U);
}

TEST_F(PoolThousand, who_cannot_share_do_not_wait_for_each_other_again) {
  HandWorker& worker = start();
  const uint32_t first = ask(GET);
  const uint32_t second = ask(GET);
  ASSERT_EQ(calls(worker), 1U);
  answer_next(worker, "own", {{"Cache-Control", "private"}});
  ASSERT_EQ(calls(worker), 2U);
  answer_next(worker, "own", {{"Cache-Control", "private"}});
  (void)take(first);
  (void)take(second);
  (void)ask(GET);
  (void)ask(GET);
  EXPECT_EQ(calls(worker), 4U) << "at once";
  answer_next(worker, "own", {});
  answer_next(worker, "own", {});
  world.advance(seconds(11));
  (void)ask(GET);
  (void)ask(GET);
  EXPECT_EQ(calls(worker), 5U) << "after a while it is tried again";
}

}  // namespace
}  // namespace penstock
