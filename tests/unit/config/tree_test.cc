#include "src/config/tree.h"

#include "src/config/print.h"
#include "tests/support/effort.h"
#include "tests/unit/config/build_tree.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

using test::changes;
using test::errors_of;
using test::tree_of;

constexpr std::string_view SITES = R"(
cache.size = 1024k
site.blog.hosts = Blog.example.org
site.blog.root = /srv/blog
site.blog.header.X-A = "a # b"
site.blog.route.img.prefix = /img
site.blog.route.img.listing = on
site.blog-2.hosts = two.example.org
site.blog-2.root = /srv/two
pool.p.app = /bin/app
)";

TEST(Tree, makes_typed_settings_from_text) {
  const Tree tree = tree_of(SITES);
  const Settings& s = tree.settings();
  EXPECT_EQ(s.generation, 1U);
  EXPECT_EQ(s.cache_size, 1048576U);
  ASSERT_EQ(s.sites.size(), 2U);
  const SiteSettings* blog = s.site("blog");
  ASSERT_NE(blog, nullptr);
  EXPECT_EQ(blog->hosts, std::vector<std::string>{"blog.example.org"});
  EXPECT_EQ(blog->root, "/srv/blog");
  EXPECT_EQ(blog->headers, (std::vector<NamedValue>{{"X-A", "a # b"}}));
  EXPECT_EQ(blog->charset, "utf-8");
  ASSERT_EQ(blog->routes.size(), 1U);
  EXPECT_EQ(blog->routes[0].name, "img");
  EXPECT_EQ(blog->routes[0].listing, std::optional<bool>(true));
  EXPECT_EQ(blog->routes[0].compress, std::nullopt);
  EXPECT_EQ(s.site("blog-2")->root, "/srv/two");
  EXPECT_EQ(s.site("none"), nullptr);
  ASSERT_EQ(s.pools.size(), 1U);
  EXPECT_EQ(s.pools[0].app, "/bin/app");
}

// The keys' own order is another: '-' stands before '.'.
TEST(Tree, instances_ascend_by_name) {
  const Tree tree = tree_of(
      "site.a.hosts = a\nsite.a.root = /a\nsite.a.route.r.prefix = /r\nsite.a.route.r-2.prefix = /r2\npool.p.app = x\n"
      "pool.p-2.app = x\nidentity.i.user = u\nidentity.i-2.user = u\n");
  const Settings& s = tree.settings();
  ASSERT_EQ(s.sites.size(), 1U);
  ASSERT_EQ(s.sites[0].routes.size(), 2U);
  EXPECT_EQ(s.sites[0].routes[0].name, "r");
  EXPECT_EQ(s.sites[0].routes[0].prefix, "/r");
  EXPECT_EQ(s.pools[0].name, "p");
  EXPECT_EQ(s.identities[0].name, "i");
}

TEST(Tree, canonical_text_round_trips) {
  const Tree tree = tree_of(SITES);
  const Tree again = tree_of(tree.canonical_text());
  EXPECT_EQ(again.canonical_text(), tree.canonical_text());
  EXPECT_TRUE(again.changes_since(tree).empty());
  EXPECT_NE(tree.canonical_text().find("cache.size = 1m\n"), std::string::npos);
  EXPECT_EQ(Tree().canonical_text(), "");
}

TEST(Tree, every_error_of_a_text_comes_at_once_with_file_line_and_key) {
  EXPECT_EQ(
      errors_of("cache.sise = 1m\nlimits.fields = 129\nfoo\nlimits.fields = 3\nsite.a.hosts = a\nsite.b.root = x\n"
                "server.default_site = c\n"),
      "t.conf:1: cache.sise: expected a key of the schema; is cache.size meant?\n"
      "t.conf:2: limits.fields: expected a whole number from 1 to 128, got \"129\"\n"
      "t.conf:3: expected key = value, got \"foo\"\n"
      "t.conf:4: limits.fields: expected each key once, got it on lines 2 and 4\n"
      "t.conf:6: site.b.root: expected an absolute path, or \"\", of at most 4095 bytes, got \"x\"\n"
      "t.conf:7: server.default_site: expected the name of a site, got \"c\"\n"
      "site.a.root: expected a directory, or a route with prefix / that needs none\n");
}

