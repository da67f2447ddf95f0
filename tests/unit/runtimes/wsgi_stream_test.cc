// penstock-wsgi with bodies that are larger than any buffer, clients that go, threads that hang; its start and its end.
#include "tests/unit/runtimes/wsgi_process.h"

#include <gtest/gtest.h>
#include <string>

namespace penstock {
namespace {

constexpr uint64_t LARGE = 64ULL << 20;
constexpr uint64_t GROWTH_MAX = 16ULL << 20;  // a sanitizer keeps several bytes for each

class WsgiStream : public WsgiProcess {
 protected:
  WsgiStream() {
    shape.exchanges_max = 40;
    shape.entries = 256;
    arguments.insert(arguments.end(), {"--hanging-after", "5000"});  // nothing hangs, however slow the machine
  }
  void heard(const LinkEvent& event) override { pongs += event.kind == LinkEvent::Kind::PONG ? 1 : 0; }
  // Sends `bytes` again and again until it was `whole` bytes; true: all of it, and the answer.
  bool send_all(Handle exchange, std::string_view bytes, uint64_t whole) {
    const uint64_t number = serial;
    uint64_t sent = 0;
    return until([&] {
      while (sent < whole && link_->is_open(exchange)) {
        const std::string_view next =
            bytes.substr(0, static_cast<size_t>(std::min<uint64_t>(bytes.size(), whole - sent)));
        const size_t taken = link_->send_body(exchange, next, sent + next.size() == whole);
        sent += taken;
        if (taken < next.size()) break;
      }
      flush();
      return answers[number].ended;
    });
  }
  uint64_t counted(const std::string& name) {
    const std::string said = get("/counts");
    const size_t at = said.find("\"" + name + "\": ");
    uint64_t number = 0;
    for (size_t i = at + name.size() + 4; i < said.size() && said[i] >= '0' && said[i] <= '9'; ++i) {
      number = number * 10 + static_cast<uint64_t>(said[i] - '0');
    }
    return number;
  }
  // How often, on stderr.
  [[nodiscard]] int said(std::string_view what) const {
    const std::string all = complaints();
    int times = 0;
    for (size_t at = all.find(what); at != std::string::npos; at = all.find(what, at + 1)) ++times;
    return times;
  }
  uint64_t pongs = 0;
};

TEST_F(WsgiStream, hashes_a_large_upload_without_growing) {
  const std::string block(16 * 1'024, 'u');
  ASSERT_TRUE(send_all(ask("/upload", {}, false, 1 << 20), block, 1 << 20)) << "warm";
  for (const uint64_t announced : {LARGE, PENSTOCK_LENGTH_UNKNOWN}) {
    const uint64_t before = memory_peak();
    ASSERT_TRUE(send_all(ask("/upload", {}, false, announced), block, LARGE));
    EXPECT_EQ(answers[serial].body, "67108864 14c40a0ae7450c6fd3985ca6eeaf784a");
    EXPECT_LE(memory_peak(), before + GROWTH_MAX);
  }
}

TEST_F(WsgiStream, makes_an_upload_wait_that_is_not_read) {
  const Handle exchange = ask("/spin", {}, false, PENSTOCK_LENGTH_UNKNOWN);
  const uint64_t number = serial;
  const std::string block(16 * 1'024, 'u');
  uint64_t sent = 0;
  for (int idle = 0; idle < 20;) {  // `idle` turns in which nothing was taken, though the worker has answered others
    const size_t taken = link_->send_body(exchange, block, false);
    sent += taken;
    if (taken == 0) ++idle;
    EXPECT_EQ(get("/"), "hello\n");
  }
  EXPECT_LE(sent, 1ULL << 20);
  EXPECT_EQ(get("/enough"), "enough");
  ASSERT_TRUE(until([&] { return answers[number].ended; })) << "answered, whether or not all was sent";
  EXPECT_EQ(answers[number].body, "spun");
}

TEST_F(WsgiStream, generates_a_large_answer_as_fast_as_it_is_read) {
  EXPECT_EQ(get("/"), "hello\n");
  const uint64_t before = memory_peak();
  grants = false;
  const Handle exchange = ask("/blocks");
  const uint64_t number = serial;
  ASSERT_TRUE(until([&] { return answers[number].body.size() == LIMITS.window_bytes; }));
  uint64_t given = 0;
  for (uint64_t last = UINT64_MAX; given != last || given == 0;) {  // until it rests
    last = given;
    for (int i = 0; i < 50; ++i) given = counted("given");
  }
  EXPECT_LE(given, 6U) << "blocks of 64 KiB ahead of the reader";
  grants = true;
  link_->grant(exchange, LIMITS.window_bytes);
  ASSERT_TRUE(until([&] { return answers[number].ended; }));
  std::string expected(LARGE, '\0');
  for (size_t i = 0; i < LARGE; ++i) expected[i] = static_cast<char>(i % 256);
  ASSERT_EQ(answers[number].body.size(), LARGE);
  ASSERT_TRUE(answers[number].body == expected);
  EXPECT_EQ(counted("closed"), 1U);
  EXPECT_LE(memory_peak(), before + GROWTH_MAX);
}

TEST_F(WsgiStream, closes_what_nobody_reads_any_more) {
  grants = false;
  const Handle exchange = ask("/blocks");
  const uint64_t number = serial;
  ASSERT_TRUE(until([&] { return answers[number].body.size() == LIMITS.window_bytes; }));
  link_->cancel(exchange, PENSTOCK_CANCEL_CLIENT_GONE);
  ASSERT_TRUE(until([&] { return answers[number].ended; }));
  while (counted("closed") == 0) continue;
  const Handle empty = ask("/endless");
  const uint64_t second = serial;
  EXPECT_EQ(get("/"), "hello\n");
  link_->cancel(empty, PENSTOCK_CANCEL_CLIENT_GONE);
  ASSERT_TRUE(until([&] { return answers[second].ended; }));
  while (counted("closed") == 1) continue;
  EXPECT_EQ(complaints(), "") << "a client that goes is no failure";
}

TEST_F(WsgiStream, tells_a_reader_that_the_client_has_gone) {
  for (int i = 0; i < 20; ++i) {
    const Handle exchange = ask("/upload", "begins", false, 1'000'000);
    const uint64_t number = serial;
    const std::string other = i % 2 == 0 ? get("/") : "hello\n";  // and time for it to begin
    EXPECT_EQ(other, "hello\n");
    link_->cancel(exchange, PENSTOCK_CANCEL_CLIENT_GONE);
    ASSERT_TRUE(until([&] { return answers[number].ended; }));
  }
  EXPECT_EQ(get("/upload", "warm"), "4 a957a3153eb7126b1c5f8b6aac35de53");
  EXPECT_EQ(complaints(), "");
}

TEST_F(WsgiStream, drops_what_is_cancelled_before_a_thread_has_it) {
  std::vector<Handle> busy;  // every thread, until its body comes
  for (int i = 0; i < 4; ++i) busy.push_back(ask("/upload", {}, false, 4));
  std::vector<Handle> waiting;
  for (int i = 0; i < 10; ++i) waiting.push_back(ask("/talk"));
  flush();
  for (const Handle exchange : waiting) link_->cancel(exchange, PENSTOCK_CANCEL_CLIENT_GONE);
  ASSERT_TRUE(until([&] { return order.size() == 10; })) << "though no thread had time for them";
  for (const Handle exchange : busy) EXPECT_EQ(link_->send_body(exchange, "warm", true), 4U);
  ASSERT_TRUE(until([&] { return order.size() == 14; }));
  EXPECT_EQ(answers[101].body, "4 a957a3153eb7126b1c5f8b6aac35de53");
  EXPECT_EQ(get("/"), "hello\n");
  EXPECT_EQ(complaints(), "") << "none of them was called";
}

TEST_F(WsgiStream, answers_pings_and_others_while_a_thread_spins) {
  (void)ask("/spin");
  const uint64_t number = serial;
  for (uint64_t i = 1; i <= 20; ++i) {
    ASSERT_TRUE(link_->ping(i));
    ASSERT_TRUE(until([&] { return pongs == i; }));
    EXPECT_EQ(get("/"), "hello\n");
  }
  EXPECT_FALSE(answers[number].ended);
  EXPECT_EQ(get("/enough"), "enough");
  ASSERT_TRUE(until([&] { return answers[number].ended; }));
}

TEST_F(WsgiStream, takes_threads_back_from_requests_that_take_too_long) {
  for (int round = 0; round < 2; ++round) {
    std::vector<Handle> spins;
    order.clear();
    for (int i = 0; i < 4; ++i) spins.push_back(ask("/spin?loud"));  // in every thread
    ASSERT_TRUE(until([&] { return said("begun\n") == 4 * (round + 1); }));
    for (const Handle exchange : spins) link_->cancel(exchange, PENSTOCK_CANCEL_TIMEOUT);
    EXPECT_EQ(get("/"), "hello\n");
    ASSERT_TRUE(until([&] { return order.size() == 5; }));
  }
  EXPECT_EQ(get("/"), "hello\n");
}

TEST_F(WsgiStream, says_where_a_request_was_that_took_too_long) {
  const Handle exchange = ask("/spin");
  EXPECT_EQ(get("/"), "hello\n");
  link_->cancel(exchange, PENSTOCK_CANCEL_TIMEOUT);
  ASSERT_TRUE(until([&] { return complaints().find("penstock.Cancelled") != std::string::npos; }));
  EXPECT_NE(complaints().find("penstock-wsgi: GET /spin failed:"), std::string::npos);
  EXPECT_NE(complaints().find("while not counts.get"), std::string::npos) << "the line in which it was";
}

TEST_F(WsgiStream, leaves_a_request_alone_whose_client_has_gone) {
  const Handle exchange = ask("/spin");
  EXPECT_EQ(get("/"), "hello\n");
  link_->cancel(exchange, PENSTOCK_CANCEL_CLIENT_GONE);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(get("/"), "hello\n");
  EXPECT_EQ(get("/enough"), "enough");
  EXPECT_EQ(complaints(), "") << "it may have work to finish";
}

class WsgiHanging : public WsgiStream {
 protected:
  WsgiHanging() { arguments.back() = "50"; }
  // So many requests that no exception ends, given up when each is inside of a thread.
  void lose(int count) {
    const int before = said("begun\n");
    std::vector<Handle> lost;
    for (int i = 0; i < count; ++i) lost.push_back(ask("/stubborn?inside"));
    ASSERT_TRUE(until([&] { return said("begun\n") == before + count; }));
    const int told = said(LOST);
    for (const Handle exchange : lost) link_->cancel(exchange, PENSTOCK_CANCEL_TIMEOUT);
    ASSERT_TRUE(until([&] { return said(LOST) == told + count; }));
  }
  void expect_end(std::string_view why) {
    int status = 0;
    ASSERT_TRUE(until([&] { return ::waitpid(child_, &status, WNOHANG) == child_; }));
    child_ = -1;
    EXPECT_EQ(WEXITSTATUS(status), 70);
    EXPECT_NE(complaints().find(why), std::string::npos) << complaints();
  }
  [[nodiscard]] int threads() const {
    std::ifstream status("/proc/" + std::to_string(child_) + "/status");
    for (std::string word; status >> word;) {
      int count = 0;
      if (word == "Threads:" && status >> count) return count;
    }
    return 0;
  }
  // Lost ones at the end of the process are one more reason to end.
  void let_go(int as_before) {
    EXPECT_EQ(get("/enough"), "enough");
    ASSERT_TRUE(until([&] { return threads() == as_before; }));
  }
  static constexpr std::string_view LOST = "a thread hangs in GET /stubborn?inside, which was given up\n";
};

TEST_F(WsgiHanging, spare_threads_take_the_place_of_lost_ones) {
  EXPECT_EQ(get("/"), "hello\n");
  const int before = threads();
  lose(4);
  std::vector<Handle> uploads;  // as many inside as ever
  order.clear();
  for (int i = 0; i < 4; ++i) uploads.push_back(ask("/upload", {}, false, 4));
  for (const Handle exchange : uploads) EXPECT_EQ(link_->send_body(exchange, "warm", true), 4U);
  ASSERT_TRUE(until([&] { return order.size() == 4; }));
  let_go(before);
}

TEST_F(WsgiHanging, threads_that_come_back_are_as_many_as_ever) {
  EXPECT_EQ(get("/"), "hello\n");
  const int before = threads();
  lose(4);
  EXPECT_EQ(threads(), before + 4);
  let_go(before);
  order.clear();
  for (int i = 0; i < 20; ++i) (void)ask("/");
  ASSERT_TRUE(until([&] { return order.size() == 20; }));
}

TEST_F(WsgiHanging, ends_when_every_thread_is_lost) {
  lose(4);
  lose(3);
  EXPECT_EQ(get("/"), "hello\n") << "one is left";
  const Handle last = ask("/stubborn?outside");
  ASSERT_TRUE(until([&] { return said("begun\n") == 8; }));
  link_->cancel(last, PENSTOCK_CANCEL_TIMEOUT);
  expect_end("every thread hangs in a request that was given up; this worker ends\n");
}

TEST_F(WsgiHanging, ends_when_one_keeps_the_lock_of_all) {
  const Handle keeps = ask("/keeps_lock");
  ASSERT_TRUE(until([&] { return said("begun\n") == 1; }));
  link_->cancel(keeps, PENSTOCK_CANCEL_TIMEOUT);
  expect_end("a request that was given up does not let others run; this worker ends\n");
}

TEST_F(WsgiHanging, one_whose_client_has_gone_may_finish) {
  EXPECT_EQ(get("/"), "hello\n");
  const int before = threads();
  const Handle exchange = ask("/spin?loud");
  ASSERT_TRUE(until([&] { return said("begun\n") == 1; }));
  link_->cancel(exchange, PENSTOCK_CANCEL_CLIENT_GONE);
  const Handle other = ask("/stubborn?inside");
  ASSERT_TRUE(until([&] { return said("begun\n") == 2; }));
  link_->cancel(other, PENSTOCK_CANCEL_TIMEOUT);
  ASSERT_TRUE(until([&] { return said(LOST) == 1; })) << "so that as much time has gone by";
  EXPECT_EQ(said("hangs in GET /spin"), 0);
  let_go(before);
}

TEST_F(WsgiStream, outlives_the_server_process) {
  (void)ask("/upload", "begins", false, 1'000'000);
  EXPECT_EQ(get("/"), "hello\n");
  link_.emplace(segment_.channel(0), ++epoch_, LIMITS);
  ASSERT_TRUE(until([&] { return link_->ready(); }));
  EXPECT_EQ(get("/upload", "warm"), "4 a957a3153eb7126b1c5f8b6aac35de53");
}

TEST_F(WsgiStream, finishes_what_is_open_runs_atexit_and_ends) {
  grants = false;
  const Handle exchange = ask("/blocks");
  ASSERT_TRUE(until([&] { return answers[101].body.size() == LIMITS.window_bytes; }));
  ASSERT_TRUE(link_->stop());
  flush();
  grants = true;
  link_->grant(exchange, LIMITS.window_bytes);
  ASSERT_TRUE(until([&] { return answers[101].ended; }));
  EXPECT_EQ(answers[101].body.size(), LARGE);
  int status = 0;
  ASSERT_EQ(::waitpid(child_, &status, 0), child_);
  EXPECT_EQ(status, 0);
  child_ = -1;
  EXPECT_EQ(complaints(), "atexit has run\n");
}

class WsgiCrowd : public WsgiStream {
 protected:
  WsgiCrowd() { arguments[5] = "32"; }
};

TEST_F(WsgiCrowd, has_as_many_inside_as_it_has_threads) {
  for (int i = 0; i < 32; ++i) (void)ask("/barrier");
  ASSERT_TRUE(until([&] { return order.size() == 32; }));
  for (const auto& [number, answer] : answers) EXPECT_EQ(answer.body, "all here");
  for (int round = 0; round < 20; ++round) {
    order.clear();
    for (int i = 0; i < 32; ++i) (void)ask(i % 4 == 0 ? "/file?file" : "/");
    ASSERT_TRUE(until([&] { return order.size() == 32; }));
  }
  for (const auto& [number, answer] : answers) EXPECT_EQ(answer.status, 200);
}

class WsgiValidated : public WsgiStream {
 protected:
  WsgiValidated() { arguments[1] = "wsgi_apps:validated"; }
};

TEST_F(WsgiValidated, keeps_every_rule_of_the_protocol) {
  EXPECT_EQ(get("/"), "got ");
  EXPECT_EQ(send({.path = "/app/x?y", .method = "POST", .fields = {{"Content-Length", "4"}, {"Content-Type", "a/b"}}},
                 "body"),
            "got body");
  EXPECT_EQ(send({.path = "/app", .method = "HEAD"}), "");
  EXPECT_EQ(answers[serial].length, 4U);
  const Handle chunked = ask({.path = "/", .method = "POST", .fields = {{"Transfer-Encoding", "chunked"}}}, "in ",
                             false, PENSTOCK_LENGTH_UNKNOWN);
  ASSERT_TRUE(send_all(chunked, "pieces", 6));
  EXPECT_EQ(answers[serial].body, "got in pieces");
  EXPECT_EQ(complaints(), "heard\nheard\nheard\nheard\n");
}

}  // namespace
}  // namespace penstock
