#include "src/config/checks.h"

#include "tests/unit/config/build_tree.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace penstock {
namespace {

using test::errors_of;
using test::tree_of;

constexpr std::string_view SITE = "site.a.hosts = a\nsite.a.root = /a\n";

void expect_error(const std::string& text, std::string_view key, std::string_view words) {
  const std::string errors = errors_of(text);
  EXPECT_NE(errors.find(std::string(key) + ": "), std::string::npos) << errors;
  EXPECT_NE(errors.find(words), std::string::npos) << errors;
  EXPECT_EQ(std::count(errors.begin(), errors.end(), '\n'), 1) << errors;
}

std::string with_site(std::string_view text) { return std::string(SITE) + std::string(text); }

TEST(ConfigChecks, a_plain_site_is_right) { tree_of(SITE); }

TEST(ConfigChecks, default_site_must_exist) {
  expect_error("server.default_site = x\n", "server.default_site", "name of a site");
}

TEST(ConfigChecks, a_site_must_be_reachable) {
  expect_error("site.a.root = /a\n", "site.a.hosts", "at least one host");
  tree_of("site.a.root = /a\nserver.default_site = a\n");
}

TEST(ConfigChecks, a_host_belongs_to_one_site) {
  expect_error(with_site("site.b.hosts = b A\nsite.b.root = /b\n"), "t.conf:3: site.b.hosts", "which site a has");
}

TEST(ConfigChecks, a_redirect_to_https_has_somewhere_to_go) {
  const std::string tls =
      with_site("server.listen_tls = 127.0.0.1:8443\nsite.a.tls.certificate = /c\nsite.a.tls.key = /k\n");
  for (const char* status : {"0", "301", "302", "307", "308"})
    tree_of(tls + "site.a.https_redirect = " + status + "\n");
  for (const char* status : {"1", "300", "303"}) {
    expect_error(tls + "site.a.https_redirect = " + status + "\n", "site.a.https_redirect", "301, 302, 307 or 308");
  }
  expect_error(with_site("site.a.https_redirect = 308\n"), "site.a.https_redirect",
               "server.listen_tls names no address");
  const std::string by_path =
      with_site("server.listen_tls = unix:/run/tls\nsite.a.tls.certificate = /c\nsite.a.tls.key = /k\n");
  expect_error(by_path + "site.a.https_redirect = 308\n", "site.a.https_port", "port to redirect to");
  tree_of(by_path + "site.a.https_redirect = 308\nsite.a.https_port = 443\n");
}

TEST(ConfigChecks, what_no_library_has_is_refused_with_the_reason) {
  tree_of(with_site("tls.ech = 0\n"));
  expect_error(with_site("tls.ech = 1\n"), "t.conf:3: tls.ech", "OpenSSL 3");
}

TEST(ConfigChecks, preloading_takes_subdomains_and_a_year) {
  tree_of(with_site("site.a.hsts.preload = 1\nsite.a.hsts.subdomains = 1\n"));
  expect_error(with_site("site.a.hsts.preload = 1\n"), "site.a.hsts.preload", "hsts.subdomains = 1");
  expect_error(with_site("site.a.hsts.preload = 1\nsite.a.hsts.subdomains = 1\nsite.a.hsts.max_age = 8759h\n"),
               "site.a.hsts.preload", "8760h");
  expect_error(with_site("site.a.header.strict-transport-security = max-age=1\n"),
               "site.a.header.strict-transport-security", "hsts.*");
}

TEST(ConfigChecks, a_status_that_a_route_answers_stands_alone) {
  const std::string route = with_site("site.a.route.r.prefix = /x\nsite.a.route.r.handler = status\n");
  const auto status = [&](int number) { return route + "site.a.route.r.status = " + std::to_string(number) + "\n"; };
  for (const int number : {0, 100, 199, 205, 206, 300, 301, 304, 399, 407, 426}) {
    expect_error(status(number), "site.a.route.r.status", "got " + std::to_string(number));
  }
  for (const int number : {200, 204, 299, 400, 402, 408, 409, 418, 451, 499, 503, 599}) tree_of(status(number));
  expect_error(status(401), "site.a.route.r.header.WWW-Authenticate", "expected a challenge");
  tree_of(status(401) + "site.a.route.r.header.www-authenticate = Basic realm=x\n");
}

TEST(ConfigChecks, headers_of_the_server_are_named_beside_other_errors) {
  EXPECT_EQ(
      errors_of(with_site("limits.fields = 0\nsite.a.listing = 7\nsite.a.header.X = a\"b\nsite.a.header.Date = x\n"
                          "site.a.header.Cache-Control = y\n")),
      "t.conf:3: limits.fields: expected a whole number from 1 to 128, got \"0\"\n"
      "t.conf:4: site.a.listing: expected 0 or 1 (or off, on, no, yes, false, true), got \"7\"\n"
      "t.conf:5: site.a.header.X: expected quotes around the whole value, and \\\" for a quote inside, got \"a\"b\"\n"
      "t.conf:7: site.a.header.Cache-Control: expected the key cache_control for this header\n"
      "t.conf:6: site.a.header.Date: expected a header that the server does not write itself\n");
}

TEST(ConfigChecks, certificates_of_clients_need_somebody_to_trust_and_one_of_the_site) {
  const std::string pair = with_site("site.a.tls.certificate = /c\nsite.a.tls.key = /k\n");
  expect_error(pair + "site.a.tls.client = ask\n", "site.a.tls.client_ca", "whom to trust");
  expect_error(with_site("site.a.tls.client = require\nsite.a.tls.client_ca = /ca\n"), "site.a.tls.client",
               "expected off, or a tls.certificate");
  tree_of(pair + "site.a.tls.client = require\nsite.a.tls.client_ca = /ca\n");
}

TEST(ConfigChecks, static_files_need_a_root) {
  expect_error("site.a.hosts = a\n", "site.a.root", "expected a directory");
  tree_of("site.a.hosts = a\nsite.a.route.r.prefix = /\nsite.a.route.r.handler = redirect\nsite.a.route.r.to = /x\n");
  tree_of("site.a.hosts = a\nsite.a.route.r.prefix = /\nsite.a.route.r.root = /srv\n");
  expect_error("site.a.hosts = a\nsite.a.route.r.prefix = /\nsite.a.route.r.root = /srv\nsite.a.route.s.prefix = /s\n",
               "site.a.route.s.root", "a static route needs files");
}

TEST(ConfigChecks, a_route_needs_a_prefix_of_its_own) {
  expect_error(with_site("site.a.route.r.listing = 1\n"), "site.a.route.r.prefix", "a route needs one");
  expect_error(with_site("site.a.route.r.prefix = /x\nsite.a.route.s.prefix = /x\n"), "t.conf:4: site.a.route.s.prefix",
               "which route r has");
  tree_of(with_site("site.a.route.r.prefix = /x\nsite.a.route.s.prefix = /x/\nsite.a.route.t.prefix = /x/y\n"));
}

TEST(ConfigChecks, handlers_have_what_they_need) {
  const std::string route = with_site("site.a.route.r.prefix = /x\n");
  expect_error(route + "site.a.route.r.handler = redirect\n", "site.a.route.r.to", "expected a target");
  expect_error(route + "site.a.route.r.handler = redirect\nsite.a.route.r.to = /y\nsite.a.route.r.status = 200\n",
               "site.a.route.r.status", "301");
  expect_error(route + "site.a.route.r.handler = status\n", "site.a.route.r.status", "400 to 599");
  expect_error(route + "site.a.route.r.handler = pool\nsite.a.route.r.pool = p\n", "site.a.route.r.pool", "got \"p\"");
  tree_of(route + "site.a.route.r.handler = status\nsite.a.route.r.status = 410\n");
  tree_of(route + "site.a.route.r.handler = redirect\nsite.a.route.r.to = /y\nsite.a.route.r.status = 308\n");
  tree_of(route + "site.a.route.r.handler = pool\nsite.a.route.r.pool = p\npool.p.app = x\n");
}

TEST(ConfigChecks, headers_of_the_server_are_not_set_by_hand) {
  expect_error(with_site("site.a.header.content-length = 5\n"), "site.a.header.content-length",
               "does not write itself");
  expect_error(with_site("site.a.header.Transfer-Encoding = chunked\n"), "site.a.header.Transfer-Encoding",
               "does not write itself");
  expect_error(with_site("site.a.header.Cache-Control = no-store\n"), "site.a.header.Cache-Control", "cache_control");
  expect_error(with_site("site.a.header.X-A = 1\nsite.a.header.x-a = 2\n"), "site.a.header.x-a",
               "differs only in case");
  expect_error(with_site("site.a.route.r.prefix = /x\nsite.a.route.r.header.Date = 1\n"), "site.a.route.r.header.Date",
               "does not write itself");
}

TEST(ConfigChecks, pools_are_whole) {
  expect_error("pool.p.workers_max = 2\n", "pool.p.app", "the application");
  expect_error("pool.p.app = x\npool.p.workers_min = 3\npool.p.workers_max = 2\n", "pool.p.workers_min",
               "at most workers_max (2), got 3");
  expect_error("pool.p.app = x\npool.p.identity = i\n", "pool.p.identity", "got \"i\"");
  tree_of("pool.p.app = x\npool.p.identity = i\nidentity.i.user = www\n");
  expect_error("pool.p.app = x\npool.p.interpreter.py = /usr/bin/python3\n", "pool.p.interpreter.py",
               "only runtime cgi");
  tree_of("pool.p.app = x\npool.p.runtime = cgi\npool.p.interpreter.py = /usr/bin/python3\n");
  for (const char* runtime : {"native", "external", "fastcgi", "scgi", "uwsgi", "http", "wsgi"}) {
    expect_error(fmt::format("pool.p.app = x\npool.p.runtime = {}\npool.p.program_cpu_max = 9\n", runtime),
                 "pool.p.program_cpu_max", "only runtime cgi");
  }
  tree_of("pool.p.app = x\npool.p.runtime = cgi\npool.p.program_cpu_max = 9\n");
  for (const char* runtime : {"native", "external", "cgi", "wsgi"}) {
    expect_error(fmt::format("pool.p.app = x\npool.p.runtime = {}\npool.p.connections = 4\n", runtime),
                 "pool.p.connections", "only fastcgi, scgi, uwsgi and http");
  }
  expect_error("pool.p.app = x\npool.p.runtime = scgi\npool.p.connections = 17\n", "pool.p.connections",
               "at most concurrency (16), got 17");
  tree_of("pool.p.app = x\npool.p.runtime = fastcgi\npool.p.connections = 16\n");
  expect_error("pool.p.app = x\npool.p.directory = /a/b\npool.p.state = /a\n", "pool.p.state", "would be writable");
  expect_error("pool.p.app = x\npool.p.directory = /a\npool.p.state = /a\n", "pool.p.state", "would be writable");
  tree_of("pool.p.app = x\npool.p.directory = /a/b\npool.p.state = /a/bc\n");
}

TEST(ConfigChecks, each_log_has_a_file_of_its_own) {
  expect_error("logfile.a.format = json\n", "logfile.a.path", "a log file needs one");
  expect_error("log.access.path = /l\nlogfile.a.path = /l\n", "logfile.a.path", "got that of log.access.path");
  expect_error("logfile.a.path = /l\nlogfile.b.path = /l\n", "logfile.b.path", "got that of logfile.a.path");
  expect_error("logfile.a.path = /l\nlogfile.a.where = status>=x\n", "logfile.a.where", "status>=500 or site=shop");
  expect_error("log.access.where = nothing=1\n", "log.access.where", "\"nothing=1\" is none");
  std::string many;
  for (int i = 10; i < 25; ++i) many += fmt::format("logfile.l{}.path = /l{}\n", i, i);
  EXPECT_EQ(tree_of(many).settings().logfiles.size(), 15U);
  expect_error(many + "logfile.m.path = /m\n", "logfile.m.path", "at most 15 log files, got 16");
  const Tree tree = tree_of("logfile.a.path = /l\nlogfile.a.where = status>=500, sc-bytes!=0 cs(User-Agent)^=curl\n");
  EXPECT_EQ(tree.settings().logfiles[0].where,
            (std::vector<std::string>{"status>=500", "sc-bytes!=0", "cs(User-Agent)^=curl"}));
}

TEST(ConfigChecks, a_private_tmp_takes_a_tier_with_a_mount_namespace) {
  const std::string pool = "identity.i.private_tmp = 1\npool.p.app = /a\npool.p.identity = i\n";
  expect_error(pool + "pool.p.sandbox.tier = landlock\n", "pool.p.sandbox.tier", "takes a mount namespace");
  for (const char* tier : {"unshared", "ns"}) tree_of(pool + "pool.p.sandbox.tier = " + tier + "\n");
}

TEST(ConfigChecks, a_tier_that_this_build_has_not_is_refused_with_those_that_it_has) {
  for (const char* tier : {"wasm", "kvm"}) {
    expect_error(std::string("pool.p.app = /a\npool.p.sandbox.tier = ") + tier + "\n", "pool.p.sandbox.tier",
                 "landlock, unshared");
  }
}

#ifdef PENSTOCK_DPDK
constexpr const char* DPDK =
    "server.transport = dpdk\ndpdk.device = net_tap0\ndpdk.addresses = 192.0.2.1/24 2001:db8::1/64\n";

TEST(ConfigChecks, dpdk_needs_a_device_and_an_address) {
  tree_of(DPDK + std::string("server.listen = 0.0.0.0:80 [::]:80\n"));
  expect_error("server.transport = dpdk\nserver.listen = 0.0.0.0:80\ndpdk.addresses = 192.0.2.1/24\n", "dpdk.device",
               "expected a device");
  expect_error("server.transport = dpdk\nserver.listen = 0.0.0.0:80\ndpdk.device = net_tap0\n", "dpdk.addresses",
               "expected an address");
  expect_error(
      "dpdk.device = net_tap0\ndpdk.addresses = 192.0.2.1/24 192.0.2.2/24\nserver.transport = dpdk\n"
      "server.listen = 0.0.0.0:80\n",
      "dpdk.addresses", "one address of each IP version");
}

TEST(ConfigChecks, dpdk_listens_on_its_own_addresses_alone) {
  tree_of(DPDK + std::string("server.listen = 192.0.2.1:80 [2001:db8::1]:80\n"));
  for (const char* other : {"127.0.0.1:80", "192.0.2.9:80", "[2001:db8::2]:80", "unix:/run/x"}) {
    expect_error(DPDK + std::string("server.listen = ") + other + "\n", "server.listen",
                 "expected addresses of dpdk.addresses");
  }
}

TEST(ConfigChecks, dpdk_has_a_reactor_and_at_most_one_core_for_each_queue) {
  const std::string base = DPDK + std::string("server.listen = 0.0.0.0:80\n");
  expect_error(base + "server.reactors = 2\n", "server.reactors", "expected 1 (or 0)");
  expect_error(base + "dpdk.queues = 3\nserver.reactors = 2\n", "server.reactors", "expected 3 (or 0)");
  expect_error(base + "dpdk.queues = 3\ndpdk.cores = 0-1\n", "dpdk.cores",
               "one core for each of dpdk.queues, which are 3");
  tree_of(base + "dpdk.queues = 3\nserver.reactors = 3\ndpdk.cores = 0-1 5\n");
}

TEST(ConfigChecks, dpdk_frames_are_no_jumbo_frames) {
  const std::string base = DPDK + std::string("server.listen = 0.0.0.0:80\n");
  expect_error(base + "dpdk.mtu = 1501\n", "dpdk.mtu", "1500");
  expect_error(base + "dpdk.mtu = 1279\n", "dpdk.mtu", "1280");
  tree_of(base + "dpdk.mtu = 1280\n");
}
#else
TEST(ConfigChecks, a_transport_that_is_not_built_is_refused) {
  expect_error("server.transport = dpdk\n", "t.conf:1: server.transport", "this build has no dpdk transport");
}
#endif

TEST(ConfigChecks, compression_bounds_are_in_order) {
  expect_error("compress.min_bytes = 8m\n", "t.conf:1: compress.min_bytes", "at most compress.max_bytes");
  expect_error("compress.max_bytes = 1t\ncompress.min_bytes = 8m\n", "t.conf:1: compress.max_bytes", "expected a size");
}

}  // namespace
}  // namespace penstock
