// What `status`, `requests` and `stats` are told: the supervisor's state as JSON. Reads, changes nothing.
#include "src/base/version.h"
#include "src/roles/supervisor_state.h"

#include <algorithm>
#include <unistd.h>
#include <utility>

namespace penstock {
namespace {

constexpr size_t HISTORY_SHOWN = 10;
constexpr size_t REQUESTS_SHOWN = 10'000;

constexpr std::string_view SEVERITY_NAMES[] = {"error", "warning", "notice"};

Json listener_json(const ListenerGroup& group) {
  return {{"address", group.bound},
          {"sockets", group.sockets.size()},
          {"from_service_manager", group.activated},
          {"tls", group.tls}};
}

}  // namespace

// What the sandbox of the running roles lacks, each once, with its reason.
std::vector<std::string> Supervisor::weaker() const {
  std::vector<std::string> out;
  for (const auto& role : roles_) {
    for (const ReadyStep& step : role->ready.sandbox) {
      const std::string line = step.name + ": " + step.detail;
      if (!step.holds && std::find(out.begin(), out.end(), line) == out.end()) out.push_back(line);
    }
  }
  for (std::string& line : pools_->weaker()) out.push_back(std::move(line));
  return out;
}

Json Supervisor::role_json(const RoleProcess& role) const {
  Json sandbox = Json::array();
  for (const ReadyStep& step : role.ready.sandbox) {
    sandbox.push_back({{"name", step.name}, {"holds", step.holds}, {"detail", step.detail}});
  }
  Json out = {{"role", role.role},
              {"pid", role.pid()},
              {"state", role_state_name(role.state)},
              {"generation", role.generation},
              {"identity", role.identity},
              {"uptime_ms", (now_ - role.started).ms()},
              {"monitored", role.ping.answered_ever},
              {"sandbox", sandbox}};
  if (role.state != RoleProcess::State::STARTING) out["started_in_ms"] = (role.ready_at - role.started).ms();
  if (!role.ready.transport.empty()) out["transport"] = role.ready.transport;
  return out;
}

Json Supervisor::config_json() const {
  Json history = Json::array();
  const auto& records = history_.records();
  for (size_t i = records.size() - std::min(records.size(), HISTORY_SHOWN); i < records.size(); ++i) {
    history.push_back({{"generation", records[i].generation},
                       {"when", iso_time(records[i].when)},
                       {"who", records[i].who},
                       {"changes", records[i].changes.size() + records[i].changes_left_out}});
  }
  return {{"generation", tree_.generation()},
          {"file", options_.config_file},
          {"loaded", iso_time(config_loaded_)},
          {"problem", config_problem_},
          {"history", history}};
}

Json Supervisor::status_json() {
  Json roles = Json::array();
  for (const auto& role : roles_) roles.push_back(role_json(*role));
  Json listeners = Json::array();
  for (const ListenerGroup& group : listeners_->groups()) listeners.push_back(listener_json(group));
  Json events = Json::array();
  for (const OperatorEvent& event : log_.recent()) {
    events.push_back({{"when", iso_time(event.when)},
                      {"severity", SEVERITY_NAMES[static_cast<size_t>(event.severity)]},
                      {"text", event.text}});
  }
  const auto fate = [](const RoleRecord& record) {
    return Json{
        {"restarts", record.restarts}, {"crash_loop", record.backoff.crash_loop()}, {"last_end", record.last_end}};
  };
  const JournalReader::RingStatus rings = journals_->ring_status();
  return {{"ok", true},
          {"version", version()},
          {"pid", ::getpid()},
          {"uid", ::geteuid()},
          {"state", stopping_ ? "stopping" : (ready("server") != nullptr ? "serving" : "no server")},
          {"started", iso_time(started_wall_)},
          {"uptime_ms", (now_ - started_).ms()},
          {"control", control_->path()},
          {"reactors", reactors_},
          {"config", config_json()},
          {"listeners", listeners},
          {"roles", roles},
          {"pools", pools_->list()},
          {"alarms", alarms_->status()},
          {"denials", pools_->audit_status()},
          {"server", fate(server_record_)},
          {"logd", fate(logd_record_)},
          {"keyd", fate(keyd_record_)},
          {"weaker", weaker()},
          {"journal",
           {{"finished", rings.finished},
            {"dropped", rings.dropped},
            {"drained", rings.drained},
            {"bytes_waiting", rings.bytes_waiting},
            {"ring_bytes", rings.ring_bytes}}},
          {"events", events}};
}

Json Supervisor::counters_json() const {
  CounterValues sum{};
  Json by_reactor = Json::array();
  for (uint32_t set = 0; set < JournalSets::SETS; ++set) {
    const bool live = std::any_of(roles_.begin(), roles_.end(), [set](const auto& role) {
      return role->role == "server" && role->journal_set == set;
    });
    for (const CounterValues& values : journals_->counters(set)) {
      Json one = Json::object();
      for (size_t i = 0; i < COUNTER_COUNT; ++i) {
        // A gauge of a process that has ended says nothing.
        if (COUNTER_INFO[i].kind == CounterKind::GAUGE && !live) continue;
        sum[i] += values[i];
        one[std::string(COUNTER_INFO[i].name)] = values[i];
      }
      if (live) by_reactor.push_back(std::move(one));
    }
  }
  Json total = Json::object();
  Json help = Json::object();
  for (size_t i = 0; i < COUNTER_COUNT; ++i) {
    total[std::string(COUNTER_INFO[i].name)] = sum[i];
    help[std::string(COUNTER_INFO[i].name)] = COUNTER_INFO[i].help;
  }
  return {{"ok", true},        {"now_ns", now_.ns}, {"generation", tree_.generation()},
          {"counters", total}, {"help", help},      {"reactors", by_reactor}};
}

Json Supervisor::requests_json(Duration older) const {
  Json out = Json::array();
  for (const auto& role : roles_) {
    if (role->role != "server") continue;
    for (const InFlightRequest& request : journals_->in_flight(role->journal_set)) {
      if (now_ - request.begin < older) continue;
      if (out.size() >= REQUESTS_SHOWN) return out;
      Json moments = Json::object();
      for (size_t i = 0; i < MOMENT_COUNT; ++i) {
        if (request.moments[i] == 0) continue;
        moments[std::string(MOMENT_NAMES[i])] = (MonoTime{request.moments[i]} - request.begin).us();
      }
      out.push_back({{"pid", role->pid()},
                     {"reactor", request.reactor},
                     {"seq", request.seq_start},
                     {"connection", request.connection},
                     {"number", request.request_number},
                     {"generation", request.generation},
                     {"stage", STAGE_NAMES[static_cast<size_t>(request.stage)]},
                     {"worker", request.worker},
                     {"age_us", (now_ - request.begin).us()},
                     {"begin", iso_time(request.begin_wall)},
                     {"moments_us", moments},
                     {"client", address_text(request.client)},
                     {"client_port", request.client.port},
                     {"method", request.method},
                     {"target", request.target},
                     {"host", request.host},
                     {"head", request.method.empty() ? request.excerpt : std::string()}});
    }
  }
  return out;
}

}  // namespace penstock
