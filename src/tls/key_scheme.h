// The kinds of keys and the signature schemes that are served (RFC 8446 section 4.2.3), for the server and for keyd.
#pragma once

#include <cstdint>
#include <openssl/evp.h>
#include <optional>
#include <span>
#include <string_view>

namespace penstock {

enum class KeyKind : uint8_t { RSA, EC, ED25519 };
enum class KeyHash : uint8_t { NONE, SHA256, SHA384, SHA512 };

// RSA from 2,048 to 8,192 bits, EC on P-256, P-384 or P-521, Ed25519; else nothing.
[[nodiscard]] std::optional<KeyKind> key_kind(const EVP_PKEY* key);
// As OpenSSL names it: "RSA", "EC", "ED25519".
[[nodiscard]] const char* key_kind_name(KeyKind kind);
// "SHA256", "SHA2-256" …, "" for NONE; nothing for one that is not served (SHA-1).
[[nodiscard]] std::optional<KeyHash> key_hash(std::string_view name);

struct KeyScheme {
  uint16_t number = 0;  // as TLS says it
  KeyKind kind{};
  KeyHash hash{};
  bool pss = false;
  const char* hash_name = nullptr;  // as OpenSSL takes it; nullptr for none
};
[[nodiscard]] std::span<const KeyScheme> key_schemes();
[[nodiscard]] const KeyScheme* find_key_scheme(uint16_t number);
[[nodiscard]] std::optional<uint16_t> key_scheme(KeyKind kind, KeyHash hash, bool pss);

}  // namespace penstock
