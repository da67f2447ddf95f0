#include "src/transport/proxy_header.h"

#include <gtest/gtest.h>
#include <string>
#include <sys/socket.h>

namespace penstock {
namespace {

const std::string SIGNATURE("\r\n\r\n\0\r\nQUIT\n", 12);

std::string bytes_of(std::initializer_list<int> list) {
  std::string text;
  for (const int byte : list) text += static_cast<char>(byte);
  return text;
}

std::string version_2(int command, int family, const std::string& block) {
  return SIGNATURE +
         bytes_of({command, family, static_cast<int>(block.size() >> 8), static_cast<int>(block.size() & 255)}) + block;
}

std::string shown(const PeerAddress& address) {
  std::string text = std::to_string(address.family) + ":";
  for (size_t i = 0; i < (address.family == AF_INET ? 4 : 16); ++i) text += " " + std::to_string(address.ip[i]);
  return text + " " + std::to_string(address.port);
}

const std::string V4 = bytes_of({192, 0, 2, 1, 198, 51, 100, 7, 0x12, 0x67, 0x01, 0xbb});

TEST(ProxyHeader, of_version_1_is_a_line) {
  const std::string line = "PROXY TCP4 192.0.2.1 198.51.100.7 4711 443\r\n";
  ProxyHeader header;
  ASSERT_EQ(parse_proxy_header(line + "GET / HTTP/1.1", header), ProxyState::DONE);
  EXPECT_EQ(header.bytes, line.size());
  EXPECT_TRUE(header.says);
  EXPECT_EQ(shown(header.client), "2: 192 0 2 1 4711");
  EXPECT_EQ(shown(header.server), "2: 198 51 100 7 443");
  for (size_t end = 0; end < line.size(); ++end) {
    EXPECT_EQ(parse_proxy_header(line.substr(0, end), header), ProxyState::NEED_MORE) << end;
  }
  ASSERT_EQ(parse_proxy_header("PROXY TCP6 2001:db8::1 ::1 0 65535\r\n", header), ProxyState::DONE);
  EXPECT_EQ(shown(header.client), "10: 32 1 13 184 0 0 0 0 0 0 0 0 0 0 0 1 0");
  EXPECT_EQ(header.server.port, 65'535);
  ASSERT_EQ(parse_proxy_header("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", header), ProxyState::DONE);
  EXPECT_EQ(shown(header.client), "2: 192 0 2 1 1") << "one address, one form";
}

TEST(ProxyHeader, of_version_1_may_say_nothing) {
  ProxyHeader header;
  for (const char* const line : {"PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff:f::1 ::1 65535 65535\r\n"}) {
    ASSERT_EQ(parse_proxy_header(line, header), ProxyState::DONE) << line;
    EXPECT_FALSE(header.says);
  }
}

TEST(ProxyHeader, of_version_1_is_read_strictly) {
  ProxyHeader header;
  for (const char* const line :
       {"GET / HTTP/1.1\r\n", "PROXY  TCP4 192.0.2.1 198.51.100.7 1 2\r\n", "PROXY TCP4 192.0.2.1 198.51.100.7 1 2\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1\r\n", "PROXY TCP4 192.0.2.1 198.51.100.7 1 2 3\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 65536\r\n", "PROXY TCP4 192.0.2.1 198.51.100.7 01 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 -1 2\r\n", "PROXY TCP4 192.0.2.1 198.51.100.7 1 2 \r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n", "PROXY TCP6 192.0.2.1 198.51.100.7 1 2\r\n",
        "PROXY TCP5 192.0.2.1 198.51.100.7 1 2\r\n", "PROXY UDP4 192.0.2.1 198.51.100.7 1 2\r\n",
        "PROXY tcp4 192.0.2.1 198.51.100.7 1 2\r\n", "PROXY TCP4 localhost 198.51.100.7 1 2\r\n", "PROXY \r\n"}) {
    EXPECT_EQ(parse_proxy_header(line, header), ProxyState::BAD) << line;
  }
  EXPECT_EQ(parse_proxy_header("PROXY UNKNOWN " + std::string(93, 'x'), header), ProxyState::BAD)
      << "107 bytes, and no end";
  EXPECT_EQ(parse_proxy_header("PROXY UNKNOWN " + std::string(92, 'x'), header), ProxyState::NEED_MORE);
}

TEST(ProxyHeader, of_version_2_is_binary) {
  ProxyHeader header;
  const std::string text = version_2(0x21, 0x11, V4);
  ASSERT_EQ(parse_proxy_header(text + "GET", header), ProxyState::DONE);
  EXPECT_EQ(header.bytes, text.size());
  EXPECT_EQ(shown(header.client), "2: 192 0 2 1 4711");
  EXPECT_EQ(shown(header.server), "2: 198 51 100 7 443");
  for (size_t end = 0; end < text.size(); ++end) {
    EXPECT_EQ(parse_proxy_header(text.substr(0, end), header), ProxyState::NEED_MORE) << end;
  }
  const std::string extended = version_2(0x21, 0x11, V4 + bytes_of({4, 0, 1, 'x'}));
  ASSERT_EQ(parse_proxy_header(extended, header), ProxyState::DONE);
  EXPECT_EQ(header.bytes, extended.size());
  std::string v6(36, '\0');
  v6[15] = 1;
  v6[33] = 80;
  ASSERT_EQ(parse_proxy_header(version_2(0x21, 0x21, v6), header), ProxyState::DONE);
  EXPECT_EQ(shown(header.client), "10: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 80");
  ASSERT_EQ(parse_proxy_header(version_2(0x21, 0x31, std::string(216, '\0')), header), ProxyState::DONE);
  EXPECT_EQ(header.client.family, AF_UNIX);
}

TEST(ProxyHeader, of_version_2_may_say_nothing) {
  ProxyHeader header;
  for (const std::string& text : {version_2(0x20, 0x00, ""), version_2(0x20, 0x11, V4), version_2(0x21, 0x00, "abc")}) {
    ASSERT_EQ(parse_proxy_header(text, header), ProxyState::DONE);
    EXPECT_FALSE(header.says);
    EXPECT_EQ(header.bytes, text.size());
  }
}

TEST(ProxyHeader, of_version_2_is_read_strictly) {
  ProxyHeader header;
  for (const std::string& text :
       {version_2(0x11, 0x11, V4), version_2(0x22, 0x11, V4), version_2(0x21, 0x12, V4), version_2(0x21, 0x41, V4),
        version_2(0x21, 0x11, V4.substr(1)), version_2(0x21, 0x21, V4), version_2(0x21, 0x31, V4),
        version_2(0x21, 0x11, std::string(PROXY_HEADER_BYTES_MAX - 15, 'x')), SIGNATURE.substr(0, 11) + "x"}) {
    EXPECT_EQ(parse_proxy_header(text, header), ProxyState::BAD);
  }
  EXPECT_EQ(parse_proxy_header(version_2(0x21, 0x11, V4 + std::string(PROXY_HEADER_BYTES_MAX - 28, 'x')), header),
            ProxyState::DONE);
}

}  // namespace
}  // namespace penstock
