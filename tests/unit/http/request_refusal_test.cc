// FEATURES RD5 and RD12: what two readers could understand differently is refused, each cause with its own
// reason; and nothing that is refused here can be got past by spelling.

#include "tests/support/effort.h"
#include "tests/unit/http/parse_helper.h"
#include "tests/unit/http/request_corpus.h"

#include <cstdlib>
#include <gtest/gtest.h>
#include <set>
#include <string>
#include <vector>

namespace penstock {
namespace {

using enum Reason;

struct Refused {
  std::string text;
  Reason reason;
};

std::string get(std::string_view fields) { return "GET / HTTP/1.1\r\nHost: h\r\n" + std::string(fields) + "\r\n"; }
std::string post(std::string_view fields) {
  return "POST / HTTP/1.1\r\nHost: h\r\n" + std::string(fields) +
         "\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
}
std::string line(std::string_view request_line) { return std::string(request_line) + "\r\nHost: h\r\n\r\n"; }

std::vector<Refused> request_lines() {
  using namespace std::string_literals;
  return {
      {line("G(T / HTTP/1.1"), METHOD_INVALID},
      {line(" GET / HTTP/1.1"), METHOD_INVALID},
      {line("\tGET / HTTP/1.1"), METHOD_INVALID},
      {line("GET\t/ HTTP/1.1"), METHOD_INVALID},
      {line("GET: / HTTP/1.1"), METHOD_INVALID},
      {"\x16\x03\x01\x02"s, METHOD_INVALID},  // a TLS ClientHello
      {line("\x80 / HTTP/1.1"), METHOD_INVALID},
      {line("GET\0 / HTTP/1.1"s), NUL_IN_HEAD},
      {line(std::string(33, 'M') + " / HTTP/1.1"), METHOD_LENGTH},
      {"GET\r\n", REQUEST_LINE_INVALID},
      {line("GET /"), REQUEST_LINE_INVALID},  // HTTP/0.9
      {line("GET /?q"), REQUEST_LINE_INVALID},
      {line("GET  / HTTP/1.1"), REQUEST_LINE_INVALID},
      {line("GET  HTTP/1.1"), REQUEST_LINE_INVALID},
      {line("GET /\tHTTP/1.1"), TARGET_INVALID},
      {line("GET /a\tb HTTP/1.1"), TARGET_INVALID},
      {line("GET /a#b HTTP/1.1"), TARGET_INVALID},
      {line("GET /?a#b HTTP/1.1"), TARGET_INVALID},
      {line("GET /\x7f HTTP/1.1"), TARGET_INVALID},
      {line("GET /?\x01 HTTP/1.1"), TARGET_INVALID},
      {line("GET /a\0b HTTP/1.1"s), NUL_IN_HEAD},
      {line("GET /?a\0b HTTP/1.1"s), NUL_IN_HEAD},
      {line("GET / HTTP/1.1 "), VERSION_INVALID},
      {line("GET /  HTTP/1.1"), VERSION_INVALID},
      {line("GET /a b HTTP/1.1"), VERSION_INVALID},
      {line("GET / http/1.1"), VERSION_INVALID},
      {line("GET / HTTP/1"), VERSION_INVALID},
      {line("GET / HTTP/1.10"), VERSION_INVALID},
      {line("GET / HTTP/11"), VERSION_INVALID},
      {line("GET / HTTP/1,1"), VERSION_INVALID},
      {line("GET / HTTP/x.1"), VERSION_INVALID},
      {line("GET / HTTP /1.1"), VERSION_INVALID},
      {line("GET / "), VERSION_INVALID},
      {line("GET / HTTP/0.9"), VERSION_UNSUPPORTED},
      {line("GET / HTTP/2.0"), VERSION_UNSUPPORTED},
      {line("GET / HTTP/3.0"), VERSION_UNSUPPORTED},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HTTP2_PREFACE},
      {line("GET / HTTP/1.1\rX: y"), BARE_CR},
      {line("GET /\rX HTTP/1.1"), BARE_CR},
      {line("GET /a?\rX HTTP/1.1"), BARE_CR},
      {"GET / HTTP/1.1\nHost: h\n\n", BARE_LF},
      {"GET /\nHost: h\n\n", BARE_LF},
      {"\r\n\r\n\r\n\r\n\r\nGET", EMPTY_LINES},
      {"\n", BARE_LF},
      {"\rGET", BARE_CR},
      {line("GET index.html HTTP/1.1"), TARGET_FORM_INVALID},
      {line("GET * HTTP/1.1"), TARGET_FORM_INVALID},
      {line("GET *x HTTP/1.1"), TARGET_FORM_INVALID},
      {line("GET ? HTTP/1.1"), TARGET_FORM_INVALID},
      {line("OPTIONS *?a HTTP/1.1"), TARGET_FORM_INVALID},
      {line("GET ftp://h/ HTTP/1.1"), TARGET_FORM_INVALID},
      {line("GET http:/h/ HTTP/1.1"), TARGET_FORM_INVALID},
      {line("GET http: HTTP/1.1"), TARGET_FORM_INVALID},
      {line("GET http:?//h HTTP/1.1"), TARGET_FORM_INVALID},
      {line("CONNECT / HTTP/1.1"), TARGET_FORM_INVALID},
      {line("CONNECT h HTTP/1.1"), TARGET_FORM_INVALID},
      {line("CONNECT h: HTTP/1.1"), TARGET_FORM_INVALID},
      {line("CONNECT http://h:80/ HTTP/1.1"), TARGET_FORM_INVALID},
      {line("GET h:80 HTTP/1.1"), TARGET_FORM_INVALID},
      {line("GET http:///x HTTP/1.1"), HOST_INVALID},
      {line("GET http://u@h/ HTTP/1.1"), HOST_INVALID},
      {line("GET http://h:x/ HTTP/1.1"), HOST_INVALID},
  };
}

std::vector<Refused> field_lines() {
  using namespace std::string_literals;
  return {
      {get("A: b\nC: d\r\n"), BARE_LF},
      {get("A: b\rC: d\r\n"), BARE_CR},
      {get("A: b\r\r\n"), BARE_CR},
      {get("A\n: b\r\n"), BARE_LF},
      {get("A\r: b\r\n"), BARE_CR},
      {"GET / HTTP/1.1\r\nHost: h\r\n\rX", BARE_CR},
      {"GET / HTTP/1.1\r\nHost: h\r\n\n", BARE_LF},
      {get("A: b\r\n c\r\n"), OBS_FOLD},
      {get("A: b\r\n\tc\r\n"), OBS_FOLD},
      {"GET / HTTP/1.1\r\n Host: h\r\n\r\n", OBS_FOLD},
      {get("A : b\r\n"), SPACE_BEFORE_COLON},
      {get("A\t: b\r\n"), SPACE_BEFORE_COLON},
      {get("A B: c\r\n"), SPACE_BEFORE_COLON},
      {get(": b\r\n"), FIELD_NAME_EMPTY},
      {get("A\r\n"), COLON_MISSING},
      {get("(A): b\r\n"), FIELD_NAME_INVALID},
      {get("A\x80: b\r\n"), FIELD_NAME_INVALID},
      {get("\"A\": b\r\n"), FIELD_NAME_INVALID},
      {get("A\x0b: b\r\n"), FIELD_NAME_INVALID},
      {get("A/B: b\r\n"), FIELD_NAME_INVALID},
      {get("A\0: b\r\n"s), NUL_IN_HEAD},
      {get("A: b\0c\r\n"s), NUL_IN_HEAD},
      {get("\0: b\r\n"s), NUL_IN_HEAD},
      {get("A: b\x01\r\n"), FIELD_VALUE_INVALID},
      {get("A: b\x7f\r\n"), FIELD_VALUE_INVALID},
      {get("A: \x0b\r\n"), FIELD_VALUE_INVALID},
      {get("A: \x1b[2J\r\n"), FIELD_VALUE_INVALID},
  };
}

std::vector<Refused> hosts() {
  const auto with = [](std::string_view host) { return "GET / HTTP/1.1\r\n" + std::string(host) + "\r\n"; };
  return {
      {with(""), HOST_MISSING},
      {with("X-Host: h\r\n"), HOST_MISSING},
      {with("Host: h\r\nHost: h\r\n"), HOST_REPEATED},
      {with("Host: h\r\nhost: evil\r\n"), HOST_REPEATED},
      {"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", HOST_REPEATED},
      {"GET http://h/ HTTP/1.1\r\n\r\n", HOST_MISSING},
      {"GET http://h/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", HOST_REPEATED},
      {"GET http://h/ HTTP/1.1\r\nHost: a b\r\n\r\n", HOST_INVALID},
      {with("Host:\r\n"), HOST_INVALID},
      {with("Host: a, b\r\n"), HOST_INVALID},
      {with("Host: a b\r\n"), HOST_INVALID},
      {with("Host: a/b\r\n"), HOST_INVALID},
      {with("Host: a@b\r\n"), HOST_INVALID},
      {with("Host: a?b\r\n"), HOST_INVALID},
      {with("Host: a#b\r\n"), HOST_INVALID},
      {with("Host: a%00b\r\n"), HOST_INVALID},
      {with("Host: a\\b\r\n"), HOST_INVALID},
      {with("Host: http://a\r\n"), HOST_INVALID},
      {with("Host: a:b\r\n"), HOST_INVALID},
      {with("Host: a:80:80\r\n"), HOST_INVALID},
      {with("Host: a:65536\r\n"), HOST_INVALID},
      {with("Host: a:-1\r\n"), HOST_INVALID},
      {with("Host: [::1\r\n"), HOST_INVALID},
      {with("Host: ::1\r\n"), HOST_INVALID},
      {with("Host: \xc3\xa4\r\n"), HOST_INVALID},
      {with("Host: a..b\r\n"), HOST_INVALID},
      {with("Host: ../../etc\r\n"), HOST_INVALID},
  };
}

std::vector<Refused> framing() {
  return {
      {post("Content-Length: 5\r\nContent-Length: 6\r\n"), CONTENT_LENGTH_REPEATED},
      {post("Content-Length: 5\r\ncontent-length: 5\r\n"), CONTENT_LENGTH_REPEATED},
      {post("Content-Length: 5, 5\r\n"), CONTENT_LENGTH_INVALID},
      {post("Content-Length: 5,6\r\n"), CONTENT_LENGTH_INVALID},
      {post("Content-Length:\r\n"), CONTENT_LENGTH_INVALID},
      {post("Content-Length: +5\r\n"), CONTENT_LENGTH_INVALID},
      {post("Content-Length: -5\r\n"), CONTENT_LENGTH_INVALID},
      {post("Content-Length: 0x5\r\n"), CONTENT_LENGTH_INVALID},
      {post("Content-Length: 5 5\r\n"), CONTENT_LENGTH_INVALID},
      {post("Content-Length: 5.0\r\n"), CONTENT_LENGTH_INVALID},
      {post("Content-Length: 5e1\r\n"), CONTENT_LENGTH_INVALID},
      {post("Content-Length: 1_000\r\n"), CONTENT_LENGTH_INVALID},
      {post("Content-Length: \"5\"\r\n"), CONTENT_LENGTH_INVALID},
      {post("Content-Length: 5;\r\n"), CONTENT_LENGTH_INVALID},
      {post("Content-Length: \xd9\xa5\r\n"), CONTENT_LENGTH_INVALID},  // an Arabic five
      {post("Content-Length: 9223372036854775808\r\n"), CONTENT_LENGTH_INVALID},
      {post("Content-Length: 18446744073709551621\r\n"), CONTENT_LENGTH_INVALID},
      {post("Content-Length: 99999999999999999999999999\r\n"), CONTENT_LENGTH_INVALID},
      {post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), LENGTH_AND_CODING},
      {post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), LENGTH_AND_CODING},
      {post("Transfer-Encoding: identity\r\nContent-Length: 5\r\n"), LENGTH_AND_CODING},
      {post("Transfer-Encoding: x\r\nContent-Length: bad\r\n"), LENGTH_AND_CODING},
      {post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), TRANSFER_ENCODING_REPEATED},
      {post("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"), TRANSFER_ENCODING_REPEATED},
      {post("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n"), TRANSFER_ENCODING_REPEATED},
      {"POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", TRANSFER_ENCODING_IN_1_0},
      {post("Transfer-Encoding:\r\n"), TRANSFER_ENCODING_EMPTY},
      {post("Transfer-Encoding: ,\r\n"), TRANSFER_ENCODING_EMPTY},
      {post("Transfer-Encoding: , chunked\r\n"), TRANSFER_ENCODING_EMPTY},
      {post("Transfer-Encoding: chunked,\r\n"), CHUNKED_NOT_LAST},
      {post("Transfer-Encoding: chunked, chunked\r\n"), CHUNKED_NOT_LAST},
      {post("Transfer-Encoding: chunked, identity\r\n"), CHUNKED_NOT_LAST},
      {post("Transfer-Encoding: chunked, gzip\r\n"), CHUNKED_NOT_LAST},
      {post("Transfer-Encoding: gzip, chunked\r\n"), CODING_UNKNOWN},
      {post("Transfer-Encoding: identity\r\n"), CODING_UNKNOWN},
      {post("Transfer-Encoding: identity, chunked\r\n"), CODING_UNKNOWN},
      {post("Transfer-Encoding: xchunked\r\n"), CODING_UNKNOWN},
      {post("Transfer-Encoding: chunkedx\r\n"), CODING_UNKNOWN},
      {post("Transfer-Encoding: chunk\r\n"), CODING_UNKNOWN},
      {post("Transfer-Encoding: \"chunked\"\r\n"), CODING_UNKNOWN},
      {post("Transfer-Encoding: chunked;q=1\r\n"), CODING_UNKNOWN},
      {post("Transfer-Encoding: chunked foo\r\n"), CODING_UNKNOWN},
      {post("Transfer-Encoding: [chunked]\r\n"), CODING_UNKNOWN},
      {post("Transfer-Encoding: x chunked\r\n"), CODING_UNKNOWN},
      {post("Transfer-Encoding: \xc4\xb7\x75nked\r\n"), CODING_UNKNOWN},
      {post("Transfer-Encoding : chunked\r\n"), SPACE_BEFORE_COLON},
      {post("Transfer-Encoding\r\n : chunked\r\n"), COLON_MISSING},
      {post("X: y\r\n Transfer-Encoding: chunked\r\n"), OBS_FOLD},
      {post("Transfer-Encoding:\r\n chunked\r\n"), OBS_FOLD},
      {post("X: y\rTransfer-Encoding: chunked\r\n"), BARE_CR},
      {post("X: y\nTransfer-Encoding: chunked\r\n"), BARE_LF},
      {post("Transfer-Encoding: \x0b"
            "chunked\r\n"),
       FIELD_VALUE_INVALID},
      {post("Transfer-Encoding: chunked\x0c\r\n"), FIELD_VALUE_INVALID},
      {post("Expect: 200-ok\r\n"), EXPECTATION_FAILED},
      {post("Expect: 100-continue, x\r\n"), EXPECTATION_FAILED},
      {post("Expect: 100-continue\r\nExpect: x\r\n"), EXPECTATION_FAILED},
      {post("Expect:\r\n"), EXPECTATION_FAILED},
  };
}

