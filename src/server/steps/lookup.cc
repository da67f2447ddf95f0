#include "src/server/steps/steps.h"

namespace penstock {

StepResult lookup_step(Core& core, Exchange& ex) {
  // Anything unusual walks the full table; fill_step() asks the cache again once the route has said yes.
  if (!ex.head.plain) return StepResult::NEXT;
  ex.looked_up = true;
  const KeyView key{.secure = false, .host = ex.head.authority, .target = ex.head.target};
  ex.key_hash = hash_key(key, core.shared.cache.hash_seed());
  ex.entry =
      core.shared.cache.lookup(core.index, key, ex.key_hash, core.config->serving_generation, core.now, ex.verdict);
  if (ex.entry == nullptr) {
    core.counters.cache_misses.add();
    return StepResult::NEXT;
  }
  core.counters.cache_hits.add();
  ex.reason = Reason::OK;
  return StepResult::DELIVER;
}

}  // namespace penstock
