// Method: the request methods that penstock tells apart (RFC 9110 section 9.3, RFC 5789).
#pragma once

#include <cstdint>
#include <string_view>

namespace penstock {

enum class Method : uint8_t { GET, HEAD, OPTIONS, POST, PUT, DELETE, PATCH, TRACE, CONNECT, OTHER };

// Methods are case-sensitive. Anything not listed is OTHER.
[[nodiscard]] Method method_from_text(std::string_view text);

// "GET"; "OTHER" for OTHER (its own text stands in RequestHead::method_text).
[[nodiscard]] std::string_view method_name(Method method);

}  // namespace penstock
