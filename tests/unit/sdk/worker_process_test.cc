// A real worker process, built on the SDK, at the other end of a ServerLink.
#include "tests/unit/sdk/worker_process.h"

#include "tests/unit/sdk/test_application.h"

#include <cerrno>
#include <cstdlib>
#include <gtest/gtest.h>
#include <string>
#include <sys/wait.h>
#include <thread>

namespace penstock {
namespace {

TEST_F(WorkerProcess, answers) {
  EXPECT_EQ(get("/hello"), "hello");
  EXPECT_EQ(answers[serial].status, 200);
  EXPECT_EQ(answers[serial].parts, "H") << "one descriptor is the whole answer";
  EXPECT_EQ(get("/nothing"), "not found");
  EXPECT_EQ(answers[serial].status, 404);
}

// DY3: whatever it consists of, all of it is shown at once.
TEST_F(WorkerProcess, rings_once_for_an_answer_and_all_its_parts) {
  (void)get("/hello");
  for (const char* path : {"/hello", "/parts"}) {
    for (int i = 0; i < 20; ++i) {
      uint64_t rings = 0;
      (void)!::read(server_bell_.get(), &rings, sizeof rings);  // of before
      (void)ask(path);
      flush();
      if (link_->may_sleep()) {
        pollfd waits{.fd = server_bell_.get(), .events = POLLIN, .revents = 0};
        ASSERT_EQ(::poll(&waits, 1, 10'000), 1);
        ASSERT_EQ(::read(server_bell_.get(), &rings, sizeof rings), static_cast<ssize_t>(sizeof rings));
        EXPECT_EQ(rings, 1U);
      }
      link_->awake();
      LinkEvent event;
      while (link_->next(event)) hear(event);
      ASSERT_TRUE(answers[serial].ended) << path << ": " << answers[serial].parts;
    }
  }
}

// DY12: a bell is a system call on this side and a wake-up on the other.
TEST_F(WorkerProcess, rings_nobody_who_is_awake) {
  ASSERT_EQ(get("/hello"), "hello");
  RealClock clock;
  const MonoTime deadline = clock.now() + seconds(10);
  uint64_t rings = 0;
  (void)!::read(server_bell_.get(), &rings, sizeof rings);  // of before
  for (int i = 0; i < 500; ++i) {
    (void)ask("/hello");
    flush();
    LinkEvent event;
    while (!answers[serial].ended && clock.now() < deadline) {
      if (link_->next(event)) {
        hear(event);
      } else {
        std::this_thread::yield();
      }
    }
    ASSERT_TRUE(answers[serial].ended);
  }
  EXPECT_EQ(::read(server_bell_.get(), &rings, sizeof rings), -1);
  EXPECT_EQ(errno, EAGAIN);
}

TEST_F(WorkerProcess, is_told_everything_of_the_request) {
  EXPECT_EQ(get("/describe?a=b"),
            "GET|/describe?a=b|/describe|a=b|a.example|/app|::1|::2|main|*/*|X|y|1234|80|0|1|1|1|101|2|1|");
}

TEST_F(WorkerProcess, answers_later_and_in_another_order) {
  (void)ask("/first");
  (void)ask("/second");
  ASSERT_TRUE(until([&] { return order.size() == 2; }));
  EXPECT_EQ(order, "21");
  EXPECT_EQ(answers[101].body, "first");
}

TEST_F(WorkerProcess, answers_from_another_thread) { EXPECT_EQ(get("/thread"), "from a thread"); }

TEST_F(WorkerProcess, answers_from_a_thread_that_enters_while_it_sleeps) {
  for (int i = 0; i < 20; ++i) EXPECT_EQ(get("/enter"), "from within");
}

TEST_F(WorkerProcess, is_helped_by_a_thread_that_is_preferred_while_it_waits) {
  EXPECT_EQ(get("/who"), "main");
  EXPECT_EQ(get("/help"), "a helper");
  ASSERT_TRUE(until([this] { return get("/who") == "helper"; })) << "it waits by then";
  int helped = 0;
  for (int i = 0; i < 100; ++i) helped += get("/who") == "helper" ? 1 : 0;
  EXPECT_GT(helped, 0);
  EXPECT_EQ(get("/big").size(), 5'000'000U) << "whoever is awake goes on with it";
  EXPECT_EQ(get("/help-no-more"), "none");
  ASSERT_TRUE(until([this] { return get("/who") == "main"; }));
  for (int i = 0; i < 20; ++i) EXPECT_EQ(get("/who"), "main");
}

TEST_F(WorkerProcess, ends_with_its_helper) { EXPECT_EQ(get("/help"), "a helper"); }

TEST_F(WorkerProcess, sends_more_than_the_rings_hold) {
  EXPECT_EQ(get("/large"), std::string(700'000, 'l'));
  const std::string big = get("/big");
  ASSERT_EQ(big.size(), 5'000'000U);
  for (size_t i = 0; i < big.size(); ++i) ASSERT_EQ(big[i], static_cast<char>('a' + i % 23)) << i;
}

TEST_F(WorkerProcess, holds_still_when_the_client_does_not_read) {
  grants = false;
  (void)ask("/big");
  ASSERT_TRUE(until([&] { return answers[101].body.size() == LIMITS.window_bytes; }));
  EXPECT_EQ(get("/hello"), "hello") << "the others go on";
  EXPECT_EQ(answers[101].body.size(), LIMITS.window_bytes);
  grants = true;
  link_->grant({0, 1}, LIMITS.window_bytes);
  ASSERT_TRUE(until([&] { return answers[101].ended; }));
  EXPECT_EQ(answers[101].body.size(), 5'000'000U);
}

// Each is within its window, so that no credit comes; all together are four times the arena.
TEST_F(WorkerProcess, waits_for_room_in_the_arena_and_is_rung_for_it) {
  grants = false;
  for (uint32_t i = 0; i < SHAPE.exchanges_max; ++i) (void)ask("/medium");
  flush();
  ASSERT_TRUE(starves()) << "it has gone to sleep, and says for what";
  ASSERT_TRUE(until([&] { return order.size() == SHAPE.exchanges_max; }));
  for (uint32_t i = 0; i < SHAPE.exchanges_max; ++i) EXPECT_EQ(answers[101 + i].body, std::string(60'000, 'm'));
}

class PingedProcess : public WorkerProcess {
 protected:
  void heard(const LinkEvent& event) override { pongs_ += event.kind == LinkEvent::Kind::PONG ? 1 : 0; }
  int pongs_ = 0;
};

// There is never room behind what it has to say of its requests, as long as these go on.
TEST_F(PingedProcess, answers_a_ping_that_finds_the_ring_full) {
  (void)ask("/drops");
  flush();
  ASSERT_TRUE(starves());
  ASSERT_TRUE(link_->ping(7));
  flush();
  ring(worker_bell_);
  const penstock_server_page& server = *segment_.channel(0).server;
  uint32_t& taken = segment_.channel(0).worker->request_head;
  for (int i = 0; i < 10'000 && std::atomic_ref(taken).load() != server.request_tail; ++i) (void)::poll(nullptr, 0, 1);
  ASSERT_EQ(std::atomic_ref(taken).load(), server.request_tail) << "it has heard it, and nothing was read meanwhile";
  ASSERT_TRUE(until([&] { return answers[101].ended; }));
  EXPECT_EQ(answers[101].body, std::string(1'000, 'd'));
  EXPECT_EQ(pongs_, 1);
}

class SteppingProcess : public WorkerProcess {
 protected:
  SteppingProcess() { in_steps = true; }
};

// What an application does when it hears of room may make more work, of which no message tells.
TEST_F(SteppingProcess, does_what_came_up_while_it_made_use_of_room) {
  grants = false;
  (void)ask("/medium");
  (void)ask("/medium");
  const Handle exchange = ask("/write-first", {}, false, 4);
  EXPECT_EQ(link_->send_body(exchange, "body", true), 4U);
  flush();
  ASSERT_TRUE(starves()) << "two answers fill the arena";
  const uint64_t number = serial;
  ASSERT_TRUE(until([&] { return answers[number].ended; })) << "its body came before the room, and is still there";
  EXPECT_EQ(answers[number].body, std::string(20'000, 'w'));
}

TEST_F(WorkerProcess, sends_large_answers_of_many_exchanges_at_once) {
  for (uint32_t i = 0; i < SHAPE.exchanges_max; ++i) (void)ask(i % 2 == 0 ? "/big" : "/large");
  ASSERT_TRUE(until([&] { return order.size() == SHAPE.exchanges_max; }));
  for (uint32_t i = 0; i < SHAPE.exchanges_max; ++i) {
    EXPECT_EQ(answers[101 + i].body.size(), i % 2 == 0 ? 5'000'000U : 700'000U);
  }
}

TEST_F(WorkerProcess, reads_a_body_that_comes_with_the_head_and_in_pieces) {
  EXPECT_EQ(get("/echo", "short"), "short");
  const Handle exchange = ask("/echo", "begins ", false, PENSTOCK_LENGTH_UNKNOWN);
  std::string rest(300'000, 'z');
  const uint64_t number = serial;
  size_t sent = 0;
  ASSERT_TRUE(until([&] {
    if (sent < rest.size()) sent += link_->send_body(exchange, std::string_view(rest).substr(sent), true);
    flush();
    return answers[number].ended;
  }));
  EXPECT_EQ(answers[number].body, "begins " + rest);
}

TEST_F(WorkerProcess, holds_a_client_back_while_it_is_paused) {
  const Handle exchange = ask("/pause", {}, false, PENSTOCK_LENGTH_UNKNOWN);
  const uint64_t number = serial;
  uint32_t sent = 0;
  while (link_->send_body(exchange, "piece", false) > 0) ++sent;
  EXPECT_EQ(sent, LIMITS.upload_chunks_max);
  EXPECT_EQ(get("/hello"), "hello");
  EXPECT_EQ(link_->send_body(exchange, "piece", false), 0U) << "nothing was read";
  EXPECT_EQ(get("/resume"), "resumed");
  ASSERT_TRUE(until([&] { return link_->send_body(exchange, "last", true) == 4; }));
  ASSERT_TRUE(until([&] { return answers[number].ended; }));
  EXPECT_EQ(answers[number].body.size(), sent * 5 + 4);
}

TEST_F(WorkerProcess, gives_files_entries_and_other_urls) {
  EXPECT_EQ(get("/parts"), "a/file/entrytail");
  EXPECT_EQ(answers[serial].parts, "LHFEDD");
  EXPECT_EQ(answers[serial].log, "a log text");
  EXPECT_EQ(answers[serial].ttl_ms, 1'500U);
  EXPECT_EQ(answers[serial].status, 203);
  EXPECT_EQ(get("/execute"), "/hello?again");
  EXPECT_EQ(answers[serial].parts, "X");
  (void)get("/abort");
  EXPECT_EQ(answers[serial].parts, "A");
}

TEST_F(WorkerProcess, says_what_the_cache_may_do) {
  const std::string all = "6000 7000 vary Accept-Language X-Tier tags news a:1";
  EXPECT_EQ(get("/policy"), "0");
  EXPECT_EQ(answers[serial].policy, all);
  EXPECT_EQ(answers[serial].ttl_ms, 5'000U);
  (void)get("/policy/begun");
  EXPECT_EQ(answers[serial].policy, all);
  EXPECT_EQ(get("/policy/never"), "0");
  EXPECT_EQ(answers[serial].policy, "never 0 0 vary tags");
  EXPECT_EQ(get("/policy/again"), "0");
  EXPECT_FALSE(answers[serial].has_policy) << "the last word counts";
  EXPECT_EQ(answers[serial].ttl_ms, 9U);
}

TEST_F(WorkerProcess, keeps_no_answer_whose_policy_was_refused) {
  for (const auto& [path, error] :
       {std::pair{"/policy/bad", EINVAL}, {"/policy/long", E2BIG}, {"/policy/many", E2BIG}}) {
    EXPECT_EQ(get(path), std::to_string(-error));
    EXPECT_EQ(answers[serial].policy, "never 0 0 vary tags") << path;
    EXPECT_EQ(answers[serial].ttl_ms, 0U);
  }
}

// A server of before version 2, and a worker of before it: what is left of a policy, and that it is never more.
class OlderServer : public WorkerProcess {
 protected:
  void SetUp() override {
    shape.version_max = 1;
    WorkerProcess::SetUp();
  }
};
class BeforeBeds : public WorkerProcess {
 protected:
  BeforeBeds() { before_beds = true; }
};
class BeforeBedsStepping : public BeforeBeds {
 protected:
  BeforeBedsStepping() { in_steps = true; }
};

class OlderWorker : public WorkerProcess {
 protected:
  void SetUp() override {
    environment = {{"PENSTOCK_WORKER_VERSION_MAX", "1"}};
    WorkerProcess::SetUp();
  }
};

void expect_version_1(std::map<uint64_t, Answer>& answers, const uint64_t& serial,
                      const std::function<std::string(const std::string&)>& get) {
  EXPECT_EQ(get("/hello"), "hello");
  EXPECT_EQ(get("/policy"), "0");
  EXPECT_FALSE(answers[serial].has_policy);
  EXPECT_EQ(answers[serial].ttl_ms, 0U) << "such a server would give it to everybody";
  EXPECT_EQ(answers[serial].fields["Vary"], "Accept-Language, X-Tier");
  EXPECT_EQ(get("/policy/tags"), "0");
  EXPECT_EQ(answers[serial].ttl_ms, 5'000U);
  EXPECT_EQ(answers[serial].fields.count("Vary"), 0U);
  EXPECT_EQ(get("/policy/never"), "0");
  EXPECT_EQ(answers[serial].ttl_ms, 0U);
  EXPECT_EQ(answers[serial].fields["Vary"], "*");
}

TEST_F(OlderServer, is_spoken_with_in_version_1) {
  EXPECT_EQ(link_->version(), 1U);
  expect_version_1(answers, serial, [this](const std::string& path) { return get(path); });
}
TEST_F(OlderWorker, is_spoken_with_in_version_1) {
  EXPECT_EQ(link_->version(), 1U);
  expect_version_1(answers, serial, [this](const std::string& path) { return get(path); });
}

// The doorbell is one eventfd that both ends have: posts go through it, too.
TEST_F(BeforeBeds, sleeps_in_beds_of_its_own) {
  for (int i = 0; i < 20; ++i) EXPECT_EQ(get("/thread"), "from a thread");
}
TEST_F(BeforeBedsStepping, sleeps_in_beds_of_its_own) {
  for (int i = 0; i < 20; ++i) EXPECT_EQ(get("/hello"), "hello");
}

TEST_F(WorkerProcess, of_this_version_speaks_it) { EXPECT_EQ(link_->version(), PENSTOCK_ABI_VERSION); }

TEST_F(WorkerProcess, may_send_a_head_as_large_as_fits) {
  (void)get("/largest-head");
  EXPECT_EQ(answers[serial].fields["n"].size(), size_t{PENSTOCK_HEAD_BYTES_MAX} - 16 - 18 - 1);
  (void)get("/most-fields");
  EXPECT_EQ(answers[serial].status, 200);
}

TEST_F(WorkerProcess, is_told_that_nobody_wants_the_answer) {
  const Handle waiting = ask("/wait");
  flush();
  link_->cancel(waiting, PENSTOCK_CANCEL_TIMEOUT);
  ASSERT_TRUE(until([&] { return answers[101].ended; }));
  EXPECT_EQ(answers[101].parts, "e");
  EXPECT_EQ(get("/cancelled"), "1 timeout");
  grants = false;
  const Handle big = ask("/big");
  const uint64_t number = serial;
  ASSERT_TRUE(until([&] { return answers[number].body.size() == LIMITS.window_bytes; }));
  link_->cancel(big, PENSTOCK_CANCEL_CLIENT_GONE);
  ASSERT_TRUE(until([&] { return answers[number].ended; }));
  EXPECT_EQ(get("/cancelled"), "2 gone");
  EXPECT_EQ(link_->open_exchanges(), 0U);
}

TEST_F(WorkerProcess, outlives_the_server_process) {
  (void)ask("/wait");
  EXPECT_EQ(get("/hello"), "hello");
  link_.emplace(segment_.channel(0), ++epoch_, LIMITS);
  ASSERT_TRUE(until([&] { return link_->ready(); }));
  EXPECT_EQ(get("/cancelled"), "1 lost");
  EXPECT_EQ(get("/echo", "on we go"), "on we go");
}

TEST_F(WorkerProcess, finishes_what_is_open_before_it_stops) {
  grants = false;
  (void)ask("/big");
  ASSERT_TRUE(until([&] { return answers[101].body.size() == LIMITS.window_bytes; }));
  ASSERT_TRUE(link_->stop());
  flush();
  ASSERT_EQ(::waitpid(child_, nullptr, WNOHANG), 0);
  grants = true;
  link_->grant({0, 1}, LIMITS.window_bytes);
  ASSERT_TRUE(until([&] { return answers[101].ended; }));
  int status = 0;
  ASSERT_EQ(::waitpid(child_, &status, 0), child_);
  EXPECT_EQ(status, 0);
  child_ = -1;
}

TEST(Worker, says_why_it_cannot_run_by_itself) {
  ::unsetenv(PENSTOCK_WORKER_VARIABLE);
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(run_test_application(), 1);
  EXPECT_NE(::testing::internal::GetCapturedStderr().find("not started by penstock"), std::string::npos);
  for (const char* wrong : {"", "3", "a b c d", "-1 2 3 4", "3 4 5 99999999999999"}) {
    ::setenv(PENSTOCK_WORKER_VARIABLE, wrong, 1);
    ::testing::internal::CaptureStderr();
    EXPECT_EQ(run_test_application(), 1);
    EXPECT_FALSE(::testing::internal::GetCapturedStderr().empty()) << wrong;
  }
  ::unsetenv(PENSTOCK_WORKER_VARIABLE);
}

}  // namespace
}  // namespace penstock
