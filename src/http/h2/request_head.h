// H2RequestHead: the fields of an HTTP/2 request, strictly after RFC 9113 section 8, as one canonical HTTP/1.1 head.
//
// Pure; owned by a session while a header block arrives, reused for the next. Every byte of the text that it writes
// is from a literal or was held to the byte classes of src/http/syntax.h, so that nothing of a field can end its line
// or the head. What it does not judge (the host's form, the path's escapes, sizes) the HTTP/1.1 parser judges above,
// with the same answers as over HTTP/1.1.
#pragma once

#include "src/http/status.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace penstock {

// RFC 9218 section 4.
struct H2Priority {
  uint8_t urgency = 3;
  bool incremental = false;
};
// A Priority field value over `priority`; what cannot be understood changes nothing.
[[nodiscard]] H2Priority parse_h2_priority(std::string_view value, H2Priority priority = {});

class H2RequestHead {
 public:
  enum class Section : uint8_t { HEAD, TRAILERS };

  // `text_bytes_max`: of the text; what is beyond is cut off at one byte more, for the parser above to refuse.
  void begin(Section section, size_t text_bytes_max);
  // The next field, decompressed. The first offence stays; what follows it is only counted.
  void field(std::string_view name, std::string_view value);
  // No field follows. `end_stream`: no body either. NONE: text() is to be handed on.
  [[nodiscard]] Reason finish(bool end_stream);

  // HEAD: the whole head with its empty line, unless cut off. TRAILERS: field lines.
  [[nodiscard]] std::string_view text() const { return text_; }
  [[nodiscard]] bool cut_off() const { return cut_off_; }
  [[nodiscard]] bool chunked() const { return chunked_; }  // the text says Transfer-Encoding: chunked
  [[nodiscard]] std::optional<uint64_t> content_length() const { return content_length_; }
  [[nodiscard]] bool is_head_method() const { return method_ == "HEAD"; }
  [[nodiscard]] std::optional<H2Priority> priority() const { return priority_; }
  // RFC 9113 section 6.5.2: of all fields so far, refused ones included.
  [[nodiscard]] uint64_t list_bytes() const { return list_bytes_; }

 private:
  [[nodiscard]] Reason pseudo(std::string_view name, std::string_view value);
  [[nodiscard]] Reason regular(std::string_view name, std::string_view value);
  [[nodiscard]] Reason special(std::string_view name, std::string_view value, bool& is_written);
  [[nodiscard]] Reason begin_text();
  void add(std::string_view text);
  void add_line(std::string_view name, std::string_view value);

  Section section_ = Section::HEAD;
  size_t text_bytes_max_ = 0;
  bool fields_begun_ = false;
  bool cut_off_ = false;
  bool chunked_ = false;
  uint8_t pseudo_seen_ = 0;
  uint64_t list_bytes_ = 0;
  Reason offence_ = Reason::NONE;
  std::optional<uint64_t> content_length_;
  std::optional<H2Priority> priority_;
  std::string text_, method_, path_, authority_, host_, cookie_;
};

}  // namespace penstock
