// AnswerPolicy: whether the response cache may keep an application's answer, for how long, for whom, and by what names
// it is purged.
//
// Said by the worker (a lifetime with its head; from version 2 of the rings a whole policy), or else by the answer's
// own fields, read as a shared cache must: RFC 9111 sections 3, 3.5, 4.1, 4.2 and 5.2.2, RFC 5861. Only explicit
// lifetimes count. Pure and cold: it allocates; an answer that may not be kept costs a look at its fields.
#pragma once

#include "cache/verdict.h"
#include "pool/ring/server_link.h"
#include "src/base/time.h"
#include "src/http/request_head.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

// The field by which an answer without the SDK names its tags, separated by commas. Never sent on to clients.
inline constexpr std::string_view CACHE_TAG_FIELD = "Cache-Tag";

// What the route says where the answer does not.
struct PolicyDefaults {
  Duration stale_while_revalidate;
  Duration stale_if_error;
  std::span<const std::string> vary = {};  // request fields, in lower case, that Vary may name besides the usual ones
};

struct AnswerSays {
  uint16_t status = 200;
  std::span<const LinkField> fields;
  uint32_t ttl_ms = 0;                 // the worker's word; 0: none
  const LinkPolicy* policy = nullptr;  // of the worker
};

struct AnswerPolicy {
  bool keep = false;
  Verdict why = Verdict::NO_LIFETIME;  // where it is not kept
  Duration lifetime;                   // left of it now
  Duration age;                        // at the moment it came: of an answer that the application had from elsewhere
  Duration stale_while_revalidate;     // both count from the end of the lifetime
  Duration stale_if_error;
  std::vector<std::string> vary;  // request fields that select it: lower case, sorted, each once
  std::vector<std::string> tags;  // each once
};

[[nodiscard]] AnswerPolicy answer_policy(const RequestHead& head, const AnswerSays& says,
                                         const PolicyDefaults& defaults, int64_t unix_seconds);

// Whether the answer to such a request could be shared at all; `why` says why not. A GET without a body or anything
// else that makes it special, but for credentials: RFC 9111 section 3.5 allows those.
[[nodiscard]] bool may_be_shared(const RequestHead& head, Verdict& why);

// What of a request can make its answer one that is not for all, as a number: requests of one URL that differ in it
// neither wait for each other's answers nor learn from them. Else one client, with a field that keeps the answer from
// being shared, would have all others call for themselves.
[[nodiscard]] uint64_t crowd_of(const RequestHead& head);

// The target of the key under which the answer for this request's values of `names` lies: no request's own target can
// be the same. `names`: in lower case, sorted. Values are normalised where that cannot change their meaning.
[[nodiscard]] std::string vary_target(std::string_view target, std::span<const std::string> names,
                                      const RequestHead& head);

}  // namespace penstock
