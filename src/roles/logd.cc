// The log role: map the rings, enter the sandbox, drain; obey the supervisor in between.

#include "src/roles/logd.h"

#include "src/admin/json.h"
#include "src/admin/role_sandbox.h"
#include "src/base/clock.h"
#include "src/base/doorbell.h"
#include "src/config/tree.h"
#include "src/config/types.h"
#include "src/log/drain/followers.h"
#include "src/log/drain/log_books.h"
#include "src/log/journal_memory.h"
#include "src/roles/patience.h"

#include <algorithm>
#include <csignal>
#include <memory>
#include <poll.h>
#include <sys/random.h>
#include <unistd.h>

namespace penstock {
namespace {

constexpr Duration DRAIN_PATIENCE = seconds(10);  // for a disk that fails while everything stops

// What log.access.* and logfile.NAME.* have in common, under names of their own.
Status take_fields(AccessLogSettings& to, const std::vector<std::string>& names) {
  Result<std::vector<LogField>> fields = log_fields(names);
  if (!fields) return std::unexpected(fields.error());
  to.fields = std::move(*fields);
  return {};
}

// log.access, then the log files.
Result<std::vector<AccessLogSettings>> log_settings(const Settings& from) {
  std::vector<AccessLogSettings> logs(1);
  AccessLogSettings& access = logs.front();
  if (Status taken = take_fields(access, from.log_access_fields); !taken) return std::unexpected(taken.error());
  access.format = from.log_access_format;
  access.path = from.log_access_path;
  access.where = from.log_access_where;
  access.rotate_bytes = from.log_access_rotate_bytes;
  access.rotate_period = from.log_access_rotate_period;
  access.keep = from.log_access_keep;
  access.utc = from.log_access_utc;
  access.on_full = from.log_access_on_full;
  for (const LogfileSettings& file : from.logfiles) {
    AccessLogSettings& to = logs.emplace_back();
    if (Status taken = take_fields(to, file.fields); !taken) return std::unexpected(taken.error());
    to.name = file.name;
    to.format = file.format;
    to.path = file.path;
    to.where = file.where;
    to.rotate_bytes = file.rotate_bytes;
    to.rotate_period = file.rotate_period;
    to.keep = file.keep;
    to.utc = file.utc;
    to.on_full = LogFullSetting::DROP_OLDEST;  // it must not hold up the others
  }
  return logs;
}

class LogRole {
 public:
  explicit LogRole(int channel_fd) : channel_(UniqueFd(channel_fd), ChannelSide::ROLE) {}

  int run() {
    if (Status started = start(); !started) {
      tell(started.error().message);
      return 1;
    }
    while (!done_) turn();
    return exit_code_;
  }

 private:
  Status start();
  Status map_rings(const std::vector<UniqueFd>& journals);
  Status apply(const Settings& settings);
  void turn();
  void wait(Duration at_most);
  void obey(ChannelMessage message);
  void obey_config(ChannelMessage message);
  Json follow(const std::string& question);
  void drain_rest();
  void tell(const std::string& line) { (void)channel_.send_wait(MessageKind::LOG, 0, line, SEND_PATIENCE); }
  void answer(MessageKind kind, uint32_t id, std::string_view text) {
    (void)channel_.send_wait(kind, id, text, SEND_PATIENCE);
  }

