// What RequestHead says of well-formed requests: limits at the limit, target forms, Connection, the plain bit.

#include "tests/unit/http/parse_helper.h"

#include <gtest/gtest.h>
#include <string>

namespace penstock {
namespace {

using enum Reason;

std::string request_head_of(std::string_view request_line, std::string_view fields = "Host: h\r\n") {
  return std::string(request_line) + "\r\n" + std::string(fields) + "\r\n";
}

// Refused with `reason` at one more than the limit, however the bytes come; accepted at the limit.
void expect_limit(const std::string& at, const std::string& beyond, const ParseLimits& limits, Reason reason) {
  EXPECT_EQ(parse_text(at, limits).state, ParseState::COMPLETE) << reason_info(reason).name;
  EXPECT_EQ(refusal(beyond, limits), reason);
  GuardedRoom even(1 << 16);
  GuardedRoom odd(1 << 16);
  const auto head = std::make_unique<RequestHead>();
  std::string_view decided_in;
  EXPECT_EQ(parse_bytewise(at, limits, *head, even, odd, decided_in).state, ParseState::COMPLETE);
  EXPECT_EQ(parse_bytewise(beyond, limits, *head, even, odd, decided_in).error, reason);
}

TEST(RequestLimits, accept_n_and_refuse_one_more) {
  const auto url = [](size_t n) { return request_head_of("GET /" + std::string(n - 1, 'p') + " HTTP/1.1"); };
  const auto query = [](size_t n) { return request_head_of("GET /?" + std::string(n, 'q') + " HTTP/1.1"); };
  const auto method = [](size_t n) { return request_head_of(std::string(n, 'M') + " / HTTP/1.1"); };
  const auto field = [](size_t n) {
    return request_head_of("GET / HTTP/1.1", "Host: h\r\nA: " + std::string(n - 3, 'v') + "\r\n");
  };
  const auto name = [](size_t n) {
    return request_head_of("GET / HTTP/1.1", "Host: h\r\n" + std::string(n - 1, 'n') + ":\r\n");
  };
  const auto fields = [](size_t n) {
    std::string lines = "Host: h\r\n";
    while (--n > 0) lines += "A: b\r\n";
    return request_head_of("GET / HTTP/1.1", lines);
  };
  expect_limit(url(4096), url(4097), {}, URL_LENGTH);
  expect_limit(url(20), url(21), {.url_bytes = 20}, URL_LENGTH);
  expect_limit(query(2048), query(2049), {}, QUERY_LENGTH);
  expect_limit(query(0), query(1), {.query_bytes = 0}, QUERY_LENGTH);
  expect_limit(method(32), method(33), {}, METHOD_LENGTH);
  expect_limit(method(2), request_head_of("GET / HTTP/1.1"), {.verb_bytes = 2}, METHOD_LENGTH);
  expect_limit(field(64), field(65), {.field_bytes = 64}, FIELD_LENGTH);
  expect_limit(name(64), name(65), {.field_bytes = 64}, FIELD_LENGTH);
  expect_limit(fields(100), fields(101), {}, FIELD_COUNT);
  expect_limit(fields(128), fields(129), {.fields = 1000}, FIELD_COUNT);
}

TEST(RequestLimits, count_the_whole_head_with_the_lines_before_it) {
  const std::string text = "\r\n" + request_head_of("GET / HTTP/1.1");
  const auto n = static_cast<uint32_t>(text.size());
  EXPECT_EQ(parse_text(text, {.head_bytes = n}).state, ParseState::COMPLETE);
  EXPECT_EQ(refusal(text, {.head_bytes = n - 1}), HEAD_LENGTH);
  EXPECT_EQ(parse_text(text.substr(0, n - 1), {.head_bytes = n - 1}).state, ParseState::NEED_MORE);
}

TEST(RequestLimits, refuse_at_the_first_byte_too_many_not_at_the_end) {
  EXPECT_EQ(refusal("GET /" + std::string(20, 'p'), {.url_bytes = 20}), URL_LENGTH);
  EXPECT_EQ(refusal(std::string(33, 'M')), METHOD_LENGTH);
  EXPECT_EQ(refusal("GET / HTTP/1.1\r\n" + std::string(65, 'n'), {.field_bytes = 64}), FIELD_LENGTH);
  EXPECT_EQ(refusal(std::string(16385, '/')), METHOD_INVALID);
}

TEST(RequestParser, keeps_what_was_read_of_a_refused_head) {
  const Parsed url = parse_text("GET /" + std::string(30, 'p') + " HTTP/1.1\r\n", {.url_bytes = 20});
  EXPECT_EQ(url.head.method_text, "GET");
  EXPECT_EQ(url.head.target, "/" + std::string(19, 'p'));
  const Parsed query = parse_text("GET /?" + std::string(30, 'q') + " HTTP/1.1\r\n", {.query_bytes = 20});
  EXPECT_EQ(query.head.query, std::string(20, 'q'));
  EXPECT_EQ(query.head.target, "/?" + std::string(20, 'q'));
  const Parsed field = parse_text("GET /a HTTP/1.1\r\nHost: h\r\nBad : x\r\n\r\n");
  EXPECT_EQ(field.head.target, "/a");
  ASSERT_EQ(field.head.field_count, 1);
  EXPECT_EQ(field.head.get(Field::HOST), "h");
  const Parsed garbage = parse_text("\x16\x03\x01");
  EXPECT_EQ(garbage.head.method_text, "");
  EXPECT_EQ(garbage.head.target, "");
}

TEST(TargetForms, take_the_host_of_the_target_before_that_of_the_field) {
  const Parsed p = parse_text(request_head_of("GET http://Example.org:81/a/b?c HTTP/1.1", "Host: other\r\n"));
  ASSERT_EQ(p.state, ParseState::COMPLETE);
  EXPECT_EQ(p.head.form, TargetForm::ABSOLUTE);
  EXPECT_EQ(p.head.authority, "Example.org:81");
  EXPECT_EQ(p.head.host_header, "other");
  EXPECT_EQ(p.head.path, "/a/b");
  EXPECT_EQ(p.head.query, "c");
  EXPECT_FALSE(p.head.https);
  EXPECT_FALSE(p.head.plain);
  EXPECT_TRUE(parse_text(request_head_of("GET HTTPS://h/ HTTP/1.1")).head.https);
}

TEST(TargetForms, give_an_absolute_form_without_path_the_root) {
  EXPECT_EQ(parse_text(request_head_of("GET http://h HTTP/1.1")).head.path, "/");
  EXPECT_EQ(parse_text(request_head_of("GET http://h?q HTTP/1.1")).head.path, "/");
  EXPECT_EQ(parse_text(request_head_of("OPTIONS http://h HTTP/1.1")).head.path, "*");
  EXPECT_EQ(parse_text(request_head_of("OPTIONS http://h/ HTTP/1.1")).head.path, "/");
}

TEST(TargetForms, allow_an_asterisk_to_options_and_an_authority_to_connect) {
  const Parsed options = parse_text(request_head_of("OPTIONS * HTTP/1.1"));
  EXPECT_EQ(options.head.form, TargetForm::ASTERISK);
  EXPECT_EQ(options.head.path, "*");
  EXPECT_EQ(options.head.authority, "h");
  const Parsed connect = parse_text(request_head_of("CONNECT example.org:443 HTTP/1.1"));
  EXPECT_EQ(connect.head.form, TargetForm::AUTHORITY);
  EXPECT_EQ(connect.head.authority, "example.org:443");
  EXPECT_EQ(connect.head.path, "");
}

TEST(RequestRules, http_1_0_needs_no_host_and_closes) {
  const Parsed p = parse_text("GET / HTTP/1.0\r\n\r\n");
  ASSERT_EQ(p.state, ParseState::COMPLETE);
  EXPECT_EQ(p.head.version_minor, 0);
  EXPECT_FALSE(p.head.keep_alive);
  EXPECT_FALSE(p.head.plain);
  EXPECT_EQ(p.head.authority, "");
  EXPECT_TRUE(parse_text("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").head.keep_alive);
}

TEST(RequestRules, take_a_higher_minor_version_for_1_1) {
  const Parsed p = parse_text(request_head_of("GET / HTTP/1.7"));
  ASSERT_EQ(p.state, ParseState::COMPLETE);
  EXPECT_EQ(p.head.version_minor, 7);
  EXPECT_TRUE(p.head.keep_alive);
}

TEST(RequestRules, read_connection_over_all_its_lines) {
  const auto keep = [](std::string_view fields) {
    return parse_text(request_head_of("GET / HTTP/1.1", "Host: h\r\n" + std::string(fields))).head.keep_alive;
  };
  EXPECT_TRUE(keep(""));
  EXPECT_TRUE(keep("Connection: keep-alive\r\n"));
  EXPECT_FALSE(keep("Connection: close\r\n"));
  EXPECT_FALSE(keep("Connection: CLOSE\r\n"));
  EXPECT_FALSE(keep("Connection: keep-alive, close\r\n"));
  EXPECT_FALSE(keep("Connection: close, keep-alive\r\n"));
  EXPECT_FALSE(keep("Connection: x\r\nConnection: y , close\r\n"));
  EXPECT_TRUE(keep("Connection: closed\r\n"));
}

TEST(RequestRules, expect_100_continue_only_from_http_1_1) {
  const auto expects = [](std::string_view version) {
    return parse_text(request_head_of("POST / " + std::string(version),
                                      "Host: h\r\nContent-Length: 1\r\nExpect: 100-Continue\r\n"))
        .head.expect_continue;
  };
  EXPECT_TRUE(expects("HTTP/1.1"));
  EXPECT_FALSE(expects("HTTP/1.0"));
  EXPECT_EQ(parse_text("POST / HTTP/1.0\r\nExpect: x\r\n\r\n").state, ParseState::COMPLETE);
}

TEST(PlainBit, stands_for_what_a_cached_answer_may_meet) {
  const auto plain = [](std::string_view request_line, std::string_view fields = "") {
    const Parsed p = parse_text(request_head_of(request_line, "Host: h\r\n" + std::string(fields)));
    EXPECT_EQ(p.state, ParseState::COMPLETE);
    return p.head.plain;
  };
  constexpr std::string_view GET = "GET /a?b HTTP/1.1";
  EXPECT_TRUE(plain(GET));
  EXPECT_TRUE(plain("HEAD / HTTP/1.1"));
  EXPECT_TRUE(plain(GET, "Connection: keep-alive\r\n"));
  EXPECT_TRUE(plain(GET, "Connection: close\r\n"));
  EXPECT_TRUE(plain(GET, "Connection: Keep-Alive, close\r\n"));
  EXPECT_TRUE(plain(GET, "X-Unknown: y\r\nCookie: z\r\nAccept: */*\r\nAccept: x\r\n"));
  EXPECT_TRUE(plain(GET, "Accept-Encoding: gzip, deflate, br\r\n"));
  EXPECT_TRUE(plain(GET, "If-None-Match: \"a\"\r\nRange: bytes=0-1\r\nIf-Range: \"a\"\r\n"));

  EXPECT_FALSE(plain("POST / HTTP/1.1"));
  EXPECT_FALSE(plain("GET / HTTP/1.0"));
  EXPECT_FALSE(plain("GET http://h/ HTTP/1.1"));
  EXPECT_FALSE(plain(GET, "Connection: upgrade\r\n"));
  EXPECT_FALSE(plain(GET, "Content-Length: 0\r\n"));
  EXPECT_FALSE(plain(GET, "Transfer-Encoding: chunked\r\n"));
  EXPECT_FALSE(plain(GET, "Expect: 100-continue\r\n"));
  EXPECT_FALSE(plain(GET, "Upgrade: h2c\r\n"));
  EXPECT_FALSE(plain(GET, "Authorization: Basic x\r\n"));
  EXPECT_FALSE(plain(GET, "Accept-Encoding: gzip;q=0.5\r\n"));
  EXPECT_FALSE(plain(GET, "Accept-Encoding: gzip\r\nAccept-Encoding: br\r\n"));
  EXPECT_FALSE(plain(GET, "Range: bytes=0-1\r\nRange: bytes=2-3\r\n"));
  EXPECT_FALSE(plain(GET, "If-None-Match: \"a\"\r\nIf-None-Match: \"b\"\r\n"));
}

TEST(RequestRules, say_nothing_of_the_request_before_when_they_refuse) {
  const std::string before =
      "POST http://a/x?y HTTP/1.0\r\nHost: b\r\nContent-Length: 9\r\nUser-Agent: u\r\nExpect: 100-continue\r\n\r\n";
  for (const std::string bad : {"\x01", "GET", "GET \x7f", "GET /a HTTP/3.0\r\n", "GET /a HTTP/1.1\r\nHost : b\r\n\r\n",
                                "GET /a HTTP/1.1\r\n\r\n", "GET /a?q HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"}) {
    const ParseLimits limits{.verb_bytes = 2};
    RequestParser parser;
    RequestHead head;
    ASSERT_EQ(parser.parse(before, {}, head), ParseState::COMPLETE);
    parser.reset();
    ASSERT_EQ(parser.parse(bad, bad == "GET" ? limits : ParseLimits{}, head), ParseState::BAD) << bad;
    for (const std::string_view text : {head.method_text, head.target, head.path, head.query, head.authority,
                                        head.host_header, head.get(Field::USER_AGENT)}) {
      EXPECT_TRUE(text.empty() || (text.data() >= bad.data() && text.data() < bad.data() + bad.size())) << bad;
    }
    EXPECT_EQ(head.version_minor, 1) << bad;
    EXPECT_FALSE(head.expect_continue) << bad;
    EXPECT_EQ(head.body, BodyKind::NONE) << bad;
  }
}

TEST(RequestRules, forget_the_request_before) {
  const std::string second = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
  RequestHead fresh;
  RequestParser fresh_parser;
  ASSERT_EQ(fresh_parser.parse(second, {}, fresh), ParseState::COMPLETE);
  const std::string firsts[] = {
      "POST http://a/x?y HTTP/1.0\r\nHost: b\r\nContent-Length: 9\r\nRange: bytes=0-1\r\nIf-Match: *\r\n"
      "Accept-Encoding: gzip;q=0.1\r\nConnection: close\r\n\r\n",
      "POST https://a/ HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n"
      "Accept-Encoding: br\r\nAccept-Encoding: gzip\r\n\r\n",
  };
  for (const std::string& first : firsts) {
    RequestParser parser;
    RequestHead head;
    ASSERT_EQ(parser.parse(first, {}, head), ParseState::COMPLETE);
    parser.reset();
    ASSERT_EQ(parser.parse(second, {}, head), ParseState::COMPLETE);
    EXPECT_TRUE(same_head(head, second, fresh, second));
  }
}

}  // namespace
}  // namespace penstock
