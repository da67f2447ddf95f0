#include "src/tls/client_rules.h"

#include "src/base/assert.h"

#include <algorithm>
#include <array>
#include <climits>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

namespace penstock {
namespace {

constexpr size_t AUTHORITIES_MAX = 4'096;
constexpr size_t REVOCATIONS_MAX = 4'096;
constexpr size_t NAMES_BYTES_MAX = 16'384;  // in each handshake, to every client
constexpr int SECURITY_LEVEL = 2;           // 112 bits: no RSA below 2048, no SHA-1

OpensslPointer<BIO> memory_bio(std::string_view bytes) {
  return OpensslPointer<BIO>(BIO_new_mem_buf(bytes.data(), static_cast<int>(std::min<size_t>(bytes.size(), INT_MAX))));
}

// After the last item of a PEM file: whether nothing but its end came.
bool is_at_pem_end() { return ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE; }

Status add_authorities(ClientRules& rules, const ClientRulesFile& file, size_t& count, size_t& name_bytes) {
  ERR_clear_error();
  const auto bio = memory_bio(file.bytes);
  const size_t before = count;
  while (const OpensslPointer<X509> one{PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)}) {
    if (++count > AUTHORITIES_MAX) return fail(file.path + ": tls.client_ca names too many certificates");
    if (X509_STORE_add_cert(rules.store.get(), one.get()) != 1) return fail(file.path + ": " + take_openssl_error());
    X509_NAME* const name = X509_get_subject_name(one.get());
    const int bytes = i2d_X509_NAME(name, nullptr);
    name_bytes += bytes > 0 ? static_cast<size_t>(bytes) : 0;
    OpensslPointer<X509_NAME> copy(X509_NAME_dup(name));
    if (copy != nullptr && sk_X509_NAME_push(rules.names.get(), copy.get()) > 0) (void)copy.release();
  }
  const bool at_end = is_at_pem_end();
  const std::string why = take_openssl_error();
  if (!at_end) return fail(file.path + ": one of its certificates is broken: " + why);
  if (count == before) return fail(file.path + ": holds no certificate in PEM");
  return {};
}

Status add_revocations(ClientRules& rules, const ClientRulesFile& file, size_t& count) {
  ERR_clear_error();
  const size_t before = count;
  const auto add = [&](X509_CRL* list) {
    return ++count <= REVOCATIONS_MAX && X509_STORE_add_crl(rules.store.get(), list) == 1;
  };
  if (!file.bytes.starts_with('\x30')) {
    const auto bio = memory_bio(file.bytes);
    while (const OpensslPointer<X509_CRL> one{PEM_read_bio_X509_CRL(bio.get(), nullptr, nullptr, nullptr)}) {
      if (!add(one.get())) return fail(file.path + ": cannot be used: " + take_openssl_error());
    }
    const bool at_end = is_at_pem_end();
    const std::string why = take_openssl_error();
    if (!at_end) return fail(file.path + ": one of its revocation lists is broken: " + why);
  } else {
    const auto* at = reinterpret_cast<const unsigned char*>(file.bytes.data());
    const OpensslPointer<X509_CRL> one(d2i_X509_CRL(nullptr, &at, static_cast<long>(file.bytes.size())));
    if (one == nullptr || !add(one.get()))
      return fail(file.path + ": its revocation list is broken: " + take_openssl_error());
  }
  if (count == before) return fail(file.path + ": holds no revocation list");
  return {};
}

// Whoever is named in tls.client_ca is trusted, whatever a list that nobody gave may say of him.
int accept_missing_list_of_the_trusted(int ok, X509_STORE_CTX* context) {
  if (ok == 1 || X509_STORE_CTX_get_error(context) != X509_V_ERR_UNABLE_TO_GET_CRL) return ok;
  const STACK_OF(X509)* const chain = X509_STORE_CTX_get0_chain(context);
  if (chain == nullptr || X509_STORE_CTX_get_error_depth(context) != sk_X509_num(chain) - 1) return ok;
  X509_STORE_CTX_set_error(context, X509_V_OK);
  return 1;
}

ClientVerdict verdict_of(int error, int depth) {
  switch (error) {
    case X509_V_OK:
      return ClientVerdict::GOOD;
    case X509_V_ERR_CERT_REVOKED:
      return ClientVerdict::REVOKED;
    case X509_V_ERR_CERT_NOT_YET_VALID:
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return depth == 0 ? ClientVerdict::EXPIRED : ClientVerdict::UNTRUSTED;
    case X509_V_ERR_UNABLE_TO_GET_CRL:
    case X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER:
    case X509_V_ERR_UNABLE_TO_DECRYPT_CRL_SIGNATURE:
    case X509_V_ERR_CRL_SIGNATURE_FAILURE:
    case X509_V_ERR_CRL_NOT_YET_VALID:
    case X509_V_ERR_CRL_HAS_EXPIRED:
    case X509_V_ERR_ERROR_IN_CRL_LAST_UPDATE_FIELD:
    case X509_V_ERR_ERROR_IN_CRL_NEXT_UPDATE_FIELD:
    case X509_V_ERR_UNHANDLED_CRITICAL_CRL_EXTENSION:
    case X509_V_ERR_DIFFERENT_CRL_SCOPE:
    case X509_V_ERR_KEYUSAGE_NO_CRL_SIGN:
    case X509_V_ERR_CRL_PATH_VALIDATION_ERROR:
      return ClientVerdict::UNCHECKED;
    default:
      return ClientVerdict::UNTRUSTED;
  }
}

}  // namespace

