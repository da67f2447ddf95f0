#include "src/tls/key_request.h"

#include "tests/unit/tls/tls_world.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <vector>

namespace penstock {
namespace {

std::vector<unsigned char> tls12_content(unsigned curve, size_t point_bytes, unsigned char first = 4) {
  std::vector<unsigned char> content(64 + 4 + point_bytes, 0x22);
  std::fill_n(content.begin(), 64, 0x11);
  const unsigned char head[] = {3, static_cast<unsigned char>(curve >> 8), static_cast<unsigned char>(curve),
                                static_cast<unsigned char>(point_bytes), first};
  std::copy(std::begin(head), std::end(head), content.begin() + 64);
  return content;
}

TEST(KeyRequest, knows_the_two_handshakes_of_a_server) {
  EXPECT_EQ(key_content(tls13_content(32)), KeyContent::TLS13);
  EXPECT_EQ(key_content(tls13_content(48)), KeyContent::TLS13);
  EXPECT_EQ(key_content(tls12_content(23, 65)), KeyContent::TLS12);
  EXPECT_EQ(key_content(tls12_content(24, 97)), KeyContent::TLS12);
  EXPECT_EQ(key_content(tls12_content(25, 133)), KeyContent::TLS12);
  EXPECT_EQ(key_content(tls12_content(29, 32, 9)), KeyContent::TLS12);
  EXPECT_EQ(key_content(tls12_content(30, 56, 9)), KeyContent::TLS12);
}

TEST(KeyRequest, knows_nothing_else) {
  auto client = tls13_content();
  client[64 + 9] = 'c';  // "TLS 1.3, cerver": a client's, or anybody's
  EXPECT_EQ(key_content(client), KeyContent::NONE);
  auto pad = tls13_content();
  pad[63] = 0;
  EXPECT_EQ(key_content(pad), KeyContent::NONE);
  for (const size_t hash : {0U, 20U, 31U, 33U, 47U, 49U, 64U})
    EXPECT_EQ(key_content(tls13_content(hash)), KeyContent::NONE);
  EXPECT_EQ(key_content(tls12_content(23, 64)), KeyContent::NONE);
  EXPECT_EQ(key_content(tls12_content(23, 65, 2)), KeyContent::NONE);
  EXPECT_EQ(key_content(tls12_content(22, 65)), KeyContent::NONE);
  auto explicit_curve = tls12_content(23, 65);
  explicit_curve[64] = 1;
  EXPECT_EQ(key_content(explicit_curve), KeyContent::NONE);
  auto longer = tls12_content(23, 65);
  longer.push_back(0);
  EXPECT_EQ(key_content(longer), KeyContent::NONE);
  EXPECT_EQ(key_content({}), KeyContent::NONE);
  EXPECT_EQ(key_content(std::vector<unsigned char>(32, 0xaa)), KeyContent::NONE);  // a hash alone
}

TEST(KeyRequest, a_request_that_no_server_of_ours_makes_is_a_breach) {
  const KeyRequest good = sign_request({}, 0x0403, tls13_content());
  EXPECT_EQ(key_request_breach(good), nullptr);
  KeyRequest bad = good;
  bad.reserved = 1;
  EXPECT_STREQ(key_request_breach(bad), "sent a request that makes no sense");
  bad = good;
  bad.content_bytes = KEY_CONTENT_MAX + 1;
  EXPECT_STREQ(key_request_breach(bad), "sent a request that makes no sense");
  bad = good;
  bad.order = static_cast<KeyOrder>(3);
  EXPECT_STREQ(key_request_breach(bad), "gave an order that does not exist");
  bad = good;
  bad.scheme = 0x0201;  // rsa_pkcs1_sha1
  EXPECT_STREQ(key_request_breach(bad), "asked for a signature scheme that is not served");
  bad = good;
  bad.content[0] = 0;
  EXPECT_STREQ(key_request_breach(bad), "asked to sign what is no handshake of a TLS server");
  EXPECT_STREQ(key_request_breach(sign_request({}, 0x0401, tls13_content())),
               "asked for a signature that TLS 1.3 has not");
  EXPECT_EQ(key_request_breach(sign_request({}, 0x0401, tls12_content(29, 32))), nullptr);
  bad = good;
  bad.order = KeyOrder::PROBE;
  EXPECT_STREQ(key_request_breach(bad), "asked for a key and for a signature at once");
  KeyRequest probe;
  probe.order = KeyOrder::PROBE;
  EXPECT_EQ(key_request_breach(probe), nullptr);
}

TEST(KeyDesk, a_breach_closes_the_desk_before_anything_is_signed) {
  RemoteWorld world;
  auto desk = open_desk(world.ends);
  ASSERT_TRUE(desk.has_value());
  EXPECT_EQ(desk->serve(world.signer), KeyDesk::Turn::WORKED);  // the look at what a predecessor may have left
  EXPECT_EQ(desk->serve(world.signer), KeyDesk::Turn::IDLE);
  KeyRequest bad = sign_request({}, 0x0403, tls13_content());
  bad.content[70] ^= 1;
  KeyWait wait;
  wait.bind(world.channel, 1);
  ASSERT_TRUE(wait.begin(bad));
  EXPECT_EQ(desk->serve(world.signer), KeyDesk::Turn::BREACH);
  EXPECT_STREQ(desk->breach(), "asked to sign what is no handshake of a TLS server");
  EXPECT_EQ(world.signer.asked.load(), 0U);
  wait.cancel();
}

TEST(KeyDesk, who_wakes_it_without_end_for_nothing_is_shut_out) {
  RemoteWorld world;
  auto desk = open_desk(world.ends);
  ASSERT_TRUE(desk.has_value());
  auto map = SharedMapping::map(world.ends.memory.get(), sizeof(KeySegment), SharedMapping::Access::READ_WRITE);
  ASSERT_TRUE(map.has_value());
  auto* segment = reinterpret_cast<KeySegment*>(map->data());
  int turns = 0;
  KeyDesk::Turn turn = KeyDesk::Turn::WORKED;
  while (turn != KeyDesk::Turn::BREACH && turns++ < 1'000'000) {
    segment->requested.store(1);
    turn = desk->serve(world.signer);
  }
  EXPECT_EQ(turn, KeyDesk::Turn::BREACH);
  EXPECT_STREQ(desk->breach(), "wakes the key process without end and asks for nothing");
}

}  // namespace
}  // namespace penstock
