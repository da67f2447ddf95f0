// Key management and signature of keys whose private half is in keyd.
//
// A RemoteKey keeps the public key as a key of OpenSSL's default provider and lets that one answer for everything
// public. It says that it has a private key and exports none: where OpenSSL tries to move a key into another provider
// in order to sign there, the export is refused, and OpenSSL comes back to ours.
//
// The signature only offers digest_sign at once, which is what libssl uses: keyd is sent what is signed, not its hash,
// so that it can see that it is a handshake's.
#include "src/tls/remote_key_provider.h"

#include "src/tls/key_channel.h"
#include "src/tls/key_scheme.h"
#include "src/tls/remote_key_wait.h"

#include <cstring>
#include <memory>
#include <openssl/async.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <utility>

namespace penstock {
namespace {

struct Provider {
  OSSL_LIB_CTX* context = nullptr;  // for the public keys; OpenSSL's default provider lives there
};

struct RemoteKey {
  ~RemoteKey() { EVP_PKEY_free(public_key); }
  Provider* provider = nullptr;
  EVP_PKEY* public_key = nullptr;
  KeyName name;
  KeyKind kind{};
};

template <typename F>
constexpr OSSL_DISPATCH entry(int id, F* function) {
  return {id, reinterpret_cast<void (*)(void)>(function)};
}

// --- key management ---------------------------------------------------------------------------------

void* key_new(void* provider) {
  auto key = std::make_unique<RemoteKey>();
  key->provider = static_cast<Provider*>(provider);
  return key.release();
}

void key_free(void* data) { std::unique_ptr<RemoteKey>(static_cast<RemoteKey*>(data)).reset(); }

int key_has(const void* data, int selection) {
  const auto* key = static_cast<const RemoteKey*>(data);
  return key->public_key != nullptr && (selection & ~OSSL_KEYMGMT_SELECT_ALL) == 0 ? 1 : 0;
}

// Equal public halves are equal keys: that is what libssl asks of a certificate and its key.
int key_match(const void* one, const void* other, int) {
  const EVP_PKEY* a = static_cast<const RemoteKey*>(one)->public_key;
  const EVP_PKEY* b = static_cast<const RemoteKey*>(other)->public_key;
  return a != nullptr && b != nullptr && EVP_PKEY_eq(a, b) == 1 ? 1 : 0;
}

int key_import(void* data, int, const OSSL_PARAM params[]) {
  auto* key = static_cast<RemoteKey*>(data);
  const OSSL_PARAM* spki = OSSL_PARAM_locate_const(params, REMOTE_KEY_PUBLIC);
  const OSSL_PARAM* name = OSSL_PARAM_locate_const(params, REMOTE_KEY_NAME);
  if (key->public_key != nullptr || spki == nullptr || name == nullptr || name->data_size != sizeof key->name) return 0;
  std::memcpy(&key->name, name->data, sizeof key->name);
  const auto* bytes = static_cast<const unsigned char*>(spki->data);
  key->public_key = d2i_PUBKEY_ex(nullptr, &bytes, static_cast<long>(spki->data_size), key->provider->context, nullptr);
  const auto kind = key->public_key != nullptr ? key_kind(key->public_key) : std::nullopt;
  if (!kind) return 0;
  key->kind = *kind;
  return 1;
}

const OSSL_PARAM* key_import_types(int) {
  static const OSSL_PARAM types[] = {{REMOTE_KEY_PUBLIC, OSSL_PARAM_OCTET_STRING, nullptr, 0, 0},
                                     {REMOTE_KEY_NAME, OSSL_PARAM_OCTET_STRING, nullptr, 0, 0},
                                     OSSL_PARAM_END};
  return types;
}

// The public key, for whoever compares or verifies; never a private one.
int key_export(void* data, int selection, OSSL_CALLBACK* callback, void* argument) {
  const auto* key = static_cast<const RemoteKey*>(data);
  if ((selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) != 0 || key->public_key == nullptr) return 0;
  return EVP_PKEY_export(key->public_key, selection, callback, argument);
}

const OSSL_PARAM* key_export_types(int selection) {
  static const OSSL_PARAM types[] = {OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, nullptr, 0),
                                     OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_N, nullptr, 0),
                                     OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, nullptr, 0),
                                     OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, nullptr, 0), OSSL_PARAM_END};
  return (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) != 0 ? nullptr : types;
}

