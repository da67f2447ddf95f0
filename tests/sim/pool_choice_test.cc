// Which worker gets a request, and answers that name files and other URLs.
#include "tests/sim/pool_scene.h"

namespace penstock {
namespace {

// --- sticky ---------------------------------------------------------------------------------

class PoolSticky : public PoolScene {
 protected:
  PoolSticky() : PoolScene(CONFIG + "pool.p.balance = sticky\n") {}

  static std::string get_with(const std::string& cookie) {
    return "GET /app/a HTTP/1.1\r\nHost: h\r\nCookie: " + cookie + "\r\n\r\n";
  }
  std::string answer_of(HandWorker& worker) {
    const Handle exchange = worker.requests.back().exchange;
    worker.requests.pop_back();
    worker.answer(exchange, "x");
    turn();
    return "";
  }
};

TEST_F(PoolSticky, a_client_finds_its_worker_again_by_the_cookie_and_is_told_of_another) {
  HandWorker& first = start();
  HandWorker& second = start();
  for (int i = 0; i < 3; ++i) {
    const uint32_t client = ask(get_with("a=b; penstock_worker=2"));
    ASSERT_TRUE(first.requests.empty()) << i;
    ASSERT_EQ(second.requests.size(), 1U) << i;
    (void)answer_of(second);
    EXPECT_EQ(take(client).find("Set-Cookie"), std::string::npos) << i;
  }
  const uint32_t stranger = ask(GET);
  HandWorker& chosen = first.requests.empty() ? second : first;
  ASSERT_EQ(chosen.requests.size(), 1U);
  (void)answer_of(chosen);
  const std::string number = &chosen == &first ? "1" : "2";
  EXPECT_NE(
      take(stranger).find("\r\nSet-Cookie: penstock_worker=" + number + "; Path=/app; HttpOnly; SameSite=Lax\r\n"),
      std::string::npos);
}

TEST_F(PoolSticky, who_waits_for_a_busy_worker_lets_others_pass) {
  HandWorker& first = start();
  HandWorker& second = start();
  const uint32_t busy_a = ask(get_with("penstock_worker=1"));
  const uint32_t busy_b = ask(get_with("penstock_worker=1"));
  ASSERT_EQ(first.requests.size(), 2U);  // pool.p.concurrency
  const uint32_t waits = ask(get_with("penstock_worker=1"));
  EXPECT_EQ(first.requests.size(), 2U);
  EXPECT_TRUE(second.requests.empty()) << "it waits for its own";
  const uint32_t passes = ask(GET);
  ASSERT_EQ(second.requests.size(), 1U);
  (void)answer_of(second);
  EXPECT_EQ(status_of(take(passes)), "200");
  (void)answer_of(first);
  ASSERT_EQ(first.requests.size(), 2U);
  (void)answer_of(first);
  (void)answer_of(first);
  EXPECT_EQ(status_of(take(busy_a)), "200");
  EXPECT_EQ(status_of(take(busy_b)), "200");
  EXPECT_EQ(status_of(take(waits)), "200");
}

TEST_F(PoolSticky, a_cookie_of_a_worker_that_has_gone_or_never_was_is_any_worker) {
  HandWorker& first = start();
  for (const char* number : {"77", "0", "x", "", "18446744073709551616"}) {
    const uint32_t client = ask(get_with("penstock_worker=" + std::string(number)));
    ASSERT_EQ(first.requests.size(), 1U) << number;
    (void)answer_of(first);
    EXPECT_NE(take(client).find("penstock_worker=1;"), std::string::npos) << number;
  }
}

// --- files and other URLs -------------------------------------------------------------------

class PoolParts : public PoolScene {
 protected:
  PoolParts() {
    world.tree().put("small.txt", "0123456789", world.clock().wall());
    world.advance(seconds(1));
  }
  // Heads with that length, then `name` from `offset` on, `length` of it.
  std::string answer_with_file(uint64_t announced, std::string_view name, uint64_t offset, uint64_t length) {
    HandWorker& worker = workers.empty() ? start() : *workers.back();
    const uint32_t client = ask(GET);
    EXPECT_EQ(worker.requests.size(), 1U);
    const Handle exchange = worker.requests.back().exchange;
    worker.requests.clear();
    EXPECT_TRUE(worker.link->send_head(exchange, {.length = announced}, {}, false));
    EXPECT_TRUE(worker.link->send_file(exchange, name, offset, length, true));
    worker.ring();
    return take(client);
  }
};

TEST_F(PoolParts, a_part_of_a_file_is_the_body) {
  EXPECT_TRUE(answer_with_file(3, "small.txt", 4, 3).ends_with("\r\nContent-Length: 3\r\n\r\n456"));
  EXPECT_TRUE(answer_with_file(PENSTOCK_LENGTH_UNKNOWN, "small.txt", 8, PENSTOCK_LENGTH_UNKNOWN)
                  .ends_with("\r\n\r\n2\r\n89\r\n0\r\n\r\n"));
}

TEST_F(PoolParts, what_is_not_in_the_file_or_not_as_long_as_announced_cuts_the_connection) {
  struct Case {
    uint64_t announced;
    std::string_view name;
    uint64_t offset, length;
  };
  constexpr uint64_t ANY = PENSTOCK_LENGTH_UNKNOWN;
  const Case cases[] = {{ANY, "gone.txt", 0, ANY},
                        {ANY, "../sim/small.txt", 0, ANY},
                        {ANY, "small.txt", 11, ANY},
                        {ANY, "small.txt", 8, 3},
                        {5, "small.txt", 0, 4},
                        {5, "small.txt", 0, 6},
                        {ANY, ".hidden", 0, ANY},
                        {ANY, "small.txt", UINT64_MAX, 1},
                        {ANY, "small.txt", 1, UINT64_MAX - 1}};
  for (const Case& one : cases) {
    const std::string answer = answer_with_file(one.announced, one.name, one.offset, one.length);
    EXPECT_FALSE(answer.ends_with("0\r\n\r\n")) << one.name << one.offset;
    EXPECT_EQ(world.open_requests(), 0U) << one.name << one.offset;
  }
}

TEST_F(PoolParts, the_body_of_another_URL_stands_in_its_place) {
  HandWorker& worker = start();
  const uint32_t client = ask(GET);
  ASSERT_EQ(worker.requests.size(), 1U);
  const Handle exchange = worker.requests[0].exchange;
  ASSERT_TRUE(worker.link->send_head(exchange, {}, "<", false));
  ASSERT_TRUE(worker.link->send_entry(exchange, "/small.txt", false));
  ASSERT_TRUE(worker.link->send_data(exchange, ">", true));
  worker.ring();
  EXPECT_TRUE(take(client).ends_with("\r\n\r\n1\r\n<\r\na\r\n0123456789\r\n1\r\n>\r\n0\r\n\r\n"));
}

TEST_F(PoolParts, more_names_than_are_kept_cut_the_connection) {
  HandWorker& worker = start();
  const uint32_t client = ask(GET);
  const Handle exchange = worker.requests.at(0).exchange;
  ASSERT_TRUE(worker.link->send_head(exchange, {}, {}, false));
  for (int i = 0; i < 60; ++i) ASSERT_TRUE(worker.link->send_file(exchange, "small.txt", 0, 1, false));
  worker.ring();
  world.step();
  for (int i = 0; i < 20; ++i) (void)worker.link->send_file(exchange, "small.txt", 0, 1, false);
  worker.ring();
  (void)take(client);
  EXPECT_EQ(world.open_requests(), 0U);
}

// --- one call for all -----------------------------------------------------------------------

class PoolCollapse : public PoolScene {
 protected:
  PoolCollapse() : PoolScene(CONFIG + "site.s.route.app.collapse = 1\n") {}

