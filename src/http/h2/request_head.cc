#include "src/http/h2/request_head.h"

#include "src/base/bytes.h"
#include "src/http/h2/fields.h"
#include "src/http/syntax.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace penstock {
namespace {

constexpr uint64_t EACH = 0x0101'0101'0101'0101;  // times a byte: that byte in each of eight

enum Pseudo : uint8_t { METHOD = 1, SCHEME = 2, AUTHORITY = 4, PATH = 8 };

bool all_of_class(std::string_view text, uint8_t classes) {
  return std::ranges::all_of(text, [classes](char c) { return is_syntax(c, classes); });
}

// RFC 9113 section 8.2.1: a token without upper-case letters.
bool is_h2_name(std::string_view name) {
  const auto is_good = [](char c) { return is_syntax(c, SYNTAX_TOKEN) && !(c >= 'A' && c <= 'Z'); };
  return !name.empty() && std::ranges::all_of(name, is_good);
}

bool is_h2_value(std::string_view value) {
  if (value.empty()) return true;
  const auto is_space = [](char c) { return c == ' ' || c == '\t'; };
  if (is_space(value.front()) || is_space(value.back())) return false;
  // Eight bytes at once while no control character is among them, as in nearly all values.
  for (uint64_t eight = 0; value.size() >= sizeof eight; value.remove_prefix(sizeof eight)) {
    std::memcpy(&eight, value.data(), sizeof eight);
    const uint64_t from_del = eight ^ (EACH * 0x7f);
    const uint64_t below_space = (eight - EACH * 0x20) & ~eight;
    const uint64_t equal_del = (from_del - EACH) & ~from_del;
    if (((below_space | equal_del) & EACH * 0x80) != 0) break;
  }
  return all_of_class(value, SYNTAX_VALUE);
}

}  // namespace

H2Priority parse_h2_priority(std::string_view value, H2Priority priority) {
  while (!value.empty()) {
    std::string_view member = next_element(value);
    member = member.substr(0, member.find(';'));  // parameters mean nothing yet
    if (member.size() == 3 && member.starts_with("u=") && member[2] >= '0' && member[2] <= '7') {
      priority.urgency = static_cast<uint8_t>(member[2] - '0');
    } else if (member == "i" || member == "i=?1") {
      priority.incremental = true;
    } else if (member == "i=?0") {
      priority.incremental = false;
    }
  }
  return priority;
}

void H2RequestHead::begin(Section section, size_t text_bytes_max) {
  section_ = section;
  text_bytes_max_ = text_bytes_max;
  fields_begun_ = cut_off_ = chunked_ = false;
  pseudo_seen_ = 0;
  list_bytes_ = 0;
  offence_ = Reason::NONE;
  content_length_.reset();
  priority_.reset();
  for (std::string* text : {&text_, &method_, &path_, &authority_, &host_, &cookie_}) text->clear();
}

void H2RequestHead::add(std::string_view text) {
  if (cut_off_) return;
  const size_t room = text_bytes_max_ + 1 - text_.size();
  text_.append(text.substr(0, room));
  cut_off_ = text.size() >= room;
}

void H2RequestHead::add_line(std::string_view name, std::string_view value) {
  const size_t size = name.size() + value.size() + 4;
  const size_t at = text_.size();
  if (at + size <= text_bytes_max_) {  // as nearly all: in one step
    text_.resize(at + size);
    char* to = std::ranges::copy(name, text_.data() + at).out;
    to = std::ranges::copy(std::string_view(": "), to).out;
    to = std::ranges::copy(value, to).out;
    std::ranges::copy(std::string_view("\r\n"), to);
    return;
  }
  add(name);
  add(": ");
  add(value);
  add("\r\n");
}

void H2RequestHead::field(std::string_view name, std::string_view value) {
  list_bytes_ += name.size() + value.size() + 32;
  if (offence_ != Reason::NONE) return;
  offence_ = !name.empty() && name.front() == ':' ? pseudo(name, value) : regular(name, value);
}

Reason H2RequestHead::pseudo(std::string_view name, std::string_view value) {
  if (section_ == Section::TRAILERS) return Reason::H2_PSEUDO_IN_TRAILERS;
  uint8_t which = 0;
  if (name == ":method") which = METHOD;
  if (name == ":scheme") which = SCHEME;
  if (name == ":authority") which = AUTHORITY;
  if (name == ":path") which = PATH;
  if (which == 0) return Reason::H2_PSEUDO_UNKNOWN;
  if (fields_begun_) return Reason::H2_PSEUDO_AFTER_FIELD;
  if ((pseudo_seen_ & which) != 0) return Reason::H2_PSEUDO_REPEATED;
  pseudo_seen_ |= which;
  // No more is kept than what makes the text too long.
  const std::string_view kept = value.substr(0, text_bytes_max_ + 1);
  switch (which) {
    case METHOD:
      method_ = kept;
      return is_http_token(value) ? Reason::NONE : Reason::H2_METHOD_INVALID;
    case SCHEME:
      return value == "http" || value == "https" ? Reason::NONE : Reason::H2_SCHEME_INVALID;
    case AUTHORITY:
      authority_ = kept;
      // SYNTAX_PATH: no control, no space; whether it is a host the parser above says.
      return !value.empty() && all_of_class(value, SYNTAX_PATH) ? Reason::NONE : Reason::H2_AUTHORITY_INVALID;
    default:
      path_ = kept;
      return !value.empty() && all_of_class(value, SYNTAX_QUERY) ? Reason::NONE : Reason::H2_PATH_INVALID;
  }
}

