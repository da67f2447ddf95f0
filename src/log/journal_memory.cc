// Invariant: a mapped pair has the sizes that its header names, both files are sealed against shrinking
// and growing, so no access within the geometry can fault, whatever the other side does.
#include "src/log/journal_memory.h"

#include <bit>
#include <string>
#include <unistd.h>
#include <utility>

namespace penstock {
namespace {

constexpr uint64_t RING_BYTES_MAX = 1ULL << 30;
static_assert(sizeof(Counters) <= SLOTS_OFFSET - COUNTERS_OFFSET, "the counters outgrew their pages");

bool geometry_ok(uint64_t slot_count, uint64_t ring_bytes) {
  return slot_count >= 1 && slot_count <= JOURNAL_SLOTS_MAX && ring_bytes >= RING_BYTES_MIN &&
         ring_bytes <= RING_BYTES_MAX && std::has_single_bit(ring_bytes);
}

uint64_t ring_offset_of(uint64_t slot_count) {
  const uint64_t end = SLOTS_OFFSET + slot_count * sizeof(Slot);
  return (end + JOURNAL_PAGE - 1) & ~static_cast<uint64_t>(JOURNAL_PAGE - 1);
}

Status check_header(const JournalHeader& header) {
  if (header.magic != JOURNAL_MAGIC) return fail("not a journal: wrong magic number");
  if (header.version != JOURNAL_VERSION) {
    return fail("journal version " + std::to_string(header.version) + ", expected " + std::to_string(JOURNAL_VERSION));
  }
  if (header.slot_bytes != sizeof(Slot) || header.slots_offset != SLOTS_OFFSET ||
      !geometry_ok(header.slot_count, header.ring_bytes) || header.ring_offset != ring_offset_of(header.slot_count)) {
    return fail("the journal's header names an impossible geometry");
  }
  if (header.counters_fingerprint != counters_fingerprint()) return fail("the journal has another list of counters");
  return {};
}

}  // namespace

Result<JournalMemory> create_journal_memory(const JournalGeometry& geometry) {
  if (!geometry_ok(geometry.slot_count, geometry.ring_bytes)) {
    return fail("journal: slots must be 1 to 1048576, the ring a power of two from 32 KiB to 1 GiB");
  }
  const uint64_t ring_offset = ring_offset_of(geometry.slot_count);
  Result<UniqueFd> data = create_shared_memory("penstock-journal", ring_offset + geometry.ring_bytes);
  if (!data) return std::unexpected(data.error());
  Result<UniqueFd> ack = create_shared_memory("penstock-journal-ack", JOURNAL_PAGE);
  if (!ack) return std::unexpected(ack.error());

  const JournalHeader header{.magic = JOURNAL_MAGIC,
                             .version = JOURNAL_VERSION,
                             .reactor = geometry.reactor,
                             .instance = geometry.instance,
                             .slot_count = geometry.slot_count,
                             .slot_bytes = sizeof(Slot),
                             .slots_offset = SLOTS_OFFSET,
                             .ring_offset = ring_offset,
                             .ring_bytes = geometry.ring_bytes,
                             .counters_fingerprint = counters_fingerprint()};
  if (::pwrite(data->get(), &header, sizeof(header), 0) != static_cast<ssize_t>(sizeof(header))) {
    return fail_errno("write the journal's header");
  }
  return JournalMemory{std::move(*data), std::move(*ack)};
}

Result<JournalMap> JournalMap::map(int data_fd, int ack_fd, JournalAccess access) {
  JournalMap result;
  if (::pread(data_fd, &result.header_, sizeof(JournalHeader), 0) != static_cast<ssize_t>(sizeof(JournalHeader))) {
    return fail_errno("read the journal's header");
  }
  const JournalHeader& header = result.header_;
  if (Status ok = check_header(header); !ok) return std::unexpected(ok.error());
  const uint64_t data_bytes = header.ring_offset + header.ring_bytes;
  if (Status ok = check_shared_memory(data_fd, data_bytes, "the journal's data"); !ok)
    return std::unexpected(ok.error());
  if (Status ok = check_shared_memory(ack_fd, JOURNAL_PAGE, "the journal's ack"); !ok)
    return std::unexpected(ok.error());

  using Access = SharedMapping::Access;
  Result<SharedMapping> data =
      SharedMapping::map(data_fd, data_bytes, access == JournalAccess::REACTOR ? Access::READ_WRITE : Access::READ);
  if (!data) return std::unexpected(data.error());
  Result<SharedMapping> ack =
      SharedMapping::map(ack_fd, JOURNAL_PAGE, access == JournalAccess::DRAIN ? Access::READ_WRITE : Access::READ);
  if (!ack) return std::unexpected(ack.error());
  result.data_ = std::move(*data);
  result.ack_ = std::move(*ack);
  return result;
}

}  // namespace penstock
