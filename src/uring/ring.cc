#include "src/uring/ring.h"

#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <vector>

// Invariants:
//  - sq_tail_ counts entries handed out by sqe(), sq_submitted_ those the kernel has taken; the
//    shared tail is stored only in enter(), so that a half-filled entry is never seen.
//  - cq_head_local_ is the only copy of the head that we trust.

namespace penstock {

namespace {

// The value of the sysctl, or -1 where it cannot be read.
int read_disabled_sysctl(const char* path) {
  const UniqueFd fd(::open(path, O_RDONLY | O_CLOEXEC));
  char digit = 0;
  if (!fd.valid() || ::read(fd.get(), &digit, 1) != 1 || digit < '0' || digit > '9') return -1;
  return digit - '0';
}

// liburing's wrappers return -errno or, for io_uring_setup, a descriptor.
constexpr uint32_t BASE_FLAGS = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED;
constexpr uint32_t FLAG_SETS[] = {
    // 6.6
    BASE_FLAGS | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
        IORING_SETUP_TASKRUN_FLAG | URING_SETUP_NO_SQARRAY,
    // 6.1
    BASE_FLAGS | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
        IORING_SETUP_TASKRUN_FLAG,
    // 5.19: task work runs at the next system call instead of by an interrupt
    BASE_FLAGS | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
};

}  // namespace

Error uring_refusal(int code, const char* call, const char* disabled_sysctl_path) {
  std::string message = std::string(call) + " refused: ";
  const int disabled = read_disabled_sysctl(disabled_sysctl_path);
  switch (code) {
    case ENOSYS:
      message += "ENOSYS: the kernel has no io_uring, or a seccomp filter hides it";
      break;
    case EPERM:
      message += disabled > 0 ? "EPERM: sysctl kernel.io_uring_disabled = " + std::to_string(disabled)
                              : std::string("EPERM: forbidden by a seccomp filter or a security module");
      break;
    case EACCES:
      message += "EACCES: forbidden by a security module";
      break;
    case EOPNOTSUPP:
      message += "EOPNOTSUPP: forbidden by a seccomp filter";
      break;
    case ENOMEM:
      message += "ENOMEM: not enough memory, or the limit on locked memory (ulimit -l) is too low";
      break;
    case EINVAL:
      message += "EINVAL: the kernel is older than 5.19";
      break;
    default:
      message = fail_errno(std::string(call) + " refused", code).error().message;
  }
  return {code, std::move(message)};
}

Result<std::unique_ptr<Ring>> Ring::open(const RingOptions& options) {
  std::unique_ptr<Ring> ring(new Ring);
  if (const int error = ring->set_up(options); error != 0) {
    return std::unexpected(uring_refusal(error, "io_uring_setup", options.disabled_sysctl_path));
  }
  if (const int error = ring->map(); error != 0) return fail_errno("mapping the io_uring queues", error);
  if (const int error = ring->probe(); error != 0) {
    return std::unexpected(uring_refusal(error, "io_uring_register", options.disabled_sysctl_path));
  }
  // A filter may let io_uring_setup pass and refuse this one; a disabled ring answers EBADFD.
  if (const int error = -io_uring_enter(static_cast<unsigned>(ring->fd()), 0, 0, 0, nullptr);
      error != EBADFD && error > 0) {
    return std::unexpected(uring_refusal(error, "io_uring_enter", options.disabled_sysctl_path));
  }
  return ring;
}

int Ring::set_up(const RingOptions& options) {
  int result = -EINVAL;
  for (const uint32_t flags : FLAG_SETS) {
    params_ = {};
    params_.flags = flags;
    params_.cq_entries = options.cq_entries;
    result = io_uring_setup(options.sq_entries, &params_);
    if (result != -EINVAL) break;
  }
  if (result < 0) return -result;
  fd_.reset(result);
  return 0;
}

int Ring::map() {
  constexpr uint32_t NEEDED =
      IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG | IORING_FEAT_FAST_POLL | IORING_FEAT_CQE_SKIP;
  if ((params_.features & NEEDED) != NEEDED) return EINVAL;
  const size_t sq_bytes = params_.sq_off.array + params_.sq_entries * sizeof(uint32_t);
  const size_t cq_bytes = params_.cq_off.cqes + params_.cq_entries * sizeof(io_uring_cqe);
  rings_bytes_ = sq_bytes > cq_bytes ? sq_bytes : cq_bytes;
  void* rings =
      ::mmap(nullptr, rings_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd(), IORING_OFF_SQ_RING);
  if (rings == MAP_FAILED) return errno;
  rings_ = rings;
  sqes_bytes_ = params_.sq_entries * sizeof(io_uring_sqe);
  void* sqes = ::mmap(nullptr, sqes_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd(), IORING_OFF_SQES);
  if (sqes == MAP_FAILED) return errno;
  sqes_ = static_cast<io_uring_sqe*>(sqes);

  char* base = static_cast<char*>(rings_);
  const auto word = [base](uint32_t offset) { return reinterpret_cast<uint32_t*>(base + offset); };
  sq_head_ = word(params_.sq_off.head);
  sq_tail_shared_ = word(params_.sq_off.tail);
  sq_flags_ = word(params_.sq_off.flags);
  sq_entries_ = *word(params_.sq_off.ring_entries);
  sq_mask_ = *word(params_.sq_off.ring_mask);
  if ((params_.flags & URING_SETUP_NO_SQARRAY) == 0) sq_array_ = word(params_.sq_off.array);
  cq_head_ = word(params_.cq_off.head);
  cq_tail_ = word(params_.cq_off.tail);
  cq_mask_ = *word(params_.cq_off.ring_mask);
  cqes_ = reinterpret_cast<Completion*>(base + params_.cq_off.cqes);
  enter_fd_ = fd();
  return 0;
}

int Ring::probe() {
  constexpr unsigned OPS = 64;
  std::vector<char> storage(sizeof(io_uring_probe) + OPS * sizeof(io_uring_probe_op), 0);
  auto* answer = reinterpret_cast<io_uring_probe*>(storage.data());
  const int result = io_uring_register(static_cast<unsigned>(fd()), IORING_REGISTER_PROBE, answer, OPS);
  if (result < 0) return -result;
  for (unsigned i = 0; i < answer->ops_len && i < OPS; ++i) {
    if ((answer->ops[i].flags & IO_URING_OP_SUPPORTED) != 0) opcodes_ |= uint64_t{1} << answer->ops[i].op;
  }
  return 0;
}

Ring::~Ring() {
  if (sqes_ != nullptr) ::munmap(sqes_, sqes_bytes_);
  if (rings_ != nullptr) ::munmap(rings_, rings_bytes_);
}

Status Ring::register_sparse_files(uint32_t count) {
  io_uring_rsrc_register table{};
  table.nr = count;
  table.flags = IORING_RSRC_REGISTER_SPARSE;
  const int result = io_uring_register(static_cast<unsigned>(fd()), IORING_REGISTER_FILES2, &table, sizeof table);
  if (result < 0) return fail_errno("registering " + std::to_string(count) + " direct descriptors", -result);
  return {};
}

Status Ring::restrict_to(std::span<const uint8_t> opcodes, uint8_t sqe_flags) {
  std::vector<io_uring_restriction> list;
  for (const uint8_t opcode : opcodes) {
    io_uring_restriction& one = list.emplace_back();
    one.opcode = IORING_RESTRICTION_SQE_OP;
    one.sqe_op = opcode;
  }
  io_uring_restriction& flags = list.emplace_back();
  flags.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
  flags.sqe_flags = sqe_flags;
  for (const int registration : {IORING_REGISTER_ENABLE_RINGS, IORING_REGISTER_RING_FDS, IORING_UNREGISTER_RING_FDS}) {
    io_uring_restriction& one = list.emplace_back();
    one.opcode = IORING_RESTRICTION_REGISTER_OP;
    one.register_op = static_cast<uint8_t>(registration);
  }
  const int result = io_uring_register(static_cast<unsigned>(fd()), IORING_REGISTER_RESTRICTIONS, list.data(),
                                       static_cast<unsigned>(list.size()));
  if (result < 0) return fail_errno("restricting the ring", -result);
  return {};
}

Status Ring::start() {
  const int result = io_uring_register(static_cast<unsigned>(fd()), IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
  if (result < 0) return fail_errno("enabling the ring", -result);
  // With a registered descriptor io_uring_enter saves the look-up and the reference count of the
  // file. Not having it costs only that, so a refusal is no error.
  io_uring_rsrc_update update{};
  update.offset = UINT32_MAX;
  update.data = static_cast<uint64_t>(fd());
  if (io_uring_register(static_cast<unsigned>(fd()), IORING_REGISTER_RING_FDS, &update, 1) == 1) {
    enter_fd_ = static_cast<int>(update.offset);
    enter_flags_ = IORING_ENTER_REGISTERED_RING;
  }
  return {};
}

int Ring::enter(uint32_t wait_count, Duration timeout) {
  __kernel_timespec at{};
  io_uring_getevents_arg arg{};
  if (wait_count > 0 && timeout.ns >= 0) {
    at.tv_sec = timeout.s();
    at.tv_nsec = timeout.ns % 1'000'000'000;
    arg.ts = reinterpret_cast<uint64_t>(&at);
  }
  // Pairs with the kernel's acquire load of the tail: the entries are whole before it moves.
  std::atomic_ref(*sq_tail_shared_).store(sq_tail_, std::memory_order_release);
  ++enter_calls_;
  const uint32_t to_submit = sq_tail_ - sq_submitted_;
  const int result = io_uring_enter2(static_cast<unsigned>(enter_fd_), to_submit, wait_count,
                                     IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG | enter_flags_,
                                     reinterpret_cast<sigset_t*>(&arg), sizeof arg);
  if (result < 0) return result;
  sq_submitted_ += static_cast<uint32_t>(result);
  return 0;
}

void Ring::submit_full_queue(uint32_t wanted) {
  while (sq_tail_ - sq_head() > sq_entries_ - wanted) {
    // -EAGAIN and -EBUSY pass: the kernel is short of memory or of completion slots for a moment.
    const int result = enter(0, {});
    ASSERT(result == 0 || result == -EINTR || result == -EAGAIN || result == -EBUSY);
  }
}

}  // namespace penstock
