// penstock-cgi as a process, with shell scripts, at the other end of a ServerLink.
#include "tests/support/temp_dir.h"
#include "tests/unit/sdk/worker_process.h"

#include <gtest/gtest.h>
#include <string>

namespace penstock {
namespace {

class Cgi : public WorkerProcess {
 protected:
  Cgi() {
    program = PENSTOCK_CGI;
    arguments = {"--root", dir.path(), "--interpreter", "cgi=/bin/sh"};
    collect_complaints();
  }
  void script(const std::string& name, const std::string& text) { dir.write(name, text); }
  std::string fetch(const Asked& asked, std::string_view body = {}) {
    (void)ask(asked, body);
    const uint64_t number = serial;
    EXPECT_TRUE(until([&] { return answers[number].ended; })) << asked.path;
    return answers[number].body;
  }
  std::string fetch(const std::string& path) { return fetch(Asked{.path = "/app" + path}); }
  Answer& last() { return answers[serial]; }
  // Whether `path` has been made by a script; false when ten seconds have passed.
  bool appears(const std::string& name) {
    return until_real([&] { return ::access(dir.at(name).c_str(), F_OK) == 0; });
  }
  bool until_real(const std::function<bool()>& done) {
    for (int i = 0; i < 1'000; ++i) {
      if (done()) return true;
      LinkEvent event;
      while (link_->next(event)) hear(event);
      flush();
      (void)::poll(nullptr, 0, 10);
    }
    return false;
  }
  [[nodiscard]] pid_t pid_in(const std::string& name) const {
    const UniqueFd file(::open(dir.at(name).c_str(), O_RDONLY | O_CLOEXEC));
    char text[16] = {};
    EXPECT_GT(::read(file.get(), text, sizeof text - 1), 0) << name;
    pid_t pid = -1;
    for (pid = 0; const char c : text) pid = c >= '0' && c <= '9' ? pid * 10 + (c - '0') : pid;
    return pid;
  }
  TempDir dir;
};

TEST_F(Cgi, answers_with_a_document) {
  script("a.cgi", "printf 'Content-Type: text/plain\\r\\nStatus: 201 Made\\r\\nX-A: b\\r\\n\\r\\nhello'");
  EXPECT_EQ(fetch("/a.cgi"), "hello");
  EXPECT_EQ(last().status, 201);
  EXPECT_EQ(last().fields["X-A"], "b");
  EXPECT_EQ(last().fields.count("Status"), 0U);
}

TEST_F(Cgi, gives_the_script_its_environment_and_no_other) {
  script("env.cgi", "printf 'Content-Type: a/b\\n\\n'; pwd; exec env");
  const std::string all =
      fetch(Asked{.path = "/app/env.cgi/x/y?q=1", .fields = {{"Accept", "*/*"}, {"Proxy", "evil"}, {"X_A", "odd"}}});
  for (const std::string line :
       {"SCRIPT_NAME=/app/env.cgi", "PATH_INFO=/x/y", "QUERY_STRING=q=1", "REQUEST_METHOD=GET", "HTTP_ACCEPT=*/*",
        "REMOTE_ADDR=::1", "SERVER_PORT=80", "PATH=/usr/local/bin:/usr/bin:/bin"}) {
    EXPECT_NE(all.find("\n" + line + "\n"), std::string::npos) << line << "\n" << all;
  }
  EXPECT_TRUE(all.starts_with(dir.path() + "\n")) << all;
  for (const char* absent : {"evil", "odd", "PENSTOCK_WORKER", "HOME=", "PATH_TRANSLATED"})
    EXPECT_EQ(all.find(absent), std::string::npos) << absent;
}

TEST_F(Cgi, has_no_descriptor_of_the_worker) {
  script("fds.cgi", "printf 'Content-Type: a/b\\n\\n'; ls /proc/$$/fd");
  EXPECT_EQ(fetch("/fds.cgi"), "0\n1\n10\n2\n") << "10 is where sh keeps its script";
}

TEST_F(Cgi, refuses_what_is_no_script) {
  script("a.txt", "text");
  script("nph-a.cgi", "true");
  EXPECT_EQ(fetch("/a.txt"), "403 Forbidden\n");
  EXPECT_EQ(last().status, 403);
  EXPECT_NE(last().log.find("no program is listed"), std::string::npos) << last().log;
  EXPECT_EQ(fetch("/none.cgi"), "404 Not Found\n");
  EXPECT_EQ(last().log, "") << "an everyday matter";
  EXPECT_EQ(fetch("/nph-a.cgi"), "501 Not Implemented\n");
}

TEST_F(Cgi, redirects) {
  script("local.cgi", "printf 'Location: /other?x=1\\n\\n'");
  script("client.cgi", "printf 'Location: http://a.example/\\n\\n'");
  script("with.cgi", "printf 'Status: 301 Moved\\nLocation: http://a.example/\\nContent-Type: text/plain\\n\\nmoved'");
  EXPECT_EQ(fetch("/local.cgi"), "/other?x=1");
  EXPECT_EQ(last().parts, "X");
  EXPECT_EQ(fetch("/client.cgi"), "");
  EXPECT_EQ(last().status, 302);
  EXPECT_EQ(last().fields["Location"], "http://a.example/");
  EXPECT_EQ(fetch("/with.cgi"), "moved");
  EXPECT_EQ(last().status, 301);
}

TEST_F(Cgi, sends_no_body_where_there_can_be_none) {
  script("a.cgi", "printf 'Content-Type: a/b\\nContent-Length: 5\\n\\n'; [ $REQUEST_METHOD = HEAD ] || printf hello");
  script("not.cgi", "printf 'Status: 304 Not Modified\\nETag: x\\n\\nunwanted'");
  EXPECT_EQ(fetch(Asked{.path = "/app/a.cgi", .method = "HEAD"}), "");
  EXPECT_EQ(last().length, 5U);
  EXPECT_EQ(fetch("/a.cgi"), "hello");
  EXPECT_EQ(fetch("/not.cgi"), "");
  EXPECT_EQ(last().status, 304);
}

TEST_F(Cgi, holds_the_script_to_its_length) {
  script("more.cgi", "printf 'Content-Length: 5\\n\\nhello and more'");
  script("less.cgi", "printf 'Content-Length: 9\\n\\nhello'");
  EXPECT_EQ(fetch("/more.cgi"), "hello");
  EXPECT_NE(last().log.find("more than its Content-Length"), std::string::npos) << last().log;
  EXPECT_EQ(fetch("/less.cgi"), "hello");
  EXPECT_EQ(last().parts, "HDLA") << "cut off, so that the client sees it";
}

TEST_F(Cgi, says_why_there_is_no_answer) {
  script("none.cgi", "exit 0");
  script("code.cgi", "printf 'Content-Type: a/b\\n'; exit 3");
  script("bad.cgi", "printf 'HTTP/1.0 200 OK\\n\\n'");
  script("killed.cgi", "kill -SEGV $$");
  script("midway.cgi", "printf 'Content-Type: a/b\\n\\nhalf'; kill -KILL $$");
  const std::pair<const char*, const char*> expected[] = {
      {"/none.cgi", "none.cgi ended without an answer"},
      {"/code.cgi", "code.cgi ended with code 3 before its head was whole"},
      {"/bad.cgi", "bad.cgi sent a head that has a line without a colon"},
      {"/killed.cgi", "killed.cgi was killed by SIGSEGV"},
      {"/midway.cgi", "midway.cgi was killed by SIGKILL"}};
  for (const auto& [path, why] : expected) {
    (void)fetch(path);
    EXPECT_NE(last().log.find(why), std::string::npos) << last().log;
    EXPECT_EQ(last().parts.back(), 'A') << path;
    EXPECT_NE(complaints().find(why), std::string::npos);
  }
}

TEST_F(Cgi, refuses_heads_that_are_too_large) {
  script("long.cgi", "printf 'X: '; head -c 70000 /dev/zero | tr '\\0' x; printf '\\n\\n'");
  script("wide.cgi", "printf 'X: '; head -c 40000 /dev/zero | tr '\\0' x; printf '\\n\\n'");
  script("many.cgi", "for i in $(seq 200); do echo \"X$i: y\"; done; echo");
  (void)fetch("/long.cgi");
  EXPECT_NE(last().log.find("is longer than 64 KiB"), std::string::npos) << last().log;
  for (const char* path : {"/wide.cgi", "/many.cgi"}) {
    (void)fetch(path);
    EXPECT_NE(last().log.find("more than 32 KiB or 128 fields"), std::string::npos) << last().log;
    EXPECT_EQ(last().parts, "LA");
  }
}

TEST_F(Cgi, passes_stderr_on_line_by_line) {
  script("err.cgi", "echo one >&2; printf 'tw\\033o' >&2; printf 'Content-Type: a/b\\n\\nx'");
  EXPECT_EQ(fetch("/err.cgi"), "x");
  EXPECT_TRUE(until_real([&] { return complaints().find("[101] one\n[101] tw\\x1bo\n") != std::string::npos; }))
      << complaints();
}

TEST_F(Cgi, feeds_a_body_of_any_length) {
  script("cat.cgi", "printf 'Content-Type: a/b\\n\\n'; exec cat");
  EXPECT_EQ(fetch(Asked{.path = "/app/cat.cgi", .method = "POST"}, "small"), "small");
  constexpr size_t BYTES = 16 << 20;
  std::string piece(1 << 20, 0);
  for (size_t i = 0; i < piece.size(); ++i) piece[i] = static_cast<char>(i * i >> 7);
  const Handle exchange = ask(Asked{.path = "/app/cat.cgi", .method = "POST"}, {}, false, BYTES);
  const uint64_t number = serial;
  size_t sent = 0;
  size_t checked = 0;
  bool same = true;
  RealClock clock;
  const MonoTime deadline = clock.now() + seconds(60);
  while (!answers[number].ended && clock.now() < deadline) {
    (void)until([&] {
      while (sent < BYTES && link_->is_open(exchange)) {
        const size_t at = sent % piece.size();
        const size_t taken =
            link_->send_body(exchange, std::string_view(piece).substr(at), sent + piece.size() - at == BYTES);
        if (taken == 0) break;
        sent += taken;
      }
      flush();
      return answers[number].ended || answers[number].body.size() > (4 << 20);
    });
    std::string& body = answers[number].body;  // what has come is compared and forgotten
    for (const char c : body) same = same && c == piece[checked++ % piece.size()];
    body.clear();
  }
  EXPECT_TRUE(answers[number].ended);
  EXPECT_EQ(sent, BYTES);
  EXPECT_EQ(checked, BYTES);
  EXPECT_TRUE(same);
}

TEST_F(Cgi, holds_an_upload_back_that_the_script_does_not_read) {
  script("wait.cgi", "while [ ! -e go ]; do sleep 0.02; done; printf 'Content-Type: a/b\\n\\n'; wc -c");
  const Handle exchange = ask(Asked{.path = "/app/wait.cgi", .method = "POST"}, {}, false, PENSTOCK_LENGTH_UNKNOWN);
  const uint64_t number = serial;
  const std::string piece(16'000, 'p');
  size_t sent = 0;
  int idle = 0;
  ASSERT_TRUE(until_real([&] {
    const size_t taken = link_->send_body(exchange, piece, false);
    sent += taken;
    idle = taken == 0 ? idle + 1 : 0;
    return idle == 20;
  }));
  EXPECT_LT(sent, size_t{1} << 20) << "a pipe, a few pieces, and no more";
  dir.write("go", "");
  size_t end = 0;
  ASSERT_TRUE(until([&] {
    if (end == 0) end = link_->send_body(exchange, "end", true);
    return end == 3;
  }));
  ASSERT_TRUE(until([&] { return answers[number].ended; }));
  EXPECT_EQ(answers[number].body, std::to_string(sent + 3) + "\n");
}

TEST_F(Cgi, drops_an_upload_that_nobody_reads) {
  script("deaf.cgi", "exec <&-; printf 'Content-Type: a/b\\n\\ndone'");
  const std::string piece(16'000, 'p');
  const Handle exchange = ask(Asked{.path = "/app/deaf.cgi", .method = "POST"}, piece, false, PENSTOCK_LENGTH_UNKNOWN);
  const uint64_t number = serial;
  ASSERT_TRUE(until([&] {
    if (link_->is_open(exchange)) (void)link_->send_body(exchange, piece, false);
    flush();
    return answers[number].ended;
  }));
  EXPECT_EQ(answers[number].body, "done");
}

TEST_F(Cgi, waits_for_a_slow_reader) {
  script("big.cgi", "printf 'Content-Type: a/b\\n\\n'; head -c 3000000 /dev/zero; touch written");
  script("a.cgi", "printf 'Content-Type: a/b\\n\\nhello'");
  grants = false;
  (void)ask("/app/big.cgi");
  ASSERT_TRUE(until([&] { return answers[101].body.size() == LIMITS.window_bytes; }));
  grants = true;
  EXPECT_EQ(fetch("/a.cgi"), "hello") << "the others go on";
  EXPECT_NE(::access(dir.at("written").c_str(), F_OK), 0) << "it is held back";
  link_->grant({0, 1}, LIMITS.window_bytes);
  ASSERT_TRUE(until([&] { return answers[101].ended; }));
  EXPECT_EQ(answers[101].body.size(), 3'000'000U);
}

TEST_F(Cgi, ends_a_cancelled_script_that_ignores_sigterm) {
  script("stubborn.cgi", "trap '' TERM; echo $$ > pid.new; mv pid.new pid; while :; do sleep 0.02; done");
  const Handle exchange = ask("/app/stubborn.cgi");
  const uint64_t number = serial;
  flush();
  ASSERT_TRUE(appears("pid"));
  link_->cancel(exchange, PENSTOCK_CANCEL_TIMEOUT);
  ASSERT_TRUE(until([&] { return answers[number].ended; })) << "at once, whatever the script does";
  const pid_t script = pid_in("pid");
  EXPECT_TRUE(until_real([&] { return ::kill(script, 0) != 0; })) << "neither a process nor a zombie";
}

TEST_F(Cgi, ends_what_a_script_leaves_behind) {
  script("leaves.cgi",
         "(trap '' TERM; echo $$ > /dev/null; sh -c 'echo $PPID' > pid.new; mv pid.new pid; while :; do sleep 0.02; "
         "done) & "
         "printf 'Content-Type: a/b\\n\\nx'");
  (void)ask("/app/leaves.cgi");
  const uint64_t number = serial;
  flush();
  ASSERT_TRUE(appears("pid"));
  ASSERT_TRUE(until([&] { return answers[number].ended; })) << "although its stdout is held open";
  EXPECT_EQ(answers[number].body, "x");
  const pid_t left = pid_in("pid");
  EXPECT_TRUE(until_real([&] { return ::kill(left, 0) != 0; }));
}

TEST_F(Cgi, ends_an_answer_when_stdout_ends) {
  script(
      "goes_on.cgi",
      "printf 'Content-Type: a/b\\n\\nx'; exec >&- 2>&-; trap 'echo > ended; exit' TERM; while :; do sleep 0.02; done");
  EXPECT_EQ(fetch("/goes_on.cgi"), "x");
  EXPECT_TRUE(appears("ended")) << "asked by SIGTERM, a second later";
}

class CgiProgram : public Cgi {
 protected:
  CgiProgram() {
    dir.write(
        "program",
        "#!/bin/sh\nprintf 'Content-Type: a/b\\n\\n'; echo \"$SCRIPT_NAME|$PATH_INFO|$GIVEN$HIDDEN|$PATH_TRANSLATED\"");
    ::chmod(dir.at("program").c_str(), 0755);
    arguments = {"--program", dir.at("program"), "--env", "GIVEN", "--root", "/srv"};
    environment = {{"GIVEN", "word"}, {"HIDDEN", "word"}};
  }
};

TEST_F(CgiProgram, answers_for_every_path_below_the_prefix) {
  EXPECT_EQ(fetch("/x/y.git/info?a"), "/app|/x/y.git/info|word|/srv/x/y.git/info\n");
  EXPECT_EQ(fetch(""), "/app||word|\n");
  EXPECT_EQ(fetch(Asked{.path = "/z", .route_prefix = "/"}), "|/z|word|/srv/z\n");
}

class CgiBroken : public Cgi {
 protected:
  CgiBroken() {
    dir.write("broken", "#!/nowhere/interpreter\n");
    dir.write("shapeless", "no magic");
    for (const char* name : {"broken", "shapeless"}) ::chmod(dir.at(name).c_str(), 0755);
    arguments = {"--root", dir.path(), "--executables"};
  }
};

TEST_F(CgiBroken, says_what_cannot_be_started) {
  EXPECT_EQ(fetch("/broken"), "500 Internal Server Error\n");
  EXPECT_NE(last().log.find("could not run: start"), std::string::npos) << last().log;
  EXPECT_NE(last().log.find("No such file"), std::string::npos) << last().log;
  EXPECT_EQ(fetch("/shapeless"), "500 Internal Server Error\n");
  EXPECT_NE(last().log.find("Exec format error"), std::string::npos) << last().log;
}

class CgiFullEnvironment : public Cgi {
 protected:
  CgiFullEnvironment() {
    arguments.push_back("--env");
    arguments.push_back("LARGE");
    environment = {{"LARGE", std::string(126'000, 'x')}};
  }
};

TEST_F(CgiFullEnvironment, refuses_what_does_not_fit) {
  script("a.cgi", "printf 'Content-Type: a/b\\n\\n'; echo ${#LARGE}");
  EXPECT_EQ(fetch("/a.cgi"), "126000\n");
  EXPECT_EQ(fetch(Asked{.path = "/app/a.cgi", .fields = {{"X", std::string(8'000, 'y')}}}),
            "431 Request Header Fields Too Large\n");
}

class CgiCrowd : public Cgi {
 protected:
  CgiCrowd() {
    shape.exchanges_max = 256;
    shape.entries = 1'024;
    shape.chunks = 512;
    shape.arena_bytes = 1 << 20;
    arguments.insert(arguments.end(), {"--concurrency", "200"});
  }
};

TEST_F(CgiCrowd, runs_two_hundred_at_a_time) {
  script("meet.cgi",
         "echo > here.$QUERY_STRING; while [ ! -e go ]; do read x < fifo; done; printf 'Content-Type: a/b\\n\\n%s' "
         "$QUERY_STRING");
  ASSERT_EQ(::mkfifo(dir.at("fifo").c_str(), 0644), 0);
  for (int i = 0; i < 201; ++i) (void)ask("/app/meet.cgi?" + std::to_string(i));
  flush();
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(appears("here." + std::to_string(i))) << i;
  EXPECT_NE(::access(dir.at("here.200").c_str(), F_OK), 0) << "one more waits";
  dir.write("go", "");
  const UniqueFd fifo(::open(dir.at("fifo").c_str(), O_RDWR | O_CLOEXEC));
  const std::string lines(2'000, '\n');
  ASSERT_GT(::write(fifo.get(), lines.data(), lines.size()), 0);
  ASSERT_TRUE(until([&] { return order.size() == 201; }));
  for (uint64_t i = 0; i < 201; ++i) EXPECT_EQ(answers[101 + i].body, std::to_string(i));
}

class CgiAlone : public Cgi {
 protected:
  CgiAlone() { arguments.insert(arguments.end(), {"--concurrency", "1"}); }
};

class CgiWithCpuLimit : public Cgi {
 protected:
  CgiWithCpuLimit() { arguments.insert(arguments.end(), {"--cpu-seconds", "7"}); }
};

// DY2.
TEST_F(CgiWithCpuLimit, has_it_in_its_programs_and_not_in_itself) {
  script("a.cgi",
         "printf 'Content-Type: a/b\\n\\n'; ulimit -t; "
         "grep -c 'Max cpu time *unlimited *unlimited' /proc/$PPID/limits");
  script("over.cgi", "kill -XCPU $$; printf 'Content-Type: a/b\\n\\nignored'");
  EXPECT_EQ(fetch("/a.cgi"), "7\n1\n");
  (void)fetch("/over.cgi");
  EXPECT_NE(last().log.find("over.cgi was killed by SIGXCPU"), std::string::npos) << last().log;
}

TEST_F(CgiAlone, forgets_who_was_cancelled_while_waiting) {
  script("hold.cgi", "echo > held; while [ ! -e go ]; do sleep 0.02; done; printf 'Content-Type: a/b\\n\\nfirst'");
  script("mark.cgi", "echo > marked; printf 'Content-Type: a/b\\n\\nx'");
  (void)ask("/app/hold.cgi");
  const Handle second = ask(Asked{.path = "/app/mark.cgi", .method = "POST"}, "body", false, 100);
  flush();
  ASSERT_TRUE(appears("held"));
  link_->cancel(second, PENSTOCK_CANCEL_CLIENT_GONE);
  ASSERT_TRUE(until([&] { return answers[102].ended; }));
  dir.write("go", "");
  ASSERT_TRUE(until([&] { return answers[101].ended; }));
  script("a.cgi", "printf 'Content-Type: a/b\\n\\nhello'");
  EXPECT_EQ(fetch("/a.cgi"), "hello");
  EXPECT_NE(::access(dir.at("marked").c_str(), F_OK), 0);
}

TEST_F(CgiAlone, takes_its_scripts_along_when_it_is_asked_to_end) {
  script("hold.cgi", "trap '' TERM; echo $$ > pid.new; mv pid.new pid; while :; do sleep 0.02; done");
  (void)ask("/app/hold.cgi");
  flush();
  ASSERT_TRUE(appears("pid"));
  ::kill(child_, SIGTERM);
  int status = 0;
  ASSERT_EQ(::waitpid(child_, &status, 0), child_);
  child_ = -1;
  EXPECT_EQ(WEXITSTATUS(status), 128 + SIGTERM);
  EXPECT_NE(::kill(pid_in("pid"), 0), 0);
}

#ifdef PENSTOCK_PHP_CGI
class CgiPhp : public Cgi {
 protected:
  CgiPhp() { arguments = {"--root", dir.path(), "--interpreter", "php=" PENSTOCK_PHP_CGI}; }
};

TEST_F(CgiPhp, runs_php) {
  script("a.php",
         "<?php header('X-A: b'); echo $_GET['q'], $_SERVER['PATH_INFO'] ?? '', file_get_contents('php://input');");
  script("go.php", "<?php header('Location: /elsewhere');");
  EXPECT_EQ(fetch(Asked{.path = "/app/a.php/info?q=7", .method = "POST"}, "body"), "7/infobody");
  EXPECT_EQ(last().fields["X-A"], "b");
  (void)fetch("/go.php");
  EXPECT_EQ(last().status, 302) << "PHP says Status, so it is the client's";
}
#else
TEST(CgiPhp, runs_php) { GTEST_SKIP() << "php-cgi was not installed when this was built"; }
#endif

}  // namespace
}  // namespace penstock
