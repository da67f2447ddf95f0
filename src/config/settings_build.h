// Where a setting's value goes: the only writer of Settings. Private to tree.cc and tree_build.cc.
#pragma once

#include "src/config/schema.h"
#include "src/config/settings.h"

#include <string_view>

namespace penstock {

// The structs that settings of each scope are members of; those not needed are null.
struct SettingTarget {
  Settings* root = nullptr;
  LogfileSettings* logfile = nullptr;
  SiteSettings* site = nullptr;
  RouteSettings* route = nullptr;
  PoolSettings* pool = nullptr;
  IdentitySettings* identity = nullptr;
};

// Puts a value into its member. REQUIRES: `canonical` came from setting.canonical; the target of setting.scope is set.
void assign_setting(const SettingTarget& target, const SettingInfo& setting, std::string_view name,
                    std::string_view canonical);

}  // namespace penstock
