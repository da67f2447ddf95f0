// What RecordSealer makes is read by OpenSSL's own client, through a whole TlsSession.
#include "src/tls/record_sealer.h"

#include "src/tls/certificate_store.h"
#include "src/tls/tls_session.h"
#include "tests/unit/tls/tls_world.h"

#include <cstring>
#include <gtest/gtest.h>
#include <linux/tls.h>

namespace penstock {
namespace {

class OneKey final : public KeySource {
 public:
  explicit OneKey(UniquePkey key) : key_(std::move(key)) {}
  Result<OpensslPointer<EVP_PKEY>> make(EVP_PKEY*, const std::string&) override {
    EVP_PKEY_up_ref(key_.get());
    return OpensslPointer<EVP_PKEY>(key_.get());
  }
  Status probe(EVP_PKEY*, const std::string&) override { return {}; }
  [[nodiscard]] EVP_PKEY* key() const { return key_.get(); }

 private:
  UniquePkey key_;
};

std::string certificate_pem(X509* certificate) {
  const Owned<BIO> out(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(out.get(), certificate);
  char* text = nullptr;
  const long size = BIO_get_mem_data(out.get(), &text);
  return {text, static_cast<size_t>(size)};
}

// OpenSSL's client and a TlsSession, their bytes carried by hand.
class SealedWorld {
 public:
  explicit SealedWorld(int version = TLS1_3_VERSION, const char* suites = "TLS_AES_128_GCM_SHA256") {
    const std::string pem = certificate_pem(make_test_certificate(key_.key()).get());
    auto bundle = CertificateBundle::open(write_certificate_bundle({{"c.pem", pem}})->get());
    CertificateSource pair{.certificate_file = "c.pem", .key_file = "c.key", .ocsp_file = {}, .chain = {}, .ocsp = {}};
    EXPECT_TRUE((*bundle)->find("c.pem", pair.chain));
    std::vector<CertificateSite> sites{{.name = "s", .hosts = {"*"}, .pairs = {pair}, .fallback = true}};
    store_.replace(std::make_unique<CertificateTable>(std::move(sites), std::move(*bundle)));
    context_ = *TlsContext::make(store_, tickets_, live_, {"http/1.1"});
    SSL_CTX_set_max_proto_version(client_context_.get(), version);
    if (version == TLS1_3_VERSION) {
      SSL_CTX_set_ciphersuites(client_context_.get(), suites);
    } else {
      SSL_CTX_set_cipher_list(client_context_.get(), suites);
    }
    client_.reset(SSL_new(client_context_.get()));
    SSL_set_bio(client_.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_connect_state(client_.get());
    session.emplace(*context_, pool_, out_, 1'700'000'000);
    for (int i = 0; i < 4; ++i) {
      (void)SSL_do_handshake(client_.get());
      to_server();
      step_ = session->handshake();
      to_client();
    }
  }

  [[nodiscard]] bool done() const { return step_ == TlsSession::Step::DONE; }
  // Everything that the client said, into the session.
  void to_server() {
    char bytes[8192];
    const int size = BIO_read(SSL_get_wbio(client_.get()), bytes, sizeof bytes);
    received_.assign(bytes, static_cast<size_t>(std::max(size, 0)));
    session->lend(received_);
  }
  void to_client() {
    for (const auto& block : out_.blocks()) {
      BIO_write(SSL_get_rbio(client_.get()), block->data, static_cast<int>(block->used));
    }
    out_.clear(pool_);
  }
  // What the client reads of what the server writes.
  std::string carried(const std::string& text) {
    EXPECT_TRUE(session->write(text));
    to_client();
    std::string read(text.size(), '\0');
    size_t size = 0;
    for (size_t now = 0;
         size < read.size() && SSL_read_ex(client_.get(), read.data() + size, read.size() - size, &now);) {
      size += now;
    }
    read.resize(size);
    return read;
  }
  // The client changes its key and wants a new one of the server.
  void ask_for_key() {
    EXPECT_EQ(SSL_key_update(client_.get(), SSL_KEY_UPDATE_REQUESTED), 1);
    (void)SSL_do_handshake(client_.get());
    to_server();
    char none[16];
    size_t got = 0;
    EXPECT_EQ(session->read(none, got), TlsSession::Step::MORE);
  }
  [[nodiscard]] SSL* client() const { return client_.get(); }

  std::optional<TlsSession> session;

 private:
  OneKey key_{make_test_key("p256")};
  CertificateStore store_{key_};
  TicketKeys tickets_;
  TlsLive live_;
  std::unique_ptr<TlsContext> context_;
  CipherPool pool_;
  CipherChain out_;
  Owned<SSL_CTX> client_context_{SSL_CTX_new(TLS_client_method())};
  Owned<SSL> client_;
  std::string received_;
  TlsSession::Step step_ = TlsSession::Step::MORE;
};

std::string text_of(size_t size) {
  std::string text(size, '\0');
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 7 + i / 251);
  return text;
}

TEST(RecordSealer, every_suite_in_records_of_every_size) {
  for (const char* suite : {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}) {
    SealedWorld world(TLS1_3_VERSION, suite);
    ASSERT_TRUE(world.done()) << suite;
    EXPECT_TRUE(world.session->sealer().active()) << suite;
    for (const size_t size : std::vector<size_t>{1, 15, 16, 17, 1'369, 16'383, 16'384, 16'385, 60'000}) {
      EXPECT_EQ(world.carried(text_of(size)), text_of(size)) << suite << ' ' << size;
    }
  }
}

TEST(RecordSealer, rfc_8446_section_4_6_3_a_new_key_when_the_client_asks_for_one) {
  for (const char* suite : {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"}) {
    SealedWorld world(TLS1_3_VERSION, suite);
    ASSERT_TRUE(world.session->sealer().active());
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(world.carried(text_of(2'000)), text_of(2'000)) << suite << ' ' << i;
      world.ask_for_key();
      EXPECT_EQ(world.carried(text_of(3'000)), text_of(3'000)) << suite << ' ' << i;
    }
  }
}

TEST(RecordSealer, close_notify_is_an_alert) {
  SealedWorld world;
  EXPECT_EQ(world.carried("last"), "last");
  world.session->say_goodbye();
  world.to_client();
  char none[16];
  const int got = SSL_read(world.client(), none, sizeof none);
  EXPECT_EQ(SSL_get_error(world.client(), got), SSL_ERROR_ZERO_RETURN);
}

TEST(RecordSealer, every_suite_of_tls_1_2) {
  for (const char* suite :
       {"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"}) {
    SealedWorld world(TLS1_2_VERSION, suite);
    ASSERT_TRUE(world.done()) << suite;
    EXPECT_TRUE(world.session->sealer().active()) << suite;
    for (const size_t size : std::vector<size_t>{1, 16, 16'384, 16'385, 60'000}) {
      EXPECT_EQ(world.carried(text_of(size)), text_of(size)) << suite << ' ' << size;
    }
    world.session->say_goodbye();
    world.to_client();
    char none[16];
    const int got = SSL_read(world.client(), none, sizeof none);
    EXPECT_EQ(SSL_get_error(world.client(), got), SSL_ERROR_ZERO_RETURN) << suite;
  }
}

// What a kernel would go on with is what comes next here.
TEST(RecordSealer, an_offer_has_the_key_and_the_place_of_the_next_record) {
  struct {
    int version;
    const char* suite;
    uint16_t kind;
    size_t size;
  } const cases[] = {{TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256", TLS_CIPHER_AES_GCM_128, 40},
                     {TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384", TLS_CIPHER_AES_GCM_256, 56},
                     {TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256", TLS_CIPHER_CHACHA20_POLY1305, 56},
                     {TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", TLS_CIPHER_AES_GCM_128, 40},
                     {TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305", TLS_CIPHER_CHACHA20_POLY1305, 56}};
  for (const auto& one : cases) {
    SealedWorld world(one.version, one.suite);
    EXPECT_EQ(world.carried("some"), "some");
    RecordSealer::Offer first;
    ASSERT_TRUE(world.session->make_offer(first)) << one.suite;
    EXPECT_EQ(first.key().size(), one.size) << one.suite;
    tls_crypto_info info{};
    std::memcpy(&info, first.bytes.data(), sizeof info);
    EXPECT_EQ(info.version, one.version);
    EXPECT_EQ(info.cipher_type, one.kind);
    EXPECT_EQ(world.carried("more"), "more");
    RecordSealer::Offer next;
    ASSERT_TRUE(world.session->make_offer(next));
    const std::string_view before(first.bytes.data(), one.size - 8);
    const std::string_view after(next.bytes.data(), one.size - 8);
    const bool told = one.version == TLS1_2_VERSION && one.kind == TLS_CIPHER_AES_GCM_128;
    EXPECT_EQ(before.substr(4) == after.substr(4), !told) << "a nonce that is told counts up, too";
    EXPECT_EQ(next.bytes[one.size - 1], first.bytes[one.size - 1] + 1) << one.suite;
  }
}

}  // namespace
}  // namespace penstock
