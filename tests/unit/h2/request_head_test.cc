// The text of a request, field by field. Section numbers are RFC 9113's.
#include "src/http/h2/request_head.h"

#include "src/http/request_parser.h"

#include <gtest/gtest.h>
#include <vector>

namespace penstock {
namespace {

using HeadFields = std::vector<std::pair<std::string, std::string>>;

const HeadFields GET = {{":method", "GET"}, {":scheme", "http"}, {":path", "/a?b=1"}, {":authority", "a.example"}};

HeadFields plus(HeadFields fields, const HeadFields& more) {
  fields.insert(fields.end(), more.begin(), more.end());
  return fields;
}

struct Made {
  H2RequestHead head;
  Reason reason = Reason::NONE;
};

Made make(const HeadFields& fields, bool end_stream = true, size_t bytes_max = 16'384,
          H2RequestHead::Section section = H2RequestHead::Section::HEAD) {
  Made made;
  made.head.begin(section, bytes_max);
  for (const auto& [name, value] : fields) made.head.field(name, value);
  made.reason = made.head.finish(end_stream);
  return made;
}

Reason reason_of(const HeadFields& fields, bool end_stream = true) { return make(fields, end_stream).reason; }

Reason trailer_reason(const HeadFields& fields) {
  return make(fields, true, 16'384, H2RequestHead::Section::TRAILERS).reason;
}

TEST(H2RequestHead, is_one_canonical_head) {
  const Made made = make(plus(GET, {{"accept", "*/*"}}));
  EXPECT_EQ(made.reason, Reason::NONE);
  EXPECT_EQ(made.head.text(), "GET /a?b=1 HTTP/1.1\r\nhost: a.example\r\naccept: */*\r\n\r\n");
}

TEST(H2RequestHead, section_8_3_1_pseudo_headers_in_any_order) {
  EXPECT_EQ(make({{":path", "/"}, {":authority", "h"}, {":scheme", "https"}, {":method", "HEAD"}}).head.text(),
            "HEAD / HTTP/1.1\r\nhost: h\r\n\r\n");
}

TEST(H2RequestHead, section_8_3_1_missing_pseudo_headers) {
  for (size_t missing = 0; missing < 3; ++missing) {
    HeadFields fields = GET;
    fields.erase(fields.begin() + static_cast<ptrdiff_t>(missing));
    EXPECT_EQ(reason_of(fields), Reason::H2_PSEUDO_MISSING) << missing;
  }
  EXPECT_EQ(reason_of({}), Reason::H2_PSEUDO_MISSING);
}

TEST(H2RequestHead, section_8_3_pseudo_headers_repeated_unknown_late) {
  for (const auto& field : GET) EXPECT_EQ(reason_of(plus(GET, {field})), Reason::H2_PSEUDO_REPEATED) << field.first;
  EXPECT_EQ(reason_of(plus(GET, {{":protocol", "websocket"}})), Reason::H2_PSEUDO_UNKNOWN);
  EXPECT_EQ(reason_of(plus(GET, {{":status", "200"}})), Reason::H2_PSEUDO_UNKNOWN);
  EXPECT_EQ(reason_of({{":method", "GET"}, {":scheme", "http"}, {"accept", "x"}, {":path", "/"}}),
            Reason::H2_PSEUDO_MISSING);
  EXPECT_EQ(reason_of(plus(GET, {{"a", "b"}, {":authority", "h"}})), Reason::H2_PSEUDO_AFTER_FIELD);
}

TEST(H2RequestHead, section_8_3_1_values_that_would_end_the_request_line) {
  const auto path = [](const std::string& value) {
    return reason_of({{":method", "GET"}, {":scheme", "http"}, {":path", value}, {":authority", "h"}});
  };
  for (const char* bad : {"", "a", "*", "http://h/", "/ HTTP/1.1", "/\r\nx: y", "/\n", "/\t", "/#", "/\x7f"}) {
    EXPECT_EQ(path(bad), Reason::H2_PATH_INVALID) << bad;
  }
  EXPECT_EQ(path(std::string("/\0", 2)), Reason::H2_PATH_INVALID);
  for (const char* bad : {"", "G T", "GET\r\n", "G:"}) {
    EXPECT_EQ(reason_of({{":method", bad}, {":scheme", "http"}, {":path", "/"}, {":authority", "h"}}),
              Reason::H2_METHOD_INVALID)
        << bad;
  }
  for (const char* bad : {"", "a b", "a\r\nx: y", "a\t"}) {
    EXPECT_EQ(reason_of({{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {":authority", bad}}),
              Reason::H2_AUTHORITY_INVALID)
        << bad;
  }
  EXPECT_EQ(reason_of({{":method", "GET"}, {":scheme", "ftp"}, {":path", "/"}}), Reason::H2_SCHEME_INVALID);
}

TEST(H2RequestHead, section_8_3_1_options_of_the_server) {
  EXPECT_EQ(make({{":method", "OPTIONS"}, {":scheme", "http"}, {":path", "*"}, {":authority", "h"}}).head.text(),
            "OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n");
}

TEST(H2RequestHead, section_8_3_1_one_authority) {
  EXPECT_EQ(make(plus(GET, {{"host", "A.example"}})).head.text(), "GET /a?b=1 HTTP/1.1\r\nhost: a.example\r\n\r\n");
  EXPECT_EQ(reason_of(plus(GET, {{"host", "b.example"}})), Reason::H2_AUTHORITY_DIFFERS);
  const HeadFields bare = {{":method", "GET"}, {":scheme", "http"}, {":path", "/"}};
  EXPECT_EQ(make(plus(bare, {{"host", "h"}})).head.text(), "GET / HTTP/1.1\r\nhost: h\r\n\r\n");
  EXPECT_EQ(reason_of(plus(bare, {{"host", "h"}, {"host", "i"}})), Reason::H2_AUTHORITY_DIFFERS);
  EXPECT_EQ(make(bare).head.text(), "GET / HTTP/1.1\r\n\r\n");  // 400 above
}

TEST(H2RequestHead, section_8_5_connect_has_an_authority_only) {
  EXPECT_EQ(make({{":method", "CONNECT"}, {":authority", "h:1"}}).head.text(),
            "CONNECT h:1 HTTP/1.1\r\nhost: h:1\r\n\r\n");
  EXPECT_EQ(reason_of({{":method", "CONNECT"}, {":authority", "h:1"}, {":path", "/"}}), Reason::H2_CONNECT_INVALID);
  EXPECT_EQ(reason_of({{":method", "CONNECT"}}), Reason::H2_CONNECT_INVALID);
}

TEST(H2RequestHead, section_8_2_1_names) {
  for (const char* bad : {"", "Accept", "a b", "a:", "a\r\n", "a\x80"}) {
    EXPECT_EQ(reason_of(plus(GET, {{bad, "x"}})), Reason::H2_NAME_INVALID) << bad;
  }
}

TEST(H2RequestHead, section_8_2_1_values) {
  for (const char* bad : {" a", "a ", "\ta", "a\t", "a\rb", "a\nb", "a\r\nx: y", "a\x01", "\x7f"}) {
    EXPECT_EQ(reason_of(plus(GET, {{"x", bad}})), Reason::H2_VALUE_INVALID) << bad;
  }
  EXPECT_EQ(reason_of(plus(GET, {{"x", std::string("a\0b", 3)}})), Reason::H2_VALUE_INVALID);
  EXPECT_EQ(reason_of(plus(GET, {{"x", ""}, {"y", "a\tb \xc3\xa4"}})), Reason::NONE);
}

TEST(H2RequestHead, section_8_2_2_connection_fields) {
  for (const char* bad : {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}) {
    EXPECT_EQ(reason_of(plus(GET, {{bad, "chunked"}})), Reason::H2_CONNECTION_FIELD) << bad;
    EXPECT_EQ(trailer_reason({{bad, "x"}}), Reason::H2_CONNECTION_FIELD) << bad;
  }
  EXPECT_EQ(reason_of(plus(GET, {{"te", "gzip"}})), Reason::H2_TE_INVALID);
  EXPECT_EQ(reason_of(plus(GET, {{"te", "trailers, gzip"}})), Reason::H2_TE_INVALID);
  EXPECT_EQ(make(plus(GET, {{"te", "trailers"}})).head.text(), make(GET).head.text());
}

TEST(H2RequestHead, section_8_2_3_cookie_crumbs_are_joined) {
  EXPECT_EQ(make(plus(GET, {{"cookie", "a=1"}, {"x", "y"}, {"cookie", "b=2"}})).head.text(),
            "GET /a?b=1 HTTP/1.1\r\nhost: a.example\r\nx: y\r\ncookie: a=1; b=2\r\n\r\n");
}

TEST(H2RequestHead, section_8_1_1_content_length) {
  const Made known = make(plus(GET, {{"content-length", "5"}}), false);
  EXPECT_EQ(known.reason, Reason::NONE);
  EXPECT_EQ(known.head.content_length(), 5U);
  EXPECT_FALSE(known.head.chunked());
  EXPECT_EQ(reason_of(plus(GET, {{"content-length", "5"}}), true), Reason::H2_LENGTH_DIFFERS);
  EXPECT_EQ(reason_of(plus(GET, {{"content-length", "0"}}), true), Reason::NONE);
  for (const char* bad : {"", "+5", "-1", "5, 5", "0x5", "9223372036854775808", "99999999999999999999"}) {
    EXPECT_EQ(reason_of(plus(GET, {{"content-length", bad}}), false), Reason::H2_LENGTH_INVALID) << bad;
  }
  EXPECT_EQ(reason_of(plus(GET, {{"content-length", "5"}, {"content-length", "5"}}), false), Reason::H2_LENGTH_INVALID);
}

TEST(H2RequestHead, section_8_1_a_body_without_length_is_chunked_inside) {
  const Made made = make(GET, false);
  EXPECT_TRUE(made.head.chunked());
  EXPECT_TRUE(made.head.text().ends_with("\r\ntransfer-encoding: chunked\r\n\r\n"));
}

TEST(H2RequestHead, section_8_1_trailers) {
  const Made made = make({{"x-sum", "1"}}, true, 16'384, H2RequestHead::Section::TRAILERS);
  EXPECT_EQ(made.head.text(), "x-sum: 1\r\n");
  EXPECT_EQ(trailer_reason({{":path", "/"}}), Reason::H2_PSEUDO_IN_TRAILERS);
  EXPECT_EQ(trailer_reason({{"content-length", "1"}}), Reason::H2_TRAILER_INVALID);
  EXPECT_EQ(trailer_reason({{"host", "h"}}), Reason::H2_TRAILER_INVALID);
}

TEST(H2RequestHead, what_is_too_long_is_cut_off_for_the_parser_to_refuse) {
  const Made made = make(plus(GET, {{"x", std::string(500, 'y')}}), true, 256);
  EXPECT_TRUE(made.head.cut_off());
  EXPECT_EQ(made.head.text().size(), 257U);
  RequestHead out;
  RequestParser parser;
  EXPECT_EQ(parser.parse(made.head.text(), {.head_bytes = 256}, out), ParseState::BAD);
  EXPECT_EQ(parser.error(), Reason::HEAD_LENGTH);
}

TEST(H2RequestHead, rfc_9218_section_4_priority) {
  EXPECT_EQ(parse_h2_priority("u=0").urgency, 0);
  EXPECT_EQ(parse_h2_priority("u=7, i").urgency, 7);
  EXPECT_TRUE(parse_h2_priority("u=7, i").incremental);
  EXPECT_TRUE(parse_h2_priority("i=?1").incremental);
  EXPECT_FALSE(parse_h2_priority("i, i=?0").incremental);
  EXPECT_EQ(parse_h2_priority("u=8").urgency, 3);
  EXPECT_EQ(parse_h2_priority("u=1;x=y, z").urgency, 1);
  EXPECT_EQ(parse_h2_priority(",,u,=").urgency, 3);
}

}  // namespace
}  // namespace penstock
