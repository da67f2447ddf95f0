#include "src/admin/request_json.h"

#include "src/admin/operator_log.h"

#include <algorithm>

namespace penstock {

bool put_first(std::vector<InFlightRequest>& requests, const RequestHint& hint) {
  if (hint.address.empty() || hint.target.empty()) return false;
  const auto is_own = [&](const InFlightRequest& request) {
    const bool by_port = hint.port.empty() || hint.port == std::to_string(request.client.port);
    return by_port && request.target == hint.target && address_text(request.client) == hint.address;
  };
  const auto own = std::ranges::find_if(requests, is_own);
  if (own == requests.end() || std::ranges::find_if(own + 1, requests.end(), is_own) != requests.end()) return false;
  std::rotate(requests.begin(), own, own + 1);
  return true;
}

Json request_json(const InFlightRequest& request, MonoTime at) {
  return {{"reactor", request.reactor},
          {"seq", request.seq_start},
          {"connection", request.connection},
          {"number", request.request_number},
          {"generation", request.generation},
          {"stage", STAGE_NAMES[static_cast<size_t>(request.stage)]},
          {"age_us", std::max<int64_t>((at - request.begin).us(), 0)},
          {"begin", iso_time(request.begin_wall)},
          {"client", address_text(request.client)},
          {"client_port", request.client.port},
          {"bytes_in", request.bytes_in},
          {"bytes_out", request.bytes_out},
          {"left", request.left},
          {"method", request.method},
          {"target", request.target},
          {"host", request.host},
          {"head", request.method.empty() || request.target.empty() ? request.excerpt : std::string()},
          {"torn", request.torn}};
}

}  // namespace penstock
