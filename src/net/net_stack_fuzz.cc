// Frames from hell (tests/support/net_hell.h), by a fuzzer.

#include "tests/support/net_hell.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 2'000) return 0;
  (void)penstock::frames_from_hell(data, size);
  return 0;
}
