#include "src/config/risk.h"

#include "src/base/assert.h"

#include <algorithm>
#include <fmt/format.h>
#include <iterator>

namespace penstock {
namespace {

constexpr KeyRisk RISKS[] = {
#define KEY_RISK(pattern, risk, since, why) KeyRisk{pattern, Risk::risk, since, why},
#include "src/config/risks.def"
#undef KEY_RISK
};

// Called where a key of schema.def is in no row of risks.def, or in two: the compiler then names it and this.
void a_key_must_stand_in_risks_def_once() {}

consteval std::string_view stated(std::string_view pattern) {
  size_t rows = 0;  // by hand: compilers bound the steps of a constant, and there are as many as keys by rows
  for (const KeyRisk& row : RISKS) rows += row.pattern.size() == pattern.size() && row.pattern == pattern ? 1 : 0;
  if (rows != 1) a_key_must_stand_in_risks_def_once();
  return pattern;
}

constexpr std::string_view PATTERNS[] = {
#define ROOT_SETTING(key, ...) stated(key),
#define ROOT_MAP(key, member, names, placeholder, ...) stated(key "." placeholder),
#define LOGFILE_SETTING(key, ...) stated("logfile.NAME." key),
#define SITE_SETTING(key, ...) stated("site.NAME." key),
#define SITE_MAP(key, member, names, placeholder, ...) stated("site.NAME." key "." placeholder),
#define ROUTE_SETTING(key, ...) stated("site.NAME.route.NAME." key),
#define ROUTE_MAP(key, member, names, placeholder, ...) stated("site.NAME.route.NAME." key "." placeholder),
#define POOL_SETTING(key, ...) stated("pool.NAME." key),
#define POOL_MAP(key, member, names, placeholder, ...) stated("pool.NAME." key "." placeholder),
#define IDENTITY_SETTING(key, ...) stated("identity.NAME." key),
#define IDENTITY_MAP(key, member, names, placeholder, ...) stated("identity.NAME." key "." placeholder),
#include "src/config/schema.def"
};

// And no row is of no key.
#define KEY_RISK(pattern, risk, since, why)                                                   \
  static_assert(std::ranges::find(PATTERNS, std::string_view(pattern)) != std::end(PATTERNS), \
                pattern " of risks.def is no key of schema.def");                             \
  static_assert((Risk::risk == Risk::NONE) == std::string_view(why).empty(), pattern ": a risk says why it is one");
#include "src/config/risks.def"
#undef KEY_RISK

}  // namespace

std::span<const KeyRisk> key_risks() { return RISKS; }

const KeyRisk& risk_of(const SettingInfo& setting) {
  const auto* const row = std::ranges::find(RISKS, setting.pattern, &KeyRisk::pattern);
  ASSERT(row != std::end(RISKS));
  return *row;
}

std::string_view risk_meaning(Risk risk) {
  switch (risk) {
    case Risk::NONE:
      return "none";
    case Risk::SLOWS:
      return "may refuse or slow requests";
    case Risk::LOSES:
      return "may lose connections, records or cached content";
    case Risk::WEAKENS:
      return "may weaken a protection";
  }
  return "";
}

std::string print_risk(const KeyRisk& row) {
  std::string out = fmt::format("risk {}, {}", static_cast<int>(row.risk), risk_meaning(row.risk));
  if (!row.why.empty()) out += fmt::format(": {}", row.why);
  return out;
}

}  // namespace penstock
