#include "src/server/snapshot.h"

#include "src/base/hash.h"

#include <algorithm>
#include <fcntl.h>
#include <fmt/format.h>

namespace penstock {
namespace {

ServerHeaderMode header_mode(ServerHeaderSetting setting) {
  switch (setting) {
    case ServerHeaderSetting::FULL:
      return ServerHeaderMode::FULL;
    case ServerHeaderSetting::PRODUCT:
      return ServerHeaderMode::PRODUCT;
    case ServerHeaderSetting::NONE:
      return ServerHeaderMode::NONE;
  }
  return ServerHeaderMode::NONE;
}

SymlinkPolicy symlink_policy(SymlinkSetting setting) {
  switch (setting) {
    case SymlinkSetting::NONE:
      return SymlinkPolicy::NONE;
    case SymlinkSetting::OWNER:
      return SymlinkPolicy::OWNER;
    case SymlinkSetting::ALL:
      return SymlinkPolicy::ALL;
  }
  return SymlinkPolicy::NONE;
}

uint32_t clamp32(uint64_t value) { return static_cast<uint32_t>(std::min<uint64_t>(value, UINT32_MAX)); }

// The parser refuses what no site would take; sites with tighter limits of their own refuse later.
ParseLimits limits_of_heads(const Settings& settings) {
  uint64_t field = settings.limits_field_bytes;
  uint64_t fields = settings.limits_fields;
  uint64_t url = settings.limits_url_bytes;
  uint64_t query = settings.limits_query_bytes;
  for (const SiteSettings& site : settings.sites) {
    field = std::max(field, site.limits_field_bytes.value_or(0));
    fields = std::max<uint64_t>(fields, site.limits_fields.value_or(0));
    url = std::max(url, site.limits_url_bytes.value_or(0));
    query = std::max(query, site.limits_query_bytes.value_or(0));
  }
  return {.head_bytes = clamp32(settings.longest_head()),
          .field_bytes = clamp32(field),
          .url_bytes = clamp32(url),
          .query_bytes = clamp32(query),
          .fields = clamp32(fields),
          .verb_bytes = settings.limits_verb_bytes};
}

DecodeRules rules_of_paths(const Settings& settings) {
  DecodeRules rules;
  rules.non_utf8 = settings.decode_non_utf8;
  rules.legacy = settings.decode_legacy_charset == LegacyCharsetSetting::LATIN ? &ISO_8859_1 : &WINDOWS_1252;
  rules.percent_u = settings.decode_percent_u;
  rules.restricted_chars = settings.decode_restricted_chars;
  rules.double_escape = settings.decode_double_escape;
  rules.segment_bytes = settings.limits_segment_bytes;
  rules.segments = settings.limits_segments;
  return rules;
}

std::string make_refusal(ServerHeaderMode mode) {
  const std::string_view server = server_header_value(mode);
  constexpr std::string_view BODY = "Too many connections.\n";
  std::string text = "HTTP/1.1 503 Service Unavailable\r\n";
  if (!server.empty()) text.append("Server: ").append(server).append("\r\n");
  text += fmt::format("Content-Type: text/plain\r\nContent-Length: {}\r\nRetry-After: 1\r\nConnection: close\r\n\r\n{}",
                      BODY.size(), BODY);
  return text;
}

const MimeTable& mime_table(Snapshot& snapshot, const std::string& default_type, const std::string& charset,
                            const MimeTypes& types) {
  const auto known = snapshot.mime_tables.find({default_type, charset});
  if (known != snapshot.mime_tables.end()) return known->second;
  std::vector<MimeOverride> overrides;
  for (const NamedValue& mime : snapshot.settings.mime) {
    overrides.push_back({.extension = mime.name, .type = mime.value});
  }
  return snapshot.mime_tables.try_emplace(std::pair(default_type, charset), types, overrides, default_type, charset)
      .first->second;
}

Snapshot::Serving make_serving(Snapshot& snapshot, const Route& route, const MimeTypes& types) {
  const Settings& settings = snapshot.settings;
  Snapshot::Serving serving;
  const bool denies_unknown = route.unknown_type == UnknownTypeSetting::DENY;
  LoadPolicy& policy = serving.html;
  policy.index_names = route.index;
  if (policy.index_names.size() > INDEX_NAMES_MAX) policy.index_names.resize(INDEX_NAMES_MAX);
  policy.listing = route.listing;
  policy.decode = snapshot.decode_rules;
  policy.decode.segment_bytes = route.site->segment_bytes;
  policy.symlinks = symlink_policy(route.symlinks);
  policy.dotfiles = route.dotfiles_allowed;
  policy.precompressed = route.precompressed ? ACCEPT_GZIP | ACCEPT_BR | ACCEPT_ZSTD : 0;
  policy.unknown_type = denies_unknown ? UnknownTypePolicy::DENY : UnknownTypePolicy::OCTET_STREAM;
  policy.mime = &mime_table(snapshot, denies_unknown ? "" : route.default_type, route.charset, types);
  policy.entry_bytes_max = settings.cache_entry_max;
  policy.sendfile_bytes_min = settings.cache_sendfile_min;
  policy.settle = settings.cache_settle;
  policy.write_hold = settings.cache_write_hold;
  serving.json = policy;
  serving.json.listing_format = ListingFormat::JSON;
  return serving;
}

}  // namespace

Snapshot::Snapshot(const Tree& tree, uint32_t reactors, const MimeTypes& types)
    : settings(tree.settings()),
      routes(settings),
      generation(tree.generation()),
      head_limits(limits_of_heads(settings)),
      decode_rules(rules_of_paths(settings)),
      patience{.idle = settings.limits_idle_timeout,
               .body = settings.limits_body_timeout,
               .send_rate_min = settings.limits_send_rate_min},
      server_header(header_mode(settings.server_header)),
      https_redirects(make_https_redirects(settings, routes, server_header)),
      refusal(make_refusal(server_header)),
      pins(reactors) {
  for (const Route* route : routes.routes()) serving.push_back(make_serving(*this, *route, types));
}

std::vector<std::string> open_roots(Snapshot& snapshot) {
  std::vector<std::string> complaints;
  for (const std::string& root : snapshot.routes.roots()) {
    // "" is the root of a site that only redirects.
    UniqueFd fd(root.empty() ? -1 : ::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!fd.valid() && !root.empty()) complaints.push_back(fail_errno("cannot serve " + root).error().message);
    snapshot.root_fds.push_back(std::move(fd));
  }
  for (const Route* route : snapshot.routes.routes()) {
    snapshot.serving[route->number].root = {.fd = snapshot.root_fds[route->root_index].get(),
                                            .path = snapshot.routes.roots()[route->root_index].c_str()};
  }
  return complaints;
}

uint64_t serving_fingerprint(const Tree& tree) {
  // The keys below these change what is answered, not only how fast or to whom.
  constexpr std::string_view TUNING[] = {"limits.", "cache.",    "log.",    "logfile.", "send.",
                                         "pool.",   "identity.", "server.", "tls."};
  constexpr std::string_view ANSWERS[] = {"limits.url_bytes", "limits.query_bytes",  "limits.segment",
                                          "server.header",    "server.default_site", "cache.entry_max"};
  uint64_t hash = 0;
  for (const auto& [key, value] : tree.entries()) {
    const auto begins = [&name = key](std::string_view prefix) { return name.starts_with(prefix); };
    if (std::any_of(std::begin(TUNING), std::end(TUNING), begins) &&
        std::none_of(std::begin(ANSWERS), std::end(ANSWERS), begins)) {
      continue;
    }
    if (begins("site.") && key.substr(std::min(key.find('.', 5), key.size())).starts_with(".tls.")) continue;
    // No kept answer depends on who may purge it, how much of it is sent, and how patiently.
    constexpr std::string_view NOT_OF_THE_ANSWER[] = {
        ".purge_from",         ".limits.ranges", ".limits.idle_timeout", ".limits.head_bytes",
        ".limits.field_bytes", ".limits.fields", ".limits.body_timeout", ".limits.send_rate_min"};
    if (std::ranges::any_of(NOT_OF_THE_ANSWER, [&name = key](auto end) { return name.ends_with(end); })) continue;
    hash = hash_bytes(value, hash_bytes(key, hash));
  }
  return hash;
}

void SnapshotStore::publish(std::unique_ptr<Snapshot> next) {
  const Snapshot* raw = next.get();
  all_.push_back(std::move(next));
  current_.store(raw, std::memory_order_release);
}

bool SnapshotStore::adopted_by_all() const {
  return std::all_of(seen_.begin(), seen_.end(),
                     [this](const Seen& seen) { return seen.snapshot.load(std::memory_order_acquire) == current(); });
}

size_t SnapshotStore::collect() {
  const Snapshot* newest = current();
  const auto unused = [&](const std::unique_ptr<Snapshot>& snapshot) {
    if (snapshot.get() == newest) return false;
    for (const Seen& seen : seen_) {
      if (seen.snapshot.load(std::memory_order_acquire) == snapshot.get()) return false;
    }
    // A reactor pins only what it has adopted, so after it moved on its count can only fall.
    return std::all_of(snapshot->pins.begin(), snapshot->pins.end(),
                       [](const Snapshot::Pins& pins) { return pins.count.load(std::memory_order_acquire) == 0; });
  };
  std::erase_if(all_, unused);
  return all_.size() - 1;
}

}  // namespace penstock
