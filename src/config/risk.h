// What a careless value of a key can do, and since when there is the key. Made from risks.def; constant.
#pragma once

#include "src/config/schema.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace penstock {

// The worst that a value can do; each level is worse than the one before. The numbers are printed.
enum class Risk : uint8_t {
  NONE = 0,
  SLOWS = 1,    // requests may be refused or slow
  LOSES = 2,    // connections, log records, cached content or work in flight may be lost
  WEAKENS = 3,  // a protection is weaker
};

struct KeyRisk {
  std::string_view pattern;  // of the schema
  Risk risk = Risk::NONE;
  std::string_view since;  // the release that first had the key: "0.1.0"
  std::string_view why;    // one line; empty iff the risk is none
};

// One of each key of the schema; the build fails where that is not so.
std::span<const KeyRisk> key_risks();

// REQUIRES: of the schema.
const KeyRisk& risk_of(const SettingInfo& setting);

// "may refuse or slow requests"; of NONE "none".
std::string_view risk_meaning(Risk risk);

// "risk 0, none" or "risk 1, may refuse or slow requests: a low one refuses long URLs".
std::string print_risk(const KeyRisk& risk);

}  // namespace penstock
