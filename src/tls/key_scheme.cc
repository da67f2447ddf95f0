#include "src/tls/key_scheme.h"

#include "src/base/bytes.h"

#include <string>

namespace penstock {
namespace {

constexpr KeyScheme SCHEMES[] = {
    {0x0401, KeyKind::RSA, KeyHash::SHA256, false, "SHA256"}, {0x0501, KeyKind::RSA, KeyHash::SHA384, false, "SHA384"},
    {0x0601, KeyKind::RSA, KeyHash::SHA512, false, "SHA512"}, {0x0804, KeyKind::RSA, KeyHash::SHA256, true, "SHA256"},
    {0x0805, KeyKind::RSA, KeyHash::SHA384, true, "SHA384"},  {0x0806, KeyKind::RSA, KeyHash::SHA512, true, "SHA512"},
    {0x0403, KeyKind::EC, KeyHash::SHA256, false, "SHA256"},  {0x0503, KeyKind::EC, KeyHash::SHA384, false, "SHA384"},
    {0x0603, KeyKind::EC, KeyHash::SHA512, false, "SHA512"},  {0x0807, KeyKind::ED25519, KeyHash::NONE, false, nullptr},
};
constexpr int RSA_BITS_MIN = 2048;
constexpr int RSA_BITS_MAX = 8192;

}  // namespace

std::optional<KeyKind> key_kind(const EVP_PKEY* key) {
  if (EVP_PKEY_is_a(key, "RSA") == 1) {
    const int bits = EVP_PKEY_get_bits(key);
    return bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX ? std::optional(KeyKind::RSA) : std::nullopt;
  }
  if (EVP_PKEY_is_a(key, "ED25519") == 1) return KeyKind::ED25519;
  if (EVP_PKEY_is_a(key, "EC") != 1) return std::nullopt;
  char group[64] = "";
  size_t size = 0;
  if (EVP_PKEY_get_group_name(key, group, sizeof group, &size) != 1) return std::nullopt;
  const std::string_view name(group, size);
  const bool served = name == "prime256v1" || name == "secp384r1" || name == "secp521r1";
  return served ? std::optional(KeyKind::EC) : std::nullopt;
}

const char* key_kind_name(KeyKind kind) {
  switch (kind) {
    case KeyKind::RSA:
      return "RSA";
    case KeyKind::EC:
      return "EC";
    case KeyKind::ED25519:
      return "ED25519";
  }
  return "";
}

std::optional<KeyHash> key_hash(std::string_view name) {
  if (name.empty() || iequals(name, "UNDEF")) return KeyHash::NONE;
  if (iequals(name, "SHA256") || iequals(name, "SHA2-256")) return KeyHash::SHA256;
  if (iequals(name, "SHA384") || iequals(name, "SHA2-384")) return KeyHash::SHA384;
  if (iequals(name, "SHA512") || iequals(name, "SHA2-512")) return KeyHash::SHA512;
  return std::nullopt;
}

std::span<const KeyScheme> key_schemes() { return SCHEMES; }

const KeyScheme* find_key_scheme(uint16_t number) {
  for (const KeyScheme& scheme : SCHEMES) {
    if (scheme.number == number) return &scheme;
  }
  return nullptr;
}

std::optional<uint16_t> key_scheme(KeyKind kind, KeyHash hash, bool pss) {
  for (const KeyScheme& scheme : SCHEMES) {
    if (scheme.kind == kind && scheme.hash == hash && scheme.pss == pss) return scheme.number;
  }
  return std::nullopt;
}

}  // namespace penstock
