// PassList: keys whose answers were of late none that can be shared: who wants one does not wait for another's.
//
// Of a fixed size and lossy: a key may be forgotten early, never remembered late. One owner, one thread.
#pragma once

#include "src/base/time.h"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace penstock {

class PassList {
 public:
  // `size`: a power of two.
  explicit PassList(size_t size) : places_(size) {}

  void note(uint64_t hash, MonoTime until) { at(hash) = {hash, until}; }
  void forget(uint64_t hash) {
    if (Place& place = at(hash); place.hash == hash) place.until = MonoTime{};
  }
  [[nodiscard]] bool has(uint64_t hash, MonoTime now) const {
    const Place& place = places_[hash & (places_.size() - 1)];
    return place.hash == hash && now < place.until;
  }

 private:
  struct Place {
    uint64_t hash = 0;
    MonoTime until;
  };
  [[nodiscard]] Place& at(uint64_t hash) { return places_[hash & (places_.size() - 1)]; }
  std::vector<Place> places_;
};

}  // namespace penstock
