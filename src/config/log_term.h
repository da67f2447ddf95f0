// LogTerm: one condition on a record of the log, as log.access.where and `penstock log follow --where` have it.
//
// FIELD OP VALUE without spaces. FIELD: a name of log.access.fields, or its name in JSON ("status", "path").
// OP: = != < <= > >= for numbers, = != ^= (begins with) *= (contains) for text. Text is compared as a W3C log writes it
// (a space is '+'), a field without a value is "-". Pure.
#pragma once

#include "src/config/types.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace penstock {

struct LogTerm {
  enum class Op : uint8_t { EQUAL, UNEQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL, BEGINS, CONTAINS };
  size_t field = 0;  // row of log_fields.def
  Op op = Op::EQUAL;
  bool is_number = false;
  double number = 0;
  std::string text;

  // Of a value as a W3C log has it.
  [[nodiscard]] bool holds(std::string_view value) const;
  // REQUIRES: is_number.
  [[nodiscard]] bool holds_of(double value) const;
};

// On error what is wrong, with the term.
[[nodiscard]] Parsed<LogTerm> parse_log_term(const std::string& text);

}  // namespace penstock
