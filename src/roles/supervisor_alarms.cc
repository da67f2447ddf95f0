// Books, log and alarm.exec. The test of all this: supervisor_alarm_test.cc.
#include "src/roles/supervisor_alarms.h"

#include "src/admin/process_exit.h"
#include "src/admin/request_json.h"
#include "src/base/duration_text.h"
#include "src/base/shared_memory.h"
#include "src/roles/alarm_command.h"

#include <algorithm>
#include <csignal>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace penstock {
namespace {

constexpr size_t REQUESTS_LOGGED = 16;         // of one alarm
constexpr size_t WORD_BYTES_MAX = 4096;        // of an argument or variable
constexpr Duration ALARMS_EVERY = seconds(1);  // at ages, and at what was killed

std::string request_text(const InFlightRequest& request, MonoTime now) {
  return "client " + address_text(request.client) + " for " + duration_text(now - request.begin) + " " +
         request.method + " " + escape_line(request.target, 500) + " host " + escape_line(request.host, 300) + ", " +
         std::to_string(request.bytes_in) + " bytes in, " + std::to_string(request.bytes_out) + " out, connection " +
         std::to_string(request.connection) + " number " + std::to_string(request.request_number);
}

// A file that only its readers' descriptors know, at its beginning.
Result<UniqueFd> text_file(const std::string& text) {
  UniqueFd fd(::memfd_create("penstock-alarm", MFD_CLOEXEC));
  if (!fd.valid()) return fail_errno("memfd_create");
  if (::pwrite(fd.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    return fail_errno("write the alarm");
  }
  return fd;
}

std::string variable(const char* name, std::string_view value) {
  return std::string(name) + "=" + escape_line(value, WORD_BYTES_MAX);
}

AlarmQueue::Delivery delivery_of(const Alarm& alarm) {
  AlarmQueue::Delivery out;
  out.alarm = alarm.number;
  out.message = json_line(alarm_json(alarm)) + "\n";
  const std::string what = escape_line(alarm.what, WORD_BYTES_MAX);
  out.words = {std::string(alarm_kind_name(alarm.kind)), alarm.pool, std::to_string(alarm.worker),
               std::to_string(alarm.pid), what};
  out.variables = {HELPER_PATH,
                   variable("ALARM_NUMBER", std::to_string(alarm.number)),
                   variable("ALARM_KIND", alarm_kind_name(alarm.kind)),
                   variable("ALARM_POOL", alarm.pool),
                   variable("ALARM_WORKER", std::to_string(alarm.worker)),
                   variable("ALARM_PID", std::to_string(alarm.pid)),
                   variable("ALARM_UID", std::to_string(alarm.uid)),
                   variable("ALARM_WHAT", alarm.what),
                   variable("ALARM_DETAIL", alarm.detail),
                   variable("ALARM_ACTION", alarm.action),
                   variable("ALARM_TIME", iso_time(alarm.when)),
                   variable("ALARM_REQUESTS", std::to_string(alarm.inside.size() + alarm.left_out))};
  if (!alarm.inside.empty()) {
    const InFlightRequest& first = alarm.inside.front();
    out.variables.push_back(variable("ALARM_CLIENT", address_text(first.client)));
    out.variables.push_back(variable("ALARM_REQUEST", first.method + " " + first.host + first.target));
  }
  return out;
}

}  // namespace

void Alarms::configure(const Settings& settings) {
  exec_ = settings.alarm_exec;
  user_ = settings.alarm_user;
  timeout_ = settings.alarm_timeout;
  repeat_ = settings.alarm_repeat;
  learn_ = settings.alarm_learn;
  age_ = settings.alarm_request_age;
  look_at_ = age_.ns > 0 ? std::min(look_at_, world_.clock.now()) : MonoTime::never();
}

std::vector<InFlightRequest> Alarms::requests_inside(uint64_t worker) const {
  std::vector<InFlightRequest> out;
  if (worker == 0) return out;
  for (const auto& role : world_.roles) {
    if (role->role != "server") continue;
    for (InFlightRequest& request : world_.journals.in_flight_of(role->journal_set, worker)) {
      out.push_back(std::move(request));
    }
  }
  return out;
}

std::vector<InFlightRequest> Alarms::requests_inside_since(uint64_t worker, MonoTime since) const {
  std::vector<InFlightRequest> out;
  for (const auto& role : world_.roles) {
    if (role->role != "server") continue;
    for (InFlightRequest& request : world_.journals.inside_since(role->journal_set, worker, since)) {
      out.push_back(std::move(request));
    }
  }
  return out;
}

uint64_t Alarms::worker_of(pid_t program) {
  const ProgramRecord* const record = programs_.find(programs_.of_process(program));
  return record != nullptr ? record->worker : 0;
}

// --- alarms ---------------------------------------------------------------------------------------

uint64_t Alarms::raise(Alarm alarm, MonoTime now) {
  alarm.at = now;
  alarm.when = world_.clock.wall();
  alarm.learnt = learn_ && alarm.kind != AlarmKind::TEST;
  Alarm* booked = book_.book(std::move(alarm), repeat_);
  if (booked == nullptr) return 0;
  if (booked->inside.empty()) {
    booked->inside = requests_inside(booked->worker);
    booked->own_first = put_first(booked->inside, booked->hint);
    if (booked->inside.size() > Alarm::REQUESTS_MAX) {
      booked->left_out = booked->inside.size() - Alarm::REQUESTS_MAX;
      booked->inside.erase(booked->inside.begin() + Alarm::REQUESTS_MAX, booked->inside.end());
    }
  }
  if (booked->learnt) {
    booked->delivery = "learnt, nobody is told";
  } else {
    deliver(*booked, now);
  }
  const uint64_t number = booked->number;
  say(*booked, now);
  return number;
}

void Alarms::say(const Alarm& alarm, MonoTime now) {
  std::string text = std::string(alarm.learnt ? "learnt " : "alarm ") + std::to_string(alarm.number) + " (" +
                     std::string(alarm_kind_name(alarm.kind)) + "): pool " + (alarm.pool.empty() ? "-" : alarm.pool);
  if (alarm.worker != 0) text += " worker " + std::to_string(alarm.worker);
  if (alarm.pid > 0) text += " (pid " + std::to_string(alarm.pid) + ", uid " + std::to_string(alarm.uid) + ")";
  const std::string head = text + ": ";
  text = head + escape_line(alarm.what, 1000);
  if (!alarm.detail.empty()) text += " (" + escape_line(alarm.detail, 1000) + ")";
  text += ": " + alarm.action;
  if (alarm.learnt) return world_.log.note(text);
  world_.log.error(text);
  for (size_t i = 0; i < alarm.inside.size() && i < REQUESTS_LOGGED; ++i) {
    world_.log.error(head + "inside: " + request_text(alarm.inside[i], now));
  }
  const uint64_t more = alarm.left_out + alarm.inside.size() - std::min(alarm.inside.size(), REQUESTS_LOGGED);
  if (more > 0) world_.log.error(head + "and " + std::to_string(more) + " more requests inside");
}

// --- alarm.exec -----------------------------------------------------------------------------------

void Alarms::deliver(Alarm& alarm, MonoTime now) {
  if (exec_.empty()) {
    alarm.delivery = "in the log alone: no alarm.exec is set";
    return;
  }
  alarm.delivery = "waits for alarm.exec";
  if (!queue_.add(delivery_of(alarm), now)) {
    alarm.delivery = "in the log alone: too many alarms wait for alarm.exec";
    world_.log.error("alarm " + std::to_string(alarm.number) +
                     " is not told to alarm.exec: " + std::to_string(AlarmQueue::WAITING_MAX) + " others wait for it");
    return;
  }
  run_due(now);
}

void Alarms::run_due(MonoTime now) {
  while (auto delivery = queue_.next(now)) start_command(std::move(*delivery), now);
}

void Alarms::start_command(AlarmQueue::Delivery delivery, MonoTime now) {
  if (exec_.empty()) return settle(std::move(delivery), "alarm.exec was unset", false, Duration{}, now);
  const auto input = text_file(delivery.message);
  auto words = alarm_command_words(exec_, world_.as_root ? user_ : "", delivery.words);
  if (!input || !words) {
    const std::string why = input ? words.error().message : input.error().message;
    return settle(std::move(delivery), why, false, Duration{}, now);
  }
  auto started = HelperProcess::start(world_.executable, std::move(*words), delivery.variables, input->get());
  if (!started) return settle(std::move(delivery), started.error().message, false, Duration{}, now);
  Running running{std::move(*started), std::move(delivery), now, now + timeout_};
  const auto pid = static_cast<uint32_t>(running.process.pid());
  if (!world_.loop.watch(running.process.pidfd(), world_.command_token | pid)) running.deadline = now;
  running_.push_back(std::move(running));
}

void Alarms::settle(AlarmQueue::Delivery delivery, const std::string& how, bool succeeded, Duration took,
                    MonoTime now) {
  const uint64_t number = delivery.alarm;
  const std::string tries = std::to_string(delivery.tries);
  const AlarmQueue::Outcome outcome = queue_.done(std::move(delivery), succeeded, now);
  Alarm* const alarm = book_.find(number);
  std::string text;
  if (outcome == AlarmQueue::Outcome::TOLD) {
    text = "told in " + duration_text(took);
    note_told(number, now);
  } else {
    text = "alarm.exec failed " + tries + " times: it " + how;
    if (outcome == AlarmQueue::Outcome::GIVEN_UP) text += "; given up";
    world_.log.error("alarm " + std::to_string(number) + ": " + text);
  }
  if (alarm != nullptr) alarm->delivery = text;
}

bool Alarms::end_command(size_t index, MonoTime now) {
  Running& command = running_[index];
  const auto end = command.process.reap();
  if (!end) return false;
  world_.loop.unwatch(command.process.pidfd());
  Running ended = std::move(command);
  running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(index));
  const std::string how =
      ended.killed ? "had not ended in " + duration_text(timeout_) + " and was killed" : end->text();
  settle(std::move(ended.delivery), how, end->clean && !ended.killed, world_.clock.now() - ended.started, now);
  return true;
}

