// Invariant: every Site has the route with prefix "" (itself), so find_route() always ends.

#include "src/route/route_table.h"

#include "src/base/assert.h"
#include "src/base/bytes.h"
#include "src/base/hash.h"

#include <algorithm>

namespace penstock {
namespace {

constexpr uint32_t method_bit(Method method) { return 1U << static_cast<unsigned>(method); }

const std::vector<std::string> APPLICATION_METHODS = {"GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH"};

void set_methods(Route& route, const std::vector<std::string>& methods) {
  route.methods = 0;
  route.allow.clear();
  route.other_methods.clear();
  for (const std::string& text : methods) {
    const Method method = method_from_text(text);
    if (method == Method::OTHER) {
      route.other_methods.push_back(text);
    } else {
      route.methods |= method_bit(method);
    }
    if (!route.allow.empty()) route.allow += ", ";
    route.allow += text;
  }
}

bool same_name(const std::string& a, const std::string& b) { return iequals(a, b); }

// The site's headers with the route's over them; an empty value takes a header away.
std::string header_block(const std::vector<NamedValue>& site, const std::vector<NamedValue>& route,
                         const std::string& cache_control) {
  std::vector<NamedValue> merged = site;
  for (const NamedValue& own : route) {
    std::erase_if(merged, [&](const NamedValue& old) { return same_name(old.name, own.name); });
    merged.push_back(own);
  }
  std::string block;
  if (!cache_control.empty()) block += "Cache-Control: " + cache_control + "\r\n";
  for (const NamedValue& header : merged) {
    if (header.value.empty()) continue;
    if (!cache_control.empty() && same_name(header.name, "Cache-Control")) continue;
    block += header.name + ": " + header.value + "\r\n";
  }
  return block;
}

// The field line of RFC 6797 section 6.1, or nothing.
std::string hsts_line(const SiteSettings& site) {
  if (!site.hsts_enable) return "";
  std::string line = std::string(HSTS_FIELD) + "max-age=" + std::to_string(site.hsts_max_age.s());
  if (site.hsts_subdomains) line += "; includeSubDomains";
  if (site.hsts_preload) line += "; preload";
  return line + "\r\n";
}

}  // namespace

RouteTable::RouteTable(const Settings& settings) {
  for (const PoolSettings& pool : settings.pools) {
    if (!pool.interpreters.empty()) interpreting_.emplace(pool.name, &pool);
  }
  for (const SiteSettings& site : settings.sites) add_site(settings, site);
  interpreting_.clear();
  default_ = settings.server_default_site.empty() ? nullptr : find_site_by_name(settings.server_default_site);
}

uint32_t RouteTable::root_index(const std::string& root) {
  const auto found = static_cast<uint32_t>(std::find(roots_.begin(), roots_.end(), root) - roots_.begin());
  if (found == roots_.size()) roots_.push_back(root);
  return found;
}

Route& RouteTable::add_route(Site& site, const Route& route) {
  Route& added = *site.routes.emplace_back(std::make_unique<Route>(route));
  added.number = static_cast<uint32_t>(routes_.size());
  routes_.push_back(&added);
  return added;
}

uint64_t client_rules_id(const SiteSettings& settings) {
  if (settings.tls_client == ClientCertificateSetting::OFF) return 0;
  std::string text;
  for (const std::string& file : settings.tls_client_ca) text.append(file) += '\n';
  text += '\n';
  for (const std::string& file : settings.tls_client_crl) text.append(file) += '\n';
  const uint64_t numbers = uint64_t{settings.tls_client_depth} << 8 | static_cast<uint8_t>(settings.tls_client);
  return std::max<uint64_t>(1, hash_bytes(text, numbers));
}

void RouteTable::add_site(const Settings& all, const SiteSettings& from) {
  Site& site = *sites_.emplace_back(std::make_unique<Site>());
  site.name = from.name;
  site.number = static_cast<uint32_t>(sites_.size() - 1);
  site.heads = {.head_bytes = static_cast<uint32_t>(from.limits_head_bytes.value_or(all.limits_head_bytes)),
                .field_bytes = static_cast<uint32_t>(from.limits_field_bytes.value_or(all.limits_field_bytes)),
                .fields = static_cast<uint32_t>(from.limits_fields.value_or(all.limits_fields))};
  narrowest_heads_ = {.head_bytes = std::min(narrowest_heads_.head_bytes, site.heads.head_bytes),
                      .field_bytes = std::min(narrowest_heads_.field_bytes, site.heads.field_bytes),
                      .fields = std::min(narrowest_heads_.fields, site.heads.fields)};
  site.url_bytes = from.limits_url_bytes.value_or(all.limits_url_bytes);
  site.query_bytes = from.limits_query_bytes.value_or(all.limits_query_bytes);
  site.body_bytes = from.limits_body_bytes.value_or(all.limits_body_bytes);
  site.segment_bytes = from.limits_segment_bytes.value_or(all.limits_segment_bytes);
  site.segments = from.limits_segments.value_or(all.limits_segments);
  site.ranges = from.limits_ranges.value_or(all.limits_ranges);
  site.patience = {.idle = from.limits_idle_timeout.value_or(all.limits_idle_timeout),
                   .body = from.limits_body_timeout.value_or(all.limits_body_timeout),
                   .send_rate_min = from.limits_send_rate_min.value_or(all.limits_send_rate_min)};
  site.purge_from = from.purge_from;
  site.client_rules = client_rules_id(from);
  looks_at_clients_ = looks_at_clients_ || site.client_rules != 0;
  const auto has_filters = [&from](const RouteSettings& route) {
    return !route.filters.value_or(from.filters).empty();
  };
  site.filtered = !from.filters.empty() || std::ranges::any_of(from.routes, has_filters);
  looks_before_cache_ = looks_before_cache_ || site.client_rules != 0 || site.filtered;
  site.client_required = from.tls_client == ClientCertificateSetting::REQUIRE;
  site.error_details = from.error_details;
  for (const NamedValue& page : from.error_pages) {
    std::string status = page.name;  // "404_3" in the config, where a dot would end the key
    std::replace(status.begin(), status.end(), '_', '.');
    site.error_pages.emplace(std::move(status), page.value);
  }

  Route base;
  base.site = &site;
  base.prefix = "/";
  base.root = from.root;
  base.root_index = root_index(from.root);
  base.index = from.index;
  base.listing = from.listing;
  base.symlinks = from.symlinks;
  base.dotfiles_allowed = from.dotfiles == DotfileSetting::ALLOW;
  base.precompressed = from.precompressed;
  base.compress = from.compress;
  base.unknown_type = from.unknown_type;
  base.default_type = from.default_type;
  base.charset = from.charset;
  base.filters = from.filters;
  set_methods(base, from.methods);
  base.stale_while_revalidate = from.stale_while_revalidate;
  const std::string hsts = hsts_line(from);
  base.header_block = header_block(from.headers, {}, from.cache_control);
  base.header_block_tls = hsts + base.header_block;
  site.by_prefix.emplace("", &add_route(site, base));

  for (const RouteSettings& over : from.routes) {
    auto route = std::make_unique<Route>(base);
    route->name = over.name;
    route->prefix = over.prefix;
    while (route->prefix.size() > 1 && route->prefix.back() == '/') route->prefix.pop_back();
    route->handler = over.handler;
    route->filters = over.filters.value_or(from.filters);
    route->collapse = over.collapse;
    route->stale_while_revalidate = over.stale_while_revalidate.value_or(from.stale_while_revalidate);
    route->stale_if_error = over.stale_if_error;
    route->cache_vary = over.cache_vary;
    if (!over.root.empty()) {
      route->root = over.root;
      route->root_index = root_index(over.root);
      route->strips_prefix = true;
    }
    route->to = over.to;
    route->status = static_cast<uint16_t>(over.status);
    route->pool = over.pool;
    if (const auto pool = interpreting_.find(over.pool); pool != interpreting_.end()) {
      for (const NamedValue& interpreter : pool->second->interpreters) route->scripts.push_back(interpreter.name);
    }
    route->index = over.index.value_or(base.index);
    route->listing = over.listing.value_or(base.listing);
    route->symlinks = over.symlinks.value_or(base.symlinks);
    if (over.dotfiles) route->dotfiles_allowed = *over.dotfiles == DotfileSetting::ALLOW;
    route->precompressed = over.precompressed.value_or(base.precompressed);
    route->compress = over.compress.value_or(base.compress);
    route->unknown_type = over.unknown_type.value_or(base.unknown_type);
    // An application knows its methods and how long its answers keep; the site's word is about files.
    const bool dynamic = over.handler == HandlerSetting::POOL;
    if (over.methods || dynamic) set_methods(*route, over.methods.value_or(APPLICATION_METHODS));
    const std::string& site_cache_control = dynamic ? std::string() : from.cache_control;
    route->header_block = header_block(from.headers, over.headers, over.cache_control.value_or(site_cache_control));
    route->header_block_tls = hsts + route->header_block;
    const std::string key = route->prefix == "/" ? "" : route->prefix;
    site.by_prefix.insert_or_assign(key, &add_route(site, *route));
  }

  for (const std::string& host : from.hosts) {
    if (host == "*") {
      any_ = &site;
    } else if (host.starts_with("*.")) {
      wildcard_.emplace(host.substr(1), &site);
    } else {
      exact_.add(host, site);
    }
  }
}

const Site* RouteTable::find_site(std::string_view host) const {
  if (const Site* found = exact_.find(host)) return found;
  // The longest wildcard first: cut one label after the other off the front.
  for (size_t dot = host.find('.'); dot != std::string_view::npos; dot = host.find('.', dot + 1)) {
    if (const auto found = wildcard_.find(host.substr(dot)); found != wildcard_.end()) return found->second;
  }
  return any_ != nullptr ? any_ : default_;
}

const Site* RouteTable::find_site_by_name(std::string_view name) const {
  for (const auto& site : sites_) {
    if (site->name == name) return site.get();
  }
  return nullptr;
}

const Route& RouteTable::find_route(const Site& site, std::string_view path) {
  // Every prefix of the path that ends before a '/', the longest first; "" is the site itself.
  size_t end = path.size();
  while (end > 0 && path[end - 1] == '/') --end;
  while (true) {
    if (site.routes.size() > 1 || end == 0) {
      const auto found = site.by_prefix.find(path.substr(0, end));
      if (found != site.by_prefix.end()) return *found->second;
    }
    if (end == 0) break;
    const size_t slash = site.routes.size() > 1 ? path.rfind('/', end - 1) : 0;
    end = slash == std::string_view::npos ? 0 : slash;
  }
  ASSERT(false);  // "" is in every by_prefix
  __builtin_unreachable();
}

bool RouteTable::has_handler(const Route& route, std::string_view path) {
  if (route.scripts.empty()) return true;
  std::string_view rest = path.substr(route.prefix == "/" ? 0 : route.prefix.size());
  while (!rest.empty()) {
    const std::string_view segment = rest.substr(0, rest.find('/'));
    rest.remove_prefix(std::min(rest.size(), segment.size() + 1));
    const size_t dot = segment.rfind('.');
    if (dot == std::string_view::npos) continue;
    if (std::ranges::find(route.scripts, segment.substr(dot + 1)) != route.scripts.end()) return true;
  }
  return false;
}

std::string_view RouteTable::path_below_root(const Route& route, std::string_view path) {
  if (route.strips_prefix && route.prefix != "/") path.remove_prefix(route.prefix.size());
  while (!path.empty() && path.front() == '/') path.remove_prefix(1);
  return path;
}

bool RouteTable::allows(const Route& route, Method method, std::string_view method_text) {
  if (method != Method::OTHER) return (route.methods & method_bit(method)) != 0;
  return std::find(route.other_methods.begin(), route.other_methods.end(), method_text) != route.other_methods.end();
}

}  // namespace penstock
