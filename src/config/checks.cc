#include "src/config/checks.h"

#include "src/base/bytes.h"
#include "src/config/error.h"

#include <algorithm>
#include <fmt/format.h>
#include <unordered_map>
#include <unordered_set>

namespace penstock {
namespace {

// Header fields that the server computes, or whose wrong value would break the framing of answers.
constexpr std::string_view SERVER_HEADERS[] = {
    "Accept-Ranges", "Allow", "Connection", "Content-Encoding",  "Content-Length", "Content-Range",
    "Content-Type",  "Date",  "ETag",       "Keep-Alive",        "Last-Modified",  "Location",
    "Server",        "TE",    "Trailer",    "Transfer-Encoding", "Upgrade",
};

bool speaks_to_a_server(RuntimeSetting runtime) {
  using enum RuntimeSetting;
  return runtime == FASTCGI || runtime == SCGI || runtime == UWSGI || runtime == HTTP;
}

// Whether an answer of this status is whole with a status line and a page of ours: not 205 and 206 (their rules for
// content), 3xx (a target, or a copy at the client), 407 (for proxies) and 426 (an Upgrade that is not offered).
bool status_stands_alone(uint64_t status) {
  if (status < 200 || status > 599 || status / 100 == 3) return false;
  constexpr uint64_t NOT_ALONE[] = {205, 206, 407, 426};
  return std::ranges::find(NOT_ALONE, status) == std::end(NOT_ALONE);
}

class Checker {
 public:
  explicit Checker(const Settings& settings) : settings_(settings) {
    for (const PoolSettings& pool : settings.pools) pools_.insert(pool.name);
    for (const IdentitySettings& identity : settings.identities) {
      identities_.insert(identity.name);
      if (identity.private_tmp) private_tmp_.insert(identity.name);
    }
  }

  std::vector<CheckFailure> run() {
    check_root();
    for (const SiteSettings& site : settings_.sites) check_site(site);
    for (const PoolSettings& pool : settings_.pools) check_pool(pool);
    return std::move(failures_);
  }

 private:
  void add(std::string key, std::string message, std::vector<std::string> rests_on = {}) {
    failures_.push_back({std::move(key), std::move(message), std::move(rests_on)});
  }

  void check_root() {
    const Settings& s = settings_;
    if (s.server_transport == TransportSetting::DPDK) check_dpdk();
    if (!s.server_default_site.empty() && s.site(s.server_default_site) == nullptr) {
      add("server.default_site", "expected the name of a site, got " + quote_for_message(s.server_default_site),
          {fmt::format("site.{}.", s.server_default_site)});
    }
    for (const ListenAddress& address : s.server_listen_tls) {
      if (std::find(s.server_listen.begin(), s.server_listen.end(), address) == s.server_listen.end()) continue;
      add("server.listen_tls", "expected addresses that server.listen does not name, got " + to_text(address),
          {"server.listen", "server.listen_tls"});
    }
    if (s.tls_tickets_lifetime > s.tls_tickets_rotate * 7) {
      add("tls.tickets.lifetime", "expected at most seven times tls.tickets.rotate: no more keys are kept",
          {"tls.tickets.lifetime", "tls.tickets.rotate"});
    }
    if (s.tls_ech) {
      add("tls.ech", "expected 0: OpenSSL 3, which this build stands on, has no Encrypted Client Hello", {"tls.ech"});
    }
    const auto has_certificate = [](const SiteSettings& site) { return !site.tls_certificate.empty(); };
    if (!s.server_listen_tls.empty() && std::none_of(s.sites.begin(), s.sites.end(), has_certificate)) {
      add("server.listen_tls", "expected a site with tls.certificate and tls.key: without one nobody can be answered",
          {"server.listen_tls"});
    }
    check_logs();
    if (s.compress_min_bytes > s.compress_max_bytes) {
      add("compress.min_bytes", "expected at most compress.max_bytes", {"compress.min_bytes", "compress.max_bytes"});
    }
  }

