// TlsSession: the server's side of one TLS connection, sans I/O: bytes that came in, bytes to go out, nothing else.
//
// Owned by a connection of TlsTransport, one thread. Input is lent: OpenSSL reads it where it lies. Output is appended
// to a CipherChain. Never waits; a signature that is made elsewhere is Step::KEY, and handshake() is called again when
// it is there. Neither copies nor moves (OpenSSL holds its address).
#pragma once

#include "src/base/result.h"
#include "src/http/status.h"
#include "src/tls/cipher_chain.h"
#include "src/tls/openssl_pointers.h"
#include "src/tls/record_sealer.h"
#include "src/tls/tls_context.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace penstock {

class TlsSession {
 public:
  static constexpr size_t RECORD_MAX = 16'384;  // plaintext of one record

  enum class Step : uint8_t {
    DONE,    // the handshake is over, or bytes were read
    MORE,    // needs more input
    KEY,     // waits for a signature
    END,     // the peer said that nothing more comes (close_notify)
    FAILED,  // reason() says why; an alert for the peer may be in the output
  };

  // REQUIRES: context, pool and out outlive it.
  TlsSession(TlsContext& context, CipherPool& pool, CipherChain& out, int64_t wall_s);
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;
  ~TlsSession();
  // False: out of memory; only destroying is allowed.
  [[nodiscard]] bool valid() const { return ssl_ != nullptr; }

  // `bytes` are read from now on. REQUIRES: what was lent before is used up.
  void lend(std::string_view bytes) { input_ = bytes; }
  [[nodiscard]] std::string_view unused() const { return input_; }

  [[nodiscard]] Step handshake();
  // Reads as much plaintext as there is and `out` takes: `got` bytes, also where the answer is MORE, END or FAILED.
  [[nodiscard]] Step read(std::span<char> out, size_t& got);
  // Plaintext was decrypted that no read() took.
  [[nodiscard]] bool has_pending() const { return SSL_pending(ssl_.get()) > 0; }
  // One record, or more where it is larger. False: failed. REQUIRES: !handed_over().
  [[nodiscard]] bool write(std::span<const char> bytes);

  // For a kernel that seals what is sent from here on: the key of the next record. False: there is none to be had.
  // REQUIRES: all output has been taken by the connection.
  [[nodiscard]] bool make_offer(RecordSealer::Offer& offer) const;
  // It took it. From here on the caller sends what is to be sent itself, and the output is what OpenSSL says beside it
  // (alerts, key updates), in plain: each record a block, whose first byte is its type.
  void hand_over();
  [[nodiscard]] bool handed_over() const { return handed_over_; }
  // What OpenSSL owes the peer before the next data (RFC 8446 section 4.6.3) is put into the output; once that is sent
  // the key is another. False: failed. REQUIRES: handed_over().
  [[nodiscard]] bool settle_key_update();
  [[nodiscard]] static bool is_key_update(const CipherBlock& record);
  // close_notify.
  void say_goodbye();

  [[nodiscard]] Reason reason() const { return reason_; }
  // In lower case; empty: the client named none.
  [[nodiscard]] std::string_view server_name() const { return server_name_; }
  [[nodiscard]] std::string_view protocol() const;  // of ALPN
  [[nodiscard]] bool resumed() const { return SSL_session_reused(ssl_.get()) == 1; }
  [[nodiscard]] SSL* ssl() const { return ssl_.get(); }

  // The client, once the handshake is done. Which rules for its certificate it came under, 0: none.
  [[nodiscard]] uint64_t client_rules() const { return client_rules_; }
  // Of the certificate that it showed; both empty: it showed none.
  [[nodiscard]] std::string_view client_subject() const { return client_subject_; }
  [[nodiscard]] std::string_view client_fingerprint() const { return client_fingerprint_; }
  // NONE, or why its certificate is not good enough by the rules in force, which are asked again when they have
  // changed, and once a minute: it may expire.
  [[nodiscard]] Reason client_refused(int64_t wall_s);

  // For the callbacks of TlsContext.
  [[nodiscard]] bool begin(std::string_view server_name);
  [[nodiscard]] bool may_resume(const SSL_SESSION* session);
  [[nodiscard]] bool keep_chain_for_ticket();
  [[nodiscard]] TlsContext& context() const { return context_; }
  void blame(Reason reason) { reason_ = reason; }
  [[nodiscard]] int64_t wall_s() const { return wall_s_; }
  [[nodiscard]] RecordSealer& sealer() { return sealer_; }

 private:
  struct Bio;  // OpenSSL's way to our bytes
  [[nodiscard]] Step failed(bool in_handshake);
  [[nodiscard]] bool seal(std::span<const char> plain);
  [[nodiscard]] Reason judge(X509* certificate, STACK_OF(X509) * others, const SSL_SESSION* session, int64_t wall_s);
  void look_at_client();

  TlsContext& context_;
  CipherPool& pool_;
  CipherChain& out_;
  std::string_view input_;
  RecordSealer sealer_;
  uint8_t next_type_ = RecordSealer::APPLICATION_DATA;  // of what OpenSSL writes next, where sealer_ is active
  bool handed_over_ = false;
  OpensslPointer<SSL> ssl_;
  int64_t wall_s_;
  Reason reason_ = Reason::NONE;
  Reason client_refused_ = Reason::NONE;
  uint64_t client_rules_ = 0;
  uint64_t judged_generation_ = 0;
  int64_t judged_s_ = 0;
  std::string server_name_;
  std::string client_subject_;
  std::string client_fingerprint_;
};

}  // namespace penstock
