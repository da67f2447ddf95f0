// Certificate authorities for tests: roots, intermediates, clients' certificates, revocation lists. All times are
// fixed: TEST_NOW_S and around it.
#pragma once

#include "src/tls/openssl_pointers.h"
#include "tests/support/tls_world.h"

#include <cstdint>
#include <string>
#include <vector>

namespace penstock::test {

inline constexpr int64_t TEST_NOW_S = 1'800'000'000;
inline constexpr int64_t TEST_DAY_S = 86'400;

struct IssueOptions {
  std::string subject = "client";  // its CN
  long serial = 100;
  int64_t from_s = TEST_NOW_S - TEST_DAY_S;
  int64_t until_s = TEST_NOW_S + TEST_DAY_S;
  const char* purpose = "clientAuth";  // extended key usage
};

class TestAuthority {
 public:
  // A root; or issued by `issuer`.
  explicit TestAuthority(const std::string& name, const TestAuthority* issuer = nullptr);

  [[nodiscard]] std::string certificate() const;  // PEM
  [[nodiscard]] X509* x509() const { return certificate_.get(); }
  [[nodiscard]] TestPair issue(const IssueOptions& options) const;
  // A revocation list of these serial numbers, PEM or DER.
  [[nodiscard]] std::string revoke(const std::vector<long>& serials, int64_t next_update_s = TEST_NOW_S + TEST_DAY_S,
                                   bool der = false) const;

 private:
  OpensslPointer<EVP_PKEY> key_;
  OpensslPointer<X509> certificate_;
};

[[nodiscard]] OpensslPointer<X509> certificate_of(const std::string& pem);
[[nodiscard]] OpensslPointer<EVP_PKEY> private_key_of(const std::string& pem);

}  // namespace penstock::test
