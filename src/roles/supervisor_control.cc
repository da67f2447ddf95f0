// The commands of the control socket. A request is {"cmd": NAME, …}; an answer has "ok", and "error" if it is false.
#include "src/config/print.h"
#include "src/roles/supervisor_state.h"

#include <algorithm>
#include <unistd.h>
#include <utility>

namespace penstock {
namespace {

constexpr Duration HEARD_TIMEOUT = seconds(2);   // a server that does not hear of a command in time is sick
constexpr Duration QUERY_TIMEOUT = seconds(20);  // a purge of everything over all reactors

}  // namespace

struct Supervisor::Command {
  std::string_view name;
  void (Supervisor::*run)(const ControlRequest&, const Json&);
  bool changes;  // something: said to the operator, with who asked
};

const Supervisor::Command Supervisor::COMMANDS[] = {
    {"sysctl.get", &Supervisor::command_get, false},
    {"sysctl.list", &Supervisor::command_list, false},
    {"sysctl.set", &Supervisor::command_set, true},
    {"sysctl.load", &Supervisor::command_load, true},
    {"status", &Supervisor::command_status, false},
    {"counters", &Supervisor::command_counters, false},
    {"requests", &Supervisor::command_requests, false},
    {"journal.killers", &Supervisor::command_killers, false},
    {"alarm.list", &Supervisor::command_alarms, false},
    {"alarm.programs", &Supervisor::command_alarms, false},
    {"alarm.running", &Supervisor::command_alarms, false},
    {"alarm.test", &Supervisor::command_alarms, true},
    {"alarm.result", &Supervisor::command_alarms, false},
    {"cache.stats", &Supervisor::command_cache, false},
    {"cache.top", &Supervisor::command_cache, false},
    {"cache.why", &Supervisor::command_cache, false},
    {"cache.purge", &Supervisor::command_cache, true},
    {"log.follow", &Supervisor::command_follow, false},
    {"log.rotate", &Supervisor::command_rotate, true},
    {"pool.list", &Supervisor::command_pools, false},
    {"pool.show", &Supervisor::command_pools, false},
    {"pool.start", &Supervisor::command_pools, true},
    {"pool.stop", &Supervisor::command_pools, true},
    {"pool.recycle", &Supervisor::command_pools, true},
    {"server.restart", &Supervisor::command_restart_server, true},
};

void Supervisor::serve_control() {
  for (const ControlRequest& request : control_->poll(now_)) handle_request(request);
}

void Supervisor::handle_request(const ControlRequest& request) {
  const auto body = parse_json(request.text);
  if (!body || !body->is_object()) return reply_error(request.client, "the request is not a JSON object");
  const std::string name = json_text(*body, "cmd");
  for (const Command& command : COMMANDS) {
    if (command.name != name) continue;
    if (command.changes) {
      log_.note("uid " + std::to_string(request.uid) + " pid " + std::to_string(request.pid) + ": " + name);
    }
    return (this->*command.run)(request, *body);
  }
  reply_error(request.client, "unknown command '" + escape_line(name, 100) + "'");
}

void Supervisor::reply(uint64_t client, Json answer) { control_->reply(client, json_line(answer), now_); }

void Supervisor::reply_error(uint64_t client, const std::string& why) {
  reply(client, {{"ok", false}, {"error", why}});
}

void Supervisor::command_get(const ControlRequest& request, const Json& body) {
  Json entries = Json::array();
  const auto add = [&](std::string_view key, std::string_view value) {
    entries.push_back({{"key", key}, {"value", value}});
    if (json_flag(body, "verbose")) entries.back()["source"] = tree_.origin(key);
  };
  for (const Json& key : json_array(body, "keys")) {
    if (!key.is_string()) return reply_error(request.client, "a key is not text");
    const auto& name = key.get_ref<const std::string&>();
    if (auto value = tree_.get(name)) {
      add(name, *value);
      continue;
    }
    // Not a key: perhaps the part above several, as in `sysctl cache`.
    const Tree::Entries below = tree_.entries(name);
    if (below.empty())
      return reply(request.client, {{"ok", false}, {"error", tree_.get(name).error().message}, {"kind", "config"}});
    for (const auto& [below_key, value] : below) add(below_key, value);
  }
  reply(request.client, {{"ok", true}, {"generation", tree_.generation()}, {"entries", entries}});
}

void Supervisor::command_list(const ControlRequest& request, const Json& body) {
  const PrintDetail detail = json_flag(body, "verbose") ? PrintDetail::DESCRIBED : PrintDetail::VALUES;
  reply(request.client, {{"ok", true},
                         {"generation", tree_.generation()},
                         {"text", print_tree(tree_, detail, json_text(body, "prefix"))}});
}

void Supervisor::command_set(const ControlRequest& request, const Json& body) {
  ChangeRequest change;
  change.who = "uid " + std::to_string(request.uid) + " pid " + std::to_string(request.pid);
  change.client = request.client;
  if (body.contains("if_generation")) change.if_generation = json_number(body, "if_generation");
  ConfigErrors errors;
  for (const Json& text : json_array(body, "assignments")) {
    if (!text.is_string()) return reply_error(request.client, "an assignment is not text");
    auto assignment = parse_assignment(text.get_ref<const std::string&>(), "-w");
    if (assignment) {
      change.assignments.push_back(std::move(*assignment));
    } else {
      errors.insert(errors.end(), assignment.error().begin(), assignment.error().end());
    }
  }
  if (!errors.empty()) return refuse_request(change, errors);
  ask_change(std::move(change));
}

void Supervisor::command_load(const ControlRequest& request, const Json& body) {
  ChangeRequest change;
  change.who = "uid " + std::to_string(request.uid) + " pid " + std::to_string(request.pid);
  change.client = request.client;
  if (body.contains("if_generation")) change.if_generation = json_number(body, "if_generation");
  ParseResult parsed = parse_text(json_text(body, "text"), json_text(body, "source", "-p"));
  if (!parsed.errors.empty()) return refuse_request(change, parsed.errors);
  change.assignments = std::move(parsed.assignments);
  ask_change(std::move(change));
}

void Supervisor::command_requests(const ControlRequest& request, const Json&) {
  reply(request.client, {{"ok", true}, {"requests", requests_json()}});
}

void Supervisor::command_status(const ControlRequest& request, const Json&) { reply(request.client, status_json()); }

void Supervisor::command_counters(const ControlRequest& request, const Json&) {
  reply(request.client, counters_json());
}

// The cache lives in the server: the question goes there as it is, and its answer comes back as "result".
void Supervisor::command_cache(const ControlRequest& request, const Json& body) {
  ask_role(request, "server", MessageKind::QUERY, json_line(body));
}

void Supervisor::command_rotate(const ControlRequest& request, const Json&) {
  ask_role(request, "logd", MessageKind::ROTATE, {});
}

void Supervisor::command_follow(const ControlRequest& request, const Json& body) {
  ask_role(request, "logd", MessageKind::QUERY, json_line(body));
}

void Supervisor::command_pools(const ControlRequest& request, const Json& body) {
  const std::string what = json_text(body, "cmd").substr(5);  // after "pool."
  if (what == "list") return reply(request.client, {{"ok", true}, {"pools", pools_->list()}});
  const std::string pool = json_text(body, "pool");
  if (what == "show") return reply(request.client, pools_->show(pool, now_));
  if (stopping_) return reply_error(request.client, "penstock is stopping");
  const std::string who = "uid " + std::to_string(request.uid) + " pid " + std::to_string(request.pid);
  Json answer = pools_->command(what, pool, who, now_);
  // The server has been told. Who gets the answer may ask it for something at once, so it comes when that was read.
  const RoleProcess* const server = ready("server");
  const uint32_t id = next_message_++;
  if (!answer.value("ok", false) || server == nullptr ||
      !pools_->ask(server->serial, id, json_line({{"cmd", "pool.heard"}}))) {
    return reply(request.client, std::move(answer));
  }
  queries_[id] = {request.client, server->serial, now_ + HEARD_TIMEOUT, std::move(answer)};
}

void Supervisor::command_alarms(const ControlRequest& request, const Json& body) {
  const std::string what = json_text(body, "cmd").substr(6);  // after "alarm."
  const std::string pool = json_text(body, "pool");
  Json answer;
  if (what == "test") {
    if (stopping_) return reply_error(request.client, "penstock is stopping");
    return reply(request.client, pools_->test_alarm(pool, now_));
  }
  if (what == "result") return reply(request.client, alarms_->test_json(json_number(body, "test")));
  if (what == "running") {
    constexpr uint64_t OLDER_MS_MAX = uint64_t{1} << 42;
    const uint64_t limit = static_cast<uint64_t>(alarms_->age_limit().ms());
    const Duration older =
        milliseconds(static_cast<int64_t>(std::min(json_number(body, "older_ms", limit), OLDER_MS_MAX)));
    answer = {
        {"older_ms", older.ms()}, {"programs", alarms_->running(older, now_)}, {"requests", requests_json(older)}};
  } else {
    answer = what == "list" ? alarms_->list(pool) : alarms_->programs(pool, now_);
  }
  answer["ok"] = true;
  reply(request.client, std::move(answer));
}

void Supervisor::command_restart_server(const ControlRequest& request, const Json&) {
  ask_change({ChangeRequest::Kind::RENEW,
              {},
              std::nullopt,
              "uid " + std::to_string(request.uid) + " pid " + std::to_string(request.pid),
              request.client});
}

void Supervisor::ask_role(const ControlRequest& request, std::string_view role, MessageKind kind,
                          const std::string& payload) {
  // Who asks may have been served by a process whose READY is still in its channel.
  if (RoleProcess* const young = starting(role); young != nullptr) read_channel(young->serial);
  RoleProcess* process = ready(role);
  if (process == nullptr) return reply_error(request.client, "no " + std::string(role) + " process is ready");
  const uint32_t id = next_message_++;
  if (const Status sent = process->channel.send(kind, id, payload); !sent) {
    return reply_error(request.client,
                       "the " + std::string(role) + " process takes no questions: " + sent.error().message);
  }
  queries_[id] = {request.client, process->serial, now_ + QUERY_TIMEOUT, std::nullopt};
}

void Supervisor::take_reply(const RoleProcess& role, const ChannelMessage& message) {
  const auto it = queries_.find(message.id);
  if (it == queries_.end() || it->second.serial != role.serial) return;  // too late, or rotation by a signal
  const uint64_t client = it->second.client;
  std::optional<Json> known = std::move(it->second.answer);
  queries_.erase(it);
  if (known) return reply(client, std::move(*known));
  auto answer = parse_json(message.payload);
  if (!answer || !answer->is_object()) return reply_error(client, "the " + role.role + " process answered nonsense");
  if (answer->contains("error")) return reply_error(client, json_text(*answer, "error", "failed"));
  reply(client, {{"ok", true}, {"result", std::move(*answer)}});
}

void Supervisor::fail_queries(uint32_t serial, const std::string& why) {
  for (auto it = queries_.begin(); it != queries_.end();) {
    if (it->second.serial != serial) {
      ++it;
      continue;
    }
    if (it->second.answer) {  // the next server process is told when it is ready
      reply(it->second.client, std::move(*it->second.answer));
    } else {
      reply_error(it->second.client, why);
    }
    it = queries_.erase(it);
  }
}

}  // namespace penstock
