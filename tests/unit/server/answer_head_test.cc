#include "src/server/pools/answer_head.h"

#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace penstock {
namespace {

std::string write(const AnswerHead& head) {
  std::string room(answer_head_bytes_max(head), '\0');
  return std::string(write_answer_head(room, head, 784111777, ServerHeaderMode::PRODUCT));
}

TEST(AnswerHead, is_written_anew_with_our_own_date_server_and_framing) {
  const LinkField fields[] = {{"Content-Type", "text/plain"}, {"Set-Cookie", "a=1"}, {"Set-Cookie", "b=2"}};
  EXPECT_EQ(write({.status = 201,
                   .fields = fields,
                   .site_fields = "X-Site: s\r\n",
                   .framing = AnswerFraming::LENGTH,
                   .length = 7}),
            "HTTP/1.1 201 Created\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: penstock\r\n"
            "Content-Type: text/plain\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Site: s\r\nContent-Length: 7\r\n\r\n");
}

TEST(AnswerHead, drops_what_is_not_the_applications_business_whatever_its_case) {
  for (const char* name : {"Connection", "content-length", "DATE", "Keep-Alive", "Proxy-Connection", "server", "TE",
                           "Trailer", "upgrade", "Transfer-Encoding", "cache-tag"}) {
    const LinkField fields[] = {{name, "evil"}, {"X-Kept", "1"}};
    const std::string text = write({.fields = fields, .framing = AnswerFraming::CHUNKED});
    EXPECT_EQ(text.find("evil"), std::string::npos) << name;
    EXPECT_NE(text.find("X-Kept: 1\r\n"), std::string::npos) << name;
    EXPECT_NE(text.find("Transfer-Encoding: chunked\r\n"), std::string::npos) << name;
  }
}

TEST(AnswerHead, has_the_sites_word_of_hsts_and_not_the_applications) {
  const LinkField fields[] = {{"strict-transport-security", "max-age=1"}, {"X-Kept", "1"}};
  const std::string ours =
      write({.fields = fields, .site_fields = "Strict-Transport-Security: max-age=2\r\nX-Site: s\r\n"});
  EXPECT_EQ(ours.find("max-age=1"), std::string::npos);
  EXPECT_NE(ours.find("X-Kept: 1\r\nStrict-Transport-Security: max-age=2\r\n"), std::string::npos);
  EXPECT_NE(write({.fields = fields, .site_fields = "X-Site: s\r\n"}).find("max-age=1"), std::string::npos);
}

// Response splitting: no byte of a name or value can end its line.
TEST(AnswerHead, refuses_every_byte_that_HTTP_does_not_allow_in_names_and_values) {
  for (int c = 0; c < 256; ++c) {
    const std::string byte(1, static_cast<char>(c));
    const std::string name = "X-" + byte + "A";
    const std::string value = "a" + byte + "b";
    const LinkField by_name[] = {{name, "v"}};
    const LinkField by_value[] = {{"X", value}};
    const bool token = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       (c != 0 && std::string_view("!#$%&'*+-.^_`|~").find(byte) != std::string_view::npos);
    const bool text = (c >= 0x20 && c != 0x7f) || c == '\t';
    EXPECT_EQ(!write({.fields = by_name}).empty(), token) << c;
    EXPECT_EQ(!write({.fields = by_value}).empty(), text) << c;
  }
}

TEST(AnswerHead, says_whether_the_connection_goes_on) {
  EXPECT_NE(write({.keep_alive = false}).find("\r\nConnection: close\r\n"), std::string::npos);
  EXPECT_NE(write({.http_1_0 = true}).find("\r\nConnection: keep-alive\r\n"), std::string::npos);
  EXPECT_EQ(write({}).find("Connection"), std::string::npos);
}

TEST(AnswerHead, tells_a_length_to_HEAD_and_none_where_there_can_be_no_body) {
  EXPECT_NE(write({.framing = AnswerFraming::NONE, .length = 12}).find("Content-Length: 12\r\n"), std::string::npos);
  EXPECT_EQ(write({.framing = AnswerFraming::NONE}).find("Content-Length"), std::string::npos);
  EXPECT_EQ(write({.status = 204, .framing = AnswerFraming::NONE, .length = 0}).find("Content-Length"),
            std::string::npos);
  EXPECT_EQ(write({.status = 304, .framing = AnswerFraming::NONE, .length = 9}).find("Content-Length"),
            std::string::npos);
}

TEST(AnswerHead, its_bound_holds_for_every_status_and_is_refused_below) {
  const LinkField fields[] = {{"X", std::string_view("0123456789")}};
  for (uint16_t status = 200; status < 600; ++status) {
    const AnswerHead head{.status = status,
                          .fields = fields,
                          .framing = AnswerFraming::LENGTH,
                          .length = UINT64_MAX - 1,
                          .keep_alive = false};
    std::string room(answer_head_bytes_max(head), '\0');
    const std::string text(write_answer_head(room, head, 0, ServerHeaderMode::FULL));
    ASSERT_FALSE(text.empty()) << status;
    std::string tight(text.size() - 1, '\0');
    EXPECT_TRUE(write_answer_head(tight, head, 0, ServerHeaderMode::FULL).empty()) << status;
  }
}

}  // namespace
}  // namespace penstock