  RealClock clock_;
  Channel channel_;
  UniqueFd bed_;
  std::vector<std::unique_ptr<JournalMap>> maps_;
  LogFollowers followers_;
  std::unique_ptr<LogBooks> books_;
  std::string host_;
  bool done_ = false;
  int exit_code_ = 0;
};

Status LogRole::map_rings(const std::vector<UniqueFd>& journals) {
  for (size_t i = 0; i + 1 < journals.size(); i += 2) {
    Result<JournalMap> map = JournalMap::map(journals[i].get(), journals[i + 1].get(), JournalAccess::DRAIN);
    if (!map) return std::unexpected(map.error());
    maps_.push_back(std::make_unique<JournalMap>(std::move(*map)));
  }
  return {};
}

Status LogRole::apply(const Settings& settings) {
  const Result<std::vector<AccessLogSettings>> wanted = log_settings(settings);
  if (!wanted) return std::unexpected(wanted.error());
  return books_->apply(*wanted, clock_.now(), clock_.wall());
}

Status LogRole::start() {
  Result<RoleStart> start = receive_start(channel_);
  if (!start) return std::unexpected(start.error());
  const Result<Tree> tree = supervisor_tree(start->config_text, start->generation);
  if (!tree) return std::unexpected(tree.error());
  bed_ = std::move(start->doorbell);
  if (Status mapped = map_rings(start->journals); !mapped) return mapped;
  char host[256] = "";
  (void)::gethostname(host, sizeof host - 1);  // no name is written as none
  uint64_t seed = 0;
  while (::getrandom(&seed, sizeof seed, 0) != sizeof seed) {
  }
  const Result<SandboxReport> report = enter_sandbox(role_sandbox(*start, tree->settings()));
  if (!report) return std::unexpected(report.error());

  std::vector<const JournalMap*> maps;
  for (const auto& map : maps_) maps.push_back(map.get());
  books_ = std::make_unique<LogBooks>(std::move(maps), host, seed);
  host_ = host;
  books_->set_followers(&followers_);
  // A log that cannot be opened now is tried again by pass(); the server does not wait for it.
  if (Status applied = apply(tree->settings()); !applied) tell(applied.error().message);
  return channel_.send_wait(MessageKind::READY, 0, encode_ready(ready_report(*report, "")), SEND_PATIENCE);
}

void LogRole::wait(Duration at_most) {
  const bool until_bell = at_most == Drain::UNTIL_BELL;
  const Duration bounded = until_bell ? WAIT_MAX : std::min(at_most, WAIT_MAX);
  pollfd fds[] = {{.fd = channel_.fd(), .events = POLLIN, .revents = 0},
                  {.fd = bed_.get(), .events = POLLIN, .revents = 0}};
  const auto ms = static_cast<int>((bounded.ns + 999'999) / 1'000'000);
  if (::poll(fds, 2, ms) <= 0) return;
  if ((fds[1].revents & POLLIN) != 0) empty_bed(bed_.get());
}

void LogRole::turn() {
  followers_.expire(clock_.now());
  const Duration may_wait = books_->pass(clock_.now(), clock_.wall());
  while (const std::optional<std::string> message = books_->take_message()) tell(*message);
  if (may_wait.ns != 0) wait(may_wait);
  while (!done_) {
    Result<std::optional<ChannelMessage>> message = channel_.receive();
    if (!message) {  // the supervisor has gone: what is in the rings is written, then there is nobody to serve
      drain_rest();
      done_ = true;
      exit_code_ = 1;
      return;
    }
    if (!*message) return;
    obey(std::move(**message));
  }
}

void LogRole::obey(ChannelMessage message) {
  switch (message.kind) {
    case MessageKind::CONFIG:
      obey_config(std::move(message));
      break;
    case MessageKind::ROTATE: {
      const Status rotated = books_->rotate(clock_.wall());
      answer(MessageKind::REPLY, message.id,
             rotated ? R"({"rotated":true})" : R"({"error":"the log could not be rotated; see the log of penstock"})");
      if (!rotated) tell(rotated.error().message);
      break;
    }
    case MessageKind::QUERY:
      answer(MessageKind::REPLY, message.id, json_line(follow(message.payload)));
      break;
    case MessageKind::PING:
      answer(MessageKind::PONG, message.id, {});
      break;
    case MessageKind::DRAIN:
      drain_rest();
      answer(MessageKind::DRAINED, 0, {});
      done_ = true;
      break;
    default:
      break;  // the channel lets nothing else through to logd
  }
}

// "log.follow": without a number it begins to, with one it fetches what has come since.
Json LogRole::follow(const std::string& question) {
  const auto refuse = [](const std::string& why) { return Json{{"error", why}}; };
  const std::optional<Json> query = parse_json(question);
  if (!query || json_text(*query, "cmd") != "log.follow") return refuse("not a question for logd");
  if (const uint64_t number = json_number(*query, "follow"); number != 0) {
    const auto fetched = followers_.fetch(number, clock_.now());
    if (!fetched) return {{"gone", true}};
    return {{"lines", fetched->lines}, {"lost", fetched->lost}};
  }
  if (!books_->wanted()) {
    return refuse(
        "nothing to follow: without log.access.format and log.access.path, or a logfile, no record leaves the server");
  }
  std::vector<std::string> names, where;
  for (const Json& name : json_array(*query, "fields")) {
    if (name.is_string()) names.push_back(name.get<std::string>());
  }
  for (const Json& term : json_array(*query, "where")) {
    if (term.is_string()) where.push_back(term.get<std::string>());
  }
  LineFormatOptions form;
  const auto format = ConfigEnum<LogFormat>::parse(json_text(*query, "format", "w3c"), {});
  if (!format) return refuse("no format is called so");
  form.format = *format;
  form.utc = !json_flag(*query, "local_time");
  form.computer_name = host_;
  form.fields = default_log_fields();
  if (!names.empty()) {
    auto fields = log_fields(names);
    if (!fields) return refuse(fields.error().message);
    form.fields = std::move(*fields);
  }
  auto filter = LogFilter::parse(where);
  if (!filter) return refuse(filter.error().message);
  const auto opened = followers_.open(std::move(form), std::move(*filter), clock_.now(), clock_.wall());
  if (!opened) return refuse(opened.error().message);
  return {{"follow", *opened}};
}

void LogRole::obey_config(ChannelMessage message) {
  const uint32_t id = message.id;
  Result<RoleConfig> config = decode_config(std::move(message));
  if (!config) return answer(MessageKind::CONFIG_FAILED, id, config.error().message);
  const Result<Tree> tree = supervisor_tree(config->config_text, config->generation);
  if (!tree) return answer(MessageKind::CONFIG_FAILED, id, tree.error().message);
  if (Status applied = apply(tree->settings()); !applied) {
    return answer(MessageKind::CONFIG_FAILED, id, applied.error().message);
  }
  answer(MessageKind::CONFIG_OK, id, {});
}

void LogRole::drain_rest() {
  const MonoTime patience = clock_.now() + DRAIN_PATIENCE;
  while (!books_->drained() && clock_.now() < patience) {
    const Duration may_wait = books_->pass(clock_.now(), clock_.wall());
    if (may_wait.ns > 0) wait(std::min(may_wait, milliseconds(20)));
  }
}

}  // namespace

int run_logd(int channel_fd) {
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGINT, SIG_IGN);
  ::signal(SIGTERM, SIG_IGN);
  ::signal(SIGHUP, SIG_IGN);
  return LogRole(channel_fd).run();
}

}  // namespace penstock
