#include "src/tls/tls_context.h"

#include "src/tls/tls_session.h"

#include <algorithm>
#include <ctime>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <openssl/rand.h>

namespace penstock {
namespace {

// TLS 1.2's; those of 1.3 are OpenSSL's default, all AEAD.
constexpr const char* SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20";

TlsSession& session_of(const SSL* ssl) { return *static_cast<TlsSession*>(SSL_get_app_data(ssl)); }

// SNI as it stands in the client's hello (RFC 6066 section 3); what is malformed in it OpenSSL refuses by itself.
std::string_view server_name_in_hello(SSL* ssl) {
  const unsigned char* at = nullptr;
  size_t size = 0;
  if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &at, &size) != 1 || size < 5) return "";
  // The list's length, then of its one name: the kind (0, a host) and the length.
  const size_t bytes = size_t{at[3]} << 8 | at[4];
  if (at[2] != TLSEXT_NAMETYPE_host_name || bytes > size - 5) return "";
  return {reinterpret_cast<const char*>(at + 5), bytes};
}

int begin_hello(SSL* ssl, int* alert, void*) {
  TlsSession& session = session_of(ssl);
  if (session.begin(server_name_in_hello(ssl))) return SSL_CLIENT_HELLO_SUCCESS;
  session.blame(Reason::TLS_NO_CERTIFICATE);
  *alert = SSL_AD_INTERNAL_ERROR;
  return SSL_CLIENT_HELLO_ERROR;
}

// Who shows a certificate and holds its key gets through the handshake; TlsSession judges the certificate.
int accept_client(X509_STORE_CTX* context, void*) {
  X509_STORE_CTX_set_error(context, X509_V_OK);
  return 1;
}

int make_ticket(SSL* ssl, void*) { return session_of(ssl).keep_chain_for_ticket() ? 1 : 0; }

SSL_TICKET_RETURN take_ticket(SSL* ssl, SSL_SESSION* session, const unsigned char*, size_t, SSL_TICKET_STATUS status,
                              void*) {
  if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW) return SSL_TICKET_RETURN_IGNORE_RENEW;
  if (!session_of(ssl).may_resume(session)) return SSL_TICKET_RETURN_IGNORE_RENEW;
  return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

int choose_certificate(SSL* ssl, void*) {
  TlsSession& session = session_of(ssl);
  size_t loaded = 0;
  const auto equipped =
      session.context().certificates().equip(ssl, session.server_name(), session.context().compressions(), loaded);
  session.context().count_loaded(loaded);
  switch (equipped) {
    case CertificateStore::Equipped::YES:
      return 1;
    case CertificateStore::Equipped::NONE:
    case CertificateStore::Equipped::BROKEN:
      break;
  }
  session.blame(Reason::TLS_NO_CERTIFICATE);
  return 0;
}

int choose_protocol(SSL* ssl, const unsigned char** out, unsigned char* out_size, const unsigned char* offered,
                    unsigned int offered_size, void*) {
  TlsSession& session = session_of(ssl);
  const std::string& ours = session.context().protocols();
  const auto* const list = reinterpret_cast<const unsigned char*>(ours.data());
  if (SSL_select_next_proto(const_cast<unsigned char**>(out), out_size, list, static_cast<unsigned>(ours.size()),
                            offered, offered_size) == OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_OK;
  }
  session.blame(Reason::TLS_NOTHING_COMMON);
  return SSL_TLSEXT_ERR_ALERT_FATAL;  // RFC 7301 section 3.2
}

int staple(SSL* ssl, void*) {
  const X509* const leaf = SSL_get_certificate(ssl);
  if (leaf == nullptr) return SSL_TLSEXT_ERR_NOACK;
  const std::string response =
      session_of(ssl).context().certificates().ocsp_for(leaf, session_of(ssl).server_name(), session_of(ssl).wall_s());
  if (response.empty()) return SSL_TLSEXT_ERR_NOACK;
  void* const copy = OPENSSL_memdup(response.data(), response.size());
  if (copy == nullptr) return SSL_TLSEXT_ERR_NOACK;
  SSL_set_tlsext_status_ocsp_resp(ssl, copy, static_cast<long>(response.size()));  // takes it over
  return SSL_TLSEXT_ERR_OK;
}

// For RecordSealer: nothing is logged.
void take_secret(const SSL* ssl, const char* line) { session_of(ssl).sealer().take_secret(line); }

