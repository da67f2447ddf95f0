#include "src/server/pools/answer_policy.h"
#include "src/server/pools/pool_bridge.h"
#include "src/server/steps/steps.h"

namespace penstock {

std::vector<std::string> names_of_marker(const Entry& marker) {
  std::vector<std::string> names;
  for (std::string_view rest = marker.notes(); !rest.empty();) {
    const size_t comma = rest.find(", ");
    names.emplace_back(rest.substr(0, comma));
    rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 2);
  }
  return names;
}

bool lookup_kept(Core& core, Exchange& ex) {
  if (ex.verdict != Verdict::EXPIRED) return false;
  CacheTable& cache = core.shared.cache;
  const uint64_t generation = ex.config->serving_generation;
  const Entry* kept = cache.lookup_kept(ex.cache_key(), ex.key_hash, generation, core.now);
  if (kept != nullptr && kept->is_marker()) {
    ex.cold_used = true;
    ex.cache_target = vary_target(ex.head.target, names_of_marker(*kept), ex.head);
    ex.key_hash = hash_key(ex.cache_key(), cache.hash_seed());
    ex.entry = cache.lookup(core.index, ex.cache_key(), ex.key_hash, generation, core.now, ex.verdict);
    if (ex.entry != nullptr) return true;
    kept = cache.lookup_kept(ex.cache_key(), ex.key_hash, generation, core.now);
  }
  if (kept == nullptr || core.now >= kept->stale_until()) return false;
  ex.entry = kept;
  ex.verdict = Verdict::HIT_STALE;
  core.counters.cache_stale.add();
  if (kept->validity().cell != 0) {
    refresh_file(core, ex);
  } else {
    core.pools->refresh(ex);
  }
  return true;
}

StepResult lookup_step(Core& core, Exchange& ex) {
  if (!ex.secure && !core.config->https_redirects.empty()) {
    if (const StepResult result = https_step(core, ex); result != StepResult::NEXT) return result;
  }
  // Anything unusual walks the full table; fill_step() asks the cache again once the route has said yes.
  if (!ex.head.plain) return StepResult::NEXT;
  if (core.config->routes.looks_before_cache() && is_looked_at_first(core, ex)) return StepResult::NEXT;
  // The cache does not know whose limits hold for this host.
  if (head_beyond(ex, core.config->routes.narrowest_heads()) != Reason::NONE) return StepResult::NEXT;
  ex.looked_up = true;
  const KeyView key{.secure = ex.secure, .host = ex.head.authority, .target = ex.head.target};
  ex.key_hash = hash_key(key, core.shared.cache.hash_seed());
  ex.entry =
      core.shared.cache.lookup(core.index, key, ex.key_hash, core.config->serving_generation, core.now, ex.verdict);
  if (ex.entry == nullptr && !lookup_kept(core, ex)) {
    core.counters.cache_misses.add();
    return StepResult::NEXT;
  }
  core.counters.cache_hits.add();
  ex.reason = Reason::OK;
  return StepResult::DELIVER;
}

}  // namespace penstock
