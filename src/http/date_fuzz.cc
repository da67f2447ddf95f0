// Whatever the text: a date that is read is one that can be written, and reading that gives the same second.

#include "src/base/assert.h"
#include "src/http/date.h"

#include <cstring>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  if (size < 8) return 0;
  int64_t now = 0;
  std::memcpy(&now, data, 8);
  char written[HTTP_DATE_BYTES];
  const std::string_view text(reinterpret_cast<const char*>(data) + 8, size - 8);
  const auto seconds = parse_http_date(text, now);
  if (seconds) {
    ASSERT(*seconds >= HTTP_DATE_MIN && *seconds <= HTTP_DATE_MAX);
    write_http_date(*seconds, written);
    ASSERT(parse_http_date({written, sizeof written}, now) == seconds);
    const bool leap_second = text.find(":60") != std::string_view::npos;
    if (text.size() == HTTP_DATE_BYTES && text[3] == ',' && !leap_second) {
      ASSERT(text == std::string_view(written, sizeof written));
    }
  }
  write_http_date(now, written);
  const auto read = parse_http_date({written, sizeof written}, 0);
  ASSERT(read.has_value());
  if (now >= HTTP_DATE_MIN && now <= HTTP_DATE_MAX) ASSERT(*read == now);
  return 0;
}