TEST(Tree, a_wrong_assignment_does_not_drag_its_consequences_along) {
  // Without doubt cast on the site, its missing root would be reported too.
  EXPECT_EQ(errors_of("server.default_site = a\nsite.a.root = relative\n"),
            "t.conf:2: site.a.root: expected an absolute path, or \"\", of at most 4095 bytes, got \"relative\"\n");
  EXPECT_EQ(errors_of("server.default_site = a\nsite.a.rooot = /srv\n"),
            "t.conf:2: site.a.rooot: expected a key of the schema; is site.a.root meant?\n");
}

TEST(Tree, stops_at_a_thousand_errors_and_says_so) {
  std::string text;
  for (int i = 0; i < 1500; ++i) text += "cache.sise" + std::to_string(i) + " = 1\n";
  const auto tree = Tree::from_text(text, "t.conf");
  ASSERT_FALSE(tree.has_value());
  ASSERT_EQ(tree.error().size(), CONFIG_ERRORS_MAX + 1);
  EXPECT_EQ(to_text(tree.error().back()), "expected fewer errors: what follows was not looked at");
}

TEST(Tree, later_sources_override_earlier_ones) {
  std::vector<Assignment> all = parse_text("cache.size = 1m\nlimits.fields = 50\n", "f").assignments;
  for (Assignment& a : changes({"cache.size=2m"}, "--set")) all.push_back(std::move(a));
  const auto tree = Tree::from(all, 7);
  ASSERT_TRUE(tree.has_value());
  EXPECT_EQ(tree->generation(), 7U);
  EXPECT_EQ(tree->get("cache.size"), "2m");
  EXPECT_EQ(tree->origin("cache.size"), "--set");
  EXPECT_EQ(tree->origin("limits.fields"), "f:2");
  EXPECT_EQ(tree->origin("limits.segments"), "");
  EXPECT_FALSE(Tree::from(changes({"cache.size=2m", "cache.size=3m"}, "--set")).has_value());
}

TEST(Tree, get_tells_values_defaults_and_what_is_absent) {
  const Tree tree = tree_of(SITES);
  EXPECT_EQ(tree.get("cache.size"), "1m");
  EXPECT_EQ(tree.get("limits.idle_timeout"), "75s");
  EXPECT_EQ(tree.get("site.blog.charset"), "utf-8");
  EXPECT_EQ(tree.get("site.blog.header.X-A"), "\"a # b\"");
  EXPECT_TRUE(tree.is_set("cache.size"));
  EXPECT_FALSE(tree.is_set("limits.idle_timeout"));
  for (const std::string_view key :
       {"site.none.charset", "site.blo.charset", "site.blog.header.X-B", "site.blog.route.x.listing", "nope"}) {
    EXPECT_FALSE(tree.get(key).has_value()) << key;
  }
}

TEST(TreeApply, changes_make_the_next_generation_and_leave_this_one) {
  const Tree tree = tree_of(SITES);
  const std::string before = tree.canonical_text();
  const auto next = tree.apply(changes({"cache.size=2m", "limits.fields=64"}));
  ASSERT_TRUE(next.has_value());
  EXPECT_EQ(next->generation(), 2U);
  EXPECT_EQ(next->settings().cache_size, 2097152U);
  EXPECT_EQ(next->settings().limits_fields, 64U);
  EXPECT_EQ(tree.canonical_text(), before);
  EXPECT_EQ(tree.settings().cache_size, 1048576U);
  const std::vector<TreeChange> expected{{"cache.size", "1m", "2m"}, {"limits.fields", "100", "64"}};
  EXPECT_EQ(next->changes_since(tree), expected);
}

TEST(TreeApply, one_wrong_change_refuses_all) {
  const Tree tree = tree_of(SITES);
  const auto next = tree.apply(changes({"cache.size=2m", "limits.fields=0", "site.blog.root=", "limits.segments=x"}));
  ASSERT_FALSE(next.has_value());
  EXPECT_EQ(to_text(next.error()),
            "-w: limits.fields: expected a whole number from 1 to 128, got \"0\"\n"
            "-w: limits.segments: expected a whole number from 1 to 16383, got \"x\"\n"
            "site.blog.root: expected a directory, or a route with prefix / that needs none\n");
  EXPECT_EQ(tree.settings().cache_size, 1048576U);
}

