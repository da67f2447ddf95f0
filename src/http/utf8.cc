#include "src/http/utf8.h"

#include "src/base/assert.h"

namespace penstock {
namespace {

// Length and the range of the second byte for a lead byte (RFC 3629 section 4). A second byte below
// `second_min` but still a continuation byte is an overlong form where the lead is E0 or F0.
struct Lead {
  size_t size;  // 0: not a lead byte
  unsigned char second_min;
  unsigned char second_max;
};

constexpr Lead lead_of(unsigned char c) {
  if (c < 0xc2) return {0, 0, 0};
  if (c < 0xe0) return {2, 0x80, 0xbf};
  if (c == 0xe0) return {3, 0xa0, 0xbf};
  if (c == 0xed) return {3, 0x80, 0x9f};
  if (c < 0xf0) return {3, 0x80, 0xbf};
  if (c == 0xf0) return {4, 0x90, 0xbf};
  if (c < 0xf4) return {4, 0x80, 0xbf};
  if (c == 0xf4) return {4, 0x80, 0x8f};
  return {0, 0, 0};
}

}  // namespace

Utf8Check check_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x80) {
      ++i;
      continue;
    }
    if (c == 0xc0 || c == 0xc1) return Utf8Check::OVERLONG;
    const Lead lead = lead_of(c);
    if (lead.size == 0 || i + 1 == text.size()) return Utf8Check::INVALID;
    const auto second = static_cast<unsigned char>(text[i + 1]);
    if (second < lead.second_min || second > lead.second_max) {
      const bool overlong = (c == 0xe0 || c == 0xf0) && second >= 0x80 && second < lead.second_min;
      return overlong ? Utf8Check::OVERLONG : Utf8Check::INVALID;
    }
    if (i + lead.size > text.size()) return Utf8Check::INVALID;
    for (size_t k = 2; k < lead.size; ++k) {
      if ((static_cast<unsigned char>(text[i + k]) & 0xc0) != 0x80) return Utf8Check::INVALID;
    }
    i += lead.size;
  }
  return Utf8Check::VALID;
}

size_t write_utf8(char* out, uint32_t code_point) {
  ASSERT(code_point <= 0x10ffff && (code_point < 0xd800 || code_point > 0xdfff));
  const size_t size = utf8_size(code_point);
  if (size == 1) {
    out[0] = static_cast<char>(code_point);
    return 1;
  }
  for (size_t i = size - 1; i > 0; --i) {
    out[i] = static_cast<char>(0x80 | (code_point & 0x3f));
    code_point >>= 6;
  }
  const uint32_t mark = 0xf00U >> size & 0xff;  // 110xxxxx, 1110xxxx, 11110xxx
  out[0] = static_cast<char>(mark | code_point);
  return size;
}

}  // namespace penstock
