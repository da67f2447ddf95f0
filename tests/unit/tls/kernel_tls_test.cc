#include "src/tls/kernel_tls.h"

#include <cerrno>
#include <gtest/gtest.h>

namespace penstock {
namespace {

KernelTls told(int error) {
  return look_for_kernel_tls([error] { return error; });
}

TEST(KernelTls, is_offered_by_a_kernel_that_only_misses_the_connection) {
  EXPECT_TRUE(told(ENOTCONN).offered);
  EXPECT_TRUE(told(0).offered);
  EXPECT_TRUE(told(0).why.starts_with("used: ")) << told(0).why;
}

TEST(KernelTls, is_missed_with_the_reason) {
  for (const auto& [error, words] : {std::pair(ENOENT, "no module tls"), std::pair(ENOPROTOOPT, "built without"),
                                     std::pair(EPERM, "Operation not permitted")}) {
    const KernelTls found = told(error);
    EXPECT_FALSE(found.offered);
    EXPECT_NE(found.why.find(words), std::string::npos) << found.why;
    EXPECT_TRUE(found.why.starts_with("not used: ")) << found.why;
  }
}

TEST(KernelTls, of_this_machine_is_told_without_harm) { EXPECT_FALSE(look_for_kernel_tls().why.empty()); }

}  // namespace
}  // namespace penstock
