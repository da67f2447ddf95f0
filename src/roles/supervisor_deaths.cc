// Who died, and with which requests inside: the records of `penstock journal killers`.
//
// A request is inside a worker from the moment that its server hands it over (before the worker can see it) until the
// server has taken the end of its answer out of the ring, has it back to try it again, or has closed its record. The
// set of a death is read from the slots of every living server when the supervisor has reaped the process, before it
// sends WORKER_GONE: until then no server lets go of anything, so nothing that was inside at the end is missing. What
// the server hands over between the end of the process and WORKER_GONE is told where it came before the reading; so is
// an answer that lies whole in the ring and is not taken yet. Both are spans of the time it takes to be told by pidfd.
// Not in the set: requests whose record was closed while the worker still worked, as their clients had left or
// request_timeout had passed. Where the server reported the worker (hang, overdue, protocol) their numbers are told.
#include "src/roles/supervisor_state.h"

#include <algorithm>
#include <csignal>
#include <utility>

namespace penstock {

// --- workers --------------------------------------------------------------------------------------

// What the journal says is inside a worker, by start.
std::vector<InFlightRequest> Pools::requests_inside(uint64_t worker) const {
  return world_.alarms.requests_inside(worker);
}

void Pools::note_report(const WorkerReport& report) {
  const auto it = processes_.find(report.worker);
  if (it == processes_.end()) return;
  switch (report.kind) {
    case WorkerReport::Kind::BROKE:
      it->second.report = DeathOrder::PROTOCOL;
      break;
    case WorkerReport::Kind::OVERDUE:
      it->second.report = DeathOrder::OVERDUE;
      break;
    case WorkerReport::Kind::SILENT:
      it->second.report = DeathOrder::HANG;
      break;
    default:
      return;
  }
  it->second.reported = report.serials;
}

void Pools::note(uint64_t number, Process& process, Death death, MonoTime now) {
  process.noted = true;
  death.when = world_.clock.wall();
  death.ended = now;
  death.pool = process.pool->name;
  death.worker = number;
  death.pid = process.worker.process.pid();
  death.age = now - process.worker.process.started;
  // Numbers are of a reactor: two reactors may have the same one, so each request answers for one of them.
  death.closed = std::move(process.reported);
  for (const InFlightRequest& request : death.inside) {
    const auto it = std::ranges::find(death.closed, request.seq_start);
    if (it != death.closed.end()) death.closed.erase(it);
  }
  world_.deaths.add(std::move(death));
}

// As it should be: exit code 0, or SIGTERM that we sent, with nothing inside.
void Pools::note_end(uint64_t number, Process& process, const RoleExit& end, const std::string& how, bool out_of_memory,
                     MonoTime now) {
  if (process.noted) return;
  const auto known = process.pool->keeper.workers().find(number);
  const std::string cause = known != process.pool->keeper.workers().end() ? known->second.end_cause : "";
  const bool asked = !cause.empty();
  std::vector<InFlightRequest> inside = requests_inside(number);
  const bool proper = end.clean || (asked && end.signal == SIGTERM) || down_;
  if (proper && inside.empty() && process.report == DeathOrder::NOTHING) return;
  DeathOrder order = process.report;
  if (order == DeathOrder::NOTHING && asked) order = DeathOrder::OTHER;
  Death death;
  death.kind = death_kind(end, order, out_of_memory);
  death.end = end;
  death.how = how;
  death.cause = cause;
  death.inside = std::move(inside);
  note(number, process, std::move(death), now);
}

// The keeper orders GONE for a living process when it has had it frozen: for its requests that is the end.
void Pools::note_frozen(uint64_t number, const std::string& how, MonoTime now) {
  const auto it = processes_.find(number);
  if (it == processes_.end() || it->second.noted) return;
  const auto known = it->second.pool->keeper.workers().find(number);
  if (known == it->second.pool->keeper.workers().end()) return;  // it has ended, as it should
  Death death;
  death.has_ended = false;
  death.kind = it->second.report == DeathOrder::INTRUSION ? DeathKind::SANDBOX : DeathKind::HANG;
  death.how = how;
  death.inside = requests_inside(number);
  note(number, it->second, std::move(death), now);
}

// --- servers --------------------------------------------------------------------------------------

void Supervisor::note_server_end(const RoleProcess& role, const RoleExit& end,
                                 const std::vector<InFlightRequest>& open) {
  Death death;
  death.when = clock_.wall();
  death.ended = now_;
  death.pid = role.pid();
  death.age = now_ - role.started;
  death.end = end;
  death.kind = death_kind(end, role.kill_reason.empty() ? DeathOrder::NOTHING : DeathOrder::OTHER, false);
  death.how = end.text();
  death.cause = role.kill_reason;
  death.inside = open;
  deaths_.add(std::move(death));
}

// --- the command ----------------------------------------------------------------------------------

void Supervisor::command_killers(const ControlRequest& request, const Json& body) {
  Json answer = deaths_.json(json_text(body, "pool"));
  answer["ok"] = true;
  reply(request.client, std::move(answer));
}

}  // namespace penstock
