// TlsContext: what all TLS connections of one reactor share: versions, suites, the callbacks that find certificates.
//
// Made by the control thread, then used by the thread of its reactor only. No session cache: sessions are resumed by
// tickets (tickets.h), which any reactor and the next server process can read. What is offered is TLS 1.2 and 1.3 with
// an ephemeral key exchange and AEAD suites; no compression, no renegotiation, no early data (it could be replayed).
#pragma once

#include "src/base/result.h"
#include "src/tls/certificate_store.h"
#include "src/tls/handshake_offer.h"
#include "src/tls/openssl_pointers.h"
#include "src/tls/tickets.h"

#include <atomic>
#include <memory>
#include <string>
#include <vector>

namespace penstock {

// What may change while connections live; written by the control thread, read by reactors for each new connection.
struct TlsLive {
  std::atomic<int64_t> handshake_timeout_ns{10'000'000'000};
  std::atomic<uint32_t> handshakes_max{1'024};  // of one reactor, at a time
  std::atomic<int64_t> ticket_lifetime_s{86'400};
  std::atomic<bool> only_1_3{false};
  LiveOffer offer;
  std::atomic<bool> kernel{true};  // whether a kernel that can is offered the key of what is sent
};

class TlsContext {
 public:
  // `protocols`: what ALPN offers, the best first. All references outlive it.
  [[nodiscard]] static Result<std::unique_ptr<TlsContext>> make(CertificateStore& certificates, TicketKeys& tickets,
                                                                const TlsLive& live,
                                                                const std::vector<std::string>& protocols);
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  [[nodiscard]] SSL_CTX* ssl_context() const { return context_.get(); }
  [[nodiscard]] CertificateStore& certificates() const { return certificates_; }
  [[nodiscard]] TicketKeys& tickets() const { return tickets_; }
  [[nodiscard]] const TlsLive& live() const { return live_; }
  // So far, for its reactor.
  [[nodiscard]] uint64_t certificates_loaded() const { return certificates_loaded_; }
  void count_loaded(size_t certificates) { certificates_loaded_ += certificates; }
  // Before a handshake: what is offered in it is what is in force by now.
  void follow_offer();
  [[nodiscard]] const std::vector<int>& compressions() const { return compressions_; }
  // The errno with which a kernel last refused a key, 0: none. Of its reactor; the control thread reads it.
  [[nodiscard]] int kernel_refusal() const { return kernel_refusal_.load(std::memory_order_relaxed); }
  void note_kernel_refusal(int error) { kernel_refusal_.store(error, std::memory_order_relaxed); }
  // In ALPN's form: each with its length before it.
  [[nodiscard]] const std::string& protocols() const { return protocols_; }

 private:
  TlsContext(CertificateStore& certificates, TicketKeys& tickets, const TlsLive& live)
      : certificates_(certificates), tickets_(tickets), live_(live) {}

  CertificateStore& certificates_;
  TicketKeys& tickets_;
  const TlsLive& live_;
  std::string protocols_;
  uint64_t certificates_loaded_ = 0;
  uint64_t offer_version_ = 0;
  std::vector<int> compressions_;
  std::atomic<int> kernel_refusal_{0};
  OpensslPointer<SSL_CTX> context_;
};

}  // namespace penstock
