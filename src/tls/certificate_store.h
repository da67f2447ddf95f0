// CertificateStore: the certificates in force, for all reactors of a server process.
//
// The control thread replaces the table; reactors take what a handshake needs. A short lock for each full handshake,
// which costs a hundred thousand times as much; a certificate is parsed under it once, at its first use. What a
// connection got stays valid for it when the table is replaced: OpenSSL counts the holders.
#pragma once

#include "src/tls/certificate_table.h"

#include <memory>
#include <mutex>
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

  // Gives the SSL the certificates for `server_name`, one of each kind of key. `loaded`: how many of them were made
  // ready for it, at their first use.
  enum class Equipped : uint8_t { YES, NONE, BROKEN };
  [[nodiscard]] Equipped equip(SSL* ssl, std::string_view server_name, size_t& loaded);
  // What to staple for the certificate that was chosen; empty: nothing.
  [[nodiscard]] std::string ocsp_for(const X509* leaf, std::string_view server_name, int64_t now_s);

  // Certificates that turned out unusable at their first use, since the last call; for the operator's log.
  [[nodiscard]] std::vector<std::string> take_problems();

 private:
  KeySource& keys_;
  std::mutex mutex_;
  std::unique_ptr<CertificateTable> table_;
  std::vector<std::string> problems_;
};

}  // namespace penstock
