#include "src/config/settings.h"

#include "src/base/assert.h"
#include "src/config/log_term.h"
#include "src/config/settings_build.h"

#include <algorithm>

namespace penstock {
namespace {

// Rows of the fields of logs, as terms name them.
enum LogFieldRow : size_t {
#define FIELD(name, w3c, json, type, help) ROW_##name,
#include "src/config/log_fields.def"
};

bool asks_server_address(const std::string& condition) {
  const auto term = parse_log_term(condition);
  return term && term->field == ROW_S_IP;
}

template <class Type>
void assign_value(typename Type::Value& member, std::string_view text, SettingRange range) {
  auto value = Type::parse(text, range);
  ASSERT(value);  // canonical text and defaults parse, or the type's printer is wrong
  member = std::move(*value);
}

template <class Type>
void append(std::vector<NamedValue>& member, std::string_view name, std::string_view text, SettingRange range) {
  auto value = Type::parse(text, range);
  ASSERT(value);
  member.push_back({std::string(name), std::move(*value)});
}

using Setter = void (*)(const SettingTarget& target, std::string_view name, std::string_view text, SettingRange range);

#define SETTER(owner, key, member, type, ...)                                                    \
  [](const SettingTarget& target, std::string_view, std::string_view text, SettingRange range) { \
    assign_value<type>(target.owner->member, text, range);                                       \
  },
#define MAP_SETTER(owner, key, member, names, placeholder, type, ...)                                 \
  [](const SettingTarget& target, std::string_view name, std::string_view text, SettingRange range) { \
    append<type>(target.owner->member, name, text, range);                                            \
  },
#define ROOT_SETTING(...) SETTER(root, __VA_ARGS__)
#define ROOT_MAP(...) MAP_SETTER(root, __VA_ARGS__)
#define LOGFILE_SETTING(...) SETTER(logfile, __VA_ARGS__)
#define SITE_SETTING(...) SETTER(site, __VA_ARGS__)
#define SITE_MAP(...) MAP_SETTER(site, __VA_ARGS__)
#define ROUTE_SETTING(...) SETTER(route, __VA_ARGS__)
#define ROUTE_MAP(...) MAP_SETTER(route, __VA_ARGS__)
#define POOL_SETTING(...) SETTER(pool, __VA_ARGS__)
#define POOL_MAP(...) MAP_SETTER(pool, __VA_ARGS__)
#define IDENTITY_SETTING(...) SETTER(identity, __VA_ARGS__)
#define IDENTITY_MAP(...) MAP_SETTER(identity, __VA_ARGS__)

// In the order of schema().
constexpr Setter SETTERS[] = {
#include "src/config/schema.def"
};

void assign_defaults(const SettingTarget& target, SettingScope scope) {
  for (const SettingInfo& info : schema()) {
    if (info.scope == scope && !info.is_map) assign_setting(target, info, {}, info.default_text);
  }
}

}  // namespace

void assign_setting(const SettingTarget& target, const SettingInfo& setting, std::string_view name,
                    std::string_view canonical) {
  ASSERT(std::size(SETTERS) == schema().size());
  SETTERS[&setting - schema().data()](target, name, canonical, setting.range);
}

Settings::Settings() { assign_defaults({.root = this}, SettingScope::ROOT); }
LogfileSettings::LogfileSettings() { assign_defaults({.logfile = this}, SettingScope::LOGFILE); }
SiteSettings::SiteSettings() { assign_defaults({.site = this}, SettingScope::SITE); }
RouteSettings::RouteSettings() { assign_defaults({.route = this}, SettingScope::ROUTE); }
PoolSettings::PoolSettings() { assign_defaults({.pool = this}, SettingScope::POOL); }
IdentitySettings::IdentitySettings() { assign_defaults({.identity = this}, SettingScope::IDENTITY); }

bool Settings::writes_log() const {
  return !logfiles.empty() || (log_access_format != LogFormatSetting::NONE && !log_access_path.empty());
}

bool Settings::tells_server_address() const {
  const auto tells = [](LogFormatSetting format, const auto& fields, const auto& where) {
    if (std::ranges::any_of(where, asks_server_address)) return true;
    if (format == LogFormatSetting::BINARY) return true;
    const bool has_fields = format == LogFormatSetting::W3C || format == LogFormatSetting::JSON;
    return has_fields && std::ranges::find(fields, "s-ip") != fields.end();
  };
  if (!pools.empty()) return true;
  if (!log_access_path.empty() && tells(log_access_format, log_access_fields, log_access_where)) return true;
  return std::ranges::any_of(logfiles,
                             [&](const LogfileSettings& log) { return tells(log.format, log.fields, log.where); });
}

uint64_t Settings::longest_head() const {
  uint64_t bytes = limits_head_bytes;
  for (const SiteSettings& site : sites) bytes = std::max(bytes, site.limits_head_bytes.value_or(0));
  return bytes;
}

const SiteSettings* Settings::site(std::string_view name) const {
  const auto at =
      std::lower_bound(sites.begin(), sites.end(), name,
                       [](const SiteSettings& site, std::string_view wanted) { return site.name < wanted; });
  return at != sites.end() && at->name == name ? &*at : nullptr;
}

}  // namespace penstock
