// RequestHead: what one request head says, once it has been checked.
//
// Filled by RequestParser (later by HTTP/2 too); read by every step of an exchange. All views point
// into the buffer that was parsed, or at string literals: they live as long as that buffer stays
// put. About 4.5 KiB, so a reactor keeps one (or a small pool), never one for each connection.
#pragma once

#include "src/base/assert.h"
#include "src/base/coding.h"
#include "src/http/field.h"
#include "src/http/method.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace penstock {

// No request has more field lines than this, whatever limits.fields says.
inline constexpr size_t FIELDS_MAX = 128;

struct HeaderField {
  std::string_view name;   // as sent
  std::string_view value;  // without the white space around it
};

// RFC 9112 section 3.2.
enum class TargetForm : uint8_t { ORIGIN, ABSOLUTE, ASTERISK, AUTHORITY };

enum class BodyKind : uint8_t {
  NONE,    // no body, or Content-Length: 0
  LENGTH,  // content_length bytes, > 0
  CHUNKED  // ChunkDecoder finds the end
};

struct RequestHead {
  Method method = Method::OTHER;
  uint8_t version_minor = 1;  // of HTTP/1.x: 0 to 9
  TargetForm form = TargetForm::ORIGIN;
  BodyKind body = BodyKind::NONE;

  // The request is one that a cached answer may meet without walking the full table: GET or HEAD,
  // HTTP/1.1, origin-form, one valid Host, no body, Connection absent or just keep-alive or close, accept_simple,
  // no repeated Host, Range or If-* line, and no field that headers.def marks as not plain.
  // Conditional and range fields do NOT clear it: look at has_conditional and has_range.
  bool plain = false;
  bool has_conditional = false;  // If-Match, If-None-Match, If-Modified-Since or If-Unmodified-Since
  bool has_range = false;        // Range (If-Range alone means nothing)
  bool keep_alive = false;       // the client wants the connection kept (RFC 9112 section 9.3)
  bool expect_continue = false;  // Expect: 100-continue, and HTTP/1.1
  bool https = false;            // absolute-form with the https scheme; else unknown here
  bool has_query = false;        // tells "/a?" from "/a"

  // The codings (ACCEPT_*) that Accept-Encoding lists, if accept_simple: then there is at most one
  // such line and no weights, so all listed codings are equally welcome and identity is acceptable.
  // Otherwise 0, and only accept_encoding.h can tell.
  bool accept_simple = true;
  uint8_t accept_mask = 0;

  uint64_t content_length = 0;  // of BodyKind::LENGTH

  std::string_view method_text;
  std::string_view target;       // as sent
  std::string_view path;         // as sent, neither '?' nor query; "/" if an absolute-form has none; "*"
                                 // of asterisk-form; empty for authority-form
  std::string_view query;        // as sent, without the '?'
  std::string_view authority;    // the host to be used, as sent: of an absolute-form or authority-form,
                                 // else of Host (RFC 9112 section 3.2.2); empty only in HTTP/1.0
  std::string_view host_header;  // Host, as sent; empty if absent

  FieldSet present = 0;   // known fields that occur
  FieldSet repeated = 0;  // known fields that occur on more than one line
  uint16_t field_count = 0;
  std::array<uint8_t, KNOWN_FIELDS> first_line{};  // index of a known field's first line, if present
  std::array<HeaderField, FIELDS_MAX> lines;       // the first field_count are valid

  [[nodiscard]] std::span<const HeaderField> fields() const { return {lines.data(), field_count}; }
  [[nodiscard]] bool has(Field field) const { return (present & field_bit(field)) != 0; }
  [[nodiscard]] bool has_repeated(Field field) const { return (repeated & field_bit(field)) != 0; }

  // The bytes that were parsed lie at `to` now: every view into `from` is a view of the same bytes there.
  void move_to(std::string_view from, std::string_view to) {
    const auto move = [&](std::string_view& view) {
      // By number: views may point at literals, and pointers of different objects do not compare.
      const uintptr_t at = reinterpret_cast<uintptr_t>(view.data()) - reinterpret_cast<uintptr_t>(from.data());
      if (view.data() != nullptr && at <= from.size() && view.size() <= from.size() - at) {
        view = {to.data() + at, view.size()};
      }
    };
    for (std::string_view* view : {&method_text, &target, &path, &query, &authority, &host_header}) move(*view);
    for (HeaderField& line : std::span(lines).first(field_count)) {
      move(line.name);
      move(line.value);
    }
  }

  // The value of the first line of that field; empty if there is none.
  [[nodiscard]] std::string_view get(Field field) const {
    return has(field) ? lines[first_line[static_cast<size_t>(field)]].value : std::string_view{};
  }

  // Calls fn(std::string_view value) for every line of a known field, in order.
  template <typename Fn>
  void for_each(Field field, Fn&& fn) const {
    if (!has(field)) return;
    const size_t first = first_line[static_cast<size_t>(field)];
    fn(lines[first].value);
    if (!has_repeated(field)) return;
    for (size_t i = first + 1; i < field_count; ++i) {
      if (field_from_name(lines[i].name) == field) fn(lines[i].value);
    }
  }
};

}  // namespace penstock
