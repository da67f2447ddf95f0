// A tree or the schema as text for people: `sysctl -a`, `sysctl -a -v`, the reference page. Pure.
#pragma once

#include "src/config/schema.h"
#include "src/config/tree.h"

#include <string>
#include <string_view>

namespace penstock {

enum class PrintDetail : uint8_t {
  VALUES,     // key = value
  DESCRIBED,  // above each key, as comments: help, type, range, unit, default, live or boot with its reason, where the
              // value was set, the first release with the key, its risk
};

// `sysctl -a [-v]`: every key, defaults included. Loads again to the same settings; printing those is
// byte-equal, but for where the values of DESCRIBED were set.
std::string print_tree(const Tree& tree, PrintDetail detail, std::string_view prefix = {});

// "from 256 to 1m", "up to 64 bytes", "1 to 64 items"; empty for types without bounds.
std::string print_range(const SettingInfo& setting);

// src/CONFIG.md, made of the schema; a unit test holds the committed page to it.
std::string reference_markdown();

}  // namespace penstock
