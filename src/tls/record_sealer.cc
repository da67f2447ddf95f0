#include "src/tls/record_sealer.h"

#include "src/base/bytes.h"

#include <algorithm>
#include <cstring>
#include <linux/tls.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

namespace penstock {
namespace {

constexpr size_t TAG_BYTES = 16;
constexpr size_t HEAD_BYTES = 5;
constexpr size_t PLAIN_MAX = 16'384;
constexpr size_t KEY_BYTES_MAX = 32;

// RFC 8446 section 7.1: HKDF-Expand-Label with an empty context.
bool expand(std::span<const unsigned char> secret, const char* label, std::span<unsigned char> out) {
  static EVP_KDF* const kdf = EVP_KDF_fetch(nullptr, OSSL_KDF_NAME_TLS1_3_KDF, nullptr);
  EVP_KDF_CTX* const context = EVP_KDF_CTX_new(kdf);
  if (context == nullptr) return false;
  int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
  char digest[] = "SHA256";
  char longer_digest[] = "SHA384";
  char prefix[] = "tls13 ";
  const auto bytes = [](const void* data) { return const_cast<void*>(data); };
  const OSSL_PARAM params[] = {
      OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, secret.size() == 32 ? digest : longer_digest, 0),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, bytes(secret.data()), secret.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PREFIX, prefix, sizeof prefix - 1),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_LABEL, bytes(label), std::strlen(label)),
      OSSL_PARAM_construct_end()};
  const bool good = EVP_KDF_derive(context, out.data(), out.size(), params) == 1;
  EVP_KDF_CTX_free(context);
  return good;
}

uint64_t big_endian(const unsigned char* bytes) {
  uint64_t value = 0;
  for (int i = 0; i < 8; ++i) value = value << 8 | bytes[i];
  return value;
}

}  // namespace

RecordSealer::~RecordSealer() {
  OPENSSL_cleanse(iv_.data(), iv_.size());
  OPENSSL_cleanse(secret_.data(), secret_.size());
}

// "SERVER_TRAFFIC_SECRET_0 RANDOM SECRET", both in hexadecimal.
void RecordSealer::take_secret(std::string_view line) {
  if (!line.starts_with("SERVER_TRAFFIC_SECRET_0 ")) return;
  const std::string_view hex = line.substr(line.rfind(' ') + 1);
  secret_bytes_ = std::min(hex.size() / 2, secret_.size());
  for (size_t i = 0; i < secret_bytes_; ++i) {
    secret_[i] = static_cast<unsigned char>(hex_digit(hex[2 * i]) * 16 + hex_digit(hex[2 * i + 1]));
  }
}

bool RecordSealer::begin(const void* crypto_info) {
  tls_crypto_info info{};
  std::memcpy(&info, crypto_info, sizeof info);
  if (info.version != TLS_1_3_VERSION || secret_bytes_ == 0) return false;
  // Each begins so; the parts differ in size.
  const auto take = [&](const auto& offered, const EVP_CIPHER* kind) {
    unsigned char iv[IV_BYTES];
    std::memcpy(iv, offered.salt, sizeof offered.salt);
    std::memcpy(iv + sizeof offered.salt, offered.iv, sizeof offered.iv);
    static_assert(sizeof offered.salt + sizeof offered.iv == IV_BYTES);
    kind_ = kind;
    cipher_.reset(EVP_CIPHER_CTX_new());
    if (cipher_ != nullptr && set_key(offered.key, iv)) {
      sequence_ = big_endian(offered.rec_seq);
      return true;
    }
    cipher_.reset();
    return false;
  };
  const auto read = [&]<typename Offer>(Offer offer, const EVP_CIPHER* kind) {
    std::memcpy(&offer, crypto_info, sizeof offer);
    const bool good = take(offer, kind);
    OPENSSL_cleanse(&offer, sizeof offer);
    return good;
  };
  // Fetched once: looking for it costs more than sealing.
  static const EVP_CIPHER* const aes_128 = EVP_CIPHER_fetch(nullptr, "AES-128-GCM", nullptr);
  static const EVP_CIPHER* const aes_256 = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);
  static const EVP_CIPHER* const chacha = EVP_CIPHER_fetch(nullptr, "ChaCha20-Poly1305", nullptr);
  switch (info.cipher_type) {
    case TLS_CIPHER_AES_GCM_128:
      return read(tls12_crypto_info_aes_gcm_128{}, aes_128);
    case TLS_CIPHER_AES_GCM_256:
      return read(tls12_crypto_info_aes_gcm_256{}, aes_256);
    case TLS_CIPHER_CHACHA20_POLY1305:
      return read(tls12_crypto_info_chacha20_poly1305{}, chacha);
    default:
      return false;
  }
}

