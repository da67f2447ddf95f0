// Whatever the value: every step takes something off, addresses are whole, and what stands further left changes nothing
// of how the right is understood.

#include "src/base/assert.h"
#include "src/http/forwarded.h"

#include <string>

namespace penstock {
namespace {

using Take = HopState (*)(std::string_view&, HopAddress&);

void walk(Take take, std::string_view value) {
  const std::string longer = "for=192.0.2.1;by=\"x, \", 198.51.100.7 ," + std::string(value);
  std::string_view other = longer;
  HopAddress hop;
  HopAddress same;
  size_t left = value.size();
  for (HopState state = take(value, hop); state != HopState::END; state = take(value, hop)) {
    ASSERT(value.size() < left);
    left = value.size();
    if (state != HopState::ADDRESS) return;
    const bool mapped = hop.ip[10] == 0xff && hop.ip[11] == 0xff;
    ASSERT(!hop.v4 || mapped);
    ASSERT(take(other, same) == state && same == hop);
  }
}

}  // namespace
}  // namespace penstock

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  const std::string_view value(reinterpret_cast<const char*>(data), size);
  walk(take_hop_of_forwarded, value);
  walk(take_hop_of_x_forwarded_for, value);
  HopAddress hop;
  (void)read_hop_address(value, true, hop);
  return 0;
}
