#include "src/server/client_address.h"

#include "src/base/bytes.h"
#include "src/http/forwarded.h"
#include "src/server/connection.h"

#include <algorithm>
#include <array>
#include <ranges>

namespace penstock {
namespace {

constexpr uint32_t HOPS_MAX = 32;  // proxies in a row; behind more the nearest of them stands for all

JournalAddress hop_address_of(const HopAddress& hop) {
  return {.ip = hop.ip, .port = hop.port, .family = hop.v4 ? JournalAddress::IPV4 : JournalAddress::IPV6};
}

bool is_in(const std::vector<AddressRange>& ranges, const JournalAddress& address) {
  return std::ranges::any_of(ranges, [&address](const AddressRange& range) {
    return address.family != JournalAddress::NONE && range.contains(address.family == JournalAddress::UNIX, address.ip);
  });
}

bool is_loopback(const JournalAddress& address) {
  constexpr std::array<uint8_t, 16> IPV6_LOOPBACK{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  switch (address.family) {
    case JournalAddress::UNIX:
      return true;
    case JournalAddress::IPV4:
      return address.ip[12] == 127;  // ::ffff:127.0.0.0/104, RFC 1122 section 3.2.1.3
    case JournalAddress::IPV6:
      return address.ip == IPV6_LOOPBACK;
    default:
      return false;
  }
}

}  // namespace

const JournalAddress& client_of(const Exchange& ex) { return ex.proxied ? ex.client : ex.connection->facts.client; }

bool is_trusted_proxy(const Settings& settings, const JournalAddress& address) {
  return is_in(settings.server_trusted_proxies, address);
}

bool is_local_client(const Settings& settings, const Exchange& ex) {
  const JournalAddress& peer = ex.connection->facts.client;
  if (ex.proxied || !is_loopback(peer)) return false;
  if (is_in(settings.server_trusted_proxies, peer) || is_in(settings.server_proxy_protocol, peer)) return false;
  constexpr std::array OF_PROXIES{Field::FORWARDED, Field::X_FORWARDED_FOR, Field::X_FORWARDED_PROTO, Field::VIA};
  return std::ranges::none_of(OF_PROXIES, [&ex](Field field) { return ex.head.has(field); });
}

void find_client(Core& core, Exchange& ex) {
  const Settings& settings = core.config->settings;
  JournalAddress client = ex.connection->facts.client;
  if (!is_trusted_proxy(settings, client)) return;
  const bool standard = settings.server_client_header == ClientHeaderSetting::FORWARDED;
  const std::string_view name = standard ? "forwarded" : "x-forwarded-for";
  const auto take_hop = standard ? take_hop_of_forwarded : take_hop_of_x_forwarded_for;
  uint32_t hops = 0;
  for (const HeaderField& field : std::views::reverse(ex.head.fields())) {
    if (!iequals(field.name, name)) continue;
    std::string_view value = field.value;
    HopAddress hop;
    HopState state = HopState::ADDRESS;
    while (is_trusted_proxy(settings, client) && hops++ < HOPS_MAX &&
           (state = take_hop(value, hop)) == HopState::ADDRESS) {
      client = hop_address_of(hop);
    }
    if (state != HopState::END) break;
  }
  if (client == ex.connection->facts.client) return;
  ex.proxied = true;
  ex.client = client;
  core.journal.client(ex.slot, client);
}

}  // namespace penstock
