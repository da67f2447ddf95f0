#include "src/cli/render.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

TEST(RenderTable, aligns_text_left_and_numbers_right) {
  EXPECT_EQ(render_table({{"name", "hits"}, {"a", "7"}, {"longer", "1234567"}}),
            "name    hits\n"
            "a             7\n"
            "longer  1234567\n");
}

TEST(RenderScalar, escapes_what_a_client_sent) {
  EXPECT_EQ(render_scalar("a\x1b[2Jb"), "a\\x1b[2Jb");
  EXPECT_EQ(render_scalar(nullptr), "-");
  EXPECT_EQ(render_scalar(true), "yes");
  EXPECT_EQ(render_scalar(12), "12");
}

TEST(RenderObject, prints_scalars_then_tables) {
  const Json object = {{"size", 12}, {"entries", {{{"url", "/a"}, {"hits", 2}}}}};
  EXPECT_EQ(render_object(object), "size  12\n\nentries:\nhits  url\n   2  /a\n");
}

TEST(RenderUnits, are_readable) {
  EXPECT_EQ(render_bytes(17), "17 B");
  EXPECT_EQ(render_bytes(1536), "1.5 KiB");
  EXPECT_EQ(render_count(999), "999");
  EXPECT_EQ(render_count(15300), "15.3 k");
  EXPECT_EQ(render_micros(120), "120 us");
  EXPECT_EQ(render_micros(3'400), "3.4 ms");
  EXPECT_EQ(render_micros(185UL * 60 * 1'000'000), "3 h 5 min");
}

}  // namespace
}  // namespace penstock
