#include "src/server/compress_desk.h"

#include "src/http/accept_encoding.h"
#include "src/server/core.h"
#include "src/server/entry_maker.h"
#include "src/server/head_edit.h"

#include <algorithm>
#include <limits>

namespace penstock {
namespace {

constexpr size_t JOBS_MAX = 64;  // under way at once, of this reactor

// `"1f2-17f3c"` and BR become `"1f2-17f3c-br"`.
std::string coded_etag(std::string_view etag, Coding coding) {
  std::string out(etag.substr(0, etag.size() - 1));
  return out.append("-").append(coding_name(coding)).append("\"");
}

}  // namespace

CompressDesk::~CompressDesk() {
  for (Job& job : under_way_) {
    job.entry->unpin();
    for (CompressResult& result : job.done) {
      if (result.body != nullptr) result.body->unpin();
    }
  }
}

void CompressDesk::hit(Core& core, const Entry& entry) {
  Tally& tally = tallies_[entry.hash() % tallies_.size()];
  if (tally.hash != entry.hash()) tally = {.hash = entry.hash(), .hits = 0};
  if (tally.hits == std::numeric_limits<uint32_t>::max()) return;  // handed in already
  if (++tally.hits < core.config->settings.compress_hits) return;
  tally.hits = submit(core, entry) ? std::numeric_limits<uint32_t>::max() : 0;
}

bool CompressDesk::submit(Core& core, const Entry& entry) {
  if (under_way_.size() >= JOBS_MAX) return false;
  const Variant* identity = entry.variant(Coding::IDENTITY);
  if (identity == nullptr) return false;
  Job job{.token = ++tokens_, .entry = &entry};
  for (const Coding coding : core.config->settings.compress_codings) {
    const CompressJob order{.identity = identity->body,
                            .coding = coding,
                            .validity = entry.validity(),
                            .reactor = core.index,
                            .token = job.token};
    if (core.shared.compress.submit(order)) ++job.waiting;
  }
  if (job.waiting == 0) return false;
  entry.pin();
  under_way_.push_back(std::move(job));
  return true;
}

void CompressDesk::results(Core& core) {
  std::array<CompressResult, 16> taken;
  while (const size_t count = core.shared.compress.results(core.index, taken)) {
    for (size_t i = 0; i < count; ++i) {
      const auto job = std::find_if(under_way_.begin(), under_way_.end(),
                                    [&](const Job& known) { return known.token == taken[i].token; });
      ASSERT(job != under_way_.end());
      if (taken[i].outcome == CompressOutcome::DONE) job->done.push_back(taken[i]);
      if (--job->waiting > 0) continue;
      publish(core, *job);
      for (CompressResult& result : job->done) result.body->unpin();
      job->entry->unpin();
      under_way_.erase(job);
    }
  }
}

void CompressDesk::publish(Core& core, Job& job) {
  const Entry& old = *job.entry;
  const Variant& identity = *old.variant(Coding::IDENTITY);
  EntryBuilder builder = EntryBuilder::from(old);
  builder.owner_flags = old.owner_flags() & ~static_cast<uint32_t>(ENTRY_WANTS_COMPRESSION);
  std::array<std::string, CODINGS> heads;
  std::array<std::string, CODINGS> heads_304;
  std::array<std::string, CODINGS> etags;
  for (size_t i = 0; i < job.done.size(); ++i) {
    const CompressResult& result = job.done[i];
    etags[i] = coded_etag(identity.etag(), result.coding);
    heads[i] = make_variant_head(identity.head(), result.coding, result.body->size(), etags[i]);
    HeadEdit edit;
    edit.replace.push_back({"ETag", etags[i]});
    heads_304[i] = edit_head(identity.head_304(), edit);
    if (!builder.add({.coding = result.coding,
                      .head = heads[i],
                      .date_offset = identity.date_offset,
                      .head_304 = heads_304[i],
                      .date_offset_304 = identity.date_offset_304,
                      .etag = etags[i],
                      .body = result.body})) {
      return;
    }
  }
  Entry* entry = builder.build(core.shared.ledger);
  if (entry == nullptr) return;                            // no memory: it stays as it is
  (void)core.shared.cache.replace(&old, entry, core.now);  // GONE or STALE: nothing is lost but the work
  entry->unpin();
}

}  // namespace penstock
