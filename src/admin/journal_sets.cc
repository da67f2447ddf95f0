#include "src/admin/journal_sets.h"

#include "src/base/assert.h"

#include <algorithm>
#include <fcntl.h>
#include <utility>

namespace penstock {
namespace {

Status add_duplicate(int fd, std::vector<UniqueFd>& out) {
  UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (!copy.valid()) return fail_errno("journal: duplicate descriptor");
  out.push_back(std::move(copy));
  return {};
}

Status add_read_only(int fd, std::vector<UniqueFd>& out) {
  auto copy = read_only(fd);
  if (!copy) return std::unexpected(copy.error());
  out.push_back(std::move(*copy));
  return {};
}

}  // namespace

Result<JournalSets> JournalSets::create(uint32_t reactors, uint64_t instance, uint32_t slots_per_reactor) {
  ASSERT(reactors > 0);
  JournalSets sets;
  sets.reactors_ = reactors;
  for (uint32_t i = 0; i < SETS * reactors; ++i) {
    JournalGeometry geometry;
    geometry.reactor = i;  // unique over the sets, so that records of an old and a new server tell apart
    geometry.instance = instance;
    geometry.slot_count = slots_per_reactor;
    auto memory = create_journal_memory(geometry);
    if (!memory) return std::unexpected(memory.error());
    auto map = JournalMap::map(memory->data.get(), memory->ack.get(), JournalAccess::WATCH);
    if (!map) return std::unexpected(map.error());
    sets.members_.push_back({std::move(*memory), std::move(*map)});
  }
  return sets;
}

Result<std::vector<UniqueFd>> JournalSets::fds_for_server(uint32_t set) const {
  std::vector<UniqueFd> out;
  for (uint32_t reactor = 0; reactor < reactors_; ++reactor) {
    const JournalMemory& memory = member(set, reactor).memory;
    if (Status ok = add_duplicate(memory.data.get(), out); !ok) return std::unexpected(ok.error());
    if (Status ok = add_read_only(memory.ack.get(), out); !ok) return std::unexpected(ok.error());
  }
  return out;
}

Result<std::vector<UniqueFd>> JournalSets::fds_for_logd() const {
  std::vector<UniqueFd> out;
  for (const Member& member : members_) {
    if (Status ok = add_read_only(member.memory.data.get(), out); !ok) return std::unexpected(ok.error());
    if (Status ok = add_duplicate(member.memory.ack.get(), out); !ok) return std::unexpected(ok.error());
  }
  return out;
}

template <class Read>
std::vector<InFlightRequest> JournalSets::by_start(uint32_t set, Read read) const {
  std::vector<InFlightRequest> out;
  for (uint32_t reactor = 0; reactor < reactors_; ++reactor) {
    std::vector<InFlightRequest> some = read(JournalReader(member(set, reactor).map));
    out.insert(out.end(), std::make_move_iterator(some.begin()), std::make_move_iterator(some.end()));
  }
  // Ties go by number: clang sees a deprecated call inside libstdc++ 12's stable_sort.
  std::sort(out.begin(), out.end(), [](const InFlightRequest& a, const InFlightRequest& b) {
    return a.begin == b.begin ? a.seq_start < b.seq_start : a.begin < b.begin;
  });
  return out;
}

std::vector<InFlightRequest> JournalSets::in_flight(uint32_t set) const {
  return by_start(set, [](const JournalReader& reader) { return reader.in_flight(); });
}

std::vector<InFlightRequest> JournalSets::in_flight_of(uint32_t set, uint64_t worker) const {
  return by_start(set, [worker](const JournalReader& reader) { return reader.in_flight_of(worker); });
}

std::vector<InFlightRequest> JournalSets::inside_since(uint32_t set, uint64_t worker, MonoTime since) const {
  return by_start(set, [worker, since](const JournalReader& reader) { return reader.inside_since(worker, since); });
}

std::vector<CounterValues> JournalSets::counters(uint32_t set) const {
  std::vector<CounterValues> out;
  for (uint32_t reactor = 0; reactor < reactors_; ++reactor) {
    out.push_back(read_counters(member(set, reactor).map.counters()));
  }
  return out;
}

JournalReader::RingStatus JournalSets::ring_status() const {
  JournalReader::RingStatus sum;
  for (const Member& member : members_) {
    const JournalReader::RingStatus one = JournalReader(member.map).ring_status();
    sum.finished += one.finished;
    sum.dropped += one.dropped;
    sum.drained += one.drained;
    sum.bytes_waiting += one.bytes_waiting;
    sum.ring_bytes += one.ring_bytes;
  }
  return sum;
}

}  // namespace penstock