void Alarms::command_event(uint32_t pid, MonoTime now) {
  const auto it = std::ranges::find_if(
      running_, [&](const Running& one) { return static_cast<uint32_t>(one.process.pid()) == pid; });
  if (it == running_.end() || !end_command(static_cast<size_t>(it - running_.begin()), now)) return;
  run_due(now);
}

// Not waited for: what hangs in the kernel would keep us from all else. Looked at again, as it may not be watched.
void Alarms::end_slow(MonoTime now) {
  for (size_t i = 0; i < running_.size();) {
    Running& command = running_[i];
    if (command.deadline <= now) {
      command.process.kill();
      command.killed = true;
      command.deadline = now + ALARMS_EVERY;
      if (end_command(i, now)) continue;
    }
    ++i;
  }
}

// --- programs -------------------------------------------------------------------------------------

uint64_t Alarms::program_started(ProgramRecord record, UniqueFd process, MonoTime now) {
  record.started = world_.clock.wall();
  record.started_at = now;
  // One descriptor for a process, however often it executes another program.
  if (const auto before = followed_.find(programs_.of_process(record.pid)); before != followed_.end()) {
    world_.loop.unwatch(before->second.get());
    followed_.erase(before);
  }
  const ProgramRecord* booked = programs_.start(std::move(record));
  if (booked == nullptr) return 0;
  const uint64_t number = booked->number;
  if (!process.valid()) return number;
  if (!world_.loop.watch(process.get(), world_.program_token | static_cast<uint32_t>(number))) {
    programs_.end(number, "not followed: it could not be watched", world_.clock.wall(), now);
    return 0;
  }
  followed_.emplace(number, std::move(process));
  return number;
}

