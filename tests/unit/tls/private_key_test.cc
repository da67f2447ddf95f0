#include "src/tls/private_key.h"

#include "tests/unit/tls/tls_world.h"

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/rsa.h>

namespace penstock {
namespace {

std::expected<PrivateKey, KeyStatus> load(const std::string& file) {
  return PrivateKey::load({reinterpret_cast<const unsigned char*>(file.data()), file.size()});
}

KeyStatus why_not(const std::string& file) {
  const auto key = load(file);
  return key ? KeyStatus::OK : key.error();
}

TEST(PrivateKey, reads_pem_and_der_of_every_kind) {
  for (const char* kind : {"rsa", "p256", "p384", "p521", "ed25519"}) {
    const UniquePkey key = make_test_key(kind);
    const auto name = key_name("x", key.get());
    for (const std::string& file : {pem_of(key.get()), der_of(key.get())}) {
      const auto loaded = load(file);
      ASSERT_TRUE(loaded.has_value()) << kind;
      EXPECT_EQ(loaded->public_key(), name->public_key);
    }
  }
}

TEST(PrivateKey, skips_what_stands_beside_it) {
  const UniquePkey key = make_test_key("p256");
  const std::string parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
  EXPECT_EQ(why_not("a comment\n" + parameters + pem_of(key.get())), KeyStatus::OK);
}

TEST(PrivateKey, says_that_a_key_is_encrypted) {
  const UniquePkey key = make_test_key("p256");
  EXPECT_EQ(why_not(pem_of(key.get(), "secret")), KeyStatus::ENCRYPTED);
  const Owned<BIO> out(BIO_new(BIO_s_mem()));
  ASSERT_EQ(i2d_PKCS8PrivateKey_bio(out.get(), key.get(), EVP_aes_128_cbc(), "secret", 6, nullptr, nullptr), 1);
  char* data = nullptr;
  const long size = BIO_get_mem_data(out.get(), &data);
  EXPECT_EQ(why_not({data, static_cast<size_t>(size)}), KeyStatus::ENCRYPTED);
}

TEST(PrivateKey, refuses_what_is_none) {
  const UniquePkey key = make_test_key("p256");
  const std::string pem = pem_of(key.get());
  EXPECT_EQ(why_not(""), KeyStatus::MALFORMED);
  EXPECT_EQ(why_not("hello"), KeyStatus::MALFORMED);
  EXPECT_EQ(why_not(pem.substr(0, pem.size() / 2)), KeyStatus::MALFORMED);
  EXPECT_EQ(why_not("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), KeyStatus::MALFORMED);
}

TEST(PrivateKey, refuses_kinds_that_are_not_served) {
  for (const char* kind : {"rsa1024", "secp256k1"}) {
    EXPECT_EQ(why_not(pem_of(make_test_key(kind).get())), KeyStatus::UNSUPPORTED) << kind;
  }
}

TEST(PrivateKey, makes_no_signature_of_another_kind) {
  const PrivateKey key = load_test_key(make_test_key("p256").get());
  unsigned char out[SIGNATURE_MAX];
  for (const uint16_t scheme : std::initializer_list<uint16_t>{0x0804, 0x0401, 0x0807}) {
    const auto size = key.sign(sign_request({}, scheme, tls13_content()), out);
    ASSERT_FALSE(size.has_value());
    EXPECT_EQ(size.error(), KeyStatus::REFUSED);
  }
}

TEST(PrivateKey, signs_what_the_public_key_verifies) {
  const UniquePkey key = make_test_key("rsa");
  const PrivateKey loaded = load_test_key(key.get());
  const auto content = tls13_content();
  unsigned char out[SIGNATURE_MAX];
  const auto size = loaded.sign(sign_request({}, 0x0804, content), out);
  ASSERT_TRUE(size.has_value());
  EVP_MD_CTX* verify = EVP_MD_CTX_new();
  EVP_PKEY_CTX* options = nullptr;
  ASSERT_EQ(EVP_DigestVerifyInit_ex(verify, &options, "SHA256", nullptr, nullptr, key.get(), nullptr), 1);
  EVP_PKEY_CTX_set_rsa_padding(options, RSA_PKCS1_PSS_PADDING);
  EVP_PKEY_CTX_set_rsa_pss_saltlen(options, RSA_PSS_SALTLEN_DIGEST);
  EXPECT_EQ(EVP_DigestVerify(verify, out, *size, content.data(), content.size()), 1);
  EVP_MD_CTX_free(verify);
}

}  // namespace
}  // namespace penstock