Result<ClientRules> make_client_rules(const ClientRulesSource& source) {
  ASSERT(source.id != 0);
  ClientRules rules{.store = OpensslPointer<X509_STORE>(X509_STORE_new()),
                    .names = OpensslPointer<STACK_OF(X509_NAME)>(sk_X509_NAME_new_null()),
                    .requires_one = source.requires_one};
  if (rules.store == nullptr || rules.names == nullptr) return fail("no memory for the rules of client certificates");
  size_t count = 0;
  size_t name_bytes = 0;
  for (const ClientRulesFile& file : source.authorities) {
    if (Status added = add_authorities(rules, file, count, name_bytes); !added) return std::unexpected(added.error());
  }
  if (name_bytes > NAMES_BYTES_MAX) rules.names.reset(sk_X509_NAME_new_null());
  count = 0;
  for (const ClientRulesFile& file : source.revocations) {
    if (Status added = add_revocations(rules, file, count); !added) return std::unexpected(added.error());
  }
  const unsigned long looks_up = source.revocations.empty() ? 0 : X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL;
  X509_STORE_set_flags(rules.store.get(), X509_V_FLAG_PARTIAL_CHAIN | looks_up);
  X509_STORE_set_depth(rules.store.get(), static_cast<int>(source.depth));
  X509_STORE_set_purpose(rules.store.get(), X509_PURPOSE_SSL_CLIENT);
  X509_VERIFY_PARAM_set_auth_level(X509_STORE_get0_param(rules.store.get()), SECURITY_LEVEL);
  X509_STORE_set_verify_cb(rules.store.get(), accept_missing_list_of_the_trusted);
  return rules;
}

ClientVerdict judge_client(X509_STORE* store, X509* certificate, STACK_OF(X509) * others, int64_t wall_s) {
  if (!subject_of_client(certificate)) return ClientVerdict::UNTRUSTED;
  const OpensslPointer<X509_STORE_CTX> context(X509_STORE_CTX_new());
  ERR_clear_error();
  auto verdict = ClientVerdict::UNTRUSTED;
  if (context != nullptr && X509_STORE_CTX_init(context.get(), store, certificate, others) == 1) {
    X509_STORE_CTX_set_time(context.get(), 0, static_cast<time_t>(wall_s));
    const bool good = X509_verify_cert(context.get()) == 1;
    const int error = X509_STORE_CTX_get_error(context.get());
    if (good || error != X509_V_OK) verdict = verdict_of(error, X509_STORE_CTX_get_error_depth(context.get()));
  }
  ERR_clear_error();
  return verdict;
}

std::optional<std::string> subject_of_client(const X509* certificate) {
  const OpensslPointer<BIO> bio(BIO_new(BIO_s_mem()));
  if (bio == nullptr || X509_NAME_print_ex(bio.get(), X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253) < 0) {
    ERR_clear_error();
    return std::nullopt;
  }
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  if (size < 0 || static_cast<size_t>(size) > CLIENT_SUBJECT_BYTES_MAX) return std::nullopt;
  return std::string(text, static_cast<size_t>(size));
}

std::string fingerprint_of_client(const X509* certificate) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned size = 0;
  if (X509_digest(certificate, EVP_sha256(), digest.data(), &size) != 1) return "";
  constexpr char DIGITS[] = "0123456789abcdef";
  std::string text;
  for (unsigned i = 0; i < size; ++i) (text += DIGITS[digest[i] >> 4]) += DIGITS[digest[i] & 15];
  return text;
}

std::string write_client_chain(const STACK_OF(X509) * others) {
  std::string bytes;
  for (int i = 0; i < sk_X509_num(others); ++i) {
    unsigned char* der = nullptr;
    const int size = i2d_X509(sk_X509_value(others, i), &der);
    if (size > 0) bytes.append(reinterpret_cast<const char*>(der), static_cast<size_t>(size));
    OPENSSL_free(der);
    if (size <= 0 || bytes.size() > CLIENT_CHAIN_BYTES_MAX) return "";
  }
  return bytes;
}

OpensslPointer<STACK_OF(X509)> read_client_chain(std::string_view bytes) {
  OpensslPointer<STACK_OF(X509)> chain(sk_X509_new_null());
  const auto* at = reinterpret_cast<const unsigned char*>(bytes.data());
  const unsigned char* const end = at + bytes.size();
  while (chain != nullptr && at != end) {
    OpensslPointer<X509> one(d2i_X509(nullptr, &at, end - at));
    if (one == nullptr || sk_X509_push(chain.get(), one.get()) <= 0) break;
    (void)one.release();
  }
  return chain;
}

}  // namespace penstock