  void check_logs() {
    const Settings& s = settings_;
    constexpr size_t LOGFILES_MAX = 15;  // with log.access as many as the journal's rings have places for
    std::unordered_map<std::string_view, std::string> paths;
    if (!s.log_access_path.empty()) paths.emplace(s.log_access_path, "log.access.path");
    for (const LogfileSettings& file : s.logfiles) {
      const std::string prefix = fmt::format("logfile.{}.", file.name);
      if (file.path.empty()) {
        add(prefix + "path", "expected a path: a log file needs one", {prefix});
        continue;
      }
      const auto [other, first] = paths.try_emplace(file.path, prefix + "path");
      if (first) continue;
      add(prefix + "path", fmt::format("expected a path of its own, got that of {}", other->second),
          {prefix, other->second});
    }
    if (s.logfiles.size() > LOGFILES_MAX) {
      const std::string key = fmt::format("logfile.{}.path", s.logfiles[LOGFILES_MAX].name);
      add(key, fmt::format("expected at most {} log files, got {}", LOGFILES_MAX, s.logfiles.size()), {"logfile."});
    }
  }

  void check_dpdk() {
#ifndef PENSTOCK_DPDK
    add("server.transport", "expected uring or epoll: this build has no dpdk transport");
#else
    const Settings& s = settings_;
    const std::vector<std::string> ours = {"server.transport", "dpdk.addresses"};
    if (s.dpdk_device.empty()) {
      add("dpdk.device", "expected a device: server.transport is dpdk", {"server.transport"});
    }
    if (s.dpdk_addresses.empty()) {
      add("dpdk.addresses", "expected an address: server.transport is dpdk", {"server.transport"});
    }
    const auto versions_differ = [](const std::vector<InterfaceAddress>& list) {
      return list.size() < 2 || list[0].v6 != list[1].v6;
    };
    if (!versions_differ(s.dpdk_addresses)) add("dpdk.addresses", "expected one address of each IP version at most");
    if (!versions_differ(s.dpdk_gateways)) add("dpdk.gateways", "expected one address of each IP version at most");
    if (s.server_reactors != 0 && s.server_reactors != s.dpdk_queues) {
      add("server.reactors", fmt::format("expected {} (or 0): one for each of dpdk.queues", s.dpdk_queues),
          {"server.transport", "dpdk.queues"});
    }
    if (!s.dpdk_cores.empty() && s.dpdk_cores.size() != static_cast<size_t>(s.dpdk_queues)) {
      add("dpdk.cores", fmt::format("expected one core for each of dpdk.queues, which are {}", s.dpdk_queues),
          {"dpdk.queues"});
    }
    for (const ListenAddress& listen : s.server_listen) {
      if (dpdk_serves(listen)) continue;
      add("server.listen",
          fmt::format(
              "expected addresses of dpdk.addresses, 0.0.0.0:PORT or [::]:PORT, got {}: server.transport is dpdk",
              quote_for_message(to_text(listen))),
          ours);
    }
#endif
  }

  [[maybe_unused]] [[nodiscard]] bool dpdk_serves(const ListenAddress& listen) const {
    if (listen.kind != ListenAddress::Kind::IPV4 && listen.kind != ListenAddress::Kind::IPV6) return false;
    if (listen.ip == std::array<uint8_t, 16>{}) return true;
    const bool v6 = listen.kind == ListenAddress::Kind::IPV6;
    return std::any_of(settings_.dpdk_addresses.begin(), settings_.dpdk_addresses.end(),
                       [&](const InterfaceAddress& one) { return one.v6 == v6 && one.ip == listen.ip; });
  }

  void check_site(const SiteSettings& site) {
    const std::string prefix = fmt::format("site.{}.", site.name);
    if (site.hosts.empty() && settings_.server_default_site != site.name) {
      add(prefix + "hosts",
          fmt::format("expected at least one host, or server.default_site = {}: nothing reaches the site", site.name),
          {prefix});
    }
    for (const std::string& host : site.hosts) {
      const auto [other, first] = hosts_.try_emplace(host, site.name);
      if (first) continue;
      const std::string theirs = fmt::format("site.{}.", other->second);
      add(prefix + "hosts",
          fmt::format("expected each host in one site, got {} which site {} has", quote_for_message(host),
                      other->second),
          {prefix, theirs});
    }
    if (site.tls_certificate.size() > site.tls_key.size()) {
      add(prefix + "tls.key",
          fmt::format("expected as many keys as certificates, in their order: {} and {}", site.tls_key.size(),
                      site.tls_certificate.size()),
          {prefix});
    }
    if (site.tls_ocsp.size() > site.tls_certificate.size()) {
      add(prefix + "tls.ocsp", "expected at most as many as certificates, in their order", {prefix});
    }
    check_https(site, prefix);
    if (site.tls_client != ClientCertificateSetting::OFF) {
      if (site.tls_client_ca.empty()) {
        add(prefix + "tls.client_ca", "expected whom to trust: the site looks at certificates of clients", {prefix});
      }
      if (site.tls_certificate.empty()) {
        add(prefix + "tls.client", "expected off, or a tls.certificate of the site: only over TLS a client shows one",
            {prefix});
      }
    }
    check_headers(prefix, site.headers);
    check_filters(prefix, site.filters);
    check_site_root(site, prefix);
    std::unordered_map<std::string_view, std::string_view> prefixes;
    for (const RouteSettings& route : site.routes) {
      const std::string route_prefix = fmt::format("{}route.{}.", prefix, route.name);
      check_route(route, route_prefix, prefix);
      const auto [other, first] = prefixes.try_emplace(route.prefix, route.name);
      if (!first && !route.prefix.empty()) {
        add(route_prefix + "prefix",
            fmt::format("expected a prefix no other route of the site has, got {} which route {} has",
                        quote_for_message(route.prefix), other->second),
            {prefix});
      }
    }
  }

