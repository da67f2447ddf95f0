// One port, several engines: which of them a frame is for, and that cards would say the same.
#include "src/net/wire/flow_steering.h"

#include "src/net/wire/byte_order.h"
#include "src/net/wire/ethernet.h"
#include "src/net/wire/ip.h"
#include "tests/support/net_bytes.h"

#include <gtest/gtest.h>
#include <map>

namespace penstock {
namespace {

using Route = FlowSteering::Route;

const IpAddress OURS = IpAddress::v4(10, 0, 0, 1);
const IpAddress PEER = IpAddress::v4(10, 0, 0, 2);
constexpr uint8_t UDP = 17;

// The hash as it is defined: for each bit that is set, the 32 bits of the key that begin there.
uint32_t toeplitz(std::span<const uint8_t> key, std::span<const uint8_t> input) {
  uint32_t hash = 0;
  for (size_t bit = 0; bit < input.size() * 8; ++bit) {
    if ((input[bit / 8] & (0x80U >> bit % 8)) == 0) continue;
    uint32_t window = 0;
    for (size_t i = bit; i < bit + 32; ++i) window = window << 1 | ((key[i / 8] >> (7 - i % 8)) & 1U);
    hash ^= window;
  }
  return hash;
}

std::vector<uint8_t> input_of(const IpAddress& one, uint16_t one_port, const IpAddress& other, uint16_t other_port) {
  std::vector<uint8_t> input;
  for (const IpAddress& address : {one, other})
    input.insert(input.end(), address.bytes.begin() + (address.is_v4() ? 12 : 0), address.bytes.end());
  for (const uint16_t port : {one_port, other_port})
    input.insert(input.end(), {static_cast<uint8_t>(port >> 8), static_cast<uint8_t>(port)});
  return input;
}

std::vector<uint8_t> our_key() {
  std::vector<uint8_t> key(52);  // as long as cards have it
  for (size_t i = 0; i < key.size(); i += 2) store_be16(&key[i], FlowSteering::KEY_WORD);
  return key;
}

IpAddress some_v6(uint16_t last) {
  IpAddress address;
  address.bytes = {0x20, 0x01, 0x0d, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 0};
  store_be16(&address.bytes[14], last);
  return address;
}

std::vector<uint8_t> ip_frame(const IpAddress& from, const IpAddress& to, uint8_t protocol,
                              const std::vector<uint8_t>& payload, uint16_t vlan = 0) {
  std::vector<uint8_t> frame(EthernetHeader::BYTES_MAX + IpHeader::V6_BYTES);
  const bool v4 = from.is_v4();
  const size_t link = write_ethernet(
      frame.data(), {.type = static_cast<uint16_t>(v4 ? EtherType::IPV4 : EtherType::IPV6), .vlan_id = vlan});
  frame.resize(link + write_ip(&frame[link], {.source = from, .destination = to, .protocol = protocol, .hop_limit = 64},
                               payload.size()));
  frame.insert(frame.end(), payload.begin(), payload.end());
  return frame;
}

std::vector<uint8_t> segment_between(uint16_t from, uint16_t to) {
  std::vector<uint8_t> bytes(20);
  store_be16(&bytes[0], from);
  store_be16(&bytes[2], to);
  bytes[12] = 0x50;
  return bytes;
}

// An error of `type` about a packet of ours to PEER.
std::vector<uint8_t> error_about(uint8_t type, const IpAddress& from, const IpAddress& to, uint16_t our_port,
                                 uint16_t peer_port, uint8_t protocol = IP_PROTOCOL_TCP) {
  std::vector<uint8_t> message = {type, 4, 0, 0, 0, 0, 5, 120};
  const std::vector<uint8_t> quoted = ip_frame(to, from, protocol, segment_between(our_port, peer_port));
  message.insert(message.end(), quoted.begin() + EthernetHeader::BYTES, quoted.end());
  return ip_frame(from, to, from.is_v4() ? IP_PROTOCOL_ICMP : IP_PROTOCOL_ICMPV6, message);
}

Route route(const FlowSteering& steering, const std::vector<uint8_t>& frame) {
  const GuardedBytes bytes(frame);
  return steering.route(bytes.span());
}

TEST(FlowHash, the_plain_hash_of_these_tests_is_that_of_receive_side_scaling) {
  // Microsoft, "Verifying the RSS Hash Calculation": the key and two of its examples.
  const std::vector<uint8_t> key =
      from_hex("6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa");
  EXPECT_EQ(toeplitz(key, input_of(IpAddress::v4(66, 9, 149, 187), 2794, IpAddress::v4(161, 142, 100, 80), 1766)),
            0x51ccc178U);
  EXPECT_EQ(toeplitz(key, input_of(IpAddress::v4(199, 92, 111, 2), 14230, IpAddress::v4(65, 69, 140, 83), 4739)),
            0xc626b0eaU);
}

TEST(FlowHash, is_what_a_card_with_our_key_computes) {
  const std::vector<uint8_t> key = our_key();
  for (uint32_t i = 0; i < 2'000; ++i) {
    const auto port = static_cast<uint16_t>(1 + i * 7'919);
    const IpAddress one = i % 2 == 0 ? IpAddress::v4(i * 2'654'435'761U) : some_v6(static_cast<uint16_t>(i * 251));
    const IpAddress other = i % 2 == 0 ? IpAddress::v4(192, 168, 1, 9) : some_v6(0xff01);
    EXPECT_EQ(flow_hash(one, port, other, 443), toeplitz(key, input_of(one, port, other, 443)));
  }
}

TEST(FlowHash, both_directions_have_one) {
  EXPECT_EQ(flow_hash(OURS, 80, PEER, 40'000), flow_hash(PEER, 40'000, OURS, 80));
  EXPECT_NE(flow_hash(OURS, 80, PEER, 40'000), flow_hash(OURS, 80, PEER, 40'001));
}

TEST(FlowSteering, a_connection_has_one_engine_and_each_engine_its_share) {
  for (const uint16_t engines : {uint16_t{2}, uint16_t{3}, uint16_t{7}}) {
    const FlowSteering steering(engines);
    std::map<uint16_t, uint32_t> counts;
    for (uint16_t port = 32'768; port < 32'768 + 7'000; ++port) {
      const Route one = route(steering, ip_frame(PEER, OURS, IP_PROTOCOL_TCP, segment_between(port, 80)));
      EXPECT_EQ(one.to, Route::To::ONE);
      EXPECT_EQ(one, route(steering, ip_frame(OURS, PEER, IP_PROTOCOL_TCP, segment_between(80, port))));
      EXPECT_EQ(one.engine, steering.engine_of(flow_hash(PEER, port, OURS, 80)));
      ++counts[one.engine];
    }
    EXPECT_EQ(counts.size(), engines);
    for (const auto& [engine, count] : counts) {
      EXPECT_GT(count, 7'000U * 8 / 10 / engines) << engine;
      EXPECT_LT(count, 7'000U * 12 / 10 / engines) << engine;
    }
  }
}

TEST(FlowSteering, tags_and_padding_change_nothing) {
  const FlowSteering steering(7);
  const Route plain = route(steering, ip_frame(PEER, OURS, IP_PROTOCOL_TCP, segment_between(4'711, 80)));
  std::vector<uint8_t> tagged = ip_frame(PEER, OURS, IP_PROTOCOL_TCP, segment_between(4'711, 80), 12);
  tagged.insert(tagged.end(), 6, 0xee);
  EXPECT_EQ(route(steering, tagged), plain);
}

TEST(FlowSteering, an_error_goes_to_the_engine_of_the_connection_that_it_quotes) {
  const FlowSteering steering(7);
  const IpAddress ours6 = some_v6(1);
  const IpAddress peer6 = some_v6(2);
  for (uint16_t port = 5'000; port < 5'020; ++port) {
    const Route v4 = route(steering, ip_frame(PEER, OURS, IP_PROTOCOL_TCP, segment_between(port, 80)));
    // A router on the way reports it.
    for (const uint8_t type : {uint8_t{3}, uint8_t{11}, uint8_t{12}}) {
      std::vector<uint8_t> frame = error_about(type, PEER, OURS, 80, port);
      frame[14 + 15] = 77;
      EXPECT_EQ(route(steering, frame), v4);
    }
    const Route v6 = route(steering, ip_frame(peer6, ours6, IP_PROTOCOL_TCP, segment_between(port, 80)));
    for (uint8_t type = 1; type <= 4; ++type) EXPECT_EQ(route(steering, error_about(type, peer6, ours6, 80, port)), v6);
  }
}

TEST(FlowSteering, what_neighbours_say_of_themselves_is_for_all) {
  const FlowSteering steering(3);
  std::vector<uint8_t> arp(14 + 28);
  store_be16(&arp[12], 0x0806);
  EXPECT_EQ(route(steering, arp).to, Route::To::ALL);
  for (uint8_t type = 133; type <= 137; ++type) {
    std::vector<uint8_t> message(24);
    message[0] = type;
    EXPECT_EQ(route(steering, ip_frame(some_v6(1), some_v6(2), IP_PROTOCOL_ICMPV6, message)).to, Route::To::ALL);
  }
}

TEST(FlowSteering, what_belongs_to_no_connection_is_anybodys) {
  const FlowSteering steering(3);
  std::vector<uint8_t> echo(16);
  echo[0] = 8;
  EXPECT_EQ(route(steering, ip_frame(PEER, OURS, IP_PROTOCOL_ICMP, echo)), Route{});
  echo[0] = 128;
  EXPECT_EQ(route(steering, ip_frame(some_v6(1), some_v6(2), IP_PROTOCOL_ICMPV6, echo)), Route{});
  EXPECT_EQ(route(steering, ip_frame(PEER, OURS, UDP, segment_between(53, 53))), Route{});
  EXPECT_EQ(route(steering, error_about(3, PEER, OURS, 53, 53, UDP)), Route{});
  std::vector<uint8_t> fragment = ip_frame(PEER, OURS, IP_PROTOCOL_TCP, segment_between(1, 80));
  fragment[14 + 6] = 0x20;
  EXPECT_EQ(route(steering, fragment), Route{});
  std::vector<uint8_t> other(60);
  store_be16(&other[12], 0x88cc);
  EXPECT_EQ(route(steering, other), Route{});
}

TEST(FlowSteering, whatever_is_cut_off_is_anybodys) {
  const FlowSteering steering(3);
  const std::vector<uint8_t> whole[] = {ip_frame(PEER, OURS, IP_PROTOCOL_TCP, segment_between(1, 80)),
                                        ip_frame(some_v6(1), some_v6(2), IP_PROTOCOL_TCP, segment_between(1, 80)),
                                        error_about(3, PEER, OURS, 80, 1),
                                        error_about(1, some_v6(1), some_v6(2), 80, 1)};
  for (const std::vector<uint8_t>& frame : whole) {
    for (size_t bytes = 0; bytes < frame.size(); ++bytes)
      EXPECT_EQ(route(steering, {frame.begin(), frame.begin() + static_cast<ptrdiff_t>(bytes)}), Route{});
  }
}

}  // namespace
}  // namespace penstock
