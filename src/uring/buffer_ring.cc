#include "src/uring/buffer_ring.h"

#include <sys/mman.h>

namespace penstock {

namespace {

void* map_anonymous(size_t bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? nullptr : memory;
}

}  // namespace

Result<std::unique_ptr<BufferRing>> BufferRing::open(Ring& ring, uint16_t group, uint32_t count, uint32_t bytes) {
  ASSERT(count > 0 && count <= 32'768 && (count & (count - 1)) == 0);
  std::unique_ptr<BufferRing> buffers(new BufferRing);
  buffers->count_ = count;
  buffers->bytes_ = bytes;
  buffers->group_ = group;
  buffers->slots_bytes_ = count * sizeof(io_uring_buf);
  buffers->memory_bytes_ = static_cast<size_t>(count) * bytes;
  void* slots = map_anonymous(buffers->slots_bytes_);
  if (slots == nullptr) return fail_errno("mapping a buffer ring");
  buffers->slots_ = static_cast<io_uring_buf*>(slots);
  void* memory = map_anonymous(buffers->memory_bytes_);
  if (memory == nullptr) return fail_errno("mapping receive buffers");
  buffers->memory_ = static_cast<char*>(memory);
  // Small requests touch a line or two of each buffer: with huge pages they share a few TLB entries.
  // Where huge pages are off this is without effect.
  (void)::madvise(memory, buffers->memory_bytes_, MADV_HUGEPAGE);
  // The tail lies over the `resv` field of the first slot: kernel ABI, struct io_uring_buf_ring.
  buffers->shared_tail_ = &buffers->slots_[0].resv;

  io_uring_buf_reg registration{};
  registration.ring_addr = reinterpret_cast<uint64_t>(slots);
  registration.ring_entries = count;
  registration.bgid = group;
  const int result = io_uring_register(static_cast<unsigned>(ring.fd()), IORING_REGISTER_PBUF_RING, &registration, 1);
  if (result < 0) return fail_errno("registering a buffer ring", -result);
  for (uint32_t buffer = 0; buffer < count; ++buffer) buffers->give(buffer);
  buffers->publish();
  return buffers;
}

BufferRing::~BufferRing() {
  if (memory_ != nullptr) ::munmap(memory_, memory_bytes_);
  if (slots_ != nullptr) ::munmap(slots_, slots_bytes_);
}

}  // namespace penstock
