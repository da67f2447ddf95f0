// Host: checking and normalising the authority of a request (RFC 9110 section 7.2, RFC 3986 section 3.2).
//
// Stricter than RFC 3986: a name has letters, digits, '-', '_' and '.' only (no escapes, no
// sub-delims, no userinfo), labels are not empty, and 253 bytes are the most. Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace penstock {

// Longest normalised name: a DNS name; an IPv6 literal in brackets has at most 47.
inline constexpr size_t HOST_NAME_BYTES_MAX = 253;

enum class HostKind : uint8_t { INVALID, NAME, IPV4, IPV6 };

struct HostName {
  HostKind kind = HostKind::INVALID;
  bool has_port = false;
  uint16_t port = 0;
  std::string_view name;  // lower case, without port and trailing dot; an IPv6 literal in brackets, in the
                          // form of RFC 5952; within `out`
};

// Whether `authority` is host [":" port]. Cheap for ordinary names; the parser calls it on each request.
[[nodiscard]] bool host_is_valid(std::string_view authority);

// As above, and the normal form, by which sites are found. INVALID exactly where host_is_valid() is false.
// REQUIRES: out.size() >= HOST_NAME_BYTES_MAX.
[[nodiscard]] HostName normalise_host(std::string_view authority, std::span<char> out);

// One name for every spelling of an authority: the normal form, and ":port" unless that is the scheme's own (80, or 443
// of https). What is no authority is given back as it is.
[[nodiscard]] std::string origin_name(std::string_view authority, bool secure);

}  // namespace penstock
