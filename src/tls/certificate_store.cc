#include "src/tls/certificate_store.h"

#include <array>
#include <cstring>
#include <utility>

namespace penstock {

void CertificateStore::replace(std::unique_ptr<CertificateTable> table) {
  std::unique_ptr<CertificateTable> old;  // freed outside of the lock
  const std::lock_guard lock(mutex_);
  old = std::move(table_);
  table_ = std::move(table);
  generation_.fetch_add(1, std::memory_order_release);
}

// REQUIRES: mutex_ is held. nullptr: no certificate, so nobody is let in. `loaded`: certificates that were made.
CertificateTable::Loaded* CertificateStore::load(std::string_view server_name, uint32_t& site, size_t& loaded) {
  loaded = 0;
  site = table_ != nullptr ? table_->find(server_name) : CertificateTable::SITE_NONE;
  if (site == CertificateTable::SITE_NONE) return nullptr;
  const bool first = !table_->is_loaded(site);
  CertificateTable::Loaded& found = table_->load(site, keys_, problems_);
  if (first) loaded = found.pairs.size();
  return &found;
}

bool CertificateStore::ask_client(SSL* ssl, std::string_view server_name, uint64_t& id, size_t& loaded) {
  id = 0;
  constexpr std::string_view NAME = "penstock";
  std::array<unsigned char, NAME.size() + sizeof id> context;
  const std::lock_guard lock(mutex_);
  uint32_t site = 0;
  const CertificateTable::Loaded* const found = load(server_name, site, loaded);
  if (found == nullptr || table_->site(site).client.id == 0) {
    SSL_set_verify(ssl, SSL_VERIFY_NONE, nullptr);
    return SSL_set_session_id_context(ssl, reinterpret_cast<const unsigned char*>(NAME.data()), NAME.size()) == 1;
  }
  if (found->client_broken) return false;
  id = table_->site(site).client.id;
  std::memcpy(context.data(), NAME.data(), NAME.size());
  std::memcpy(context.data() + NAME.size(), &id, sizeof id);
  SSL_set_verify(ssl, SSL_VERIFY_PEER, nullptr);
  SSL_set0_CA_list(ssl, SSL_dup_CA_list(found->client.names.get()));
  return SSL_set_session_id_context(ssl, context.data(), context.size()) == 1;
}

OpensslPointer<X509_STORE> CertificateStore::client_store(std::string_view server_name, bool& requires_one) {
  const std::lock_guard lock(mutex_);
  uint32_t site = 0;
  size_t loaded = 0;
  const CertificateTable::Loaded* const found = load(server_name, site, loaded);
  if (found == nullptr || found->client.store == nullptr) return nullptr;
  requires_one = found->client.requires_one;
  X509_STORE_up_ref(found->client.store.get());
  return OpensslPointer<X509_STORE>(found->client.store.get());
}

CertificateStore::Equipped CertificateStore::equip(SSL* ssl, std::string_view server_name,
                                                   std::span<const int> compressions, size_t& loaded) {
  const bool asks_ocsp = SSL_ctrl(ssl, SSL_CTRL_GET_TLSEXT_STATUS_REQ_TYPE, 0, nullptr) == TLSEXT_STATUSTYPE_ocsp;
  const std::lock_guard lock(mutex_);
  uint32_t site = 0;
  CertificateTable::Loaded* const found = load(server_name, site, loaded);
  if (found == nullptr) return Equipped::NONE;
  bool any = false;
  for (CertificateTable::Pair& pair : found->pairs) {
    if (SSL_use_cert_and_key(ssl, pair.leaf.get(), pair.key.get(), pair.chain.get(), 1) != 1) continue;
    any = true;
    if (!asks_ocsp || pair.ocsp.empty()) offer_compressed(ssl, compressions, pair.compressed);
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
