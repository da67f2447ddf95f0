// CertificateStore: the certificates in force, for all reactors of a server process.
//
// The control thread replaces the table; reactors take what a handshake needs. A short lock for each full handshake,
// which costs a hundred thousand times as much; a certificate is parsed under it once, at its first use. What a
// connection got stays valid for it when the table is replaced: OpenSSL counts the holders.
#pragma once

#include "src/tls/certificate_table.h"

#include <atomic>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

class CertificateStore {
 public:
  explicit CertificateStore(KeySource& keys) : keys_(keys) {}

  void replace(std::unique_ptr<CertificateTable> table);
  // The table in force, for comparing; only the thread that replaces may look at it. nullptr: none yet.
  [[nodiscard]] const CertificateTable* table() const { return table_.get(); }
  [[nodiscard]] KeySource& keys() { return keys_; }

  // Gives the SSL the certificates for `server_name`, one of each kind of key, also in `compressions` where nothing is
  // to be stapled, which a compressed certificate has no place for. `loaded`: how many of them were made ready for it,
  // at their first use.
  enum class Equipped : uint8_t { YES, NONE, BROKEN };
  [[nodiscard]] Equipped equip(SSL* ssl, std::string_view server_name, std::span<const int> compressions,
                               size_t& loaded);
  // What to staple for the certificate that was chosen; empty: nothing.
  [[nodiscard]] std::string ocsp_for(const X509* leaf, std::string_view server_name, int64_t now_s);

  // What clients of `server_name` are asked for: OpenSSL is told, and sessions are kept apart by it. The id of the
  // rules, 0 where there are none. False: they cannot be used, and nobody is to be let in.
  [[nodiscard]] bool ask_client(SSL* ssl, std::string_view server_name, uint64_t& id, size_t& loaded);
  // By what a client's certificate is judged now; nullptr: there are no rules any more. `requires_one` is set, too.
  [[nodiscard]] OpensslPointer<X509_STORE> client_store(std::string_view server_name, bool& requires_one);
  // Another number after each replace(). Any thread.
  [[nodiscard]] uint64_t generation() const { return generation_.load(std::memory_order_acquire); }

  // Certificates that turned out unusable at their first use, since the last call; for the operator's log.
  [[nodiscard]] std::vector<std::string> take_problems();

 private:
  [[nodiscard]] CertificateTable::Loaded* load(std::string_view server_name, uint32_t& site, size_t& loaded);

  KeySource& keys_;
  std::mutex mutex_;
  std::unique_ptr<CertificateTable> table_;
  std::atomic<uint64_t> generation_{0};
  std::vector<std::string> problems_;
};

}  // namespace penstock
