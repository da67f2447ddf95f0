// Invariant: a mapped pair has the sizes that its header names, both files are sealed against shrinking
// and growing, so no access within the geometry can fault, whatever the other side does.
#include "src/log/journal_memory.h"

#include <bit>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <sys/mman.h>
#include <sys/stat.h>
#include <utility>

namespace penstock {
namespace {

constexpr uint32_t SLOT_COUNT_MAX = 1U << 20;
constexpr uint64_t RING_BYTES_MAX = 1ULL << 30;
constexpr int SEALS = F_SEAL_SHRINK | F_SEAL_GROW;
static_assert(sizeof(Counters) <= SLOTS_OFFSET - COUNTERS_OFFSET, "the counters outgrew their pages");

bool geometry_ok(uint64_t slot_count, uint64_t ring_bytes) {
  return slot_count >= 1 && slot_count <= SLOT_COUNT_MAX && ring_bytes >= RING_BYTES_MIN &&
         ring_bytes <= RING_BYTES_MAX && std::has_single_bit(ring_bytes);
}

uint64_t ring_offset_of(uint64_t slot_count) {
  const uint64_t end = SLOTS_OFFSET + slot_count * sizeof(Slot);
  return (end + JOURNAL_PAGE - 1) & ~static_cast<uint64_t>(JOURNAL_PAGE - 1);
}

Result<UniqueFd> make_memfd(const char* name, uint64_t bytes) {
  UniqueFd fd(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return fail_errno(std::string("memfd_create ") + name);
  if (::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) return fail_errno(std::string("ftruncate ") + name);
  // Owner only: a role that holds a read-only description must not open a better one through /proc.
  if (::fchmod(fd.get(), 0600) != 0) return fail_errno(std::string("fchmod ") + name);
  return fd;
}

Status check_file(int fd, uint64_t bytes, const char* name) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return fail_errno(std::string("fstat of the journal's ") + name);
  if (static_cast<uint64_t>(info.st_size) != bytes) {
    return fail(std::string("the journal's ") + name + " has another size than its header says");
  }
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & SEALS) != SEALS) {
    return fail(std::string("the journal's ") + name + " is not sealed against resizing");
  }
  return {};
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
  Result<UniqueFd> data = make_memfd("penstock-journal", ring_offset + geometry.ring_bytes);
  if (!data) return std::unexpected(data.error());
  Result<UniqueFd> ack = make_memfd("penstock-journal-ack", JOURNAL_PAGE);
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
  if (::fcntl(data->get(), F_ADD_SEALS, SEALS) != 0) return fail_errno("seal the journal");
  if (::fcntl(ack->get(), F_ADD_SEALS, SEALS) != 0) return fail_errno("seal the journal");
  return JournalMemory{std::move(*data), std::move(*ack)};
}

Result<UniqueFd> read_only(int fd) {
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  UniqueFd reader(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!reader.valid()) return fail_errno("open " + path);
  return reader;
}

Result<JournalMap> JournalMap::map(int data_fd, int ack_fd, JournalAccess access) {
  JournalMap result;
  if (::pread(data_fd, &result.header_, sizeof(JournalHeader), 0) != static_cast<ssize_t>(sizeof(JournalHeader))) {
    return fail_errno("read the journal's header");
  }
  const JournalHeader& header = result.header_;
  if (Status ok = check_header(header); !ok) return std::unexpected(ok.error());
  const uint64_t data_bytes = header.ring_offset + header.ring_bytes;
  if (Status ok = check_file(data_fd, data_bytes, "data"); !ok) return std::unexpected(ok.error());
  if (Status ok = check_file(ack_fd, JOURNAL_PAGE, "ack"); !ok) return std::unexpected(ok.error());

  const int data_mode = access == JournalAccess::REACTOR ? PROT_READ | PROT_WRITE : PROT_READ;
  const int ack_mode = access == JournalAccess::DRAIN ? PROT_READ | PROT_WRITE : PROT_READ;
  void* data = ::mmap(nullptr, data_bytes, data_mode, MAP_SHARED, data_fd, 0);
  if (data == MAP_FAILED) return fail_errno("map the journal's data");
  result.data_ = static_cast<unsigned char*>(data);
  result.data_bytes_ = data_bytes;
  void* ack = ::mmap(nullptr, JOURNAL_PAGE, ack_mode, MAP_SHARED, ack_fd, 0);
  if (ack == MAP_FAILED) return fail_errno("map the journal's ack");
  result.ack_ = static_cast<unsigned char*>(ack);
  return result;
}

JournalMap::JournalMap(JournalMap&& other) noexcept { *this = std::move(other); }

JournalMap& JournalMap::operator=(JournalMap&& other) noexcept {
  if (this == &other) return *this;
  unmap();
  header_ = other.header_;
  data_ = std::exchange(other.data_, nullptr);
  data_bytes_ = std::exchange(other.data_bytes_, 0);
  ack_ = std::exchange(other.ack_, nullptr);
  return *this;
}

JournalMap::~JournalMap() { unmap(); }

void JournalMap::unmap() {
  if (data_ != nullptr) ::munmap(data_, data_bytes_);
  if (ack_ != nullptr) ::munmap(ack_, JOURNAL_PAGE);
  data_ = nullptr;
  ack_ = nullptr;
}

}  // namespace penstock
