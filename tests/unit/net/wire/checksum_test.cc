#include "src/net/wire/checksum.h"

#include "src/base/prng.h"
#include "tests/support/net_bytes.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

// RFC 1071 section 4.1, a word at a time.
uint16_t plain_sum(std::span<const uint8_t> bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.size(); i += 2) {
    sum += static_cast<uint32_t>(bytes[i] << 8) + (i + 1 < bytes.size() ? bytes[i + 1] : 0U);
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<uint16_t>(sum);
}

std::vector<uint8_t> random_bytes(Prng& prng, size_t size) {
  std::vector<uint8_t> bytes(size);
  for (uint8_t& byte : bytes) byte = prng.one_in(8) ? 0xff : static_cast<uint8_t>(prng.next());
  return bytes;
}

TEST(InternetSum, rfc1071_section_3_example) {
  EXPECT_EQ(internet_sum(from_hex("00 01 f2 03 f4 f5 f6 f7")).value, 0xddf2);
}

TEST(InternetSum, is_that_of_rfc1071_for_every_length_and_address) {
  Prng prng(1);
  const std::vector<uint8_t> bytes = random_bytes(prng, 1600);
  for (size_t size = 0; size < 1500; size += size < 70 ? 1 : 37) {
    for (size_t offset = 0; offset < 8; ++offset) {
      const GuardedBytes guarded{std::span(bytes).subspan(offset, size)};
      EXPECT_EQ(internet_sum(guarded.span()), InternetSum{plain_sum(guarded.span())}) << size << " at " << offset;
    }
  }
}

TEST(InternetSum, of_parts_is_that_of_the_whole_wherever_it_is_cut) {
  Prng prng(2);
  for (int round = 0; round < 2000; ++round) {
    const std::vector<uint8_t> bytes = random_bytes(prng, prng.below(200));
    const size_t cut = prng.below(static_cast<uint32_t>(bytes.size()) + 1);
    const size_t second = cut + prng.below(static_cast<uint32_t>(bytes.size() - cut) + 1);
    const std::span<const uint8_t> all(bytes);
    InternetSum sum = append_sum({}, 0, internet_sum(all.first(cut)));
    sum = append_sum(sum, cut, internet_sum(all.subspan(cut, second - cut)));
    sum = append_sum(sum, second, internet_sum(all.subspan(second)));
    EXPECT_EQ(sum, internet_sum(all)) << bytes.size() << " cut at " << cut << " and " << second;
  }
}

TEST(InternetSum, rfc1624_update_is_the_checksum_made_anew) {
  Prng prng(3);
  for (int round = 0; round < 2000; ++round) {
    std::vector<uint8_t> bytes = random_bytes(prng, 20 + 2 * prng.below(20));
    store_be16(&bytes[10], 0);
    store_be16(&bytes[10], checksum_of(internet_sum(bytes)));
    EXPECT_TRUE(checksum_good(internet_sum(bytes)));
    const uint16_t before = load_be16(&bytes[4]);
    store_be16(&bytes[4], static_cast<uint16_t>(prng.next()));
    store_be16(&bytes[10], checksum_update(load_be16(&bytes[10]), before, load_be16(&bytes[4])));
    EXPECT_TRUE(checksum_good(internet_sum(bytes)));
  }
}

TEST(InternetSum, sees_one_changed_bit) {
  Prng prng(4);
  std::vector<uint8_t> bytes = random_bytes(prng, 64);
  store_be16(&bytes[10], 0);
  store_be16(&bytes[10], checksum_of(internet_sum(bytes)));
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    EXPECT_FALSE(checksum_good(internet_sum(bytes))) << bit;
    bytes[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
  }
}

TEST(InternetSum, pseudo_header_has_addresses_length_and_protocol) {
  const std::vector<uint8_t> v4 = from_hex("0a000001 c0a80102 0006 0201");
  EXPECT_EQ(pseudo_header_sum(IpAddress::v4(10, 0, 0, 1), IpAddress::v4(192, 168, 1, 2), 6, 0x201), internet_sum(v4));
  const std::vector<uint8_t> v6 =
      from_hex("fe800000000000000000000000000001 fe800000000000000000000000000002 00010203 0000003a");
  EXPECT_EQ(pseudo_header_sum(IpAddress::v6(&v6[0]), IpAddress::v6(&v6[16]), 58, 0x10203), internet_sum(v6));
}

}  // namespace
}  // namespace penstock
