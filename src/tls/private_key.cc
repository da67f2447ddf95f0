#include "src/tls/private_key.h"

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

using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;
using Pkey = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

// OpenSSL asks for a pass phrase only where a key is encrypted.
int note_question(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

Pkey decode(std::span<const unsigned char> file, bool& encrypted) {
  const Bio in(BIO_new_mem_buf(file.data(), static_cast<int>(file.size())), &BIO_free);
  if (in == nullptr) return {nullptr, &EVP_PKEY_free};
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  if (text.find("-----BEGIN ") != std::string_view::npos) {
    return {PEM_read_bio_PrivateKey(in.get(), nullptr, &note_question, &encrypted), &EVP_PKEY_free};
  }
  Pkey key(d2i_PrivateKey_bio(in.get(), nullptr), &EVP_PKEY_free);
  if (key != nullptr) return key;
  const Bio again(BIO_new_mem_buf(file.data(), static_cast<int>(file.size())), &BIO_free);
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
  ERR_clear_error();
  if (!ok) return std::unexpected(KeyStatus::MALFORMED);
  return key;
}

std::expected<size_t, KeyStatus> PrivateKey::sign(const KeyRequest& request, std::span<unsigned char> out) const {
  const KeyScheme* scheme = find_key_scheme(request.scheme);
  if (scheme == nullptr || scheme->kind != kind_) return std::unexpected(KeyStatus::REFUSED);
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  EVP_PKEY_CTX* options = nullptr;
  bool ok = context != nullptr && EVP_DigestSignInit_ex(context.get(), &options, scheme->hash_name, nullptr, nullptr,
                                                        key_.get(), nullptr) == 1;
  if (ok && scheme->pss) {
    ok = EVP_PKEY_CTX_set_rsa_padding(options, RSA_PKCS1_PSS_PADDING) == 1 &&
         EVP_PKEY_CTX_set_rsa_pss_saltlen(options, RSA_PSS_SALTLEN_DIGEST) == 1;
  }
  size_t size = out.size();
  ok = ok && EVP_DigestSign(context.get(), out.data(), &size, request.content, request.content_bytes) == 1;
  if (ok) return size;
  ERR_clear_error();
  return std::unexpected(KeyStatus::FAILED);
}

PrivateKey PrivateKey::share() const {
  PrivateKey other;
  EVP_PKEY_up_ref(key_.get());
  other.key_.reset(key_.get());
  other.public_key_ = public_key_;
  other.kind_ = kind_;
  return other;
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
