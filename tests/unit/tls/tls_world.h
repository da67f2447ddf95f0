// Keys, certificates and handshakes in memory, and a keyd in a thread.
#pragma once

#include "src/tls/key_channel.h"
#include "src/tls/key_desk.h"
#include "src/tls/private_key.h"
#include "src/tls/remote_key.h"

#include <atomic>
#include <expected>
#include <memory>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace penstock {

struct FreeOpenssl {
  void operator()(X509* x) const { X509_free(x); }
  void operator()(SSL* x) const { SSL_free(x); }
  void operator()(SSL_CTX* x) const { SSL_CTX_free(x); }
  void operator()(OSSL_LIB_CTX* x) const { OSSL_LIB_CTX_free(x); }
  void operator()(BIO* x) const { BIO_free(x); }
};
template <typename T>
using Owned = std::unique_ptr<T, FreeOpenssl>;

// "rsa", "rsa3072", "p256", "p384", "p521", "ed25519", and ones that are not served: "rsa1024", "secp256k1".
UniquePkey make_test_key(const std::string& kind);
Owned<X509> make_test_certificate(EVP_PKEY* key);
std::string pem_of(EVP_PKEY* key, const char* pass_phrase = nullptr);
std::string der_of(EVP_PKEY* key);
PrivateKey load_test_key(EVP_PKEY* key);

// The content of a CertificateVerify.
std::vector<unsigned char> tls13_content(size_t hash_bytes = 32);
KeyRequest sign_request(const KeyName& name, uint16_t scheme, const std::vector<unsigned char>& content);

// Signs with the keys that it was given.
class TestSigner : public KeySigner {
 public:
  void add(PrivateKey key) { keys_.push_back(std::move(key)); }
  std::expected<size_t, Refusal> answer(const KeyRequest& request, std::span<unsigned char> out) override;
  std::atomic<bool> later{false};
  std::atomic<uint32_t> asked{0};

 private:
  std::vector<PrivateKey> keys_;
};

// Serves one channel until it is destroyed.
class TestKeyd {
 public:
  TestKeyd(const KeyChannelEnds& ends, KeySigner& signer);
  ~TestKeyd();
  KeyDesk& desk() { return *desk_; }

 private:
  std::unique_ptr<KeyDesk> desk_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

KeyChannelEnds duplicate(const KeyChannelEnds& ends);
Status open_channel(KeyChannel& channel, const KeyChannelEnds& ends);
Result<KeyDesk> open_desk(const KeyChannelEnds& ends);

// A server's side with remote keys: the channel, the provider in a context of its own, and one handshake after another.
class RemoteWorld {
 public:
  RemoteWorld();
  // A server context for the certificate, whose key is `signer`'s.
  Owned<SSL_CTX> server_context(EVP_PKEY* key);
  Result<UniquePkey> remote_key(EVP_PKEY* key);

  Owned<OSSL_LIB_CTX> context;
  KeyChannelEnds ends;
  KeyChannel channel;
  TestSigner signer;
  std::unique_ptr<RemoteKeys> keys;
};

// Both ends of a handshake over memory.
struct Pair {
  Pair(SSL_CTX* server_context, SSL_CTX* client_context);
  ~Pair();
  // Takes both as far as they go. True: both are done.
  bool step();
  bool done() const { return SSL_is_init_finished(server.get()) && SSL_is_init_finished(client.get()); }

  KeyWait wait;
  Owned<SSL> server, client;
  int server_error = 0;  // SSL_get_error() of the last step
  int client_error = 0;
};

// Collects until `pair` is done or has failed. `channel`: whose token the pair has.
bool finish(Pair& pair, KeyChannel& channel);
// Waits until the bell rings.
void wait_bell(const KeyChannel& channel);

}  // namespace penstock
