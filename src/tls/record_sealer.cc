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
constexpr size_t SALT_BYTES = 4;  // of a nonce that is told

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

void put_big_endian(unsigned char* to, uint64_t value) {
  for (int i = 7; i >= 0; --i, value >>= 8) to[i] = static_cast<unsigned char>(value);
}

}  // namespace

RecordSealer::Offer::~Offer() { OPENSSL_cleanse(bytes.data(), bytes.size()); }

RecordSealer::~RecordSealer() {
  OPENSSL_cleanse(key_.data(), key_.size());
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

bool RecordSealer::is_1_3() const { return version_ == TLS_1_3_VERSION; }
bool RecordSealer::nonce_is_told() const { return !is_1_3() && cipher_type_ != TLS_CIPHER_CHACHA20_POLY1305; }

bool RecordSealer::begin(const void* crypto_info) {
  tls_crypto_info info{};
  std::memcpy(&info, crypto_info, sizeof info);
  // A key of 1.3 may have to be followed by the next.
  const bool known = info.version == TLS_1_2_VERSION || (info.version == TLS_1_3_VERSION && secret_bytes_ != 0);
  if (!known) return false;
  // Each begins so; the parts differ in size.
  const auto take = [&](const auto& offered, const EVP_CIPHER* kind) {
    unsigned char iv[IV_BYTES];
    std::memcpy(iv, offered.salt, sizeof offered.salt);
    std::memcpy(iv + sizeof offered.salt, offered.iv, sizeof offered.iv);
    static_assert(sizeof offered.salt + sizeof offered.iv == IV_BYTES);
    kind_ = kind;
    cipher_.reset(EVP_CIPHER_CTX_new());
    if (cipher_ != nullptr && set_key(offered.key, iv)) {
      version_ = info.version;
      cipher_type_ = info.cipher_type;
      sequence_ = big_endian(offered.rec_seq);
      return true;
    }
    cipher_.reset();
    kind_ = nullptr;
    return false;
  };
  const auto read = [&]<typename Kind>(Kind offer, const EVP_CIPHER* kind) {
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

void RecordSealer::make_offer(Offer& offer) const {
  const auto fill = [&]<typename Kind>(Kind kind) {
    static_assert(sizeof kind <= sizeof offer.bytes);
    kind.info = {.version = version_, .cipher_type = cipher_type_};
    std::memcpy(kind.salt, iv_.data(), sizeof kind.salt);
    std::memcpy(kind.iv, iv_.data() + sizeof kind.salt, sizeof kind.iv);
    std::memcpy(kind.key, key_.data(), sizeof kind.key);
    put_big_endian(kind.rec_seq, sequence_);
    std::memcpy(offer.bytes.data(), &kind, sizeof kind);
    offer.size = sizeof kind;
    OPENSSL_cleanse(&kind, sizeof kind);
  };
  switch (cipher_type_) {
    case TLS_CIPHER_AES_GCM_128:
      return fill(tls12_crypto_info_aes_gcm_128{});
    case TLS_CIPHER_AES_GCM_256:
      return fill(tls12_crypto_info_aes_gcm_256{});
    default:
      return fill(tls12_crypto_info_chacha20_poly1305{});
  }
}

bool RecordSealer::set_key(const unsigned char* key, const unsigned char* iv) {
  if (kind_ == nullptr) return false;
  std::copy_n(iv, IV_BYTES, iv_.begin());
  std::copy_n(key, EVP_CIPHER_get_key_length(kind_), key_.begin());
  sequence_ = 0;
  return cipher_ == nullptr || EVP_EncryptInit_ex2(cipher_.get(), kind_, key, nullptr, nullptr) == 1;
}

bool RecordSealer::update_key() {
  const std::span secret(secret_.data(), secret_bytes_);
  std::array<unsigned char, 48> next{};
  std::array<unsigned char, 32> key{};
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
  const size_t told = nonce_is_told() ? IV_BYTES - SALT_BYTES : 0;
  const size_t type_bytes = is_1_3() ? 1 : 0;
  const size_t sealed = told + plain.size() + type_bytes + TAG_BYTES;
  auto* const record = reinterpret_cast<unsigned char*>(out.grow(HEAD_BYTES + sealed, pool));
  record[0] = is_1_3() ? APPLICATION_DATA : type;  // outside every record of 1.3 is this; the true type is inside
  record[1] = record[2] = 3;
  record[3] = static_cast<unsigned char>(sealed >> 8);
  record[4] = static_cast<unsigned char>(sealed);
  std::array<unsigned char, IV_BYTES> nonce = iv_;
  if (told > 0) {
    std::copy_n(iv_.data() + SALT_BYTES, told, record + HEAD_BYTES);
    put_big_endian(iv_.data() + SALT_BYTES, big_endian(iv_.data() + SALT_BYTES) + 1);
  } else {
    for (size_t i = 0; i < 8; ++i) nonce[IV_BYTES - 1 - i] ^= static_cast<unsigned char>(sequence_ >> (8 * i));
  }
  // What is authenticated beside the text (RFC 8446 section 5.2; RFC 5246 section 6.2.3.3).
  std::array<unsigned char, 8 + HEAD_BYTES> beside{};
  put_big_endian(beside.data(), sequence_);
  std::copy_n(record, HEAD_BYTES, beside.data() + 8);
  beside[11] = static_cast<unsigned char>(plain.size() >> 8);
  beside[12] = static_cast<unsigned char>(plain.size());
  const unsigned char* const aad = is_1_3() ? record : beside.data();
  const int aad_bytes = static_cast<int>(is_1_3() ? HEAD_BYTES : beside.size());
  ++sequence_;
  EVP_CIPHER_CTX* const cipher = cipher_.get();
  unsigned char* at = record + HEAD_BYTES + told;
  const auto* const from = reinterpret_cast<const unsigned char*>(plain.data());
  int size = 0;
  if (EVP_EncryptInit_ex2(cipher, nullptr, nullptr, nonce.data(), nullptr) != 1 ||
      EVP_EncryptUpdate(cipher, nullptr, &size, aad, aad_bytes) != 1) {
    return false;
  }
  if (!plain.empty() && EVP_EncryptUpdate(cipher, at, &size, from, static_cast<int>(plain.size())) != 1) return false;
  at += plain.size();
  if (type_bytes > 0 && EVP_EncryptUpdate(cipher, at, &size, &type, 1) != 1) return false;
  at += type_bytes;
  return EVP_EncryptFinal_ex(cipher, at, &size) == 1 &&
         EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, at) == 1;
}

}  // namespace penstock
