// Creating and mapping the journal's shared memory (layout: journal_abi.h).
//
// The supervisor creates one JournalMemory per reactor and keeps the descriptors for its whole life,
// so that both a replaced server and a replaced logd find every record. Roles get descriptors that
// permit what they need and no more: read_only() (base/shared_memory.h) makes the reader's kind. Where a list of
// descriptors is handed to a role, it is data 0, ack 0, data 1, ack 1 ... in order of reactors; the counters of a
// reactor lie inside its data memfd.
#pragma once

#include "src/base/assert.h"
#include "src/base/result.h"
#include "src/base/shared_memory.h"
#include "src/base/unique_fd.h"
#include "src/log/counters.h"
#include "src/log/journal_abi.h"

#include <cstdint>
#include <new>

namespace penstock {

inline constexpr uint32_t JOURNAL_SLOTS_MAX = 1U << 20;  // of one reactor

struct JournalGeometry {
  uint32_t reactor = 0;
  uint64_t instance = 0;
  uint32_t slot_count = 8192;         // requests in flight at most: 1 KiB each, touched when used
  uint64_t ring_bytes = 16ULL << 20;  // a power of two, RING_BYTES_MIN to 1 GiB; ~40,000 records
};

struct JournalMemory {
  UniqueFd data;  // the reactor writes
  UniqueFd ack;   // logd writes
};

// Two sealed memfds with the header in place, all else zero. Fails on a bad geometry and on what
// memfd_create, ftruncate and mmap refuse.
[[nodiscard]] Result<JournalMemory> create_journal_memory(const JournalGeometry& geometry);

// Who maps decides what is writable.
enum class JournalAccess {
  REACTOR,  // data read-write, ack read-only
  DRAIN,    // data read-only, ack read-write
  WATCH,    // both read-only: the supervisor
};

// One pair, mapped. Move-only. The descriptors may be closed after map().
class JournalMap {
 public:
  // Checks magic, version, geometry against the file sizes and seals, and the counters' fingerprint,
  // then keeps its own copy of the header: what the writer does to it later changes nothing.
  [[nodiscard]] static Result<JournalMap> map(int data_fd, int ack_fd, JournalAccess access);

  [[nodiscard]] const JournalHeader& header() const { return header_; }
  [[nodiscard]] ProducerPage& producer() const { return *at<ProducerPage>(PRODUCER_OFFSET); }
  // Of the reactor, which writes them; the supervisor reads.
  [[nodiscard]] Counters& counters() const { return *at<Counters>(COUNTERS_OFFSET); }
  [[nodiscard]] Slot& slot(uint32_t index) const {
    ASSERT(index < header_.slot_count);
    return at<Slot>(SLOTS_OFFSET)[index];
  }
  [[nodiscard]] unsigned char* ring() const { return data_.data() + header_.ring_offset; }
  [[nodiscard]] AckPage& ack() const { return *std::launder(reinterpret_cast<AckPage*>(ack_.data())); }

 private:
  JournalMap() = default;
  // The pages hold only lock-free atomics and plain integers, zero at first: objects of these types live
  // there from the mapping on.
  template <typename T>
  [[nodiscard]] T* at(uint64_t offset) const {
    return std::launder(reinterpret_cast<T*>(data_.data() + offset));
  }

  JournalHeader header_{};
  SharedMapping data_;
  SharedMapping ack_;
};

}  // namespace penstock
