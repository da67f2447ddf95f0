// Configuration, servers, timers and commands of the pools' room. What is done to processes: supervisor_pools_run.cc.
#include "src/roles/supervisor_pools.h"

#include "pool/supervisor/process_memory.h"
#include "pool/supervisor/schedule.h"
#include "src/admin/pool_messages.h"
#include "src/base/duration_text.h"

#include <algorithm>
#include <csignal>
#include <time.h>
#include <utility>

namespace penstock {
namespace {

constexpr Duration POOLS_EVERY = seconds(1);        // at memory, application files and the time of day
constexpr Duration OUTBOX_AGAIN = milliseconds(5);  // a server whose channel was full

// recycle.files, and with recycle.on_change the application's file, where `app` begins with its absolute path.
std::vector<std::string> watched_files_of(const PoolSettings& settings) {
  std::vector<std::string> files = settings.recycle_files;
  if (!settings.recycle_on_change || !settings.app.starts_with('/')) return files;
  // It is no pattern, whatever is in its name.
  std::string app;
  for (const char c : settings.app.substr(0, settings.app.find(' '))) {
    if (std::string_view("*?[\\").find(c) != std::string_view::npos) app += '\\';
    app += c;
  }
  files.push_back(std::move(app));
  return files;
}

WorkerLaunch launch_of(const std::string& pool, const WorkerProfile& profile) {
  WorkerLaunch launch;
  launch.pool = pool;
  launch.command = profile.command;
  launch.environment = profile.environment;
  launch.directory = profile.directory;
  launch.sandbox = profile.sandbox;
  launch.sandbox.listener = true;
  return launch;
}

Json problem(const std::string& text) { return {{"ok", false}, {"error", text}}; }

}  // namespace

// --- configuration ------------------------------------------------------------------------------

PoolRules Pools::rules_of(const PoolSettings& settings, const Result<WorkerLaunch>& launch,
                          const SegmentShape& shape) const {
  PoolRules rules;
  rules.workers_min = static_cast<uint32_t>(settings.workers_min);
  rules.workers_max = static_cast<uint32_t>(settings.workers_max);
  rules.scale_delay = settings.scale_delay;
  rules.idle_timeout = settings.idle_timeout;
  rules.idle_memory = static_cast<uint32_t>(settings.idle_memory);
  rules.idle_suspend = settings.idle_action == IdleActionSetting::SUSPEND;
  rules.start_timeout = settings.start_timeout;
  rules.stop_timeout = settings.stop_timeout;
  rules.recycle_time = settings.recycle_time;
  rules.recycle_requests = settings.recycle_requests;
  rules.recycle_memory = settings.recycle_memory;
  rules.recycle_cpu = static_cast<uint32_t>(settings.recycle_cpu);
  rules.recycle_cpu_window = settings.recycle_cpu_window;
  rules.recycle_overlap = settings.recycle_overlap;
  rules.rapid_fail_enable = settings.rapid_fail_enable;
  rules.rapid_fail_crashes = static_cast<uint32_t>(settings.rapid_fail_crashes);
  rules.rapid_fail_window = settings.rapid_fail_window;
  rules.rapid_fail_probe = settings.rapid_fail_probe;
  rules.orphan_enable = settings.orphan_enable;
  rules.orphan_ttl = settings.orphan_ttl;
  rules.orphan_max = static_cast<uint32_t>(settings.orphan_max);
  rules.recipe = launch ? encode_launch(*launch) : "impossible: " + launch.error().message;
  rules.recipe += " " + std::to_string(settings.concurrency) + " " + std::to_string(settings.ring_version) + " " +
                  std::to_string(shape.chunk_bytes);  // of limits that may have grown
  return rules;
}

void Pools::configure_one(const Settings& settings, const PoolSettings& one, const PoolIds& ids, MonoTime now) {
  auto profile = find_worker_profile(settings, one, ids, world_.as_root, world_.executable);
  Result<WorkerLaunch> launch =
      profile ? Result<WorkerLaunch>(launch_of(one.name, *profile)) : std::unexpected(profile.error());
  SegmentShape shape = segment_shape(world_.reactors, static_cast<uint32_t>(one.concurrency),
                                     request_block_bytes_max(settings) + filter_bytes_max(settings, one.name));
  if (one.ring_version != 0) shape.version_max = static_cast<uint32_t>(one.ring_version);
  PoolRules rules = rules_of(one, launch, shape);
  auto& slot = pools_[one.name];
  const bool fresh = slot == nullptr;
  if (fresh) slot = std::make_unique<Pool>(one.name, rules, numbers_);
  Pool& pool = *slot;
  pool.files.watch(watched_files_of(one), one.directory);
  pool.settings = one;
  pool.hashes.set(one.programs_sha256);
  pool.shape = shape;
  pool.launch = std::move(launch);
  pool.identity = profile ? profile->identity : "";
  pool.state_directory = profile ? profile->state : "";
  pool.configured = true;
  const CgroupLimits limits = {one.memory_max, static_cast<uint32_t>(one.cpu_limit)};
  if (limits != pool.limits) {
    pool.limits = limits;
    if (!cgroups_) cgroups_.emplace();
    const Status ok = cgroups_->set(pool.name, limits);
    pool.limit_problem = ok ? "" : ok.error().message;
    if (!ok) world_.log.warn("pool " + pool.name + " runs without its memory_max or cpu_limit: " + ok.error().message);
  }
  if (fresh && current_ != 0) pool.keeper.server_ready(current_, now);
  pool.keeper.configure(std::move(rules), now);
  run(pool, now);
}

void Pools::configure(const Settings& settings, MonoTime now) {
  for (const auto& [name, pool] : pools_) pool->configured = false;
  configure_audit(settings);
  const PoolIds ids(settings);
  for (const PoolSettings& one : settings.pools) configure_one(settings, one, ids, now);
  for (auto it = pools_.begin(); it != pools_.end();) {
    Pool& pool = *it->second;
    if (!pool.configured) {
      pool.keeper.remove(now);
      run(pool, now);
    }
    const bool gone = !pool.configured && pool.keeper.empty();
    if (gone && cgroups_) cgroups_->remove(pool.name);
    it = gone ? pools_.erase(it) : std::next(it);
  }
}

// --- servers --------------------------------------------------------------------------------------

RoleProcess* Pools::server(uint32_t epoch) const {
  for (const auto& role : world_.roles) {
    if (role->serial == epoch && role->role == "server") return role.get();
  }
  return nullptr;
}

void Pools::server_ready(uint32_t epoch, MonoTime now) {
  current_ = epoch;
  outboxes_[epoch];
  for (const auto& [name, pool] : pools_) {
    pool->keeper.server_ready(epoch, now);
    run(*pool, now);
  }
}

void Pools::server_gone(uint32_t epoch, MonoTime now) {
  if (outboxes_.erase(epoch) == 0) return;  // it was never ready
  if (current_ == epoch) current_ = 0;
  for (const auto& [name, pool] : pools_) {
    pool->waiting.erase(epoch);
    pool->keeper.server_gone(epoch, now);
    run(*pool, now);
  }
}

Pools::Pool* Pools::find(const std::string& name) const {
  const auto it = pools_.find(name);
  return it == pools_.end() ? nullptr : it->second.get();
}

// The pool of a worker that this server has; null where it speaks of one that it has no more.
Pools::Pool* Pools::pool_of(uint32_t epoch, uint64_t worker) const {
  const auto it = processes_.find(worker);
  if (it == processes_.end()) return nullptr;
  Pool* pool = it->second.pool;
  const auto known = pool->keeper.workers().find(worker);
  return known != pool->keeper.workers().end() && known->second.server == epoch ? pool : nullptr;
}

Status Pools::take_message(uint32_t epoch, const ChannelMessage& message, MonoTime now) {
  if (message.kind == MessageKind::POOL_NEED) {
    const auto need = decode_pool_need(message.payload);
    if (!need) return std::unexpected(need.error());
    Pool* pool = find(need->pool);
    if (pool == nullptr || !outboxes_.contains(epoch)) return {};
    pool->keeper.need(epoch, need->waiting, milliseconds(need->oldest_ms), now);
    run(*pool, now);
  } else if (message.kind == MessageKind::WORKER_STATE) {
    auto report = decode_worker_report(message.payload);
    if (!report) return std::unexpected(report.error());
    take_report(epoch, std::move(*report), now);
  } else if (message.kind == MessageKind::POOL_LOAD) {
    const auto loads = decode_pool_load(message.payload);
    if (!loads) return std::unexpected(loads.error());
    for (const PoolQueueReport& queue : loads->queues) {
      Pool* pool = find(queue.pool);
      if (pool == nullptr || !outboxes_.contains(epoch)) continue;
      if (queue.waiting > 0) {
        pool->waiting[epoch] = queue.waiting;
      } else {
        pool->waiting.erase(epoch);
      }
    }
    for (const WorkerLoadReport& load : loads->workers) {
      Pool* pool = pool_of(epoch, load.worker);
      if (pool == nullptr) continue;
      constexpr uint64_t IDLE_MS_MAX = uint64_t{1} << 42;
      const auto idle_ms = static_cast<int64_t>(std::min(load.idle_ms, IDLE_MS_MAX));
      pool->keeper.load(load.worker, load.served, load.inside, milliseconds(idle_ms), now);
      run(*pool, now);
    }
  }
  return {};
}

void Pools::take_report(uint32_t epoch, WorkerReport report, MonoTime now) {
  Pool* pool = pool_of(epoch, report.worker);
  if (pool == nullptr) return;
  note_report(report);
  PoolKeeper& keeper = pool->keeper;
  switch (report.kind) {
    case WorkerReport::Kind::READY:
      keeper.ready(report.worker, now);
      break;
    case WorkerReport::Kind::IDLE:
      keeper.idle(report.worker, now);
      break;
    case WorkerReport::Kind::RESTS:
      keeper.rests(report.worker, now);
      break;
    case WorkerReport::Kind::BROKE:
      pool->last_failure = "worker " + std::to_string(report.worker) + " broke the protocol: " + report.text;
      keeper.broke(report.worker, report.text, std::move(report.serials), now);
      break;
    case WorkerReport::Kind::OVERDUE:
      keeper.overdue(report.worker, std::move(report.serials), now, escape_line(report.text, POOL_TEXT_BYTES_MAX));
      break;
    case WorkerReport::Kind::SILENT:
      keeper.silent(report.worker, std::move(report.serials), now);
      break;
    case WorkerReport::Kind::WARMING:
      keeper.warming(report.worker, report.text);
      break;
    case WorkerReport::Kind::COLD:
      pool->last_failure = "worker " + std::to_string(report.worker) + " failed in its warm-up: " + report.text;
      keeper.cold(report.worker, report.text, now);
      break;
  }
  run(*pool, now);
}

void Pools::tell_server(uint32_t epoch, Outgoing message) {
  const auto it = outboxes_.find(epoch);
  if (it == outboxes_.end()) return;
  it->second.push_back(std::move(message));
  flush(epoch, it->second);
}

bool Pools::ask(uint32_t epoch, uint32_t id, std::string question) {
  if (!outboxes_.contains(epoch)) return false;
  tell_server(epoch, {MessageKind::QUERY, 0, std::move(question), id});
  return true;
}

// What the channel has room for, in order.
void Pools::flush(uint32_t epoch, std::deque<Outgoing>& outbox) {
  RoleProcess* role = server(epoch);
  for (; role != nullptr && role->channel.open() && !outbox.empty(); outbox.pop_front()) {
    const Outgoing& message = outbox.front();
    Status sent;
    if (message.kind == MessageKind::WORKER) {
      const auto process = processes_.find(message.worker);
      if (process == processes_.end()) continue;  // it has ended meanwhile
      const Pool& pool = *process->second.pool;
      const auto known = pool.keeper.workers().find(message.worker);
      const bool is_known = known != pool.keeper.workers().end();
      const bool warm = is_known && known->second.ready_at.ns != 0;
      const uint64_t served = is_known ? known->second.served_before : 0;
      const auto handover = process->second.worker.handover(pool.name, message.worker, epoch, warm, served);
      sent = handover ? send_worker(role->channel, *handover) : std::unexpected(handover.error());
    } else {
      sent = role->channel.send(message.kind, message.id, message.payload);
    }
    if (sent) continue;
    if (sent.error().code != EAGAIN && sent.error().code != CHANNEL_CLOSED) {
      world_.log.error("server (pid " + std::to_string(role->pid()) +
                       ") could not be told of a worker: " + sent.error().message);
      continue;
    }
    return;
  }
}

// --- time -----------------------------------------------------------------------------------------

MonoTime Pools::next_deadline() const {
  MonoTime next = std::min(look_at_, audit_deadline());
  for (const auto& [name, pool] : pools_) next = std::min(next, pool->deadline);
  for (const auto& [epoch, outbox] : outboxes_) {
    if (!outbox.empty()) next = std::min(next, flushed_ + OUTBOX_AGAIN);
  }
  for (const auto& [number, process] : processes_) {
    next = std::min({next, process.worker.output_again, process.listen_again, process.reclaim_again});
  }
  for (const Action& action : actions_) next = std::min(next, action.deadline);
  return next;
}

void Pools::run_timers(MonoTime now) {
  flushed_ = now;
  for (auto& [epoch, outbox] : outboxes_) flush(epoch, outbox);
  for (const auto& [name, pool] : pools_) {
    if (pool->deadline > now) continue;
    pool->keeper.tick(now);
    run(*pool, now);
  }
  for (auto& [number, process] : processes_) {
    if (process.worker.output_again <= now) read_output(number, process, now);
    if (process.listen_again <= now) listen(number, process);
    if (process.reclaim_again <= now) go_on_reclaiming(number, process, now);
  }
  end_slow_actions(now);
  audit_timers(now);
  if (look_at_ <= now) look_around(now);
}

void Pools::look_around(MonoTime now) {
  look_at_ = processes_.empty() ? MonoTime::never() : now + POOLS_EVERY;
  std::optional<uint32_t> in_use;  // of the machine's memory: read where a pool asks
  for (const auto& [name, pool] : pools_) {
    if (pool->keeper.empty()) continue;
    if (pool->settings.idle_memory > 0 && !in_use) in_use = memory_used_percent();
    if (in_use) pool->keeper.memory_used(*in_use, now);
    look_at_clock(*pool, now);
    look_at_files(*pool, now);
    run(*pool, now);
  }
  for (auto& [number, process] : processes_) {
    const PoolSettings& settings = process.pool->settings;
    if (settings.recycle_memory == 0 && settings.recycle_cpu == 0) continue;
    const pid_t pid = process.worker.process.pid();
    const auto bytes = settings.recycle_memory != 0 ? tree_resident_bytes(pid) : std::nullopt;
    const auto used = settings.recycle_cpu != 0 ? tree_cpu_time(pid) : std::nullopt;
    if (bytes) process.pool->keeper.memory_seen(number, *bytes, now);
    if (used) process.pool->keeper.cpu_seen(number, *used, now);
    run(*process.pool, now);
  }
}

void Pools::look_at_files(Pool& pool, MonoTime now) {
  if (pool.files.empty()) return;
  if (const auto changed = pool.files.look()) pool.keeper.recycle(*changed + " has changed", now);
  if (pool.files.too_many() && !std::exchange(pool.told_too_many, true)) {
    world_.log.warn("pool " + pool.name + ": recycle.files names more than " + std::to_string(WatchedFiles::FILES_MAX) +
                    " files; the others are not looked at");
  }
}

void Pools::look_at_clock(Pool& pool, MonoTime now) {
  const auto& schedule = pool.settings.recycle_schedule;
  if (schedule.empty()) return;
  const time_t seconds_now = world_.clock.wall().unix_seconds();
  tm local{};
  ::localtime_r(&seconds_now, &local);
  const auto minute = static_cast<uint32_t>(local.tm_hour * 60 + local.tm_min);
  if (schedule_due(schedule, std::exchange(pool.minute_seen, minute), minute)) {
    pool.keeper.recycle("recycled by schedule", now);
  }
}

// --- the end --------------------------------------------------------------------------------------

void Pools::shut_down(MonoTime now) {
  if (std::exchange(down_, true)) return;
  for (const auto& [name, pool] : pools_) {
    pool->keeper.shut_down(now);
    run(*pool, now);
  }
}

void Pools::kill_all() {
  for (auto& [number, process] : processes_) process.worker.process.signal(SIGKILL);
}

void Pools::kill_and_wait() {
  for (auto& [number, process] : processes_) process.worker.process.kill_and_wait();
  processes_.clear();
}

// --- commands -------------------------------------------------------------------------------------

Json Pools::worker_json(uint64_t number, const PoolKeeper::Worker& worker, MonoTime now) const {
  Json out = {{"worker", number},        {"state", worker_state_name(worker.state)},
              {"server", worker.server}, {"uptime_ms", (now - worker.started).ms()},
              {"served", worker.served}, {"inside", worker.inside},
              {"cause", worker.cause}};
  if (!worker.doing.empty()) out["warm_up"] = worker.doing;
  if (!worker.recycle_cause.empty()) out["recycling"] = worker.recycle_cause;
  if (!worker.end_cause.empty()) out["ending"] = worker.end_cause;
  const auto process = processes_.find(number);
  if (process == processes_.end()) return out;
  out["pid"] = process->second.worker.process.pid();
  out["memory"] = tree_resident_bytes(process->second.worker.process.pid()).value_or(0);
  out["sandbox"] = Json::array();
  for (const SandboxStep& step : process->second.sandbox.steps) {
    out["sandbox"].push_back({{"name", step.name}, {"holds", step.holds}, {"detail", step.detail}});
  }
  return out;
}

Json Pools::pool_json(const Pool& pool) const {
  const PoolKeeper& keeper = pool.keeper;
  uint32_t ready = 0;
  uint32_t suspended = 0;
  uint32_t inside = 0;
  uint64_t waiting = 0;
  for (const auto& [epoch, count] : pool.waiting) waiting += count;
  for (const auto& [number, worker] : keeper.workers()) {
    ready += worker.state == PoolKeeper::WorkerState::READY ? 1 : 0;
    suspended += worker.state == PoolKeeper::WorkerState::SUSPENDED ? 1 : 0;
    inside += worker.inside;
  }
  return {{"pool", pool.name},
          {"state", keeper.trial() ? "trial" : pool_state_name(keeper.state())},
          {"cause", keeper.state_cause()},
          {"runtime", to_text(pool.settings.runtime)},
          {"app", pool.settings.app},
          {"identity", pool.identity},
          {"workers", keeper.workers().size()},
          {"ready", ready},
          {"suspended", suspended},
          {"workers_min", keeper.rules().workers_min},
          {"workers_max", keeper.rules().workers_max},
          {"inside", inside},
          {"waiting", waiting},
          {"started", keeper.started_total()},
          {"failures", keeper.crashes()},
          {"recycled", keeper.recycled()},
          {"last_failure", pool.last_failure}};
}

Json Pools::list() const {
  Json out = Json::array();
  for (const auto& [name, pool] : pools_) out.push_back(pool_json(*pool));
  return out;
}

Json Pools::show(const std::string& name, MonoTime now) const {
  const Pool* pool = find(name);
  if (pool == nullptr) return problem("no pool is named '" + name + "'");
  Json workers = Json::array();
  for (const auto& [number, worker] : pool->keeper.workers()) workers.push_back(worker_json(number, worker, now));
  Json out = {{"ok", true}, {"pool", pool_json(*pool)}, {"workers", workers}};
  if (!pool->launch) out["problem"] = pool->launch.error().message;
  if (pool->limits.any()) out["cgroup"] = pool->limit_problem.empty() ? cgroups_->text() : pool->limit_problem;
  return out;
}

Json Pools::command(const std::string& what, const std::string& name, const std::string& who, MonoTime now) {
  Pool* pool = find(name);
  if (pool == nullptr || !pool->configured) return problem("no pool is named '" + name + "'");
  if (what == "start") {
    pool->keeper.start(now);
  } else if (what == "stop") {
    pool->keeper.stop("stopped by " + who, now);
  } else if (pool->keeper.empty()) {
    return problem("pool " + name + " has no workers");
  } else {
    pool->keeper.recycle("recycled by " + who, now);
  }
  run(*pool, now);
  return {{"ok", true}, {"pool", pool_json(*pool)}};
}

}  // namespace penstock
