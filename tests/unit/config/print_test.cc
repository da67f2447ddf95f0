#include "src/config/print.h"

#include "tests/unit/config/build_tree.h"

#include <gtest/gtest.h>

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
    const std::string once = print_tree(tree, detail);
    const Tree loaded = tree_of(once);
    EXPECT_EQ(print_tree(loaded, detail), once);
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
  EXPECT_EQ(print_tree(Tree(), PrintDetail::DESCRIBED, "server.recv_buffer_bytes"),
            "# Size of one receive buffer\n"
            "#   expects a size from 1k to 64k, in bytes or with k, m, g\n"
            "#   type size, range 1k to 64k, unit bytes, default 4k, boot: the kernel's buffer ring is registered once "
            "per reactor\n"
            "server.recv_buffer_bytes = 4k\n");
  EXPECT_NE(print_tree(Tree(), PrintDetail::DESCRIBED, "cache.admit")
                .find("type choice, range the choices, unit choice, default frequent, live\n"),
            std::string::npos);
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
  }
}

}  // namespace
}  // namespace penstock
