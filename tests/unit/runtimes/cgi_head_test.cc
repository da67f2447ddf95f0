#include "pool/runtimes/gateway/cgi_head.h"

#include "tests/support/guard_page.h"

#include <gtest/gtest.h>
#include <string>

namespace penstock {
namespace {

using State = CgiHeadParser::State;

struct Fed {
  CgiHeadParser parser;
  State state = State::NEED_MORE;
  std::string rest;
};

void feed(Fed& to, std::string_view text, size_t piece_max) {
  size_t at = 0;
  while (to.state == State::NEED_MORE && at < text.size()) {
    const GuardedText piece(text.substr(at, piece_max));
    size_t consumed = 0;
    to.state = to.parser.feed(piece.view(), consumed);
    at += consumed;
  }
  to.rest = text.substr(at);
}

std::string error_of(std::string_view text) {
  Fed fed;
  feed(fed, text, text.size());
  return fed.state == State::BAD ? std::string(fed.parser.error()) : fed.state == State::COMPLETE ? "complete" : "more";
}

TEST(CgiHead, reads_a_document_whole_and_byte_by_byte) {
  const std::string_view text =
      "Content-Type: text/html\r\nstatus:404 Not Here\r\nX-A:\t b c \r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\nbody\n\n";
  for (const size_t piece : {text.size(), size_t{1}, size_t{7}}) {
    Fed fed;
    feed(fed, text, piece);
    ASSERT_EQ(fed.state, State::COMPLETE);
    const CgiHead& head = fed.parser.head();
    EXPECT_EQ(head.status, 404);
    EXPECT_EQ(fed.rest, "body\n\n");
    using Pair = std::pair<std::string_view, std::string_view>;
    EXPECT_EQ(
        head.fields,
        (std::vector<Pair>{{"Content-Type", "text/html"}, {"X-A", "b c"}, {"Set-Cookie", "a"}, {"Set-Cookie", "b"}}));
    EXPECT_FALSE(head.content_length);
    EXPECT_TRUE(head.local_redirect.empty());
  }
}

TEST(CgiHead, ends_lines_with_lf_or_crlf) {
  Fed fed;
  feed(fed, "A: b\nC: d\r\n\nx", 100);
  ASSERT_EQ(fed.state, State::COMPLETE);
  EXPECT_EQ(fed.parser.head().fields.size(), 2U);
  EXPECT_EQ(fed.rest, "x");
}

TEST(CgiHead, tells_the_kinds_of_redirect) {
  const auto head = [](std::string_view text) {
    auto fed = std::make_unique<Fed>();
    feed(*fed, text, text.size());
    EXPECT_EQ(fed->state, State::COMPLETE) << text;
    return fed;
  };
  EXPECT_EQ(head("Location: /a?b#c\n\n")->parser.head().local_redirect, "/a?b");
  EXPECT_EQ(head("Location: http://a.example/\n\n")->parser.head().status, 302);
  EXPECT_EQ(head("Location: http://a.example/\n\n")->parser.head().fields.at(0).second, "http://a.example/");
  EXPECT_EQ(head("Location: //a.example/\n\n")->parser.head().status, 302);
  EXPECT_EQ(head("Location: elsewhere\n\n")->parser.head().status, 302);
  const auto with_document = head("Status: 301 Moved\nLocation: /a\nContent-Type: a/b\n\n");
  EXPECT_TRUE(with_document->parser.head().local_redirect.empty()) << "its Status makes it the client's";
  EXPECT_EQ(with_document->parser.head().status, 301);
  EXPECT_EQ(with_document->parser.head().fields.size(), 2U);
}

TEST(CgiHead, reads_the_length) {
  Fed fed;
  feed(fed, "Content-Length: 12\n\n", 100);
  EXPECT_EQ(fed.parser.head().content_length, 12U);
  for (const char* wrong : {"", "-1", "1x", "1, 1", "99999999999999999999", "9223372036854775808"}) {
    EXPECT_EQ(error_of("Content-Length: " + std::string(wrong) + "\n\n"), "has a Content-Length that is no number")
        << wrong;
  }
}

TEST(CgiHead, refuses_what_cannot_be_meant) {
  EXPECT_EQ(error_of("HTTP/1.1 200 OK\n\n"), "has a line without a colon");
  EXPECT_EQ(error_of("A: b\n folded\n\n"), "has a line without a colon");
  EXPECT_EQ(error_of("A: b\n folded: x\n\n"), "has a malformed field name");
  EXPECT_EQ(error_of(": x\n\n"), "has a malformed field name");
  EXPECT_EQ(error_of("A : x\n\n"), "has a malformed field name");
  EXPECT_EQ(error_of("A: x\ry\n\n"), "has a control character in a field");
  EXPECT_EQ(error_of(std::string("A: x\0y\n\n", 8)), "has a control character in a field");
  EXPECT_EQ(error_of("A: x\x7f\n\n"), "has a control character in a field");
  EXPECT_EQ(error_of("Location:\n\n"), "has an empty Location");
  EXPECT_EQ(error_of("Location: /a\nlocation: /b\n\n"), "has two Location fields");
  EXPECT_EQ(error_of("Status: 200\nStatus: 200\n\n"), "has two Status fields");
  EXPECT_EQ(error_of("Content-Type: a\nContent-Type: a\n\n"), "has two Content-Type fields");
  EXPECT_EQ(error_of("Content-Length: 1\nContent-Length: 1\n\n"), "has two Content-Length fields");
  EXPECT_EQ(error_of("\n"), "has no field");
  for (const char* status : {"", "20", "2000", "100 Continue", "199", "600", "200OK", "+20", " OK", "-12"}) {
    EXPECT_EQ(error_of("Status: " + std::string(status) + "\n\n"), "has a Status that is not 200 to 599") << status;
  }
}

TEST(CgiHead, has_a_limit) {
  const std::string most = "A: " + std::string(CgiHeadParser::BYTES_MAX - 5, 'x') + "\n\n";
  ASSERT_EQ(most.size(), CgiHeadParser::BYTES_MAX);
  EXPECT_EQ(error_of(most), "complete");
  EXPECT_EQ(error_of("A" + most), "is longer than 64 KiB");
  EXPECT_EQ(error_of(std::string(CgiHeadParser::BYTES_MAX, 'x')), "more");
  EXPECT_EQ(error_of(std::string(CgiHeadParser::BYTES_MAX + 1, 'x')), "is longer than 64 KiB");
}

}  // namespace
}  // namespace penstock
