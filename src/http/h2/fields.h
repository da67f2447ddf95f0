// Fields as nghttp2 hands them over, and which of them HTTP/2 does not carry.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace penstock {

inline std::string_view h2_text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// RFC 9113 section 8.2.2: fields that speak of one connection; `name` in lower case.
inline bool is_connection_field(std::string_view name) {
  constexpr std::array<std::string_view, 5> NAMES = {"connection", "keep-alive", "proxy-connection",
                                                     "transfer-encoding", "upgrade"};
  return std::ranges::find(NAMES, name) != NAMES.end();
}

}  // namespace penstock
