// TlsLayer: the parts of TLS in a server process, wired: certificates, keys' channels, a transport for each reactor.
//
// Made by the control thread while the process has one thread, where server.listen_tls names an address; a process
// without it cannot get it later and is replaced. Certificates and limits are live.
#pragma once

#include "src/base/clock.h"
#include "src/config/settings.h"
#include "src/tls/remote_key_source.h"
#include "src/tls/tls_transport.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace penstock {

class TlsLayer {
 public:
  // `channels`: memory and bed for each reactor, then for the control thread. `ticket_keys`: RoleStart.
  [[nodiscard]] static Result<std::unique_ptr<TlsLayer>> make(std::vector<UniqueFd> channels, uint32_t reactors,
                                                              const std::string& ticket_keys, Clock& clock);
  TlsLayer(const TlsLayer&) = delete;
  TlsLayer& operator=(const TlsLayer&) = delete;

  // On top of a reactor's own transport, which outlives what it returns. Once for each reactor.
  [[nodiscard]] Result<std::unique_ptr<Transport>> wrap(uint32_t reactor, Transport& below,
                                                        const TransportOptions& options);

  // The certificates that `settings` names, out of the memfd that came with them; they are looked at, keys asked for,
  // as CertificateTable::check() says. Error: which file, and why; nothing has changed. What does not hinder is a line
  // in `notes`.
  [[nodiscard]] Result<std::unique_ptr<CertificateTable>> load(const Settings& settings, const UniqueFd& certificates,
                                                               CertificateTable::Occasion occasion,
                                                               std::vector<std::string>& notes,
                                                               const std::function<bool()>& between = {});
  // In force for every handshake that begins from now on.
  void publish(std::unique_ptr<CertificateTable> table, const Settings& settings);
  // RoleStart::ticket_keys, later; for every ticket from now on.
  void set_ticket_keys(const std::string& keys);
  // Regular work. For the operator: what could not be used at its first use, or was not looked at before the start.
  void maintain(std::vector<std::string>& notes);

 private:
  explicit TlsLayer(Clock& clock) : clock_(clock) {}

  Clock& clock_;
  std::unique_ptr<RemoteKeys> keys_;
  std::vector<std::unique_ptr<KeyChannel>> channels_;
  std::unique_ptr<RemoteKeySource> source_;
  std::unique_ptr<CertificateStore> store_;
  CertificateTable* table_ = nullptr;  // the store's, while check_rest() has to be called
  TicketKeys tickets_;
  TlsLive live_;
  bool kernel_offers_ = false;  // kTLS
  bool refusal_told_ = false;
  std::vector<std::unique_ptr<TlsContext>> contexts_;
  uint32_t reactors_ = 1;
};

}  // namespace penstock
