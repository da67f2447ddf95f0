// Any bytes as a request: what is not refused has one of the two forms, and is looked at within its bounds.
#include "src/base/assert.h"
#include "src/tls/key_request.h"

#include <cstring>
#include <memory>

using namespace penstock;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  KeyRequest request;
  std::memcpy(static_cast<void*>(&request), data, size < sizeof request ? size : sizeof request);
  if (key_request_breach(request) == nullptr && request.order == KeyOrder::SIGN) {
    ASSERT(request.content_bytes >= 100 && request.content_bytes <= 201);
  }
  // The text alone, in memory that ends where it ends.
  const auto text = std::make_unique<unsigned char[]>(size);
  if (size != 0) std::memcpy(text.get(), data, size);
  const KeyContent content = key_content({text.get(), size});
  ASSERT(content == KeyContent::NONE || size >= 100);
  return 0;
}
