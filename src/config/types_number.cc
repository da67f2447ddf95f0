// Fuzzed by src/config/parse_fuzz.cc
// Switches, numbers, sizes, times.
#include "src/base/bytes.h"
#include "src/config/types.h"

#include <fmt/format.h>

namespace penstock {
namespace {

struct Unit {
  std::string_view name;
  uint64_t factor;
};

// Largest first; the last has factor 1.
constexpr Unit SIZE_UNITS[] = {{"g", uint64_t{1} << 30}, {"m", uint64_t{1} << 20}, {"k", uint64_t{1} << 10}, {"", 1}};
constexpr Unit TIME_UNITS[] = {{"h", 3'600'000}, {"m", 60'000}, {"s", 1'000}, {"ms", 1}};

// Digits and one of `units`; nothing on overflow or anything else.
std::optional<uint64_t> parse_with_unit(std::string_view text, std::span<const Unit> units) {
  size_t digits = 0;
  while (digits < text.size() && is_digit(text[digits])) ++digits;
  const auto number = parse_decimal(text.substr(0, digits));
  if (!number) return std::nullopt;
  const std::string_view suffix = text.substr(digits);
  for (const Unit& unit : units) {
    if (!iequals(suffix, unit.name)) continue;
    if (*number > UINT64_MAX / unit.factor) return std::nullopt;
    return *number * unit.factor;
  }
  return std::nullopt;
}

// The largest unit that holds the value exactly: each value has one text.
std::string print_with_unit(uint64_t value, std::span<const Unit> units) {
  if (value == 0) return "0";
  for (const Unit& unit : units) {
    if (value % unit.factor == 0) return fmt::format("{}{}", value / unit.factor, unit.name);
  }
  return fmt::format("{}", value);
}

bool within(uint64_t value, SettingRange range) { return value >= range.min && value <= range.max; }

}  // namespace

std::string ConfigBool::expects(SettingRange) { return "0 or 1 (or off, on, no, yes, false, true)"; }

Parsed<bool> ConfigBool::parse(std::string_view text, SettingRange range) {
  for (const std::string_view word : {"1", "on", "yes", "true"}) {
    if (text == word) return true;
  }
  for (const std::string_view word : {"0", "off", "no", "false"}) {
    if (text == word) return false;
  }
  return std::unexpected(expects(range));
}

std::string ConfigBool::print(bool value) { return value ? "1" : "0"; }

std::string ConfigCount::expects(SettingRange range) {
  return fmt::format("a whole number from {} to {}", range.min, range.max);
}

Parsed<uint32_t> ConfigCount::parse(std::string_view text, SettingRange range) {
  const auto value = parse_decimal(text);
  if (!value || !within(*value, range) || *value > UINT32_MAX) return std::unexpected(expects(range));
  return static_cast<uint32_t>(*value);
}

std::string ConfigCount::print(uint32_t value) { return fmt::format("{}", value); }

std::string ConfigPowerOfTwo::expects(SettingRange range) {
  return fmt::format("a power of two from {} to {}", range.min, range.max);
}

Parsed<uint32_t> ConfigPowerOfTwo::parse(std::string_view text, SettingRange range) {
  const auto value = ConfigCount::parse(text, range);
  if (!value || *value == 0 || (*value & (*value - 1)) != 0) return std::unexpected(expects(range));
  return value;
}

std::string ConfigSize::expects(SettingRange range) {
  return fmt::format("a size from {} to {}, in bytes or with k, m, g", print(range.min), print(range.max));
}

Parsed<uint64_t> ConfigSize::parse(std::string_view text, SettingRange range) {
  const auto value = parse_with_unit(text, SIZE_UNITS);
  if (!value || !within(*value, range)) return std::unexpected(expects(range));
  return *value;
}

std::string ConfigSize::print(uint64_t value) { return print_with_unit(value, SIZE_UNITS); }

std::string ConfigTime::expects(SettingRange range) {
  return fmt::format("a time from {} to {}, with ms, s, m or h", print_with_unit(range.min, TIME_UNITS),
                     print_with_unit(range.max, TIME_UNITS));
}

Parsed<Duration> ConfigTime::parse(std::string_view text, SettingRange range) {
  const auto value = text == "0" ? std::optional<uint64_t>(0) : parse_with_unit(text, TIME_UNITS);
  constexpr uint64_t MS_MAX = INT64_MAX / 1'000'000;
  if (!value || !within(*value, range) || *value > MS_MAX) return std::unexpected(expects(range));
  return milliseconds(static_cast<int64_t>(*value));
}

std::string ConfigTime::print(Duration value) { return print_with_unit(static_cast<uint64_t>(value.ms()), TIME_UNITS); }

}  // namespace penstock
