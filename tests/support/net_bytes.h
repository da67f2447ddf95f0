// Bytes of frames for tests: written as hex, ended at a guard page.
#pragma once

#include "src/base/bytes.h"
#include "tests/support/guard_page.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

// "45 00 0028 …"; spaces as one likes.
inline std::vector<uint8_t> from_hex(std::string_view text) {
  std::vector<uint8_t> bytes;
  int high = -1;
  for (const char c : text) {
    const int digit = hex_digit(c);
    if (digit < 0) continue;
    if (high < 0) {
      high = digit;
    } else {
      bytes.push_back(static_cast<uint8_t>(high << 4 | digit));
      high = -1;
    }
  }
  return bytes;
}

// A copy whose last byte is the last of its page.
class GuardedBytes {
 public:
  explicit GuardedBytes(std::span<const uint8_t> bytes)
      : text_(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size())) {}
  [[nodiscard]] std::span<const uint8_t> span() const {
    return {reinterpret_cast<const uint8_t*>(text_.view().data()), text_.view().size()};
  }

 private:
  GuardedText text_;
};

}  // namespace penstock
