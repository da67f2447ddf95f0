// Fuzzed by src/log/drain/filter_fuzz.cc
#include "src/config/log_term.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

namespace penstock {
namespace {

enum class FieldType : uint8_t { NUMBER, STRING, TEXT };

struct FieldRow {
  std::string_view w3c;
  std::string_view json;
  FieldType type;
};

constexpr FieldRow FIELDS[] = {
#define FIELD(name, w3c, json, type, help) {w3c, json, FieldType::type},
#include "src/config/log_fields.def"
};

std::optional<double> number_in(std::string_view text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

const FieldRow* field_named(const std::string& name) {
  const auto find = [](std::string_view FieldRow::*member, std::string_view wanted) {
    return std::find_if(std::begin(FIELDS), std::end(FIELDS),
                        [&](const FieldRow& row) { return row.*member == wanted; });
  };
  if (const FieldRow* row = find(&FieldRow::json, name); row != std::end(FIELDS)) return row;
  const auto canonical = ConfigLogFieldItem::parse_item(name);
  return canonical ? find(&FieldRow::w3c, *canonical) : nullptr;
}

}  // namespace

Parsed<LogTerm> parse_log_term(const std::string& text) {
  using Op = LogTerm::Op;
  constexpr std::pair<std::string_view, Op> OPS[] = {
      // the longer ones first
      {"!=", Op::UNEQUAL},  {"<=", Op::LESS_EQUAL}, {">=", Op::GREATER_EQUAL}, {"^=", Op::BEGINS},
      {"*=", Op::CONTAINS}, {"=", Op::EQUAL},       {"<", Op::LESS},           {">", Op::GREATER}};
  const auto refuse = [&](const std::string& why) { return std::unexpected("'" + text.substr(0, 200) + "': " + why); };
  const size_t at = text.find_first_of("!<>^*=");
  const auto* op = std::end(OPS);
  if (at != std::string::npos) {
    op = std::find_if(std::begin(OPS), std::end(OPS),
                      [&](const auto& o) { return text.compare(at, o.first.size(), o.first) == 0; });
  }
  if (op == std::end(OPS)) return refuse("a condition is FIELD OP VALUE, with one of = != < <= > >= ^= *=");
  const FieldRow* field = field_named(text.substr(0, at));
  if (field == nullptr) return refuse("no field of the log is called '" + text.substr(0, at) + "'");
  LogTerm term;
  term.field = static_cast<size_t>(field - FIELDS);
  term.op = op->second;
  term.text = text.substr(at + op->first.size());
  term.is_number = field->type == FieldType::NUMBER;
  const bool for_numbers = term.op >= Op::LESS && term.op <= Op::GREATER_EQUAL;
  const bool for_text = term.op >= Op::BEGINS;
  if (term.is_number) {
    const auto number = number_in(term.text);
    if (!number) return refuse("a number is compared with a number");
    if (for_text) return refuse("a number is compared by = != < <= > >=");
    term.number = *number;
  } else if (for_numbers) {
    return refuse("text is compared by = != ^= *=");
  }
  return term;
}

bool LogTerm::holds_of(double value) const {
  switch (op) {
    case Op::EQUAL:
      return value == number;
    case Op::UNEQUAL:
      return value != number;
    case Op::LESS:
      return value < number;
    case Op::LESS_EQUAL:
      return value <= number;
    case Op::GREATER:
      return value > number;
    default:
      return value >= number;
  }
}

bool LogTerm::holds(std::string_view value) const {
  if (is_number) {
    const auto theirs = number_in(value);
    return theirs ? holds_of(*theirs) : op == Op::UNEQUAL;  // "-": a stage that was not reached
  }
  switch (op) {
    case Op::EQUAL:
      return value == text;
    case Op::UNEQUAL:
      return value != text;
    case Op::BEGINS:
      return value.starts_with(text);
    default:
      return value.find(text) != std::string_view::npos;
  }
}

}  // namespace penstock
