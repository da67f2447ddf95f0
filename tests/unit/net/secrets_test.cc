// What a stranger must not guess: sequence numbers, cookies, and the function that they come from.

#include "src/net/isn.h"
#include "src/net/syn_cookie.h"
#include "tests/support/net_bytes.h"

#include <gtest/gtest.h>
#include <set>

namespace penstock {
namespace {

constexpr SipKey KEY = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
constexpr MonoTime T0 = {1'000'000'000'000};

TcpTuple tuple(uint16_t remote_port) {
  return {.local = IpAddress::v4(10, 0, 0, 1),
          .remote = IpAddress::v4(10, 0, 0, 2),
          .local_port = 80,
          .remote_port = remote_port};
}

TEST(SipHash, is_that_of_its_authors) {
  std::vector<uint8_t> bytes(15);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i);
  EXPECT_EQ(siphash(KEY, bytes), 0xa129ca6149be45e5);  // appendix A of the paper
  EXPECT_EQ(siphash(KEY, {}), 0x726fdb47dd0e0e31);
}

TEST(SeqNum, rfc9293_section_3_4_order_goes_round) {
  const SeqNum high = {0xffff'fff0};
  EXPECT_LT(high, high + 0x20);
  EXPECT_GT(high + 0x20, high);
  EXPECT_EQ((high + 0x20) - high, 0x20);
  EXPECT_EQ(high - (high + 0x20), -0x20);
  EXPECT_EQ(seq_max(high, high + 0x20), SeqNum{0x10});
  EXPECT_EQ(seq_min(high, high + 0x20), high);
  EXPECT_EQ(seq_bytes(high, SeqNum{0x10}), 0x20U);
}

TEST(Isn, rfc6528_moves_with_the_clock_of_4_microseconds) {
  const SeqNum first = initial_sequence_number(KEY, tuple(1), T0);
  EXPECT_EQ(initial_sequence_number(KEY, tuple(1), T0 + microseconds(4)) - first, 1);
  EXPECT_EQ(initial_sequence_number(KEY, tuple(1), T0 + seconds(1)) - first, 250'000);
}

TEST(Isn, rfc6528_differs_by_socket_pair_and_secret) {
  std::set<uint32_t> seen;
  for (uint16_t port = 1; port <= 100; ++port) seen.insert(initial_sequence_number(KEY, tuple(port), T0).value);
  seen.insert(initial_sequence_number({1, 2}, tuple(1), T0).value);
  EXPECT_EQ(seen.size(), 101U);
  EXPECT_NE(timestamp_offset(KEY, tuple(1)), timestamp_offset(KEY, tuple(2)));
  EXPECT_NE(timestamp_offset(KEY, tuple(1)), static_cast<uint32_t>(tuple(1).keyed_hash(KEY)));
}

// Numbers are seen by whoever asks for a connection; a place in the table that could be told from them could be chosen.
TEST(Isn, tells_nothing_of_the_place_in_the_connection_table) {
  for (uint16_t port = 1; port <= 100; ++port) {
    const SeqNum number = initial_sequence_number(KEY, tuple(port), MonoTime{});
    EXPECT_NE(number.value, static_cast<uint32_t>(tuple(port).keyed_hash(KEY)));
  }
}

TEST(TcpTuple, keyed_hash_differs_by_each_end_and_port_in_either_version) {
  TcpTuple v4 = tuple(1);
  v4.local = IpAddress::v4(10, 0, 0, 1);
  v4.remote = IpAddress::v4(10, 0, 0, 2);
  TcpTuple v6 = v4;
  v6.local.bytes[0] = v6.remote.bytes[0] = 0xfd;
  std::set<uint64_t> seen;
  for (const TcpTuple& base : {v4, v6}) {
    for (int changed = 0; changed < 5; ++changed) {
      TcpTuple one = base;
      if (changed == 1) one.local.bytes[15] ^= 1;
      if (changed == 2) one.remote.bytes[12] ^= 1;
      if (changed == 3) one.local_port ^= 0x100;
      if (changed == 4) one.remote_port ^= 1;
      seen.insert(one.keyed_hash(KEY));
    }
  }
  v6.local = v4.local;  // one of the two alone
  seen.insert(v6.keyed_hash(KEY));
  EXPECT_EQ(seen.size(), 11U);
}

TEST(SynCookie, gives_the_mss_back_rounded_down) {
  for (const auto& [mss, expected] :
       {std::pair<uint16_t, uint16_t>{1460, 1460}, {1450, 1440}, {9000, 8900}, {536, 536}, {100, 64}, {1, 64}}) {
    const SeqNum cookie = make_syn_cookie(KEY, tuple(1), {77}, mss, T0);
    EXPECT_EQ(check_syn_cookie(KEY, tuple(1), {77}, cookie, T0), expected);
  }
}

TEST(SynCookie, is_good_for_one_minute_at_least_and_two_at_most) {
  const SeqNum cookie = make_syn_cookie(KEY, tuple(1), {77}, 1460, T0);
  EXPECT_TRUE(check_syn_cookie(KEY, tuple(1), {77}, cookie, T0 + seconds(60)).has_value());
  EXPECT_FALSE(check_syn_cookie(KEY, tuple(1), {77}, cookie, T0 + seconds(120)).has_value());
  EXPECT_FALSE(check_syn_cookie(KEY, tuple(1), {77}, cookie, T0 - seconds(120)).has_value());
}

TEST(SynCookie, rfc4987_is_bound_to_socket_pair_isn_and_secret) {
  const SeqNum cookie = make_syn_cookie(KEY, tuple(1), {77}, 1460, T0);
  EXPECT_FALSE(check_syn_cookie(KEY, tuple(2), {77}, cookie, T0).has_value());
  EXPECT_FALSE(check_syn_cookie(KEY, tuple(1), {78}, cookie, T0).has_value());
  EXPECT_FALSE(check_syn_cookie({1, 2}, tuple(1), {77}, cookie, T0).has_value());
  uint32_t good = 0;
  for (uint32_t bit = 0; bit < 32; ++bit)
    good += check_syn_cookie(KEY, tuple(1), {77}, {cookie.value ^ 1U << bit}, T0).has_value();
  EXPECT_EQ(good, 0U);
}

TEST(SynCookie, options_travel_in_a_timestamp_that_is_not_ahead) {
  for (const uint32_t now : {0U, 31U, 32U, 1'000'000'007U, 0xffff'ffffU}) {
    for (uint8_t scale = 0; scale <= 14; ++scale) {
      for (const bool sack : {false, true}) {
        const CookieOptions options = {true, scale, sack};
        const uint32_t stamp = put_cookie_options(now, options);
        EXPECT_EQ(cookie_options_of(stamp), options);
        EXPECT_LE(static_cast<int32_t>(stamp - now), 0);
        EXPECT_GT(static_cast<int32_t>(stamp - now), -64);
      }
    }
    EXPECT_EQ(cookie_options_of(put_cookie_options(now, {})), CookieOptions{});
  }
}

}  // namespace
}  // namespace penstock
