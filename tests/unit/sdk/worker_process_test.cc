// A real worker process, built on the SDK, at the other end of a ServerLink.
#include "pool/ring/server_link.h"
#include "pool/sdk/penstock_worker.h"
#include "src/base/assert.h"
#include "src/base/clock.h"
#include "tests/unit/sdk/test_application.h"

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <gtest/gtest.h>
#include <map>
#include <poll.h>
#include <string>
#include <sys/eventfd.h>
#include <sys/wait.h>

namespace penstock {
namespace {

constexpr LinkLimits LIMITS{.window_bytes = 64 * 1'024};
constexpr SegmentShape SHAPE{.entries = 64, .exchanges_max = 8, .chunks = 64, .arena_bytes = 1 << 17};

struct Answer {
  uint16_t status = 0;
  std::string body;
  std::string log;
  std::string parts;  // kinds, in order
  uint32_t ttl_ms = 0;
  bool ended = false;
};

class WorkerProcess : public ::testing::Test {
 protected:
  void SetUp() override {
    child_ = ::fork();
    ASSERT_GE(child_, 0);
    if (child_ == 0) become_worker();
    link_.emplace(segment_.channel(0), epoch_, LIMITS);
    ASSERT_TRUE(until([this] { return link_->ready(); }));
  }
  void TearDown() override {
    if (child_ <= 0) return;
    const bool stopped = link_->stop();
    EXPECT_TRUE(stopped);
    if (!stopped) ::kill(child_, SIGKILL);
    flush();
    int status = 0;
    ASSERT_EQ(::waitpid(child_, &status, 0), child_);
    EXPECT_EQ(status, 0);
  }

  [[noreturn]] void become_worker() {
    const UniqueFd server_half = read_only(memory_.server_half.get()).value();
    std::string variable;
    for (const int fd : {server_half.get(), memory_.worker_half.get(), worker_bell_.get(), server_bell_.get()}) {
      variable += std::to_string(fd) + " ";
    }
    ::setenv(PENSTOCK_WORKER_VARIABLE, variable.c_str(), 1);
    ::_exit(run_test_application());
  }

  void ring(const UniqueFd& bell) {
    const uint64_t one = 1;
    ASSERT(::write(bell.get(), &one, sizeof one) == sizeof one);
  }
  void flush() {
    if (link_->flush()) ring(worker_bell_);
  }

  void hear(const LinkEvent& event) {
    using Kind = LinkEvent::Kind;
    if (event.kind == Kind::READY || event.kind == Kind::CONSUMED || event.kind == Kind::PONG) return;
    Answer& answer = answers[event.serial];
    static constexpr std::string_view LETTERS = "RHDFEXCAePL";
    answer.parts += LETTERS[static_cast<size_t>(event.kind)];
    if (event.kind == Kind::HEAD) {
      answer.status = event.status;
      answer.ttl_ms = event.ttl_ms;
    }
    (event.kind == Kind::LOG ? answer.log : answer.body) += event.body;
    answer.ended = answer.ended || event.end;
    if (event.end) order += static_cast<char>('0' + event.serial % 10);
    if ((event.kind == Kind::HEAD || event.kind == Kind::DATA) && !event.end && grants) {
      link_->grant(event.exchange, static_cast<uint32_t>(event.body.size()));
    }
  }

  // Works both ends until `done`; false when ten seconds have passed.
  bool until(const std::function<bool()>& done) {
    RealClock clock;
    const MonoTime deadline = clock.now() + seconds(10);
    while (!done()) {
      if (clock.now() > deadline) return false;
      LinkEvent event;
      while (link_->next(event)) hear(event);
      EXPECT_EQ(link_->violation(), LinkViolation::NONE) << violation_sentence(link_->violation());
      flush();
      if (link_->may_sleep() && !done()) {
        pollfd waits{.fd = server_bell_.get(), .events = POLLIN, .revents = 0};
        (void)::poll(&waits, 1, 1'000);
        uint64_t count = 0;
        (void)!::read(server_bell_.get(), &count, sizeof count);
      }
      link_->awake();
    }
    return true;
  }

  // `path` may have a query.
  Handle ask(const std::string& path, std::string_view body = {}, bool whole = true, uint64_t length = UINT64_MAX - 1) {
    const std::span<char> room = link_->request_room();
    ASSERT(!room.empty());
    penstock_request_head head{};
    size_t at = sizeof head + 2 * sizeof(penstock_field);
    const auto put = [&](std::string_view text) {
      const penstock_text placed{static_cast<uint32_t>(at), static_cast<uint32_t>(text.size())};
      std::copy(text.begin(), text.end(), room.data() + at);
      room[at + text.size()] = '\0';
      at += text.size() + 1;
      return placed;
    };
    const size_t mark = path.find('?');
    head.version_major = head.version_minor = 1;
    head.remote_port = 1234;
    head.server_port = 80;
    head.has_query = mark == std::string::npos ? 0 : 1;
    head.method = put("GET");
    head.target = put(path);
    head.path = put(path.substr(0, mark));
    head.query = put(mark == std::string::npos ? "" : path.substr(mark + 1));
    head.authority = put("a.example");
    head.route_prefix = put("/app");
    head.remote_address = put("::1");
    head.server_address = put("::2");
    head.site = put("main");
    const penstock_field fields[] = {{put("Accept"), put("*/*")}, {put("X"), put("y")}};
    head.field_count = 2;
    head.fields_at = sizeof head;
    head.bytes = static_cast<uint32_t>(at);
    std::memcpy(room.data(), &head, sizeof head);
    std::memcpy(room.data() + sizeof head, fields, sizeof fields);
    std::copy(body.begin(), body.end(), room.data() + at);
    return link_->begin({.serial = ++serial,
                         .head_bytes = head.bytes,
                         .body_bytes = static_cast<uint32_t>(body.size()),
                         .length = length == UINT64_MAX - 1 ? body.size() : length,
                         .end = whole});
  }
  std::string get(const std::string& path, std::string_view body = {}) {
    (void)ask(path, body);
    const uint64_t number = serial;
    EXPECT_TRUE(until([&] { return answers[number].ended; })) << path;
    return answers[number].body;
  }

  SegmentMemory memory_ = create_segment(SHAPE).value();
  UniqueFd server_bell_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  UniqueFd worker_bell_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  Segment segment_ = Segment::map(memory_.server_half.get(), memory_.worker_half.get(), Segment::Side::SERVER).value();
  std::optional<ServerLink> link_;
  pid_t child_ = -1;
  uint32_t epoch_ = 1;
  uint64_t serial = 100;
  std::map<uint64_t, Answer> answers;
  std::string order;
  bool grants = true;
};

TEST_F(WorkerProcess, answers) {
  EXPECT_EQ(get("/hello"), "hello");
  EXPECT_EQ(answers[serial].status, 200);
  EXPECT_EQ(answers[serial].parts, "H") << "one descriptor is the whole answer";
  EXPECT_EQ(get("/nothing"), "not found");
  EXPECT_EQ(answers[serial].status, 404);
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
