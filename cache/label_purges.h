// LabelPurges: when labels were purged last, so that a fill that began before does not get in after.
//
// The entries of a label are removed when it is purged (LabelIndex); what is under way cannot be. A fill takes mark()
// before its content is read; a purge since keeps it out. Of a fixed size: labels share places, so that a fill may be
// kept out for another's purge, and never gets in against its own. mark() from any thread; all else under the table's
// mutex.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace penstock {

class LabelPurges {
 public:
  static constexpr size_t PLACES = 4096;

  [[nodiscard]] uint64_t mark() const { return number_.load(std::memory_order_acquire); }
  void purge(uint64_t label) {
    const uint64_t number = number_.load(std::memory_order_relaxed) + 1;
    last_[label % PLACES] = number;
    number_.store(number, std::memory_order_release);
  }
  [[nodiscard]] bool purged_since(uint64_t label, uint64_t mark) const { return last_[label % PLACES] > mark; }

 private:
  std::atomic<uint64_t> number_{0};
  std::array<uint64_t, PLACES> last_{};
};

}  // namespace penstock