  void check_https(const SiteSettings& site, const std::string& prefix) {
    if (site.https_redirect != 0) {
      constexpr uint32_t ALLOWED[] = {301, 302, 307, 308};
      const auto& addresses = settings_.server_listen_tls;
      if (std::find(std::begin(ALLOWED), std::end(ALLOWED), site.https_redirect) == std::end(ALLOWED)) {
        add(prefix + "https_redirect", fmt::format("expected 0, 301, 302, 307 or 308, got {}", site.https_redirect),
            {prefix});
      } else if (addresses.empty()) {
        add(prefix + "https_redirect", "expected 0: server.listen_tls names no address, so nobody could be served",
            {prefix, "server.listen_tls"});
      } else if (site.https_port == 0 &&
                 std::ranges::all_of(addresses, [](const ListenAddress& one) { return one.port == 0; })) {
        add(prefix + "https_port", "expected the port to redirect to: server.listen_tls names none",
            {prefix, "server.listen_tls"});
      }
    }
    if (site.hsts_preload && (!site.hsts_subdomains || site.hsts_max_age < seconds(31'536'000))) {
      add(prefix + "hsts.preload", "expected hsts.subdomains = 1 and hsts.max_age = 8760h or more beside it", {prefix});
    }
  }

  // Files are served where no route says otherwise, and by static routes without a root of their own.
  void check_site_root(const SiteSettings& site, const std::string& prefix) {
    if (!site.root.empty()) return;
    const auto needs_root = [](const RouteSettings& route) {
      return route.handler == HandlerSetting::STATIC && route.root.empty();
    };
    const bool covered = std::any_of(site.routes.begin(), site.routes.end(), [&](const RouteSettings& route) {
      return route.prefix == "/" && !needs_root(route);
    });
    if (!covered) {
      return add(prefix + "root", "expected a directory, or a route with prefix / that needs none", {prefix});
    }
    for (const RouteSettings& route : site.routes) {
      if (!needs_root(route)) continue;
      add(fmt::format("{}route.{}.root", prefix, route.name),
          "expected a directory here or in the site's root: a static route needs files", {prefix});
    }
  }

  void check_route(const RouteSettings& route, const std::string& prefix, const std::string& site) {
    if (route.prefix.empty()) add(prefix + "prefix", "expected a URL path: a route needs one", {site});
    check_headers(prefix, route.headers);
    if (route.filters) check_filters(prefix, *route.filters);
    switch (route.handler) {
      case HandlerSetting::STATIC:
        return;
      case HandlerSetting::REDIRECT: {
        if (route.to.empty()) add(prefix + "to", "expected a target: the route's handler is redirect", {site});
        constexpr uint32_t ALLOWED[] = {0, 301, 302, 303, 307, 308};
        if (std::find(std::begin(ALLOWED), std::end(ALLOWED), route.status) == std::end(ALLOWED)) {
          add(prefix + "status", fmt::format("expected 301, 302, 303, 307 or 308 for a redirect, got {}", route.status),
              {site});
        }
        return;
      }
      case HandlerSetting::STATUS:
        if (!status_stands_alone(route.status)) {
          add(prefix + "status",
              fmt::format(
                  "expected a status that stands alone, 200 to 299 or 400 to 599 but 205, 206, 407 and 426: the "
                  "route's handler is status, got {}",
                  route.status),
              {site});
        } else if (route.status == 401 && !has_header(route, "WWW-Authenticate")) {
          add(prefix + "header.WWW-Authenticate",
              "expected a challenge: the route answers 401 (RFC 9110 section 15.5.2)", {site});
        }
        return;
      case HandlerSetting::POOL:
        if (pools_.contains(route.pool)) return;
        add(prefix + "pool",
            "expected the name of a pool: the route's handler is pool, got " + quote_for_message(route.pool),
            {site, fmt::format("pool.{}.", route.pool)});
        return;
    }
  }

