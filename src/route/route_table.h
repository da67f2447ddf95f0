// RouteTable: host and path to Route, one per config generation.
//
// Built once from Settings by the control thread, immutable after; shared by every reactor without
// a lock. It decides nothing about files or bytes: it names what the config says about a URL.
// Look-up never allocates. Order of hosts as in http.sys: exact name, then the longest wildcard
// (`*.example.com`), then `*`, then the default site, else none. Within a site the longest prefix
// wins, compared segment by segment: `/img` covers `/img` and `/img/a`, never `/images`.
#pragma once

#include "src/base/time.h"
#include "src/config/settings.h"
#include "src/http/method.h"
#include "src/route/host_table.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace penstock {

struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const noexcept { return std::hash<std::string_view>{}(text); }
};
template <typename T>
using StringMap = std::unordered_map<std::string, T, StringHash, std::equal_to<>>;

struct Site;

// RFC 6797; over TLS only.
inline constexpr std::string_view HSTS_FIELD = "Strict-Transport-Security: ";

// What the config says about the URLs below one prefix of one site: everything inherited already.
struct Route {
  const Site* site = nullptr;
  uint32_t number = 0;  // place in RouteTable::routes()
  std::string name;     // "" for the site itself
  std::string prefix;   // "/" for the site itself; never ends in '/' otherwise
  HandlerSetting handler = HandlerSetting::STATIC;
  std::string root;            // directory served (static)
  uint32_t root_index = 0;     // place of `root` in RouteTable::roots()
  bool strips_prefix = false;  // the prefix is replaced by `root` (a virtual directory)
  std::string to;              // redirect target
  uint16_t status = 0;         // of redirect and status handlers
  std::string pool;
  std::vector<std::string> scripts;  // extensions that its pool has interpreters for; empty: it takes whatever there is
  std::vector<std::string> filters;  // pools that look at its requests, in this order
  bool collapse = false;             // one call of the pool for all who want the same at once
  Duration stale_while_revalidate;   // where the answer does not say
  Duration stale_if_error;
  std::vector<std::string> cache_vary;  // request fields that answers may vary by, besides the usual ones
  std::vector<std::string> index;
  bool listing = false;
  SymlinkSetting symlinks = SymlinkSetting::ALL;
  bool dotfiles_allowed = false;
  bool precompressed = true;
  bool compress = true;
  UnknownTypeSetting unknown_type = UnknownTypeSetting::OCTET_STREAM;
  std::string default_type;
  std::string charset;
  uint32_t methods = 0;                    // bit per Method that is allowed
  std::string allow;                       // "GET, HEAD, OPTIONS", for Allow
  std::vector<std::string> other_methods;  // allowed ones that have no Method of their own
  std::string header_block;                // "Cache-Control: ...\r\nX: y\r\n": whole field lines for every answer
  std::string header_block_tls;            // over TLS; with HSTS_FIELD first where the site has that

  [[nodiscard]] const std::string& header_lines(bool secure) const { return secure ? header_block_tls : header_block; }
};

// How long a client may take, and how slowly.
struct Patience {
  Duration idle;
  Duration body;
  uint64_t send_rate_min = 0;
};

// What of a request's head is taken, each at most: limits.head_bytes, limits.field_bytes, limits.fields.
struct HeadLimits {
  uint32_t head_bytes = UINT32_MAX;
  uint32_t field_bytes = UINT32_MAX;
  uint32_t fields = UINT32_MAX;
};

struct Site {
  std::string name;
  uint32_t number = 0;  // place in RouteTable::sites()
  HeadLimits heads;     // limits in force: the site's own, or the server's
  uint64_t url_bytes = 0;
  uint64_t query_bytes = 0;
  uint64_t body_bytes = 0;
  uint32_t segment_bytes = 0;
  uint32_t segments = 0;
  uint32_t ranges = 0;
  Patience patience;
  std::vector<AddressRange> purge_from;  // clients that may PURGE
  uint64_t client_rules = 0;             // client_rules_id()
  bool client_required = false;          // a client certificate
  ErrorDetailsSetting error_details = ErrorDetailsSetting::NONE;
  bool filtered = false;               // some of its routes have filters
  StringMap<std::string> error_pages;  // "404" or "404.3" to a URL path of the site, or to a URL
  std::vector<std::unique_ptr<Route>> routes;
  StringMap<const Route*> by_prefix;  // "" is the site itself
};

// What a site asks of its clients' certificates, as a number: equal where that is the same, 0 where it asks nothing.
// The same in every process and generation: sessions of TLS are kept apart by it.
[[nodiscard]] uint64_t client_rules_id(const SiteSettings& settings);

class RouteTable {
 public:
  // REQUIRES: `settings` passed the config's own checks.
  explicit RouteTable(const Settings& settings);
  RouteTable(const RouteTable&) = delete;
  RouteTable& operator=(const RouteTable&) = delete;

  // The site for a normalised host (lower case, no port); nullptr when no site answers to it.
  [[nodiscard]] const Site* find_site(std::string_view host) const;

  // The route for a canonical path (begins with '/'). Never null: the site itself is a route.
  [[nodiscard]] static const Route& find_route(const Site& site, std::string_view path);

  // Whether the route's handler takes the path, one of find_route() for it: of a pool with interpreters alone, some
  // segment must have an extension that one of them is for, since what stands behind a script is for the script.
  [[nodiscard]] static bool has_handler(const Route& route, std::string_view path);

  // The part of `path` below the route's root, without a leading '/': what the file system is asked.
  [[nodiscard]] static std::string_view path_below_root(const Route& route, std::string_view path);

  // Of sites(); nullptr where there are not so many.
  [[nodiscard]] const Site* site_numbered(uint32_t number) const {
    return number < sites_.size() ? sites_[number].get() : nullptr;
  }
  [[nodiscard]] const Site* find_site_by_name(std::string_view name) const;
  [[nodiscard]] static bool allows(const Route& route, Method method, std::string_view method_text);
  // Whether any site has client_rules.
  [[nodiscard]] bool looks_at_clients() const { return looks_at_clients_; }
  // Whether any site has client_rules or filters, so that a request's site must be known before the cache is asked.
  [[nodiscard]] bool looks_before_cache() const { return looks_before_cache_; }
  // The least that any site takes: what is within it need not be held to its own site's.
  [[nodiscard]] const HeadLimits& narrowest_heads() const { return narrowest_heads_; }
  // Every directory served, each once, in the order of Route::root_index.
  [[nodiscard]] const std::vector<std::string>& roots() const { return roots_; }
  // In the order of Site::number, which is that of their settings.
  [[nodiscard]] const std::vector<std::unique_ptr<Site>>& sites() const { return sites_; }
  // Every route of every site, in the order of Route::number.
  [[nodiscard]] const std::vector<const Route*>& routes() const { return routes_; }

 private:
  void add_site(const Settings& all, const SiteSettings& settings);
  Route& add_route(Site& site, const Route& route);
  uint32_t root_index(const std::string& root);

  std::vector<std::unique_ptr<Site>> sites_;
  HostTable exact_;
  StringMap<const PoolSettings*> interpreting_;  // pools with interpreters
  StringMap<const Site*> wildcard_;              // "*.example.com" under ".example.com"
  bool looks_at_clients_ = false;
  bool looks_before_cache_ = false;
  HeadLimits narrowest_heads_;
  const Site* any_ = nullptr;  // `*`
  const Site* default_ = nullptr;
  std::vector<std::string> roots_;
  std::vector<const Route*> routes_;
};

}  // namespace penstock
