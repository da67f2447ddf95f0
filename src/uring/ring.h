// Ring: one io_uring instance, thin: set-up with fallback, entries out, completions in. No policy.
//
// Owned by one reactor. open() may run in any thread; the thread that calls start() is the ring's
// single issuer from then on. Between the two the ring is disabled, which is when restrictions,
// files and buffers are registered. Never blocks but in enter(), never allocates after open().
//
// Uses liburing for its constants, its io_uring_prep_* helpers and its system-call wrappers. The
// queues are mapped and walked here: Debian 12's liburing knows neither rings without an index
// array nor counts what it submits.
#pragma once

#include "src/base/assert.h"
#include "src/base/result.h"
#include "src/base/time.h"
#include "src/base/unique_fd.h"
#include "src/uring/kernel.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

namespace penstock {

struct RingOptions {
  uint32_t sq_entries = 1'024;
  uint32_t cq_entries = 4'096;
  // Where the sysctl that forbids io_uring is read, to word the refusal; tests point it elsewhere.
  const char* disabled_sysctl_path = "/proc/sys/kernel/io_uring_disabled";
};

// A completion entry; layout of struct io_uring_cqe, whose flexible tail C++ does not know.
struct Completion {
  uint64_t user_data;
  int32_t res;
  uint32_t flags;
};
static_assert(sizeof(Completion) == sizeof(io_uring_cqe));

class Ring {
 public:
  // Sets up a disabled ring with the best flags this kernel takes. The error says which way io_uring
  // was refused, in words for an operator, with the errno.
  [[nodiscard]] static Result<std::unique_ptr<Ring>> open(const RingOptions& options);
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  ~Ring();

  // Whether the kernel knows the opcode, respectively set the feature bit.
  [[nodiscard]] bool supports(uint8_t opcode) const { return opcode < 64 && ((opcodes_ >> opcode) & 1) != 0; }
  [[nodiscard]] bool has_feature(uint32_t feature) const { return (params_.features & feature) != 0; }
  [[nodiscard]] uint32_t setup_flags() const { return params_.flags; }
  [[nodiscard]] int fd() const { return fd_.get(); }

  // Before start(): an empty table of `count` direct descriptors.
  [[nodiscard]] Status register_sparse_files(uint32_t count);
  // Before start(): from then on the ring takes only these opcodes with these entry flags
  // (IOSQE_…), and no registrations but that of its own descriptor.
  [[nodiscard]] Status restrict_to(std::span<const uint8_t> opcodes, uint8_t sqe_flags);
  // Enables the ring and makes the calling thread its issuer. Call once.
  [[nodiscard]] Status start();

  // A zeroed entry, to be filled before the next call of sqe() or enter(). When the queue is full
  // what is queued is submitted first (one system call).
  [[nodiscard]] io_uring_sqe* sqe() {
    keep_together(1);
    io_uring_sqe* entry = &sqes_[sq_tail_ & sq_mask_];
    if (sq_array_ != nullptr) sq_array_[sq_tail_ & sq_mask_] = sq_tail_ & sq_mask_;
    ++sq_tail_;
    *entry = io_uring_sqe{};
    return entry;
  }
  [[nodiscard]] uint32_t queued() const { return sq_tail_ - sq_submitted_; }
  // The next `count` entries go in with one submission, as those must that are linked (IOSQE_IO_LINK).
  void keep_together(uint32_t count) {
    if (sq_tail_ - sq_head() > sq_entries_ - count) submit_full_queue(count);
  }

  // One io_uring_enter: submits all that is queued, runs deferred work, and waits for at least
  // `wait_count` completions or `timeout` (negative: for ever). Returns 0 or -errno; -ETIME and
  // -EINTR are ordinary.
  int enter(uint32_t wait_count, Duration timeout);

  // Completions ready to be read. peek(i) for i < ready(); advance(n) gives n slots back.
  [[nodiscard]] uint32_t ready() const {
    // Pairs with the kernel's release store of the tail after it wrote the entries.
    return std::atomic_ref(*cq_tail_).load(std::memory_order_acquire) - cq_head_local_;
  }
  [[nodiscard]] const Completion& peek(uint32_t i) const { return cqes_[(cq_head_local_ + i) & cq_mask_]; }
  void advance(uint32_t count) {
    cq_head_local_ += count;
    // Pairs with the kernel's acquire load: it may overwrite the slots from here on.
    std::atomic_ref(*cq_head_).store(cq_head_local_, std::memory_order_release);
  }
  // The kernel has something to finish in the next enter(), completions most likely: seen in shared memory, without a
  // call.
  [[nodiscard]] bool has_task_work() const {
    return (std::atomic_ref(*sq_flags_).load(std::memory_order_relaxed) & IORING_SQ_TASKRUN) != 0;
  }
  // The kernel had to set completions aside; the next enter() brings them in.
  [[nodiscard]] bool overflowed() const {
    return (std::atomic_ref(*sq_flags_).load(std::memory_order_relaxed) & IORING_SQ_CQ_OVERFLOW) != 0;
  }

  [[nodiscard]] uint64_t enter_calls() const { return enter_calls_; }

 private:
  Ring() = default;
  [[nodiscard]] int set_up(const RingOptions& options);
  [[nodiscard]] int map();
  [[nodiscard]] int probe();
  void submit_full_queue(uint32_t wanted);
  [[nodiscard]] uint32_t sq_head() const { return std::atomic_ref(*sq_head_).load(std::memory_order_acquire); }

  // Read and written by every entry or completion.
  io_uring_sqe* sqes_ = nullptr;
  Completion* cqes_ = nullptr;
  uint32_t* sq_array_ = nullptr;  // nullptr with NO_SQARRAY
  uint32_t* sq_head_ = nullptr;
  uint32_t* sq_tail_shared_ = nullptr;
  uint32_t* sq_flags_ = nullptr;
  uint32_t* cq_head_ = nullptr;
  uint32_t* cq_tail_ = nullptr;
  uint32_t sq_tail_ = 0;
  uint32_t sq_submitted_ = 0;
  uint32_t sq_entries_ = 0;
  uint32_t sq_mask_ = 0;
  uint32_t cq_head_local_ = 0;
  uint32_t cq_mask_ = 0;
  uint64_t enter_calls_ = 0;
  int enter_fd_ = -1;  // the registered index of the ring, or its descriptor
  uint32_t enter_flags_ = 0;

  UniqueFd fd_;
  io_uring_params params_{};
  uint64_t opcodes_ = 0;
  void* rings_ = nullptr;
  size_t rings_bytes_ = 0;
  size_t sqes_bytes_ = 0;
};

// The sentence for a refusal of io_uring_setup (or of a call that must follow it) with `code`.
[[nodiscard]] Error uring_refusal(int code, const char* call, const char* disabled_sysctl_path);

}  // namespace penstock
