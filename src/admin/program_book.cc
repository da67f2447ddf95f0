#include "src/admin/program_book.h"

#include "src/admin/operator_log.h"
#include "src/admin/request_json.h"

#include <algorithm>
#include <utility>

namespace penstock {
namespace {

Json program_json(const ProgramRecord& record, MonoTime now) {
  Json inside = Json::array();
  for (const InFlightRequest& request : record.inside) inside.push_back(request_json(request, record.started_at));
  const MonoTime until = record.running ? now : record.ended_at;
  Json out = {{"number", record.number},
              {"pool", record.pool},
              {"worker", record.worker},
              {"pid", record.pid},
              {"parent", record.parent},
              {"uid", record.uid},
              {"path", record.path},
              {"asked", record.asked},
              {"started", iso_time(record.started)},
              {"age_us", std::max<int64_t>((until - record.started_at).us(), 0)},
              {"running", record.running},
              {"requests", std::move(inside)},
              {"left_out", record.left_out},
              {"own_first", record.own_first}};
  if (!record.running) {
    out["ended"] = iso_time(record.ended);
    out["end"] = record.end;
  }
  return out;
}

}  // namespace

void ProgramBook::keep(ProgramRecord record) {
  record.running = false;
  ended_.push_back(std::move(record));
  if (ended_.size() > ENDED_MAX) ended_.pop_front();
}

ProgramRecord* ProgramBook::start(ProgramRecord record) {
  if (record.inside.size() > ProgramRecord::REQUESTS_MAX) {
    record.left_out += record.inside.size() - ProgramRecord::REQUESTS_MAX;
    record.inside.erase(record.inside.begin() + ProgramRecord::REQUESTS_MAX, record.inside.end());
  }
  const auto before = by_process_.find(record.pid);
  if (before != by_process_.end()) end(before->second, "executed another program", record.started, record.started_at);
  record.number = next_++;
  if (running_.size() >= RUNNING_MAX) {
    ++not_followed_;
    record.end = "not followed: too many programs run";
    record.ended = record.started;
    record.ended_at = record.started_at;
    keep(std::move(record));
    return nullptr;
  }
  by_process_[record.pid] = record.number;
  return &running_.emplace(record.number, std::move(record)).first->second;
}

void ProgramBook::end(uint64_t number, std::string how, WallTime when, MonoTime at) {
  const auto it = running_.find(number);
  if (it == running_.end()) return;
  ProgramRecord record = std::move(it->second);
  running_.erase(it);
  by_process_.erase(record.pid);
  ++ended_total_;
  record.end = std::move(how);
  record.ended = when;
  record.ended_at = at;
  keep(std::move(record));
}

ProgramRecord* ProgramBook::find(uint64_t number) {
  const auto it = running_.find(number);
  return it == running_.end() ? nullptr : &it->second;
}

uint64_t ProgramBook::of_process(pid_t pid) const {
  const auto it = by_process_.find(pid);
  return it == by_process_.end() ? 0 : it->second;
}

std::string ProgramBook::pool_of(uint64_t worker) const {
  if (worker == 0) return {};
  const auto it = std::ranges::find_if(running_, [&](const auto& one) { return one.second.worker == worker; });
  return it == running_.end() ? std::string() : it->second.pool;
}

Json ProgramBook::json(std::string_view pool, MonoTime now) const {
  Json list = Json::array();
  const auto add = [&](const ProgramRecord& record) {
    if (pool.empty() || record.pool == pool) list.push_back(program_json(record, now));
  };
  for (const auto& [number, record] : running_) add(record);
  for (auto it = ended_.rbegin(); it != ended_.rend(); ++it) add(*it);
  return {{"programs", std::move(list)},
          {"started", started_total()},
          {"ended", ended_total_},
          {"not_followed", not_followed_},
          {"forgotten", ended_total_ + not_followed_ - ended_.size()}};
}

Json ProgramBook::running_json(Duration older, MonoTime now) const {
  Json list = Json::array();
  for (const auto& [number, record] : running_) {
    if (now - record.started_at >= older) list.push_back(program_json(record, now));
  }
  return list;
}

}  // namespace penstock
