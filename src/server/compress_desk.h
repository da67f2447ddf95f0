// CompressDesk: which cached entries have earned compressed variants, and what becomes of them.
//
// One per reactor. hit() counts requests for entries that could be smaller; at compress.hits it hands
// the identity body to the CompressQueue, whose thread does the work. results() takes finished variants
// and puts a new Entry in the old one's place. No request ever waits for it.
#pragma once

#include "cache/entry.h"
#include "src/files/compress.h"

#include <array>
#include <cstdint>
#include <vector>

namespace penstock {

struct Core;

class CompressDesk {
 public:
  CompressDesk() = default;
  CompressDesk(const CompressDesk&) = delete;
  CompressDesk& operator=(const CompressDesk&) = delete;
  ~CompressDesk();

  // A request that accepts some coding met an entry that wants compression. A few loads and stores.
  void hit(Core& core, const Entry& entry);
  // Once a turn in which the queue woke the reactor.
  void results(Core& core);
  [[nodiscard]] bool idle() const { return under_way_.empty(); }

 private:
  // Hits of entries, by a few bits of their hash: a clash delays a variant, nothing more.
  struct Tally {
    uint64_t hash = 0;
    uint32_t hits = 0;
  };
  struct Job {
    uint64_t token = 0;
    const Entry* entry = nullptr;  // pinned
    uint32_t waiting = 0;          // results still to come
    std::vector<CompressResult> done;
  };

  // False: the queue is full; the count begins anew.
  [[nodiscard]] bool submit(Core& core, const Entry& entry);
  static void publish(Core& core, Job& job);

  std::array<Tally, 256> tallies_{};
  std::vector<Job> under_way_;
  uint64_t tokens_ = 0;
};

}  // namespace penstock
