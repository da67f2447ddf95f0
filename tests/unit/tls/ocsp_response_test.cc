#include "src/tls/ocsp_response.h"

#include <functional>
#include <gtest/gtest.h>
#include <openssl/ocsp.h>
#include <openssl/x509v3.h>

namespace penstock {
namespace {

constexpr int64_t NOW = 1'700'000'000;

struct Signed {
  OpensslPointer<EVP_PKEY> key{EVP_EC_gen("P-256")};
  OpensslPointer<X509> certificate{X509_new()};

  Signed(const char* name, long number, const Signed* issuer) {
    X509_set_version(certificate.get(), X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), number);
    X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -86'400);
    X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 86'400);
    const auto* const text = reinterpret_cast<const unsigned char*>(name);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_ASC, text, -1, -1, 0);
    X509_set_pubkey(certificate.get(), key.get());
    const Signed& by = issuer != nullptr ? *issuer : *this;
    X509_set_issuer_name(certificate.get(), X509_get_subject_name(by.certificate.get()));
    EXPECT_GT(X509_sign(certificate.get(), by.key.get(), EVP_sha256()), 0);
  }
};

struct World {
  Signed ca{"ca", 1, nullptr};
  Signed other_ca{"ca", 1, nullptr};  // the same name, another key
  Signed leaf{"leaf", 2, &ca};
  Signed other{"other", 3, &ca};
  OpensslPointer<STACK_OF(X509)> rest{sk_X509_new_null()};

  World() {
    X509_up_ref(ca.certificate.get());
    sk_X509_push(rest.get(), ca.certificate.get());
  }

  [[nodiscard]] std::string response(const Signed& about, const Signed& by, int status, int64_t from, int64_t until,
                                     const EVP_MD* hash = EVP_sha1()) const {
    OCSP_BASICRESP* const basic = OCSP_BASICRESP_new();
    OCSP_CERTID* const id = OCSP_cert_to_id(hash, about.certificate.get(), ca.certificate.get());
    ASN1_TIME* const first = ASN1_GENERALIZEDTIME_set(nullptr, from);
    ASN1_TIME* const last = until != 0 ? ASN1_GENERALIZEDTIME_set(nullptr, until) : nullptr;
    ASN1_TIME* const revoked = status == V_OCSP_CERTSTATUS_REVOKED ? first : nullptr;
    EXPECT_NE(OCSP_basic_add1_status(basic, id, status, OCSP_REVOKED_STATUS_NOSTATUS, revoked, first, last), nullptr);
    EXPECT_EQ(OCSP_basic_sign(basic, by.certificate.get(), by.key.get(), EVP_sha256(), nullptr, 0), 1);
    OCSP_RESPONSE* const whole = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic);
    unsigned char* der = nullptr;
    const int size = i2d_OCSP_RESPONSE(whole, &der);
    std::string text(reinterpret_cast<char*>(der), static_cast<size_t>(size));
    OPENSSL_free(der);
    OCSP_RESPONSE_free(whole);
    OCSP_BASICRESP_free(basic);
    OCSP_CERTID_free(id);
    ASN1_TIME_free(first);
    ASN1_TIME_free(last);
    return text;
  }

  [[nodiscard]] std::string refusal_of(const std::string& der, bool with_issuer = true) const {
    const auto judged = judge_ocsp(der, leaf.certificate.get(), with_issuer ? rest.get() : nullptr);
    return judged ? "" : judged.error().message;
  }
};

TEST(OcspResponse, of_its_certificate_is_stapled_while_it_holds) {
  const World world;
  for (const EVP_MD* hash : {EVP_sha1(), EVP_sha256()}) {
    const std::string der = world.response(world.leaf, world.ca, V_OCSP_CERTSTATUS_GOOD, NOW, NOW + 60, hash);
    const auto window = judge_ocsp(der, world.leaf.certificate.get(), world.rest.get());
    ASSERT_TRUE(window) << window.error().message;
    EXPECT_EQ(window->from_s, NOW);
    EXPECT_EQ(window->until_s, NOW + 60);
  }
  const std::string open = world.response(world.leaf, world.ca, V_OCSP_CERTSTATUS_GOOD, NOW, 0);
  const auto window = judge_ocsp(open, world.leaf.certificate.get(), world.rest.get());
  ASSERT_TRUE(window);
  EXPECT_EQ(window->until_s, INT64_MAX);
}

TEST(OcspResponse, of_another_certificate_is_refused) {
  const World world;
  const std::string der = world.response(world.other, world.ca, V_OCSP_CERTSTATUS_GOOD, NOW, NOW + 60);
  EXPECT_NE(world.refusal_of(der).find("another certificate"), std::string::npos);
  EXPECT_NE(world.refusal_of(der, false).find("another certificate"), std::string::npos);
}

TEST(OcspResponse, without_the_issuer_at_hand_the_number_has_to_do) {
  const World world;
  EXPECT_EQ(world.refusal_of(world.response(world.leaf, world.ca, V_OCSP_CERTSTATUS_GOOD, NOW, NOW + 60), false), "");
}

TEST(OcspResponse, signed_by_somebody_else_is_refused) {
  const World world;
  const std::string der = world.response(world.leaf, world.other_ca, V_OCSP_CERTSTATUS_GOOD, NOW, NOW + 60);
  EXPECT_NE(world.refusal_of(der).find("not signed by"), std::string::npos);
}

TEST(OcspResponse, that_says_revoked_or_unknown_is_refused) {
  const World world;
  EXPECT_NE(
      world.refusal_of(world.response(world.leaf, world.ca, V_OCSP_CERTSTATUS_REVOKED, NOW, NOW + 60)).find("revoked"),
      std::string::npos);
  EXPECT_NE(
      world.refusal_of(world.response(world.leaf, world.ca, V_OCSP_CERTSTATUS_UNKNOWN, NOW, NOW + 60)).find("unknown"),
      std::string::npos);
}

TEST(OcspResponse, a_refusal_of_the_responder_and_what_is_none_are_refused) {
  const World world;
  OCSP_RESPONSE* const busy = OCSP_response_create(OCSP_RESPONSE_STATUS_TRYLATER, nullptr);
  unsigned char* der = nullptr;
  const int size = i2d_OCSP_RESPONSE(busy, &der);
  const std::string text(reinterpret_cast<char*>(der), static_cast<size_t>(size));
  OPENSSL_free(der);
  OCSP_RESPONSE_free(busy);
  EXPECT_NE(world.refusal_of(text).find("refusal"), std::string::npos);
  const std::string whole = world.response(world.leaf, world.ca, V_OCSP_CERTSTATUS_GOOD, NOW, NOW + 60);
  for (size_t size_cut = 0; size_cut < whole.size(); ++size_cut) {
    EXPECT_NE(world.refusal_of(whole.substr(0, size_cut)), "") << size_cut;
  }
}

}  // namespace
}  // namespace penstock
