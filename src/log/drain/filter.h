// LogFilter: which records are wanted: terms like status>=500 (src/config/log_term.h), all of which must hold.
//
// One owner, no I/O.
#pragma once

#include "src/base/result.h"
#include "src/config/log_term.h"
#include "src/log/drain/entry.h"
#include "src/log/drain/fields.h"
#include "src/log/drain/line_format.h"

#include <memory>
#include <span>
#include <string>
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
  struct Term {
    LogTerm term;
    std::unique_ptr<LineFormat> value;  // a line of the one field
    bool needs_texts;                   // the field is no number
  };

  std::vector<Term> terms_;
  LineBuffer line_;
};

}  // namespace penstock
