// Changes of the configuration: validated as a whole, tried on the server, and only then in force.
//
// The order: tree (pure) → new listeners opened → the server takes it (or a new server is started with it, where the
// old one's sandbox cannot reach what it needs) → committed, listeners that are gone are closed → logd follows.
// Until the server has taken it, every step can be undone and is.
#include "src/admin/role_paths.h"
#include "src/roles/machine_errors.h"
#include "src/roles/patience.h"
#include "src/roles/supervisor_state.h"

#include <algorithm>
#include <utility>

namespace penstock {
namespace {

constexpr Duration CERTIFICATE_TIMEOUT =
    milliseconds(20);  // for each, as much again: the server asks for every new key
constexpr Duration LOGD_TIMEOUT = seconds(5);
constexpr Duration WRITING_CHECK = milliseconds(50);
constexpr Duration WRITING_LONG = seconds(2);  // then it is told
constexpr size_t CHANGES_SHOWN = 5;

// A port past the kernel is opened with all of dpdk.*, while its process still has its privileges.
bool changes_port(const std::vector<TreeChange>& changes) {
  return std::ranges::any_of(changes, [](const TreeChange& change) { return change.key.starts_with("dpdk."); });
}

std::string change_text(const std::vector<TreeChange>& changes) {
  std::string text;
  for (size_t i = 0; i < changes.size() && i < CHANGES_SHOWN; ++i) {
    const TreeChange& change = changes[i];
    text += (i == 0 ? "" : "; ") + change.key + " " + change.before.value_or("(unset)") + " -> " +
            change.after.value_or("(unset)");
  }
  if (changes.size() > CHANGES_SHOWN) text += "; and " + std::to_string(changes.size() - CHANGES_SHOWN) + " more";
  return text;
}

int64_t certificates_of(const Settings& settings) {
  int64_t count = 0;
  for (const SiteSettings& site : settings.sites) count += static_cast<int64_t>(site.tls_certificate.size());
  return count;
}

}  // namespace

// The file as it is now. Errors change nothing and stay visible in `status` until the file is right.
void Supervisor::reload_file(const std::string& who) {
  if (options_.config_file.empty()) return;
  const auto text = read_config_file(options_.config_file);
  if (!text) {
    config_problem_ = text.error().message;
    log_.error("configuration not loaded, nothing changed: " + config_problem_);
    return tell_status();
  }
  ParseResult parsed = parse_text(*text, options_.config_file);
  parsed.assignments.insert(parsed.assignments.end(), options_.overlay.begin(), options_.overlay.end());
  if (!parsed.errors.empty()) {
    const auto all_errors = tree_.replace(std::move(parsed));
    return refuse_request({ChangeRequest::Kind::REPLACE, {}, std::nullopt, who, 0}, all_errors.error());
  }
  ask_change({ChangeRequest::Kind::REPLACE, std::move(parsed.assignments), std::nullopt, who, 0});
}

void Supervisor::reload_watched() {
  UniqueFd hold;
  if (watch_->hold_still(hold)) {
    reload_at_ = writing_since_ = MonoTime::never();
    return reload_file("file " + options_.config_file);
  }
  reload_at_ = now_ + WRITING_CHECK;
  if (writing_since_ == MonoTime::never()) writing_since_ = now_;
  const std::string problem = "somebody has it open for writing; it is loaded once he closes it";
  if (now_ - writing_since_ < WRITING_LONG || config_problem_ == problem) return;
  config_problem_ = problem;
  log_.warn("configuration not loaded: " + problem);
  tell_status();
}

void Supervisor::ask_change(ChangeRequest request) {
  if (stopping_) {
    if (request.client != 0) reply_error(request.client, "penstock is stopping");
    return;
  }
  // Of several reads of the file that wait, only the last matters.
  if (request.kind == ChangeRequest::Kind::REPLACE && request.client == 0) {
    std::erase_if(waiting_changes_, [](const ChangeRequest& other) {
      return other.kind == ChangeRequest::Kind::REPLACE && other.client == 0;
    });
  }
  waiting_changes_.push_back(std::move(request));
  pump_changes();
}

void Supervisor::pump_changes() {
  while (!change_ && !waiting_changes_.empty() && begin_change(waiting_changes_.front())) {
    waiting_changes_.pop_front();
  }
}

ConfigResult<Tree> Supervisor::next_tree(const ChangeRequest& request, ConfigErrors& notes) const {
  switch (request.kind) {
    case ChangeRequest::Kind::SET:
      return tree_.apply(request.assignments, request.if_generation);
    case ChangeRequest::Kind::REPLACE: {
      auto replacement = tree_.replace(request.assignments);
      if (!replacement) return std::unexpected(replacement.error());
      const size_t sites = tree_.settings().sites.size();
      if (request.client == 0 && sites > 0 && replacement->tree.settings().sites.empty()) {
        return std::unexpected(ConfigErrors{
            {options_.config_file, 0, "",
             "expected a site, got none, where " + std::to_string(sites) +
                 " are served: a file that was emptied or cut off is not taken for a wish to serve nothing; to serve "
                 "nothing, penstock sysctl -w 'site.NAME ='"}});
      }
      notes = std::move(replacement->notes);
      return std::move(replacement->tree);
    }
    case ChangeRequest::Kind::RENEW:
    case ChangeRequest::Kind::CERTIFICATES:
      return tree_;
  }
  return tree_;
}

bool Supervisor::begin_change(ChangeRequest& request) {
  if (starting("server") != nullptr) return false;  // it was told the configuration of before
  Change change;
  auto next = next_tree(request, change.notes);
  if (!next) {
    refuse_request(request, next.error());
    return true;
  }
  change.next = std::move(*next);
  if (const ConfigErrors errors = machine_errors(change.next, &tree_, as_root_); !errors.empty()) {
    refuse_request(request, errors);
    return true;
  }
  change.changes = change.next.changes_since(tree_);
  const bool reads_certificates = request.kind == ChangeRequest::Kind::CERTIFICATES;
  if (request.kind != ChangeRequest::Kind::RENEW && !reads_certificates && change.changes.empty()) {
    if (request.kind == ChangeRequest::Kind::REPLACE) config_problem_.clear();
    answer_change(request, tree_.generation(), {}, change.notes);
    return true;
  }
  RoleProcess* server = ready("server");
  if (reads_certificates && server == nullptr) {  // nobody is there to try them on
    certificates_used_ = "not tried";
    return true;
  }
  const Settings& settings = change.next.settings();
  const bool by_port = tree_.settings().server_transport == TransportSetting::DPDK;
  const bool renew = request.kind == ChangeRequest::Kind::RENEW || (by_port && changes_port(change.changes)) ||
                     (server != nullptr && !paths_covered(server->paths, server_read_paths(settings))) ||
                     (tree_.settings().server_listen_tls.empty() && !settings.server_listen_tls.empty());
  const auto drains = [](const auto& role) {
    return role->role == "server" && role->state == RoleProcess::State::DRAINING;
  };
  if (server != nullptr && renew && !free_journal_set()) return false;  // a server still drains; its end makes room
  if (server != nullptr && renew && by_port && !two_may_have_port(change) && std::ranges::any_of(roles_, drains))
    return false;

  auto listeners = listeners_->prepare(wanted_listeners(settings), static_cast<int>(settings.server_backlog));
  if (!listeners) {
    refuse_request(request, {{"", 0, "server.listen", listeners.error().message}});
    return true;
  }
  change.listeners = std::move(*listeners);
  change.request = std::move(request);
  change_.emplace(std::move(change));
  sync_keyd();              // before the server, which may ask whether the keys are there
  if (server == nullptr) {  // it crashes or waits to be started again: the new configuration may be the cure
    server_record_.restart_at = now_;
    change_accepted();
    return true;
  }
  Status sent;
  if (renew && by_port && two_may_have_port(*change_)) {
    sent = begin_beside(*server);
  } else if (renew && by_port) {
    begin_in_turn(*server);
  } else if (renew) {
    sent = start_changed_server();
  } else {
    change_->deadline = now_ + SERVER_CONFIG_TIMEOUT + CERTIFICATE_TIMEOUT * certificates_of(change_->next.settings());
    change_->message_id = next_message_++;
    change_->serial = server->serial;
    RoleConfig config;
    config.generation = change_->next.generation();
    config.config_text = change_->next.canonical_text();
    if (auto certificates = read_certificates(change_->next.settings(), reads_certificates)) {
      config.certificates = std::move(*certificates);
      change_->certificates = duplicate(config.certificates);
    } else {
      change_refused(certificates.error().message);
      return true;
    }
    auto table = listeners_->table_for_config(change_->listeners);
    if (table) config.listeners = std::move(*table);
    sent = table ? send_config(server->channel, change_->message_id, config) : std::unexpected(table.error());
  }
  if (!sent) change_refused(sent.error().message);
  return true;
}

Status Supervisor::start_changed_server() {
  change_->step = Change::Step::SERVER_START;
  change_->deadline = now_ + SERVER_START_TIMEOUT;
  if (Status ok = spawn_server(change_->next, &change_->listeners); !ok) return ok;
  change_->serial = starting("server")->serial;
  return {};
}

// The server runs with it (or none runs): it is in force from here on.
void Supervisor::change_accepted() {
  listeners_->commit(std::move(change_->listeners));
  change_->listeners_taken = true;
  if (change_->request.kind == ChangeRequest::Kind::CERTIFICATES) {
    log_.note("the certificates were read again: their files have changed");
  } else if (change_->request.kind != ChangeRequest::Kind::RENEW) {
    history_.commit(tree_, change_->next, clock_.wall(), change_->request.who);
    log_.note("generation " + std::to_string(change_->next.generation()) + " by " + change_->request.who + ": " +
              change_text(change_->changes));
  }
  for (const ConfigError& note : change_->notes) log_.warn("waits for a restart: " + to_text(note));
  tree_ = std::move(change_->next);
  if (change_->request.kind == ChangeRequest::Kind::REPLACE) {
    config_problem_.clear();
    config_loaded_ = clock_.wall();
  }
  if (RoleProcess* server = ready("server")) {
    server->generation = tree_.generation();
    keep_certificates(std::move(change_->certificates));
    keep_keys();
  }
  alarms_->configure(tree_.settings());
  if (change_->request.kind != ChangeRequest::Kind::RENEW) pools_->configure(tree_.settings(), now_);
  sync_keyd();
  change_->step = Change::Step::LOGD;
  change_->deadline = now_ + LOGD_TIMEOUT;
  tell_status();
  sync_logd();
}

void Supervisor::change_refused(const std::string& why) {
  Change change = std::move(*change_);
  change_.reset();
  if (!change.listeners_taken) listeners_->abandon(std::move(change.listeners));
  sync_keyd();
  // A new server that was started for it is of no use; an old one that answered "no" goes on as it was.
  if (change.step == Change::Step::SERVER_START || change.step == Change::Step::HANDOVER) {
    if (RoleProcess* role = find(change.serial)) kill_role(*role, "its configuration was refused");
  }
  settle_port();
  refuse_request(change.request, {{"", 0, "", why}});
}

void Supervisor::refuse_request(const ChangeRequest& request, const ConfigErrors& errors) {
  std::string text = to_text(errors);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  if (request.kind == ChangeRequest::Kind::REPLACE && request.client == 0) config_problem_ = text;
  for (const ConfigError& error : errors) {
    log_.error("change by " + request.who + " refused, nothing changed: " + to_text(error));
  }
  tell_status();
  if (request.client == 0) return;
  Json list = Json::array();
  for (const ConfigError& error : errors) {
    list.push_back({{"source", error.source}, {"line", error.line}, {"key", error.key}, {"message", error.message}});
  }
  reply(request.client, {{"ok", false}, {"error", text}, {"errors", list}, {"kind", "config"}});
}

// Brings logd to the generation in force, by a message or by a new process; settles the change when it is there.
void Supervisor::sync_logd() {
  RoleProcess* logd = ready("logd");
  if (logd == nullptr) {
    // Being started, perhaps with an older tree: its READY comes back here. With nothing to start, do not wait.
    if (starting("logd") == nullptr && !has_role("logd")) logd_settled("logd is not running");
    return;
  }
  if (logd->generation == tree_.generation()) return logd_settled("");
  if (!paths_covered(logd->paths, logd_write_paths(tree_.settings()))) return drain(*logd, LOGD_FLUSH);
  RoleConfig config;
  config.generation = tree_.generation();
  config.config_text = tree_.canonical_text();
  logd->generation = tree_.generation();
  if (const Status sent = send_config(logd->channel, next_message_++, config); !sent) {
    logd_settled(sent.error().message);
  }
}

void Supervisor::logd_settled(const std::string& problem) {
  if (!problem.empty())
    log_.error("logd does not follow generation " + std::to_string(tree_.generation()) + ": " + problem);
  if (!change_ || change_->step != Change::Step::LOGD) return;
  change_->logd_problem = problem;
  finish_change();
}

void Supervisor::finish_change() {
  Change change = std::move(*change_);
  change_.reset();
  if (!change.logd_problem.empty()) {
    change.notes.push_back({"", 0, "log.access.path", "the log writer does not follow: " + change.logd_problem});
  }
  answer_change(change.request, tree_.generation(), change.changes, change.notes);
}

void Supervisor::answer_change(const ChangeRequest& request, uint64_t generation,
                               const std::vector<TreeChange>& changes, const ConfigErrors& notes) {
  if (request.client == 0) return;
  Json list = Json::array();
  for (const TreeChange& change : changes) {
    Json item = {{"key", change.key}};
    item["before"] = change.before ? Json(*change.before) : Json();
    item["after"] = change.after ? Json(*change.after) : Json();
    list.push_back(std::move(item));
  }
  Json remarks = Json::array();
  for (const ConfigError& note : notes) remarks.push_back(to_text(note));
  reply(request.client, {{"ok", true}, {"generation", generation}, {"changes", list}, {"notes", remarks}});
}

void Supervisor::change_timer(MonoTime now) {
  if (!change_ || change_->deadline > now) return;
  if (change_->step == Change::Step::LOGD) return logd_settled("it has not answered yet");
  if (change_->step == Change::Step::HANDOVER) return change_accepted();
  // Whether the server took it is not known any more, so that server cannot stay.
  if (change_->step == Change::Step::SERVER_CONFIG) {
    if (RoleProcess* server = find(change_->serial)) kill_role(*server, "it did not answer a new configuration");
  }
  change_refused("the server did not answer in time");
}

}  // namespace penstock
