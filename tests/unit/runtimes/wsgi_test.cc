// penstock-wsgi with the applications of wsgi_apps.py, at the other end of a ServerLink.
#include "tests/unit/runtimes/wsgi_process.h"

#include <gtest/gtest.h>
#include <string>

namespace penstock {
namespace {

class Wsgi : public WsgiProcess {};

TEST_F(Wsgi, answers) {
  EXPECT_EQ(get("/"), "hello\n");
  EXPECT_EQ(answers[serial].status, 200);
  EXPECT_EQ(answers[serial].fields["Content-Type"], "text/plain");
  EXPECT_EQ(answers[serial].length, 6U);
  EXPECT_EQ(answers[serial].parts, "H") << "one descriptor is the whole answer";
  for (int i = 0; i < 1'000; ++i) ASSERT_EQ(get("/"), "hello\n");
}

TEST_F(Wsgi, gives_the_whole_environ) {
  const std::string said = send({.path = "/app/environ?a=b&c",
                                 .method = "POST",
                                 .fields = {{"Content-Type", "text/x"},
                                            {"Content-Length", "3"},
                                            {"X-Two", "1"},
                                            {"x-two", "2"},
                                            {"Cookie", "a=1"},
                                            {"Cookie", "b=2"},
                                            {"X_Two", "twin"},
                                            {"Proxy", "evil"},
                                            {"Host", "other"},
                                            {"X-Latin", "\xe9"}}},
                                "abc");
  for (const char* pair : {R"("REQUEST_METHOD": "POST")",
                           R"("SCRIPT_NAME": "/app")",
                           R"("PATH_INFO": "/environ")",
                           R"("QUERY_STRING": "a=b&c")",
                           R"("REQUEST_URI": "/app/environ?a=b&c")",
                           R"("SERVER_PROTOCOL": "HTTP/1.1")",
                           R"("SERVER_NAME": "a.example")",
                           R"("SERVER_PORT": "80")",
                           R"("REMOTE_ADDR": "::1")",
                           R"("REMOTE_PORT": "1234")",
                           R"("CONTENT_TYPE": "text/x")",
                           R"("CONTENT_LENGTH": "3")",
                           R"("HTTP_X_TWO": "1, 2")",
                           R"("HTTP_COOKIE": "a=1; b=2")",
                           R"("HTTP_HOST": "a.example")",
                           R"("HTTP_X_LATIN": "\u00e9")",
                           R"("GATEWAY_INTERFACE": "CGI/1.1")",
                           R"("SERVER_SOFTWARE": "penstock/)",
                           R"("wsgi.version": [1, 0])",
                           R"("wsgi.url_scheme": "http")",
                           R"("wsgi.input": "Input")",
                           R"("wsgi.errors": "Errors")",
                           R"("wsgi.multithread": true)",
                           R"("wsgi.multiprocess": true)",
                           R"("wsgi.run_once": false)"}) {
    EXPECT_NE(said.find(pair), std::string::npos) << pair << " in " << said;
  }
  for (const char* none : {"twin", "HTTP_PROXY", "evil", "other", "HTTPS", "HTTP_CONTENT"}) {
    EXPECT_EQ(said.find(none), std::string::npos) << none << " in " << said;
  }
}

TEST_F(Wsgi, splits_the_path_where_the_route_ends) {
  const auto split = [&](const char* prefix, const char* path) {
    const std::string said = send({.path = path, .route_prefix = prefix});
    const std::string script = answer_field(said, "SCRIPT_NAME");
    return script + "|" + answer_field(said, "PATH_INFO");
  };
  EXPECT_EQ(split("/a", "/a/environ"), "/a|/environ");
  EXPECT_EQ(split("/a/", "/a/environ"), "/a|/environ");
  EXPECT_EQ(split("/", "/environ"), "|/environ");
  EXPECT_EQ(split("", "/environ"), "|/environ");
  EXPECT_EQ(split("/env", "/environ"), "|/environ") << "not a whole segment";
}

TEST_F(Wsgi, reads_a_body_in_every_way) {
  const std::string body = "one\ntwo\n\nthree, which is longer\r\nfour";
  EXPECT_EQ(get("/lines?iterate", body), R"([b'one\n', b'two\n', b'\n', b'three, which is longer\r\n', b'four'])");
  EXPECT_EQ(get("/lines?readlines", body), R"([b'one\n', b'two\n', b'\n', b'three, which is longer\r\n', b'four'])");
  EXPECT_EQ(get("/lines?hint", body), R"([[b'one\n', b'two\n', b'\n', b'three, which is longer\r\n'], [b'four'], []])");
  EXPECT_EQ(get("/lines?readline", body),
            R"([b'one\n', b'two', b'', b'\n', b'\n', b'three', b', which is longer\r\n', b'four'])");
  EXPECT_EQ(get("/lines?read", body), R"([b'', b'o', b'ne\ntwo\n\nthree, which is longer\r\nfour', b'', b'', b''])");
  EXPECT_EQ(get("/lines?read", ""), "[b'', b'', b'', b'', b'', b'']");
  EXPECT_EQ(get("/misuse"), "TypeError TypeError OverflowError TypeError");
}

TEST_F(Wsgi, reads_lines_that_come_in_pieces) {
  const Handle exchange = ask("/lines?iterate", "on", false, PENSTOCK_LENGTH_UNKNOWN);
  const uint64_t number = serial;
  for (const char* piece : {"e\ntw", "o", "\n", "\nthr", "ee"}) {
    EXPECT_EQ(get("/"), "hello\n") << "between two pieces";
    EXPECT_GT(link_->send_body(exchange, piece, false), 0U);
  }
  EXPECT_EQ(link_->send_body(exchange, "!", true), 1U);
  ASSERT_TRUE(until([&] { return answers[number].ended; }));
  EXPECT_EQ(answers[number].body, R"([b'one\n', b'two\n', b'\n', b'three!'])");
}

TEST_F(Wsgi, ends_what_was_given_with_the_request) {
  EXPECT_EQ(get("/keep"), "");
  EXPECT_EQ(get("/use-kept"),
            "wsgi.input is used after the end of its request; start_response() is called after the end of its request; "
            "write() is called after the end of its request");
  EXPECT_NE(complaints().find("late words\n"), std::string::npos);
}

TEST_F(Wsgi, lets_a_thread_go_that_waits_for_a_body) {
  (void)ask("/reader-thread", "begun", false, 100);
  const uint64_t number = serial;
  ASSERT_TRUE(until([&] { return answers[number].ended; }));
  EXPECT_EQ(answers[number].body, "left");
  EXPECT_NE(get("/wait-released").find("ConnectionResetError"), std::string::npos);
}

TEST_F(Wsgi, sends_what_write_is_given) { EXPECT_EQ(get("/write"), "first second third fourth"); }

TEST_F(Wsgi, answers_500_to_an_exception_before_the_head) {
  for (const char* how : {"before", "exit", "bytes", "none", "never", "never-empty", "twice", "started"}) {
    EXPECT_EQ(get(std::string("/fail?") + how), "Internal Server Error\n") << how;
    EXPECT_EQ(answers[serial].status, 500) << how;
    EXPECT_NE(answers[serial].log.find("penstock-wsgi: GET /fail?" + std::string(how)), std::string::npos) << how;
  }
  for (const char* trace : {"KeyError: 'before the head'", "SystemExit: 3", "gives bytes, not str", "line ",
                            "has not called start_response()", "is called again, without exc_info"}) {
    EXPECT_NE(complaints().find(trace), std::string::npos) << trace;
  }
  EXPECT_EQ(get("/"), "hello\n");
}

TEST_F(Wsgi, cuts_an_answer_off_that_fails_after_the_head) {
  for (const char* path : {"/fail?after", "/fail?exc_info-late", "/failing-blocks"}) {
    (void)get(path);
    EXPECT_NE(answers[serial].status, 500) << path << ": nothing was sent, or what the application said";
    EXPECT_TRUE(answers[serial].parts.ends_with('A')) << path << ": " << answers[serial].parts;
    EXPECT_NE(answers[serial].log.find("KeyError"), std::string::npos) << path;
  }
  EXPECT_NE(complaints().find("KeyError: 'after the head'"), std::string::npos);
  EXPECT_NE(complaints().find("KeyError: 'too late'"), std::string::npos);
  EXPECT_NE(get("/counts").find(R"("closed": 1)"), std::string::npos);
}

TEST_F(Wsgi, takes_another_head_with_exc_info) {
  EXPECT_EQ(get("/fail?exc_info"), "sorry");
  EXPECT_EQ(answers[serial].status, 503);
  EXPECT_EQ(answers[serial].fields.count("X-First"), 0U);
  EXPECT_EQ(get("/fail?close"), "whole");
  EXPECT_NE(answers[serial].log.find("in close()"), std::string::npos);
}

TEST_F(Wsgi, refuses_heads_that_are_wrong) {
  for (const char* how : {"status-int", "status-short", "status-long", "status-1xx", "status-6xx",  "status-crlf",
                          "tuple",      "pair",         "three",       "bytes",      "value-bytes", "name-crlf",
                          "name-empty", "name-blank",   "value-lf",    "value-nul",  "value-wide",  "hop",
                          "length",     "length-huge",  "length-two",  "many",       "large"}) {
    EXPECT_EQ(get(std::string("/head?") + how), "Internal Server Error\n") << how;
    EXPECT_TRUE(answers[serial].log.find("ValueError") != std::string::npos ||
                answers[serial].log.find("TypeError") != std::string::npos)
        << how << answers[serial].log;
  }
  EXPECT_EQ(get("/odd-head"), "odd");
  EXPECT_EQ(answers[serial].status, 299);
  EXPECT_EQ(answers[serial].fields["X-Latin"], "caf\xe9");
  EXPECT_EQ(answers[serial].fields["X-Most"].size(), 30'000U);
}

TEST_F(Wsgi, holds_an_application_to_its_content_length) {
  for (const std::string path : {"/length?", "/length-stream?"}) {
    EXPECT_EQ(get(path + "6:abc,def"), "abcdef");
    EXPECT_EQ(answers[serial].length, 6U);
    EXPECT_EQ(get(path + "4:abc,def"), "abcd") << "not a byte more";
    EXPECT_NE(answers[serial].log.find("more than the 4 bytes"), std::string::npos);
    (void)get(path + "9:abc,def");
    EXPECT_TRUE(answers[serial].parts.ends_with('A')) << answers[serial].parts;
    EXPECT_NE(answers[serial].log.find("gives 6 of the 9 bytes"), std::string::npos);
    EXPECT_EQ(get(path + "5:"), "Internal Server Error\n") << "nothing was sent yet";
    EXPECT_EQ(get(path + "0:"), "");
    EXPECT_EQ(answers[serial].status, 200);
  }
}

TEST_F(Wsgi, sends_no_body_where_there_is_none) {
  EXPECT_EQ(send({.path = "/", .method = "HEAD"}), "");
  EXPECT_EQ(answers[serial].length, 6U);
  EXPECT_EQ(send({.path = "/blocks", .method = "HEAD"}), "");
  EXPECT_EQ(send({.path = "/file?file", .method = "HEAD"}), "");
  EXPECT_EQ(answers[serial].length, 200'000U);
  EXPECT_EQ(send({.path = "/fail?before", .method = "HEAD"}), "");
  EXPECT_EQ(answers[serial].status, 500);
  for (const char* status : {"204", "304"}) {
    EXPECT_EQ(get(std::string("/status?") + status), "");
    EXPECT_EQ(std::to_string(answers[serial].status), status);
  }
  EXPECT_NE(get("/counts").find(R"("closed": 1)"), std::string::npos);
}

TEST_F(Wsgi, sends_files) {
  std::string file;
  for (int i = 0; i < 20'000; ++i) file += "0123456789";
  for (const char* how : {"file", "raw", "random"}) {
    EXPECT_EQ(get(std::string("/file?") + how), file) << how;
    EXPECT_EQ(answers[serial].length, file.size()) << how;
    EXPECT_EQ(get("/is-closed"), "True") << how;
  }
  EXPECT_EQ(get("/file?position"), file.substr(7));
  EXPECT_EQ(get("/file?length"), file.substr(0, 12));
  (void)get("/file?short");
  EXPECT_TRUE(answers[serial].parts.ends_with('A')) << answers[serial].parts;
  EXPECT_EQ(get("/file?memory"), file.substr(0, 10'000));
  EXPECT_EQ(get("/file?memory-7"), file.substr(0, 10'000));
  EXPECT_EQ(get("/is-closed"), "True");
  EXPECT_EQ(get("/file?text"), "Internal Server Error\n") << "str, not bytes";
  EXPECT_EQ(get("/file?subclass")[0], static_cast<char>(255 - '0')) << "what it reads, not what the descriptor has";
}

TEST_F(Wsgi, writes_whole_lines_to_stderr) {
  EXPECT_EQ(get("/talk"), "");
  ASSERT_TRUE(until([&] { return complaints().find("bytes\n") != std::string::npos; }));
  EXPECT_EQ(complaints(),
            "half a line\nand the rest \xe2\x82\xac \\udcff\nno newline at all\nwsgi.errors takes str, not bytes\n");
}

}  // namespace
}  // namespace penstock
