// HandshakeOffer: the groups and the compressions of certificates that handshakes offer, as far as the OpenSSL of this
// process has them. Which it has is asked of it, not of its version.
//
// In a configuration a name with a question mark before it counts only where it is known; any other has to be. An error
// is a sentence "expected …" that says what is known.
#pragma once

#include "src/base/result.h"
#include "src/tls/openssl_pointers.h"

#include <atomic>
#include <mutex>
#include <span>
#include <string>
#include <vector>

namespace penstock {

struct HandshakeOffer {
  std::string groups = "X25519:P-256:P-384";  // in OpenSSL's form, the best first
  std::vector<int> compressions;              // their numbers (RFC 8879 section 7.3), the best first
};

// OpenSSL's form of them. Error: one that is not known, none that is, or two names of one group.
[[nodiscard]] Result<std::string> offer_groups(std::span<const std::string> names);
// Of "zlib", "brotli", "zstd".
[[nodiscard]] Result<std::vector<int>> offer_compressions(std::span<const std::string> names);

// For the operator: "OpenSSL 3.0.19"; "X25519, P-256"; "zlib, zstd" or "none".
[[nodiscard]] std::string openssl_name();
[[nodiscard]] std::string known_groups();
[[nodiscard]] std::string known_compressions();

// The offer in force: the control thread sets it, each reactor looks before a handshake whether it is another one.
class LiveOffer {
 public:
  void set(HandshakeOffer offer);
  [[nodiscard]] uint64_t version() const { return version_.load(std::memory_order_acquire); }
  [[nodiscard]] HandshakeOffer get() const;

 private:
  mutable std::mutex mutex_;
  HandshakeOffer offer_;
  std::atomic<uint64_t> version_{0};
};

// A certificate in one compression, made once for all of its handshakes. Empty: it cannot be made.
struct CompressedCertificate {
  int algorithm = 0;
  std::vector<unsigned char> bytes;
  size_t whole_bytes = 0;
};
// REQUIRES: a certificate was just given to `ssl`. The client gets it in the first of `algorithms` that it takes;
// those that are not in `made` yet are made.
void offer_compressed(SSL* ssl, std::span<const int> algorithms, std::vector<CompressedCertificate>& made);

}  // namespace penstock
