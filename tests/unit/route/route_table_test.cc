#include "src/route/route_table.h"

#include "src/config/tree.h"

#include <gtest/gtest.h>
#include <memory>

namespace penstock {
namespace {

// The table of a config text that must be valid.
struct Routed {
  explicit Routed(const std::string& text) {
    ConfigResult<Tree> made = Tree::from_text(text, "test");
    if (!made) ADD_FAILURE() << to_text(made.error());
    tree = made ? *made : Tree();
    table = std::make_unique<RouteTable>(tree.settings());
  }
  std::string site(std::string_view host) const {
    const Site* found = table->find_site(host);
    return found == nullptr ? "" : found->name;
  }
  std::string route(std::string_view site_name, std::string_view path) const {
    return RouteTable::find_route(*table->find_site_by_name(site_name), path).name;
  }
  Tree tree;
  std::unique_ptr<RouteTable> table;
};

TEST(RouteTable, finds_exact_before_longest_wildcard_before_any_before_default) {
  const Routed routed(
      "site.exact.hosts = www.example.com\nsite.exact.root = /srv/a\n"
      "site.wild.hosts = *.example.com\nsite.wild.root = /srv/b\n"
      "site.deep.hosts = *.eu.example.com\nsite.deep.root = /srv/c\n"
      "site.any.hosts = *\nsite.any.root = /srv/d\n");
  EXPECT_EQ(routed.site("www.example.com"), "exact");
  EXPECT_EQ(routed.site("img.example.com"), "wild");
  EXPECT_EQ(routed.site("a.b.example.com"), "wild");
  EXPECT_EQ(routed.site("x.eu.example.com"), "deep");
  EXPECT_EQ(routed.site("example.com"), "any");  // a wildcard does not cover its own apex
  EXPECT_EQ(routed.site("other.org"), "any");
  EXPECT_EQ(routed.site(""), "any");
}

TEST(RouteTable, answers_unknown_hosts_by_the_default_site_or_not_at_all) {
  const std::string site = "site.one.hosts = one.test\nsite.one.root = /srv/a\n";
  EXPECT_EQ(Routed(site).site("two.test"), "");
  EXPECT_EQ(Routed(site + "server.default_site = one\n").site("two.test"), "one");
}

constexpr const char* ROUTES =
    "site.s.hosts = *\nsite.s.root = /srv/s\n"
    "site.s.route.img.prefix = /img\nsite.s.route.img.root = /srv/pictures\n"
    "site.s.route.big.prefix = /img/big/\nsite.s.route.big.cache_control = no-store\n";

TEST(RouteTable, takes_the_longest_prefix_by_whole_segments) {
  const Routed routed(ROUTES);
  EXPECT_EQ(routed.route("s", "/"), "");
  EXPECT_EQ(routed.route("s", "/index.html"), "");
  EXPECT_EQ(routed.route("s", "/img"), "img");
  EXPECT_EQ(routed.route("s", "/img/"), "img");
  EXPECT_EQ(routed.route("s", "/img/a.png"), "img");
  EXPECT_EQ(routed.route("s", "/images/a.png"), "");
  EXPECT_EQ(routed.route("s", "/img/big"), "big");
  EXPECT_EQ(routed.route("s", "/img/big/x/y"), "big");
  EXPECT_EQ(routed.route("s", "/img/bigger"), "img");
}

TEST(RouteTable, a_virtual_directory_stands_for_its_prefix_and_other_routes_keep_the_path) {
  const Routed routed(ROUTES);
  const Site& site = *routed.table->find_site_by_name("s");
  const Route& img = RouteTable::find_route(site, "/img/a/b.png");
  EXPECT_EQ(img.root, "/srv/pictures");
  EXPECT_EQ(RouteTable::path_below_root(img, "/img/a/b.png"), "a/b.png");
  EXPECT_EQ(RouteTable::path_below_root(img, "/img"), "");
  const Route& big = RouteTable::find_route(site, "/img/big/x");
  EXPECT_EQ(big.root, "/srv/s");
  EXPECT_EQ(RouteTable::path_below_root(big, "/img/big/x"), "img/big/x");
}

TEST(RouteTable, a_route_inherits_and_overrides_headers_of_its_site) {
  const Routed routed(
      "site.s.hosts = *\nsite.s.root = /srv/s\nsite.s.cache_control = max-age=60\n"
      "site.s.header.X-Frame-Options = DENY\nsite.s.header.X-Site = s\n"
      "site.s.route.a.prefix = /a\nsite.s.route.a.header.x-site = a\nsite.s.route.a.cache_control = no-store\n"
      "site.s.route.b.prefix = /b\n");
  const Site& site = *routed.table->find_site_by_name("s");
  EXPECT_EQ(RouteTable::find_route(site, "/").header_block,
            "Cache-Control: max-age=60\r\nX-Frame-Options: DENY\r\nX-Site: s\r\n");
  EXPECT_EQ(RouteTable::find_route(site, "/b").header_block, RouteTable::find_route(site, "/").header_block);
  EXPECT_EQ(RouteTable::find_route(site, "/a").header_block,
            "Cache-Control: no-store\r\nX-Frame-Options: DENY\r\nx-site: a\r\n");
}

TEST(RouteTable, tells_of_hsts_over_tls_alone) {
  const std::string text =
      "site.s.hosts = *\nsite.s.root = /srv/s\nsite.s.header.X-Site = s\n"
      "site.s.route.a.prefix = /a\nsite.s.route.a.header.X-Site = a\nsite.s.hsts.max_age = 1h\n";
  const auto lines = [](const Routed& routed, std::string_view path, bool secure) {
    return RouteTable::find_route(*routed.table->find_site_by_name("s"), path).header_lines(secure);
  };
  const Routed off(text);
  EXPECT_EQ(lines(off, "/", true), "X-Site: s\r\n");
  const Routed on(text + "site.s.hsts.enable = 1\n");
  EXPECT_EQ(lines(on, "/", true), "Strict-Transport-Security: max-age=3600\r\nX-Site: s\r\n");
  EXPECT_EQ(lines(on, "/a", true), "Strict-Transport-Security: max-age=3600\r\nX-Site: a\r\n");
  EXPECT_EQ(lines(on, "/a", false), "X-Site: a\r\n");
}

TEST(RouteTable, allows_exactly_the_methods_listed) {
  const Routed routed(
      "site.s.hosts = *\nsite.s.root = /srv/s\nsite.s.methods = GET HEAD PURGE\n"
      "site.s.route.ro.prefix = /ro\nsite.s.route.ro.methods = GET\n");
  const Site& site = *routed.table->find_site_by_name("s");
  const Route& root = RouteTable::find_route(site, "/");
  EXPECT_TRUE(RouteTable::allows(root, Method::GET, "GET"));
  EXPECT_TRUE(RouteTable::allows(root, Method::OTHER, "PURGE"));
  EXPECT_FALSE(RouteTable::allows(root, Method::OTHER, "purge"));
  EXPECT_FALSE(RouteTable::allows(root, Method::OPTIONS, "OPTIONS"));
  EXPECT_EQ(root.allow, "GET, HEAD, PURGE");
  EXPECT_FALSE(RouteTable::allows(RouteTable::find_route(site, "/ro/x"), Method::HEAD, "HEAD"));
}

TEST(RouteTable, numbers_every_route_and_names_every_root_once) {
  const Routed routed(ROUTES);
  const auto& routes = routed.table->routes();
  ASSERT_EQ(routes.size(), 3u);
  for (uint32_t i = 0; i < routes.size(); ++i) {
    EXPECT_EQ(routes[i]->number, i);
    ASSERT_LT(routes[i]->root_index, routed.table->roots().size());
    EXPECT_EQ(routed.table->roots()[routes[i]->root_index], routes[i]->root);
  }
  EXPECT_EQ(routed.table->roots(), (std::vector<std::string>{"/srv/s", "/srv/pictures"}));
}

TEST(RouteTable, a_site_keeps_its_own_limits_and_inherits_the_rest) {
  const Routed routed(
      "limits.url_bytes = 100\nlimits.query_bytes = 50\n"
      "site.s.hosts = *\nsite.s.root = /srv/s\nsite.s.limits.url_bytes = 200\n");
  const Site& site = *routed.table->find_site_by_name("s");
  EXPECT_EQ(site.url_bytes, 200u);
  EXPECT_EQ(site.query_bytes, 50u);
}

TEST(RouteTable, error_pages_are_found_by_status_and_sub_status) {
  const Routed routed(
      "site.s.hosts = *\nsite.s.root = /srv/s\n"
      "site.s.error_page.404 = /e/404.html\nsite.s.error_page.404_3 = /e/type.html\n"
      "site.s.error_page.403 = https://a.example/e\nsite.s.error_details = local\n");
  const Site& site = *routed.table->find_site_by_name("s");
  EXPECT_EQ(site.error_pages.at("404"), "/e/404.html");
  EXPECT_EQ(site.error_pages.at("404.3"), "/e/type.html");
  EXPECT_EQ(site.error_pages.at("403"), "https://a.example/e");
  EXPECT_EQ(site.error_details, ErrorDetailsSetting::LOCAL);
}

// VH6: what filters cost where there are none.
TEST(RouteTable, has_the_site_looked_for_before_the_cache_only_where_one_has_filters) {
  const std::string site = "site.s.hosts = *\nsite.s.root = /srv\nsite.o.hosts = o.example\nsite.o.root = /srv\n";
  const std::string route = "site.s.route.r.prefix = /r\npool.f.app = /f\n";
  const Routed none(site + route);
  EXPECT_FALSE(none.table->looks_before_cache());
  EXPECT_FALSE(none.table->find_site_by_name("s")->filtered);
  for (const char* filters : {"site.s.filters = f\n", "site.s.route.r.filters = f\n"}) {
    const Routed some(site + route + filters);
    EXPECT_TRUE(some.table->looks_before_cache());
    EXPECT_TRUE(some.table->find_site_by_name("s")->filtered);
    EXPECT_FALSE(some.table->find_site_by_name("o")->filtered) << "each hit of it is as without";
  }
}

TEST(RouteTable, a_pool_with_interpreters_takes_paths_that_one_of_them_is_for) {
  const Routed routed(
      "site.s.hosts = *\nsite.s.root = /srv\n"
      "site.s.route.all.prefix = /\nsite.s.route.all.handler = pool\nsite.s.route.all.pool = scripts\n"
      "site.s.route.below.prefix = /a.pl\nsite.s.route.below.handler = pool\nsite.s.route.below.pool = scripts\n"
      "site.s.route.any.prefix = /any\nsite.s.route.any.handler = pool\nsite.s.route.any.pool = programs\n"
      "pool.scripts.runtime = cgi\npool.scripts.app = /srv\npool.scripts.interpreter.pl = /usr/bin/perl\n"
      "pool.scripts.interpreter.py = /usr/bin/python3\npool.programs.runtime = cgi\npool.programs.app = /srv\n");
  const auto takes = [&](std::string_view path) {
    return RouteTable::has_handler(RouteTable::find_route(*routed.table->find_site_by_name("s"), path), path);
  };
  for (const char* path : {"/x.pl", "/d/x.py", "/x.pl/more", "/x.tar.py", "/.py", "/any", "/any/x", "/a.pl/b.pl"}) {
    EXPECT_TRUE(takes(path)) << path;
  }
  for (const char* path : {"/", "/x", "/x.PL", "/x.plx", "/xpl", "/x.", "/x.pl.bak", "/d/", "/a.pl", "/a.pl/b.txt"}) {
    EXPECT_FALSE(takes(path)) << path;
  }
}

}  // namespace
}  // namespace penstock
