// split() and name_is_valid() or parse_ipv6() decide what is valid, for host_is_valid() and normalise_host()
// alike. Before them host_is_valid() tries a look at whole vectors, which says yes to ordinary names only.

#include "src/http/host.h"

#include "src/base/assert.h"
#include "src/base/bytes.h"
#include "src/http/syntax.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace penstock {
namespace {

constexpr size_t LABEL_BYTES_MAX = 63;
constexpr size_t IPV6_GROUPS = 8;

// Letters, digits, '-', '_' in labels of 1 to 63 bytes, a dot between them and perhaps one at the end (RFC 1123
// section 2.1; '_' is common in private names).
bool name_is_valid(std::string_view name) {
  if (!name.empty() && name.back() == '.') name.remove_suffix(1);
  if (name.empty() || name.size() > HOST_NAME_BYTES_MAX) return false;
  size_t label = 0;
  for (const char c : name) {
    if (is_syntax(c, SYNTAX_HOST)) {
      if (++label > LABEL_BYTES_MAX) return false;
    } else if (c == '.' && label != 0) {
      label = 0;
    } else {
      return false;
    }
  }
  return label != 0;
}

// Four decimal numbers below 256 without leading zeros.
std::optional<uint32_t> parse_ipv4(std::string_view text) {
  uint32_t address = 0;
  for (int part = 0; part < 4; ++part) {
    const size_t dot = text.find('.');
    if ((dot == std::string_view::npos) != (part == 3)) return std::nullopt;
    const std::string_view number = text.substr(0, dot);
    if (number.size() > 3 || (number.size() > 1 && number[0] == '0')) return std::nullopt;
    const auto value = parse_decimal(number);
    if (!value || *value > 255) return std::nullopt;
    address = address << 8 | static_cast<uint32_t>(*value);
    if (part < 3) text.remove_prefix(dot + 1);
  }
  return address;
}

using Ipv6Groups = std::array<uint16_t, IPV6_GROUPS>;

// RFC 4291 section 2.2, without a zone. `text` has no brackets.
std::optional<Ipv6Groups> parse_ipv6(std::string_view text) {
  Ipv6Groups groups{};
  size_t count = 0;
  std::optional<size_t> gap;
  if (text.starts_with("::")) {
    gap = 0;
    text.remove_prefix(2);
  }
  while (!text.empty()) {
    if (count == IPV6_GROUPS) return std::nullopt;
    const size_t colon = text.find(':');
    const std::string_view part = text.substr(0, colon);
    if (part.find('.') != std::string_view::npos) {
      const auto tail = parse_ipv4(part);
      if (!tail || colon != std::string_view::npos || count + 2 > IPV6_GROUPS) return std::nullopt;
      groups[count++] = static_cast<uint16_t>(*tail >> 16);
      groups[count++] = static_cast<uint16_t>(*tail & 0xffff);
      break;
    }
    if (part.empty() || part.size() > 4) return std::nullopt;
    unsigned value = 0;
    for (const char c : part) {
      const int digit = hex_digit(c);
      if (digit < 0) return std::nullopt;
      value = value << 4 | static_cast<unsigned>(digit);
    }
    groups[count++] = static_cast<uint16_t>(value);
    if (colon == std::string_view::npos) break;
    text.remove_prefix(colon + 1);
    if (text.starts_with(":")) {
      if (gap) return std::nullopt;
      gap = count;
      text.remove_prefix(1);
    } else if (text.empty()) {
      return std::nullopt;
    }
  }
  if (!gap) return count == IPV6_GROUPS ? std::optional(groups) : std::nullopt;
  if (count == IPV6_GROUPS) return std::nullopt;
  Ipv6Groups full{};
  for (size_t i = 0; i < *gap; ++i) full[i] = groups[i];
  for (size_t i = *gap; i < count; ++i) full[IPV6_GROUPS - count + i] = groups[i];
  return full;
}

// The longest run of two or more zero groups, the first of equals (RFC 5952 section 4.2).
struct ZeroRun {
  size_t first = IPV6_GROUPS;
  size_t size = 0;
};
ZeroRun longest_zero_run(const Ipv6Groups& groups) {
  ZeroRun best;
  for (size_t i = 0; i < IPV6_GROUPS;) {
    size_t run = 0;
    while (i + run < IPV6_GROUPS && groups[i + run] == 0) ++run;
    if (run >= 2 && run > best.size) best = {i, run};
    i += run == 0 ? 1 : run;
  }
  return best;
}

// RFC 5952, in brackets. At most 41 bytes.
size_t write_ipv6(const Ipv6Groups& groups, char* out) {
  const ZeroRun gap = longest_zero_run(groups);
  size_t size = 0;
  out[size++] = '[';
  for (size_t i = 0; i < IPV6_GROUPS;) {
    if (i == gap.first) {
      out[size++] = ':';
      out[size++] = ':';
      i += gap.size;
      continue;
    }
    if (i != 0 && i != gap.first + gap.size) out[size++] = ':';
    bool begun = false;
    for (int shift = 12; shift >= 0; shift -= 4) {
      const unsigned digit = (groups[i] >> shift) & 0xfU;
      begun = begun || digit != 0 || shift == 0;
      if (begun) out[size++] = "0123456789abcdef"[digit];
    }
    ++i;
  }
  out[size++] = ']';
  return size;
}

struct Authority {
  bool valid = false;
  bool has_port = false;
  uint16_t port = 0;
  std::string_view host;  // with brackets
};

// Digits up to 65535; empty is no port (RFC 3986 section 3.2.3).
bool read_authority_port(std::string_view text, Authority& out) {
  if (text.empty()) return true;
  const auto port = text.size() <= 5 ? parse_decimal(text) : std::nullopt;
  if (!port || *port > 65535) return false;
  out.has_port = true;
  out.port = static_cast<uint16_t>(*port);
  return true;
}

Authority split(std::string_view text) {
  Authority out;
  size_t host_bytes = text.find(':');
  if (text.starts_with('[')) {
    host_bytes = text.find(']');
    if (host_bytes == std::string_view::npos) return out;
    ++host_bytes;
    if (host_bytes != text.size() && text[host_bytes] != ':') return out;
  }
  out.host = text.substr(0, host_bytes);
  out.valid = host_bytes >= text.size() || read_authority_port(text.substr(host_bytes + 1), out);
  return out;
}

std::string_view inside_brackets(std::string_view literal) { return literal.substr(1, literal.size() - 2); }

#if defined(__SSE2__)

// Where letters, digits, '-' and '_' stand, where digits alone, and where dots: bit n is byte n.
struct HostMasks {
  uint64_t name = 0;
  uint64_t digit = 0;
  uint64_t dot = 0;
};

void add_vector(__m128i v, size_t at, HostMasks& masks) {
  const auto at_most = [](__m128i bytes, char limit) {
    return _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(limit)), bytes);
  };
  const __m128i letter = at_most(_mm_sub_epi8(_mm_or_si128(v, _mm_set1_epi8(0x20)), _mm_set1_epi8('a')), 25);
  const __m128i digit = at_most(_mm_sub_epi8(v, _mm_set1_epi8('0')), 9);
  const __m128i dash = _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('-')), _mm_cmpeq_epi8(v, _mm_set1_epi8('_')));
  const __m128i name = _mm_or_si128(_mm_or_si128(letter, digit), dash);
  const __m128i dot = _mm_cmpeq_epi8(v, _mm_set1_epi8('.'));
  masks.name |= static_cast<uint64_t>(_mm_movemask_epi8(name)) << at;
  masks.digit |= static_cast<uint64_t>(_mm_movemask_epi8(digit)) << at;
  masks.dot |= static_cast<uint64_t>(_mm_movemask_epi8(dot)) << at;
}

