#include "src/roles/server_queries.h"

#include "pool/ring/cache_names.h"
#include "src/admin/json.h"
#include "src/server/pools/answer_copy.h"
#include "src/server/process.h"

#include <algorithm>

namespace penstock {
namespace {

constexpr uint64_t TOP_MAX = 1000;

std::string error(std::string_view why) { return json_line({{"ok", false}, {"error", why}}); }

// A path alone is asked of this host: what a curl on the machine itself would send.
std::string default_host(const ServerProcess& process) {
  for (const ListenAddress& address : process.config().settings.server_listen) {
    if (address.kind == ListenAddress::Kind::IPV4) return "127.0.0.1:" + std::to_string(address.port);
    if (address.kind == ListenAddress::Kind::IPV6) return "[::1]:" + std::to_string(address.port);
  }
  return "localhost";
}

Json stats(ServerProcess& process) {
  const CacheStats stats = process.cache().stats();
  Json verdicts = Json::object();
  for (size_t i = 0; i < VERDICT_COUNT; ++i) {
    if (stats.lookups[i] > 0) verdicts[std::string(verdict_code(static_cast<Verdict>(i)))] = stats.lookups[i];
  }
  Json sites = Json::array();
  for (const auto& [name, use] : process.cache_use_by_site()) {
    sites.push_back({{"site", name}, {"entries", use.entries}, {"bytes", use.bytes}, {"hits", use.hits}});
  }
  return {{"ok", true},
          {"sites", std::move(sites)},
          {"entries", stats.entries},
          {"bytes_max", stats.bytes_max},
          {"bytes_cached", stats.bytes_cached},
          {"bytes_index", stats.bytes_index},
          {"bytes_transient", stats.bytes_transient},
          {"hits", stats.hits()},
          {"misses", stats.misses()},
          {"inserted", stats.inserted},
          {"replaced", stats.replaced},
          {"evicted", stats.evicted},
          {"purged", stats.purged},
          {"scavenged", stats.scavenged},
          {"stale_removed", stats.stale_removed},
          {"refused", stats.refused},
          {"purges", stats.purges},
          {"lookups", std::move(verdicts)}};
}

Json top(ServerProcess& process, const Json& query) {
  const auto count = static_cast<uint32_t>(std::min(json_number(query, "n", 20), TOP_MAX));
  Json rows = Json::array();
  for (const CacheTopRow& row : process.cache().top(count)) {
    rows.push_back({{"url", row.canonical},
                    {"hits", row.hits},
                    {"bytes", row.bytes},
                    {"status", row.status},
                    {"variants", row.variants}});
  }
  return {{"ok", true}, {"top", std::move(rows)}};
}

Json why(ServerProcess& process, const Json& query) {
  const ServerProcess::UrlWhy why = process.why(json_text(query, "url"), default_host(process));
  if (why.refused != Reason::NONE) {
    const ReasonInfo& info = reason_info(why.refused);
    return {{"ok", true},
            {"verdict", verdict_code(why.refused == Reason::SITE_UNKNOWN ? Verdict::NO_SITE : Verdict::BAD_REQUEST)},
            {"sentence", info.text},
            {"status", info.status},
            {"sub_status", info.sub_status}};
  }
  return {{"ok", true},
          {"url", why.canonical},
          {"verdict", verdict_code(why.cache.verdict)},
          {"sentence", verdict_sentence(why.cache.verdict)},
          {"bytes", why.cache.bytes},
          {"hits", why.cache.hits},
          {"age_ms", why.cache.age.ms()},
          {"codings", why.cache.codings},
          {"fresh_ms", why.cache.fresh_for.ms()},
          {"stale_while_revalidate_ms", why.cache.stale_for.ms()},
          {"stale_if_error_ms", why.cache.error_for.ms()},
          {why.cache.verdict == Verdict::VARIES ? "vary" : "tags", why.cache.notes},
          {"variants", why.cache.variants},
          {"misses_in_window", why.seen_lately},
          {"other_spellings", why.other_spellings},
          {"admit_hits", process.config().settings.cache_admit_hits}};
}

// "all", "tag:NAME", a prefix ending in '*', or one URL. Answers when the entries have been counted; what was purged
// answered nothing from before that on.
std::string purge(ServerProcess& process, const Json& query) {
  std::string what = json_text(query, "what");
  const PurgeMode mode = json_flag(query, "soft") ? PurgeMode::SOFT : PurgeMode::HARD;
  if (what.empty()) return error("name a URL, a prefix ending in *, tag:NAME, or all");
  const auto say = [&](const std::string& name, uint64_t entries) {
    return json_line({{"ok", true}, {"purged", name}, {"soft", mode == PurgeMode::SOFT}, {"entries", entries}});
  };
  if (what == "all") return say(what, process.purge(PurgeKind::ALL, {}, mode));
  if (constexpr std::string_view TAG = "tag:"; what.starts_with(TAG)) {
    const std::string_view tag = std::string_view(what).substr(TAG.size());
    if (!is_cache_tag(tag)) return error("a tag is 1 to 128 visible characters without a comma");
    CacheTable& cache = process.cache();
    return say(what, cache.purge_label(tag_label(tag, cache.hash_seed()), mode, process.now()));
  }
  const bool prefix = what.back() == '*';
  if (prefix) what.pop_back();
  const std::string name = process.canonical_name(what, default_host(process));
  if (name.empty()) return error("no site of this server has the URL " + what);
  return say(prefix ? name + "*" : name, process.purge(prefix ? PurgeKind::PREFIX : PurgeKind::URL, name, mode));
}

}  // namespace

std::string answer_query(ServerProcess& process, std::string_view text) {
  const std::optional<Json> query = parse_json(text);
  if (!query) return error("the question is not JSON");
  const std::string command = json_text(*query, "cmd");
  if (command == "cache.stats") return json_line(stats(process));
  if (command == "cache.top") return json_line(top(process, *query));
  if (command == "cache.why") return json_line(why(process, *query));
  if (command == "cache.purge") return purge(process, *query);
  if (command == "pool.heard") return json_line({{"ok", true}});  // and all that was said before it
  return error("unknown question " + command);
}

}  // namespace penstock
