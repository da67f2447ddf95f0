#include "src/tls/ocsp_response.h"

#include <ctime>
#include <memory>
#include <openssl/err.h>
#include <openssl/ocsp.h>

namespace penstock {
namespace {

struct OcspFree {
  void operator()(OCSP_RESPONSE* p) const { OCSP_RESPONSE_free(p); }
  void operator()(OCSP_BASICRESP* p) const { OCSP_BASICRESP_free(p); }
  void operator()(OCSP_CERTID* p) const { OCSP_CERTID_free(p); }
};

Result<int64_t> seconds_of(const ASN1_GENERALIZEDTIME* time) {
  tm broken_down{};
  if (ASN1_TIME_to_tm(time, &broken_down) != 1) return fail("has a time that is none");
  return static_cast<int64_t>(::timegm(&broken_down));
}

// Whether `single` is about `leaf`. Without its issuer at hand its number has to do.
bool is_about(const OCSP_SINGLERESP* single, X509* leaf, X509* issuer) {
  auto* const id = const_cast<OCSP_CERTID*>(OCSP_SINGLERESP_get0_id(single));
  ASN1_OBJECT* digest = nullptr;
  ASN1_INTEGER* number = nullptr;
  if (OCSP_id_get0_info(nullptr, &digest, nullptr, &number, id) != 1) return false;
  if (issuer == nullptr) return ASN1_INTEGER_cmp(number, X509_get0_serialNumber(leaf)) == 0;
  const EVP_MD* const hash = EVP_get_digestbyobj(digest);
  if (hash == nullptr) return false;
  const std::unique_ptr<OCSP_CERTID, OcspFree> wanted(OCSP_cert_to_id(hash, leaf, issuer));
  return wanted != nullptr && OCSP_id_cmp(wanted.get(), id) == 0;
}

OCSP_SINGLERESP* find_single(OCSP_BASICRESP* basic, X509* leaf, X509* issuer) {
  for (int i = 0; i < OCSP_resp_count(basic); ++i) {
    OCSP_SINGLERESP* const single = OCSP_resp_get0(basic, i);
    if (is_about(single, leaf, issuer)) return single;
  }
  return nullptr;
}

}  // namespace

Result<OcspWindow> judge_ocsp(std::string_view der, X509* leaf, STACK_OF(X509) * rest) {
  ERR_clear_error();
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  const std::unique_ptr<OCSP_RESPONSE, OcspFree> response(
      d2i_OCSP_RESPONSE(nullptr, &at, static_cast<long>(der.size())));
  if (response == nullptr) return fail("is no OCSP response in DER: " + take_openssl_error());
  const int status = OCSP_response_status(response.get());
  if (status != OCSP_RESPONSE_STATUS_SUCCESSFUL) {
    return fail(std::string("holds a refusal of the OCSP responder: ") + OCSP_response_status_str(status));
  }
  const std::unique_ptr<OCSP_BASICRESP, OcspFree> basic(OCSP_response_get1_basic(response.get()));
  if (basic == nullptr) return fail("is an OCSP response of an unknown kind: " + take_openssl_error());
  X509* const issuer = rest != nullptr && sk_X509_num(rest) > 0 ? sk_X509_value(rest, 0) : nullptr;
  OCSP_SINGLERESP* const single = find_single(basic.get(), leaf, issuer);
  ERR_clear_error();
  if (single == nullptr) return fail("is an OCSP response about another certificate");
  if (issuer != nullptr && OCSP_basic_verify(basic.get(), rest, nullptr, OCSP_NOVERIFY) != 1) {
    return fail("is not signed by who issued the certificate, or by whom he names: " + take_openssl_error());
  }
  ASN1_GENERALIZEDTIME* from = nullptr;
  ASN1_GENERALIZEDTIME* until = nullptr;
  const int verdict = OCSP_single_get0_status(single, nullptr, nullptr, &from, &until);
  if (verdict != V_OCSP_CERTSTATUS_GOOD) {
    return fail(std::string("says that the certificate is ") + OCSP_cert_status_str(verdict));
  }
  OcspWindow window{.until_s = INT64_MAX};
  const auto from_s = seconds_of(from);
  if (!from_s) return std::unexpected(from_s.error());
  window.from_s = *from_s;
  if (until == nullptr) return window;  // RFC 6960 section 4.2.2.1: newer information is always there
  const auto until_s = seconds_of(until);
  if (!until_s) return std::unexpected(until_s.error());
  window.until_s = *until_s;
  return window;
}

}  // namespace penstock