  std::vector<uint32_t> crowd(HandWorker& worker) {
    std::vector<uint32_t> asking;
    for (int i = 0; i < 20; ++i) asking.push_back(ask(GET));
    EXPECT_EQ(worker.requests.size(), 1U);
    return asking;
  }
};

TEST_F(PoolCollapse, twenty_who_want_the_same_are_one_call_and_the_next_is_none) {
  HandWorker& worker = start();
  const auto asking = crowd(worker);
  worker.answer(worker.requests.at(0).exchange, "shared", {{"Cache-Control", "max-age=60"}});
  for (const uint32_t client : asking) EXPECT_TRUE(take(client).ends_with("\r\n\r\nshared"));
  EXPECT_TRUE(take(ask(GET)).ends_with("\r\n\r\nshared"));
  EXPECT_EQ(worker.requests.size(), 1U);
}

TEST_F(PoolCollapse, an_answer_that_cannot_be_shared_lets_the_others_call_for_themselves) {
  world.apply(SITE + ROUTE + "pool.p.app = /app\npool.p.concurrency = 2\nsite.s.route.app.collapse = 1\n");
  HandWorker& worker = start();
  const auto asking = crowd(worker);
  for (size_t i = 0; i < asking.size(); ++i) {
    ASSERT_GT(worker.requests.size(), i);
    worker.answer(worker.requests[i].exchange, "own " + std::to_string(i));
    turn();
  }
  EXPECT_EQ(worker.requests.size(), asking.size());
  for (const uint32_t client : asking) EXPECT_EQ(status_of(take(client)), "200");
}

TEST_F(PoolCollapse, who_asks_for_what_cannot_be_shared_neither_holds_up_nor_scatters_the_others) {
  world.apply(SITE + ROUTE + "pool.p.app = /app\npool.p.concurrency = 4\nsite.s.route.app.collapse = 1\n");
  HandWorker& worker = start();
  const Fields kept = {{"Cache-Control", "max-age=60"}};
  for (const std::string field : {"X-Forwarded-Host: evil", "X-Forwarded-Proto: evil", "Cookie: a=b"}) {
    worker.requests.clear();
    const uint32_t odd = ask("GET /app/a HTTP/1.1\r\nHost: h\r\n" + field + "\r\n\r\n");
    const uint32_t early = ask(GET);
    ASSERT_EQ(worker.requests.size(), 2U) << field << ": nobody waits for an answer that may be its alone";
    worker.answer(worker.requests[0].exchange, "odd", kept);
    EXPECT_TRUE(take(odd).ends_with("odd"));
    std::vector<uint32_t> asking = {early};
    for (int i = 0; i < 10; ++i) asking.push_back(ask(GET));
    EXPECT_EQ(worker.requests.size(), 2U) << field << ": they are one call still";
    worker.answer(worker.requests[1].exchange, "shared", kept);
    for (const uint32_t client : asking) EXPECT_TRUE(take(client).ends_with("shared"));
    world.cache().purge_all();
  }
}

TEST_F(PoolCollapse, a_leader_that_leaves_or_fails_strands_nobody) {
  world.apply(SITE + ROUTE + "pool.p.app = /app\npool.p.concurrency = 2\nsite.s.route.app.collapse = 1\n");
  HandWorker& worker = start();
  auto asking = crowd(worker);
  world.transport(0).client_reset(asking.front());
  asking.erase(asking.begin());
  turn();
  ASSERT_GT(worker.requests.size(), 1U);
  world.pools().gone(1);
  turn();
  HandWorker& other = start();
  for (int i = 0; i < 40; ++i) {
    if (other.requests.empty()) break;
    other.answer(other.requests.front().exchange, "late");
    other.requests.pop_front();
    turn();
  }
  for (const uint32_t client : asking) EXPECT_EQ(status_of(take(client)), "200");
}

TEST_F(PoolCollapse, no_POST_and_no_client_with_a_range_waits_for_another) {
  HandWorker& worker = start();
  (void)ask(GET);
  (void)ask("POST /app/a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(worker.requests.size(), 2U);
}

}  // namespace
}  // namespace penstock
