// Whatever the bytes: a header is understood in one piece as in many, is no longer than it may be, and what follows it
// changes nothing.

#include "src/base/assert.h"
#include "src/transport/proxy_header.h"

#include <string>
#include <sys/socket.h>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  ProxyHeader whole;
  const ProxyState state = parse_proxy_header(bytes, whole);
  ProxyHeader part;
  if (state == ProxyState::NEED_MORE) ASSERT(size < PROXY_HEADER_BYTES_MAX);
  if (state != ProxyState::DONE) return 0;
  ASSERT(whole.bytes <= size && whole.bytes <= PROXY_HEADER_BYTES_MAX);
  ASSERT(!whole.says || whole.client.family == AF_INET || whole.client.family == AF_INET6 ||
         whole.client.family == AF_UNIX);
  for (size_t end = 0; end < whole.bytes; ++end) {
    ASSERT(parse_proxy_header(bytes.substr(0, end), part) == ProxyState::NEED_MORE);
  }
  ASSERT(parse_proxy_header(bytes.substr(0, whole.bytes), part) == ProxyState::DONE);
  ASSERT(part.client == whole.client && part.server == whole.server && part.bytes == whole.bytes);
  return 0;
}
