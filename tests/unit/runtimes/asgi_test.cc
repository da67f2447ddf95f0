// penstock-wsgi with the ASGI applications of asgi_apps.py, at the other end of a ServerLink.
#include "tests/unit/runtimes/wsgi_process.h"

#include <gtest/gtest.h>
#include <string>

namespace penstock {
namespace {

class Asgi : public WsgiProcess {
 protected:
  Asgi() { arguments[1] = "asgi_apps:application"; }
};

TEST_F(Asgi, answers) {
  EXPECT_EQ(get("/app/"), "hello\n");
  EXPECT_EQ(answers[serial].status, 200);
  EXPECT_EQ(answers[serial].length, 6U);
  EXPECT_EQ(answers[serial].parts, "H") << "one descriptor is the whole answer";
  EXPECT_EQ(get("/app/status"), "");
  EXPECT_EQ(answers[serial].status, 204);
  for (int i = 0; i < 200; ++i) ASSERT_EQ(get("/app/"), "hello\n");
}

TEST_F(Asgi, gives_the_whole_scope) {
  const std::string said = send({.path = "/app/scope?a=%20b",
                                 .method = "POST",
                                 .fields = {{"Content-Type", "text/x"}, {"Content-Length", "3"}, {"X-Two", "1"}}},
                                "abc");
  EXPECT_EQ(
      said,
      "{'http_version': '1.1', 'method': 'POST', 'scheme': 'http', 'path': '/app/scope', 'raw_path': b'/app/scope', "
      "'query_string': b'a=%20b', 'root_path': '/app', 'client': ('::1', 1234), 'server': ('a.example', 80), 'state': "
      "{'answer': 42}, 'headers': [(b'content-length', b'3'), (b'content-type', b'text/x'), (b'host', b'a.example'), "
      "(b'x-two', b'1')]}");
}

TEST_F(Asgi, reads_bodies_and_streams_answers) {
  EXPECT_EQ(send({.path = "/app/echo", .method = "POST"}, "a body"), "a body");
  EXPECT_EQ(get("/app/echo"), "");
  EXPECT_EQ(get("/app/stream"), std::string(64 * 50'000, 's'));
}

TEST_F(Asgi, has_several_inside_of_one_loop) {
  for (int i = 0; i < 4; ++i) (void)ask("/app/together");
  ASSERT_TRUE(until([&] { return order.size() == 4; }));
  for (const auto& [number, answer] : answers) EXPECT_EQ(answer.body, "all here");
}

TEST_F(Asgi, is_500_before_the_head_and_cut_behind_it_where_the_application_raises) {
  (void)get("/app/raises");
  EXPECT_EQ(answers[serial].status, 500);
  EXPECT_NE(complaints().find("ValueError: on purpose"), std::string::npos);
  (void)get("/app/nothing");
  EXPECT_EQ(answers[serial].status, 500);
  EXPECT_NE(complaints().find("returned before its response was complete"), std::string::npos);
  EXPECT_EQ(get("/app/half"), "half");
  EXPECT_EQ(answers[serial].parts.back(), 'A') << answers[serial].parts;
  EXPECT_EQ(get("/app/"), "hello\n");
}

TEST_F(Asgi, tells_the_application_that_the_client_has_gone) {
  grants = false;
  const Handle endless = ask("/app/endless");
  ASSERT_TRUE(until([&] { return !answers[serial].body.empty(); }));
  link_->cancel(endless, PENSTOCK_CANCEL_CLIENT_GONE);
  flush();
  ASSERT_TRUE(until([&] { return complaints().find("left alone") != std::string::npos; })) << complaints();
  grants = true;
  EXPECT_EQ(get("/app/"), "hello\n");
}

TEST_F(Asgi, ends_when_one_coroutine_keeps_the_loop_for_itself) {
  const Handle blocks = ask("/app/blocks");
  ASSERT_TRUE(until([&] { return complaints().find("begun") != std::string::npos; })) << complaints();
  link_->cancel(blocks, PENSTOCK_CANCEL_TIMEOUT);
  int status = 0;
  ASSERT_TRUE(until([&] { return ::waitpid(child_, &status, WNOHANG) == child_; }));
  child_ = -1;
  EXPECT_EQ(WEXITSTATUS(status), 70);
  EXPECT_NE(complaints().find("the event loop hangs"), std::string::npos) << complaints();
}

TEST_F(Asgi, ends_the_lifespan_when_it_stops) {
  EXPECT_EQ(get("/app/"), "hello\n");
  ASSERT_TRUE(link_->stop());
  flush();
  int status = 0;
  ASSERT_EQ(::waitpid(child_, &status, 0), child_);
  child_ = -1;
  EXPECT_EQ(status, 0);
  EXPECT_EQ(complaints(), "shut down\n");
}

class AsgiPlain : public Asgi {
 protected:
  AsgiPlain() { arguments[1] = "asgi_apps:without_lifespan"; }
};

class AsgiObject : public Asgi {
 protected:
  AsgiObject() { arguments[1] = "asgi_apps:an_object"; }
};

TEST_F(AsgiObject, is_told_from_wsgi_by_its_call) { EXPECT_EQ(get("/app/"), "hello\n"); }

TEST_F(AsgiPlain, needs_no_lifespan) { EXPECT_EQ(get("/"), "all the same"); }

}  // namespace
}  // namespace penstock
