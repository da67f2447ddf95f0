// Coalescing keeps the order of first appearance: a client that asked for the tail first (as readers
// of ZIP or PDF do) is sent the tail first. With at most RANGES_MAX ranges the quadratic way is the short one.

#include "src/http/range.h"

#include "src/base/assert.h"
#include "src/base/bytes.h"
#include "src/http/syntax.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

namespace penstock {
namespace {

constexpr std::string_view UNIT = "bytes=";

enum class Spec : uint8_t { MALFORMED, OUTSIDE, INSIDE };

// A position; digits only. One that does not fit 64 bits lies beyond every file.
std::optional<uint64_t> position(std::string_view text) {
  if (text.empty()) return std::nullopt;
  for (const char c : text) {
    if (!is_digit(c)) return std::nullopt;
  }
  return parse_decimal(text).value_or(UINT64_MAX);
}

// One range-spec (RFC 9110 section 14.1.1), cut to the representation. REQUIRES: size > 0 for suffixes.
Spec read_spec(std::string_view spec, uint64_t size, ByteRange& out) {
  const size_t dash = spec.find('-');
  if (dash == std::string_view::npos) return Spec::MALFORMED;
  const std::string_view left = spec.substr(0, dash);
  const std::string_view right = spec.substr(dash + 1);
  if (left.empty()) {
    const auto suffix = position(right);
    if (!suffix) return Spec::MALFORMED;
    if (*suffix == 0 || size == 0) return Spec::OUTSIDE;
    out = {size - std::min(*suffix, size), size - 1};
    return Spec::INSIDE;
  }
  const auto first = position(left);
  if (!first) return Spec::MALFORMED;
  uint64_t last = UINT64_MAX;
  if (!right.empty()) {
    const auto given = position(right);
    if (!given || *given < *first) return Spec::MALFORMED;
    last = *given;
  }
  if (*first >= size) return Spec::OUTSIDE;
  out = {*first, std::min(last, size - 1)};
  return Spec::INSIDE;
}

bool touch(ByteRange a, ByteRange b) {
  if (a.first > b.first) std::swap(a, b);
  return b.first <= a.last || b.first == a.last + 1;
}

// Merges what touches until nothing does; returns how many are left.
size_t coalesce(std::span<ByteRange> ranges) {
  size_t count = ranges.size();
  for (size_t i = 0; i < count; ++i) {
    for (size_t k = i + 1; k < count;) {
      if (!touch(ranges[i], ranges[k])) {
        ++k;
        continue;
      }
      ranges[i] = {std::min(ranges[i].first, ranges[k].first), std::max(ranges[i].last, ranges[k].last)};
      std::move(ranges.begin() + static_cast<ptrdiff_t>(k) + 1, ranges.begin() + static_cast<ptrdiff_t>(count),
                ranges.begin() + static_cast<ptrdiff_t>(k));
      --count;
      k = i + 1;  // the grown range may touch ones that were passed
    }
  }
  return count;
}

size_t decimal_digits(uint64_t value) {
  size_t digits = 1;
  for (; value >= 10; value /= 10) ++digits;
  return digits;
}

// Appends to a buffer; too small a one is remembered, not overrun.
struct Appender {
  std::span<char> out;
  size_t size = 0;
  bool ok = true;

  void text(std::string_view piece) {
    ok = ok && out.size() - size >= piece.size();
    if (!ok) return;
    size += piece.copy(out.data() + size, piece.size());
  }
  void number(uint64_t value) {
    char digits[20] = {};
    const size_t count = write_decimal(digits, value);
    text({digits, count});
  }
  void range(ByteRange range, uint64_t total) {
    text("bytes ");
    number(range.first);
    text("-");
    number(range.last);
    text("/");
    number(total);
  }
};

}  // namespace

RangeVerdict parse_range(std::string_view value, uint64_t size, size_t ranges_max, std::span<ByteRange> out) {
  ASSERT(ranges_max >= 1 && ranges_max <= out.size());
  // Range units are case-insensitive (section 14.1).
  if (value.size() < UNIT.size() || !iequals(value.substr(0, UNIT.size()), UNIT)) return {};
  std::string_view list = value.substr(UNIT.size());
  size_t specs = 0;
  size_t count = 0;
  bool empty_suffix = false;
  while (!list.empty()) {
    const std::string_view spec = next_element(list);
    if (spec.empty()) continue;  // empty list elements are to be read over
    if (++specs > ranges_max) return {};
    ByteRange range;
    switch (read_spec(spec, size, range)) {
      case Spec::MALFORMED:
        return {};
      case Spec::OUTSIDE:
        empty_suffix = empty_suffix || (size == 0 && spec.front() == '-' && spec != "-0");
        break;
      case Spec::INSIDE:
        out[count++] = range;
        break;
    }
  }
  if (specs == 0 || (count == 0 && empty_suffix)) return {};
  if (count == 0) return {RangeOutcome::UNSATISFIABLE, 0};
  return {RangeOutcome::SATISFIABLE, coalesce(out.first(count))};
}

size_t write_content_range(std::span<char, CONTENT_RANGE_BYTES_MAX> out, ByteRange range, uint64_t size) {
  Appender text{out};
  text.range(range, size);
  return text.size;
}

size_t write_content_range_unsatisfied(std::span<char, CONTENT_RANGE_BYTES_MAX> out, uint64_t size) {
  Appender text{out};
  text.text("bytes */");
  text.number(size);
  return text.size;
}

Multipart::Multipart(std::string_view content_type, uint64_t size, uint64_t nonce)
    : content_type_(content_type), size_(size) {
  std::memcpy(media_type_, PREFIX.data(), PREFIX.size());
  // Eight fixed characters and the nonce in hexadecimal: a token, so no quotes are needed.
  char* out = media_type_ + PREFIX.size();
  std::memcpy(out, "penstock", 8);
  for (int i = 0; i < 16; ++i) out[8 + i] = "0123456789abcdef"[nonce >> (60 - 4 * i) & 0xf];
}

size_t Multipart::write_part_head(std::span<char> out, size_t index, ByteRange range) const {
  Appender text{out};
  if (index != 0) text.text("\r\n");
  text.text("--");
  text.text(boundary());
  if (!content_type_.empty()) {
    text.text("\r\nContent-Type: ");
    text.text(content_type_);
  }
  text.text("\r\nContent-Range: ");
  text.range(range, size_);
  text.text("\r\n\r\n");
  return text.ok ? text.size : 0;
}

size_t Multipart::write_tail(std::span<char> out) const {
  Appender text{out};
  text.text("\r\n--");
  text.text(boundary());
  text.text("--\r\n");
  return text.ok ? text.size : 0;
}

uint64_t Multipart::total_bytes(std::span<const ByteRange> ranges) const {
  constexpr uint64_t TYPE_LINE = std::string_view("\r\nContent-Type: ").size();
  constexpr uint64_t RANGE_LINE = std::string_view("\r\nContent-Range: bytes -/\r\n\r\n").size();
  const uint64_t type_bytes = content_type_.empty() ? 0 : TYPE_LINE + content_type_.size();
  uint64_t total = 2 + 2 + BOUNDARY_BYTES + 2 + 2;  // the tail
  for (size_t i = 0; i < ranges.size(); ++i) {
    total += (i == 0 ? 0 : 2) + 2 + BOUNDARY_BYTES + type_bytes + RANGE_LINE;
    total += decimal_digits(ranges[i].first) + decimal_digits(ranges[i].last) + decimal_digits(size_);
    total += ranges[i].size();
  }
  return total;
}

}  // namespace penstock
