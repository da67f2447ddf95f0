// What a session knows of its client: the rules that it came under, and its certificate.
#include "src/base/bytes.h"
#include "src/tls/client_rules.h"
#include "src/tls/tls_session.h"

#include <algorithm>
#include <openssl/err.h>

namespace penstock {
namespace {

constexpr int64_t JUDGED_FOR_S = 60;

Reason reason_of(ClientVerdict verdict) {
  switch (verdict) {
    case ClientVerdict::GOOD:
      return Reason::NONE;
    case ClientVerdict::REVOKED:
      return Reason::CLIENT_CERTIFICATE_REVOKED;
    case ClientVerdict::UNTRUSTED:
      return Reason::CLIENT_CERTIFICATE_UNTRUSTED;
    case ClientVerdict::EXPIRED:
      return Reason::CLIENT_CERTIFICATE_EXPIRED;
    case ClientVerdict::UNCHECKED:
      return Reason::CLIENT_CERTIFICATE_UNCHECKED;
  }
  return Reason::CLIENT_CERTIFICATE_UNTRUSTED;
}

}  // namespace

// With each hello of the client, before a session can be resumed: what it may resume depends on the name.
bool TlsSession::begin(std::string_view server_name) {
  server_name_.assign(server_name);
  std::transform(server_name_.begin(), server_name_.end(), server_name_.begin(), ascii_lower);
  size_t loaded = 0;
  const bool asked = context_.certificates().ask_client(ssl_.get(), server_name_, client_rules_, loaded);
  context_.count_loaded(loaded);
  return asked;
}

Reason TlsSession::judge(X509* certificate, STACK_OF(X509) * others, const SSL_SESSION* session, int64_t wall_s) {
  bool requires_one = false;
  const auto store = context_.certificates().client_store(server_name_, requires_one);
  if (store == nullptr) return Reason::NONE;  // no rules any more; who had some is told by their id
  if (others != nullptr) return reason_of(judge_client(store.get(), certificate, others, wall_s));
  void* kept = nullptr;
  size_t size = 0;
  // Takes a session that it only reads.
  if (SSL_SESSION_get0_ticket_appdata(const_cast<SSL_SESSION*>(session), &kept, &size) != 1) size = 0;
  const auto chain = read_client_chain({static_cast<const char*>(kept), size});
  return reason_of(judge_client(store.get(), certificate, chain.get(), wall_s));
}

// A session is resumed only where its certificate would be taken now, and where there was one if one is required: a
// whole handshake asks for another, or says exactly what is wrong.
bool TlsSession::may_resume(const SSL_SESSION* session) {
  if (client_rules_ == 0) return true;
  X509* const certificate = SSL_SESSION_get0_peer(const_cast<SSL_SESSION*>(session));
  if (certificate != nullptr) return judge(certificate, nullptr, session, wall_s_) == Reason::NONE;
  bool requires_one = false;
  const auto store = context_.certificates().client_store(server_name_, requires_one);
  return store != nullptr && !requires_one;
}

// Into the ticket goes what the client sent beside its certificate, without which that could not be judged again. A
// session that was resumed has it already.
bool TlsSession::keep_chain_for_ticket() {
  if (client_rules_ == 0) return true;
  const STACK_OF(X509)* const others = SSL_get_peer_cert_chain(ssl_.get());
  if (others == nullptr) return true;
  const std::string bytes = write_client_chain(others);
  return SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl_.get()), bytes.data(), bytes.size()) == 1;
}

void TlsSession::look_at_client() {
  X509* const certificate = SSL_get0_peer_certificate(ssl_.get());
  if (certificate == nullptr) return;
  client_subject_ = subject_of_client(certificate).value_or("");
  client_fingerprint_ = fingerprint_of_client(certificate);
  judged_s_ = wall_s_ - JUDGED_FOR_S - 1;
}

Reason TlsSession::client_refused(int64_t wall_s) {
  if (client_fingerprint_.empty()) return Reason::NONE;
  const uint64_t generation = context_.certificates().generation();
  if (generation == judged_generation_ && wall_s >= judged_s_ && wall_s - judged_s_ <= JUDGED_FOR_S) {
    return client_refused_;
  }
  client_refused_ = judge(SSL_get0_peer_certificate(ssl_.get()), SSL_get_peer_cert_chain(ssl_.get()),
                          SSL_get_session(ssl_.get()), wall_s);
  judged_generation_ = generation;
  judged_s_ = wall_s;
  return client_refused_;
}

}  // namespace penstock
