// An OCSP response (RFC 6960) as it may be stapled: whether it is one, for this certificate, and until when. Pure.
#pragma once

#include "src/base/result.h"
#include "src/tls/openssl_pointers.h"

#include <cstdint>
#include <string_view>

namespace penstock {

// In Unix seconds: to be stapled from `from_s` on, and not from `until_s` on.
struct OcspWindow {
  int64_t from_s = 0;
  int64_t until_s = 0;
};

// `der` is of a file; `rest` is the chain behind `leaf`, whose first vouches for it: where that is there, the signature
// is looked at, too. Error: why it is not to be stapled: it is no response, of another certificate, or says that this
// one is revoked or unknown.
[[nodiscard]] Result<OcspWindow> judge_ocsp(std::string_view der, X509* leaf, STACK_OF(X509) * rest);

}  // namespace penstock
