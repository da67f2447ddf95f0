// Prng: xoshiro256** (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021).
//
// Reproducible from its seed: the simulator, the tests and sampling use it. Never for secrets.
#pragma once

#include "src/base/hash.h"

#include <cstdint>

namespace penstock {

class Prng {
 public:
  explicit constexpr Prng(uint64_t seed) {
    for (uint64_t& word : state_) word = hash_word(seed += 0x9e3779b97f4a7c15ULL);
  }

  constexpr uint64_t next() {
    const uint64_t result = rotl(state_[1] * 5, 7) * 9;
    const uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = rotl(state_[3], 45);
    return result;
  }

  // Uniform in [0, bound). REQUIRES: bound > 0. (Lemire's multiply; the bias is below 2^-32.)
  constexpr uint32_t below(uint32_t bound) {
    return static_cast<uint32_t>(((next() >> 32) * static_cast<uint64_t>(bound)) >> 32);
  }

  // True once in `n` on average. REQUIRES: n > 0.
  constexpr bool one_in(uint32_t n) { return below(n) == 0; }

 private:
  static constexpr uint64_t rotl(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }
  uint64_t state_[4] = {};
};

}  // namespace penstock
