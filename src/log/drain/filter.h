// LogFilter: which records are wanted: terms like status>=500, all of which must hold.
//
// A term is FIELD OP VALUE without spaces. FIELD: a name of log.access.fields, or its name in JSON ("status", "path").
// OP: = != < <= > >= for numbers, = != ^= (begins with) *= (contains) for text. Text is compared as a W3C log writes it
// (a space is '+'), a field without a value is "-". One owner, no I/O.
#pragma once

#include "src/base/result.h"
#include "src/log/drain/entry.h"
#include "src/log/drain/fields.h"
#include "src/log/drain/line_format.h"

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

class LogFilter {
 public:
  static constexpr size_t TERMS_MAX = 16;

  // The error names the first term that is none.
  [[nodiscard]] static Result<LogFilter> parse(std::span<const std::string> terms);

  // REQUIRES: `texts` is the caller's scratch.
  [[nodiscard]] bool wants(const EndRecordView& record, uint32_t reactor, EntryTexts& texts);

 private:
  enum class Op : uint8_t { EQUAL, UNEQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL, BEGINS, CONTAINS };
  struct Term {
    Op op = Op::EQUAL;
    bool is_number = false;
    double number = 0;
    std::string text;
    std::unique_ptr<LineFormat> value;  // a line of the one field
  };
  [[nodiscard]] static Result<Term> parse_term(const std::string& text);
  [[nodiscard]] static bool holds(const Term& term, std::string_view value);

  std::vector<Term> terms_;
  LineBuffer line_;
};

}  // namespace penstock
