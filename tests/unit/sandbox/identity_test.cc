#include "pool/sandbox/identity.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

TEST(RoleIdentity, auto_without_a_user_is_a_reserved_number_of_its_own) {
  const auto server = resolve_identity("auto", "server");
  const auto logd = resolve_identity("auto", "logd");
  ASSERT_TRUE(server && logd);
  EXPECT_NE(server->ids.uid, logd->ids.uid);
  for (const auto* identity : {&*server, &*logd}) {
    EXPECT_NE(identity->ids.uid, 0U);
    EXPECT_NE(identity->ids.gid, 0U);
    EXPECT_FALSE(identity->name.empty());
  }
}

TEST(RoleIdentity, named_user_is_looked_up) {
  const auto nobody = resolve_identity("nobody", "server");
  ASSERT_TRUE(nobody) << nobody.error().message;
  EXPECT_EQ(nobody->ids.uid, 65534U);
}

TEST(RoleIdentity, a_number_stands_for_itself) {
  const auto number = resolve_identity("12345", "server");
  ASSERT_TRUE(number);
  EXPECT_EQ(number->ids.uid, 12345U);
}

TEST(RoleIdentity, root_is_never_given) {
  EXPECT_FALSE(resolve_identity("root", "server"));
  EXPECT_FALSE(resolve_identity("0", "server"));
  EXPECT_FALSE(resolve_identity("4294967295", "server"));  // -1: "leave it as it is" to setresuid
}

TEST(RoleIdentity, unknown_user_or_role_is_an_error) {
  EXPECT_FALSE(resolve_identity("penstock-no-such-user", "server"));
  EXPECT_FALSE(resolve_identity("auto", "supervisor"));
}

}  // namespace
}  // namespace penstock
