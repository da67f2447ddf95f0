#include "pool/runtimes/gateway/cgi_head.h"

#include "src/base/assert.h"
#include "src/base/bytes.h"

#include <algorithm>
#include <charconv>

namespace penstock {
namespace {

bool is_token_char(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

bool is_value_char(char c) {
  const auto code = static_cast<unsigned char>(c);
  return (code >= 0x20 && code != 0x7f) || c == '\t';
}

// Section 6.3.2: a path is of this site; "//host/path" and what has a scheme is for the client.
bool is_local(std::string_view location) { return location.starts_with('/') && !location.starts_with("//"); }

}  // namespace

CgiHeadParser::State CgiHeadParser::bad(std::string_view error) {
  error_ = error;
  return State::BAD;
}

bool CgiHeadParser::refuse(std::string_view error) {
  error_ = error;
  return false;
}

CgiHeadParser::State CgiHeadParser::feed(std::string_view bytes, size_t& consumed) {
  consumed = 0;
  while (consumed < bytes.size()) {
    const size_t end = bytes.find('\n', consumed);
    const size_t piece = (end == std::string_view::npos ? bytes.size() : end + 1) - consumed;
    if (text_.size() + piece > BYTES_MAX) return bad("is longer than 64 KiB");
    text_.append(bytes.substr(consumed, piece));
    consumed += piece;
    if (end == std::string_view::npos) break;
    const std::string_view line = std::string_view(text_).substr(line_at_);
    if (line == "\n" || line == "\r\n") return understand();
    line_at_ = text_.size();
  }
  return State::NEED_MORE;
}

CgiHeadParser::State CgiHeadParser::understand() {
  std::string_view left = std::string_view(text_).substr(0, line_at_);
  while (!left.empty()) {
    const size_t end = left.find('\n');
    std::string_view line = left.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!understand_line(line)) return State::BAD;
    left.remove_prefix(end + 1);
  }
  if (location_.data() != nullptr && !has_status_) {
    if (is_local(location_)) {
      head_.local_redirect = location_.substr(0, location_.find('#'));  // a fragment is none of the server's business
      return State::COMPLETE;
    }
    head_.status = 302;
  }
  if (location_.data() != nullptr) head_.fields.emplace_back("Location", location_);
  if (head_.fields.empty() && !has_status_ && !head_.content_length) return bad("has no field");
  return State::COMPLETE;
}

bool CgiHeadParser::understand_line(std::string_view line) {
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return refuse("has a line without a colon");
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = trim_ows(line.substr(colon + 1));
  if (name.empty() || !std::ranges::all_of(name, is_token_char)) return refuse("has a malformed field name");
  if (!std::ranges::all_of(value, is_value_char)) return refuse("has a control character in a field");
  if (iequals(name, "Status")) return understand_status(value);
  if (iequals(name, "Content-Length")) return understand_length(value);
  if (iequals(name, "Location")) {
    if (location_.data() != nullptr) return refuse("has two Location fields");
    if (value.empty()) return refuse("has an empty Location");
    location_ = value;
    return true;
  }
  if (iequals(name, "Content-Type")) {
    if (has_type_) return refuse("has two Content-Type fields");
    has_type_ = true;
  }
  head_.fields.emplace_back(name, value);
  return true;
}

bool CgiHeadParser::understand_status(std::string_view value) {
  if (has_status_) return refuse("has two Status fields");
  has_status_ = true;
  const auto [end, error] =
      std::from_chars(value.data(), value.data() + std::min<size_t>(value.size(), 3), head_.status);
  const std::string_view rest = value.substr(static_cast<size_t>(end - value.data()));
  const bool three = error == std::errc() && value.size() - rest.size() == 3 && (rest.empty() || rest.front() == ' ');
  if (!three || head_.status < 200 || head_.status > 599) return refuse("has a Status that is not 200 to 599");
  return true;
}

bool CgiHeadParser::understand_length(std::string_view value) {
  if (head_.content_length) return refuse("has two Content-Length fields");
  uint64_t length = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), length);
  if (value.empty() || error != std::errc() || end != value.data() + value.size() || length > INT64_MAX) {
    return refuse("has a Content-Length that is no number");
  }
  head_.content_length = length;
  return true;
}

}  // namespace penstock
