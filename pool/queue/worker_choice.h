// Which worker of a pool takes the next request, and what becomes of one whose worker was lost. Pure: no clock, no
// state but what is passed in.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace penstock {

// A worker as one reactor sees it.
struct WorkerLoad {
  uint64_t number = 0;    // of the process, never used twice
  uint32_t inside = 0;    // requests that it has, of all reactors
  uint32_t capacity = 0;  // requests that it may have
  bool takes = false;     // ready, and neither recycled nor stopped nor out of the pool
};

enum class WorkerPolicy : uint8_t {
  ROUND_ROBIN,   // one after the other
  LEAST_LOADED,  // the one with the smallest part of its capacity in use; of equals, one after the other
  STICKY,        // the one that `sticky` names while it takes requests at all, waiting for it; else as LEAST_LOADED
};

struct WorkerWanted {
  WorkerPolicy policy = WorkerPolicy::LEAST_LOADED;
  uint32_t after = 0;   // the place chosen last: whose turn it is follows from it
  uint64_t sticky = 0;  // number of the worker that the client's cookie names; 0: none
};

// The place in `workers` of the one to take it; nothing: none has room now, and the request waits.
[[nodiscard]] std::optional<uint32_t> choose_worker(std::span<const WorkerLoad> workers, const WorkerWanted& wanted);

// What a request was when its worker was lost.
struct LostRequest {
  bool idempotent = false;    // RFC 9110 section 9.2.2
  bool body_kept = true;      // all of its body that was sent to the worker can be sent again
  bool answer_begun = false;  // a byte of an answer has gone to the client
  bool harmful = false;       // the worker was ended for what it tried: this may be the request that made it
  uint32_t tries = 1;         // workers that had it
};
enum class LostAnswer : uint8_t {
  AGAIN,        // on another worker, once
  BAD_GATEWAY,  // 502
  CUT,          // the connection is reset: what was promised cannot be kept
};
[[nodiscard]] LostAnswer answer_lost(const LostRequest& request);

}  // namespace penstock
