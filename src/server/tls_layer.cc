#include "src/server/tls_layer.h"

#include "src/route/route_table.h"
#include "src/tls/kernel_tls.h"
#include "src/tls/ticket_rotation.h"

#include <utility>

namespace penstock {
namespace {

constexpr Duration CHECK_SLICE = milliseconds(10);  // ten times a second

// What ALPN (RFC 7301) offers, best first.
const std::vector<std::string> PROTOCOLS = {
#ifdef PENSTOCK_HTTP2
    "h2",
#endif
    "http/1.1", "http/1.0"};

Status find_client_rules(const SiteSettings& site, const CertificateBundle& bundle, ClientRulesSource& rules) {
  rules.id = client_rules_id(site);
  if (rules.id == 0) return {};
  rules.requires_one = site.tls_client == ClientCertificateSetting::REQUIRE;
  rules.depth = site.tls_client_depth;
  const auto find = [&bundle](const std::vector<std::string>& paths, std::vector<ClientRulesFile>& files) -> Status {
    for (const std::string& path : paths) {
      ClientRulesFile file{.path = path, .bytes = {}};
      if (!bundle.find(path, file.bytes)) return fail(path + ": did not come along with the configuration");
      files.push_back(std::move(file));
    }
    return {};
  };
  if (Status found = find(site.tls_client_ca, rules.authorities); !found) return found;
  return find(site.tls_client_crl, rules.revocations);
}

// What the supervisor has held to the same library already.
Result<HandshakeOffer> offer_of(const Settings& settings) {
  auto groups = offer_groups(settings.tls_groups);
  if (!groups) return fail("tls.groups: " + groups.error().message);
  auto compressions = offer_compressions(settings.tls_certificate_compression);
  if (!compressions) return fail("tls.certificate_compression: " + compressions.error().message);
  return HandshakeOffer{.groups = std::move(*groups), .compressions = std::move(*compressions)};
}

}  // namespace

Result<std::unique_ptr<TlsLayer>> TlsLayer::make(std::vector<UniqueFd> channels, uint32_t reactors,
                                                 const std::string& ticket_keys, Clock& clock) {
  if (channels.size() != 2 * size_t{reactors} + 2) return fail("a server without its channels to the key process");
  std::unique_ptr<TlsLayer> layer(new TlsLayer(clock));  // NOLINT: the constructor is private
  auto keys = RemoteKeys::load(nullptr);
  if (!keys) return std::unexpected(keys.error());
  layer->keys_ = std::make_unique<RemoteKeys>(std::move(*keys));
  for (size_t i = 0; i < channels.size(); i += 2) {
    auto& channel = *layer->channels_.emplace_back(std::make_unique<KeyChannel>());
    if (Status opened = channel.open(std::move(channels[i]), std::move(channels[i + 1])); !opened) {
      return std::unexpected(opened.error());
    }
  }
  layer->source_ = std::make_unique<RemoteKeySource>(*layer->keys_, *layer->channels_.back());
  layer->store_ = std::make_unique<CertificateStore>(*layer->source_);
  layer->set_ticket_keys(ticket_keys);
  layer->kernel_offers_ = look_for_kernel_tls().offered;  // later, in its sandbox, the process can make no socket
  layer->reactors_ = reactors;
  return layer;
}

Result<std::unique_ptr<Transport>> TlsLayer::wrap(uint32_t reactor, Transport& below, const TransportOptions& options) {
  auto context = TlsContext::make(*store_, tickets_, live_, PROTOCOLS);
  if (!context) return std::unexpected(context.error());
  contexts_.push_back(std::move(*context));
  return std::make_unique<TlsTransport>(below, *contexts_.back(), channels_[reactor].get(), clock_, options);
}

Result<std::unique_ptr<CertificateTable>> TlsLayer::load(const Settings& settings, const UniqueFd& certificates,
                                                         CertificateTable::Occasion occasion,
                                                         std::vector<std::string>& notes,
                                                         const std::function<bool()>& between) {
  if (!certificates.valid()) return fail("the certificates did not come along with the configuration");
  if (const auto offer = offer_of(settings); !offer) return std::unexpected(offer.error());
  auto bundle = CertificateBundle::open(certificates.get());
  if (!bundle) return std::unexpected(bundle.error());
  std::vector<CertificateSite> sites;
  for (const SiteSettings& site : settings.sites) {
    if (site.tls_certificate.empty()) continue;
    CertificateSite one{
        .name = site.name, .hosts = site.hosts, .pairs = {}, .fallback = site.name == settings.server_default_site};
    for (size_t i = 0; i < site.tls_certificate.size() && i < site.tls_key.size(); ++i) {
      CertificateSource source{.certificate_file = site.tls_certificate[i],
                               .key_file = site.tls_key[i],
                               .ocsp_file = i < site.tls_ocsp.size() ? site.tls_ocsp[i] : std::string(),
                               .chain = {},
                               .ocsp = {}};
      if (!(*bundle)->find(source.certificate_file, source.chain)) {
        return fail(source.certificate_file + ": did not come along with the configuration");
      }
      (void)(*bundle)->find(source.key_file, source.key_state);
      if (!source.ocsp_file.empty()) (void)(*bundle)->find(source.ocsp_file, source.ocsp);  // check() tells of it
      one.pairs.push_back(std::move(source));
    }
    if (Status found = find_client_rules(site, **bundle, one.client); !found) return std::unexpected(found.error());
    sites.push_back(std::move(one));
  }
  auto table = std::make_unique<CertificateTable>(std::move(sites), std::move(*bundle));
  if (Status good = table->check(occasion, store_->table(), *source_, clock_, notes, between); !good) {
    return std::unexpected(good.error());
  }
  return table;
}

void TlsLayer::set_ticket_keys(const std::string& keys) { tickets_.set(ticket_keys_of(keys)); }

void TlsLayer::publish(std::unique_ptr<CertificateTable> table, const Settings& settings) {
  live_.handshake_timeout_ns.store(settings.tls_handshake_timeout.ns, std::memory_order_relaxed);
  live_.handshakes_max.store((settings.tls_handshakes_max + reactors_ - 1) / reactors_, std::memory_order_relaxed);
  live_.ticket_lifetime_s.store(settings.tls_tickets_lifetime.s(), std::memory_order_relaxed);
  live_.only_1_3.store(settings.tls_only_1_3, std::memory_order_relaxed);
  live_.kernel.store(kernel_offers_ && settings.tls_kernel == KernelTlsSetting::AUTO, std::memory_order_relaxed);
  if (auto offer = offer_of(settings)) live_.offer.set(std::move(*offer));
  table_ = table.get();
  store_->replace(std::move(table));
}

void TlsLayer::maintain(std::vector<std::string>& notes) {
  for (std::string& problem : store_->take_problems()) notes.push_back(std::move(problem));
  for (const auto& context : contexts_) {
    const int error = context->kernel_refusal();
    if (error == 0 || std::exchange(refusal_told_, true)) continue;
    const auto why =
        fail_errno("kTLS: the kernel refused the key of a connection (counted in tls_kernel_refused)", error);
    notes.push_back(why.error().message);
  }
  if (table_ != nullptr && !table_->check_rest(clock_, CHECK_SLICE, notes)) table_ = nullptr;
}

}  // namespace penstock
