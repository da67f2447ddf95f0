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
#include <vector>

namespace penstock {

struct FreePkeyContext {
  void operator()(EVP_PKEY_CTX* context) const { EVP_PKEY_CTX_free(context); }
};
struct FreeDigestContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using PkeyContext = std::unique_ptr<EVP_PKEY_CTX, FreePkeyContext>;
using DigestContext = std::unique_ptr<EVP_MD_CTX, FreeDigestContext>;

// A signature that is about to be made: holds the key as long as that takes, whatever becomes of the PrivateKey.
class KeySigning {
 public:
  // The signature, in `out`. Error: FAILED. Once.
  [[nodiscard]] std::expected<size_t, KeyStatus> finish(const KeyRequest& request, std::span<unsigned char> out);

 private:
  friend class PrivateKey;
  KeySigning() = default;
  PkeyContext context_;       // RSA, EC
  DigestContext whole_;       // Ed25519, which hashes by itself
  unsigned char hash_[64]{};  // of the content
  unsigned hash_bytes_ = 0;
};

class PrivateKey {
 public:
  // The contents of a key file: PEM (PKCS #8, or the older forms of RSA and EC; what stands beside it, such as EC
  // parameters and certificates, is skipped) or DER. Nothing of it is kept but the key.
  // Error: MALFORMED, ENCRYPTED or UNSUPPORTED.
  [[nodiscard]] static std::expected<PrivateKey, KeyStatus> load(std::span<const unsigned char> file);

  // What signs the request's content. Cheap: what takes OpenSSL long, finding its algorithms, was done by load().
  // Error: REFUSED where this kind of key cannot make that signature; FAILED.
  [[nodiscard]] std::expected<KeySigning, KeyStatus> prepare(const KeyRequest& request) const;
  // Both at once. REQUIRES: key_request_breach() found nothing, order SIGN.
  [[nodiscard]] std::expected<size_t, KeyStatus> sign(const KeyRequest& request, std::span<unsigned char> out) const;

  [[nodiscard]] const std::array<unsigned char, 32>& public_key() const { return public_key_; }  // as in KeyName
  [[nodiscard]] std::string text() const;  // "RSA 2048", "EC prime256v1", "Ed25519"

 private:
  struct Free {
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  };
  struct FreeDigest {
    void operator()(EVP_MD* digest) const { EVP_MD_free(digest); }
  };
  struct Ready {  // to sign by one scheme; copied for each signature
    uint16_t scheme = 0;
    std::unique_ptr<EVP_MD, FreeDigest> digest;
    PkeyContext context;
  };
  PrivateKey() = default;
  [[nodiscard]] bool make_ready();

  std::unique_ptr<EVP_PKEY, Free> key_;
  std::vector<Ready> ready_;
  std::array<unsigned char, 32> public_key_{};
  KeyKind kind_{};
};

}  // namespace penstock
