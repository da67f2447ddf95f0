// H2AnswerReader: our own server's HTTP/1.1 answer to one request, read for what HTTP/2 has to be told.
//
// Pure; one for each stream. It is offered the parts of each send in order: heads come out as fields, bodies as pieces
// of the very parts that they came in, whatever these are (memory or file); chunk framing is taken off. The text is our
// own, so it is checked but not suspected: what cannot be read is BROKEN, and the stream is to be reset.
#pragma once

#include "src/transport/transport.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

struct H2Field {
  std::string_view name;  // in lower case
  std::string_view value;
};

// A head as it came out. Views are valid until the next one is read into it; the very same head again is not read anew.
struct H2AnswerHead {
  uint16_t status = 0;
  bool is_final = false;        // not 1xx
  bool has_body = false;        // DATA follows
  std::vector<H2Field> fields;  // without those that speak of the connection; ":status" first
  bool chunked = false;
  bool has_length = false;
  uint64_t length = 0;
  std::string source;  // as it came; empty: nothing of the rest holds
  std::string text;    // the same with its names in lower case: what the views point into
};

class H2AnswerReader {
 public:
  // HEAD is answered without a body, whatever the answer's fields say (RFC 9110 section 9.3.2).
  void begin(bool is_head_method) { *this = H2AnswerReader{}, is_head_method_ = is_head_method; }

  enum class Kind : uint8_t {
    NOTHING,  // `consumed` bytes were framing, or are dropped
    HEAD,     // `out` is filled
    BODY,     // `consumed` bytes of the part are body
    BROKEN
  };
  struct Step {
    Kind kind;
    uint64_t consumed;
  };
  // Looks at `part` from `offset` on. REQUIRES: offset < part.size. Consumes at least one byte unless BROKEN.
  [[nodiscard]] Step next(const SendPart& part, uint64_t offset, H2AnswerHead& out);

  // The final head came, and every byte of its body.
  [[nodiscard]] bool is_whole() const { return stage_ == Stage::DONE; }
  [[nodiscard]] bool head_read() const { return stage_ != Stage::HEAD; }
  // Nothing follows: true if that makes the answer whole, as where no length was told.
  bool end() {
    if (stage_ == Stage::UNTIL_CLOSE) stage_ = Stage::DONE;
    return stage_ == Stage::DONE;
  }

 private:
  enum class Stage : uint8_t { HEAD, LENGTH, CHUNK_LINE, CHUNK_DATA, CHUNK_END, TRAILERS, UNTIL_CLOSE, DONE, BROKEN };

  [[nodiscard]] Step head(std::string_view bytes, H2AnswerHead& out);
  [[nodiscard]] bool read_head(H2AnswerHead& out);
  void begin_body(H2AnswerHead& out);
  [[nodiscard]] bool read_field(std::string_view line, char* name, H2AnswerHead& out);
  [[nodiscard]] Step framing(std::string_view bytes);
  [[nodiscard]] bool chunk_line();
  Step broken() {
    stage_ = Stage::BROKEN;
    return {Kind::BROKEN, 0};
  }

  Stage stage_ = Stage::HEAD;
  bool is_head_method_ = false;
  uint64_t left_ = 0;  // of the body, or of the chunk
  std::string line_;   // a head or a line of framing that is not complete
};

}  // namespace penstock
