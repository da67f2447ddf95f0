#include "src/http/forwarded.h"

#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace penstock {
namespace {

std::string shown_hop(const HopAddress& hop) {
  std::string text = hop.v4 ? "v4" : "v6";
  for (size_t i = hop.v4 ? 12 : 0; i < hop.ip.size(); ++i) text += " " + std::to_string(hop.ip[i]);
  return text + (hop.port == 0 ? "" : " :" + std::to_string(hop.port));
}

using Take = HopState (*)(std::string_view&, HopAddress&);

// From the right, up to the first that is unknown.
std::vector<std::string> hops(Take take, std::string_view value) {
  std::vector<std::string> list;
  HopAddress hop;
  HopState state = HopState::ADDRESS;
  while ((state = take(value, hop)) == HopState::ADDRESS) list.push_back(shown_hop(hop));
  if (state == HopState::UNKNOWN) list.emplace_back("unknown");
  return list;
}

using Hops = std::vector<std::string>;

TEST(XForwardedFor, is_read_from_the_right) {
  EXPECT_EQ(hops(take_hop_of_x_forwarded_for, "192.0.2.1, 198.51.100.7:8080 ,,\t203.0.113.9"),
            (Hops{"v4 203 0 113 9", "v4 198 51 100 7 :8080", "v4 192 0 2 1"}));
  EXPECT_EQ(hops(take_hop_of_x_forwarded_for, ""), Hops{});
  EXPECT_EQ(hops(take_hop_of_x_forwarded_for, " , ,"), Hops{});
}

TEST(XForwardedFor, takes_addresses_of_both_kinds_with_and_without_ports) {
  const std::string loopback = "v6 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1";
  EXPECT_EQ(hops(take_hop_of_x_forwarded_for, "::1"), Hops{loopback});
  EXPECT_EQ(hops(take_hop_of_x_forwarded_for, "[::1]"), Hops{loopback});
  EXPECT_EQ(hops(take_hop_of_x_forwarded_for, "[::1]:443"), Hops{loopback + " :443"});
  EXPECT_EQ(hops(take_hop_of_x_forwarded_for, "::ffff:192.0.2.1"), Hops{"v4 192 0 2 1"}) << "one address, one form";
}

TEST(XForwardedFor, ends_where_it_cannot_be_understood) {
  for (const char* const wrong :
       {"unknown", "192.0.2", "192.0.2.1:", "192.0.2.1:65536", "192.0.2.1:1x", "192.0.2.1:+1", "[::1", "[::1]443", "[]",
        "1.2.3.4 5.6.7.8", "\"192.0.2.1\"", "192.0.2.256", "::1%eth0", "[192.0.2.1]", "0192.0.2.1"}) {
    EXPECT_EQ(hops(take_hop_of_x_forwarded_for, std::string("8.8.8.8, ") + wrong), Hops{"unknown"}) << wrong;
    EXPECT_EQ(hops(take_hop_of_x_forwarded_for, std::string(wrong) + ", 8.8.8.8"), (Hops{"v4 8 8 8 8", "unknown"}));
  }
  EXPECT_EQ(hops(take_hop_of_x_forwarded_for, std::string("192.0.2.1\0", 10)), Hops{"unknown"});
}

TEST(Forwarded, is_read_from_the_right) {
  EXPECT_EQ(hops(take_hop_of_forwarded, "for=192.0.2.1;proto=http, For=\"198.51.100.7:80\" ,, by=a;FOR=203.0.113.9"),
            (Hops{"v4 203 0 113 9", "v4 198 51 100 7 :80", "v4 192 0 2 1"}));
  EXPECT_EQ(hops(take_hop_of_forwarded, "for=\"[2001:db8::1]:4711\""),
            Hops{"v6 32 1 13 184 0 0 0 0 0 0 0 0 0 0 0 1 :4711"});
  EXPECT_EQ(hops(take_hop_of_forwarded, "proto=https; for=192.0.2.1; by=\"a\\\"b,c\""), Hops{"v4 192 0 2 1"});
}

TEST(Forwarded, ends_where_it_cannot_be_understood) {
  for (const char* const wrong : {"for=unknown", "for=_hidden", "for=\"_hidden:80\"", "proto=http", "for", "for=",
                                  "for=\"", "for=192.0.2.1;for=192.0.2.2", "for=2001:db8::1", "for=\"2001:db8::1\"",
                                  "for=192.0.2.1 proto=http", "for = 192.0.2.1", "=192.0.2.1", "for=\"192.0.2.1\"x"}) {
    EXPECT_EQ(hops(take_hop_of_forwarded, std::string("for=8.8.8.8, ") + wrong), Hops{"unknown"}) << wrong;
  }
}

// What a client wrote before the proxy added its own element must not reach into that.
TEST(Forwarded, is_not_changed_by_what_stands_further_left) {
  for (const char* const forged :
       {"for=8.8.8.8;x=\"", "\"", "for=\"8.8.8.8", "for=8.8.8.8;x=\"a\\", "for=8.8.8.8;x=\"\\\"", ","}) {
    for (const char* const own : {"for=203.0.113.9", "for=\"203.0.113.9\";by=\"x, \\\" y\""}) {
      const auto found = hops(take_hop_of_forwarded, std::string(forged) + ", " + own);
      ASSERT_FALSE(found.empty());
      EXPECT_EQ(found.front(), "v4 203 0 113 9") << forged << own;
    }
  }
}

}  // namespace
}  // namespace penstock
