#include "src/tls/ticket_rotation.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

constexpr Duration ROTATE = seconds(100);
constexpr Duration LIFETIME = seconds(250);

MonoTime at(int64_t s) { return MonoTime{} + seconds(1'000 + s); }

std::vector<TicketKey> keys_at(TicketRotation& rotation, int64_t s, Duration rotate = ROTATE,
                               Duration lifetime = LIFETIME) {
  EXPECT_TRUE(rotation.turn(at(s), rotate, lifetime));
  return ticket_keys_of(rotation.text());
}

TEST(TicketRotation, makes_a_key_when_its_turn_has_come_and_not_before) {
  TicketRotation rotation;
  EXPECT_EQ(rotation.text(), "");
  const auto first = keys_at(rotation, 0);
  ASSERT_EQ(first.size(), 1U);
  EXPECT_EQ(keys_at(rotation, 99), first);
  EXPECT_EQ(rotation.due(ROTATE, LIFETIME), at(100));
  const auto second = keys_at(rotation, 100);
  ASSERT_EQ(second.size(), 2U);
  EXPECT_EQ(second[1], first[0]) << "the newest is first";
  EXPECT_NE(second[0], first[0]);
}

TEST(TicketRotation, keeps_a_key_for_the_lifetime_of_the_last_ticket_that_it_sealed) {
  TicketRotation rotation;
  const auto first = keys_at(rotation, 0);
  (void)keys_at(rotation, 100);
  (void)keys_at(rotation, 200);
  const auto third = keys_at(rotation, 349);  // a key is due, too
  EXPECT_EQ(third.back(), first.front());
  EXPECT_EQ(rotation.due(ROTATE, LIFETIME), at(350));
  const auto fourth = keys_at(rotation, 350);
  EXPECT_EQ(fourth.size(), third.size() - 1);
  EXPECT_NE(fourth.back(), first.front());
}

TEST(TicketRotation, a_shorter_lifetime_forgets_at_once_and_the_newest_stays) {
  TicketRotation rotation;
  (void)keys_at(rotation, 0);
  const auto two = keys_at(rotation, 100);
  ASSERT_EQ(two.size(), 2U);
  const auto one = keys_at(rotation, 102, ROTATE, seconds(1));
  ASSERT_EQ(one.size(), 1U);
  EXPECT_EQ(one[0], two[0]);
}

TEST(TicketRotation, holds_no_more_keys_than_there_may_be) {
  TicketRotation rotation;
  std::vector<TicketKey> keys;
  for (int64_t s = 0; s < 20; ++s) keys = keys_at(rotation, s, seconds(1), seconds(1'000));
  EXPECT_EQ(keys.size(), TicketKeys::KEYS_MAX);
}

TEST(TicketRotation, cleared_it_begins_anew) {
  TicketRotation rotation;
  EXPECT_FALSE(rotation.clear());
  const auto first = keys_at(rotation, 0);
  EXPECT_TRUE(rotation.clear());
  EXPECT_EQ(rotation.text(), "");
  EXPECT_EQ(rotation.due(ROTATE, LIFETIME), MonoTime::never());
  const auto anew = keys_at(rotation, 1);
  ASSERT_EQ(anew.size(), 1U);
  EXPECT_NE(anew[0], first[0]);
}

TEST(TicketRotation, text_that_is_no_keys_is_none) {
  EXPECT_TRUE(ticket_keys_of("").empty());
  EXPECT_TRUE(ticket_keys_of(std::string(159, 'a')).empty());
  EXPECT_TRUE(ticket_keys_of(std::string(159, 'a') + "g").empty());
  EXPECT_EQ(ticket_keys_of(std::string(320, 'a')).size(), 2U);
}

}  // namespace
}  // namespace penstock
