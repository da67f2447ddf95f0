// UTF-8 (RFC 3629): checking and writing. Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace penstock {

enum class Utf8Check : uint8_t {
  VALID,
  INVALID,  // a stray or missing continuation byte, a surrogate, beyond U+10FFFF
  OVERLONG  // a longer form than the code point needs (C0, C1, E0 80-9F, F0 80-8F)
};

// The first fault from the left decides between INVALID and OVERLONG.
[[nodiscard]] Utf8Check check_utf8(std::string_view text);

// Writes 1 to 4 bytes at `out`. REQUIRES: `code_point` <= 0x10FFFF and no surrogate.
size_t write_utf8(char* out, uint32_t code_point);

// The bytes that write_utf8() would write.
constexpr size_t utf8_size(uint32_t code_point) {
  if (code_point < 0x80) return 1;
  if (code_point < 0x800) return 2;
  return code_point < 0x10000 ? 3 : 4;
}

}  // namespace penstock
