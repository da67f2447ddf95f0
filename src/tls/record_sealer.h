// RecordSealer: TLS 1.3 records (RFC 8446 section 5.2), sealed from the sender's memory straight into the blocks that
// are sent.
//
// OpenSSL copies a record twice: into a buffer of its own, and out of it. So it is made to believe that the system
// encrypts (SSL_OP_ENABLE_KTLS): it then offers the key of what is sent, and gives plaintext to its BIO, which seals it
// here. Where it makes no such offer, as for TLS 1.2, it goes on by itself. Owned by a TlsSession, one thread. Keys are
// wiped at the end.
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

  // A line of OpenSSL's key log; keeps the secret of what the server sends, which a later key update is made from.
  void take_secret(std::string_view line);
  // What OpenSSL offers the system: a tls_crypto_info of <linux/tls.h>. False: not for us, and nothing has changed.
  [[nodiscard]] bool begin(const void* crypto_info);
  [[nodiscard]] bool active() const { return cipher_ != nullptr; }

  // Records of `type` at the end of `out`. False: OpenSSL failed; the connection is of no use.
  [[nodiscard]] bool seal(uint8_t type, std::span<const char> plain, CipherChain& out, CipherPool& pool);
  // What follows is sealed with the next key (section 7.2).
  [[nodiscard]] bool update_key();

 private:
  static constexpr size_t IV_BYTES = 12;

  [[nodiscard]] bool seal_record(uint8_t type, std::span<const char> plain, CipherChain& out, CipherPool& pool);
  [[nodiscard]] bool set_key(const unsigned char* key, const unsigned char* iv);

  std::unique_ptr<EVP_CIPHER_CTX, OpensslFree> cipher_;
  const EVP_CIPHER* kind_ = nullptr;
  std::array<unsigned char, IV_BYTES> iv_{};
  uint64_t sequence_ = 0;
  std::array<unsigned char, 48> secret_{};
  size_t secret_bytes_ = 0;
};

}  // namespace penstock
