// Whatever the authority: checking and normalising agree, and a normal form is its own normal form.

#include "src/base/assert.h"
#include "src/http/host.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  char once[HOST_NAME_BYTES_MAX];
  const HostName host = normalise_host(text, once);
  ASSERT(host_is_valid(text) == (host.kind != HostKind::INVALID));
  if (host.kind == HostKind::INVALID) return 0;
  ASSERT(!host.name.empty() && host.name.size() <= HOST_NAME_BYTES_MAX);
  char twice[HOST_NAME_BYTES_MAX];
  const HostName again = normalise_host(host.name, twice);
  ASSERT(again.kind == host.kind && again.name == host.name && !again.has_port);
  for (const char c : host.name) ASSERT(c < 'A' || c > 'Z');
  return 0;
}
