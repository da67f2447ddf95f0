#include "src/http/request_parser.h"

#include "tests/unit/http/parse_helper.h"

#include <gtest/gtest.h>
#include <string>

namespace penstock {

namespace {

constexpr std::string_view CURL =
    "GET /index.html HTTP/1.1\r\nHost: example.org\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n";

TEST(RequestParser, reads_what_curl_sends) {
  const Parsed p = parse_text(CURL);
  ASSERT_EQ(p.state, ParseState::COMPLETE);
  EXPECT_EQ(p.consumed, CURL.size());
  EXPECT_EQ(p.head.method, Method::GET);
  EXPECT_EQ(p.head.method_text, "GET");
  EXPECT_EQ(p.head.version_minor, 1);
  EXPECT_EQ(p.head.form, TargetForm::ORIGIN);
  EXPECT_EQ(p.head.target, "/index.html");
  EXPECT_EQ(p.head.path, "/index.html");
  EXPECT_FALSE(p.head.has_query);
  EXPECT_EQ(p.head.authority, "example.org");
  EXPECT_EQ(p.head.field_count, 3);
  EXPECT_EQ(p.head.get(Field::USER_AGENT), "curl/7.88.1");
  EXPECT_EQ(p.head.fields()[2].name, "Accept");
  EXPECT_EQ(p.head.body, BodyKind::NONE);
  EXPECT_TRUE(p.head.keep_alive);
  EXPECT_TRUE(p.head.plain);
  EXPECT_FALSE(p.head.has_conditional || p.head.has_range || p.head.expect_continue);
}

TEST(RequestParser, leaves_the_next_request_alone) {
  const std::string two = std::string(CURL) + "GET /b HTTP/1.1\r\n";
  EXPECT_EQ(parse_text(two).consumed, CURL.size());
}

TEST(RequestParser, splits_the_query_at_the_first_question_mark) {
  const Parsed p = parse_text("GET /a?b=c?d HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_EQ(p.head.path, "/a");
  EXPECT_EQ(p.head.query, "b=c?d");
  EXPECT_EQ(p.head.target, "/a?b=c?d");
  const Parsed empty = parse_text("GET /a? HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_TRUE(empty.head.has_query);
  EXPECT_EQ(empty.head.query, "");
  EXPECT_EQ(empty.head.path, "/a");
}

TEST(RequestParser, trims_white_space_around_values_only) {
  const Parsed p = parse_text("GET / HTTP/1.1\r\nHost:\t h \t\r\nX-Empty:\r\nX-Space:   \r\nX-In: a \t b\r\n\r\n");
  ASSERT_EQ(p.state, ParseState::COMPLETE);
  EXPECT_EQ(p.head.get(Field::HOST), "h");
  EXPECT_EQ(p.head.fields()[1].value, "");
  EXPECT_EQ(p.head.fields()[2].value, "");
  EXPECT_EQ(p.head.fields()[3].value, "a \t b");
}

TEST(RequestParser, tolerates_four_empty_lines_and_no_more) {
  const Parsed p = parse_text("\r\n\r\n\r\n\r\n" + std::string(CURL));
  EXPECT_EQ(p.state, ParseState::COMPLETE);
  EXPECT_EQ(p.consumed, CURL.size() + 8);
  EXPECT_EQ(refusal("\r\n\r\n\r\n\r\n\r\n" + std::string(CURL)), Reason::EMPTY_LINES);
  EXPECT_EQ(refusal("\n" + std::string(CURL)), Reason::BARE_LF);
  EXPECT_EQ(refusal("\rG"), Reason::BARE_CR);
}

TEST(RequestParser, knows_fields_whatever_their_case) {
  const Parsed p = parse_text("GET / HTTP/1.1\r\nhOsT: h\r\nACCEPT-ENCODING: br\r\nIf-none-MATCH: *\r\n\r\n");
  EXPECT_TRUE(p.head.has(Field::HOST));
  EXPECT_EQ(p.head.get(Field::ACCEPT_ENCODING), "br");
  EXPECT_EQ(p.head.accept_mask, ACCEPT_BR);
  EXPECT_TRUE(p.head.has_conditional);
  EXPECT_TRUE(p.head.plain);
}

TEST(RequestParser, finds_every_line_of_a_repeated_field) {
  const Parsed p = parse_text("GET / HTTP/1.1\r\nHost: h\r\nIf-Match: \"a\"\r\nX: y\r\nif-match: \"b\"\r\n\r\n");
  std::string all;
  p.head.for_each(Field::IF_MATCH, [&](std::string_view value) { all += value; });
  EXPECT_EQ(all, "\"a\"\"b\"");
  EXPECT_TRUE(p.head.has_repeated(Field::IF_MATCH));
  EXPECT_FALSE(p.head.plain);
}

}  // namespace
}  // namespace penstock
