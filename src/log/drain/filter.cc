#include "src/log/drain/filter.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

namespace penstock {
namespace {

std::optional<double> number_in(std::string_view text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<LogField> field_named(const std::string& name) {
  for (size_t i = 0; i < LOG_FIELD_INFO.size(); ++i) {
    if (LOG_FIELD_INFO[i].json == name) return static_cast<LogField>(i);
  }
  const auto fields = log_fields(std::span(&name, 1));
  if (!fields) return std::nullopt;
  return fields->front();
}

}  // namespace

Result<LogFilter::Term> LogFilter::parse_term(const std::string& text) {
  constexpr std::pair<std::string_view, Op> OPS[] = {
      // the longer ones first
      {"!=", Op::UNEQUAL},  {"<=", Op::LESS_EQUAL}, {">=", Op::GREATER_EQUAL}, {"^=", Op::BEGINS},
      {"*=", Op::CONTAINS}, {"=", Op::EQUAL},       {"<", Op::LESS},           {">", Op::GREATER}};
  const auto refuse = [&](const std::string& why) { return fail("'" + text.substr(0, 200) + "': " + why); };
  const size_t at = text.find_first_of("!<>^*=");
  const auto* op = std::end(OPS);
  if (at != std::string::npos) {
    op = std::find_if(std::begin(OPS), std::end(OPS),
                      [&](const auto& o) { return text.compare(at, o.first.size(), o.first) == 0; });
  }
  if (op == std::end(OPS)) return refuse("a condition is FIELD OP VALUE, with one of = != < <= > >= ^= *=");
  const auto field = field_named(text.substr(0, at));
  if (!field) return refuse("no field of the log is called '" + text.substr(0, at) + "'");
  Term term;
  term.op = op->second;
  term.text = text.substr(at + op->first.size());
  term.is_number = LOG_FIELD_INFO[static_cast<size_t>(*field)].type == LogFieldType::NUMBER;
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
  term.value = std::make_unique<LineFormat>(LineFormatOptions{.format = LogFormat::W3C, .fields = {*field}});
  return term;
}

Result<LogFilter> LogFilter::parse(std::span<const std::string> terms) {
  if (terms.size() > TERMS_MAX) return fail("more than " + std::to_string(TERMS_MAX) + " conditions");
  LogFilter filter;
  for (const std::string& text : terms) {
    Result<Term> term = parse_term(text);
    if (!term) return std::unexpected(term.error());
    filter.terms_.push_back(std::move(*term));
  }
  return filter;
}

bool LogFilter::holds(const Term& term, std::string_view value) {
  if (term.is_number) {
    const auto number = number_in(value);
    if (!number) return term.op == Op::UNEQUAL;  // "-": a stage that was not reached
    switch (term.op) {
      case Op::EQUAL:
        return *number == term.number;
      case Op::UNEQUAL:
        return *number != term.number;
      case Op::LESS:
        return *number < term.number;
      case Op::LESS_EQUAL:
        return *number <= term.number;
      case Op::GREATER:
        return *number > term.number;
      default:
        return *number >= term.number;
    }
  }
  switch (term.op) {
    case Op::EQUAL:
      return value == term.text;
    case Op::UNEQUAL:
      return value != term.text;
    case Op::BEGINS:
      return value.starts_with(term.text);
    default:
      return value.find(term.text) != std::string_view::npos;
  }
}

bool LogFilter::wants(const EndRecordView& record, uint32_t reactor, EntryTexts& texts) {
  if (terms_.empty()) return true;
  AccessEntry entry = entry_of(record.head, reactor);
  texts.fill(entry, record, Escape::W3C);
  return std::ranges::all_of(terms_, [&](const Term& term) {
    line_.clear();
    term.value->line(line_, entry);
    return holds(term, line_.view().substr(0, line_.size() - 1));
  });
}

}  // namespace penstock