int key_get_params(void* data, OSSL_PARAM params[]) {
  const auto* key = static_cast<const RemoteKey*>(data);
  return key->public_key == nullptr ? 1 : EVP_PKEY_get_params(key->public_key, params);
}

const OSSL_PARAM* key_gettable(void*) {
  static const OSSL_PARAM params[] = {OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, nullptr),
                                      OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, nullptr),
                                      OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, nullptr),
                                      OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, nullptr, 0),
                                      OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, nullptr, 0),
                                      OSSL_PARAM_END};
  return params;
}

// Which signature goes with a kind of key. "EC" and "ECDSA" are two names; the others are the same.
template <const char* const& NAME>
const char* signature_name(int) {
  return NAME;
}
constexpr const char* RSA_NAME = "RSA";
constexpr const char* ECDSA_NAME = "ECDSA";
constexpr const char* ED25519_NAME = "ED25519";

template <const char* const& NAME>
const OSSL_DISPATCH* key_management() {
  static const OSSL_DISPATCH table[] = {entry(OSSL_FUNC_KEYMGMT_NEW, key_new),
                                        entry(OSSL_FUNC_KEYMGMT_FREE, key_free),
                                        entry(OSSL_FUNC_KEYMGMT_HAS, key_has),
                                        entry(OSSL_FUNC_KEYMGMT_MATCH, key_match),
                                        entry(OSSL_FUNC_KEYMGMT_IMPORT, key_import),
                                        entry(OSSL_FUNC_KEYMGMT_IMPORT_TYPES, key_import_types),
                                        entry(OSSL_FUNC_KEYMGMT_EXPORT, key_export),
                                        entry(OSSL_FUNC_KEYMGMT_EXPORT_TYPES, key_export_types),
                                        entry(OSSL_FUNC_KEYMGMT_GET_PARAMS, key_get_params),
                                        entry(OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, key_gettable),
                                        entry(OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, signature_name<NAME>),
                                        {0, nullptr}};
  return table;
}

// --- signature --------------------------------------------------------------------------------------

struct Signing {
  const RemoteKey* key = nullptr;  // OpenSSL holds the EVP_PKEY as long as the context
  KeyHash hash = KeyHash::NONE;
  bool pss = false;
  KeyRequest request;  // here, because the stack of a handshake that waits is no place to be looked at from another
};

void* signing_new(void*, const char*) { return std::make_unique<Signing>().release(); }
void signing_free(void* data) { std::unique_ptr<Signing>(static_cast<Signing*>(data)).reset(); }

void* signing_copy(void* data) { return std::make_unique<Signing>(*static_cast<Signing*>(data)).release(); }

int signing_set_params(void* data, const OSSL_PARAM params[]) {
  auto* signing = static_cast<Signing*>(data);
  if (params == nullptr) return 1;
  if (const OSSL_PARAM* p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PAD_MODE)) {
    int mode = 0;
    if (p->data_type == OSSL_PARAM_UTF8_STRING) {
      mode = std::strcmp(static_cast<const char*>(p->data), OSSL_PKEY_RSA_PAD_MODE_PSS) == 0 ? RSA_PKCS1_PSS_PADDING
                                                                                             : RSA_PKCS1_PADDING;
    } else if (OSSL_PARAM_get_int(p, &mode) != 1) {
      return 0;
    }
    if (mode != RSA_PKCS1_PADDING && mode != RSA_PKCS1_PSS_PADDING) return 0;
    signing->pss = mode == RSA_PKCS1_PSS_PADDING;
  }
  if (const OSSL_PARAM* p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PSS_SALTLEN)) {
    int length = 0;  // TLS's schemes leave no choice: as long as the digest
    const bool named = p->data_type == OSSL_PARAM_UTF8_STRING &&
                       std::strcmp(static_cast<const char*>(p->data), OSSL_PKEY_RSA_PSS_SALT_LEN_DIGEST) == 0;
    if (!named && (OSSL_PARAM_get_int(p, &length) != 1 || length != RSA_PSS_SALTLEN_DIGEST)) return 0;
  }
  return 1;
}

const OSSL_PARAM* signing_settable(void*, void*) {
  static const OSSL_PARAM params[] = {OSSL_PARAM_int(OSSL_SIGNATURE_PARAM_PAD_MODE, nullptr),
                                      OSSL_PARAM_int(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, nullptr), OSSL_PARAM_END};
  return params;
}

