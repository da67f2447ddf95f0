// Field: the request fields that are known by number (headers.def). Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace penstock {

enum class Field : uint8_t {
#define X(name, text, plain) name,
#include "src/http/headers.def"
#undef X
};

inline constexpr size_t KNOWN_FIELDS = 0
#define X(name, text, plain) +1
#include "src/http/headers.def"
#undef X
    ;
static_assert(KNOWN_FIELDS <= 64, "RequestHead keeps sets of Fields in 64-bit words");

// A set of Fields, as RequestHead keeps them: bit n is the Field of number n.
using FieldSet = uint64_t;
constexpr FieldSet field_bit(Field field) { return FieldSet{1} << static_cast<unsigned>(field); }

// Fields whose presence takes a request off the hot path (headers.def's third column is false).
inline constexpr FieldSet NOT_PLAIN_FIELDS = 0
#define X(name, text, plain) | (plain ? FieldSet{0} : field_bit(Field::name))
#include "src/http/headers.def"
#undef X
    ;

// The field of that name, whatever its case. REQUIRES: `name` is a token (RFC 9110 section 5.6.2).
// Nothing if the name is not in headers.def. Reads not one byte beyond `name`.
[[nodiscard]] std::optional<Field> field_from_name(std::string_view name);

// In lower case.
[[nodiscard]] std::string_view field_name(Field field);

}  // namespace penstock