template <typename Word>
uint64_t word_at(const char* at) {
  Word word;
  std::memcpy(&word, at, sizeof word);
  return word;
}

// REQUIRES: 4 <= text.size() <= 64. Vectors overlap at the end, so nothing beyond `text` is read.
HostMasks masks_of(std::string_view text) {
  HostMasks masks;
  const char* data = text.data();
  const size_t size = text.size();
  if (size >= 16) {
    size_t at = 0;
    for (; at + 16 <= size; at += 16)
      add_vector(_mm_loadu_si128(reinterpret_cast<const __m128i*>(data + at)), at, masks);
    at = size - 16;
    add_vector(_mm_loadu_si128(reinterpret_cast<const __m128i*>(data + at)), at, masks);
  } else if (size >= 8) {
    // The high half is the last eight bytes, shifted down to where the low half ends.
    const uint64_t high = size == 8 ? 0 : word_at<uint64_t>(data + size - 8) >> (8 * (16 - size));
    add_vector(_mm_set_epi64x(static_cast<int64_t>(high), static_cast<int64_t>(word_at<uint64_t>(data))), 0, masks);
  } else {
    const uint64_t both = word_at<uint32_t>(data) | word_at<uint32_t>(data + size - 4) << (8 * (size - 4));
    add_vector(_mm_set_epi64x(0, static_cast<int64_t>(both)), 0, masks);
  }
  return masks;
}

