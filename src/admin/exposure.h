// What a pool's sandbox leaves open, as a number: 0.0 is nothing that could be closed, 10.0 is all of it. In the manner
// of `systemd-analyze security`: a sum of what was opened, each with its weight, so that the reader sees what would
// lower it. Weights are a judgement, not a measurement; they order configurations, they do not measure risk.
//
// Pure: judges a profile (worker_profile.h), not a process.
#pragma once

#include "pool/sandbox/worker_sandbox.h"

#include <string>
#include <string_view>
#include <vector>

namespace penstock {

inline constexpr unsigned EXPOSURE_TENTHS_MAX = 100;

struct Exposure {
  struct Item {
    unsigned tenths;
    std::string what;
  };
  std::vector<Item> items;  // the heaviest first

  [[nodiscard]] unsigned tenths() const;         // their sum, at most EXPOSURE_TENTHS_MAX
  [[nodiscard]] std::string_view level() const;  // "safe", "ok", "medium", "exposed"
};

// `state`: the pool's own directory, which it is meant to write; may be empty. `writes_served`: it could write what is
// served.
[[nodiscard]] Exposure exposure_of(const WorkerSandbox& sandbox, const std::string& state, bool writes_served);

}  // namespace penstock