void Alarms::program_ended(uint64_t number, const std::string& how, MonoTime now) {
  programs_.end(number, how, world_.clock.wall(), now);
}

void Alarms::program_event(uint32_t program, MonoTime now) {
  const auto it =
      std::ranges::find_if(followed_, [&](const auto& one) { return static_cast<uint32_t>(one.first) == program; });
  if (it == followed_.end()) return;
  const uint64_t number = it->first;
  if (const ProgramRecord* record = programs_.find(number)) {
    const auto end = foreign_exit(it->second.get(), record->pid);
    program_ended(number, end ? end->text() : "ended; the kernel does not tell how", now);
  }
  world_.loop.unwatch(it->second.get());
  followed_.erase(it);
}

void Alarms::signal_programs(uint64_t worker, int number) {
  for (const auto& [program, fd] : followed_) {
    const ProgramRecord* record = programs_.find(program);
    if (record == nullptr || record->worker != worker) continue;
    ::syscall(SYS_pidfd_send_signal, fd.get(), number, nullptr, 0);
  }
}

// --- ages (alarm.request_age) ---------------------------------------------------------------------

void Alarms::look_at_ages(MonoTime now) {
  look_at_ = now + ALARMS_EVERY;
  std::set<std::pair<uint32_t, uint64_t>> requests;
  for (const auto& role : world_.roles) {
    if (role->role != "server") continue;
    for (InFlightRequest& request : world_.journals.in_flight(role->journal_set)) {
      // A connection that waits for its next request has none in flight.
      if (now - request.begin < age_) continue;
      const auto key = std::pair(request.reactor, request.seq_start);
      requests.insert(key);
      if (aged_requests_.contains(key)) continue;
      Alarm alarm;
      alarm.kind = AlarmKind::AGE;
      alarm.worker = request.worker;
      alarm.pool = programs_.pool_of(request.worker);
      alarm.what = "request";
      alarm.detail = request_text(request, now);
      alarm.action = "it goes on";
      alarm.inside.push_back(std::move(request));
      raise(std::move(alarm), now);
    }
  }
  aged_requests_ = std::move(requests);
  std::erase_if(aged_programs_, [&](uint64_t number) { return programs_.find(number) == nullptr; });
  for (const auto& [number, record] : programs_.running()) {
    if (!followed_.contains(number) || now - record.started_at < age_ || !aged_programs_.insert(number).second)
      continue;
    Alarm alarm;
    alarm.kind = AlarmKind::AGE;
    alarm.pool = record.pool;
    alarm.worker = record.worker;
    alarm.pid = record.pid;
    alarm.uid = record.uid;
    alarm.what = record.path;
    alarm.detail = "runs for " + duration_text(now - record.started_at);
    alarm.action = "it goes on";
    alarm.inside = record.inside;
    raise(std::move(alarm), now);
  }
}

