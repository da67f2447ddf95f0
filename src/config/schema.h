// The schema: what there is to set, as data. Made from schema.def; constant, usable everywhere.
#pragma once

#include "src/config/types.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace penstock {

enum class SettingScope : uint8_t { ROOT, LOGFILE, SITE, ROUTE, POOL, IDENTITY };

// When a change of a setting takes effect.
struct SettingApply {
  bool live = true;
  std::string_view boot_reason;  // why not live; empty iff live
};

struct SettingInfo {
  SettingScope scope = SettingScope::ROOT;
  std::string_view key;           // within its scope: "root", "limits.url_bytes"; of a map its first part, "header"
  std::string_view pattern;       // the whole: "cache.size", "site.NAME.route.NAME.prefix", "site.NAME.header.HEADER"
  std::string_view member;        // of the settings' struct
  bool is_map = false;            // pattern ends in a name of the user's own
  std::string_view default_text;  // as the file would write it; empty for maps, whose default is absence
  SettingRange range;
  std::string_view unit;
  SettingApply apply;
  std::string_view help;

  std::string (*type)();                 // "size"
  std::string (*expects)(SettingRange);  // "a size from 256 to 1m": ends "expected …"
  // The canonical text of a raw one; on error what was expected.
  Parsed<std::string> (*canonical)(std::string_view raw, SettingRange range);
  bool (*name_allowed)(std::string_view name);  // maps only, else null
  std::string (*name_expected)();               // maps only, else null
};

// All settings in the order of schema.def: root, logfile, site, route, pool, identity.
std::span<const SettingInfo> schema();

// The default as canonical text. REQUIRES: not a map, whose default is absence.
std::string canonical_default(const SettingInfo& setting);

// A key taken apart: "site.blog.route.img.header.X-A" is setting `header` of scope route, site "blog", inner "img",
// name "X-A". The views point into the key.
struct SettingPath {
  const SettingInfo* setting = nullptr;
  std::string_view instance;  // log file, site, pool or identity; empty for root
  std::string_view inner;     // route
  std::string_view name;      // of a map's entry
};

// On error a sentence: unknown key with the nearest one, or a bad name with what names may be.
Parsed<SettingPath> resolve_key(std::string_view key);

// The whole key of a path: resolve_key's inverse.
std::string join_key(const SettingPath& path);

// A selection of keys for removal: "site.blog", "site.blog.*", "site.blog.route.img", "pool.a.*", "identity.x".
// Returns the prefix that all keys of the instance share, with its dot ("site.blog."), or nothing.
std::optional<std::string> instance_prefix(std::string_view text);

// Names of log files, sites, routes, pools and identities: 1 to 64 letters, digits, '_' and '-'.
inline constexpr size_t INSTANCE_NAME_BYTES_MAX = 64;
bool is_instance_name(std::string_view name);

// The key of the schema most like `key`, with the user's own names put in; empty if none is near.
std::string nearest_key(std::string_view key);

}  // namespace penstock
