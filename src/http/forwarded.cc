// Fuzzed by src/http/forwarded_fuzz.cc
#include "src/http/forwarded.h"

#include "src/base/bytes.h"
#include "src/http/syntax.h"

#include <algorithm>
#include <arpa/inet.h>
#include <optional>
#include <string>

namespace penstock {
namespace {

constexpr size_t ADDRESS_CHARS_MAX = INET6_ADDRSTRLEN - 1;

// The part behind the last comma that is not within quotes, seen from the right; it is taken off.
std::string_view take_last_element(std::string_view& value) {
  bool quoted = false;
  size_t at = value.size();
  for (; at > 0; --at) {
    const char c = value[at - 1];
    if (c == ',' && !quoted) break;
    if (c != '"') continue;
    size_t slashes = 0;
    while (quoted && slashes + 1 < at && value[at - 2 - slashes] == '\\') ++slashes;
    if (slashes % 2 == 0) quoted = !quoted;
  }
  const std::string_view element = value.substr(at);
  value = value.substr(0, at == 0 ? 0 : at - 1);
  return trim_ows(element);
}

bool read_hop_port(std::string_view text, uint16_t& port) {
  if (text.empty() || text.size() > 5) return false;
  const auto number = parse_decimal(text);
  if (!number || *number > UINT16_MAX) return false;
  port = static_cast<uint16_t>(*number);
  return true;
}

bool read_ip(std::string_view text, bool v4, HopAddress& hop) {
  char terminated[INET6_ADDRSTRLEN];
  if (text.empty() || text.size() > ADDRESS_CHARS_MAX || text.find('\0') != std::string_view::npos) return false;
  *std::ranges::copy(text, terminated).out = '\0';
  hop.ip = {};
  if (::inet_pton(v4 ? AF_INET : AF_INET6, terminated, hop.ip.data() + (v4 ? 12 : 0)) != 1) return false;
  constexpr std::array<uint8_t, 12> MAPPED = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (v4) std::ranges::copy(MAPPED, hop.ip.begin());
  hop.v4 = std::equal(MAPPED.begin(), MAPPED.end(), hop.ip.begin());
  return true;
}

// A token or a quoted-string at the front of `text`, which is taken off it.
std::optional<std::string> take_value(std::string_view& text) {
  std::string value;
  if (!text.starts_with('"')) {
    while (!text.empty() && is_syntax(text.front(), SYNTAX_TOKEN)) {
      value += text.front();
      text.remove_prefix(1);
    }
    return value.empty() ? std::nullopt : std::optional(value);
  }
  text.remove_prefix(1);
  while (!text.empty() && text.front() != '"') {
    if (text.front() == '\\') text.remove_prefix(1);
    if (text.empty()) return std::nullopt;
    value += text.front();
    text.remove_prefix(1);
  }
  if (text.empty()) return std::nullopt;
  text.remove_prefix(1);
  return value;
}

// RFC 7239 section 4: the value of "for", which stands there once; nothing where the element is malformed.
std::optional<std::string> for_of(std::string_view element) {
  std::optional<std::string> found;
  while (!element.empty()) {
    if (element.front() == ';') {  // a pair may be absent
      element = trim_ows(element.substr(1));
      continue;
    }
    const size_t equals = element.find('=');
    if (equals == std::string_view::npos) return std::nullopt;
    const std::string_view name = element.substr(0, equals);
    if (!is_http_token(name)) return std::nullopt;
    element.remove_prefix(equals + 1);
    std::optional<std::string> value = take_value(element);
    if (!value) return std::nullopt;
    element = trim_ows(element);
    if (!element.empty() && element.front() != ';') return std::nullopt;
    if (!iequals(name, "for")) continue;
    if (found) return std::nullopt;
    found = std::move(value);
  }
  return found;
}

}  // namespace

bool read_hop_address(std::string_view text, bool bare_v6, HopAddress& hop) {
  hop = HopAddress{};
  if (text.starts_with('[')) {
    const size_t end = text.find(']');
    if (end == std::string_view::npos) return false;
    const std::string_view behind = text.substr(end + 1);
    if (!behind.empty() && (behind.front() != ':' || !read_hop_port(behind.substr(1), hop.port))) return false;
    return read_ip(text.substr(1, end - 1), false, hop);
  }
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) return read_ip(text, true, hop);
  if (text.find(':', colon + 1) != std::string_view::npos) return bare_v6 && read_ip(text, false, hop);
  return read_hop_port(text.substr(colon + 1), hop.port) && read_ip(text.substr(0, colon), true, hop);
}

HopState take_hop_of_forwarded(std::string_view& value, HopAddress& hop) {
  std::string_view element;
  while (element.empty()) {
    if (value.empty()) return HopState::END;
    element = take_last_element(value);
  }
  const std::optional<std::string> node = for_of(element);
  return node && read_hop_address(*node, false, hop) ? HopState::ADDRESS : HopState::UNKNOWN;
}

HopState take_hop_of_x_forwarded_for(std::string_view& value, HopAddress& hop) {
  std::string_view element;
  while (element.empty()) {
    if (value.empty()) return HopState::END;
    const size_t comma = value.rfind(',');
    element = trim_ows(value.substr(comma == std::string_view::npos ? 0 : comma + 1));
    value = value.substr(0, comma == std::string_view::npos ? 0 : comma);
  }
  return read_hop_address(element, true, hop) ? HopState::ADDRESS : HopState::UNKNOWN;
}

}  // namespace penstock
