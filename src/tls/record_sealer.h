// RecordSealer: records of TLS 1.3 (RFC 8446 section 5.2) and 1.2 (RFC 5288, RFC 7905), sealed from the sender's memory
// straight into the blocks that are sent.
//
// OpenSSL copies a record twice: into a buffer of its own, and out of it. So it is made to believe that the system
// encrypts (SSL_OP_ENABLE_KTLS): it then offers the key of what is sent, and gives plaintext to its BIO, which seals it
// here. Where it makes no such offer, it goes on by itself. Between two records the key can be passed on to a kernel
// that truly encrypts. Owned by a TlsSession, one thread. Keys are wiped at the end.
#pragma once

#include "src/tls/cipher_chain.h"
#include "src/tls/openssl_pointers.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <openssl/evp.h>
#include <span>
#include <string_view>

namespace penstock {

class RecordSealer {
 public:
  static constexpr uint8_t HANDSHAKE = 22;
  static constexpr uint8_t APPLICATION_DATA = 23;
  static constexpr size_t OVERHEAD = 5 + 1 + 16;  // head, type, tag

  RecordSealer() = default;
  RecordSealer(const RecordSealer&) = delete;
  RecordSealer& operator=(const RecordSealer&) = delete;
  ~RecordSealer();

  // The key and place of the next record as a kernel takes them: a tls_crypto_info of <linux/tls.h> and what belongs to
  // it. Wiped at its end.
  struct Offer {
    alignas(8) std::array<char, 56> bytes{};
    size_t size = 0;
    Offer() = default;
    Offer(const Offer&) = delete;
    Offer& operator=(const Offer&) = delete;
    ~Offer();
    [[nodiscard]] std::span<const char> key() const { return std::span(bytes).first(size); }
  };

  // A line of OpenSSL's key log; keeps the secret of what the server sends, which a later key update is made from.
  void take_secret(std::string_view line);
  // What OpenSSL offers the system: a tls_crypto_info of <linux/tls.h>. False: not for us, and nothing has changed.
  [[nodiscard]] bool begin(const void* crypto_info);
  [[nodiscard]] bool active() const { return kind_ != nullptr; }
  // REQUIRES: active().
  void make_offer(Offer& offer) const;
  // The kernel took the offer and seals from here on; seal() is called no more.
  void hand_over() { cipher_.reset(); }

  // Records of `type` at the end of `out`. False: OpenSSL failed; the connection is of no use.
  [[nodiscard]] bool seal(uint8_t type, std::span<const char> plain, CipherChain& out, CipherPool& pool);
  // What follows is sealed with the next key (RFC 8446 section 7.2). REQUIRES: TLS 1.3.
  [[nodiscard]] bool update_key();

 private:
  static constexpr size_t IV_BYTES = 12;

  [[nodiscard]] bool seal_record(uint8_t type, std::span<const char> plain, CipherChain& out, CipherPool& pool);
  [[nodiscard]] bool set_key(const unsigned char* key, const unsigned char* iv);
  [[nodiscard]] bool is_1_3() const;
  // AES-GCM of TLS 1.2: the last 8 bytes of the nonce stand in the record, and count up with each.
  [[nodiscard]] bool nonce_is_told() const;

  std::unique_ptr<EVP_CIPHER_CTX, OpensslFree> cipher_;  // nullptr, too, once the kernel seals
  const EVP_CIPHER* kind_ = nullptr;
  uint16_t version_ = 0;  // TLS_1_3_VERSION …
  uint16_t cipher_type_ = 0;
  std::array<unsigned char, 32> key_{};
  std::array<unsigned char, IV_BYTES> iv_{};
  uint64_t sequence_ = 0;
  std::array<unsigned char, 48> secret_{};
  size_t secret_bytes_ = 0;
};

}  // namespace penstock
