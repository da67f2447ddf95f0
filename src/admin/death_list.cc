#include "src/admin/death_list.h"

#include "src/admin/operator_log.h"
#include "src/admin/request_json.h"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <utility>

namespace penstock {
namespace {

bool has_requests(const Death& death) { return !death.inside.empty() || !death.closed.empty(); }

std::string signal_name(int number) {
  const char* name = ::sigabbrev_np(number);
  return name != nullptr ? "SIG" + std::string(name) : std::to_string(number);
}

}  // namespace

std::string_view death_kind_name(DeathKind kind) {
  switch (kind) {
    case DeathKind::SIGNAL:
      return "signal";
    case DeathKind::EXIT:
      return "exit";
    case DeathKind::MEMORY:
      return "memory";
    case DeathKind::SANDBOX:
      return "sandbox";
    case DeathKind::HANG:
      return "hang";
    case DeathKind::OVERDUE:
      return "overdue";
    case DeathKind::PROTOCOL:
      return "protocol";
    case DeathKind::STOPPED:
      return "stopped";
  }
  return "?";
}

DeathKind death_kind(const RoleExit& end, DeathOrder order, bool out_of_memory) {
  switch (order) {
    case DeathOrder::HANG:
      return DeathKind::HANG;
    case DeathOrder::OVERDUE:
      return DeathKind::OVERDUE;
    case DeathOrder::PROTOCOL:
      return DeathKind::PROTOCOL;
    case DeathOrder::INTRUSION:
      return DeathKind::SANDBOX;
    default:
      break;
  }
  if (out_of_memory) return DeathKind::MEMORY;
  if (end.signal == SIGSYS) return DeathKind::SANDBOX;
  if (order == DeathOrder::OTHER && (end.signal == SIGTERM || end.signal == SIGKILL)) return DeathKind::STOPPED;
  return end.signal != 0 ? DeathKind::SIGNAL : DeathKind::EXIT;
}

void DeathList::drop_oldest(bool with_requests) {
  const auto it =
      std::ranges::find_if(deaths_, [&](const Death& death) { return has_requests(death) == with_requests; });
  if (it == deaths_.end()) return;
  requests_ -= it->inside.size();
  deaths_.erase(it);
}

void DeathList::add(Death death) {
  death.number = ++added_;
  if (death.inside.size() > REQUESTS_MAX) {
    death.left_out += death.inside.size() - REQUESTS_MAX;
    death.inside.erase(death.inside.begin() + REQUESTS_MAX, death.inside.end());
  }
  if (death.closed.size() > CLOSED_MAX) death.closed.resize(CLOSED_MAX);
  const bool with_requests = has_requests(death);
  requests_ += death.inside.size();
  deaths_.push_back(std::move(death));
  const auto of_its_kind =
      std::ranges::count_if(deaths_, [&](const Death& one) { return has_requests(one) == with_requests; });
  if (static_cast<size_t>(of_its_kind) > DEATHS_MAX) drop_oldest(with_requests);
  while (requests_ > REQUESTS_ALL_MAX) drop_oldest(true);
}

Json DeathList::json(std::string_view pool) const {
  Json list = Json::array();
  for (auto it = deaths_.rbegin(); it != deaths_.rend(); ++it) {
    const Death& death = *it;
    if (!pool.empty() && death.pool != pool) continue;
    Json inside = Json::array();
    for (const InFlightRequest& request : death.inside) inside.push_back(request_json(request, death.ended));
    Json one = {{"number", death.number},
                {"when", iso_time(death.when)},
                {"process", death.worker != 0 ? "worker" : "server"},
                {"pid", death.pid},
                {"age_ms", death.age.ms()},
                {"kind", death_kind_name(death.kind)},
                {"how", death.how},
                {"cause", death.cause},
                {"core", death.end.core},
                {"requests", std::move(inside)},
                {"left_out", death.left_out},
                {"closed", death.closed}};
    if (death.worker != 0) {
      one["pool"] = death.pool;
      one["worker"] = death.worker;
    }
    if (death.end.signal != 0) {
      one["signal"] = signal_name(death.end.signal);
    } else if (death.has_ended) {
      one["exit_code"] = death.end.code;
    }
    list.push_back(std::move(one));
  }
  return {{"killers", std::move(list)}, {"forgotten", forgotten()}};
}

}  // namespace penstock