std::vector<Refused> limits() {
  std::string many;
  for (int i = 0; i < 100; ++i) many += "A: b\r\n";
  return {
      {line("GET /" + std::string(4096, 'p') + " HTTP/1.1"), URL_LENGTH},
      {line("GET /?" + std::string(2049, 'q') + " HTTP/1.1"), QUERY_LENGTH},
      {get("A: " + std::string(16384, 'v') + "\r\n"), HEAD_LENGTH},
      {get(many), FIELD_COUNT},
  };
}

std::vector<Refused> all_refused() {
  std::vector<Refused> all = request_lines();
  for (auto part : {field_lines(), hosts(), framing(), limits()}) all.insert(all.end(), part.begin(), part.end());
  return all;
}

TEST(RequestParser, refuses_each_ambiguity_with_its_own_reason) {
  for (const Refused& refused : all_refused()) {
    const Parsed parsed = parse_text(refused.text);
    EXPECT_EQ(parsed.state, ParseState::BAD) << testing::PrintToString(refused.text);
    EXPECT_EQ(parsed.error, refused.reason) << testing::PrintToString(refused.text);
  }
}

TEST(RequestParser, has_a_tested_input_for_every_reason_it_can_give) {
  std::set<Reason> tested;
  for (const Refused& refused : all_refused()) tested.insert(refused.reason);
  tested.insert(refusal(get("A: bcdef\r\n"), {.field_bytes = 7}));
  const std::set<Reason> reasons = {METHOD_INVALID,
                                    REQUEST_LINE_INVALID,
                                    TARGET_INVALID,
                                    TARGET_FORM_INVALID,
                                    VERSION_INVALID,
                                    BARE_CR,
                                    BARE_LF,
                                    EMPTY_LINES,
                                    NUL_IN_HEAD,
                                    OBS_FOLD,
                                    SPACE_BEFORE_COLON,
                                    FIELD_NAME_EMPTY,
                                    FIELD_NAME_INVALID,
                                    COLON_MISSING,
                                    FIELD_VALUE_INVALID,
                                    HOST_MISSING,
                                    HOST_REPEATED,
                                    HOST_INVALID,
                                    CONTENT_LENGTH_INVALID,
                                    CONTENT_LENGTH_REPEATED,
                                    LENGTH_AND_CODING,
                                    TRANSFER_ENCODING_EMPTY,
                                    CHUNKED_NOT_LAST,
                                    TRANSFER_ENCODING_REPEATED,
                                    TRANSFER_ENCODING_IN_1_0,
                                    EXPECTATION_FAILED,
                                    CODING_UNKNOWN,
                                    METHOD_LENGTH,
                                    URL_LENGTH,
                                    QUERY_LENGTH,
                                    HEAD_LENGTH,
                                    FIELD_LENGTH,
                                    FIELD_COUNT,
                                    VERSION_UNSUPPORTED,
                                    HTTP2_PREFACE};
  EXPECT_EQ(tested, reasons);
}