// True only for a valid name or IPv4 address of up to 63 bytes with its port; false says nothing.
bool is_ordinary(std::string_view text) {
  if (text.size() < 4 || text.size() > 63) return false;
  const HostMasks masks = masks_of(text);
  const uint64_t others = ~(masks.name | masks.dot) & ((uint64_t{1} << text.size()) - 1);
  const size_t host_bytes = std::min(static_cast<size_t>(std::countr_zero(others)), text.size());
  const uint64_t dots = masks.dot & ((uint64_t{1} << host_bytes) - 1);
  // No empty label: no dot first, none behind another. No label is too long: all of it is 63 bytes.
  if (host_bytes == 0 || (dots & 1) != 0 || (dots & (dots << 1)) != 0) return false;
  if (host_bytes == text.size()) return true;
  // One to four digits: no port is out of range.
  const size_t port_bytes = text.size() - host_bytes - 1;
  const uint64_t port = ((uint64_t{1} << port_bytes) - 1) << (host_bytes + 1);
  return text[host_bytes] == ':' && port_bytes >= 1 && port_bytes <= 4 && (masks.digit & port) == port;
}

#else

bool is_ordinary(std::string_view) { return false; }

#endif

}  // namespace

bool host_is_valid(std::string_view authority) {
  if (is_ordinary(authority)) [[likely]]
    return true;
  const Authority parts = split(authority);
  if (!parts.valid) return false;
  if (parts.host.starts_with('[')) return parse_ipv6(inside_brackets(parts.host)).has_value();
  return name_is_valid(parts.host);
}

HostName normalise_host(std::string_view authority, std::span<char> out) {
  ASSERT(out.size() >= HOST_NAME_BYTES_MAX);
  const Authority parts = split(authority);
  HostName host;
  if (!parts.valid) return host;
  size_t size = 0;
  if (parts.host.starts_with('[')) {
    const auto groups = parse_ipv6(inside_brackets(parts.host));
    if (!groups) return host;
    host.kind = HostKind::IPV6;
    size = write_ipv6(*groups, out.data());
  } else {
    if (!name_is_valid(parts.host)) return host;
    std::string_view name = parts.host;
    if (name.back() == '.') name.remove_suffix(1);
    host.kind = parse_ipv4(name) ? HostKind::IPV4 : HostKind::NAME;
    for (const char c : name) out[size++] = ascii_lower(c);
  }
  host.name = {out.data(), size};
  host.has_port = parts.has_port;
  host.port = parts.port;
  return host;
}

std::string origin_name(std::string_view authority, bool secure) {
  std::array<char, HOST_NAME_BYTES_MAX> room;
  const HostName host = normalise_host(authority, room);
  if (host.kind == HostKind::INVALID) return std::string(authority);
  std::string name(host.name);
  if (host.has_port && host.port != (secure ? 443 : 80)) name.append(":").append(std::to_string(host.port));
  return name;
}

}  // namespace penstock
