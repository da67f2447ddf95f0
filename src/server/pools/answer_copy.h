// AnswerCopy: an application's answer on its way into the response cache, while its client is served from the ring.
//
// What may be kept, and how, is decided in answer_policy. Cold: it allocates.
#pragma once

#include "cache/body.h"
#include "cache/entry.h"
#include "src/http/response_head.h"
#include "src/server/exchange.h"
#include "src/server/pools/answer_policy.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

inline constexpr uint32_t VARIANTS_MAX = 64;  // of one URL; of more the oldest leave that nobody asked for again

// Labels (CacheTable::purge_label) of a tag, and of all entries of one URL by the hash of its own key.
[[nodiscard]] uint64_t tag_label(std::string_view tag, uint64_t seed);
[[nodiscard]] uint64_t url_label(uint64_t key_hash);

// "Vary: a, b\r\n" for names by the worker's policy that no field of the answer names; empty: there are none.
[[nodiscard]] std::string vary_line(const LinkPolicy* policy, std::span<const LinkField> fields);

class AnswerCopy {
 public:
  // `site_fields`: whole field lines that are added. `length`: of the body, if known. `bytes_max`: an answer that is
  // longer is not kept.
  AnswerCopy(AnswerPolicy policy, uint16_t status, std::span<const LinkField> fields, std::string_view site_fields,
             uint64_t length, uint64_t bytes_max);

  // The next piece of the body. False: too long, the copy is of no use.
  [[nodiscard]] bool add(std::string_view bytes);

  [[nodiscard]] const AnswerPolicy& policy() const { return policy_; }

  struct Made {
    KeyView key;         // of the request, as it came
    uint64_t hash = 0;   // of it
    uint64_t seed = 0;   // of hashes
    std::string target;  // of the key that the answer gets, where it varies; empty: as in `key`
    uint64_t generation = 0;
    uint64_t purge_mark = 0;
    uint64_t label_mark = 0;
    uint32_t site = 0;  // entry_site()
    std::string_view canonical;
    MonoTime now;
    int64_t unix_seconds = 0;
    ServerHeaderMode server = ServerHeaderMode::NONE;
  };
  // The whole answer as an entry, pinned once for the caller; nullptr: no memory, or a head that cannot be kept.
  [[nodiscard]] Entry* finish(const Made& made, BodyStore& bodies, MemoryLedger& ledger);
  // What lies under the URL's own key and leads to the variants, for as long as this one is of use, and `until` at
  // least. `names`: of the request fields that select. Pinned once; nullptr: no memory.
  [[nodiscard]] Entry* make_marker(const Made& made, std::span<const std::string> names, MonoTime until,
                                   MemoryLedger& ledger) const;
  // When the entry is of no use any more.
  [[nodiscard]] MonoTime kept_until(MonoTime now) const;

 private:
  [[nodiscard]] std::string make_head(uint16_t status, const Made& made, uint64_t length) const;

  struct Field {
    std::string name, value;
  };
  AnswerPolicy policy_;
  uint16_t status_;
  std::vector<Field> fields_;
  std::string site_fields_;
  std::string etag_;
  std::string content_type_;
  std::string body_;
  uint64_t bytes_max_;
};

}  // namespace penstock
