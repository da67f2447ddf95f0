// The input chooses what a hostile worker does, step by step; tests/support/hostile_worker.h says what must hold.
#include "tests/support/hostile_worker.h"

namespace {

struct Input {
  const uint8_t* data;
  size_t left;

  [[nodiscard]] bool done() const { return left == 0; }
  uint32_t below(uint32_t bound) {
    uint32_t number = 0;
    for (uint32_t reach = bound - 1; reach > 0 && left > 0; reach >>= 8) {
      number = number << 8 | *data++;
      --left;
    }
    return number % bound;
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input{data, size};
  penstock::HostileWorker<Input> worker(input);
  while (!input.done()) worker.step();
  return 0;
}
