#include "src/tls/key_desk.h"

#include "src/base/doorbell.h"
#include "src/tls/key_request.h"

#include <algorithm>
#include <bit>
#include <climits>
#include <cstring>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace penstock {

Result<KeyDesk> KeyDesk::open(UniqueFd memory, UniqueFd bell) {
  if (Status ok = check_shared_memory(memory.get(), sizeof(KeySegment), "the key channel"); !ok) {
    return std::unexpected(ok.error());
  }
  auto map = SharedMapping::map(memory.get(), sizeof(KeySegment), SharedMapping::Access::READ_WRITE);
  if (!map) return std::unexpected(map.error());
  KeyDesk desk;
  desk.memory_ = std::move(*map);
  desk.bell_ = std::move(bell);
  desk.segment_ = reinterpret_cast<KeySegment*>(desk.memory_.data());
  desk.again_ = std::make_unique<std::atomic<bool>>(false);
  // What the keyd before answered last; the server only spoils its own slots by writing other numbers there.
  for (uint32_t slot = 0; slot < KEY_SLOTS; ++slot) {
    desk.done_[slot] = desk.segment_->slots[slot].answered.load(std::memory_order_relaxed);
  }
  // It may have died between an answer and its bit, or between a request and its answer.
  desk.segment_->replied.fetch_or(~uint64_t{0}, std::memory_order_release);
  (void)ring_bell(desk.bell_.get());
  desk.later_ = ~uint64_t{0};
  desk.again_->store(true, std::memory_order_relaxed);
  return desk;
}

void KeyDesk::look_at(uint8_t slot, KeySigner& signer) {
  KeySlot& shared = segment_->slots[slot];
  const uint32_t serial = shared.asked.load(std::memory_order_acquire);
  if (serial == done_[slot]) return;
  KeyRequest request;
  std::memcpy(static_cast<void*>(&request), &shared.request, sizeof request);
  std::atomic_signal_fence(std::memory_order_seq_cst);  // the copy is made here, and not again
  breach_ = key_request_breach(request);
  if (breach_ != nullptr) return;
  KeyReply& reply = shared.reply;
  unsigned char out[SIGNATURE_MAX];
  const auto answer = signer.answer(request, out);
  fruitless_ = 0;
  if (!answer && answer.error().later) {
    later_ |= uint64_t{1} << slot;
    return;
  }
  const size_t size = answer ? *answer : std::min(answer.error().detail.size(), KEY_DETAIL_MAX);
  reply.status = answer ? KeyStatus::OK : answer.error().status;
  reply.bytes = static_cast<uint16_t>(size);
  std::memcpy(reply.data, answer ? out : reinterpret_cast<const unsigned char*>(answer.error().detail.data()), size);
  done_[slot] = serial;
  ++answers_;
  shared.answered.store(serial, std::memory_order_release);
  // Who has not collected yet has been told already.
  if (segment_->replied.fetch_or(uint64_t{1} << slot, std::memory_order_acq_rel) == 0) (void)ring_bell(bell_.get());
}

KeyDesk::Turn KeyDesk::serve(KeySigner& signer) {
  uint64_t bits = segment_->requested.exchange(0, std::memory_order_seq_cst);
  if (again_->exchange(false, std::memory_order_acquire)) bits |= std::exchange(later_, 0);
  if (bits == 0) return Turn::IDLE;
  if (++fruitless_ == FRUITLESS_MAX) breach_ = "wakes the key process without end and asks for nothing";
  for (; bits != 0 && breach_ == nullptr; bits &= bits - 1)
    look_at(static_cast<uint8_t>(std::countr_zero(bits)), signer);
  return breach_ == nullptr ? Turn::WORKED : Turn::BREACH;
}

void KeyDesk::wait() {
  const uint32_t bell = segment_->bell.load(std::memory_order_acquire);
  segment_->sleeping.store(1, std::memory_order_seq_cst);
  if (segment_->requested.load(std::memory_order_seq_cst) == 0 && !again_->load(std::memory_order_seq_cst)) {
    ::syscall(SYS_futex, &segment_->bell, FUTEX_WAIT, bell, nullptr, nullptr, 0);
  }
  segment_->sleeping.store(0, std::memory_order_relaxed);
}

void KeyDesk::wake() {
  again_->store(true, std::memory_order_seq_cst);
  segment_->bell.fetch_add(1, std::memory_order_seq_cst);
  ::syscall(SYS_futex, &segment_->bell, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace penstock
