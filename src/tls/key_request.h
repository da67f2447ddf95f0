// What keyd believes of a request: whether it is one that a TLS server makes. Pure.
//
// keyd signs nothing but the handshakes of a TLS server. Whoever took the server over can use the keys for handshakes
// as long as he is there, and for nothing else: no certificate request, no token, no code can be signed, because what
// keyd is sent is the text, not its hash, and the text must have one of two forms:
//   TLS 1.3   64 spaces, "TLS 1.3, server CertificateVerify", a zero, a hash of 32 or 48 bytes (RFC 8446 section 4.4.3)
//   TLS 1.2   two randoms, and an ECDHE key on a named curve (RFC 8422 section 5.4)
#pragma once

#include "src/tls/key_abi.h"

#include <span>

namespace penstock {

enum class KeyContent : uint8_t { NONE, TLS12, TLS13 };

[[nodiscard]] KeyContent key_content(std::span<const unsigned char> content);

// nullptr: it is one. Else a sentence that follows "the server": our server never does so, it is broken or not ours any
// more.
[[nodiscard]] const char* key_request_breach(const KeyRequest& request);

}  // namespace penstock
