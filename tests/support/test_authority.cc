#include "tests/support/test_authority.h"

#include "src/base/assert.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

namespace penstock::test {
namespace {

template <typename Write>
std::string written(Write write) {
  const OpensslPointer<BIO> bio(BIO_new(BIO_s_mem()));
  ASSERT(write(bio.get()) == 1);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return {data, static_cast<size_t>(size)};
}

std::string pem_of(X509* certificate) {
  return written([certificate](BIO* bio) { return PEM_write_bio_X509(bio, certificate); });
}

void extend(X509* certificate, int nid, const std::string& value) {
  X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, nullptr, nid, value.c_str());
  ASSERT(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1);
  X509_EXTENSION_free(extension);
}

OpensslPointer<X509> begin_certificate(const std::string& name, long serial, int64_t from_s, int64_t until_s,
                                       EVP_PKEY* key) {
  OpensslPointer<X509> made(X509_new());
  X509_set_version(made.get(), X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(made.get()), serial);
  ASN1_TIME_set(X509_getm_notBefore(made.get()), from_s);
  ASN1_TIME_set(X509_getm_notAfter(made.get()), until_s);
  X509_NAME* const subject = X509_get_subject_name(made.get());
  const auto* const text = reinterpret_cast<const unsigned char*>(name.c_str());
  X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>("penstock"), -1, -1,
                             0);
  for (size_t at = 0; at < name.size(); at += 60) {  // more than one where it is long: a CN has 64 characters at most
    const auto size = static_cast<int>(std::min<size_t>(60, name.size() - at));
    ASSERT(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, text + at, size, -1, 0) == 1);
  }
  X509_set_pubkey(made.get(), key);
  return made;
}

}  // namespace

OpensslPointer<X509> certificate_of(const std::string& pem) {
  const OpensslPointer<BIO> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  return OpensslPointer<X509>(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
}

OpensslPointer<EVP_PKEY> private_key_of(const std::string& pem) {
  const OpensslPointer<BIO> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  return OpensslPointer<EVP_PKEY>(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
}

TestAuthority::TestAuthority(const std::string& name, const TestAuthority* issuer)
    : key_(EVP_EC_gen("P-256")),
      certificate_(
          begin_certificate(name, 1, TEST_NOW_S - 100 * TEST_DAY_S, TEST_NOW_S + 100 * TEST_DAY_S, key_.get())) {
  extend(certificate_.get(), NID_basic_constraints, "critical,CA:TRUE");
  extend(certificate_.get(), NID_key_usage, "critical,keyCertSign,cRLSign");
  const TestAuthority& by = issuer != nullptr ? *issuer : *this;
  X509_set_issuer_name(certificate_.get(), X509_get_subject_name(by.certificate_.get()));
  ASSERT(X509_sign(certificate_.get(), by.key_.get(), EVP_sha256()) > 0);
}

std::string TestAuthority::certificate() const { return pem_of(certificate_.get()); }

TestPair TestAuthority::issue(const IssueOptions& options) const {
  const OpensslPointer<EVP_PKEY> key(EVP_EC_gen("P-256"));
  const auto made = begin_certificate(options.subject, options.serial, options.from_s, options.until_s, key.get());
  extend(made.get(), NID_ext_key_usage, options.purpose);
  X509_set_issuer_name(made.get(), X509_get_subject_name(certificate_.get()));
  ASSERT(X509_sign(made.get(), key_.get(), EVP_sha256()) > 0);
  return {.certificate = pem_of(made.get()), .key = written([&key](BIO* bio) {
                                               return PEM_write_bio_PrivateKey(bio, key.get(), nullptr, nullptr, 0,
                                                                               nullptr, nullptr);
                                             })};
}

std::string TestAuthority::revoke(const std::vector<long>& serials, int64_t next_update_s, bool der) const {
  const OpensslPointer<X509_CRL> list(X509_CRL_new());
  X509_CRL_set_version(list.get(), X509_CRL_VERSION_2);
  X509_CRL_set_issuer_name(list.get(), X509_get_subject_name(certificate_.get()));
  ASN1_TIME* const time = ASN1_TIME_set(nullptr, TEST_NOW_S - 10 * TEST_DAY_S);
  X509_CRL_set1_lastUpdate(list.get(), time);
  for (const long serial : serials) {
    X509_REVOKED* const one = X509_REVOKED_new();
    ASN1_INTEGER* const number = ASN1_INTEGER_new();
    ASN1_INTEGER_set(number, serial);
    X509_REVOKED_set_serialNumber(one, number);
    X509_REVOKED_set_revocationDate(one, time);
    ASN1_INTEGER_free(number);
    X509_CRL_add0_revoked(list.get(), one);
  }
  ASN1_TIME_set(time, next_update_s);
  X509_CRL_set1_nextUpdate(list.get(), time);
  ASN1_TIME_free(time);
  X509_CRL_sort(list.get());
  ASSERT(X509_CRL_sign(list.get(), key_.get(), EVP_sha256()) > 0);
  return written(
      [&](BIO* bio) { return der ? i2d_X509_CRL_bio(bio, list.get()) : PEM_write_bio_X509_CRL(bio, list.get()); });
}

}  // namespace penstock::test
