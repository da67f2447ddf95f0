#include "src/tls/certificate_table.h"

#include "src/base/bytes.h"
#include "src/tls/ocsp_response.h"

#include <algorithm>
#include <array>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <unordered_set>

namespace penstock {
namespace {

constexpr size_t SERVER_NAME_BYTES_MAX = 255;
constexpr int CHAIN_CERTIFICATES_MAX = 16;

std::string subject_of(const X509* certificate) {
  std::array<char, 256> text{};
  X509_NAME_oneline(X509_get_subject_name(certificate), text.data(), static_cast<int>(text.size()));
  return text.data();
}

// The next certificate of `bio`, or nullptr at its end or at what is none.
OpensslPointer<X509> next_certificate(BIO* bio) {
  return OpensslPointer<X509>(PEM_read_bio_X509(bio, nullptr, nullptr, nullptr));
}

Result<CertificateTable::Pair> make_pair(const CertificateSource& source, KeySource& keys) {
  Result<CertificateChain> chain = read_chain(source.chain, source.certificate_file);
  if (!chain) return std::unexpected(chain.error());
  EVP_PKEY* const public_key = X509_get0_pubkey(chain->leaf.get());
  if (public_key == nullptr) {
    return fail(source.certificate_file + ": its public key cannot be used: " + take_openssl_error());
  }
  auto key = keys.make(public_key, source.key_file);
  if (!key) return std::unexpected(key.error());
  CertificateTable::Pair pair{
      .leaf = std::move(chain->leaf), .chain = std::move(chain->rest), .key = std::move(*key), .ocsp = {}};
  if (source.ocsp.empty()) return pair;
  if (const auto window = judge_ocsp(source.ocsp, pair.leaf.get(), pair.chain.get())) {
    pair.ocsp = source.ocsp;
    pair.ocsp_window = *window;
  }
  return pair;
}

// Why nothing is stapled, if so: the site is served without.
void tell_of_ocsp(const CertificateSource& source, const CertificateChain& chain, int64_t now_s,
                  std::vector<std::string>& notes) {
  const auto tell = [&](const std::string& why) {
    notes.push_back(source.ocsp_file + ": " + why + "; nothing is stapled to " + source.certificate_file);
  };
  if (source.ocsp.empty()) return tell("could not be read, or is empty");
  const auto window = judge_ocsp(source.ocsp, chain.leaf.get(), chain.rest.get());
  if (!window) return tell(window.error().message);
  if (now_s >= window->until_s) tell("the OCSP response has expired");
  if (now_s < window->from_s) tell("the OCSP response is not valid yet");
}

// Whether the certificates themselves can be used; the key is asked for elsewhere.
Result<CertificateChain> check_pair(const CertificateSource& source, int64_t now_s, std::vector<std::string>& notes) {
  Result<CertificateChain> chain = read_chain(source.chain, source.certificate_file);
  if (!chain) return chain;
  if (X509_get0_pubkey(chain->leaf.get()) == nullptr) {
    return fail(source.certificate_file + ": its public key cannot be used: " + take_openssl_error());
  }
  if (!source.ocsp_file.empty()) tell_of_ocsp(source, *chain, now_s, notes);
  return chain;
}

}  // namespace

Result<CertificateChain> read_chain(std::string_view pem, const std::string& file) {
  ERR_clear_error();
  const OpensslPointer<BIO> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  CertificateChain chain{.leaf = next_certificate(bio.get()),
                         .rest = OpensslPointer<STACK_OF(X509)>(sk_X509_new_null())};
  if (chain.leaf == nullptr) {
    const bool none = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    const std::string why = take_openssl_error();
    return fail(file + (none ? ": holds no certificate in PEM" : ": its certificate is broken: " + why));
  }
  for (int count = 0; OpensslPointer<X509> next = next_certificate(bio.get()); ++count) {
    if (count == CHAIN_CERTIFICATES_MAX) return fail(file + ": holds more certificates than a chain can have");
    const int order =
        X509_check_issued(next.get(), count == 0 ? chain.leaf.get() : sk_X509_value(chain.rest.get(), count - 1));
    if (order != X509_V_OK) {
      ERR_clear_error();
      return fail(file + ": certificate " + std::to_string(count + 2) + " (" + subject_of(next.get()) +
                  ") has not issued the one before it; put the server's first, then its issuers in order");
    }
    sk_X509_push(chain.rest.get(), next.release());
  }
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  const std::string why = take_openssl_error();
  if (!at_end) return fail(file + ": a certificate of the chain is broken: " + why);
  return chain;
}

CertificateTable::CertificateTable(std::vector<CertificateSite> sites, std::unique_ptr<CertificateBundle> bundle)
    : sites_(std::move(sites)), bundle_(std::move(bundle)), loaded_(sites_.size()) {
  for (uint32_t i = 0; i < sites_.size(); ++i) {
    if (sites_[i].pairs.empty()) continue;
    for (const std::string& host : sites_[i].hosts) {
      if (host == "*") {
        any_host_ = i;
      } else {
        by_host_.try_emplace(host, i);
      }
    }
    if (sites_[i].fallback) fallback_ = i;
  }
  for (uint32_t i = 0; i < sites_.size() && fallback_ == SITE_NONE; ++i) {
    if (!sites_[i].pairs.empty()) fallback_ = i;
  }
}

uint32_t CertificateTable::find(std::string_view server_name) const {
  std::array<char, SERVER_NAME_BYTES_MAX> room;
  if (server_name.ends_with('.')) server_name.remove_suffix(1);
  const uint32_t otherwise = any_host_ != SITE_NONE ? any_host_ : fallback_;
  if (server_name.empty() || server_name.size() > room.size()) return otherwise;
  std::transform(server_name.begin(), server_name.end(), room.begin(), ascii_lower);
  const std::string_view name(room.data(), server_name.size());
  if (const auto exact = by_host_.find(name); exact != by_host_.end()) return exact->second;
  // "*.example.org" stands for every name below it; the longest wins.
  for (size_t dot = name.find('.'); dot != std::string_view::npos && dot > 0; dot = name.find('.', dot + 1)) {
    room[dot - 1] = '*';
    if (const auto wild = by_host_.find(name.substr(dot - 1)); wild != by_host_.end()) return wild->second;
  }
  return otherwise;
}

CertificateTable::Loaded& CertificateTable::load(uint32_t site, KeySource& keys, std::vector<std::string>& problems) {
  if (loaded_[site] == nullptr) loaded_[site] = std::make_unique<Loaded>();
  Loaded& loaded = *loaded_[site];
  if (loaded.tried) return loaded;
  loaded.tried = true;
  if (sites_[site].client.id != 0) {
    auto rules = make_client_rules(sites_[site].client);
    if (rules) {
      loaded.client = std::move(*rules);
    } else {
      loaded.client_broken = true;
      problems.push_back(rules.error().message);
    }
  }
  for (const CertificateSource& source : sites_[site].pairs) {
    auto pair = make_pair(source, keys);
    if (pair) {
      loaded.pairs.push_back(std::move(*pair));
    } else {
      problems.push_back(pair.error().message);
    }
  }
  return loaded;
}

Status CertificateTable::check(Occasion occasion, const CertificateTable* before, KeySource& keys, Clock& clock,
                               std::vector<std::string>& notes, const std::function<bool()>& between) {
  const auto key_of = [](const CertificateSource& source) {
    return source.certificate_file + '\n' + source.key_file + '\n' + std::string(source.key_state) + '\n' +
           std::to_string(std::hash<std::string_view>()(source.chain)) +
           std::to_string(std::hash<std::string_view>()(source.ocsp));
  };
  std::unordered_set<std::string> known;
  std::unordered_set<std::string> later;  // what `before` has not come to yet
  if (before != nullptr) {
    for (const CertificateSource* source : before->rest_) later.insert(key_of(*source));
    for (const CertificateSite& site : before->sites_) {
      for (const CertificateSource& source : site.pairs) known.insert(key_of(source));
    }
  }
  const MonoTime end = occasion == Occasion::START ? clock.now() + START_PATIENCE : MonoTime::never();
  MonoTime pause = clock.now() + BETWEEN;
  size_t checked = 0;
  uint64_t rules_known = 0;  // many sites in a row often have the same
  for (const CertificateSite& site : sites_) {
    if (site.client.id != 0 && site.client.id != rules_known) {
      if (auto rules = make_client_rules(site.client); !rules) return std::unexpected(rules.error());
      rules_known = site.client.id;
    }
    for (const CertificateSource& source : site.pairs) {
      const std::string key = key_of(source);
      const bool waits = later.erase(key) != 0;
      if (!known.insert(key).second && !waits) continue;
      if (waits || (checked >= CHECKED_AT_ONCE && clock.now() >= end)) {
        rest_.push_back(&source);
        continue;
      }
      ++checked;
      const auto chain = check_pair(source, clock.wall().unix_seconds(), notes);
      if (!chain) return std::unexpected(chain.error());
      if (clock.now() >= end) continue;
      if (const Status there = keys.probe(X509_get0_pubkey(chain->leaf.get()), source.key_file); !there) return there;
      if (!between || clock.now() < pause) continue;
      if (!between()) return fail("the look at the certificates was given up");
      pause = clock.now() + BETWEEN;
    }
  }
  std::reverse(rest_.begin(), rest_.end());
  bundle_->forget();
  return {};
}

bool CertificateTable::check_rest(Clock& clock, Duration patience, std::vector<std::string>& notes) {
  if (rest_.empty()) return false;
  const MonoTime end = clock.now() + patience;
  do {
    if (const auto chain = check_pair(*rest_.back(), clock.wall().unix_seconds(), notes); !chain) {
      notes.push_back(chain.error().message + "; this certificate cannot be used");
    }
    rest_.pop_back();
  } while (!rest_.empty() && clock.now() < end);
  bundle_->forget();
  if (!rest_.empty()) return true;
  rest_.shrink_to_fit();
  return false;
}

}  // namespace penstock