// Seals (1) or opens a ticket: 0 it is none of ours, 1 it is good, 2 good, and the client gets a new one.
int seal_ticket(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac, int seals) {
  TicketKeys& keys = session_of(ssl).context().tickets();
  TicketKey key;
  auto found = TicketKeys::Found::YES;
  if (seals != 0) {
    if (!keys.newest(key) || RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1) return 0;
    std::copy(key.name.begin(), key.name.end(), name);
  } else {
    found = keys.find(name, key);
    if (found == TicketKeys::Found::NO) return 0;
  }
  char digest[] = "SHA256";
  const OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key.mac.data(), key.mac.size()),
                               OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, sizeof digest - 1),
                               OSSL_PARAM_construct_end()};
  const int ready = seals != 0 ? EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), nullptr, key.cipher.data(), iv)
                               : EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), nullptr, key.cipher.data(), iv);
  if (ready != 1 || EVP_MAC_CTX_set_params(mac, params) != 1) return -1;
  if (seals == 0 && SSL_version(ssl) >= TLS1_3_VERSION) return 2;  // RFC 8446 appendix C.4: no ticket twice
  return found == TicketKeys::Found::OLD ? 2 : 1;
}

// A second handshake (TLS 1.2) is answered by a warning, and could be asked for without end: the connection fails for
// it.
void notice_renegotiation(const SSL* ssl, int where, int what) {
  constexpr int ALERT_DESCRIPTION = 0xff;
  if (where == SSL_CB_WRITE_ALERT && (what & ALERT_DESCRIPTION) == SSL_AD_NO_RENEGOTIATION) {
    session_of(ssl).blame(Reason::TLS_RENEGOTIATION);
  }
}

}  // namespace

Result<std::unique_ptr<TlsContext>> TlsContext::make(CertificateStore& certificates, TicketKeys& tickets,
                                                     const TlsLive& live, const std::vector<std::string>& protocols) {
  // No file of OpenSSL's own is read: what holds is what stands here.
  if (OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, nullptr) != 1) return fail("OpenSSL: " + take_openssl_error());
  std::unique_ptr<TlsContext> made(new TlsContext(certificates, tickets, live));  // NOLINT: the constructor is private
  made->context_.reset(SSL_CTX_new(TLS_server_method()));
  SSL_CTX* const context = made->context_.get();
  if (context == nullptr) return fail("OpenSSL: " + take_openssl_error());
  for (const std::string& protocol : protocols) {
    made->protocols_ += static_cast<char>(protocol.size());
    made->protocols_ += protocol;
  }
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                   SSL_OP_PRIORITIZE_CHACHA | SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_ENABLE_KTLS);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, 1);
  SSL_CTX_set_max_early_data(context, 0);
  SSL_CTX_set_quiet_shutdown(context, 0);
  constexpr unsigned char ID[] = "penstock";
  if (SSL_CTX_set_cipher_list(context, SUITES) != 1 ||
      SSL_CTX_set1_groups_list(context, HandshakeOffer{}.groups.c_str()) != 1 ||
      SSL_CTX_set_session_id_context(context, ID, sizeof ID - 1) != 1 ||
      SSL_CTX_set_tlsext_ticket_key_evp_cb(context, seal_ticket) != 1) {
    return fail("OpenSSL: " + take_openssl_error());
  }
  SSL_CTX_set_info_callback(context, notice_renegotiation);
  SSL_CTX_set_keylog_callback(context, take_secret);
  SSL_CTX_set_client_hello_cb(context, begin_hello, nullptr);
  SSL_CTX_set_cert_verify_callback(context, accept_client, nullptr);
  if (SSL_CTX_set_session_ticket_cb(context, make_ticket, take_ticket, nullptr) != 1) {
    return fail("OpenSSL: " + take_openssl_error());
  }
  SSL_CTX_set_cert_cb(context, choose_certificate, nullptr);
  SSL_CTX_set_alpn_select_cb(context, choose_protocol, nullptr);
  // What SSL_CTX_set_tlsext_status_cb() is, without its C cast.
  SSL_CTX_callback_ctrl(context, SSL_CTRL_SET_TLSEXT_STATUS_REQ_CB, reinterpret_cast<void (*)()>(staple));
  return made;
}

void TlsContext::follow_offer() {
  const uint64_t version = live_.offer.version();
  if (version == offer_version_) return;
  offer_version_ = version;
  HandshakeOffer offer = live_.offer.get();
  // The context is of this thread alone; connections have what it said when they came.
  (void)SSL_CTX_set1_groups_list(context_.get(), offer.groups.c_str());
  compressions_ = std::move(offer.compressions);
#ifdef PENSTOCK_CERTIFICATE_COMPRESSION
  if (compressions_.empty()) return;
  (void)SSL_CTX_set1_cert_comp_preference(context_.get(), compressions_.data(), compressions_.size());
#endif
}

}  // namespace penstock
