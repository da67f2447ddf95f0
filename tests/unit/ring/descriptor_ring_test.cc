#include "pool/ring/descriptor_ring.h"

#include <gtest/gtest.h>
#include <vector>

namespace penstock {
namespace {

struct Ring {
  explicit Ring(uint32_t start = 0) : tail(start), head(start) {}
  static constexpr uint32_t ENTRIES = 64;
  std::vector<penstock_descriptor> memory = std::vector<penstock_descriptor>(ENTRIES);
  uint32_t tail;
  uint32_t head;
  uint32_t sleeping = 0;
  DescriptorProducer producer{memory.data(), ENTRIES, &tail, &head, &sleeping};
  DescriptorConsumer consumer{memory.data(), ENTRIES, &head, &tail, &sleeping};
};

penstock_descriptor numbered(uint64_t serial) {
  penstock_descriptor descriptor{};
  descriptor.serial = serial;
  return descriptor;
}

TEST(DescriptorRing, keeps_order_across_both_ends_of_its_numbers) {
  Ring ring(UINT32_MAX - 100);
  uint64_t in = 0;
  uint64_t out = 0;
  for (int round = 0; round < 100; ++round) {
    for (uint32_t i = 0; i < 7 + static_cast<uint32_t>(round) % 50 && ring.producer.room() > 0; ++i) {
      ring.producer.put(numbered(in++));
    }
    EXPECT_FALSE(ring.producer.publish());
    while (ring.consumer.available() > 0) EXPECT_EQ(ring.consumer.take().serial, out++);
    ring.consumer.release();
  }
  EXPECT_EQ(in, out);
  EXPECT_GT(in, 1000U);
  EXPECT_FALSE(ring.producer.broken() || ring.consumer.broken());
}

TEST(DescriptorRing, holds_as_many_as_it_has_entries_and_no_more) {
  Ring ring;
  for (uint32_t i = 0; i < Ring::ENTRIES; ++i) {
    ASSERT_GT(ring.producer.room(), 0U);
    ring.producer.put(numbered(i));
  }
  EXPECT_EQ(ring.producer.room(), 0U);
  EXPECT_EQ(ring.consumer.available(), 0U) << "nothing is seen before it is published";
  (void)ring.producer.publish();
  EXPECT_EQ(ring.consumer.available(), Ring::ENTRIES);
  (void)ring.consumer.take();
  EXPECT_EQ(ring.producer.room(), 0U) << "taken is not released";
  ring.consumer.release();
  EXPECT_EQ(ring.producer.room(), 1U);
}

TEST(DescriptorRing, asks_for_the_doorbell_only_where_the_other_end_sleeps) {
  Ring ring;
  EXPECT_TRUE(ring.consumer.may_sleep());
  EXPECT_FALSE(ring.producer.publish()) << "nothing to say";
  ring.producer.put(numbered(1));
  EXPECT_TRUE(ring.producer.publish());
  lower_flag(ring.sleeping);
  ring.producer.put(numbered(2));
  EXPECT_FALSE(ring.producer.publish());
  EXPECT_FALSE(ring.consumer.may_sleep()) << "there is something";
}

TEST(DescriptorRing, asks_once_for_the_doorbell_until_the_other_end_has_looked) {
  // From zero, and across the end of the numbers.
  for (const uint32_t start : {uint32_t{0}, UINT32_MAX - 1, UINT32_MAX}) {
    Ring ring(start);
    const auto say = [&ring] {
      ring.producer.put(numbered(1));
      return ring.producer.publish();
    };
    const auto take_all = [&ring] {
      while (ring.consumer.available() > 0) (void)ring.consumer.take();
      ring.consumer.release();
    };
    EXPECT_TRUE(ring.consumer.may_sleep());
    EXPECT_TRUE(say());
    EXPECT_FALSE(say()) << "it is awake, and has not run yet";
    take_all();
    EXPECT_TRUE(ring.consumer.may_sleep());
    EXPECT_TRUE(say()) << "it slept again";
    EXPECT_FALSE(say());
    (void)ring.consumer.available();
    (void)ring.consumer.take();
    ring.consumer.release();
    EXPECT_TRUE(say()) << "it took what the doorbell rang for, and may have gone to sleep since";
  }
}

TEST(DescriptorRing, asks_for_the_doorbell_when_its_numbers_have_come_round) {
  Ring ring;
  EXPECT_TRUE(ring.consumer.may_sleep());
  ring.producer.put(numbered(1));
  EXPECT_TRUE(ring.producer.publish());
  lower_flag(ring.sleeping);
  // As after some billion descriptors without a sleep: the numbers are those of the last time again.
  for (uint64_t round = 0; round < 3; ++round) {
    while (ring.consumer.available() > 0) (void)ring.consumer.take();
    ring.consumer.release();
    for (uint32_t i = 0; i < Ring::ENTRIES; ++i) ring.producer.put(numbered(2));
    EXPECT_FALSE(ring.producer.publish());
  }
  raise_flag(ring.sleeping);
  ring.head = UINT32_MAX;  // as if one before what the doorbell rang for
  ring.producer.put(numbered(3));
  EXPECT_TRUE(ring.producer.publish());
}

TEST(DescriptorRing, is_broken_by_a_consumer_that_took_what_never_was) {
  for (const uint32_t lie : {uint32_t{2}, uint32_t{1000}, UINT32_MAX, uint32_t{1} << 31}) {
    Ring ring;
    ring.producer.put(numbered(1));
    (void)ring.producer.publish();
    ring.head = lie;
    EXPECT_EQ(ring.producer.consumed(), 0U);
    EXPECT_TRUE(ring.producer.broken()) << lie;
  }
}

TEST(DescriptorRing, is_broken_by_a_consumer_that_goes_back) {
  Ring ring;
  for (int i = 0; i < 40; ++i) ring.producer.put(numbered(1));
  (void)ring.producer.publish();
  ring.head = 30;
  EXPECT_EQ(ring.producer.consumed(), 30U);
  ring.head = 29;
  EXPECT_EQ(ring.producer.consumed(), 30U);
  EXPECT_TRUE(ring.producer.broken());
}

TEST(DescriptorRing, is_broken_by_a_producer_that_claims_more_than_fits) {
  for (const uint32_t lie : {Ring::ENTRIES + 1, UINT32_MAX, uint32_t{1} << 31}) {
    Ring ring;
    ring.tail = lie;
    EXPECT_EQ(ring.consumer.available(), 0U);
    EXPECT_TRUE(ring.consumer.broken()) << lie;
    ring.tail = 1;
    EXPECT_EQ(ring.consumer.available(), 0U) << "once broken, always";
  }
}

}  // namespace
}  // namespace penstock
