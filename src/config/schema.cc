// Fuzzed by src/config/parse_fuzz.cc
#include "src/config/schema.h"

#include "src/base/assert.h"
#include "src/config/text.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <vector>

namespace penstock {
namespace {

template <class Type>
Parsed<std::string> canonical_of(std::string_view raw, SettingRange range) {
  const auto value = Type::parse(raw, range);
  if (!value) return std::unexpected(value.error());
  return Type::print(*value);
}

constexpr SettingApply LIVE{};
constexpr SettingApply BOOT(std::string_view reason) { return {false, reason}; }

// For the table below alone: one entry from the arguments of a macro of schema.def.
#define ENTRY(scope, prefix, key, member, type, def, min, max, unit, apply, help) \
  SettingInfo{scope,                                                              \
              key,                                                                \
              prefix key,                                                         \
              #member,                                                            \
              false,                                                              \
              def,                                                                \
              SettingRange{min, max},                                             \
              unit,                                                               \
              apply,                                                              \
              help,                                                               \
              &type::name,                                                        \
              &type::expects,                                                     \
              &canonical_of<type>,                                                \
              nullptr,                                                            \
              nullptr},
#define MAP_ENTRY(scope, prefix, key, member, names, placeholder, type, min, max, unit, apply, help) \
  SettingInfo{scope,                                                                                 \
              key,                                                                                   \
              prefix key "." placeholder,                                                            \
              #member,                                                                               \
              true,                                                                                  \
              "",                                                                                    \
              SettingRange{min, max},                                                                \
              unit,                                                                                  \
              apply,                                                                                 \
              help,                                                                                  \
              &type::name,                                                                           \
              &type::expects,                                                                        \
              &canonical_of<type>,                                                                   \
              &names::check,                                                                         \
              &names::what},
#define ROOT_SETTING(...) ENTRY(SettingScope::ROOT, "", __VA_ARGS__)
#define ROOT_MAP(...) MAP_ENTRY(SettingScope::ROOT, "", __VA_ARGS__)
#define LOGFILE_SETTING(...) ENTRY(SettingScope::LOGFILE, "logfile.NAME.", __VA_ARGS__)
#define SITE_SETTING(...) ENTRY(SettingScope::SITE, "site.NAME.", __VA_ARGS__)
#define SITE_MAP(...) MAP_ENTRY(SettingScope::SITE, "site.NAME.", __VA_ARGS__)
#define ROUTE_SETTING(...) ENTRY(SettingScope::ROUTE, "site.NAME.route.NAME.", __VA_ARGS__)
#define ROUTE_MAP(...) MAP_ENTRY(SettingScope::ROUTE, "site.NAME.route.NAME.", __VA_ARGS__)
#define POOL_SETTING(...) ENTRY(SettingScope::POOL, "pool.NAME.", __VA_ARGS__)
#define POOL_MAP(...) MAP_ENTRY(SettingScope::POOL, "pool.NAME.", __VA_ARGS__)
#define IDENTITY_SETTING(...) ENTRY(SettingScope::IDENTITY, "identity.NAME.", __VA_ARGS__)
#define IDENTITY_MAP(...) MAP_ENTRY(SettingScope::IDENTITY, "identity.NAME.", __VA_ARGS__)

constexpr SettingInfo SCHEMA[] = {
#include "src/config/schema.def"
};

#undef ENTRY
#undef MAP_ENTRY

constexpr bool before(SettingScope scope, std::string_view key, const SettingInfo& info) {
  return scope != info.scope ? scope < info.scope : key < info.key;
}

// Indices of SCHEMA in the order of scope and key, for binary search.
constexpr auto SORTED = [] {
  std::array<uint16_t, std::size(SCHEMA)> order{};
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<uint16_t>(i);
  std::sort(order.begin(), order.end(),
            [](uint16_t a, uint16_t b) { return before(SCHEMA[a].scope, SCHEMA[a].key, SCHEMA[b]); });
  return order;
}();

const SettingInfo* setting_of(SettingScope scope, std::string_view key) {
  const auto at = std::lower_bound(SORTED.begin(), SORTED.end(), key, [&](uint16_t index, std::string_view) {
    return before(SCHEMA[index].scope, SCHEMA[index].key, SettingInfo{scope, key});
  });
  if (at == SORTED.end() || SCHEMA[*at].scope != scope || SCHEMA[*at].key != key) return nullptr;
  return &SCHEMA[*at];
}

// The part before the first dot, which goes with its dot from `rest`.
std::string_view take_part(std::string_view& rest) {
  const size_t dot = rest.find('.');
  const std::string_view part = rest.substr(0, dot);
  rest = dot == std::string_view::npos ? std::string_view() : rest.substr(dot + 1);
  return part;
}

std::optional<SettingScope> named_scope(std::string_view word) {
  if (word == "logfile") return SettingScope::LOGFILE;
  if (word == "site") return SettingScope::SITE;
  if (word == "pool") return SettingScope::POOL;
  if (word == "identity") return SettingScope::IDENTITY;
  return std::nullopt;
}

std::unexpected<std::string> unknown_key(std::string_view key) {
  const std::string near = nearest_key(key);
  return std::unexpected(near.empty() ? std::string("expected a key of the schema (see sysctl -a)")
                                      : fmt::format("expected a key of the schema; is {} meant?", near));
}

std::unexpected<std::string> bad_name(std::string_view of, std::string_view got) {
  return std::unexpected(fmt::format("expected a {} name of 1 to {} letters, digits, '_' and '-', got {}", of,
                                     INSTANCE_NAME_BYTES_MAX, quote_for_message(got)));
}

// --- nearest key ----------------------------------------------------------------------------

// Edits (insert, delete, replace, swap of neighbours) from `a` to `b`; more than `limit` counts as limit + 1.
// Cells further than `limit` from the diagonal cannot be part of a shorter way and are not looked at.
size_t edit_distance(std::string_view a, std::string_view b, size_t limit) {
  if (std::max(a.size(), b.size()) - std::min(a.size(), b.size()) > limit) return limit + 1;
  const std::vector<size_t> far(b.size() + 1, limit + 1);
  std::vector<size_t> older = far, old = far, row = far;
  for (size_t j = 0; j <= std::min(b.size(), limit); ++j) old[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row = far;
    if (i <= limit) row[0] = i;
    size_t least = row[0];
    for (size_t j = i > limit ? i - limit : 1; j <= std::min(b.size(), i + limit); ++j) {
      row[j] = std::min({old[j] + 1, row[j - 1] + 1, old[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1), limit + 1});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], older[j - 2] + 1);
      least = std::min(least, row[j]);
    }
    // A swap reaches back two rows.
    if (least > limit && *std::min_element(old.begin(), old.end()) > limit) return limit + 1;
    std::swap(older, old);
    std::swap(old, row);
  }
  return old[b.size()];
}

