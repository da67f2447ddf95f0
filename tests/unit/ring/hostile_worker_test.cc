// PENSTOCK_HOSTILE_OPERATIONS=10000000 for the long run, PENSTOCK_HOSTILE_SEED for another one.
#include "tests/support/hostile_worker.h"

#include "src/base/bytes.h"
#include "src/base/prng.h"

#include <cstdlib>
#include <gtest/gtest.h>

namespace penstock {
namespace {

uint64_t setting(const char* name, uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : parse_decimal(text).value_or(otherwise);
}

TEST(HostileWorker, never_moves_the_server) {
  Prng random(setting("PENSTOCK_HOSTILE_SEED", 1));
  HostileWorker<Prng> worker(random);
  const uint64_t operations = setting("PENSTOCK_HOSTILE_OPERATIONS", 300'000);
  while (worker.operations < operations) worker.step();
  // It tried everything, and got through often enough to be taken seriously.
  EXPECT_GT(worker.events, operations / 100);
  EXPECT_GT(worker.verdicts, operations / 2'000);
  for (uint8_t i = 1; i <= static_cast<uint8_t>(LinkViolation::LENGTH); ++i) {
    const auto violation = static_cast<LinkViolation>(i);
    EXPECT_GT(worker.violations[violation], 0U) << violation_sentence(violation);
  }
}

}  // namespace
}  // namespace penstock
