// What ServerProcess says and does about a URL: behind `penstock cache why` and `cache purge`.

#include "src/http/host.h"
#include "src/server/process.h"
#include "src/server/process_parts.h"

#include <algorithm>
#include <array>

namespace penstock {
namespace {

struct UrlParts {
  std::string_view host;
  std::string_view target;  // path and query
  std::string_view path;
  bool secure = false;  // https
};

constexpr size_t SPELLINGS_LOOKED_AT = 1000;
constexpr size_t SPELLINGS_TOLD = 20;

std::string_view query_of(std::string_view target) {
  const size_t mark = target.find('?');
  return mark == std::string_view::npos ? std::string_view() : target.substr(mark);
}

// By a client, and not by us as the key of a variant: see vary_target().
bool is_written(std::string_view target) {
  return std::ranges::none_of(target, [](char c) { return static_cast<unsigned char>(c) <= ' '; });
}

UrlParts split_url(std::string_view url, std::string_view default_host) {
  UrlParts parts{.host = default_host, .target = url};
  if (const size_t scheme = url.find("://"); scheme != std::string_view::npos) {
    parts.secure = url.starts_with("https:");
    url.remove_prefix(scheme + 3);
    const size_t slash = url.find('/');
    parts.host = url.substr(0, slash);
    parts.target = slash == std::string_view::npos ? "/" : url.substr(slash);
  }
  parts.path = parts.target.substr(0, parts.target.find('?'));
  return parts;
}

// "host/path" as entries carry it (make_entry), or the reason why the path is refused.
Reason canonical(const Snapshot& config, const UrlParts& url, std::string& out) {
  std::array<char, HOST_NAME_BYTES_MAX> room;
  const HostName host = normalise_host(url.host, room);
  const Site* site = config.routes.find_site(host.name);
  if (site == nullptr) return Reason::SITE_UNKNOWN;
  DecodeRules rules = config.decode_rules;
  rules.segment_bytes = site->segment_bytes;
  rules.segments = site->segments;
  std::string path(canonical_bytes_max(url.path.size(), rules), '\0');
  const CanonicalPath result = canonicalise(url.path, rules, path);
  if (result.reason == Reason::NONE) out = origin_name(url.host, url.secure).append(result.path);
  return result.reason;
}

}  // namespace

ServerProcess::UrlWhy ServerProcess::why(std::string_view url, std::string_view default_host) {
  UrlWhy answer;
  const UrlParts parts = split_url(url, default_host);
  answer.refused = canonical(config(), parts, answer.canonical);
  const KeyView key{.secure = parts.secure, .host = parts.host, .target = parts.target};
  const uint64_t hash = hash_key(key, parts_->cache.hash_seed());
  answer.cache = parts_->cache.why(key, hash, config().serving_generation, now());
  answer.seen_lately = parts_->admission.peek(hash, now()).seen;
  if (answer.refused != Reason::NONE) return answer;
  for (const CacheSpelling& other : parts_->cache.spellings_of(answer.canonical, SPELLINGS_LOOKED_AT)) {
    if (answer.other_spellings.size() == SPELLINGS_TOLD) break;
    const bool itself = other.host == parts.host && other.target == parts.target;
    if (itself || query_of(other.target) != query_of(parts.target) || !is_written(other.target)) continue;
    answer.other_spellings.push_back((parts.secure ? "https://" : "http://") + other.host + other.target);
  }
  return answer;
}

std::map<std::string, CacheUse> ServerProcess::cache_use_by_site() {
  std::map<std::string, CacheUse> sites;
  for (const auto& [host, use] : parts_->cache.use_by_host()) {
    std::array<char, HOST_NAME_BYTES_MAX> room;
    const Site* site = config().routes.find_site(normalise_host(host, room).name);
    CacheUse& sum = sites[site == nullptr ? "-" : site->name];
    sum.entries += use.entries;
    sum.bytes += use.bytes;
    sum.hits += use.hits;
  }
  return sites;
}

uint64_t ServerProcess::purge(PurgeKind kind, std::string_view name, PurgeMode mode) {
  CacheTable& cache = parts_->cache;
  const uint64_t number = cache.purge(kind, name, mode, now());
  std::optional<uint64_t> fell;
  while (!(fell = cache.purge_fell(number))) (void)cache.maintain(now());
  return *fell;
}

std::string ServerProcess::canonical_name(std::string_view url, std::string_view default_host) {
  std::string name;
  (void)canonical(config(), split_url(url, default_host), name);
  return name;
}

}  // namespace penstock
