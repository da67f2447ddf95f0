// Settings: the configuration as typed members, made from schema.def.
//
// Built only by Tree (tree.h), never changed afterwards; a new generation is a new Settings. The supervisor builds one
// to validate, the server builds its own from the text the supervisor sends, and reactors read it between turns. A
// default-constructed struct holds the schema's defaults. Members are the keys with '.' turned to '_':
//   limits.head_bytes -> settings.limits_head_bytes       site.NAME.limits.url_bytes -> site.limits_url_bytes
// A std::optional member is a value that may be left to the level above (`inherit`).
#pragma once

#include "src/base/time.h"
#include "src/config/types.h"
#include "src/config/values.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

struct LogfileSettings {
  LogfileSettings();
  std::string name;
#define LOGFILE_SETTING(key, member, type, ...) type::Value member{};
#include "src/config/schema.def"
};

struct RouteSettings {
  RouteSettings();
  std::string name;
#define ROUTE_SETTING(key, member, type, ...) type::Value member{};
#define ROUTE_MAP(key, member, ...) std::vector<NamedValue> member;
#include "src/config/schema.def"
};

struct SiteSettings {
  SiteSettings();
  std::string name;
#define SITE_SETTING(key, member, type, ...) type::Value member{};
#define SITE_MAP(key, member, ...) std::vector<NamedValue> member;
#include "src/config/schema.def"
  std::vector<RouteSettings> routes;  // ascending by name
};

struct PoolSettings {
  PoolSettings();
  std::string name;
#define POOL_SETTING(key, member, type, ...) type::Value member{};
#define POOL_MAP(key, member, ...) std::vector<NamedValue> member;
#include "src/config/schema.def"
};

struct IdentitySettings {
  IdentitySettings();
  std::string name;
#define IDENTITY_SETTING(key, member, type, ...) type::Value member{};
#define IDENTITY_MAP(key, member, ...) std::vector<NamedValue> member;
#include "src/config/schema.def"
};

struct Settings {
  Settings();
  uint64_t generation = 0;
#define ROOT_SETTING(key, member, type, ...) type::Value member{};
#define ROOT_MAP(key, member, ...) std::vector<NamedValue> member;
#include "src/config/schema.def"
  std::vector<LogfileSettings> logfiles;     // ascending by name
  std::vector<SiteSettings> sites;           // ascending by name
  std::vector<PoolSettings> pools;           // ascending by name
  std::vector<IdentitySettings> identities;  // ascending by name

  // Whether any log is written: log.access, or a log file of its own.
  [[nodiscard]] bool writes_log() const;
  // Whether a log or an application is told the address that a client connected to.
  [[nodiscard]] bool tells_server_address() const;
  // limits.head_bytes of the server or of the site that takes most.
  [[nodiscard]] uint64_t longest_head() const;
  // The site of that name, or null. O(log n).
  [[nodiscard]] const SiteSettings* site(std::string_view name) const;
};

}  // namespace penstock
