// JournalSets: the journal memory of every server that may live at a time. Owned by the supervisor for its whole life.
//
// One server writes one set (a pair of memfds per reactor). While a server is replaced without a gap, the old one
// finishes its requests in its set and the new one writes the other; logd drains both. The supervisor maps all of it
// read-only: what is in flight, the counters, and what a crashed server left open.
#pragma once

#include "src/base/result.h"
#include "src/base/unique_fd.h"
#include "src/log/counters.h"
#include "src/log/journal_memory.h"
#include "src/log/journal_reader.h"

#include <cstdint>
#include <vector>

namespace penstock {

class JournalSets {
 public:
  static constexpr uint32_t SETS = 2;

  // `instance` is random, one per start of the supervisor.
  [[nodiscard]] static Result<JournalSets> create(uint32_t reactors, uint64_t instance, uint32_t slots_per_reactor);

  // For HELLO, each a descriptor of its own: the pairs of one set with data writable, or of all with ack writable.
  [[nodiscard]] Result<std::vector<UniqueFd>> fds_for_server(uint32_t set) const;
  [[nodiscard]] Result<std::vector<UniqueFd>> fds_for_logd() const;

  // Requests open in a set, or in all, by start.
  [[nodiscard]] std::vector<InFlightRequest> in_flight(uint32_t set) const;

  // Of these, what the worker process of that number has.
  [[nodiscard]] std::vector<InFlightRequest> in_flight_of(uint32_t set, uint64_t worker) const;

  // And what left it since then, as far as it is still known.
  [[nodiscard]] std::vector<InFlightRequest> inside_since(uint32_t set, uint64_t worker, MonoTime since) const;

  // The counters of a set by reactor. TOTALs go on over server processes; GAUGEs mean nothing without a live one.
  [[nodiscard]] std::vector<CounterValues> counters(uint32_t set) const;

  [[nodiscard]] JournalReader::RingStatus ring_status() const;  // summed over all rings
  [[nodiscard]] uint32_t reactors() const { return reactors_; }

 private:
  struct Member {
    JournalMemory memory;
    JournalMap map;
  };
  [[nodiscard]] const Member& member(uint32_t set, uint32_t reactor) const {
    return members_[set * reactors_ + reactor];
  }

  template <class Read>
  [[nodiscard]] std::vector<InFlightRequest> by_start(uint32_t set, Read read) const;

  uint32_t reactors_ = 0;
  std::vector<Member> members_;  // by set, then reactor
};

}  // namespace penstock
