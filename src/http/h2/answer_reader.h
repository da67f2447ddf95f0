// H2AnswerReader: our own server's HTTP/1.1 answer to one request, read for what HTTP/2 has to be told.
//
// Pure; one for each stream. It is offered the parts of each send in order: heads come out as fields, bodies as pieces
// of the very parts that they came in, whatever these are (memory or file); chunk framing is taken off. The text is our
// own, so it is checked but not suspected: what cannot be read is BROKEN, and the stream is to be reset.
// Trailer fields are kept until the body is in frames; those that may not stand there are dropped.
#pragma once

#include "src/http/h2/answer_heads.h"
#include "src/transport/transport.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace penstock {

class H2AnswerReader {
 public:
  // HEAD is answered without a body, whatever the answer's fields say (RFC 9110 section 9.3.2).
  void begin(bool is_head_method) { *this = H2AnswerReader{}, is_head_method_ = is_head_method; }

  enum class Kind : uint8_t {
    NOTHING,  // `consumed` bytes were framing, or are dropped
    HEAD,     // the newest of `heads` is it
    BODY,     // `consumed` bytes of the part are body
    BROKEN
  };
  struct Step {
    Kind kind;
    uint64_t consumed;
  };
  // Looks at `part` from `offset` on. REQUIRES: offset < part.size. Consumes at least one byte unless BROKEN.
  [[nodiscard]] Step next(const SendPart& part, uint64_t offset, H2AnswerHeads& heads);

  // The final head came, and every byte of its body.
  [[nodiscard]] bool is_whole() const { return stage_ == Stage::DONE; }
  [[nodiscard]] bool head_read() const { return stage_ != Stage::HEAD; }
  // Nothing follows: true if that makes the answer whole, as where no length was told.
  bool end() {
    if (stage_ == Stage::UNTIL_CLOSE) stage_ = Stage::DONE;
    return stage_ == Stage::DONE;
  }
  // Trailer fields came. REQUIRES: is_whole().
  [[nodiscard]] bool has_trailers() const { return !trailers_.empty(); }
  // Lays them out, once.
  void take_trailers(H2AnswerHead& out);

 private:
  enum class Stage : uint8_t { HEAD, LENGTH, CHUNK_LINE, CHUNK_DATA, CHUNK_END, TRAILERS, UNTIL_CLOSE, DONE, BROKEN };

  [[nodiscard]] Step head(std::string_view bytes, H2AnswerHeads& heads);
  [[nodiscard]] static bool read_head(H2AnswerHead& out);
  void begin_body(const H2AnswerHead& head);
  [[nodiscard]] static bool read_field(std::string_view line, char* name, H2AnswerHead& out);
  [[nodiscard]] Step framing(std::string_view bytes);
  [[nodiscard]] bool chunk_line();
  [[nodiscard]] bool trailer_line();
  Step broken() {
    stage_ = Stage::BROKEN;
    return {Kind::BROKEN, 0};
  }

  Stage stage_ = Stage::HEAD;
  bool is_head_method_ = false;
  uint64_t left_ = 0;     // of the body, or of the chunk
  std::string line_;      // a head or a line of framing that is not complete
  std::string trailers_;  // field lines as they came, without those that are dropped
};

}  // namespace penstock
