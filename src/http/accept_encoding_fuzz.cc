// Whatever the value: the choice is the best there is, and the short way through the mask comes to the same choice.

#include "src/base/assert.h"
#include "src/http/accept_encoding.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  const std::string_view value(reinterpret_cast<const char*>(data), size);
  const AcceptedCodings accepted = parse_accept_encoding(value);
  const AcceptMask mask = accept_mask_of(value);
  for (uint8_t available = 0; available < ACCEPT_MASKS; ++available) {
    const CodingChoice choice = choose_coding(accepted, available);
    const uint16_t weight = accepted.weight[static_cast<size_t>(choice.coding)];
    ASSERT(weight <= 1000 && choice.acceptable == (weight != 0));
    ASSERT(choice.coding == Coding::IDENTITY || (coding_bit(choice.coding) & available) != 0);
    for (size_t i = 0; i < CODING_COUNT; ++i) {
      const auto coding = static_cast<Coding>(i);
      const bool there = coding == Coding::IDENTITY || (coding_bit(coding) & available) != 0;
      ASSERT(!there || accepted.weight[i] <= weight);
    }
    if (!mask.simple) continue;
    const CodingChoice simple = choose_coding(mask.mask, available);
    ASSERT(simple.acceptable == choice.acceptable && simple.coding == choice.coding);
  }
  return 0;
}