TEST(TreeApply, an_empty_value_resets_to_the_default) {
  const Tree tree = tree_of(SITES);
  const auto next = tree.apply(changes({"cache.size=", "site.blog.header.X-A="}));
  ASSERT_TRUE(next.has_value());
  EXPECT_EQ(next->get("cache.size"), "256m");
  EXPECT_FALSE(next->is_set("cache.size"));
  EXPECT_TRUE(next->settings().site("blog")->headers.empty());
  EXPECT_FALSE(tree.apply(changes({"site.blog.header.X-B="})).has_value());
  // Quoted, empty is a value: no index at all, no charset.
  const auto none = tree.apply(changes({"site.blog.index=\"\"", "site.blog.charset=\"\""}));
  ASSERT_TRUE(none.has_value());
  EXPECT_TRUE(none->settings().site("blog")->index.empty());
  EXPECT_EQ(none->settings().site("blog")->charset, "");
}

TEST(TreeApply, removes_and_replaces_whole_instances) {
  const Tree tree = tree_of(SITES);
  const auto gone = tree.apply(changes({"site.blog="}));
  ASSERT_TRUE(gone.has_value());
  EXPECT_EQ(gone->settings().site("blog"), nullptr);
  EXPECT_NE(gone->settings().site("blog-2"), nullptr);
  const auto no_route = tree.apply(changes({"site.blog.route.img.*="}));
  ASSERT_TRUE(no_route.has_value());
  EXPECT_TRUE(no_route->settings().site("blog")->routes.empty());
  // The removal comes first wherever it stands.
  const auto replaced = tree.apply(changes({"site.blog.root=/new", "site.blog.hosts=new.example", "site.blog.*="}));
  ASSERT_TRUE(replaced.has_value());
  EXPECT_EQ(replaced->settings().site("blog")->root, "/new");
  EXPECT_TRUE(replaced->settings().site("blog")->headers.empty());
  EXPECT_FALSE(tree.apply(changes({"site.none="})).has_value());
  EXPECT_FALSE(tree.apply(changes({"site.blog=x"})).has_value());
}

TEST(TreeApply, a_boot_key_is_refused_with_its_reason) {
  const Tree tree = tree_of("server.reactors = 2\n");
  const auto next = tree.apply(changes({"server.reactors=4"}));
  ASSERT_FALSE(next.has_value());
  const std::string text = to_text(next.error());
  EXPECT_NE(text.find("-w: server.reactors: expected 2, the value it runs with, got \"4\": it takes effect at a "
                      "restart only, because each "
                      "reactor owns"),
            std::string::npos)
      << text;
  EXPECT_FALSE(tree.apply(changes({"server.reactors="})).has_value());
  EXPECT_TRUE(tree.apply(changes({"server.reactors=2"})).has_value());
  EXPECT_TRUE(tree.apply(changes({"server.transport=uring", "server.cpus="})).has_value());
}

TEST(TreeApply, refuses_a_change_made_against_another_generation) {
  const Tree tree = tree_of(SITES);
  EXPECT_TRUE(tree.apply(changes({"cache.size=2m"}), 1).has_value());
  const auto next = tree.apply(changes({"cache.size=2m"}), 2);
  ASSERT_FALSE(next.has_value());
  EXPECT_EQ(to_text(next.error()), "expected generation 2, but it is 1 now: someone else changed the configuration\n");
}

TEST(TreeApply, sixteen_writers_with_stale_generations_lose_no_update) {
  Tree tree = tree_of("limits.fields = 1\n");
  for (int round = 0; round < 16; ++round) {
    const uint64_t seen = tree.generation();
    int taken = 0;
    for (int writer = 0; writer < 16; ++writer) {
      auto next = tree.apply(changes({"limits.fields=" + std::to_string(tree.settings().limits_fields + 1)}), seen);
      if (!next) continue;
      ++taken;
      tree = std::move(*next);
    }
    EXPECT_EQ(taken, 1);
  }
  EXPECT_EQ(tree.settings().limits_fields, 17U);
}

