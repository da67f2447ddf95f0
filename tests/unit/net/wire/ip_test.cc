#include "src/net/wire/ip.h"

#include "src/net/wire/checksum.h"
#include "src/net/wire/icmp.h"
#include "tests/support/net_bytes.h"

#include <algorithm>
#include <gtest/gtest.h>

namespace penstock {
namespace {

// RFC 1071's checksum is filled in.
std::vector<uint8_t> ipv4(std::string_view hex) {
  std::vector<uint8_t> bytes = from_hex(hex);
  const size_t header = std::min<size_t>((bytes[0] & 15) * 4, bytes.size());
  store_be16(&bytes[10], checksum_of(internet_sum(std::span(bytes).first(header))));
  return bytes;
}

DropReason v4(const std::vector<uint8_t>& bytes, IpHeader* out = nullptr) {
  const GuardedBytes guarded(bytes);
  IpHeader header;
  const DropReason verdict = parse_ipv4(guarded.span(), false, header);
  if (out != nullptr) *out = header;
  return verdict;
}

DropReason v6(std::string_view hex, size_t* payload_bytes = nullptr) {
  const GuardedBytes guarded(from_hex(hex));
  IpHeader header;
  const DropReason verdict = parse_ipv6(guarded.span(), header);
  if (payload_bytes != nullptr) *payload_bytes = header.payload.size();
  return verdict;
}

TEST(Ipv4, reads_a_header_and_cuts_padding_off) {
  IpHeader header;
  const std::vector<uint8_t> bytes = ipv4("45000018 00004000 40060000 0a000001 0a000002 01020304 0000000000");
  ASSERT_EQ(parse_ipv4(bytes, false, header), DropReason::NONE);
  EXPECT_EQ(header.protocol, 6);
  EXPECT_EQ(header.hop_limit, 64);
  EXPECT_EQ(header.source, IpAddress::v4(10, 0, 0, 1));
  EXPECT_EQ(header.destination, IpAddress::v4(10, 0, 0, 2));
  EXPECT_EQ(header.payload.size(), 4U);
}

TEST(Ipv4, options_are_skipped) {
  IpHeader header;
  const std::vector<uint8_t> bytes = ipv4("4600001c 00004000 40060000 0a000001 0a000002 94040000 01020304");
  ASSERT_EQ(parse_ipv4(bytes, false, header), DropReason::NONE);
  EXPECT_EQ(header.payload.size(), 4U);
  EXPECT_EQ(header.payload[0], 1);
}

TEST(Ipv4, refuses_by_name) {
  EXPECT_EQ(v4(from_hex("45")), DropReason::IP_SHORT);
  EXPECT_EQ(v4(ipv4("65000014 00004000 40060000 0a000001 0a000002")), DropReason::IP_VERSION);
  EXPECT_EQ(v4(ipv4("44000014 00004000 40060000 0a000001 0a000002")), DropReason::IP_HEADER_LENGTH);
  EXPECT_EQ(v4(ipv4("46000014 00004000 40060000 0a000001 0a000002")), DropReason::IP_HEADER_LENGTH);
  EXPECT_EQ(v4(ipv4("45000015 00004000 40060000 0a000001 0a000002")), DropReason::IP_SHORT);
  EXPECT_EQ(v4(from_hex("45000014 00004000 40060001 0a000001 0a000002")), DropReason::IP_HEADER_CHECKSUM);
}

TEST(Ipv4, refuses_every_fragment) {
  EXPECT_EQ(v4(ipv4("45000014 00002000 40060000 0a000001 0a000002")), DropReason::IP_FRAGMENT);  // more
  EXPECT_EQ(v4(ipv4("45000014 00000001 40060000 0a000001 0a000002")), DropReason::IP_FRAGMENT);  // an offset
}

constexpr const char* V6_ADDRESSES = "fe800000000000000000000000000001 fe800000000000000000000000000002 ";

TEST(Ipv6, passes_extension_headers) {
  size_t payload_bytes = 0;
  const std::string addresses = V6_ADDRESSES;
  EXPECT_EQ(v6("60000000 0004 06 40" + addresses + "01020304 0000", &payload_bytes), DropReason::NONE);
  EXPECT_EQ(payload_bytes, 4U);
  // hop by hop, routing without segments left, destination options
  EXPECT_EQ(v6("60000000 001c 00 40" + addresses + "2b00000000000000 3c00000000000000 0600010400000000 01020304",
               &payload_bytes),
            DropReason::NONE);
  EXPECT_EQ(payload_bytes, 4U);
}

TEST(Ipv6, refuses_by_name) {
  const std::string addresses = V6_ADDRESSES;
  EXPECT_EQ(v6("60000000 0004 06 40 fe80"), DropReason::IP_SHORT);
  EXPECT_EQ(v6("60000000 0005 06 40" + addresses + "01020304"), DropReason::IP_SHORT);
  EXPECT_EQ(v6("40000000 0004 06 40" + addresses + "01020304"), DropReason::IP_VERSION);
  EXPECT_EQ(v6("60000000 0008 2c 40" + addresses + "0600000000000000"), DropReason::IP_FRAGMENT);
  EXPECT_EQ(v6("60000000 0004 00 40" + addresses + "06000000"), DropReason::IP_EXTENSION);
  EXPECT_EQ(v6("60000000 0008 00 40" + addresses + "0601000000000000"), DropReason::IP_EXTENSION);
  EXPECT_EQ(v6("60000000 0008 2b 40" + addresses + "0600000100000000"), DropReason::IP_EXTENSION);
  EXPECT_EQ(v6("60000000 0010 3c 40" + addresses + "0000000000000000 0600000000000000"), DropReason::IP_EXTENSION);
  std::string many = "60000000 0048 3c 40" + addresses;
  for (int i = 0; i < 9; ++i) many += "3c00000000000000";
  EXPECT_EQ(v6(many), DropReason::IP_EXTENSION);
}

TEST(Ipv6, an_ipv4_mapped_address_is_no_address_on_the_wire) {
  EXPECT_EQ(v6("60000000 0000 06 40 00000000000000000000ffff0a000001 fe800000000000000000000000000002"),
            DropReason::IP_SOURCE);
}

TEST(Ip, writes_what_it_reads) {
  uint8_t out[IpHeader::V6_BYTES + 3] = {};
  IpHeader header{
      .source = IpAddress::v4(10, 0, 0, 1), .destination = IpAddress::v4(10, 0, 0, 2), .protocol = 6, .hop_limit = 64};
  ASSERT_EQ(write_ip(out, header, 3), 20U);
  IpHeader again;
  ASSERT_EQ(parse_ipv4({out, 23}, false, again), DropReason::NONE);
  EXPECT_EQ(again.source, header.source);
  EXPECT_EQ(again.payload.size(), 3U);
  EXPECT_EQ(out[6], 0x40);  // Don't Fragment
  header.source.bytes = {0xfe, 0x80, 1};
  header.destination.bytes = {0xfe, 0x80, 2};
  ASSERT_EQ(write_ip(out, header, 3), 40U);
  ASSERT_EQ(parse_ipv6({out, 43}, again), DropReason::NONE);
  EXPECT_EQ(again.destination, header.destination);
  EXPECT_EQ(again.hop_limit, 64);
}

TEST(IpAddress, prefixes) {
  const IpAddress a = IpAddress::v4(10, 1, 2, 3);
  EXPECT_TRUE(a.same_prefix(IpAddress::v4(10, 1, 2, 255), 24));
  EXPECT_FALSE(a.same_prefix(IpAddress::v4(10, 1, 3, 3), 24));
  EXPECT_TRUE(a.same_prefix(IpAddress::v4(10, 1, 3, 3), 23));
  EXPECT_TRUE(a.same_prefix(IpAddress::v4(77, 1, 3, 3), 0));
  EXPECT_FALSE(a.same_prefix(IpAddress::v4(10, 1, 2, 2), 32));
  EXPECT_FALSE(a.same_prefix(IpAddress{}, 0));
  // The first bit that differs is that of its number, on either side of the middle.
  for (const uint32_t differing : {0U, 7U, 8U, 63U, 64U, 65U, 127U}) {
    IpAddress one;
    one.bytes[0] = 0xfd;
    IpAddress other = one;
    other.bytes[differing / 8] ^= static_cast<uint8_t>(0x80 >> differing % 8);
    EXPECT_TRUE(one.same_prefix(other, differing)) << differing;
    EXPECT_FALSE(one.same_prefix(other, differing + 1)) << differing;
  }
}

std::vector<uint8_t> with_checksum(std::string_view hex) {
  std::vector<uint8_t> bytes = from_hex(hex);
  if (bytes.size() >= 4) store_be16(&bytes[2], checksum_of(internet_sum(bytes)));
  return bytes;
}

DropReason icmp(const std::vector<uint8_t>& bytes, IcmpMessage& message) {
  const GuardedBytes guarded(bytes);
  const IpHeader packet{.source = IpAddress::v4(10, 0, 0, 1),
                        .destination = IpAddress::v4(10, 0, 0, 2),
                        .protocol = IP_PROTOCOL_ICMP,
                        .hop_limit = 64,
                        .payload = guarded.span()};
  return parse_icmp(packet, message);
}

constexpr const char* QUOTED = "45000028 00004000 40060000 0a000002 0a000001 0050 9000 00000001";

TEST(Icmp, rfc792_echo_is_answered_with_its_own_bytes) {
  std::vector<uint8_t> bytes = with_checksum("0800 0000 1234 0001 61626364 65");
  IcmpMessage message;
  ASSERT_EQ(icmp(bytes, message), DropReason::NONE);
  EXPECT_EQ(message.kind, IcmpKind::ECHO_REQUEST);
  make_echo_reply(bytes, false);
  EXPECT_EQ(bytes[0], 0);
  EXPECT_EQ(bytes[12], 0x65);
  EXPECT_TRUE(checksum_good(internet_sum(bytes)));
}

TEST(Icmp, an_echo_of_nothing_but_zeroes_has_a_good_checksum_too) {
  std::vector<uint8_t> bytes = with_checksum("0800 0000 00000000");
  make_echo_reply(bytes, false);
  EXPECT_TRUE(checksum_good(internet_sum(bytes)));
}

TEST(Icmp, rfc1191_fragmentation_needed_tells_the_mtu_and_the_packet) {
  IcmpMessage message;
  ASSERT_EQ(icmp(with_checksum("0304 0000 0000 0578" + std::string(QUOTED)), message), DropReason::NONE);
  EXPECT_EQ(message.kind, IcmpKind::PACKET_TOO_BIG);
  EXPECT_EQ(message.mtu, 1400U);
  EXPECT_EQ(message.quoted.source, IpAddress::v4(10, 0, 0, 2));
  EXPECT_EQ(message.quoted.payload.size(), 8U);
}

TEST(Icmp, hard_and_soft_unreachables) {
  IcmpMessage message;
  ASSERT_EQ(icmp(with_checksum("0303 0000 00000000" + std::string(QUOTED)), message), DropReason::NONE);
  EXPECT_EQ(message.kind, IcmpKind::PORT_UNREACHABLE);
  ASSERT_EQ(icmp(with_checksum("0301 0000 00000000" + std::string(QUOTED)), message), DropReason::NONE);
  EXPECT_EQ(message.kind, IcmpKind::UNREACHABLE);
}

TEST(Icmp, refuses_by_name) {
  IcmpMessage message;
  EXPECT_EQ(icmp(from_hex("0800 0000 1234 00"), message), DropReason::ICMP_SHORT);
  EXPECT_EQ(icmp(from_hex("0800 0000 1234 0001"), message), DropReason::ICMP_CHECKSUM);
  EXPECT_EQ(icmp(with_checksum("0304 0000 0000 0578 45000028"), message), DropReason::ICMP_SHORT);
  EXPECT_EQ(
      icmp(with_checksum("0304 0000 0000 0578 45000028 00004000 40060000 0a000002 0a000001 0050 9000 000000"), message),
      DropReason::ICMP_SHORT);
}

}  // namespace
}  // namespace penstock
