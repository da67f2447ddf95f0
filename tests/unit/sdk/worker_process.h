// WorkerProcess: a worker in a process of its own, and the server's end of the rings, driven by hand with a deadline.
#pragma once

#include "pool/ring/server_link.h"
#include "pool/sdk/penstock_worker.h"
#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/doorbell.h"
#include "tests/unit/sdk/test_application.h"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <functional>
#include <gtest/gtest.h>
#include <map>
#include <optional>
#include <poll.h>
#include <span>
#include <string>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace penstock {

inline constexpr LinkLimits LIMITS{.window_bytes = 64 * 1'024};
inline constexpr SegmentShape SHAPE{.entries = 64, .exchanges_max = 8, .chunks = 64, .arena_bytes = 1 << 17};

struct Answer {
  uint16_t status = 0;
  std::map<std::string, std::string> fields;
  uint64_t length = PENSTOCK_LENGTH_UNKNOWN;
  std::string body;
  std::string log;
  std::string parts;  // kinds, in order
  uint32_t ttl_ms = 0;
  bool has_policy = false;
  std::string policy;  // never, revalidate, error, vary, tags
  bool ended = false;
};

class WorkerProcess : public ::testing::Test {
 protected:
  void SetUp() override {
    memory_ = create_segment(shape).value();
    segment_ = Segment::map(memory_.server_half.get(), memory_.worker_half.get(), Segment::Side::SERVER).value();
    if (!before_beds) {
      ASSERT_TRUE(hang_bell(worker_bell_, {helper_bed_.get(), bed_.get()}));
    }
    child_ = ::fork();
    ASSERT_GE(child_, 0);
    if (child_ == 0) become_worker();
    link_.emplace(segment_.channel(0), epoch_, LIMITS);
    ASSERT_TRUE(until([this] { return link_->ready(); })) << complaints();
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
    std::vector<int> fds = {server_half.get(), memory_.worker_half.get()};
    if (before_beds) fds.push_back(worker_bell_.get());
    if (!before_beds) fds.insert(fds.end(), {helper_bed_.get(), bed_.get()});
    fds.push_back(server_bell_.get());
    std::string variable;
    for (const int fd : fds) variable += std::to_string(fd) + " ";
    ::setenv(PENSTOCK_WORKER_VARIABLE, variable.c_str(), 1);
    for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
    if (program.empty()) ::_exit(filters ? run_test_filter(*filters) : run_test_application(in_steps));
    for (const int fd : fds) ::fcntl(fd, F_SETFD, 0);
    if (complaints_.valid()) ::dup2(complaints_.get(), STDERR_FILENO);
    std::vector<char*> argv{program.data()};
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    ::execv(program.c_str(), argv.data());
    ::_exit(127);
  }

  void ring(const UniqueFd& bell) {
    const uint64_t one = 1;
    ASSERT(::write(bell.get(), &one, sizeof one) == sizeof one);
  }
  void flush() {
    if (link_->flush()) ring(worker_bell_);
  }

  virtual void heard(const LinkEvent&) {}  // each event, before it is entered into `answers`
  void hear(const LinkEvent& event) {
    using Kind = LinkEvent::Kind;
    heard(event);
    if (event.kind == Kind::READY || event.kind == Kind::CONSUMED || event.kind == Kind::PONG) return;
    Answer& answer = answers[event.serial];
    static constexpr std::string_view LETTERS = "RHDFEXCAePLV";
    answer.parts += LETTERS[static_cast<size_t>(event.kind)];
    if (event.kind == Kind::HEAD) {
      answer.status = event.status;
      answer.ttl_ms = event.ttl_ms;
      answer.length = event.length;
      if (event.policy != nullptr) {
        const LinkPolicy& policy = *event.policy;
        answer.has_policy = true;
        answer.policy = (policy.never ? "never " : "") + std::to_string(policy.revalidate_ms) + " " +
                        std::to_string(policy.error_ms) + " vary";
        for (const std::string_view name : policy.vary) answer.policy.append(" ").append(name);
        answer.policy += " tags";
        for (const std::string_view tag : policy.tags) answer.policy.append(" ").append(tag);
      }
      for (const LinkField& field : event.fields) answer.fields.emplace(field.name, field.value);
    }
    if (event.kind == Kind::VERDICT) {
      const LinkVerdict& says = *event.verdict;
      answer.status = event.status;
      answer.log = says.log;
      answer.body.append(says.wants_response ? "response " : "")
          .append(says.wants_log ? "log " : "")
          .append(says.target);
      for (const LinkEdit& edit : says.edits) {
        answer.body += " " + std::to_string(edit.what) + " ";
        answer.body.append(edit.name).append("=").append(edit.value);
      }
    }
    (event.kind == Kind::LOG ? answer.log : answer.body) += event.body;
    answer.ended = answer.ended || event.end;
    if (event.end) order += static_cast<char>('0' + event.serial % 10);
    if ((event.kind == Kind::HEAD || event.kind == Kind::DATA) && !event.end && grants) {
      link_->grant(event.exchange, static_cast<uint32_t>(event.body.size()));
    }
  }

  // What `program` has written to stderr since SetUp(). REQUIRES: collect_complaints() was called before.
  [[nodiscard]] std::string complaints() const {
    std::string text(1 << 20, '\0');
    const ssize_t size = complaints_.valid() ? ::pread(complaints_.get(), text.data(), text.size(), 0) : 0;
    text.resize(size > 0 ? static_cast<size_t>(size) : 0);
    return text;
  }
  void collect_complaints() { complaints_.reset(::memfd_create("stderr", MFD_CLOEXEC | MFD_ALLOW_SEALING)); }

  // Reads nothing until the worker has set the flag; false when ten seconds have passed.
  bool starves() {
    uint32_t& flag = segment_.channel(0).worker->starving;
    for (int i = 0; i < 10'000 && std::atomic_ref(flag).load() == 0; ++i) (void)::poll(nullptr, 0, 1);
    return std::atomic_ref(flag).load() != 0;
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
        (void)::poll(&waits, 1, 20);  // `done` may be about something that rings no bell
        uint64_t count = 0;
        (void)!::read(server_bell_.get(), &count, sizeof count);
      }
      link_->awake();
    }
    return true;
  }

  // What a request says of itself; `path` may have a query.
  struct Asked {
    std::string path = "/";
    std::string method = "GET";
    std::string route_prefix = "/app";
    std::vector<std::pair<std::string, std::string>> fields = {{"Accept", "*/*"}, {"X", "y"}};
    penstock_to_worker kind = PENSTOCK_REQUEST;
    uint16_t status = 0;
    uint64_t offset = 0;
  };
  Handle ask(const std::string& path, std::string_view body = {}, bool whole = true, uint64_t length = UINT64_MAX - 1) {
    return ask(Asked{.path = path}, body, whole, length);
  }
  Handle ask(const Asked& asked, std::string_view body = {}, bool whole = true, uint64_t length = UINT64_MAX - 1) {
    const std::span<char> room = link_->request_room();
    ASSERT(!room.empty());
    penstock_request_head head{};
    std::vector<penstock_field> fields(asked.fields.size());
    size_t at = sizeof head + fields.size() * sizeof(penstock_field);
    const auto put = [&](std::string_view text) {
      const penstock_text placed{static_cast<uint32_t>(at), static_cast<uint32_t>(text.size())};
      std::copy(text.begin(), text.end(), room.data() + at);
      room[at + text.size()] = '\0';
      at += text.size() + 1;
      return placed;
    };
    const std::string& path = asked.path;
    const size_t mark = path.find('?');
    head.version_major = head.version_minor = 1;
    head.remote_port = 1234;
    head.server_port = 80;
    head.has_query = mark == std::string::npos ? 0 : 1;
    head.method = put(asked.method);
    head.target = put(path);
    head.path = put(path.substr(0, mark));
    head.query = put(mark == std::string::npos ? "" : path.substr(mark + 1));
    head.authority = put("a.example");
    head.route_prefix = put(asked.route_prefix);
    head.remote_address = put("::1");
    head.server_address = put("::2");
    head.site = put("main");
    for (size_t i = 0; i < fields.size(); ++i) {
      fields[i].name = put(asked.fields[i].first);
      fields[i].value = put(asked.fields[i].second);
    }
    head.field_count = static_cast<uint16_t>(fields.size());
    head.fields_at = sizeof head;
    std::memcpy(room.data() + sizeof head, fields.data(), fields.size() * sizeof(penstock_field));
    at = (at + 7) & ~size_t{7};
    head.bytes = static_cast<uint32_t>(at);
    std::memcpy(room.data(), &head, sizeof head);
    std::copy(body.begin(), body.end(), room.data() + at);
    return link_->begin({.kind = asked.kind,
                         .status = asked.status,
                         .offset = asked.offset,
                         .serial = ++serial,
                         .head_bytes = head.bytes,
                         .body_bytes = static_cast<uint32_t>(body.size()),
                         .length = length == UINT64_MAX - 1 ? body.size() : length,
                         .end = whole,
                         .wants_body = asked.method != "HEAD"});
  }
  std::string get(const std::string& path, std::string_view body = {}) {
    (void)ask(path, body);
    const uint64_t number = serial;
    EXPECT_TRUE(until([&] { return answers[number].ended; })) << path;
    return answers[number].body;
  }

  SegmentMemory memory_;
  UniqueFd server_bell_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  UniqueFd helper_bed_ = make_bed().value();
  UniqueFd bed_ = make_bed().value();
  UniqueFd worker_bell_ = make_bell().value();
  Segment segment_;
  UniqueFd complaints_;
  std::optional<ServerLink> link_;
  pid_t child_ = -1;
  uint32_t epoch_ = 1;
  uint64_t serial = 100;
  std::map<uint64_t, Answer> answers;
  std::string order;
  bool grants = true;
  bool before_beds = false;    // the front end is from before the worker slept in beds that it is given
  std::optional<int> filters;  // the test's own filter runs in place of its application, with these hooks
  bool in_steps = false;       // the test's own application has an event loop of its own
  SegmentShape shape = SHAPE;
  std::string program;                                           // to be executed; empty: the test's own application
  std::vector<std::string> arguments;                            // of program
  std::vector<std::pair<std::string, std::string>> environment;  // beside the test's own
};

}  // namespace penstock
