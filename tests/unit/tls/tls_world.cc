#include "tests/unit/tls/tls_world.h"

#include "src/base/doorbell.h"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <poll.h>
#include <unistd.h>

namespace penstock {

UniquePkey make_test_key(const std::string& kind) {
  if (kind.starts_with("rsa")) {
    const size_t bits = kind == "rsa" ? 2048 : kind == "rsa1024" ? 1024 : 3072;
    return UniquePkey(EVP_PKEY_Q_keygen(nullptr, nullptr, "RSA", bits));
  }
  if (kind == "ed25519") return UniquePkey(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  const char* curve = kind == "p256" ? "P-256" : kind == "p384" ? "P-384" : kind == "p521" ? "P-521" : kind.c_str();
  return UniquePkey(EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", curve));
}

Owned<X509> make_test_certificate(EVP_PKEY* key) {
  Owned<X509> certificate(X509_new());
  X509_set_version(certificate.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 86400);
  X509_set_pubkey(certificate.get(), key);
  X509_NAME* name = X509_get_subject_name(certificate.get());
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("test"), -1, -1, 0);
  X509_set_issuer_name(certificate.get(), name);
  X509_sign(certificate.get(), key, EVP_PKEY_is_a(key, "ED25519") == 1 ? nullptr : EVP_sha256());
  return certificate;
}

std::string pem_of(EVP_PKEY* key, const char* pass_phrase) {
  const Owned<BIO> out(BIO_new(BIO_s_mem()));
  PEM_write_bio_PKCS8PrivateKey(out.get(), key, pass_phrase != nullptr ? EVP_aes_128_cbc() : nullptr, pass_phrase,
                                pass_phrase != nullptr ? static_cast<int>(std::strlen(pass_phrase)) : 0, nullptr,
                                nullptr);
  char* data = nullptr;
  const long size = BIO_get_mem_data(out.get(), &data);
  return {data, static_cast<size_t>(size)};
}

std::string der_of(EVP_PKEY* key) {
  unsigned char* der = nullptr;
  const int size = i2d_PrivateKey(key, &der);
  std::string text(reinterpret_cast<char*>(der), static_cast<size_t>(size));
  OPENSSL_free(der);
  return text;
}

PrivateKey load_test_key(EVP_PKEY* key) {
  const std::string pem = pem_of(key);
  auto loaded = PrivateKey::load({reinterpret_cast<const unsigned char*>(pem.data()), pem.size()});
  EXPECT_TRUE(loaded.has_value());
  return std::move(*loaded);
}

std::vector<unsigned char> tls13_content(size_t hash_bytes) {
  const std::string_view context("TLS 1.3, server CertificateVerify\0", 34);
  std::vector<unsigned char> content(64 + context.size() + hash_bytes, 0xab);
  std::fill_n(content.begin(), 64, 0x20);
  std::copy(context.begin(), context.end(), content.begin() + 64);
  return content;
}

KeyRequest sign_request(const KeyName& name, uint16_t scheme, const std::vector<unsigned char>& content) {
  KeyRequest request;
  request.key = name;
  request.scheme = scheme;
  request.content_bytes = static_cast<uint8_t>(content.size());
  std::memcpy(request.content, content.data(), std::min(content.size(), sizeof request.content));
  return request;
}

std::expected<size_t, KeySigner::Refusal> TestSigner::answer(const KeyRequest& request, std::span<unsigned char> out) {
  asked.fetch_add(1);
  if (later.load()) return std::unexpected(Refusal{.later = true});
  for (const PrivateKey& key : keys_) {
    if (key.public_key() != request.key.public_key) continue;
    if (request.order == KeyOrder::PROBE) return 0;
    const auto size = key.sign(request, out);
    if (!size) return std::unexpected(Refusal{.status = size.error()});
    return *size;
  }
  return std::unexpected(Refusal{.status = KeyStatus::MISMATCH, .detail = "the file has another"});
}

TestKeyd::TestKeyd(const KeyChannelEnds& ends, KeySigner& signer) {
  auto opened = open_desk(ends);
  EXPECT_TRUE(opened.has_value());
  desk_ = std::make_unique<KeyDesk>(std::move(*opened));
  thread_ = std::thread([this, &signer] {
    while (!stop_.load()) {
      const KeyDesk::Turn turn = desk_->serve(signer);
      if (turn == KeyDesk::Turn::BREACH) return;
      if (turn == KeyDesk::Turn::IDLE) desk_->wait();
    }
  });
}

TestKeyd::~TestKeyd() {
  stop_.store(true);
  desk_->wake();
  thread_.join();
}

KeyChannelEnds duplicate(const KeyChannelEnds& ends) {
  KeyChannelEnds copy;
  copy.memory.reset(::fcntl(ends.memory.get(), F_DUPFD_CLOEXEC, 3));
  copy.bed.reset(::fcntl(ends.bed.get(), F_DUPFD_CLOEXEC, 3));
  copy.bell.reset(::fcntl(ends.bell.get(), F_DUPFD_CLOEXEC, 3));
  return copy;
}

Status open_channel(KeyChannel& channel, const KeyChannelEnds& ends) {
  KeyChannelEnds own = duplicate(ends);
  return channel.open(std::move(own.memory), std::move(own.bed));
}

Result<KeyDesk> open_desk(const KeyChannelEnds& ends) {
  KeyChannelEnds own = duplicate(ends);
  return KeyDesk::open(std::move(own.memory), std::move(own.bell));
}

RemoteWorld::RemoteWorld() : context(OSSL_LIB_CTX_new()) {
  auto made = create_key_channel();
  EXPECT_TRUE(made.has_value());
  ends = std::move(*made);
  EXPECT_TRUE(open_channel(channel, ends).has_value());
  auto loaded = RemoteKeys::load(context.get());
  EXPECT_TRUE(loaded.has_value()) << loaded.error().message;
  keys = std::make_unique<RemoteKeys>(std::move(*loaded));
  EXPECT_TRUE(prepare_key_thread().has_value());
}

Result<UniquePkey> RemoteWorld::remote_key(EVP_PKEY* key) {
  auto name = key_name("/keys/test.pem", key);
  if (!name) return std::unexpected(name.error());
  return keys->make_key(key, *name);
}

Owned<SSL_CTX> RemoteWorld::server_context(EVP_PKEY* key) {
  Owned<SSL_CTX> out(SSL_CTX_new_ex(context.get(), nullptr, TLS_server_method()));
  const Owned<X509> certificate = make_test_certificate(key);
  auto remote = remote_key(key);
  EXPECT_TRUE(remote.has_value());
  EXPECT_EQ(SSL_CTX_use_certificate(out.get(), certificate.get()), 1);
  EXPECT_EQ(SSL_CTX_use_PrivateKey(out.get(), remote->get()), 1);
  EXPECT_EQ(SSL_CTX_check_private_key(out.get()), 1);
  return out;
}

Pair::Pair(SSL_CTX* server_context, SSL_CTX* client_context)
    : server(SSL_new(server_context)), client(SSL_new(client_context)) {
  BIO* to_server = BIO_new(BIO_s_mem());
  BIO* to_client = BIO_new(BIO_s_mem());
  BIO_up_ref(to_server);
  BIO_up_ref(to_client);
  SSL_set_bio(server.get(), to_server, to_client);
  SSL_set_bio(client.get(), to_client, to_server);
  SSL_set_accept_state(server.get());
  SSL_set_connect_state(client.get());
  EXPECT_TRUE(wait_for_key(server.get(), wait).has_value());
}

Pair::~Pair() { give_up_handshake(server.get(), wait); }

bool Pair::step() {
  for (int i = 0; i < 4; ++i) {
    const int from_client = SSL_do_handshake(client.get());
    client_error = SSL_get_error(client.get(), from_client);
    if (wait.waiting()) break;
    const int from_server = SSL_do_handshake(server.get());
    server_error = SSL_get_error(server.get(), from_server);
  }
  return done();
}

void wait_bell(const KeyChannel& channel) {
  pollfd poll{.fd = channel.wake_fd(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(::poll(&poll, 1, 30'000), 1);
  empty_bed(channel.wake_fd());
}

bool finish(Pair& pair, KeyChannel& channel) {
  std::array<uint64_t, KEY_SLOTS> tokens{};
  while (!pair.step()) {
    if (pair.server_error != SSL_ERROR_WANT_ASYNC) return false;
    while (pair.wait.waiting()) {
      wait_bell(channel);
      (void)channel.collect(tokens);
    }
  }
  return true;
}

}  // namespace penstock
