// Writing the parts of a line: texts and numbers to a place that has room for them. Each returns the place behind.
// Pure; header only, because most of them are a few instructions and run twenty times for each line.
#pragma once

#include "src/base/bytes.h"

#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace penstock {

inline constexpr auto DIGIT_PAIRS = [] {
  std::array<char, 200> pairs{};
  for (size_t i = 0; i < 100; ++i) {
    pairs[2 * i] = static_cast<char>('0' + i / 10);
    pairs[2 * i + 1] = static_cast<char>('0' + i % 10);
  }
  return pairs;
}();

inline char* put(char* out, char c) {
  *out++ = c;
  return out;
}

// Most texts are short: two words that may overlap cost less than a call.
inline char* put(char* out, std::string_view text) {
  const size_t size = text.size();
  const char* from = text.data();
  if (size > 32) {
    std::memcpy(out, from, size);
  } else if (size > 16) {
    std::memcpy(out, from, 16);
    std::memcpy(out + size - 16, from + size - 16, 16);
  } else if (size >= 8) {
    std::memcpy(out, from, 8);
    std::memcpy(out + size - 8, from + size - 8, 8);
  } else if (size >= 4) {
    std::memcpy(out, from, 4);
    std::memcpy(out + size - 4, from + size - 4, 4);
  } else {
    for (size_t i = 0; i < size; ++i) out[i] = from[i];
  }
  return out + size;
}

// `value` as two, three, four or six digits. REQUIRES: it has no more.
inline char* put_2_digits(char* out, uint32_t value) {
  std::memcpy(out, &DIGIT_PAIRS[size_t{2} * value], 2);
  return out + 2;
}
inline char* put_3_digits(char* out, uint32_t value) {
  *out = static_cast<char>('0' + value / 100);
  return put_2_digits(out + 1, value % 100);
}
inline char* put_4_digits(char* out, uint32_t value) {
  return put_2_digits(put_2_digits(out, value / 100), value % 100);
}
inline char* put_6_digits(char* out, uint32_t value) {
  return put_4_digits(put_2_digits(out, value / 10'000), value % 10'000);
}

// One to four digits. REQUIRES: value < 10,000.
inline char* put_small_number(char* out, uint32_t value) {
  if (value >= 100) {
    out = value >= 1000 ? put_2_digits(out, value / 100) : put(out, static_cast<char>('0' + value / 100));
    return put_2_digits(out, value % 100);
  }
  return value >= 10 ? put_2_digits(out, value) : put(out, static_cast<char>('0' + value));
}

// REQUIRES: room for 20 digits.
inline char* put_number(char* out, uint64_t value) {
  if (value < 10'000) return put_small_number(out, static_cast<uint32_t>(value));
  if (value >= 100'000'000) return out + write_decimal(out, value);
  const auto number = static_cast<uint32_t>(value);
  return put_4_digits(put_small_number(out, number / 10'000), number % 10'000);
}

}  // namespace penstock
