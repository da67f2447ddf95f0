// What Landlock has denied to workers: an alarm for each kind, as the kernel's audit log tells of it.
//
// It tells after the fact: the process has gone on, and so have the requests. So what was inside is looked up as soon
// as it is known whose domain it was, with what has left within the log's idea of time. The log tells of the whole
// machine: what is in no worker is nobody's business here. An intruder can make it speak without end, so it is read
// DENIALS_ROUND by round; what the kernel drops meanwhile is counted.
#include "src/roles/supervisor_pools.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace penstock {
namespace {

constexpr Duration DENIALS_ROUND = milliseconds(100);
// isatty() is an ioctl, and programs ask it of /dev/null: no attempt of anything.
constexpr std::string_view ASKED_BY_ALL = "fs.ioctl_dev";
constexpr Duration TICK = milliseconds(10);  // the log's times are rounded down to the kernel's tick

}  // namespace

void Pools::configure_audit(const Settings& settings) {
  const AuditSetting wanted = settings.pools.empty() ? AuditSetting::OFF : settings.alarm_audit;
  if (wanted == audit_wanted_) return;
  close_audit();
  audit_wanted_ = wanted;
  if (wanted == AuditSetting::OFF) return;
  auto audit = world_.as_root ? KernelAudit::open(wanted == AuditSetting::ENABLE)
                              : Result<KernelAudit>(fail("the kernel tells them to root alone"));
  Status ok = audit ? world_.loop.watch(audit->fd(), world_.audit_token) : std::unexpected(audit.error());
  if (!ok) {
    audit_problem_ = ok.error().message;
    return;
  }
  audit_.emplace(std::move(*audit));
}

void Pools::close_audit() {
  audit_problem_.clear();
  if (!audit_) return;
  if (audit_again_ == MonoTime::never()) world_.loop.unwatch(audit_->fd());
  audit_again_ = MonoTime::never();
  audit_.reset();
}

std::string Pools::audit_lack() const { return audit_ ? audit_->silent() : audit_problem_; }

Json Pools::audit_status() const {
  return {{"told", audit_.has_value() && audit_->silent().empty()},
          {"why_not", audit_wanted_ == AuditSetting::OFF ? "nobody wants to know" : audit_lack()},
          {"lost", audit_ ? audit_->lost() : 0}};
}

void Pools::audit_event(MonoTime now) {
  if (!audit_ || audit_again_ != MonoTime::never()) return;
  const bool all = audit_->read(now);
  take_denials(now);
  if (all) return;
  world_.loop.unwatch(audit_->fd());
  audit_again_ = now + DENIALS_ROUND;
}

MonoTime Pools::audit_deadline() const {
  return audit_ ? std::min(audit_again_, audit_->events().next_deadline()) : MonoTime::never();
}

void Pools::audit_timers(MonoTime now) {
  if (!audit_) return;
  take_denials(now);
  if (audit_again_ > now) return;
  audit_again_ = MonoTime::never();
  if (world_.loop.watch(audit_->fd(), world_.audit_token)) return;
  close_audit();
  audit_problem_ = "the log could not be watched any more";
}

void Pools::take_denials(MonoTime now) {
  audit_->events().each_unknown([&](AccessDenial& denial) { identify(denial, now); });
  while (auto denial = audit_->events().next(now)) {
    if (denial->denied == ASKED_BY_ALL) continue;
    identify(*denial, now);
    if (denial->worker != 0) book_denial(std::move(*denial), now);
  }
}

void Pools::identify(AccessDenial& denial, MonoTime now) {
  if (denial.worker != 0) return;
  for (const auto& [number, process] : processes_) {
    const pid_t pid = process.worker.process.pid();
    if (pid > 0 && (pid == denial.domain_pid || pid == denial.pid)) denial.worker = number;
  }
  if (denial.worker == 0 && denial.pid > 0) denial.worker = world_.alarms.worker_of(denial.pid);
  if (denial.worker == 0) return;
  const Duration ago = std::max(world_.clock.wall() - denial.when, Duration{}) + TICK;
  denial.inside = world_.alarms.requests_inside_since(denial.worker, now - ago);
}

void Pools::book_denial(AccessDenial denial, MonoTime now) {
  const auto it = processes_.find(denial.worker);
  if (it == processes_.end()) return;
  const Process& process = it->second;
  Alarm alarm;
  alarm.kind = AlarmKind::ACCESS;
  alarm.pool = process.pool->name;
  alarm.worker = denial.worker;
  alarm.pid = denial.pid > 0 ? denial.pid : process.worker.process.pid();
  const auto& launch = process.pool->launch;
  alarm.uid = denial.uid.value_or(launch && launch->sandbox.identity ? launch->sandbox.identity->uid : 0);
  alarm.what = denial.object.empty() ? denial.denied : std::move(denial.object);
  alarm.detail = std::move(denial.denied);
  alarm.action = "refused by the sandbox";
  alarm.inside = std::move(denial.inside);
  world_.alarms.raise(std::move(alarm), now);
}

}  // namespace penstock