TEST(TreeApply, values_from_any_source_are_held_to_clean_text) {
  const Tree tree = tree_of(SITES);
  for (const std::string value : {"\"/a\nb\"", "\"/a\xff\"", "\"/a\tb\"", "/\x1b"}) {
    const std::vector<Assignment> change{{"site.blog.root", value, "socket", 0}};
    EXPECT_FALSE(tree.apply(change).has_value()) << value;
  }
}

TEST(TreeReplace, boot_keys_wait_and_the_rest_is_applied) {
  const Tree tree = tree_of("server.reactors = 2\nlimits.fields = 50\nlog.user = www\n");
  const ParseResult file = parse_text("cache.size = 2m\nserver.reactors = 4\n", "f");
  const auto next = tree.replace(file.assignments);
  ASSERT_TRUE(next.has_value());
  EXPECT_EQ(next->tree.generation(), 2U);
  EXPECT_EQ(next->tree.settings().cache_size, 2097152U);
  EXPECT_EQ(next->tree.settings().limits_fields, 100U);  // no longer in the file
  EXPECT_EQ(next->tree.settings().server_reactors, 2U);
  EXPECT_EQ(next->tree.settings().log_user, "www");
  ASSERT_EQ(next->notes.size(), 2U);
  EXPECT_TRUE(
      to_text(next->notes[0]).starts_with("f:2: server.reactors: takes effect at a restart (2 until then, 4 after)"));
  EXPECT_TRUE(to_text(next->notes[1]).starts_with("log.user: takes effect at a restart (www until then, auto after)"));
}

TEST(TreeReplace, a_wrong_file_changes_nothing) {
  const Tree tree = tree_of(SITES);
  const ParseResult file = parse_text("cache.size = 2m\nlimits.fields = 0\n", "f");
  EXPECT_FALSE(tree.replace(file.assignments).has_value());
  EXPECT_EQ(tree.settings().cache_size, 1048576U);
}

TEST(TreeReplace, errors_of_grammar_and_of_values_come_in_one_list) {
  ParseResult file = parse_text("limits.fields = 0\nfoo\nlimits.segments = 0\n", "f");
  for (Assignment& a : changes({"cache.size=x"}, "--set")) file.assignments.push_back(std::move(a));
  const auto next = tree_of(SITES).replace(std::move(file));
  ASSERT_FALSE(next.has_value());
  EXPECT_EQ(to_text(next.error()),
            "f:1: limits.fields: expected a whole number from 1 to 128, got \"0\"\n"
            "f:2: expected key = value, got \"foo\"\n"
            "f:3: limits.segments: expected a whole number from 1 to 16383, got \"0\"\n"
            "--set: cache.size: expected a size from 1m to 1048576g, in bytes or with k, m, g, got \"x\"\n");
}

TEST(Tree, entries_keep_to_a_prefix) {
  const Tree tree = tree_of(SITES);
  EXPECT_EQ(tree.entries("cache.size"), (Tree::Entries{{"cache.size", "1m"}}));
  EXPECT_EQ(tree.entries("send").size(), 1U);
  EXPECT_EQ(tree.entries("send."), tree.entries("send"));
  EXPECT_EQ(tree.entries("site.blog.header"), (Tree::Entries{{"site.blog.header.X-A", "\"a # b\""}}));
  for (const auto& [key, value] : tree.entries("site.blog")) EXPECT_TRUE(key.starts_with("site.blog.")) << key;
  EXPECT_TRUE(tree.entries("cach").empty());
}

TEST(Tree, a_thousand_changes_do_not_make_it_grow) {
  constexpr int CHANGES = one_threaded_rounds(1000);
  Tree tree = tree_of(SITES);
  for (int i = 0; i < CHANGES; ++i) {
    auto next = tree.apply(changes({"cache.size=" + std::to_string(i + 1) + "m"}, "file" + std::to_string(i)));
    ASSERT_TRUE(next.has_value());
    tree = std::move(*next);
  }
  EXPECT_EQ(tree.generation(), CHANGES + 1U);
  EXPECT_EQ(tree.origin("cache.size"), "file" + std::to_string(CHANGES - 1));
  EXPECT_EQ(tree.origin("site.blog.root"), "t.conf:4");
}

}  // namespace
}  // namespace penstock
