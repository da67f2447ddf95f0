// What TLS needs in tests: certificates made on the spot, keys in this process, and a client without I/O.
#pragma once

#include "src/tls/certificate_store.h"
#include "src/tls/tls_context.h"

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::test {

// Self-signed; key and certificate as PEM.
struct TestPair {
  std::string certificate;
  std::string key;
};
enum class KeyKind { EC, RSA };
[[nodiscard]] TestPair make_test_pair(const std::string& host, KeyKind kind = KeyKind::EC);

// Keys by file name, in this process: what the product never does.
class TestKeys final : public KeySource {
 public:
  void add(const std::string& file, const std::string& pem) { files_[file] = pem; }
  Result<OpensslPointer<EVP_PKEY>> make(EVP_PKEY* public_key, const std::string& file) override;
  Status probe(EVP_PKEY* public_key, const std::string& file) override;

 private:
  std::map<std::string, std::string> files_;
};

// A table of sites: {site, hosts, pairs}. The first is the fallback. Key files are added to `keys`.
struct TestSite {
  std::string name;
  std::vector<std::string> hosts;
  std::vector<TestPair> pairs;
  ClientRulesSource client = {};
};
[[nodiscard]] std::unique_ptr<CertificateTable> make_test_table(const std::vector<TestSite>& sites, TestKeys& keys);

// Everything a TlsTransport stands on, with one certificate for any host.
struct TlsParts {
  explicit TlsParts(const std::vector<std::string>& protocols = {"http/1.1"});
  TestKeys keys;
  CertificateStore store{keys};
  TicketKeys tickets;
  TlsLive live;
  std::unique_ptr<TlsContext> context;
};

struct TlsClientOptions {
  std::string server_name;
  std::vector<std::string> protocols;
  int version_min = TLS1_2_VERSION;
  int version_max = TLS1_3_VERSION;
  std::string ciphers;  // of 1.2
  std::string signatures;
  SSL_SESSION* session = nullptr;  // to resume; not taken over
  bool asks_ocsp = false;
  std::string certificate;  // of the client, PEM, its chain behind it
  std::string key;
};

// The client's side of one connection: ciphertext in and out by the caller.
class TlsClient {
 public:
  explicit TlsClient(const TlsClientOptions& options = {});
  TlsClient(const TlsClient&) = delete;
  TlsClient& operator=(const TlsClient&) = delete;

  void feed(std::string_view ciphertext);
  [[nodiscard]] std::string take_output();
  void step();  // goes on with the handshake
  [[nodiscard]] bool done() const { return SSL_is_init_finished(ssl_.get()) == 1 && !failed_; }
  [[nodiscard]] bool failed() const { return failed_; }
  void write(std::string_view plain);
  [[nodiscard]] std::string read(size_t bytes_max);
  [[nodiscard]] bool closed() const { return (SSL_get_shutdown(ssl_.get()) & SSL_RECEIVED_SHUTDOWN) != 0; }
  void goodbye() { (void)SSL_shutdown(ssl_.get()); }
  [[nodiscard]] SSL* ssl() const { return ssl_.get(); }

 private:
  void show(const std::string& certificates, const std::string& key);

  OpensslPointer<SSL_CTX> context_;
  OpensslPointer<SSL> ssl_;
  bool failed_ = false;
};

}  // namespace penstock::test
