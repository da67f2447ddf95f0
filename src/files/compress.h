// CompressQueue: compressed variants of hot bodies, made off the hot path (FEATURES CO1-CO3).
//
// One thread at the lowest priority (SCHED_IDLE) per server; reactors hand jobs in and take results
// out, each its own. No request ever waits for it: an answer goes out uncompressed until the variant
// is in the cache. Bounded: submit() says no at the limit and nothing is lost but the variant.
// The only home of zlib, brotli and zstd.
#pragma once

#include "cache/body.h"
#include "cache/validity.h"
#include "src/base/coding.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

namespace penstock {

struct CompressLevels {
  int gzip = 9;   // 1..9
  int br = 9;     // 0..11
  int zstd = 15;  // 1..19
};

struct CompressOptions {
  uint32_t jobs_max = 256;           // queued or finished and not yet taken, all reactors together
  uint64_t bytes_max = 64ull << 20;  // of the bodies they hold
  uint32_t saving_min_percent = 10;  // a variant that saves less is thrown away
  CompressLevels levels;
};

struct CompressJob {
  const Body* identity = nullptr;  // sealed; the queue takes a pin of its own
  Coding coding = Coding::GZIP;
  Validity validity;     // a job whose entry is stale by its turn is dropped
  uint32_t reactor = 0;  // whose results() it will come out of
  uint64_t token = 0;
};

enum class CompressOutcome : uint8_t {
  DONE,
  NOT_SMALLER,  // saved too little: do not ask again for this version
  STALE,        // the file changed meanwhile
  FAILED,       // no memory
};

struct CompressResult {
  uint64_t token = 0;
  Coding coding = Coding::GZIP;
  CompressOutcome outcome = CompressOutcome::FAILED;
  Body* body = nullptr;  // DONE: sealed, one pin that is the caller's
};

struct CompressCounters {
  uint64_t done = 0, not_smaller = 0, stale = 0, failed = 0, refused = 0;
  uint64_t bytes_in = 0, bytes_out = 0;
};

class CompressQueue {
 public:
  // `bodies` and `cells` outlive it. `wake_fds[r]` is an eventfd written when results wait for reactor r.
  CompressQueue(BodyStore& bodies, const ValidityTable& cells, const CompressOptions& options,
                std::span<const int> wake_fds);
  CompressQueue(const CompressQueue&) = delete;
  CompressQueue& operator=(const CompressQueue&) = delete;
  ~CompressQueue();  // stops; REQUIRES: run() has returned

  // Live: holds for jobs begun from now on. Any thread.
  void set_levels(const CompressLevels& levels);

  // False at a bound, or while the compressor is at the queue: ask again at a later hit. Any thread,
  // never waits.
  [[nodiscard]] bool submit(const CompressJob& job);
  // Up to out.size() results for `reactor`, without waiting.
  [[nodiscard]] size_t results(uint32_t reactor, std::span<CompressResult> out);

  // The thread's life; returns after stop().
  void run();
  void stop();
  // Does the oldest job now; false when there is none. For tests and the simulator.
  bool run_one();

  [[nodiscard]] CompressCounters counters() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// One shot, any thread: `input` in `coding` at `level`, or nothing when it would exceed `bytes_max`
// or memory is short. Deterministic.
[[nodiscard]] std::unique_ptr<char[]> compress_bytes(std::string_view input, Coding coding, int level,
                                                     uint64_t bytes_max, uint64_t& size);

}  // namespace penstock
