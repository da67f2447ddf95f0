// ResponseReader: what an application answers over HTTP/1.1, SCGI or uwsgi, made a CGI response (RFC 3875 section 6),
// which GatewayAnswer takes.
//
// Pure. Of HTTP (RFC 9112) nothing is guessed, since the connection is used again: lines end in CRLF, a length and a
// transfer coding exclude each other, the one coding is chunked. Interim answers are passed over, fields that belong to
// the connection left out, chunks taken out of their frames. Over SCGI and uwsgi an answer has either the head of a CGI
// program or a status line and the rest of it, lines end as they like, and the body goes up to its length or the end of
// the connection.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace penstock {

class ResponseReader {
 public:
  static constexpr size_t HEAD_BYTES_MAX = 64 * 1'024;
  static constexpr size_t INTERIM_MAX = 16;        // answers before the answer
  static constexpr size_t LINE_BYTES_MAX = 1'024;  // of a chunk's size and extensions
  static constexpr size_t TRAILER_BYTES_MAX = 8 * 1'024;
  enum class Grammar : uint8_t { CGI, HTTP };
  enum class State : uint8_t { NEED_MORE, PIECE, BAD };

  ResponseReader() = default;
  ResponseReader(Grammar grammar, bool answers_head) : grammar_(grammar), answers_head_(answers_head) {}

  // The next of the CGI response in `bytes`, of which `consumed` were used: all of them for NEED_MORE. `piece` is valid
  // as long as both. REQUIRES: !ended(), and not BAD before.
  [[nodiscard]] State next(std::string_view bytes, size_t& consumed, std::string_view& piece);
  // The connection has ended: whether the answer has, too. REQUIRES: !ended(), and not BAD before.
  [[nodiscard]] bool close();
  [[nodiscard]] bool ended() const { return phase_ == Phase::ENDED; }
  // The connection may be used for another request. REQUIRES: ended().
  [[nodiscard]] bool keeps_connection() const { return keeps_; }
  // REQUIRES: BAD, or close() gave false. A sentence without a subject: "sent a line without a colon".
  [[nodiscard]] std::string_view error() const { return error_; }

 private:
  enum class Phase : uint8_t { HEAD, SHOW_HEAD, SIZED, UNTIL_CLOSE, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER, ENDED };
  [[nodiscard]] bool refuse(std::string_view error);  // false
  // Appends to line_ up to the end of a line. False: too long, or not ended by CRLF.
  [[nodiscard]] bool take_line(std::string_view bytes, size_t& consumed, size_t most);
  [[nodiscard]] bool has_line() const { return line_.ends_with('\n'); }
  [[nodiscard]] bool step(std::string_view bytes, size_t& consumed);
  [[nodiscard]] bool take_head_line();
  [[nodiscard]] bool take_status_line(std::string_view line);
  [[nodiscard]] bool take_field(std::string_view line);
  [[nodiscard]] bool finish_head();
  [[nodiscard]] bool take_chunk_size();
  [[nodiscard]] std::string_view line() const;  // without its end

  Grammar grammar_ = Grammar::HTTP;
  bool answers_head_ = false;  // to HEAD: no body, whatever its fields say
  Phase phase_ = Phase::HEAD;
  Phase body_ = Phase::ENDED;  // after SHOW_HEAD
  std::string line_;
  std::string head_;
  std::string dropped_;  // ",name,name,": what Connection names
  size_t head_bytes_ = 0;
  size_t interim_ = 0;
  unsigned status_ = 0;  // of the status line or the Status field; 0: none so far
  bool has_status_line_ = false;
  bool has_length_ = false;
  bool is_chunked_ = false;
  bool is_old_ = false;  // HTTP/1.0
  bool says_close_ = false;
  bool says_keep_ = false;
  bool keeps_ = false;
  uint64_t left_ = 0;  // of the body or its chunk
  std::string_view error_;
};

}  // namespace penstock
