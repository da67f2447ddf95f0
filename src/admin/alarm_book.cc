#include "src/admin/alarm_book.h"

#include "src/admin/operator_log.h"
#include "src/admin/request_json.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace penstock {
namespace {

bool same_kind(const Alarm& a, const Alarm& b) {
  return a.kind == b.kind && a.learnt == b.learnt && a.pool == b.pool && a.what == b.what;
}

void cut(std::string& text) {
  if (text.size() > AlarmBook::TEXT_BYTES_MAX) text.resize(AlarmBook::TEXT_BYTES_MAX);
}

}  // namespace

std::string_view alarm_kind_name(AlarmKind kind) {
  static constexpr std::string_view NAMES[] = {"program", "call", "access", "age", "more", "test"};
  return NAMES[static_cast<size_t>(kind)];
}

Alarm* AlarmBook::book(Alarm alarm, Duration repeat) {
  ++occurrences_;
  cut(alarm.what);
  cut(alarm.detail);
  if (alarm.inside.size() > Alarm::REQUESTS_MAX) {
    alarm.left_out += alarm.inside.size() - Alarm::REQUESTS_MAX;
    alarm.inside.erase(alarm.inside.begin() + Alarm::REQUESTS_MAX, alarm.inside.end());
  }
  auto known = std::ranges::find_if(alarms_, [&](const Alarm& one) { return same_kind(one, alarm); });
  if (known == alarms_.end() && alarm.kind != AlarmKind::TEST) {
    // Files that are looked for do not hide what is worse.
    const bool access = alarm.kind == AlarmKind::ACCESS;
    const auto of_pool = std::ranges::count_if(
        alarms_, [&](const Alarm& one) { return one.pool == alarm.pool && access == (one.kind == AlarmKind::ACCESS); });
    if (static_cast<size_t>(of_pool) >= KINDS_OF_POOL) {
      const std::string more =
          "more than " + std::to_string(KINDS_OF_POOL) + (access ? " files and addresses" : " kinds");
      alarm.detail = "the last one: " + std::exchange(alarm.what, more);
      alarm.kind = AlarmKind::MORE;
      known = std::ranges::find_if(alarms_, [&](const Alarm& one) { return same_kind(one, alarm); });
    }
  }
  uint64_t before = 0;
  if (known != alarms_.end()) {
    const bool quiet = repeat.ns > 0 && alarm.at - known->last_at >= repeat;
    if (!quiet && alarm.kind != AlarmKind::TEST) {
      ++known->count;
      known->last = alarm.when;
      known->last_at = alarm.at;
      alarms_.splice(alarms_.begin(), alarms_, known);
      return nullptr;
    }
    before = known->count;
    alarms_.erase(known);
  }
  if (alarms_.size() >= KINDS_MAX) {
    alarms_.pop_back();
    ++forgotten_;
  }
  alarm.number = next_++;
  alarm.count = before + 1;
  alarm.last = alarm.when;
  alarm.last_at = alarm.at;
  alarms_.push_front(std::move(alarm));
  return &alarms_.front();
}

Alarm* AlarmBook::find(uint64_t number) {
  const auto it = std::ranges::find_if(alarms_, [&](const Alarm& one) { return one.number == number; });
  return it == alarms_.end() ? nullptr : &*it;
}

Json alarm_json(const Alarm& alarm) {
  Json inside = Json::array();
  for (const InFlightRequest& request : alarm.inside) inside.push_back(request_json(request, alarm.at));
  return {{"number", alarm.number},
          {"kind", alarm_kind_name(alarm.kind)},
          {"learnt", alarm.learnt},
          {"pool", alarm.pool},
          {"worker", alarm.worker},
          {"pid", alarm.pid},
          {"uid", alarm.uid},
          {"what", alarm.what},
          {"detail", alarm.detail},
          {"action", alarm.action},
          {"when", iso_time(alarm.when)},
          {"last", iso_time(alarm.last)},
          {"count", alarm.count},
          {"requests", std::move(inside)},
          {"left_out", alarm.left_out},
          {"own_first", alarm.own_first},
          {"delivery", alarm.delivery}};
}

Json AlarmBook::json(std::string_view pool) const {
  Json list = Json::array();
  for (const Alarm& alarm : alarms_) {
    if (pool.empty() || alarm.pool == pool) list.push_back(alarm_json(alarm));
  }
  return {{"alarms", std::move(list)}, {"occurrences", occurrences_}, {"forgotten", forgotten_}};
}

}  // namespace penstock