// FEATURES RD5: of whatever comes. PENSTOCK_TEST_LONG: ten million requests.
TEST(RequestParser, refuses_nothing_without_a_cause_that_has_an_answer_and_a_phrase) {
  const int requests = std::getenv("PENSTOCK_TEST_LONG") != nullptr ? 10'000'000 : one_threaded_rounds(20'000);
  constexpr ParseLimits TIGHT{
      .head_bytes = 400, .field_bytes = 90, .url_bytes = 70, .query_bytes = 40, .fields = 6, .verb_bytes = 16};
  RequestCorpus corpus(20261129);
  RequestHead head;
  std::set<Reason> given;
  int refused = 0;
  int without = 0;
  for (int n = 0; n < requests; ++n) {
    const std::string text = corpus.next();
    RequestParser parser;
    if (parser.parse(text, n % 2 == 0 ? ParseLimits{} : TIGHT, head) != ParseState::BAD) continue;
    ++refused;
    const ReasonInfo& info = reason_info(parser.error());
    if (info.status < 400 || info.phrase == "-") ++without;
    given.insert(parser.error());
  }
  EXPECT_EQ(without, 0);
  EXPECT_GT(refused, requests / 4);
  EXPECT_GE(given.size(), 25U);  // or the corpus says little
}

// Every byte value at every edge of the framing field's name and value: either the line is refused, or it is another
// field altogether, or it says chunked. It never is a Transfer-Encoding that is read over.
TEST(RequestParser, never_reads_over_a_disguised_transfer_encoding) {
  const std::string name = "Transfer-Encoding";
  const std::string value = "chunked";
  for (unsigned byte = 0; byte < 256; ++byte) {
    const std::string b(1, static_cast<char>(byte));
    const std::vector<std::string> lines = {b + name + ": " + value,
                                            name + b + ": " + value,
                                            name + ":" + b + value,
                                            name + ": " + value + b,
                                            "Transfer" + b + "Encoding: " + value,
                                            name + ": chun" + b + "ked",
                                            name + ": " + value + "," + b,
                                            name + ": x" + b + value,
                                            "X: y" + b + name + ": " + value};
    for (const std::string& field : lines) {
      const Parsed parsed = parse_text(post(field + "\r\n"));
      if (parsed.state != ParseState::COMPLETE) continue;
      if (parsed.head.has(Field::TRANSFER_ENCODING)) {
        EXPECT_EQ(parsed.head.body, BodyKind::CHUNKED) << testing::PrintToString(field);
      } else {
        // Another field, whose name some token byte has changed, or whose value has swallowed it.
        EXPECT_EQ(parsed.head.body, BodyKind::NONE);
        EXPECT_NE(parsed.head.fields()[1].name, name);
      }
    }
  }
}

TEST(RequestParser, accepts_chunked_in_any_case_and_nothing_else) {
  for (const std::string_view value : {"chunked", "Chunked", "CHUNKED", "  chunked\t"}) {
    const Parsed parsed = parse_text(post("Transfer-Encoding: " + std::string(value) + "\r\n"));
    ASSERT_EQ(parsed.state, ParseState::COMPLETE);
    EXPECT_EQ(parsed.head.body, BodyKind::CHUNKED);
    EXPECT_FALSE(parsed.head.plain);
  }
}

TEST(RequestParser, reads_content_length_up_to_63_bits) {
  const Parsed parsed = parse_text(post("Content-Length: 9223372036854775807\r\n"));
  ASSERT_EQ(parsed.state, ParseState::COMPLETE);
  EXPECT_EQ(parsed.head.body, BodyKind::LENGTH);
  EXPECT_EQ(parsed.head.content_length, 9223372036854775807U);
  EXPECT_EQ(parse_text(post("Content-Length: 007\r\n")).head.content_length, 7U);
  EXPECT_EQ(parse_text(post("Content-Length: 0\r\n")).head.body, BodyKind::NONE);
}

}  // namespace
}  // namespace penstock
