#include "src/config/schema.h"

#include "src/base/version.h"
#include "src/config/risk.h"
#include "src/config/settings.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <gtest/gtest.h>
#include <set>

namespace penstock {
namespace {

std::string dots_to_underscores(std::string_view key) {
  std::string out(key);
  std::replace(out.begin(), out.end(), '.', '_');
  return out;
}

TEST(Schema, every_key_has_every_field) {
  for (const SettingInfo& info : schema()) {
    EXPECT_FALSE(info.key.empty());
    EXPECT_FALSE(info.unit.empty()) << info.pattern;
    EXPECT_GE(info.help.size(), 10U) << info.pattern;
    EXPECT_FALSE(info.help.ends_with('.')) << info.pattern;
    EXPECT_EQ(info.help.find('\n'), std::string_view::npos) << info.pattern;
    EXPECT_FALSE(info.type().empty()) << info.pattern;
    EXPECT_FALSE(info.expects(info.range).empty()) << info.pattern;
    EXPECT_LE(info.range.min, info.range.max) << info.pattern;
    EXPECT_EQ(info.apply.live, info.apply.boot_reason.empty()) << info.pattern;
    EXPECT_EQ(info.is_map, info.name_allowed != nullptr && info.name_expected != nullptr) << info.pattern;
  }
}

TEST(Schema, every_default_is_valid_and_stable) {
  for (const SettingInfo& info : schema()) {
    if (info.is_map) continue;
    const auto text = info.canonical(info.default_text, info.range);
    ASSERT_TRUE(text.has_value()) << info.pattern << ": " << text.error();
    EXPECT_EQ(info.canonical(*text, info.range), text) << info.pattern;
  }
}

TEST(Schema, numbers_refuse_what_lies_outside_their_range) {
  size_t checked = 0;
  for (const SettingInfo& info : schema()) {
    const std::string type = info.type();
    const std::string unit = type == "time" ? "ms" : "";
    if (type != "number" && type != "size" && type != "time") continue;
    ++checked;
    EXPECT_TRUE(info.canonical(std::to_string(info.range.min) + unit, info.range)) << info.pattern;
    EXPECT_TRUE(info.canonical(std::to_string(info.range.max) + unit, info.range)) << info.pattern;
    EXPECT_FALSE(info.canonical(std::to_string(info.range.max + 1) + unit, info.range)) << info.pattern;
    if (info.range.min > 0) {
      EXPECT_FALSE(info.canonical(std::to_string(info.range.min - 1) + unit, info.range)) << info.pattern;
    }
  }
  EXPECT_GT(checked, 50U);
}

TEST(Schema, members_are_the_keys_with_dots_as_underscores) {
  for (const SettingInfo& info : schema()) {
    if (!info.is_map) {
      EXPECT_EQ(info.member, dots_to_underscores(info.key));
    }
  }
}

// The build too fails where a key has no row or two.
TEST(Schema, every_key_states_its_risk) {
  EXPECT_EQ(key_risks().size(), schema().size());
  for (const SettingInfo& info : schema()) {
    EXPECT_EQ(std::ranges::count(key_risks(), info.pattern, &KeyRisk::pattern), 1) << info.pattern;
    const KeyRisk& row = risk_of(info);
    EXPECT_EQ(row.risk == Risk::NONE, row.why.empty()) << info.pattern;
    EXPECT_TRUE(row.why.empty() || row.why.size() >= 10) << info.pattern;
    EXPECT_FALSE(row.why.ends_with('.')) << info.pattern;
    EXPECT_EQ(row.why.find('\n'), std::string_view::npos) << info.pattern;
  }
  for (const Risk risk : {Risk::NONE, Risk::SLOWS, Risk::LOSES, Risk::WEAKENS})
    EXPECT_TRUE(std::ranges::count(key_risks(), risk, &KeyRisk::risk) > 0) << risk_meaning(risk);
}

TEST(Schema, no_key_is_of_a_release_to_come) {
  const auto numbers = [](std::string_view release) {
    std::array<int, 3> out{-1, -1, -1};
    const char* at = release.data();
    const char* const end = at + release.size();
    for (int& number : out) {
      at = std::from_chars(at, end, number).ptr;
      if (&number != &out.back() && at != end && *at == '.') ++at;
    }
    EXPECT_TRUE(at == end && out.back() >= 0) << release;
    return out;
  };
  for (const KeyRisk& row : key_risks()) EXPECT_LE(numbers(row.since), numbers(version())) << row.pattern;
}

TEST(Schema, what_switches_a_protection_off_is_of_the_highest_risk) {
  for (const SettingInfo& info : schema()) {
    const bool switch_of_decoding = info.pattern.starts_with("decode.") && info.type() == "switch";
    const bool permission = info.pattern.starts_with("identity.NAME.") && info.type() == "list";
    if (switch_of_decoding || permission) {
      EXPECT_EQ(risk_of(info).risk, Risk::WEAKENS) << info.pattern;
    }
  }
}

TEST(Schema, no_key_stands_twice) {
  std::set<std::string_view> patterns;
  for (const SettingInfo& info : schema()) EXPECT_TRUE(patterns.insert(info.pattern).second) << info.pattern;
}

TEST(Schema, at_most_ten_keys_need_a_restart) {
  const auto boot = std::ranges::count_if(schema(), [](const SettingInfo& info) { return !info.apply.live; });
  EXPECT_LE(boot, 10);
  EXPECT_GT(boot, 0);
}

// What users' files and outside checks rely on; a row may be added, none renamed.
TEST(Schema, has_every_key_whose_name_is_fixed) {
  std::set<std::string_view> patterns;
  for (const SettingInfo& info : schema()) patterns.insert(info.pattern);
  for (const std::string_view key : {"server.listen",
                                     "server.reactors",
                                     "server.cpus",
                                     "server.transport",
                                     "site.NAME.hosts",
                                     "site.NAME.root",
                                     "site.NAME.route.NAME.prefix",
                                     "site.NAME.route.NAME.handler",
                                     "site.NAME.route.NAME.pool",
                                     "pool.NAME.runtime",
                                     "pool.NAME.app",
                                     "pool.NAME.workers_min",
                                     "pool.NAME.workers_max",
                                     "pool.NAME.queue_max",
                                     "pool.NAME.request_timeout",
                                     "pool.NAME.idle_timeout",
                                     "pool.NAME.cpus",
                                     "pool.NAME.cpu_limit",
                                     "pool.NAME.memory_max",
                                     "pool.NAME.identity",
                                     "cache.size",
                                     "cache.admit_hits",
                                     "cache.admit_window",
                                     "decode.non_utf8",
                                     "decode.percent_u",
                                     "decode.restricted_chars",
                                     "log.access.format",
                                     "log.access.path"}) {
    EXPECT_TRUE(patterns.contains(key)) << key;
  }
  for (const std::string_view family : {"pool.NAME.recycle.", "pool.NAME.rapid_fail.", "pool.NAME.orphan.",
                                        "identity.NAME.", "decode.", "limits.", "cache.", "dpdk."}) {
    const auto of_family = [family](std::string_view key) { return key.starts_with(family); };
    EXPECT_TRUE(std::ranges::any_of(patterns, of_family)) << family;
  }
  const auto takes = [](std::string_view key, std::initializer_list<std::string_view> words) {
    const auto info = std::ranges::find(schema(), key, &SettingInfo::pattern);
    ASSERT_NE(info, schema().end());
    for (const std::string_view word : words) EXPECT_TRUE(info->canonical(word, info->range)) << key << " = " << word;
  };
  takes("server.transport", {"uring", "epoll", "dpdk"});
  takes("log.access.format", {"none", "w3c", "ncsa", "json", "binary"});
}

TEST(Schema, default_settings_hold_the_defaults) {
  const Settings settings;
  EXPECT_EQ(settings.limits_head_bytes, 16384U);
  EXPECT_EQ(settings.limits_body_bytes, 30'000'000U);
  EXPECT_EQ(settings.limits_idle_timeout, seconds(75));
  EXPECT_EQ(settings.server_transport, TransportSetting::URING);
  ASSERT_EQ(settings.server_listen.size(), 1U);
  EXPECT_EQ(to_text(settings.server_listen[0]), "127.0.0.1:8080");
  EXPECT_EQ(settings.compress_codings, (std::vector<Coding>{Coding::GZIP, Coding::BR, Coding::ZSTD}));
  EXPECT_TRUE(settings.sites.empty());
  const SiteSettings site;
  EXPECT_EQ(site.index, (std::vector<std::string>{"index.html", "index.htm"}));
  EXPECT_EQ(site.limits_url_bytes, std::nullopt);
  EXPECT_EQ(RouteSettings().listing, std::nullopt);
  EXPECT_EQ(PoolSettings().queue_max, 1000U);
}

TEST(SchemaKeys, resolve_and_join_are_inverse) {
  for (const std::string_view key :
       {"cache.size", "mime.html", "site.a.root", "site.a-b_9.limits.url_bytes", "site.a.header.X-A",
        "site.a.error_page.404_3", "site.route.route.root.prefix", "site.a.route.b.header.X", "pool.p.recycle.time",
        "identity.i.user", "logfile.errors.path", "log.access.path"}) {
    const auto path = resolve_key(key);
    ASSERT_TRUE(path.has_value()) << key << ": " << path.error();
    EXPECT_EQ(join_key(*path), key);
  }
}

TEST(SchemaKeys, every_pattern_resolves_to_itself) {
  for (const SettingInfo& info : schema()) {
    std::string key(info.pattern);
    if (info.is_map) key.replace(key.rfind('.') + 1, std::string::npos, info.key == "error_page" ? "404" : "x");
    const auto path = resolve_key(key);
    ASSERT_TRUE(path.has_value()) << key << ": " << path.error();
    EXPECT_EQ(path->setting, &info) << key;
  }
}

TEST(SchemaKeys, refuses_what_is_no_key) {
  for (const std::string_view key : {"",
                                     ".",
                                     "site",
                                     "site.",
                                     "site..root",
                                     "site.a",
                                     "site.a.",
                                     "site.a b.root",
                                     "site.a.route.b",
                                     "site.a.route..prefix",
                                     "site.a.header",
                                     "site.a.header.",
                                     "site.a.error_page.200",
                                     "mime",
                                     "mime.tar.gz",
                                     "cache",
                                     "cache.size.x",
                                     "cache.size.",
                                     "pool.p.root",
                                     "ache.size",
                                     "site.a.header.X.Y",
                                     "header.X"}) {
    EXPECT_FALSE(resolve_key(key).has_value()) << key;
  }
  EXPECT_FALSE(resolve_key("site." + std::string(65, 'a') + ".root").has_value());
  EXPECT_TRUE(resolve_key("site." + std::string(64, 'a') + ".root").has_value());
}

TEST(SchemaKeys, suggests_the_nearest_key_with_the_users_own_names) {
  EXPECT_EQ(nearest_key("cache.sise"), "cache.size");
  EXPECT_EQ(nearest_key("cache_size"), "cache.size");
  EXPECT_EQ(nearest_key("limits.haed_bytes"), "limits.head_bytes");
  EXPECT_EQ(nearest_key("limits.haed_bytse"), "limits.head_bytes");  // two swaps, not four edits
  EXPECT_EQ(nearest_key("site.blog.rooot"), "site.blog.root");
  EXPECT_EQ(nearest_key("sites.blog.hosts"), "site.blog.hosts");
  EXPECT_EQ(nearest_key("site.blog.route.img.prefx"), "site.blog.route.img.prefix");
  EXPECT_EQ(nearest_key("site.blog.headers.X-A"), "site.blog.header.X-A");
  EXPECT_EQ(nearest_key("listen"), "server.listen");
  EXPECT_EQ(nearest_key("completely.different"), "");
  EXPECT_EQ(nearest_key(std::string(100'000, 'a')), "");
}

TEST(SchemaKeys, instance_prefix_takes_whole_instances_only) {
  EXPECT_EQ(instance_prefix("site.a"), "site.a.");
  EXPECT_EQ(instance_prefix("site.a.*"), "site.a.");
  EXPECT_EQ(instance_prefix("site.a.route.b"), "site.a.route.b.");
  EXPECT_EQ(instance_prefix("site.a.route.b.*"), "site.a.route.b.");
  EXPECT_EQ(instance_prefix("logfile.l"), "logfile.l.");
  EXPECT_EQ(instance_prefix("pool.p"), "pool.p.");
  EXPECT_EQ(instance_prefix("identity.i.*"), "identity.i.");
  for (const std::string_view text :
       {"", "site", "site.", "site.*", "*", "site.a.", "site.a.root", "site.a.route", "site.a.route.*",
        "site.a.route.b.prefix", "pool.p.route.b", "cache", "cache.*", "site.a.header.*"}) {
    EXPECT_EQ(instance_prefix(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace penstock
