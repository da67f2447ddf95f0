// Frames from hell by seeds: what the fuzzer does with what it has learnt, without its knowledge and in numbers.
// PENSTOCK_HELL_FRAMES sets how many (the long run: 10,000,000), PENSTOCK_HELL_SEED where to begin.

#include "src/base/prng.h"
#include "tests/support/effort.h"
#include "tests/support/net_hell.h"

#include <atomic>
#include <csignal>
#include <cstdio>
#include <gtest/gtest.h>
#include <vector>

namespace penstock {
namespace {

std::atomic<uint64_t> seed_in_hand = 0;

// An ASSERT or a sanitizer ends the process: then it is the seed that counts.
void tell_seed(int) {
  std::fprintf(stderr, "PENSTOCK_HELL_SEED=%llu\n", static_cast<unsigned long long>(seed_in_hand.load()));
}

// Commands of HellScript's, most of which a peer with some sense could mean: connections are made, and what breaks
// them comes between.
std::vector<uint8_t> script_of(Prng& prng) {
  constexpr uint8_t FLAGS[] = {TCP_SYN,           TCP_ACK,           TCP_ACK,          TCP_ACK,
                               TCP_ACK | TCP_PSH, TCP_ACK | TCP_FIN, TCP_ACK | TCP_RST};
  std::vector<uint8_t> script = {static_cast<uint8_t>(prng.next()), static_cast<uint8_t>(prng.next())};
  const auto any = [&] { return static_cast<uint8_t>(prng.next()); };
  const auto put = [&](std::initializer_list<uint8_t> bytes) { script.insert(script.end(), bytes); };
  uint8_t port = 0;
  for (uint32_t left = prng.below(300); left != 0; --left) {
    if (prng.one_in(20)) port = any();
    const uint32_t what = prng.below(16);
    if (what < 10) {  // a segment at the numbers where they are, or near them
      const uint8_t flags = prng.one_in(8) ? any() : FLAGS[prng.below(std::size(FLAGS))];
      const uint8_t seq = prng.one_in(6) ? any() : 4;
      const uint8_t ack = prng.one_in(6) ? any() : 4;
      const uint8_t size = prng.one_in(2) ? 0 : prng.one_in(3) ? any() : 3;
      put({1, port, flags, seq, 4, ack, 200, 8});
      const uint8_t with = prng.one_in(3) ? any() : 0;
      put({with});
      for (uint32_t i = 0; (flags & TCP_SYN) != 0 && (with & 1) != 0 && i < 2; ++i) put({any()});
      put({any(), any()});
      for (uint32_t i = 0; (flags & TCP_SYN) == 0 && i < 4U * (with >> 4 & 3); ++i) put({any()});
      put({size, size, 1, static_cast<uint8_t>(prng.below(4) / 3)});
    } else if (what < 11) {
      put({4, static_cast<uint8_t>(prng.below(12))});
    } else if (what < 14) {
      put({5, any(), static_cast<uint8_t>(prng.below(7)), any(), any(), any(), any()});
    } else {
      for (uint32_t i = prng.below(24); i != 0; --i) put({any()});
    }
  }
  return script;
}

constexpr uint64_t FRAMES = SANITIZED ? 50'000 : 500'000;

TEST(FramesFromHell, leave_nothing_lent_and_break_nothing) {
  const uint64_t wanted = number_from("PENSTOCK_HELL_FRAMES", FRAMES);
  uint64_t seed = number_from("PENSTOCK_HELL_SEED", 1);
  std::signal(SIGABRT, tell_seed);
  uint64_t frames = 0;
  uint64_t lives = 0;
  for (; frames < wanted; ++seed, ++lives) {
    seed_in_hand = seed;
    Prng prng(seed);
    const std::vector<uint8_t> script = script_of(prng);
    frames += frames_from_hell(script.data(), script.size());
  }
  std::signal(SIGABRT, SIG_DFL);
  std::printf("%llu frames in the lives of %llu engines\n", static_cast<unsigned long long>(frames),
              static_cast<unsigned long long>(lives));
}

}  // namespace
}  // namespace penstock