bool RecordSealer::set_key(const unsigned char* key, const unsigned char* iv) {
  std::copy_n(iv, IV_BYTES, iv_.begin());
  sequence_ = 0;
  return kind_ != nullptr && EVP_EncryptInit_ex2(cipher_.get(), kind_, key, nullptr, nullptr) == 1;
}

bool RecordSealer::update_key() {
  const std::span secret(secret_.data(), secret_bytes_);
  std::array<unsigned char, 48> next{};
  std::array<unsigned char, KEY_BYTES_MAX> key{};
  std::array<unsigned char, IV_BYTES> iv{};
  const auto key_bytes = static_cast<size_t>(EVP_CIPHER_get_key_length(kind_));
  const std::span fresh(next.data(), secret_bytes_);
  const bool good = expand(secret, "traffic upd", fresh) && expand(fresh, "key", std::span(key).first(key_bytes)) &&
                    expand(fresh, "iv", iv) && set_key(key.data(), iv.data());
  std::copy(next.begin(), next.end(), secret_.begin());
  OPENSSL_cleanse(next.data(), next.size());
  OPENSSL_cleanse(key.data(), key.size());
  return good;
}

bool RecordSealer::seal(uint8_t type, std::span<const char> plain, CipherChain& out, CipherPool& pool) {
  while (plain.size() > PLAIN_MAX) {
    if (!seal_record(type, plain.first(PLAIN_MAX), out, pool)) return false;
    plain = plain.subspan(PLAIN_MAX);
  }
  return seal_record(type, plain, out, pool);
}

bool RecordSealer::seal_record(uint8_t type, std::span<const char> plain, CipherChain& out, CipherPool& pool) {
  const size_t sealed = plain.size() + 1 + TAG_BYTES;
  auto* const record = reinterpret_cast<unsigned char*>(out.grow(HEAD_BYTES + sealed, pool));
  record[0] = APPLICATION_DATA;  // outside every record is this; the true type is inside
  record[1] = record[2] = 3;
  record[3] = static_cast<unsigned char>(sealed >> 8);
  record[4] = static_cast<unsigned char>(sealed);
  std::array<unsigned char, IV_BYTES> nonce = iv_;
  for (size_t i = 0; i < 8; ++i) nonce[IV_BYTES - 1 - i] ^= static_cast<unsigned char>(sequence_ >> (8 * i));
  ++sequence_;
  EVP_CIPHER_CTX* const cipher = cipher_.get();
  unsigned char* const body = record + HEAD_BYTES;
  const auto* const from = reinterpret_cast<const unsigned char*>(plain.data());
  int size = 0;
  return EVP_EncryptInit_ex2(cipher, nullptr, nullptr, nonce.data(), nullptr) == 1 &&
         EVP_EncryptUpdate(cipher, nullptr, &size, record, HEAD_BYTES) == 1 &&
         (plain.empty() || EVP_EncryptUpdate(cipher, body, &size, from, static_cast<int>(plain.size())) == 1) &&
         EVP_EncryptUpdate(cipher, body + plain.size(), &size, &type, 1) == 1 &&
         EVP_EncryptFinal_ex(cipher, body + plain.size() + 1, &size) == 1 &&
         EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, body + plain.size() + 1) == 1;
}

}  // namespace penstock
