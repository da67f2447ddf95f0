#include "src/log/drain/followers.h"

#include <utility>

namespace penstock {

Result<uint64_t> LogFollowers::open(LineFormatOptions form, LogFilter filter, MonoTime now, WallTime wall) {
  if (form.format == LogFormat::NONE || form.format == LogFormat::BINARY) {
    return fail("the log is followed as w3c, ncsa or json");
  }
  expire(now);
  if (followers_.size() >= FOLLOWERS_MAX) return fail("too many follow the log already");
  const Escape escape = escape_of(form.format);
  auto follower = std::make_unique<Follower>(
      Follower{LineFormat(std::move(form)), escape, std::move(filter), LineBuffer{}, 0, now});
  follower->form.header(follower->lines, wall);
  followers_.emplace(++numbers_, std::move(follower));
  return numbers_;
}

std::optional<LogFollowers::Fetched> LogFollowers::fetch(uint64_t number, MonoTime now) {
  const auto found = followers_.find(number);
  if (found == followers_.end()) return std::nullopt;
  Follower& follower = *found->second;
  follower.fetched = now;
  Fetched fetched{std::string(follower.lines.view()), std::exchange(follower.lost, 0)};
  follower.lines.clear();
  return fetched;
}

void LogFollowers::add(const EndRecordView& record, const RingReader& ring) {
  uint64_t& shown = shown_[ring.reactor()];
  if (ring.position() <= shown) return;
  shown = ring.position();
  for (const auto& [number, follower] : followers_) {
    follower->lost += ring.gap_before();  // whatever they were
    if (!follower->filter.wants(record, ring.reactor(), texts_)) continue;
    AccessEntry entry = entry_of(record.head, ring.reactor());
    texts_.fill(entry, record, follower->escape);
    const size_t before = follower->lines.size();
    follower->form.line(follower->lines, entry);
    if (follower->lines.size() <= BYTES_MAX) continue;
    follower->lines.truncate(before);
    ++follower->lost;
  }
}

void LogFollowers::expire(MonoTime now) {
  std::erase_if(followers_, [&](const auto& at) { return now - at.second->fetched > IDLE_MAX; });
}

}  // namespace penstock
