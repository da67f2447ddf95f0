#include "src/log/drain/filter.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace penstock {

Result<LogFilter> LogFilter::parse(std::span<const std::string> terms) {
  if (terms.size() > TERMS_MAX) return fail("more than " + std::to_string(TERMS_MAX) + " conditions");
  LogFilter filter;
  for (const std::string& text : terms) {
    Parsed<LogTerm> term = parse_log_term(text);
    if (!term) return fail(term.error());
    const auto field = static_cast<LogField>(term->field);
    const bool needs_texts = LOG_FIELD_INFO[term->field].type != LogFieldType::NUMBER;
    filter.terms_.push_back(
        {std::move(*term), std::make_unique<LineFormat>(LineFormatOptions{.format = LogFormat::W3C, .fields = {field}}),
         needs_texts});
  }
  return filter;
}

bool LogFilter::wants(const EndRecordView& record, uint32_t reactor, EntryTexts& texts) {
  if (terms_.empty()) return true;
  std::optional<AccessEntry> entry;  // most conditions are about a status: the others pay for the rest
  bool has_texts = false;
  return std::ranges::all_of(terms_, [&](const Term& term) {
    if (const auto number = whole_number(static_cast<LogField>(term.term.field), record.head)) {
      return term.term.holds_of(static_cast<double>(*number));
    }
    if (!entry) entry.emplace(entry_of(record.head, reactor));
    if (term.needs_texts && !has_texts) {
      texts.fill(*entry, record, Escape::W3C);
      has_texts = true;
    }
    line_.clear();
    term.value->line(line_, *entry);
    return term.term.holds(line_.view().substr(0, line_.size() - 1));
  });
}

}  // namespace penstock