// The pattern with the names that `key` has at the places of NAME and of a map's placeholder.
std::string fill_pattern(const SettingInfo& info, std::string_view key) {
  std::string out;
  std::string_view pattern = info.pattern;
  while (!pattern.empty()) {
    std::string_view part = take_part(pattern);
    const std::string_view theirs = take_part(key);
    const bool placeholder = part == "NAME" || (info.is_map && pattern.empty());
    if (placeholder && !theirs.empty()) part = theirs;
    if (!out.empty()) out += '.';
    out += part;
  }
  return out;
}

}  // namespace

std::span<const SettingInfo> schema() { return SCHEMA; }

std::string canonical_default(const SettingInfo& setting) {
  ASSERT(!setting.is_map);
  const auto text = setting.canonical(setting.default_text, setting.range);
  ASSERT(text);  // a unit test holds schema.def to it
  return *text;
}

bool is_instance_name(std::string_view name) {
  return !name.empty() && name.size() <= INSTANCE_NAME_BYTES_MAX &&
         std::all_of(name.begin(), name.end(), [](char c) { return is_alnum(c) || c == '_' || c == '-'; });
}

Parsed<SettingPath> resolve_key(std::string_view key) {
  SettingPath path;
  std::string_view rest = key;
  SettingScope scope = SettingScope::ROOT;
  std::string_view after = key;
  const std::string_view head = take_part(after);
  if (const auto named = named_scope(head)) {
    scope = *named;
    rest = after;
    path.instance = take_part(rest);
    if (!is_instance_name(path.instance)) return bad_name(head, path.instance);
  }
  if (scope == SettingScope::SITE && rest.starts_with("route.")) {
    scope = SettingScope::ROUTE;
    rest.remove_prefix(6);
    path.inner = take_part(rest);
    if (!is_instance_name(path.inner)) return bad_name("route", path.inner);
  }
  path.setting = setting_of(scope, rest);
  if (path.setting != nullptr && !path.setting->is_map) return path;
  std::string_view name = rest;
  path.setting = setting_of(scope, take_part(name));
  if (path.setting == nullptr || !path.setting->is_map) return unknown_key(key);
  path.name = name;
  if (path.setting->name_allowed(name)) return path;
  return std::unexpected(
      fmt::format("expected as its last part {}, got {}", path.setting->name_expected(), quote_for_message(name)));
}

std::string join_key(const SettingPath& path) {
  std::string out;
  switch (path.setting->scope) {
    case SettingScope::ROOT:
      break;
    case SettingScope::LOGFILE:
      out = fmt::format("logfile.{}.", path.instance);
      break;
    case SettingScope::SITE:
      out = fmt::format("site.{}.", path.instance);
      break;
    case SettingScope::ROUTE:
      out = fmt::format("site.{}.route.{}.", path.instance, path.inner);
      break;
    case SettingScope::POOL:
      out = fmt::format("pool.{}.", path.instance);
      break;
    case SettingScope::IDENTITY:
      out = fmt::format("identity.{}.", path.instance);
      break;
  }
  out += path.setting->key;
  if (path.setting->is_map) out += fmt::format(".{}", path.name);
  return out;
}

std::optional<std::string> instance_prefix(std::string_view text) {
  if (text.ends_with(".*")) text.remove_suffix(2);
  std::string_view rest = text;
  const auto scope = named_scope(take_part(rest));
  if (!scope || !is_instance_name(take_part(rest))) return std::nullopt;
  if (!rest.empty()) {
    const bool route = *scope == SettingScope::SITE && take_part(rest) == "route" && is_instance_name(take_part(rest));
    if (!route || !rest.empty()) return std::nullopt;
  }
  if (text.ends_with('.')) return std::nullopt;
  return std::string(text) + ".";
}

std::string nearest_key(std::string_view key) {
  constexpr size_t KEY_BYTES_MAX = 200;  // bounds the work of a guess that would be none
  if (key.size() > KEY_BYTES_MAX) return {};
  size_t limit = std::max<size_t>(2, key.size() / 6);
  std::string best;
  for (const SettingInfo& info : SCHEMA) {
    std::string candidate = fill_pattern(info, key);
    const size_t distance = edit_distance(key, candidate, limit);
    const bool shortened = best.empty() && candidate.ends_with("." + std::string(key));
    if (distance > limit && !shortened) continue;
    if (distance <= limit && distance > 0) limit = distance - 1;
    best = std::move(candidate);
  }
  return best;
}

}  // namespace penstock
