// PrivateKey: a key as keyd holds it. In keyd alone (and in tests); no other process ever calls load().
#pragma once

#include "src/base/result.h"
#include "src/tls/key_abi.h"
#include "src/tls/key_scheme.h"

#include <array>
#include <expected>
#include <memory>
#include <openssl/evp.h>
#include <span>
#include <string>

namespace penstock {

class PrivateKey {
 public:
  // The contents of a key file: PEM (PKCS #8, or the older forms of RSA and EC; what stands beside it, such as EC
  // parameters and certificates, is skipped) or DER. Nothing of it is kept but the key.
  // Error: MALFORMED, ENCRYPTED or UNSUPPORTED.
  [[nodiscard]] static std::expected<PrivateKey, KeyStatus> load(std::span<const unsigned char> file);

  // The signature over the request's content. REQUIRES: key_request_breach() found nothing, order SIGN.
  // Error: REFUSED where this kind of key cannot make that signature; FAILED.
  [[nodiscard]] std::expected<size_t, KeyStatus> sign(const KeyRequest& request, std::span<unsigned char> out) const;

  [[nodiscard]] const std::array<unsigned char, 32>& public_key() const { return public_key_; }  // as in KeyName
  [[nodiscard]] PrivateKey share() const;  // the same key: OpenSSL counts its owners; the last one wipes it
  [[nodiscard]] std::string text() const;  // "RSA 2048", "EC prime256v1", "Ed25519"

 private:
  struct Free {
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  };
  PrivateKey() = default;
  std::unique_ptr<EVP_PKEY, Free> key_;
  std::array<unsigned char, 32> public_key_{};
  KeyKind kind_{};
};

}  // namespace penstock
