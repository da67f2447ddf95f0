// ChunkDecoder: a chunked request body (RFC 9112 section 7.1), incrementally and in place.
//
// Owned by the exchange whose body it is. Pure. Strict: CRLF only, hexadecimal sizes without sign,
// prefix or padding, well-formed extensions (read and dropped) and trailer fields (checked and dropped).
#pragma once

#include "src/http/status.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace penstock {

// Each the largest value accepted.
struct ChunkLimits {
  uint32_t line_bytes = 256;      // one size line, extensions and CRLF included     → CHUNK_LINE_LENGTH
  uint32_t trailer_bytes = 4096;  // the trailer section, its last CRLF included    → TRAILER_LENGTH
};

enum class ChunkState : uint8_t {
  DATA,       // `data` is body
  NEED_MORE,  // everything offered was consumed; the body is not complete
  DONE,       // the body is complete; what follows belongs to the next request
  BAD         // error() says why; close the connection
};

struct ChunkStep {
  ChunkState state;
  size_t consumed;        // bytes of the input that are dealt with, `data` included
  std::string_view data;  // within the input; not empty exactly if DATA
};

class ChunkDecoder {
 public:
  explicit ChunkDecoder(const ChunkLimits& limits = {}) : limits_(limits) {}

  // Looks at `bytes`, which begin where the last step's `consumed` ended. Call again with the rest
  // while the answer is DATA. Each byte is looked at once. After DONE or BAD: the same answer, nothing consumed.
  [[nodiscard]] ChunkStep next(std::string_view bytes);

  // Body bytes seen so far. For the limit on bodies, which is the caller's.
  [[nodiscard]] uint64_t body_bytes() const { return body_bytes_; }
  // REQUIRES: the last state was BAD.
  [[nodiscard]] Reason error() const { return error_; }

 private:
  enum class Stage : uint8_t;
  ChunkStep bad(Reason reason, size_t consumed);
  Reason framing_byte(char c);
  Reason line_byte(char c);
  Reason extension_byte(char c);
  Reason trailer_byte(char c);

  ChunkLimits limits_;
  uint64_t remaining_ = 0;  // of the chunk's data; while its size is read, the size so far
  uint64_t body_bytes_ = 0;
  uint32_t count_ = 0;  // bytes of the current size line, or of the trailer section
  Stage stage_{};
  Reason error_ = Reason::NONE;
};

}  // namespace penstock
