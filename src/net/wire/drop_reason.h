// DropReason: why a frame was not taken. Parsers and the engine speak of it in one enum, so that no reason is without a
// name.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace penstock {

enum class DropReason : uint8_t {
  NONE,  // taken
#define DROP(name, help) name,
#include "src/net/wire/drop_reason.def"
#undef DROP
  COUNT
};
inline constexpr size_t DROP_REASON_COUNT = static_cast<size_t>(DropReason::COUNT);

// "TCP_PAWS"; "NONE".
[[nodiscard]] constexpr std::string_view drop_reason_name(DropReason reason) {
  constexpr std::array<std::string_view, DROP_REASON_COUNT> NAMES = {
      "NONE",
#define DROP(name, help) #name,
#include "src/net/wire/drop_reason.def"
#undef DROP
  };
  return NAMES[static_cast<size_t>(reason)];
}

}  // namespace penstock
