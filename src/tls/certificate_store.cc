#include "src/tls/certificate_store.h"

#include <utility>

namespace penstock {

void CertificateStore::replace(std::unique_ptr<CertificateTable> table) {
  std::unique_ptr<CertificateTable> old;  // freed outside of the lock
  const std::lock_guard lock(mutex_);
  old = std::move(table_);
  table_ = std::move(table);
}

CertificateStore::Equipped CertificateStore::equip(SSL* ssl, std::string_view server_name, size_t& loaded) {
  const std::lock_guard lock(mutex_);
  if (table_ == nullptr) return Equipped::NONE;
  const uint32_t site = table_->find(server_name);
  if (site == CertificateTable::SITE_NONE) return Equipped::NONE;
  const bool first = !table_->is_loaded(site);
  const CertificateTable::Loaded& found = table_->load(site, keys_, problems_);
  loaded = first ? found.pairs.size() : 0;
  bool any = false;
  for (const CertificateTable::Pair& pair : found.pairs) {
    any = SSL_use_cert_and_key(ssl, pair.leaf.get(), pair.key.get(), pair.chain.get(), 1) == 1 || any;
  }
  return any ? Equipped::YES : Equipped::BROKEN;
}

std::string CertificateStore::ocsp_for(const X509* leaf, std::string_view server_name, int64_t now_s) {
  const std::lock_guard lock(mutex_);
  const uint32_t site = table_ != nullptr ? table_->find(server_name) : CertificateTable::SITE_NONE;
  if (site == CertificateTable::SITE_NONE) return "";
  for (CertificateTable::Pair& pair : table_->load(site, keys_, problems_).pairs) {
    if (pair.leaf.get() != leaf || now_s < pair.ocsp_window.from_s) continue;
    if (now_s < pair.ocsp_window.until_s) return pair.ocsp;
    if (!pair.ocsp.empty() && !std::exchange(pair.ocsp_ended, true)) {
      problems_.push_back("site " + table_->site(site).name + ": an OCSP response has expired and is stapled no more");
    }
  }
  return "";
}

std::vector<std::string> CertificateStore::take_problems() {
  const std::lock_guard lock(mutex_);
  return std::exchange(problems_, {});
}

}  // namespace penstock
