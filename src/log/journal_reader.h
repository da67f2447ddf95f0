// JournalReader: what is in flight, seen from outside the server: `penstock requests`, and the report of
// what a crashed server had inside.
//
// Runs in the supervisor, on memory that the server writes and may have spoiled: each slot is copied
// once, the copy is checked (lengths, offsets, stage, addresses), only the copy is used. Never writes,
// never blocks, never fails: a slot that stays inconsistent is reported as such.
#pragma once

#include "src/base/time.h"
#include "src/log/journal_abi.h"
#include "src/log/journal_memory.h"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace penstock {

struct InFlightRequest {
  uint32_t reactor = 0;
  uint32_t slot = 0;
  uint64_t seq_start = 0;
  uint64_t connection = 0;
  uint32_t request_number = 0;
  uint32_t generation = 0;
  Stage stage = Stage::FREE;
  uint64_t worker = 0;     // number of the worker process that has it; 0: none
  uint64_t bytes_in = 0;   // of a request for an application, so far: head and body as it went there
  uint64_t bytes_out = 0;  // and as was written for the client
  bool left = false;       // it is not in flight: the worker that was asked about had it
  MonoTime begin;
  WallTime begin_wall;
  std::array<int64_t, MOMENT_COUNT> moments{};  // monotonic ns, 0 where not reached
  JournalAddress client;
  JournalAddress server;
  std::string method;  // empty until the head was parsed; raw bytes, not escaped
  std::string target;
  std::string host;
  std::string excerpt;  // the head's first bytes as they came; raw
  bool torn = false;    // the writer was in the middle of this slot and did not come back to it
};

class JournalReader {
 public:
  // REQUIRES: `map` outlives this.
  explicit JournalReader(const JournalMap& map) : map_(map) {}

  // One slot, or nothing where it is free.
  [[nodiscard]] std::optional<InFlightRequest> read(uint32_t index) const;
  // Every request in flight, in order of start.
  [[nodiscard]] std::vector<InFlightRequest> in_flight() const;
  // Of these, in no order, what the worker process of that number has: a look at every slot, a copy of few.
  [[nodiscard]] std::vector<InFlightRequest> in_flight_of(uint64_t worker) const;
  // The same, and of those that the worker has said its last word of since then what the memory still knows: a slot
  // that the next request has taken does not. For what is heard of late.
  [[nodiscard]] std::vector<InFlightRequest> inside_since(uint64_t worker, MonoTime since) const;
  // Numbers of the ring and its drain, for status.
  struct RingStatus {
    uint64_t finished = 0;  // records ever finished
    uint64_t dropped = 0;   // of these: in no log, for want of room
    uint64_t drained = 0;   // of these: in the log
    uint64_t bytes_waiting = 0;
    uint64_t ring_bytes = 0;
  };
  [[nodiscard]] RingStatus ring_status() const;

 private:
  [[nodiscard]] std::optional<InFlightRequest> read(uint32_t index, bool also_free) const;
  [[nodiscard]] uint32_t used() const;

  const JournalMap& map_;
};

// Printable ASCII of an address: "192.0.2.1", "2001:db8::1", "unix", "-".
[[nodiscard]] std::string address_text(const JournalAddress& address);

}  // namespace penstock