// --- time -----------------------------------------------------------------------------------------

void Alarms::run_timers(MonoTime now) {
  end_slow(now);
  run_due(now);
  test_timers(now);
  if (look_at_ <= now) look_at_ages(now);
}

MonoTime Alarms::next_deadline() const {
  MonoTime next = std::min(look_at_, queue_.next_deadline());
  for (const Running& one : running_) next = std::min(next, one.deadline);
  for (const auto& [number, test] : tests_) {
    if (test.process) next = std::min(next, test.deadline);
  }
  return next;
}

void Alarms::kill_all() {
  for (Running& one : running_) one.process.kill_and_wait();
  running_.clear();
  for (auto& [number, test] : tests_) {
    if (test.process) test.process->process.kill_and_wait();
  }
  tests_.clear();
}

Json Alarms::status() const {
  return {{"occurrences", book_.occurrences()},
          {"kinds", book_.alarms().size()},
          {"forgotten", book_.forgotten()},
          {"exec", exec_},
          {"learning", learn_},
          {"told", queue_.told()},
          {"waiting", queue_.waiting() + queue_.running()},
          {"given_up", queue_.given_up()},
          {"queue_full", queue_.refused()},
          {"programs_running", programs_.running().size()},
          {"programs_started", programs_.started_total()},
          {"programs_not_followed", programs_.not_followed()}};
}

}  // namespace penstock
