// penstock-upstream as a process, between a ServerLink and a FastCGI application: the test's own, and PHP's.
#include "tests/support/temp_dir.h"
#include "tests/unit/runtimes/fcgi_application.h"
#include "tests/unit/sdk/worker_process.h"

#include <gtest/gtest.h>
#include <string>

namespace penstock {
namespace {

class Fcgi : public WorkerProcess {
 protected:
  Fcgi() : application(dir.at("socket")) {
    program = PENSTOCK_FASTCGI;
    arguments = {"--connect", "unix:" + dir.at("socket"), "--connections", "4", "--env", "GIVEN"};
    environment = {{"GIVEN", "word"}, {"HIDDEN", "word"}};
    collect_complaints();
  }
  void SetUp() override {
    WorkerProcess::SetUp();
    application.start();
  }
  std::string fetch(const Asked& asked, std::string_view body = {}) {
    (void)ask(asked, body);
    const uint64_t number = serial;
    EXPECT_TRUE(until([&] { return answers[number].ended; })) << asked.path;
    return answers[number].body;
  }
  std::string fetch(const std::string& query) { return fetch(Asked{.path = "/app/x?" + query}); }
  // The application's part is not heard through the rings.
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
  Answer& last() { return answers[serial]; }
  TempDir dir;
  FcgiApplication application;
};

TEST_F(Fcgi, answers_one_request_after_the_other_on_a_connection) {
  EXPECT_EQ(fetch("a"), "echo ");
  ASSERT_TRUE(until_real([&] { return application.asked == 1; }));
  const int connections = application.connections;
  for (int i = 0; i < 20; ++i) EXPECT_EQ(fetch(Asked{.path = "/app/x?b", .method = "POST"}, "body"), "echo body");
  EXPECT_EQ(application.connections, connections);
  EXPECT_EQ(application.asked, 1) << "once";
}

TEST_F(Fcgi, gives_an_answer_in_one_message_that_came_in_one) {
  EXPECT_EQ(fetch("a"), "echo ");
  EXPECT_EQ(last().parts, "H");
  EXPECT_EQ(last().length, 5U) << "which its application did not say";
  EXPECT_EQ(fetch("bytes"), "byte by byte");
  const bool whole = last().parts == "H";  // by the time it was read: this machine was busy
  EXPECT_EQ(last().length, whole ? 12U : PENSTOCK_LENGTH_UNKNOWN) << "what is not whole does not wait for the rest";
  EXPECT_EQ(fetch("half"), "half");
}

// Twice as many requests as connections, again and again: a new one is not yet one that nobody answers.
TEST_F(Fcgi, keeps_connections_under_load) {
  constexpr int ROUNDS = 50;
  for (int round = 0; round < ROUNDS; ++round) {
    const uint64_t first = serial + 1;
    for (int i = 0; i < 8; ++i) (void)ask("/app/x?a");
    ASSERT_TRUE(until([&] {
      bool all = true;
      for (uint64_t number = first; number < first + 8; ++number) all = all && answers[number].ended;
      return all;
    }));
  }
  EXPECT_LT(application.connections, 2 * ROUNDS);
}

TEST_F(Fcgi, sends_the_variables) {
  const std::string text = fetch("params");
  const auto pairs = parse_fcgi_pairs(text);
  ASSERT_TRUE(pairs);
  const std::map<std::string_view, std::string_view> all(pairs->begin(), pairs->end());
  EXPECT_EQ(all.at("SCRIPT_NAME"), "/app");
  EXPECT_EQ(all.at("PATH_INFO"), "/x");
  EXPECT_EQ(all.at("GIVEN"), "word");
  EXPECT_EQ(all.at("HTTP_ACCEPT"), "*/*");
}

TEST_F(Fcgi, reads_records_that_are_cut_anywhere) {
  for (const char* query : {"bytes", "pieces"}) {
    EXPECT_EQ(fetch(query), "byte by byte");
    EXPECT_EQ(last().status, 202);
  }
}

TEST_F(Fcgi, redirects_locally) {
  EXPECT_EQ(fetch("local"), "/elsewhere");
  EXPECT_EQ(last().parts, "X");
}

TEST_F(Fcgi, passes_stderr_on) {
  EXPECT_EQ(fetch("stderr"), "echo ");
  EXPECT_EQ(last().log, "PHP Warning: one\ntwo");
  EXPECT_TRUE(until_real([&] { return complaints().find("[101] PHP Warning: one\n[101] two\n") != std::string::npos; }))
      << complaints();
}

TEST_F(Fcgi, survives_an_application_that_breaks_the_protocol) {
  const std::pair<const char*, const char*> expected[] = {{"version", "speaks another version"},
                                                          {"text", "speaks another version"},
                                                          {"stranger", "answered a request that it was not asked"},
                                                          {"type", "sent a record that no application may send"},
                                                          {"management", "sent a management record"},
                                                          {"short", "ended a request with a record of a wrong size"},
                                                          {"unknown", "ended a request in an unknown way"},
                                                          {"close", "closed its connection in the middle"},
                                                          {"half", "closed its connection in the middle"},
                                                          {"role", "is no responder"},
                                                          {"status", "ended with status 5"},
                                                          {"nothing", "ended without an answer"},
                                                          {"badhead", "sent a head that has a line without a colon"},
                                                          {"longhead", "sent a head that is longer than 64 KiB"}};
  for (const auto& [query, why] : expected) {
    (void)fetch(query);
    EXPECT_EQ(last().parts.back(), 'A') << query;
    EXPECT_NE(last().log.find(why), std::string::npos) << query << ": " << last().log;
    EXPECT_EQ(fetch("fine"), "echo ") << "after " << query;
  }
}

TEST_F(Fcgi, answers_503_for_an_application_that_is_overloaded) {
  EXPECT_EQ(fetch("overloaded"), "503 Service Unavailable\n");
}

TEST_F(Fcgi, drops_a_second_answer) {
  EXPECT_EQ(fetch("twice"), "once");
  EXPECT_EQ(fetch("fine"), "echo ");
}

TEST_F(Fcgi, takes_a_second_answer_for_nobodys_though_the_next_request_waits_for_its_own) {
  EXPECT_EQ(fetch("again"), "echo ");
  EXPECT_EQ(fetch("fine"), "echo ");
}

TEST_F(Fcgi, asks_again_where_a_kept_connection_was_closed) {
  EXPECT_EQ(fetch("a"), "echo ");
  ASSERT_TRUE(until_real([&] { return application.asked == 1; }));
  const int before = application.begun;
  EXPECT_EQ(fetch("stale"), "echo ") << "on a new one";
  EXPECT_EQ(application.begun, before + 2);
  (void)fetch(Asked{.path = "/app/x?stale", .method = "POST"}, "once only");
  EXPECT_EQ(last().parts.back(), 'A') << "a body is not sent twice";
}

TEST_F(Fcgi, feeds_a_body_of_any_length) {
  constexpr size_t BYTES = 64 << 20;
  const std::string piece(1 << 20, 'u');
  const Handle exchange = ask(Asked{.path = "/app/x?count", .method = "POST"}, {}, false, BYTES);
  const uint64_t number = serial;
  size_t sent = 0;
  for (int i = 0; i < 10 && !answers[number].ended; ++i) {
    (void)until([&] {
      while (sent < BYTES) {
        const size_t taken = link_->send_body(exchange, std::string_view(piece).substr(sent % piece.size()),
                                              sent + piece.size() - sent % piece.size() == BYTES);
        if (taken == 0) break;
        sent += taken;
      }
      flush();
      return answers[number].ended;
    });
  }
  EXPECT_EQ(answers[number].body, std::to_string(BYTES));
}

TEST_F(Fcgi, waits_for_a_slow_reader) {
  grants = false;
  (void)ask("/app/x?big");
  ASSERT_TRUE(until([&] { return answers[101].body.size() == LIMITS.window_bytes; }));
  grants = true;
  EXPECT_EQ(fetch("a"), "echo ") << "the others go on";
  link_->grant({0, 1}, LIMITS.window_bytes);
  ASSERT_TRUE(until([&] { return answers[101].ended; }));
  EXPECT_EQ(answers[101].body, std::string(3'000'000, 'b'));
}

TEST_F(Fcgi, aborts_what_nobody_wants) {
  for (const char* query : {"ends", "silent"}) {
    const int begun = application.begun;
    const int aborted = application.aborted;
    const Handle exchange = ask("/app/x?" + std::string(query));
    const uint64_t number = serial;
    ASSERT_TRUE(until_real([&] { return application.begun == begun + 1; }));
    link_->cancel(exchange, PENSTOCK_CANCEL_CLIENT_GONE);
    ASSERT_TRUE(until([&] { return answers[number].ended; }));
    ASSERT_TRUE(until_real([&] { return application.aborted == aborted + 1; })) << query;
    EXPECT_EQ(fetch("fine"), "echo ");
  }
}

TEST_F(Fcgi, lets_a_cancelled_slow_reader_go) {
  grants = false;
  const Handle exchange = ask("/app/x?big");
  ASSERT_TRUE(until([&] { return answers[101].body.size() == LIMITS.window_bytes; }));
  link_->cancel(exchange, PENSTOCK_CANCEL_CLIENT_GONE);
  ASSERT_TRUE(until([&] { return answers[101].ended; }));
  grants = true;
  for (int i = 0; i < 10; ++i) EXPECT_EQ(fetch("a"), "echo ");
}

TEST_F(Fcgi, lets_the_rest_wait_when_all_connections_are_busy) {
  std::vector<Handle> silent;
  for (int i = 0; i < 4; ++i) silent.push_back(ask("/app/x?silent"));
  (void)ask("/app/x?late");
  const uint64_t late = serial;
  // Of the four places one is taken by the question for values at first.
  ASSERT_TRUE(until_real([&] { return application.begun == 4; }));
  EXPECT_FALSE(answers[late].ended);
  link_->cancel(silent[0], PENSTOCK_CANCEL_TIMEOUT);
  ASSERT_TRUE(until_real([&] { return answers[late].ended; })) << "a second later its connection is closed";
  EXPECT_EQ(answers[late].body, "echo ");
  for (size_t i = 1; i < 4; ++i) link_->cancel(silent[i], PENSTOCK_CANCEL_TIMEOUT);
}

class FcgiMultiplex : public Fcgi {
 protected:
  void SetUp() override {
    application.multiplexes = true;
    Fcgi::SetUp();
    EXPECT_EQ(fetch("a"), "echo ");
    ASSERT_TRUE(until_real([&] { return application.asked == 1; }));
    (void)until_real([&, polls = 0]() mutable { return ++polls == 20; });  // until its answer has come for sure
  }
};

TEST_F(FcgiMultiplex, sends_several_requests_over_one_connection) {
  const int connections = application.connections;
  for (int i = 0; i < 4; ++i) (void)ask("/app/x?hold");
  ASSERT_TRUE(until_real([&] { return application.begun == 5; }));
  EXPECT_EQ(fetch("release"), "released");
  ASSERT_TRUE(until([&] { return order.size() == 6; }));
  EXPECT_EQ(order, "165432") << "in the order of the application";
  EXPECT_EQ(application.connections, connections);
}

TEST_F(FcgiMultiplex, cancels_one_without_the_others) {
  (void)ask("/app/x?hold");
  const uint64_t held = serial;
  const Handle silent = ask("/app/x?silent");
  ASSERT_TRUE(until_real([&] { return application.begun == 3; }));
  link_->cancel(silent, PENSTOCK_CANCEL_CLIENT_GONE);
  ASSERT_TRUE(until_real([&] { return application.aborted == 1; }));
  EXPECT_EQ(fetch("release"), "released");
  ASSERT_TRUE(until([&] { return answers[held].ended; }));
  EXPECT_EQ(answers[held].body, "held");
}

TEST_F(FcgiMultiplex, falls_back_when_it_was_a_lie) {
  (void)fetch("multiplex");
  EXPECT_NE(last().log.find("does not multiplex"), std::string::npos) << last().log;
  EXPECT_EQ(fetch("fine"), "echo ");
}

class FcgiAbsent : public WorkerProcess {
 protected:
  FcgiAbsent() {
    program = PENSTOCK_FASTCGI;
    arguments = {"--connect", "unix:/nowhere/socket"};
    collect_complaints();
  }
};

TEST_F(FcgiAbsent, says_that_nobody_is_there) {
  (void)get("/app/x");
  EXPECT_EQ(answers[serial].parts, "LA");
  EXPECT_NE(answers[serial].log.find("cannot be reached: connect to unix:/nowhere/socket: No such file"),
            std::string::npos)
      << answers[serial].log;
}

#ifdef PENSTOCK_PHP_CGI
// Started by the runtime, unmodified.
class FcgiPhp : public WorkerProcess {
 protected:
  FcgiPhp() {
    program = PENSTOCK_FASTCGI;
    arguments = {"--start", std::string(PENSTOCK_PHP_CGI) + " -d cgi.fix_pathinfo=0",
                 "--root",  dir.path(),
                 "--index", "index.php",
                 "--env",   "PHP_FCGI_MAX_REQUESTS"};
    environment = {{"PHP_FCGI_MAX_REQUESTS", "5"}};
    dir.write("index.php", "<?php echo 'index of ', $_SERVER['SCRIPT_NAME'];");
    dir.write("a.php",
              "<?php header('X-A: b'); echo $_GET['q'] ?? '', $_SERVER['PATH_INFO'] ?? '', '|', "
              "file_get_contents('php://input');");
    dir.write("image.jpg", "<?php echo 'never';");
    collect_complaints();
  }
  std::string fetch(const Asked& asked, std::string_view body = {}) {
    (void)ask(asked, body);
    const uint64_t number = serial;
    EXPECT_TRUE(until([&] { return answers[number].ended; })) << asked.path;
    return answers[number].body;
  }
  TempDir dir;
};

TEST_F(FcgiPhp, runs_scripts) {
  EXPECT_EQ(fetch({.path = "/app/a.php/info?q=7", .method = "POST"}, "body"), "7/info|body") << complaints();
  EXPECT_EQ(answers[serial].fields["X-A"], "b");
  EXPECT_EQ(fetch({.path = "/app/"}), "index of /app/index.php");
  EXPECT_EQ(fetch({.path = "/app/image.jpg/x.php"}), "403 Forbidden\n");
  EXPECT_EQ(fetch({.path = "/app/none.php"}), "404 Not Found\n");
}

// It has one process, which serves one connection.
TEST_F(FcgiPhp, does_not_starve_it_by_kept_connections) {
  for (int i = 0; i < 4; ++i) (void)ask("/app/a.php?q=" + std::to_string(i));
  ASSERT_TRUE(until([&] { return order.size() == 4; })) << complaints();
  for (uint64_t i = 0; i < 4; ++i) EXPECT_EQ(answers[101 + i].body, std::to_string(i) + "|");
}

// PHP leaves after five requests.
TEST_F(FcgiPhp, starts_it_again_when_it_ends) {
  for (int i = 0; i < 12; ++i)
    EXPECT_EQ(fetch({.path = "/app/a.php?q=" + std::to_string(i)}), std::to_string(i) + "|") << complaints();
  EXPECT_NE(complaints().find("it is started again in"), std::string::npos);
}
#else
TEST(FcgiPhp, runs_scripts) { GTEST_SKIP() << "php-cgi was not installed when this was built"; }
#endif

#ifdef PENSTOCK_PHP_FPM
// Unmodified, with two processes for many connections.
class FcgiPhpFpm : public FcgiPhp {
 protected:
  FcgiPhpFpm() {
    shape.exchanges_max = 64;
    shape.entries = 256;
    shape.chunks = 256;
    dir.write("fpm.conf", "[global]\nerror_log = " + dir.at("fpm.log") + "\ndaemonize = no\n[www]\nlisten = " +
                              dir.at("fpm.sock") + "\npm = static\npm.max_children = 2\nclear_env = yes\n" +
                              (::getuid() == 0 ? "user = root\ngroup = root\n" : ""));
    arguments = {
        "--connect", "unix:" + dir.at("fpm.sock"), "--root", dir.path(), "--index", "index.php", "--connections", "8"};
    fpm = ::fork();
    if (fpm == 0) {
      const int quiet = ::open("/dev/null", O_RDWR | O_CLOEXEC);
      for (const int fd : {0, 1, 2}) ::dup2(quiet, fd);
      ::execl(PENSTOCK_PHP_FPM, "php-fpm", "-n", "-R", "-F", "-y", dir.at("fpm.conf").c_str(), nullptr);
      ::_exit(127);
    }
    for (int i = 0; i < 1'000 && ::access(dir.at("fpm.sock").c_str(), F_OK) != 0; ++i) (void)::poll(nullptr, 0, 10);
  }
  ~FcgiPhpFpm() override {
    ::kill(fpm, SIGTERM);
    ::waitpid(fpm, nullptr, 0);
  }
  pid_t fpm = -1;
};

TEST_F(FcgiPhpFpm, serves_more_requests_than_it_has_processes) {
  EXPECT_EQ(fetch({.path = "/app/a.php/info?q=7", .method = "POST"}, "body"), "7/info|body") << complaints();
  std::vector<uint64_t> asked;
  for (int i = 0; i < 40; ++i) {
    (void)ask("/app/a.php?q=" + std::to_string(i));
    asked.push_back(serial);
  }
  ASSERT_TRUE(until([&] { return order.size() == 41; }));
  for (size_t i = 0; i < asked.size(); ++i) EXPECT_EQ(answers[asked[i]].body, std::to_string(i) + "|");
}
#else
TEST(FcgiPhpFpm, runs_scripts) { GTEST_SKIP() << "php-fpm was not installed when this was built"; }
#endif

}  // namespace
}  // namespace penstock
