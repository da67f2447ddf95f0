// Remote keys: an EVP_PKEY whose private half is in keyd. What src/tls needs to handshake without a private key.
//
// An OpenSSL 3 provider of ours, in one library context, with key management and signature of RSA, EC and ED25519. Its
// keys hold the public key and the KeyName; to sign means to ask keyd. Nothing but the signature of a TLS server's
// handshake can be asked for, so RSA key exchange is not offered: ECDHE only.
//
// A handshake that waits, in the order in which it happens:
//
//   once           RemoteKeys::load(), one for the process, before threads; make_key() for each certificate, any
//   thread;
//                  SSL_CTX_use_certificate(), then SSL_CTX_use_PrivateKey() with it
//   once a reactor prepare_key_thread(); Transport::add_wake_source(channel.wake_fd(), …)
//   a connection   a KeyWait beside its SSL; wait.bind(channel, token); wait_for_key(ssl, wait)
//   SSL_do_handshake() says SSL_ERROR_WANT_ASYNC: keyd has been asked. Touch that SSL no more until the token comes.
//                  SSL_ERROR_WANT_ASYNC_JOB, or SSL_ERROR_SSL and wait.overloaded(): too many wait, end the connection.
//   WOKEN          channel.collect(tokens); SSL_do_handshake() again for each. It may wait a second time.
//   done           stop_waiting_for_key(ssl): from here on reads and writes need no job
//   to give up     (time-out, peer gone) give_up_handshake(ssl, wait), then SSL_free(). Never SSL_free() alone: the job
//                  that waits would be lost.
//   failed         SSL_ERROR_SSL; wait.status() and key_status_text() say why, if it was the key
#pragma once

#include "src/base/result.h"
#include "src/tls/key_channel.h"

#include <memory>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <openssl/ssl.h>
#include <string>

namespace penstock {

struct PkeyDeleter {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
using UniquePkey = std::unique_ptr<EVP_PKEY, PkeyDeleter>;

class RemoteKeys {
 public:
  // Loads our provider and OpenSSL's default one into `context` (nullptr: the default context). The latter goes first,
  // so that whoever fetches an algorithm without asking for ours gets OpenSSL's.
  [[nodiscard]] static Result<RemoteKeys> load(OSSL_LIB_CTX* context);

  // The key for `public_key` (X509_get0_pubkey() of a certificate), which is not kept. Error: a kind that is not
  // served.
  [[nodiscard]] Result<UniquePkey> make_key(EVP_PKEY* public_key, const KeyName& name) const;

 private:
  struct Unload {
    void operator()(OSSL_PROVIDER* provider) const { OSSL_PROVIDER_unload(provider); }
  };
  OSSL_LIB_CTX* context_ = nullptr;
  std::unique_ptr<OSSL_PROVIDER, Unload> default_, ours_;
};

// The name under which keyd knows the private key of `certificate_key`, kept in `file`.
[[nodiscard]] Result<KeyName> key_name(const std::string& file, EVP_PKEY* certificate_key);

// Bounds what this thread keeps for handshakes that wait (a stack of 32 KiB each, made when needed, kept for the next).
// REQUIRES: none waits.
[[nodiscard]] Status prepare_key_thread();

// Lets the handshake of `ssl` wait. `wait` is bound and outlives `ssl`. Before the first SSL_do_handshake(); uses
// SSL_set_async_callback(). Error: no memory.
[[nodiscard]] Status wait_for_key(SSL* ssl, KeyWait& wait);
void stop_waiting_for_key(SSL* ssl);
// Ends a handshake that may wait, so that SSL_free() is allowed. REQUIRES: on the thread of the handshake.
void give_up_handshake(SSL* ssl, KeyWait& wait);

}  // namespace penstock
