#include "src/base/inplace_vector.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

struct Value {
  int number = -1;
  int other = -2;
};
using Values = InplaceVector<Value, 4>;

TEST(InplaceVector, holds_what_is_pushed_in_order) {
  Values values;
  EXPECT_TRUE(values.empty());
  values.push_back({1, 2});
  values.push_back({3, 4}).other = 5;
  ASSERT_EQ(values.size(), 2U);
  EXPECT_EQ(values[0].number, 1);
  EXPECT_EQ(values.back().other, 5);
  EXPECT_EQ(values.values().size(), 2U);
  EXPECT_EQ(values.values().data(), &values[0]);
  values.clear();
  EXPECT_TRUE(values.empty());
}

TEST(InplaceVector, takes_as_many_as_it_has_room_for) {
  const Value four[4] = {{1, 0}, {2, 0}, {3, 0}, {4, 0}};
  Values values(four);
  EXPECT_TRUE(values.full());
  EXPECT_EQ(values.size(), Values::capacity());
  EXPECT_EQ(values[3].number, 4);
}

TEST(InplaceVector, one_more_is_a_bug) {
  const Value four[4];
  Values values(four);
  EXPECT_DEATH(values.push_back({}), "size_ < N");
}

// What it is for: no value is constructed before it is pushed.
struct CountedItem {
  static inline int made = 0;
  int number = 0;
  CountedItem() { ++made; }
};

TEST(InplaceVector, making_one_constructs_no_value) {
  InplaceVector<CountedItem, 4> values;
  EXPECT_EQ(CountedItem::made, 0);
  const CountedItem one;
  values.push_back(one);
  EXPECT_EQ(CountedItem::made, 1);
}

}  // namespace
}  // namespace penstock
