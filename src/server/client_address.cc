#include "src/server/client_address.h"

#include "src/base/bytes.h"
#include "src/http/forwarded.h"
#include "src/server/connection.h"

#include <algorithm>
#include <ranges>

namespace penstock {
namespace {

constexpr uint32_t HOPS_MAX = 32;  // proxies in a row; behind more the nearest of them stands for all

JournalAddress hop_address_of(const HopAddress& hop) {
  return {.ip = hop.ip, .port = hop.port, .family = hop.v4 ? JournalAddress::IPV4 : JournalAddress::IPV6};
}

}  // namespace

const JournalAddress& client_of(const Exchange& ex) { return ex.proxied ? ex.client : ex.connection->facts.client; }

bool is_trusted_proxy(const Settings& settings, const JournalAddress& address) {
  return std::ranges::any_of(settings.server_trusted_proxies, [&address](const AddressRange& range) {
    return address.family != JournalAddress::NONE && range.contains(address.family == JournalAddress::UNIX, address.ip);
  });
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
