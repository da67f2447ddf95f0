#include "src/admin/program_hashes.h"

#include "tests/support/temp_dir.h"

#include <fstream>
#include <gtest/gtest.h>

namespace penstock {
namespace {

constexpr auto ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

TEST(ProgramHashes, allow_every_program_where_none_is_named) {
  ProgramHashes hashes;
  EXPECT_TRUE(hashes.check("/nowhere").has_value());
}

TEST(ProgramHashes, allow_what_has_one_of_the_sums_until_it_changes) {
  const TempDir dir;
  const std::string path = dir.path() + "/program";
  const auto write = [&path](const char* text) { std::ofstream(path) << text; };
  ProgramHashes hashes;
  hashes.set({std::string(64, '0'), ABC});
  write("abc");
  EXPECT_TRUE(hashes.check(path).has_value());
  EXPECT_TRUE(hashes.check(path).has_value());
  write("abcd");
  const Status changed = hashes.check(path);
  ASSERT_FALSE(changed.has_value());
  EXPECT_EQ(
      changed.error().message,
      "its SHA-256 is 88d4266fd4e6338d13b845fcf289579d209c897823b9217da3e161936f031589, which programs_sha256 does "
      "not list");
  write("abc");
  EXPECT_TRUE(hashes.check(path).has_value());
}

TEST(ProgramHashes, refuse_what_cannot_be_read) {
  const TempDir dir;
  ProgramHashes hashes;
  hashes.set({ABC});
  EXPECT_FALSE(hashes.check(dir.path() + "/nothing").has_value());
  EXPECT_FALSE(hashes.check(dir.path()).has_value());
}

}  // namespace
}  // namespace penstock
