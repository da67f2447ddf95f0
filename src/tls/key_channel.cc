// Invariants: a slot is free (its bit in free_), or owned by a wait that is SENT or ANSWERED, or it waits for the
// answer to a request that was cancelled (owner nullptr). Somebody is queued only while no slot is free.
#include "src/tls/key_channel.h"

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/doorbell.h"
#include "src/base/hash.h"

#include <algorithm>
#include <bit>
#include <climits>
#include <cstring>
#include <linux/futex.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace penstock {
namespace {

constexpr uint64_t FILE_SEED = 0x6b657966696c65;  // any; the same in every process

constexpr std::string_view STATUS_SENTENCES[] = {
#define PENSTOCK_KEY_STATUS(name, number, sentence) sentence,
#include "src/tls/key_status.def"
#undef PENSTOCK_KEY_STATUS
};

constexpr uint64_t bit(uint8_t slot) { return uint64_t{1} << slot; }

// Wakes keyd if it sleeps. Pairs with KeyDesk::wait(): either it sees the slot's bit before it sleeps, or we see that
// it sleeps; both sides are sequentially consistent there.
void ring(KeySegment& segment) {
  if (segment.sleeping.load(std::memory_order_seq_cst) == 0) return;
  if (segment.sleeping.exchange(0, std::memory_order_seq_cst) == 0) return;
  segment.bell.fetch_add(1, std::memory_order_release);
  ::syscall(SYS_futex, &segment.bell, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace

Result<KeyChannelEnds> create_key_channel() {
  KeyChannelEnds ends;
  auto memory = create_shared_memory("penstock-keys", sizeof(KeySegment));
  if (!memory) return std::unexpected(memory.error());
  ends.memory = std::move(*memory);
  const uint64_t magic = KeySegment::MAGIC;
  if (::pwrite(ends.memory.get(), &magic, sizeof magic, offsetof(KeySegment, magic)) != sizeof magic) {
    return fail_errno("write penstock-keys");
  }
  auto bed = make_bed();
  if (!bed) return std::unexpected(bed.error());
  auto bell = make_bell();
  if (!bell) return std::unexpected(bell.error());
  if (Status hung = hang_bell(*bell, {bed->get()}); !hung) return std::unexpected(hung.error());
  ends.bed = std::move(*bed);
  ends.bell = std::move(*bell);
  return ends;
}

uint64_t key_file_id(std::string_view path) { return hash_bytes(path, FILE_SEED); }

std::string key_status_text(const std::string& file, KeyStatus status, std::string_view detail) {
  const size_t number = std::min(static_cast<size_t>(status), std::size(STATUS_SENTENCES) - 1);
  std::string text = "key file " + file + " " + std::string(STATUS_SENTENCES[number]);
  if (!detail.empty()) text += " (" + std::string(detail) + ")";
  return text;
}

KeyWait::~KeyWait() { ASSERT(!waiting()); }

bool KeyWait::begin(const KeyRequest& request) {
  if (channel_ == nullptr) return false;
  ASSERT(state_ == State::IDLE);
  request_ = &request;
  status_ = KeyStatus::OK;
  overloaded_ = false;
  return channel_->begin(*this);
}

void KeyWait::cancel() {
  switch (state_) {
    case State::QUEUED:
      channel_->unqueue(*this);
      break;
    case State::SENT:
      channel_->owners_[slot_] = nullptr;  // freed by its answer
      break;
    case State::ANSWERED:
      channel_->free_slot(slot_);
      channel_->send_queued();
      break;
    case State::IDLE:
      break;
  }
  request_ = nullptr;
  state_ = State::IDLE;
}

size_t KeyWait::take(std::span<unsigned char> out) {
  if (state_ != State::ANSWERED) return 0;
  const KeyReply& reply = channel_->segment_->slots[slot_].reply;
  status_ = reply.status;
  size_t size = reply.bytes;
  std::atomic_signal_fence(std::memory_order_seq_cst);  // both are read here, and not again
  if (size > sizeof reply.data || (status_ == KeyStatus::OK && size > out.size())) {  // keyd never says so
    status_ = KeyStatus::FAILED;
    size = 0;
  }
  size = std::min(size, out.size());
  std::memcpy(out.data(), reply.data, size);
  cancel();
  return size;
}

Status KeyChannel::open(UniqueFd memory, UniqueFd bed) {
  ASSERT(segment_ == nullptr);
  if (Status ok = check_shared_memory(memory.get(), sizeof(KeySegment), "the key channel"); !ok) return ok;
  auto map = SharedMapping::map(memory.get(), sizeof(KeySegment), SharedMapping::Access::READ_WRITE);
  if (!map) return std::unexpected(map.error());
  memory_ = std::move(*map);
  bed_ = std::move(bed);
  segment_ = reinterpret_cast<KeySegment*>(memory_.data());
  if (segment_->magic != KeySegment::MAGIC) return fail("the key channel has another layout");
  return {};
}

bool KeyChannel::begin(KeyWait& wait) {
  if (segment_ == nullptr) return false;
  if (free_ != 0) {
    send(wait);
    return true;
  }
  if (queued_ == WAITING_MAX) {
    ++overloaded_;
    wait.overloaded_ = true;
    return false;
  }
  wait.before_ = last_;
  wait.after_ = nullptr;
  (last_ != nullptr ? last_->after_ : first_) = &wait;
  last_ = &wait;
  ++queued_;
  wait.state_ = KeyWait::State::QUEUED;
  return true;
}

void KeyChannel::unqueue(KeyWait& wait) {
  (wait.before_ != nullptr ? wait.before_->after_ : first_) = wait.after_;
  (wait.after_ != nullptr ? wait.after_->before_ : last_) = wait.before_;
  --queued_;
}

void KeyChannel::send(KeyWait& wait) {
  const auto slot = static_cast<uint8_t>(std::countr_zero(free_));
  free_ &= ~bit(slot);
  ++in_slots_;
  owners_[slot] = &wait;
  wait.slot_ = slot;
  wait.state_ = KeyWait::State::SENT;
  KeySlot& shared = segment_->slots[slot];
  shared.request = *wait.request_;
  shared.asked.store(++serials_[slot], std::memory_order_release);
  segment_->requested.fetch_or(bit(slot), std::memory_order_seq_cst);
  ring(*segment_);
}

void KeyChannel::free_slot(uint8_t slot) {
  owners_[slot] = nullptr;
  free_ |= bit(slot);
  --in_slots_;
}

void KeyChannel::send_queued() {
  while (free_ != 0 && first_ != nullptr) {
    KeyWait& next = *first_;
    unqueue(next);
    send(next);
  }
}

size_t KeyChannel::collect(std::span<uint64_t, KEY_SLOTS> tokens) {
  if (segment_ == nullptr) return 0;
  uint64_t bits = segment_->replied.exchange(0, std::memory_order_acquire) & ~free_;
  size_t count = 0;
  for (; bits != 0; bits &= bits - 1) {
    const auto slot = static_cast<uint8_t>(std::countr_zero(bits));
    if (segment_->slots[slot].answered.load(std::memory_order_acquire) != serials_[slot]) continue;
    KeyWait* wait = owners_[slot];
    if (wait == nullptr) {
      free_slot(slot);
    } else if (wait->state_ == KeyWait::State::SENT) {
      wait->state_ = KeyWait::State::ANSWERED;
      tokens[count++] = wait->token_;
    }
  }
  send_queued();
  return count;
}

Status check_key(KeyChannel& channel, const KeyName& key, const std::string& file, Duration patience) {
  RealClock clock;
  const MonoTime until = clock.now() + patience;
  KeyRequest request;
  request.key = key;
  request.order = KeyOrder::PROBE;
  KeyWait wait;
  wait.bind(channel, 0);
  if (!wait.begin(request)) return fail("key file " + file + " cannot be checked: too many others are being checked");
  std::array<uint64_t, KEY_SLOTS> tokens{};
  while (wait.waiting()) {
    const Duration left = until - clock.now();
    if (left.ns <= 0) {
      wait.cancel();
      return fail("key file " + file + " cannot be checked: the key process does not answer");
    }
    pollfd poll{.fd = channel.wake_fd(), .events = POLLIN, .revents = 0};
    (void)::poll(&poll, 1, static_cast<int>(std::min<int64_t>(left.ms() + 1, 1000)));
    empty_bed(channel.wake_fd());
    (void)channel.collect(tokens);
  }
  std::array<unsigned char, KEY_DETAIL_MAX> detail{};
  const size_t size = wait.take(detail);
  if (wait.status() == KeyStatus::OK) return {};
  return fail(key_status_text(file, wait.status(), {reinterpret_cast<const char*>(detail.data()), size}));
}

}  // namespace penstock
