// The provider behind remote_key.h: its entry, and what OpenSSL is told to make a key of. Internal to src/tls.
#pragma once

#include <openssl/core.h>

namespace penstock {

inline constexpr const char* REMOTE_PROVIDER = "penstock";

// What EVP_PKEY_fromdata() takes; both octet strings.
inline constexpr const char* REMOTE_KEY_PUBLIC = "penstock-public-key";  // SubjectPublicKeyInfo, DER
inline constexpr const char* REMOTE_KEY_NAME = "penstock-key-name";      // a KeyName

// For OSSL_PROVIDER_add_builtin().
extern "C" int penstock_remote_provider(const OSSL_CORE_HANDLE* core, const OSSL_DISPATCH* from_core,
                                        const OSSL_DISPATCH** out, void** provider);

}  // namespace penstock
