// EpochDomain: when may memory that lock-free readers could still see be freed? (QSBR)
//
// A reader promises, between turns, that it holds nothing it was lent (quiescent). Memory that was
// unlinked at epoch e may be freed once every reader that is online has been quiescent at e or later.
// Readers pay one load and one store to their own line a turn, and nothing per lookup.
//
// Pairing: writers unlink, then advance() (a read-modify-write of epoch_, release). A reader's
// quiescent() loads epoch_ (acquire): what was unlinked before is not seen after. online() joins the
// same chain by a read-modify-write, so that it either sees the unlink or is seen by the scan.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

namespace penstock {

class EpochDomain {
 public:
  explicit EpochDomain(uint32_t readers) : readers_(readers), slots_(std::make_unique<Slot[]>(readers)) {}

  // Reader side; each reader calls with its own index, from its own thread. Born offline.
  // Nothing lent before the call is used after it.
  void quiescent(uint32_t reader) {
    slots_[reader].seen.store(epoch_.load(std::memory_order_acquire), std::memory_order_release);
  }
  // Before a wait that may be long: the reader holds nothing and will look at nothing until online().
  void offline(uint32_t reader) { slots_[reader].seen.store(OFFLINE, std::memory_order_release); }
  void online(uint32_t reader) {
    slots_[reader].seen.store(epoch_.load(std::memory_order_relaxed), std::memory_order_relaxed);
    epoch_.fetch_add(0, std::memory_order_acq_rel);
  }

  // Writer side. Everything unlinked before the call belongs to the epoch returned.
  [[nodiscard]] uint64_t advance() { return epoch_.fetch_add(1, std::memory_order_acq_rel) + 1; }
  // What was unlinked at this epoch or earlier may be freed.
  [[nodiscard]] uint64_t safe_epoch() const {
    uint64_t safe = UINT64_MAX;
    for (uint32_t i = 0; i < readers_; ++i) {
      const uint64_t seen = slots_[i].seen.load(std::memory_order_acquire);
      if (seen < safe) safe = seen;
    }
    return safe;
  }
  [[nodiscard]] uint32_t readers() const { return readers_; }

 private:
  static constexpr uint64_t OFFLINE = UINT64_MAX;
  struct alignas(64) Slot {
    std::atomic<uint64_t> seen{OFFLINE};
  };
  uint32_t readers_;
  std::unique_ptr<Slot[]> slots_;
  alignas(64) std::atomic<uint64_t> epoch_{1};
};

}  // namespace penstock
