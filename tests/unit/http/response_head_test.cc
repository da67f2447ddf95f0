#include "src/http/response_head.h"

#include <gtest/gtest.h>
#include <string>

namespace penstock {
namespace {

constexpr int64_t THEN = 784111777;

TEST(ResponseHead, begins_with_status_date_and_server) {
  char out[512];
  ResponseHeadWriter head(out, 200, THEN, ServerHeaderMode::PRODUCT);
  head.field("Content-Length", uint64_t{18446744073709551615U});
  head.field_date("Last-Modified", 0);
  head.raw("Cache-Control: no-cache\r\nX: y\r\n");
  EXPECT_EQ(head.finish(),
            "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: penstock\r\n"
            "Content-Length: 18446744073709551615\r\nLast-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
            "Cache-Control: no-cache\r\nX: y\r\n\r\n");
}

TEST(ResponseHead, has_its_date_where_date_offset_says) {
  for (const ReasonInfo& reason : REASONS) {
    if (reason.status == 0) continue;
    char out[512];
    ResponseHeadWriter writer(out, reason.status, THEN, ServerHeaderMode::NONE);
    const std::string_view head = writer.finish();
    EXPECT_EQ(head.substr(date_offset(reason.status), HTTP_DATE_BYTES), "Sun, 06 Nov 1994 08:49:37 GMT");
    char* date = out + date_offset(reason.status);
    write_http_date(THEN + 1, date);
    EXPECT_NE(head.find("08:49:38 GMT\r\n\r\n"), std::string_view::npos);
  }
}

// FEATURES RD16.
TEST(ResponseHead, names_the_server_as_told) {
  const auto head_of = [](ServerHeaderMode mode) {
    char out[512];
    ResponseHeadWriter writer(out, 404, THEN, mode);
    return std::string(writer.finish());
  };
  EXPECT_NE(head_of(ServerHeaderMode::FULL).find("\r\nServer: penstock/"), std::string::npos);
  EXPECT_NE(head_of(ServerHeaderMode::PRODUCT).find("\r\nServer: penstock\r\n"), std::string::npos);
  EXPECT_EQ(head_of(ServerHeaderMode::NONE).find("Server"), std::string::npos);
  EXPECT_EQ(head_of(ServerHeaderMode::NONE).find("penstock"), std::string::npos);
}

TEST(ResponseHead, is_spoilt_by_anything_that_could_split_it) {
  const auto gives = [](std::string_view name, std::string_view value) {
    char out[512];
    ResponseHeadWriter writer(out, 200, THEN, ServerHeaderMode::NONE);
    writer.field(name, value);
    writer.field("After", "x");
    return !writer.finish().empty();
  };
  EXPECT_TRUE(gives("Location", "/a b\t\xc3\xa4"));
  EXPECT_TRUE(gives("X", ""));
  for (const std::string_view value : std::initializer_list<std::string_view>{
           "a\r\nSet-Cookie: b", "a\n", "\r", std::string_view("a\0b", 3), "\x01", "\x7f"}) {
    EXPECT_FALSE(gives("Location", value));
  }
  for (const std::string_view name : {"", "a b", "a:", "a\r\n", "\xc3\xa4"}) EXPECT_FALSE(gives(name, "x"));
}

TEST(ResponseHead, gives_nothing_rather_than_a_part) {
  char out[512];
  ResponseHeadWriter whole(out, 200, THEN, ServerHeaderMode::FULL);
  whole.field("A", "b");
  const size_t size = whole.finish().size();
  for (size_t room = 0; room <= size; ++room) {
    ResponseHeadWriter writer(std::span(out, room), 200, THEN, ServerHeaderMode::FULL);
    writer.field("A", "b");
    EXPECT_EQ(writer.finish().size(), room == size ? size : 0) << room;
  }
}

TEST(ResponseHead, writes_an_unknown_status_with_an_empty_phrase) {
  char out[512];
  ResponseHeadWriter writer(out, 299, THEN, ServerHeaderMode::NONE);
  const std::string_view head = writer.finish();
  EXPECT_TRUE(head.starts_with("HTTP/1.1 299 \r\nDate: "));
  EXPECT_EQ(head.substr(date_offset(299), 3), "Sun");
}

}  // namespace
}  // namespace penstock
