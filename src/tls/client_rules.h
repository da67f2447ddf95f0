// ClientRules: what one site asks of its clients' certificates, and whether a certificate is good enough.
//
// Made out of files that the supervisor read (certificate_bundle.h), then immutable; owned by the CertificateTable. A
// certificate is judged when a handshake is over, when a session is resumed, and again while its connection lives
// (TlsSession::client_refused), always by the rules in force. Everybody who holds the certificate's key gets through
// the handshake: what is wrong with the certificate is answered by HTTP, with a sub-status of its own. Any thread.
#pragma once

#include "src/base/result.h"
#include "src/tls/openssl_pointers.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

struct ClientRulesFile {
  std::string path;
  std::string_view bytes;
  bool operator==(const ClientRulesFile&) const = default;
};

struct ClientRulesSource {
  uint64_t id = 0;  // of the rules, as the configuration tells them; 0: certificates are not asked for
  bool requires_one = false;
  uint32_t depth = 0;                        // most certificates between a client's and the one that is trusted
  std::vector<ClientRulesFile> authorities;  // PEM
  std::vector<ClientRulesFile> revocations;  // PEM or DER; none: nothing is looked up
  bool operator==(const ClientRulesSource&) const = default;  // the bytes, too
};

struct ClientRules {
  OpensslPointer<X509_STORE> store;
  OpensslPointer<STACK_OF(X509_NAME)> names;  // of whom is trusted, for the client to choose; none where too many
  bool requires_one = false;
};

// The error begins with the file's name. REQUIRES: source.id is not 0.
[[nodiscard]] Result<ClientRules> make_client_rules(const ClientRulesSource& source);

enum class ClientVerdict : uint8_t {
  GOOD,
  REVOKED,    // it, or one that it comes from
  UNTRUSTED,  // comes from nobody who is trusted here, or is no good for this
  EXPIRED,    // or not valid yet
  UNCHECKED   // no revocation list in force covers it
};

// `others`: what the client sent beside it; may be nullptr.
[[nodiscard]] ClientVerdict judge_client(X509_STORE* store, X509* certificate, STACK_OF(X509) * others, int64_t wall_s);

// Who a certificate names: RFC 2253, all else than visible ASCII escaped. None: it cannot be said, or not in
// CLIENT_SUBJECT_BYTES_MAX, so that no two clients look alike because one of them was cut off.
inline constexpr size_t CLIENT_SUBJECT_BYTES_MAX = 1'024;
[[nodiscard]] std::optional<std::string> subject_of_client(const X509* certificate);
// SHA-256 of the certificate in hexadecimal, lower case.
[[nodiscard]] std::string fingerprint_of_client(const X509* certificate);

// What a client sent beside its certificate, for its session ticket: whoever resumes is judged anew. Where it is too
// much, nothing: then a whole handshake takes the resumption's place.
inline constexpr size_t CLIENT_CHAIN_BYTES_MAX = 8'192;
[[nodiscard]] std::string write_client_chain(const STACK_OF(X509) * others);
[[nodiscard]] OpensslPointer<STACK_OF(X509)> read_client_chain(std::string_view bytes);

}  // namespace penstock