  static bool has_header(const RouteSettings& route, std::string_view name) {
    return std::ranges::any_of(route.headers, [&](const NamedValue& header) { return iequals(header.name, name); });
  }

  void check_filters(const std::string& prefix, const std::vector<std::string>& filters) {
    for (const std::string& name : filters) {
      if (pools_.contains(name)) continue;
      add(prefix + "filters", "expected names of pools, got " + quote_for_message(name),
          {prefix, fmt::format("pool.{}.", name)});
    }
  }

  // These faults are in the names alone, so nothing else can have caused them.
  void check_headers(const std::string& prefix, const std::vector<NamedValue>& headers) {
    for (size_t i = 0; i < headers.size(); ++i) {
      const std::string key = fmt::format("{}header.{}", prefix, headers[i].name);
      if (iequals(headers[i].name, "Cache-Control")) add(key, "expected the key cache_control for this header");
      if (iequals(headers[i].name, "Strict-Transport-Security")) {
        add(key, "expected the keys hsts.* of the site: this header may be sent over TLS alone");
      }
      for (const std::string_view own : SERVER_HEADERS) {
        if (iequals(headers[i].name, own)) add(key, "expected a header that the server does not write itself");
      }
      for (size_t k = 0; k < i; ++k) {
        if (!iequals(headers[i].name, headers[k].name)) continue;
        add(key, fmt::format("expected each header once: {} differs only in case", headers[k].name));
      }
    }
  }

  void check_pool(const PoolSettings& pool) {
    const std::string prefix = fmt::format("pool.{}.", pool.name);
    if (pool.app.empty()) add(prefix + "app", "expected the application that the pool runs", {prefix});
    if (pool.workers_min > pool.workers_max) {
      add(prefix + "workers_min",
          fmt::format("expected at most workers_max ({}), got {}", pool.workers_max, pool.workers_min), {prefix});
    }
    if (!pool.identity.empty() && !identities_.contains(pool.identity)) {
      add(prefix + "identity", "expected the name of an identity, got " + quote_for_message(pool.identity),
          {prefix, fmt::format("identity.{}.", pool.identity)});
    }
    if (pool.sandbox_tier == TierSetting::LANDLOCK && private_tmp_.contains(pool.identity)) {
      add(prefix + "sandbox.tier",
          "expected unshared or ns: its identity has private_tmp, which takes a mount namespace",
          {prefix, fmt::format("identity.{}.", pool.identity)});
    }
    if (!pool.interpreters.empty() && pool.runtime != RuntimeSetting::CGI) {
      add(fmt::format("{}interpreter.{}", prefix, pool.interpreters.front().name),
          "expected none: only runtime cgi has interpreters", {prefix});
    }
    if (pool.program_cpu_max != 0 && pool.runtime != RuntimeSetting::CGI) {
      add(prefix + "program_cpu_max",
          fmt::format("expected 0, got {}: only runtime cgi starts programs whose processor time it can limit; "
                      "cpu_limit and recycle.cpu are for all",
                      pool.program_cpu_max),
          {prefix});
    }
    if (pool.connections != 0 && !speaks_to_a_server(pool.runtime)) {
      add(prefix + "connections",
          fmt::format("expected 0, got {}: only fastcgi, scgi, uwsgi and http have connections to an application",
                      pool.connections),
          {prefix});
    }
    if (pool.connections > pool.concurrency) {
      add(prefix + "connections",
          fmt::format("expected at most concurrency ({}), got {}", pool.concurrency, pool.connections), {prefix});
    }
    const bool writes_itself = !pool.state.empty() && (pool.directory + "/").starts_with(pool.state + "/");
    if (writes_itself) {
      add(prefix + "state", "expected a path that is not at or above the pool's directory, which would be writable",
          {prefix});
    }
  }

  const Settings& settings_;
  std::unordered_map<std::string_view, std::string_view> hosts_;  // host to site
  std::unordered_set<std::string_view> pools_, identities_;       // there may be thousands, and as many routes
  std::unordered_set<std::string_view> private_tmp_;              // identities that have it
  std::vector<CheckFailure> failures_;
};

}  // namespace

std::vector<CheckFailure> cross_check(const Settings& settings) { return Checker(settings).run(); }

}  // namespace penstock
