#include "src/config/print.h"

#include "src/config/error.h"
#include "src/config/risk.h"
#include "tests/unit/config/build_tree.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <set>

namespace penstock {
namespace {

using test::tree_of;

constexpr std::string_view TEXT = R"(
server.listen = [::]:80 "unix:/run/a b.sock"
cache.size = 3000k
mime.foo = application/x-foo
site.a.hosts = a.example *.a.example
site.a.root = "/srv/#1 \"x\" \\ ä "
site.a.index = "a b.html" c.html
site.a.charset = ""
site.a.header.X-Json = "{\"a\": \"b # c\"}"
site.a.header.X-Empty = ""
site.a.error_page.404_3 = /missing page.html
site.a.route.r.prefix = /r
site.a.route.r.cache_control = "inherit"
site.a.route.s.prefix = /s
site.a.route.s.handler = redirect
site.a.route.s.to = https://$host$path$query
pool.p.app = "module:app # 1"
pool.p.cpus = 0-2, 5
identity.i.user = www-data
)";

TEST(ConfigPrint, what_sysctl_prints_loads_again_and_prints_the_same) {
  const Tree tree = tree_of(TEXT);
  for (const PrintDetail detail : {PrintDetail::VALUES, PrintDetail::DESCRIBED}) {
    const Tree loaded = tree_of(print_tree(tree, detail));
    EXPECT_EQ(print_tree(loaded, PrintDetail::VALUES), print_tree(tree, PrintDetail::VALUES));
    EXPECT_EQ(loaded.entries(), tree.entries());
    EXPECT_TRUE(loaded.changes_since(tree).empty());
  }
}

TEST(ConfigPrint, values_survive_byte_for_byte) {
  const Tree tree = tree_of(print_tree(tree_of(TEXT), PrintDetail::VALUES));
  const SiteSettings& site = *tree.settings().site("a");
  EXPECT_EQ(site.root, "/srv/#1 \"x\" \\ ä ");
  EXPECT_EQ(site.index, (std::vector<std::string>{"a b.html", "c.html"}));
  EXPECT_EQ(site.headers, (std::vector<NamedValue>{{"X-Empty", ""}, {"X-Json", "{\"a\": \"b # c\"}"}}));
  EXPECT_EQ(site.error_pages, (std::vector<NamedValue>{{"404_3", "/missing page.html"}}));
  EXPECT_EQ(site.routes[0].cache_control, std::optional<std::string>("inherit"));
  EXPECT_EQ(site.routes[1].cache_control, std::nullopt);
  EXPECT_EQ(tree.settings().mime, (std::vector<NamedValue>{{"foo", "application/x-foo"}}));
}

TEST(ConfigPrint, maps_of_pools_and_identities_survive) {
  const Tree tree =
      tree_of(print_tree(tree_of("pool.p.app = /a/\npool.p.runtime = cgi\npool.p.identity = i\n"
                                 "pool.p.interpreter.php = /usr/bin/php\npool.p.environment.A_1 = \"x = # \"\n"
                                 "identity.i.environment.PATH = /bin\nidentity.i.groups = www 27\n"
                                 "identity.i.read = \"/a b\" /c\nidentity.i.network = unix\n"
                                 "identity.i.syscalls = full\n"),
                         PrintDetail::VALUES));
  ASSERT_EQ(tree.settings().pools.size(), 1U);
  const PoolSettings& pool = tree.settings().pools[0];
  EXPECT_EQ(pool.interpreters, (std::vector<NamedValue>{{"php", "/usr/bin/php"}}));
  EXPECT_EQ(pool.environment, (std::vector<NamedValue>{{"A_1", "x = # "}}));
  const IdentitySettings& identity = tree.settings().identities[0];
  EXPECT_EQ(identity.environment, (std::vector<NamedValue>{{"PATH", "/bin"}}));
  EXPECT_EQ(identity.groups, (std::vector<std::string>{"www", "27"}));
  EXPECT_EQ(identity.read, (std::vector<std::string>{"/a b", "/c"}));
  EXPECT_EQ(identity.network, NetworkSetting::UNIX);
  EXPECT_EQ(identity.syscalls, SyscallsSetting::FULL);
  for (const char* wrong : {"identity.i.read = a", "identity.i.groups = auto", "identity.i.groups = -x",
                            "pool.p.environment.1A = x", "pool.p.environment.A-B = x", "pool.p.interpreter.PHP = /x"}) {
    (void)test::errors_of(wrong);
  }
}

TEST(ConfigPrint, every_root_key_is_printed_even_unset) {
  const std::string text = print_tree(Tree(), PrintDetail::VALUES);
  size_t keys = 0;
  for (const SettingInfo& info : schema()) {
    if (info.scope != SettingScope::ROOT || info.is_map) continue;
    ++keys;
    EXPECT_NE(("\n" + text).find("\n" + std::string(info.pattern) + " = "), std::string::npos) << info.pattern;
  }
  EXPECT_EQ(static_cast<size_t>(std::count(text.begin(), text.end(), '\n')), keys);
}

TEST(ConfigPrint, verbose_says_all_the_schema_knows) {
  EXPECT_EQ(
      print_tree(Tree(), PrintDetail::DESCRIBED, "server.recv_buffer_bytes"),
      "# Size of one receive buffer\n"
      "#   expects a size from 1k to 64k, in bytes or with k, m, g\n"
      "#   type size, range 1k to 64k, unit bytes, default 4k, boot: the kernel's buffer ring is registered once "
      "per reactor\n"
      "#   source default, since 0.1.0\n#   risk 1, may refuse or slow requests: small ones make large bodies slow, "
      "large ones take memory\n"
      "server.recv_buffer_bytes = 4k\n");
  EXPECT_NE(print_tree(Tree(), PrintDetail::DESCRIBED, "cache.admit")
                .find("type choice, range the choices, unit choice, default frequent, live\n"),
            std::string::npos);
}

TEST(ConfigPrint, verbose_says_where_a_value_was_set) {
  const auto source_of = [](const ConfigResult<Tree>& tree, std::string_view key) {
    const std::string text = print_tree(*tree, PrintDetail::DESCRIBED, key);
    const size_t at = text.find("#   source ");
    return at == std::string::npos ? std::string("none") : text.substr(at + 11, text.find(", since ", at) - at - 11);
  };
  const auto tree = Tree::from_text("# of ours\ncache.size = 2m\n", "a.conf");
  ASSERT_TRUE(tree);
  EXPECT_EQ(source_of(tree, "cache.size"), R"("a.conf:2")");
  EXPECT_EQ(source_of(tree, "cache.enable"), "default");
  const auto strange = Tree::from_text("cache.size = 2m\n", "a\ncache.size = 3m #");
  ASSERT_TRUE(strange);
  EXPECT_EQ(tree_of(print_tree(*strange, PrintDetail::DESCRIBED)).settings().cache_size, 2U << 20U);
}

// Every key, of instances and maps too; a field that is missing or empty is named with its key.
TEST(ConfigPrint, verbose_says_all_fields_of_every_key) {
  const Tree tree = tree_of(
      "mime.foo = application/x-foo\nlogfile.l.path = /l\nsite.a.hosts = a\nsite.a.root = /a\nsite.a.header.X-A = a\n"
      "site.a.error_page.404 = /e\nsite.a.route.r.prefix = /r\nsite.a.route.r.header.X-A = a\npool.p.app = /a/\n"
      "pool.p.runtime = cgi\npool.p.identity = i\npool.p.interpreter.php = /p\npool.p.environment.A = a\n"
      "identity.i.user = www-data\nidentity.i.environment.A = a\n");
  std::set<std::string_view> seen;
  for (const auto& [key, value] : tree.entries()) {
    const SettingInfo& setting = *resolve_key(key)->setting;
    seen.insert(setting.pattern);
    const std::string text = print_tree(tree, PrintDetail::DESCRIBED, key);
    const KeyRisk& risk = risk_of(setting);
    const std::string source = tree.is_set(key) ? quote_for_message(tree.origin(key)) : "default";
    const std::string fields[] = {
        fmt::format("# {}\n#   expects {}\n", setting.help, setting.expects(setting.range)),
        fmt::format("#   type {}, range {}, unit {}, default {}, ", setting.type(), print_range(setting), setting.unit,
                    setting.is_map ? "none" : canonical_default(setting)),
        setting.apply.live ? std::string(", live\n") : fmt::format(", boot: {}\n", setting.apply.boot_reason),
        fmt::format("#   source {}, since {}\n#   risk {}, {}{}{}\n", source, risk.since, static_cast<int>(risk.risk),
                    risk_meaning(risk.risk), risk.why.empty() ? "" : ": ", risk.why),
        fmt::format("\n{} = {}\n", key, value)};
    for (const std::string& field : fields) EXPECT_NE(text.find(field), std::string::npos) << key << " lacks " << field;
  }
  for (const SettingInfo& setting : schema()) EXPECT_TRUE(seen.contains(setting.pattern)) << setting.pattern;
}

TEST(ConfigReference, committed_page_is_what_the_schema_makes) {
  const auto page = read_config_file(PENSTOCK_SOURCE_ROOT "/src/CONFIG.md");
  ASSERT_TRUE(page.has_value()) << page.error().message;
  EXPECT_TRUE(*page == reference_markdown()) << "src/CONFIG.md is out of date: ninja -C build config-reference";
}

TEST(ConfigReference, lists_every_key_once) {
  const std::string page = reference_markdown();
  for (const SettingInfo& info : schema()) {
    const std::string row = "\n| `" + std::string(info.pattern) + "` |";
    const size_t first = page.find(row);
    EXPECT_NE(first, std::string::npos) << info.pattern;
    EXPECT_EQ(page.find(row, first + 1), std::string::npos) << info.pattern;
    const KeyRisk& risk = risk_of(info);
    const std::string end = fmt::format("| {} |\n", risk.since);
    const std::string line = page.substr(first + 1, page.find('\n', first + 1) - first);
    EXPECT_TRUE(line.ends_with(end)) << line;
    EXPECT_NE(line.find(fmt::format("| {}", static_cast<int>(risk.risk))), std::string::npos) << line;
  }
}

}  // namespace
}  // namespace penstock
