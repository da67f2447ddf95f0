#include "src/tls/private_key.h"

#include <algorithm>
#include <openssl/bio.h>
#include <openssl/decoder.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string_view>
#include <utility>

namespace penstock {
namespace {

using OwnedBio = std::unique_ptr<BIO, decltype(&BIO_free)>;
using Pkey = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

// OpenSSL asks for a pass phrase only where a key is encrypted.
int note_question(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

Pkey decode(std::span<const unsigned char> file, bool& encrypted) {
  const OwnedBio in(BIO_new_mem_buf(file.data(), static_cast<int>(file.size())), &BIO_free);
  if (in == nullptr) return {nullptr, &EVP_PKEY_free};
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  if (text.find("-----BEGIN ") != std::string_view::npos) {
    return {PEM_read_bio_PrivateKey(in.get(), nullptr, &note_question, &encrypted), &EVP_PKEY_free};
  }
  Pkey key(d2i_PrivateKey_bio(in.get(), nullptr), &EVP_PKEY_free);
  if (key != nullptr) return key;
  const OwnedBio again(BIO_new_mem_buf(file.data(), static_cast<int>(file.size())), &BIO_free);
  X509_SIG* sealed = again == nullptr ? nullptr : d2i_PKCS8_bio(again.get(), nullptr);  // an encrypted one, in DER
  encrypted = sealed != nullptr;
  X509_SIG_free(sealed);
  return key;
}

}  // namespace

std::expected<PrivateKey, KeyStatus> PrivateKey::load(std::span<const unsigned char> file) {
  bool encrypted = false;
  Pkey decoded = decode(file, encrypted);
  ERR_clear_error();
  if (decoded == nullptr) return std::unexpected(encrypted ? KeyStatus::ENCRYPTED : KeyStatus::MALFORMED);
  const auto kind = key_kind(decoded.get());
  if (!kind) return std::unexpected(KeyStatus::UNSUPPORTED);
  PrivateKey key;
  key.key_.reset(decoded.release());
  key.kind_ = *kind;
  unsigned char* der = nullptr;
  const int size = i2d_PUBKEY(key.key_.get(), &der);
  size_t hashed = 0;
  const bool ok = size > 0 && EVP_Q_digest(nullptr, "SHA256", nullptr, der, static_cast<size_t>(size),
                                           key.public_key_.data(), &hashed) == 1;
  OPENSSL_free(der);
  const bool ready = ok && key.make_ready();
  ERR_clear_error();
  if (!ready) return std::unexpected(KeyStatus::MALFORMED);
  return key;
}

bool PrivateKey::make_ready() {
  for (const KeyScheme& scheme : key_schemes()) {
    if (scheme.kind != kind_ || scheme.hash_name == nullptr) continue;
    Ready ready{.scheme = scheme.number};
    ready.digest.reset(EVP_MD_fetch(nullptr, scheme.hash_name, nullptr));
    ready.context.reset(EVP_PKEY_CTX_new_from_pkey(nullptr, key_.get(), nullptr));
    EVP_PKEY_CTX* context = ready.context.get();
    bool ok = ready.digest != nullptr && context != nullptr && EVP_PKEY_sign_init(context) == 1 &&
              EVP_PKEY_CTX_set_signature_md(context, ready.digest.get()) == 1;
    if (ok && scheme.kind == KeyKind::RSA) {
      ok = EVP_PKEY_CTX_set_rsa_padding(context, scheme.pss ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING) == 1 &&
           (!scheme.pss || EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) == 1);
    }
    if (!ok) return false;
    ready_.push_back(std::move(ready));
  }
  return true;
}

std::expected<KeySigning, KeyStatus> PrivateKey::prepare(const KeyRequest& request) const {
  const KeyScheme* scheme = find_key_scheme(request.scheme);
  if (scheme == nullptr || scheme->kind != kind_) return std::unexpected(KeyStatus::REFUSED);
  KeySigning signing;
  if (scheme->hash == KeyHash::NONE) {
    signing.whole_.reset(EVP_MD_CTX_new());
    if (signing.whole_ != nullptr &&
        EVP_DigestSignInit_ex(signing.whole_.get(), nullptr, nullptr, nullptr, nullptr, key_.get(), nullptr) == 1) {
      return signing;
    }
  } else if (const auto ready = std::ranges::find(ready_, request.scheme, &Ready::scheme); ready != ready_.end()) {
    signing.context_.reset(EVP_PKEY_CTX_dup(ready->context.get()));
    if (signing.context_ != nullptr && EVP_Digest(request.content, request.content_bytes, signing.hash_,
                                                  &signing.hash_bytes_, ready->digest.get(), nullptr) == 1) {
      return signing;
    }
  }
  ERR_clear_error();
  return std::unexpected(KeyStatus::FAILED);
}

std::expected<size_t, KeyStatus> KeySigning::finish(const KeyRequest& request, std::span<unsigned char> out) {
  size_t size = out.size();
  const bool ok =
      whole_ != nullptr
          ? EVP_DigestSign(whole_.get(), out.data(), &size, request.content, request.content_bytes) == 1
          : context_ != nullptr && EVP_PKEY_sign(context_.get(), out.data(), &size, hash_, hash_bytes_) == 1;
  if (ok) return size;
  ERR_clear_error();
  return std::unexpected(KeyStatus::FAILED);
}

std::expected<size_t, KeyStatus> PrivateKey::sign(const KeyRequest& request, std::span<unsigned char> out) const {
  auto signing = prepare(request);
  if (!signing) return std::unexpected(signing.error());
  return signing->finish(request, out);
}

std::string PrivateKey::text() const {
  if (kind_ == KeyKind::RSA) return "RSA " + std::to_string(EVP_PKEY_get_bits(key_.get()));
  if (kind_ == KeyKind::ED25519) return "Ed25519";
  char group[64] = "";
  size_t size = 0;
  (void)EVP_PKEY_get_group_name(key_.get(), group, sizeof group, &size);
  return "EC " + std::string(group, size);
}

}  // namespace penstock
