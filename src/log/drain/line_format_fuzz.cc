// A finish record of any bytes: refused, or one line of valid UTF-8 in each format.
#include "src/base/assert.h"
#include "src/http/utf8.h"
#include "src/log/drain/line_format.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace {

using namespace penstock;

std::vector<LogField> all_fields() {
  std::vector<LogField> fields;
  for (size_t i = 0; i < LOG_FIELD_INFO.size(); ++i) fields.push_back(static_cast<LogField>(i));
  return fields;
}

// The input is a record's head and strings; sizes that must add up are made to.
std::vector<unsigned char> record_of(const uint8_t* data, size_t size) {
  EndRecord head{};
  if (size > 0) std::memcpy(&head, data, std::min(size, sizeof(head)));
  if (head.kind != RecordKind::CONNECTION) head.kind = RecordKind::REQUEST;
  size_t left = size > sizeof(head) ? size - sizeof(head) : 0;
  size_t sum = sizeof(head);
  for (size_t i = 0; i < TEXT_COUNT; ++i) {
    head.text_bytes[i] = static_cast<uint16_t>(std::min<size_t>({head.text_bytes[i], TEXT_BYTES_MAX[i], left}));
    left -= head.text_bytes[i];
    sum += head.text_bytes[i];
  }
  std::vector<unsigned char> record(record_round_up(sum));
  head.size = static_cast<uint32_t>(record.size());
  std::memcpy(record.data(), &head, sizeof(head));
  if (size > sizeof(head)) std::memcpy(record.data() + sizeof(head), data + sizeof(head), sum - sizeof(head));
  return record;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  (void)decode_end_record({data, size});
  const std::vector<unsigned char> record = record_of(data, size);
  const std::optional<EndRecordView> view = decode_end_record(record);
  ASSERT(view.has_value());
  static EntryTexts texts;
  for (const LogFormat name : {LogFormat::W3C, LogFormat::NCSA, LogFormat::JSON}) {
    LineFormat format({.format = name, .fields = all_fields(), .computer_name = "host"});
    AccessEntry entry = entry_of(view->head, 0);
    texts.fill(entry, *view, escape_of(name));
    LineBuffer out;
    format.line(out, entry);
    std::string_view line = out.view();
    ASSERT(!line.empty() && line.back() == '\n');
    line.remove_suffix(1);
    for (const char c : line) ASSERT(static_cast<uint8_t>(c) >= 0x20 && c != 0x7f);
    ASSERT(check_utf8(line) == Utf8Check::VALID);
    if (name == LogFormat::W3C) {
      ASSERT(static_cast<size_t>(std::count(line.begin(), line.end(), ' ')) == LOG_FIELD_INFO.size() - 1);
    }
  }
  return 0;
}
