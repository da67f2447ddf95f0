// The head of a CGI response (RFC 3875 section 6): what a script writes before its body, over stdout or in FastCGI's
// STDOUT records.
//
// Pure. Lines end in LF or CRLF, an empty one ends the head. Names are tokens and values have no control characters:
// a line that is anything else makes the head bad, since nobody can say what was meant. Status, Location, Content-Type
// and Content-Length come once at most. At least one field has to be there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace penstock {

struct CgiHead {
  uint16_t status = 200;  // 200 to 599
  // A path of this site, with query: it answers instead (section 6.2.2). Nothing else of the head counts then.
  std::string_view local_redirect;
  std::optional<uint64_t> content_length;
  // All but Status and Content-Length, in order; Location among them unless it is the local redirect.
  std::vector<std::pair<std::string_view, std::string_view>> fields;
};

class CgiHeadParser {
 public:
  static constexpr size_t BYTES_MAX = 64 * 1'024;  // up to and with the empty line
  enum class State : uint8_t { NEED_MORE, COMPLETE, BAD };

  // The next bytes; `consumed`: of them, for the head. REQUIRES: NEED_MORE so far.
  [[nodiscard]] State feed(std::string_view bytes, size_t& consumed);
  [[nodiscard]] bool empty() const { return text_.empty(); }  // no byte has come
  // REQUIRES: COMPLETE. Views are valid as long as the parser.
  [[nodiscard]] const CgiHead& head() const { return head_; }
  // REQUIRES: BAD. A sentence without a subject: "has a line without a colon".
  [[nodiscard]] std::string_view error() const { return error_; }

 private:
  [[nodiscard]] State bad(std::string_view error);
  [[nodiscard]] bool refuse(std::string_view error);  // false
  [[nodiscard]] State understand();
  [[nodiscard]] bool understand_line(std::string_view line);
  [[nodiscard]] bool understand_status(std::string_view value);
  [[nodiscard]] bool understand_length(std::string_view value);

  std::string text_;
  size_t line_at_ = 0;  // of the line that is not whole
  std::string_view error_;
  std::string_view location_;
  bool has_status_ = false;
  bool has_type_ = false;
  CgiHead head_;
};

}  // namespace penstock
