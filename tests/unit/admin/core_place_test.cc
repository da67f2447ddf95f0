#include "src/admin/core_place.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

const CoreOf DEAD = {
    .directory = "/srv/app", .program = "/usr/bin/shop", .pid = 4711, .uid = 1900, .gid = 1901, .signal = 11};

TEST(CorePlace, is_where_the_process_worked_or_where_the_pattern_leads) {
  EXPECT_EQ(core_place("core", false, DEAD), "/srv/app/core");
  EXPECT_EQ(core_place("core", true, DEAD), "/srv/app/core.*");
  EXPECT_EQ(core_place("/var/cores/core", false, DEAD), "/var/cores/core");
}

TEST(CorePlace, has_what_is_known_and_a_star_for_what_only_the_kernel_knows) {
  EXPECT_EQ(core_place("/c/%f.%P.%u.%g.%s.%t.%p%%", true, DEAD), "/c/shop.4711.1900.1901.11.*.*%");
  EXPECT_EQ(core_place("/c/%E", false, DEAD), "/c/!usr!bin!shop");
  EXPECT_EQ(core_place("/c/x%", false, DEAD), "/c/x") << "the kernel drops it";
}

TEST(CorePlace, may_be_a_program_that_the_core_was_given_to) {
  EXPECT_EQ(core_place("|/usr/lib/systemd/systemd-coredump %P %u", true, DEAD),
            "given to /usr/lib/systemd/systemd-coredump");
}

}  // namespace
}  // namespace penstock