int signing_init(void* data, const char* digest, void* key, const OSSL_PARAM params[]) {
  auto* signing = static_cast<Signing*>(data);
  if (key != nullptr) signing->key = static_cast<const RemoteKey*>(key);
  if (signing->key == nullptr) return 0;
  const auto hash = key_hash(digest != nullptr ? digest : "");
  if (!hash) return 0;
  signing->hash = *hash;
  signing->pss = false;
  return signing_set_params(data, params);
}

// With `out` nullptr: how large it must be. Else: asks keyd, and comes back when it has answered.
int signing_sign(void* data, unsigned char* out, size_t* out_size, size_t out_max, const unsigned char* content,
                 size_t content_size) {
  auto* signing = static_cast<Signing*>(data);
  const int size_max = EVP_PKEY_get_size(signing->key->public_key);
  if (size_max <= 0 || content_size > KEY_CONTENT_MAX) return 0;
  *out_size = static_cast<size_t>(size_max);
  if (out == nullptr) return 1;
  const auto scheme = key_scheme(signing->key->kind, signing->hash, signing->pss);
  if (!scheme || out_max < *out_size) return 0;
  signing->request = {
      .key = signing->key->name, .scheme = *scheme, .content_bytes = static_cast<uint8_t>(content_size)};
  std::memcpy(signing->request.content, content, content_size);
  *out_size = wait_for_signature(signing->request, {out, *out_size});
  return *out_size != 0 ? 1 : 0;
}

const OSSL_DISPATCH* signature() {
  static const OSSL_DISPATCH table[] = {entry(OSSL_FUNC_SIGNATURE_NEWCTX, signing_new),
                                        entry(OSSL_FUNC_SIGNATURE_FREECTX, signing_free),
                                        entry(OSSL_FUNC_SIGNATURE_DUPCTX, signing_copy),
                                        entry(OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, signing_init),
                                        entry(OSSL_FUNC_SIGNATURE_DIGEST_SIGN, signing_sign),
                                        entry(OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, signing_set_params),
                                        entry(OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, signing_settable),
                                        {0, nullptr}};
  return table;
}

// --- the provider -----------------------------------------------------------------------------------

constexpr const char* PROPERTIES = "provider=penstock";

const OSSL_ALGORITHM* query(void*, int operation, int* no_cache) {
  *no_cache = 0;
  static const OSSL_ALGORITHM keys[] = {
      {"RSA:rsaEncryption:1.2.840.113549.1.1.1", PROPERTIES, key_management<RSA_NAME>(), "remote RSA"},
      {"EC:id-ecPublicKey:1.2.840.10045.2.1", PROPERTIES, key_management<ECDSA_NAME>(), "remote EC"},
      {"ED25519:1.3.101.112", PROPERTIES, key_management<ED25519_NAME>(), "remote Ed25519"},
      {nullptr, nullptr, nullptr, nullptr}};
  static const OSSL_ALGORITHM signatures[] = {
      {"RSA:rsaEncryption:1.2.840.113549.1.1.1", PROPERTIES, signature(), "remote RSA"},
      {"ECDSA", PROPERTIES, signature(), "remote ECDSA"},
      {"ED25519:1.3.101.112", PROPERTIES, signature(), "remote Ed25519"},
      {nullptr, nullptr, nullptr, nullptr}};
  if (operation == OSSL_OP_KEYMGMT) return keys;
  return operation == OSSL_OP_SIGNATURE ? signatures : nullptr;
}

void teardown(void* provider) { std::unique_ptr<Provider>(static_cast<Provider*>(provider)).reset(); }

}  // namespace

extern "C" int penstock_remote_provider(const OSSL_CORE_HANDLE* core, const OSSL_DISPATCH* from_core,
                                        const OSSL_DISPATCH** out, void** provider) {
  static const OSSL_DISPATCH table[] = {
      entry(OSSL_FUNC_PROVIDER_TEARDOWN, teardown), entry(OSSL_FUNC_PROVIDER_QUERY_OPERATION, query), {0, nullptr}};
  auto made = std::make_unique<Provider>();
  for (; from_core->function_id != 0; ++from_core) {
    if (from_core->function_id != OSSL_FUNC_CORE_GET_LIBCTX) continue;
    // A provider that is linked in shares its library with OpenSSL, so this is the context that it was loaded into.
    const auto get = reinterpret_cast<OSSL_FUNC_core_get_libctx_fn*>(from_core->function);
    made->context = reinterpret_cast<OSSL_LIB_CTX*>(get(core));
  }
  *provider = made.release();
  *out = table;
  return 1;
}

}  // namespace penstock
