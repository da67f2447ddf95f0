// Any bytes as a mime.types: whatever is found may stand in a header, and the built-in list stays.
#include "src/base/assert.h"
#include "src/files/mime.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const MimeTypes types(text);
  const MimeTable table(types, {}, "application/octet-stream", "utf-8");
  ASSERT(!types.find("html").empty());
  // Each word of the input as an extension, and the whole as a file name.
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t end = text.find_first_of(" \t\r\n", begin);
    const std::string_view type = table.lookup(text.substr(begin, end - begin));
    ASSERT(type.find('/') != std::string_view::npos);
    for (const char c : type) ASSERT(c > 0x1F && c < 0x7F && c != ',' && c != '"');
    if (end == std::string_view::npos) break;
    begin = end + 1;
  }
  (void)table.lookup(text);
  return 0;
}
