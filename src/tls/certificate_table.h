// CertificateTable: one generation of certificates, by the names that clients ask for.
//
// Made by the control thread out of what the supervisor read (certificate_bundle.h), then owned by a CertificateStore.
// Until a certificate is asked for it costs its names and a view of the file's bytes; the bytes lie in memory that all
// server processes share. Private keys are not here: a pair holds an EVP_PKEY made by KeySource, which for the server
// process knows the public half alone.
#pragma once

#include "src/base/clock.h"
#include "src/base/result.h"
#include "src/tls/certificate_bundle.h"
#include "src/tls/client_rules.h"
#include "src/tls/handshake_offer.h"
#include "src/tls/ocsp_response.h"
#include "src/tls/openssl_pointers.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace penstock {

// Where private keys come from. Any thread.
class KeySource {
 public:
  virtual ~KeySource() = default;
  // The key of `file` that belongs to `public_key` (which is not kept).
  [[nodiscard]] virtual Result<OpensslPointer<EVP_PKEY>> make(EVP_PKEY* public_key, const std::string& file) = 0;
  // Whether it is there and the right one; may take a while. The error is a sentence that names the file.
  [[nodiscard]] virtual Status probe(EVP_PKEY* public_key, const std::string& file) = 0;
};

// A certificate with its chain, and the file of its key.
struct CertificateSource {
  std::string certificate_file;
  std::string key_file;
  std::string ocsp_file;       // empty: nothing is to be stapled
  std::string_view chain;      // PEM, the bytes of certificate_file; valid as long as the table's bundle
  std::string_view ocsp;       // DER, of ocsp_file
  std::string_view key_state;  // tells a key file from the one that replaces it
  bool operator==(const CertificateSource& other) const = default;  // the bytes, too
};

struct CertificateSite {
  std::string name;                      // of the site
  std::vector<std::string> hosts;        // as in site.NAME.hosts
  std::vector<CertificateSource> pairs;  // RSA beside ECDSA; may be empty
  ClientRulesSource client;              // what its clients are asked for
  bool fallback = false;                 // for clients that name no host, or none that is known
};

class CertificateTable {
 public:
  // `bundle` keeps alive what the views of `sites` point to.
  CertificateTable(std::vector<CertificateSite> sites, std::unique_ptr<CertificateBundle> bundle);

  // A usable certificate. Shared with the connections that use it, by OpenSSL's own counts.
  struct Pair {
    OpensslPointer<X509> leaf;
    OpensslPointer<STACK_OF(X509)> chain;
    OpensslPointer<EVP_PKEY> key;
    std::string ocsp;  // empty: nothing to staple
    OcspWindow ocsp_window;
    bool ocsp_ended = false;                        // the operator was told
    std::vector<CompressedCertificate> compressed;  // as they were first asked for
  };
  struct Loaded {
    std::vector<Pair> pairs;
    ClientRules client;
    bool client_broken = false;
    bool tried = false;
  };

  // The site for a server name in any case (RFC 6066 section 3), or SITE_NONE.
  static constexpr uint32_t SITE_NONE = UINT32_MAX;
  [[nodiscard]] uint32_t find(std::string_view server_name) const;
  [[nodiscard]] const CertificateSite& site(uint32_t index) const { return sites_[index]; }
  [[nodiscard]] size_t size() const { return sites_.size(); }

  [[nodiscard]] bool is_loaded(uint32_t site) const { return loaded_[site] != nullptr && loaded_[site]->tried; }
  // The site's pairs, made at the first call. What cannot be used is left out, with a line in `problems`.
  [[nodiscard]] Loaded& load(uint32_t site, KeySource& keys, std::vector<std::string>& problems);

  // Whether every pair that `before` has not (nullptr: every one) can be used: parsed, in date order, its key probed;
  // and whether all rules for clients can be.
  // A START takes START_PATIENCE: then probing ends, and parsing, too, but not before CHECKED_AT_ONCE pairs, and
  // check_rest() goes on: it is not to wait for ten thousand. A CHANGE is looked at whole, however long that takes:
  // what does not fit never gets in. `between` is called every BETWEEN or so meanwhile, for what else the thread has to
  // do; where it says false the check ends with an error.
  // What does not hinder, an OCSP response that cannot be stapled, is a line in `notes`.
  static constexpr Duration START_PATIENCE = milliseconds(500);
  static constexpr size_t CHECKED_AT_ONCE = 300;
  static constexpr Duration BETWEEN = milliseconds(100);
  enum class Occasion : uint8_t { START, CHANGE };
  [[nodiscard]] Status check(Occasion occasion, const CertificateTable* before, KeySource& keys, Clock& clock,
                             std::vector<std::string>& notes, const std::function<bool()>& between = {});
  // Parses what check() left for later, for about that long; a line in `notes` for each pair that cannot be used. To be
  // called until it is false. By the thread of check(), whatever others do with the table meanwhile.
  bool check_rest(Clock& clock, Duration patience, std::vector<std::string>& notes);

 private:
  struct NameHash {
    using is_transparent = void;
    size_t operator()(std::string_view name) const { return std::hash<std::string_view>()(name); }
  };

  std::vector<CertificateSite> sites_;
  std::unique_ptr<CertificateBundle> bundle_;
  std::unordered_map<std::string_view, uint32_t, NameHash> by_host_;
  uint32_t any_host_ = SITE_NONE;
  uint32_t fallback_ = SITE_NONE;
  std::vector<std::unique_ptr<Loaded>> loaded_;  // by site; nullptr until first use
  std::vector<const CertificateSource*> rest_;   // for check_rest(), the first one last
};

// The certificates of a PEM text, the leaf first, as the file gives them. The error begins with `file`.
struct CertificateChain {
  OpensslPointer<X509> leaf;
  OpensslPointer<STACK_OF(X509)> rest;
};
[[nodiscard]] Result<CertificateChain> read_chain(std::string_view pem, const std::string& file);

}  // namespace penstock