// Section 8.3.1: the pseudo-header fields are complete.
Reason H2RequestHead::begin_text() {
  fields_begun_ = true;
  if (section_ == Section::TRAILERS) return Reason::NONE;
  if ((pseudo_seen_ & METHOD) == 0) return Reason::H2_PSEUDO_MISSING;
  if (method_ == "CONNECT") {
    // Section 8.5: an authority, and nothing else.
    if (pseudo_seen_ != (METHOD | AUTHORITY)) return Reason::H2_CONNECT_INVALID;
    path_ = authority_;
  } else {
    if ((pseudo_seen_ & (SCHEME | PATH)) != (SCHEME | PATH)) return Reason::H2_PSEUDO_MISSING;
    if (path_.front() != '/' && !(path_ == "*" && method_ == "OPTIONS")) return Reason::H2_PATH_INVALID;
  }
  add(method_);
  add(" ");
  add(path_);
  add(" HTTP/1.1\r\n");
  if ((pseudo_seen_ & AUTHORITY) != 0) add_line("host", authority_);
  return Reason::NONE;
}

Reason H2RequestHead::regular(std::string_view name, std::string_view value) {
  if (!fields_begun_) {
    if (const Reason reason = begin_text(); reason != Reason::NONE) return reason;
  }
  if (!is_h2_name(name)) return Reason::H2_NAME_INVALID;
  if (!is_h2_value(value)) return Reason::H2_VALUE_INVALID;
  if (is_connection_field(name)) return Reason::H2_CONNECTION_FIELD;
  bool is_written = false;
  if (const Reason reason = special(name, value, is_written); reason != Reason::NONE) return reason;
  if (!is_written) add_line(name, value);
  return Reason::NONE;
}

// Fields that this version of HTTP treats in its own way. `is_written`: there is nothing left to be written of it.
Reason H2RequestHead::special(std::string_view name, std::string_view value, bool& is_written) {
  if (name == "te") {
    is_written = true;  // it means one connection in HTTP/1.1
    return iequals(value, "trailers") ? Reason::NONE : Reason::H2_TE_INVALID;
  }
  if (section_ == Section::TRAILERS) {
    // What frames or routes a message cannot come behind it (RFC 9110 section 6.5.1).
    return name == "content-length" || name == "host" ? Reason::H2_TRAILER_INVALID : Reason::NONE;
  }
  if (name == "host") {
    is_written = true;
    // Section 8.3.1: one request has one authority.
    const bool has_one = (pseudo_seen_ & AUTHORITY) != 0 || !host_.empty();
    if (has_one && !iequals(value, host_.empty() ? authority_ : host_)) return Reason::H2_AUTHORITY_DIFFERS;
    if (!has_one) {
      host_ = value.substr(0, text_bytes_max_ + 1);
      add_line("host", value);
    }
  } else if (name == "content-length") {
    const auto length = parse_decimal(value);
    const bool is_good = length && *length <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    if (!is_good || content_length_) return Reason::H2_LENGTH_INVALID;
    content_length_ = *length;
  } else if (name == "cookie") {
    // Section 8.2.3: crumbs are one field again.
    is_written = true;
    if (cookie_.size() <= text_bytes_max_) {
      if (!cookie_.empty()) cookie_ += "; ";
      cookie_ += value;
    }
  } else if (name == "priority") {
    priority_ = parse_h2_priority(value, priority_.value_or(H2Priority{}));
  }
  return Reason::NONE;
}

Reason H2RequestHead::finish(bool end_stream) {
  if (offence_ == Reason::NONE && !fields_begun_) offence_ = begin_text();
  if (offence_ != Reason::NONE) return offence_;
  if (section_ == Section::TRAILERS) return Reason::NONE;
  if (end_stream && content_length_.value_or(0) != 0) return offence_ = Reason::H2_LENGTH_DIFFERS;
  if (!cookie_.empty()) add_line("cookie", cookie_);
  chunked_ = !end_stream && !content_length_;
  if (chunked_) add("transfer-encoding: chunked\r\n");
  add("\r\n");
  return Reason::NONE;
}

}  // namespace penstock
