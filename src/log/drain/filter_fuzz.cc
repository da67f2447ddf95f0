// LogFilter: any text is a condition or refused with a reason, and what is a condition answers for any record.
#include "src/base/assert.h"
#include "src/log/drain/filter.h"

#include <cstddef>
#include <cstdint>
#include <string>

using namespace penstock;

// The first line is the condition; the rest is the record's target and its user agent.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t end = input.find('\n');
  const std::string term(input.substr(0, end));
  auto filter = LogFilter::parse(std::span(&term, 1));
  if (!filter) {
    ASSERT(!filter.error().message.empty());
    return 0;
  }
  static EntryTexts texts;
  EndRecordView record;
  record.head.status = 404;
  const std::string_view rest = end == std::string_view::npos ? std::string_view{} : input.substr(end + 1, 1000);
  record.texts[static_cast<size_t>(Text::target)] = rest;
  record.texts[static_cast<size_t>(Text::user_agent)] = rest;
  const bool first = filter->wants(record, 0, texts);
  ASSERT(filter->wants(record, 0, texts) == first);
  return 0;
}
