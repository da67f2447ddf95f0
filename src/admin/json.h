// JSON without exceptions: what the control socket, the role channel and the commands speak.
//
// Wraps nlohmann-json (its home is src/admin and src/cli): text that is not JSON is "nothing", a missing or wrongly
// typed member is the given default, and bytes that are not UTF-8 are replaced when written. Pure; any thread.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace penstock {

using Json = nlohmann::json;

// The value that is the whole of `text`, or nothing.
[[nodiscard]] inline std::optional<Json> parse_json(std::string_view text) {
  Json value = Json::parse(text.begin(), text.end(), nullptr, false);
  if (value.is_discarded()) return std::nullopt;
  return value;
}

// On one line, whatever the strings hold.
[[nodiscard]] inline std::string json_line(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

[[nodiscard]] inline std::string json_text(const Json& object, const char* key, std::string_view fallback = {}) {
  if (!object.is_object()) return std::string(fallback);
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get_ref<const std::string&>() : std::string(fallback);
}

[[nodiscard]] inline uint64_t json_number(const Json& object, const char* key, uint64_t fallback = 0) {
  if (!object.is_object()) return fallback;
  const auto it = object.find(key);
  return it != object.end() && it->is_number_unsigned() ? it->get<uint64_t>() : fallback;
}

[[nodiscard]] inline bool json_flag(const Json& object, const char* key) {
  if (!object.is_object()) return false;
  const auto it = object.find(key);
  return it != object.end() && it->is_boolean() && it->get<bool>();
}

// The member if it is an array, else an empty array.
[[nodiscard]] inline const Json& json_array(const Json& object, const char* key) {
  static const Json empty = Json::array();
  if (!object.is_object()) return empty;
  const auto it = object.find(key);
  return it != object.end() && it->is_array() ? *it : empty;
}
const Json& json_array(Json&& object, const char* key) = delete;  // the answer would outlive the object

}  // namespace penstock
