#include "src/net/wire/tcp_header.h"

#include "tests/support/net_bytes.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

std::vector<uint8_t> segment(uint8_t flags, std::string_view options_hex, size_t payload = 0) {
  std::vector<uint8_t> bytes = from_hex("0050 9000 00000001 00000002 5000 1000 0000 0000");
  const std::vector<uint8_t> options = from_hex(options_hex);
  bytes.insert(bytes.end(), options.begin(), options.end());
  bytes[12] = static_cast<uint8_t>(bytes.size() / 4 << 4);
  bytes[13] = flags;
  bytes.resize(bytes.size() + payload, 'x');
  return bytes;
}

DropReason options_of(const std::vector<uint8_t>& bytes, TcpOptions& options) {
  const GuardedBytes guarded(bytes);
  TcpHeader header;
  const DropReason verdict = parse_tcp(guarded.span(), header);
  return verdict != DropReason::NONE ? verdict : parse_tcp_options(guarded.span(), header, options);
}

TEST(TcpHeader, reads_the_fixed_part) {
  TcpHeader header;
  ASSERT_EQ(parse_tcp(segment(TCP_ACK | TCP_PSH, "", 3), header), DropReason::NONE);
  EXPECT_EQ(header.source_port, 80);
  EXPECT_EQ(header.destination_port, 0x9000);
  EXPECT_EQ(header.seq, 1U);
  EXPECT_EQ(header.ack, 2U);
  EXPECT_EQ(header.window, 4096);
  EXPECT_EQ(header.bytes, 20);
  EXPECT_EQ(header.flags, TCP_ACK | TCP_PSH);
}

TEST(TcpHeader, refuses_by_name) {
  TcpHeader header;
  const std::vector<uint8_t> good = segment(TCP_ACK, "");
  EXPECT_EQ(parse_tcp(std::span(good).first(19), header), DropReason::TCP_SHORT);
  std::vector<uint8_t> bad = good;
  bad[12] = 4 << 4;
  EXPECT_EQ(parse_tcp(bad, header), DropReason::TCP_HEADER_LENGTH);
  bad[12] = 6 << 4;
  EXPECT_EQ(parse_tcp(bad, header), DropReason::TCP_HEADER_LENGTH);
}

TEST(TcpOptions, rfc9293_syn_options) {
  TcpOptions options;
  ASSERT_EQ(options_of(segment(TCP_SYN, "020405b4 0402 080a 00000001 00000000 01 030307"), options), DropReason::NONE);
  EXPECT_EQ(options.mss, 1460);
  EXPECT_TRUE(options.sack_permitted && options.has_timestamps && options.has_window_scale);
  EXPECT_EQ(options.window_scale, 7);
  EXPECT_EQ(options.ts_val, 1U);
}

TEST(TcpOptions, rfc7323_section_2_3_window_scale_above_14_is_14) {
  TcpOptions options;
  ASSERT_EQ(options_of(segment(TCP_SYN, "030f 0f 00"), options), DropReason::TCP_OPTION_MALFORMED);
  ASSERT_EQ(options_of(segment(TCP_SYN, "030320 00"), options), DropReason::NONE);
  EXPECT_EQ(options.window_scale, 14);
}

TEST(TcpOptions, syn_options_count_on_syn_only) {
  TcpOptions options;
  ASSERT_EQ(options_of(segment(TCP_ACK, "020405b4 0402 030307 00 0000"), options), DropReason::NONE);
  EXPECT_EQ(options.mss, 0);
  EXPECT_FALSE(options.sack_permitted || options.has_window_scale);
}

TEST(TcpOptions, rfc9293_must6_unknown_options_are_skipped) {
  TcpOptions options;
  ASSERT_EQ(options_of(segment(TCP_SYN, "fd06 aabbccdd 020405b4 0101"), options), DropReason::NONE);
  EXPECT_EQ(options.mss, 1460);
}

TEST(TcpOptions, rfc9293_must7_impossible_lengths_are_refused) {
  TcpOptions options;
  for (const char* hex : {"02000000", "02010000", "0101 02 04", "01010102", "fd050000"}) {
    EXPECT_EQ(options_of(segment(TCP_SYN, hex), options), DropReason::TCP_OPTION_MALFORMED) << hex;
  }
}

TEST(TcpOptions, known_options_of_another_length_do_not_count) {
  TcpOptions options;
  ASSERT_EQ(options_of(segment(TCP_SYN, "0203 05 0804 0000 01 00"), options), DropReason::NONE);
  EXPECT_EQ(options.mss, 0);
  EXPECT_FALSE(options.has_timestamps);
}

TEST(TcpOptions, rfc2018_sack_blocks) {
  TcpOptions options;
  ASSERT_EQ(options_of(segment(TCP_ACK, "0101 0512 00000010 00000020 00000030 00000040"), options), DropReason::NONE);
  ASSERT_EQ(options.sack_count, 2);
  EXPECT_EQ(options.sacks[1].left, 0x30U);
  EXPECT_EQ(options.sacks[1].right, 0x40U);
}

TEST(TcpOptions, rfc7323_appendix_a_is_the_fast_form_and_nothing_else_is) {
  TcpHeader header;
  uint32_t ts_val = 0;
  uint32_t ts_ecr = 0;
  const auto fast = [&](std::string_view hex) {
    const std::vector<uint8_t> bytes = segment(TCP_ACK, hex);
    return parse_tcp(bytes, header) == DropReason::NONE && parse_tcp_timestamps_only(bytes, header, ts_val, ts_ecr);
  };
  EXPECT_TRUE(fast("0101080a 00000005 00000006"));
  EXPECT_EQ(ts_val, 5U);
  EXPECT_EQ(ts_ecr, 6U);
  EXPECT_FALSE(fast("080a 00000005 00000006 0101"));
  EXPECT_FALSE(fast("0101080a 00000005 00000006 00000000"));
  EXPECT_FALSE(fast(""));
}

TEST(TcpOptions, writes_what_it_reads_and_as_many_sack_blocks_as_fit) {
  TcpOptions options{.has_timestamps = true, .ts_val = 7, .ts_ecr = 8, .sack_count = 4};
  for (uint32_t i = 0; i < 4; ++i) options.sacks[i] = {i * 10, i * 10 + 5};
  TcpHeader header{.source_port = 1, .destination_port = 2, .seq = 3, .ack = 4, .flags = TCP_ACK, .window = 5};
  uint8_t out[TcpHeader::BYTES_MAX];
  EXPECT_EQ(write_tcp(out, header, options), 60U);
  TcpOptions again;
  ASSERT_EQ(parse_tcp_options(out, header, again), DropReason::NONE);
  EXPECT_EQ(again.sack_count, 3);  // beside timestamps
  EXPECT_EQ(again.sacks[2].right, 25U);
  options.has_timestamps = false;
  EXPECT_EQ(write_tcp(out, header, options), 56U);
  ASSERT_EQ(parse_tcp_options(out, header, again), DropReason::NONE);
  EXPECT_EQ(again.sack_count, 4);
}

}  // namespace
}  // namespace penstock
