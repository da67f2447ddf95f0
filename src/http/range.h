// Byte ranges (RFC 9110 section 14): reading Range, and the texts of 206 and 416 answers. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace penstock {

struct ByteRange {
  uint64_t first = 0;
  uint64_t last = 0;  // inclusive
  [[nodiscard]] constexpr uint64_t size() const { return last - first + 1; }
  constexpr bool operator==(const ByteRange&) const = default;
};

// No answer has more parts than this, whatever the limit says.
inline constexpr size_t RANGES_MAX = 64;

enum class RangeOutcome : uint8_t {
  IGNORE,        // not a bytes range we read, malformed, or abusive: send the whole, 200
  SATISFIABLE,   // 206 with the ranges given
  UNSATISFIABLE  // 416 with Content-Range: bytes */size
};

struct RangeVerdict {
  RangeOutcome outcome = RangeOutcome::IGNORE;
  size_t count = 0;  // ranges written, if SATISFIABLE; 1 → a single 206, more → multipart/byteranges
};

// Reads one Range value against a representation of `size` bytes. Unsatisfiable ranges among others are dropped;
// overlapping and adjacent ranges are coalesced, in the order of their first appearance; others stay apart, as every
// client expects. More than `ranges_max` ranges before that → IGNORE. An empty representation has no ranges: "-5" of it
// is IGNORE, "0-" is UNSATISFIABLE. REQUIRES: 1 <= ranges_max <= out.size().
[[nodiscard]] RangeVerdict parse_range(std::string_view value, uint64_t size, size_t ranges_max,
                                       std::span<ByteRange> out);

// "bytes 0-499/1234" and "bytes */1234": the value of Content-Range. At most CONTENT_RANGE_BYTES_MAX. Return the
// length.
inline constexpr size_t CONTENT_RANGE_BYTES_MAX = 6 + 3 * 20 + 2;
size_t write_content_range(std::span<char, CONTENT_RANGE_BYTES_MAX> out, ByteRange range, uint64_t size);
size_t write_content_range_unsatisfied(std::span<char, CONTENT_RANGE_BYTES_MAX> out, uint64_t size);

// A multipart/byteranges body: for each range its part head, then its bytes; at the end the tail.
// Copies views only: `content_type` must outlive it.
class Multipart {
 public:
  static constexpr size_t BOUNDARY_BYTES = 24;
  // Enough for a part head with a content type of up to 256 bytes.
  static constexpr size_t PART_HEAD_BYTES_MAX = 512;

  // `nonce` must be unforeseeable to whoever wrote the file, lest it hold the boundary.
  Multipart(std::string_view content_type, uint64_t size, uint64_t nonce);

  // "multipart/byteranges; boundary=..."; valid as long as this object.
  [[nodiscard]] std::string_view media_type() const { return {media_type_, sizeof media_type_}; }

  // The bytes before a range's data; `index` is the range's place, from 0. Returns the length, or 0 if `out` is too
  // small.
  size_t write_part_head(std::span<char> out, size_t index, ByteRange range) const;
  // The bytes after the last range's data.
  size_t write_tail(std::span<char> out) const;
  // Content-Length of the whole body.
  [[nodiscard]] uint64_t total_bytes(std::span<const ByteRange> ranges) const;

 private:
  [[nodiscard]] std::string_view boundary() const { return {media_type_ + PREFIX.size(), BOUNDARY_BYTES}; }
  static constexpr std::string_view PREFIX = "multipart/byteranges; boundary=";
  char media_type_[PREFIX.size() + BOUNDARY_BYTES];
  std::string_view content_type_;
  uint64_t size_;
};

}  // namespace penstock
