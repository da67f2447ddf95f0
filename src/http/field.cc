#include "src/http/field.h"

#include "src/http/field_lookup.h"

namespace penstock {

std::optional<Field> field_from_name(std::string_view name) {
  const unsigned number = known_field_number(name);
  if (number == NO_FIELD) return std::nullopt;
  return static_cast<Field>(number);
}

std::string_view field_name(Field field) { return FIELD_NAMES[static_cast<size_t>(field)]; }

}  // namespace penstock
