// Invariants: a slot is open from begin() to the worker's END; its head chunk, and the chunks of its list, belong to it
// as long. free_chunks_ >= slots that are free, so that a free slot always finds a chunk for its head. An event's views
// lie in head_copy_ or in arena bytes that release() has not given back.
#include "pool/ring/server_link.h"

#include "src/base/assert.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace penstock {
namespace {

constexpr uint32_t TEXT_BYTES_MAX = 8 * 1'024;  // of a path, a target, a text for the log

// What of a descriptor a kind uses; all else must be zero.
enum Use : uint32_t {
  STATUS = 1 << 0,
  EXCHANGE = 1 << 1,
  NUMBER = 1 << 2,  // credit, ttl_ms
  HEAD = 1 << 3,
  BODY = 1 << 4,
  LENGTH = 1 << 5,
  OFFSET = 1 << 6,
  SERIAL = 1 << 7,
  MAY_END = 1 << 8,
  MUST_END = 1 << 9,
};

// 0: no such kind.
uint32_t used_by(uint8_t kind) {
  switch (kind) {
    case PENSTOCK_READY:
      return STATUS;
    case PENSTOCK_HEAD:
      return STATUS | EXCHANGE | NUMBER | HEAD | BODY | LENGTH | MAY_END;
    case PENSTOCK_DATA:
      return EXCHANGE | BODY | MAY_END;
    case PENSTOCK_FILE:
      return EXCHANGE | BODY | LENGTH | OFFSET | MAY_END;
    case PENSTOCK_ENTRY:
      return EXCHANGE | BODY | MAY_END;
    case PENSTOCK_EXECUTE:
      return EXCHANGE | BODY | MAY_END | MUST_END;
    case PENSTOCK_CONSUMED:
      return EXCHANGE | NUMBER;
    case PENSTOCK_ABORT:
      return EXCHANGE | MAY_END | MUST_END;
    case PENSTOCK_PONG:
      return SERIAL;
    case PENSTOCK_LOG:
      return EXCHANGE | BODY;
    case PENSTOCK_VERDICT:
      return STATUS | EXCHANGE | HEAD | MAY_END | MUST_END;
    default:
      return 0;
  }
}

bool is_clean(const penstock_descriptor& d, uint32_t use) {
  const bool end = (d.flags & PENSTOCK_END) != 0;
  return (d.flags & ~PENSTOCK_END) == 0 && d.reserved0 == 0 && d.reserved1 == 0 && (!end || (use & MAY_END) != 0) &&
         (end || (use & MUST_END) == 0) && (d.status == 0 || (use & STATUS) != 0) &&
         ((d.slot == 0 && d.generation == 0) || (use & EXCHANGE) != 0) && (d.credit == 0 || (use & NUMBER) != 0) &&
         ((d.head_at == 0 && d.head_bytes == 0) || (use & HEAD) != 0) &&
         ((d.body_at == 0 && d.body_bytes == 0) || (use & BODY) != 0) && (d.length == 0 || (use & LENGTH) != 0) &&
         (d.offset == 0 || (use & OFFSET) != 0) && (d.serial == 0 || (use & SERIAL) != 0);
}

}  // namespace

std::string_view violation_sentence(LinkViolation violation) {
  switch (violation) {
#define X(name, sentence)   \
  case LinkViolation::name: \
    return sentence;
#include "pool/ring/violations.def"
#undef X
  }
  return "unknown";
}

ServerLink::ServerLink(const ChannelMemory& memory, uint32_t epoch, const LinkLimits& limits)
    : memory_(memory),
      limits_(limits),
      epoch_(epoch),
      exchanges_(memory.exchanges_max),
      chunk_next_(memory.chunks),
      head_copy_(limits.head_bytes_max + PENSTOCK_POLICY_BYTES),
      fields_(limits.fields_max) {
  ASSERT(epoch > 0 && memory.chunks > memory.exchanges_max);
  for (uint32_t i = memory.exchanges_max; i-- > 0;) {
    exchanges_[i].next_free = free_slot_;
    free_slot_ = i;
  }
  for (uint32_t i = memory.chunks; i-- > 0;) give_chunk(i);
  owing_.reserve(memory.exchanges_max);
  std::memset(memory.cancel, 0, sizeof *memory.cancel);
  std::atomic_ref(memory.server->epoch).store(epoch, std::memory_order_release);
}

// Until the worker has taken up our epoch, what lies in the rings is from and for somebody else.
bool ServerLink::attach() {
  if (down_.has_value()) return true;
  if (std::atomic_ref(memory_.worker->epoch).load(std::memory_order_acquire) != epoch_) return false;
  memory_.server->response_head = std::atomic_ref(memory_.worker->epoch_tail).load(std::memory_order_relaxed);
  down_.emplace(memory_.requests, memory_.entries, &memory_.server->request_tail, &memory_.worker->request_head,
                &memory_.worker->sleeping);
  up_.emplace(memory_.responses, memory_.entries, &memory_.server->response_head, &memory_.worker->response_tail,
              &memory_.server->sleeping);
  return true;
}

bool ServerLink::violate(LinkViolation violation) {
  if (violation_ == LinkViolation::NONE) violation_ = violation;
  return false;
}

uint32_t ServerLink::slot_of(const Exchange& exchange) const {
  return static_cast<uint32_t>(&exchange - exchanges_.data());
}

void ServerLink::give_chunk(uint32_t chunk) {
  chunk_next_[chunk] = free_chunk_;
  free_chunk_ = chunk;
  ++free_chunks_;
}

uint32_t ServerLink::take_chunk() {
  --free_chunks_;
  return std::exchange(free_chunk_, chunk_next_[free_chunk_]);
}

// The oldest chunk of the exchange's body is free again.
void ServerLink::give_body_chunk(Exchange& exchange) {
  give_chunk(std::exchange(exchange.first_chunk, chunk_next_[exchange.first_chunk]));
  --exchange.chunks;
}

bool ServerLink::is_open(Handle handle) const {
  return handle.index < exchanges_.size() && exchanges_[handle.index].open &&
         exchanges_[handle.index].generation == handle.generation;
}

penstock_descriptor ServerLink::descriptor(uint8_t kind, const Exchange& exchange) const {
  penstock_descriptor to{};
  to.kind = kind;
  to.slot = static_cast<uint16_t>(slot_of(exchange));
  to.generation = exchange.generation;
  to.serial = exchange.serial;
  return to;
}

// --- down -----------------------------------------------------------------------------------

std::span<char> ServerLink::request_room() {
  if (!ready() || free_slot_ == NONE || down_->room() == 0) return {};
  unsigned char* const chunk = memory_.server_arena + size_t{free_chunk_} * memory_.chunk_bytes;
  return {reinterpret_cast<char*>(chunk), memory_.chunk_bytes};
}

Handle ServerLink::begin(const RequestFrame& frame) {
  ASSERT(free_slot_ != NONE && free_chunk_ != NONE && down_->room() > 0);
  ASSERT(uint64_t{frame.head_bytes} + frame.body_bytes <= memory_.chunk_bytes);
  const bool filters = frame.kind != PENSTOCK_REQUEST;
  ASSERT(!filters || (version_ >= 3 && frame.end));
  const uint32_t slot = free_slot_;
  Exchange& exchange = exchanges_[slot];
  const uint32_t chunk = take_chunk();
  free_slot_ = exchange.next_free;
  ++open_;
  exchange = Exchange{.serial = frame.serial,
                      .generation = exchange.generation + 1,
                      .head_chunk = chunk,
                      .window = limits_.window_bytes,
                      .open = true,
                      .owing = exchange.owing,
                      .body_sent = frame.end,
                      .wants_body = frame.wants_body,
                      .filter = filters ? static_cast<uint8_t>(frame.kind) : uint8_t{0}};
  penstock_descriptor to = descriptor(static_cast<uint8_t>(frame.kind), exchange);
  to.status = frame.status;
  to.offset = frame.offset;
  to.flags = frame.end ? PENSTOCK_END : 0;
  to.credit = exchange.window;
  to.head_at = chunk * memory_.chunk_bytes;
  to.head_bytes = frame.head_bytes;
  to.body_at = to.head_at + frame.head_bytes;
  to.body_bytes = frame.body_bytes;
  to.length = frame.length;
  down_->put(to);
  return {slot, exchange.generation};
}

size_t ServerLink::send_body(Handle handle, std::string_view bytes, bool end) {
  ASSERT(is_open(handle));
  Exchange& exchange = exchanges_[handle.index];
  ASSERT(!exchange.body_sent);
  const uint32_t reserved = memory_.exchanges_max - open_;  // heads of exchanges that may still come
  if (violation_ != LinkViolation::NONE || exchange.cancelled || free_chunks_ <= reserved ||
      exchange.chunks >= limits_.upload_chunks_max || down_->room() == 0) {
    return 0;
  }
  const uint32_t chunk = take_chunk();
  chunk_next_[chunk] = NONE;
  (exchange.first_chunk == NONE ? exchange.first_chunk : chunk_next_[exchange.last_chunk]) = chunk;
  exchange.last_chunk = chunk;
  ++exchange.chunks;
  const size_t taken = std::min<size_t>(bytes.size(), memory_.chunk_bytes);
  std::ranges::copy(bytes.substr(0, taken), memory_.server_arena + size_t{chunk} * memory_.chunk_bytes);
  exchange.body_sent = end && taken == bytes.size();
  penstock_descriptor to = descriptor(PENSTOCK_BODY, exchange);
  to.flags = exchange.body_sent ? PENSTOCK_END : 0;
  to.body_at = chunk * memory_.chunk_bytes;
  to.body_bytes = static_cast<uint32_t>(taken);
  down_->put(to);
  return taken;
}

void ServerLink::grant(Handle handle, uint32_t bytes) {
  ASSERT(is_open(handle));
  Exchange& exchange = exchanges_[handle.index];
  exchange.owed += bytes;
  // In portions: a worker that has most of its window left does not have to be told of each byte.
  if (exchange.owed >= limits_.window_bytes / 4) settle_or_owe(exchange);
}

void ServerLink::cancel(Handle handle, penstock_cancel_reason reason) {
  ASSERT(is_open(handle));
  Exchange& exchange = exchanges_[handle.index];
  if (exchange.cancelled) return;
  exchange.cancelled = exchange.cancel_owed = true;
  exchange.cancel_reason = static_cast<uint16_t>(reason);
  std::atomic_ref(memory_.cancel->cancelled[handle.index]).store(handle.generation, std::memory_order_relaxed);
  settle_or_owe(exchange);
}

void ServerLink::settle_or_owe(Exchange& exchange) {
  if (exchange.owing || settle(exchange)) return;
  exchange.owing = true;
  owing_.push_back(slot_of(exchange));
}

bool ServerLink::settle(Exchange& exchange) {
  if (exchange.cancel_owed && down_->room() > 0) {
    exchange.cancel_owed = false;
    penstock_descriptor to = descriptor(PENSTOCK_CANCEL, exchange);
    to.status = exchange.cancel_reason;
    down_->put(to);
  }
  if (exchange.owed > 0 && !exchange.cancelled && down_->room() > 0) {
    penstock_descriptor to = descriptor(PENSTOCK_CREDIT, exchange);
    to.credit = exchange.owed;
    exchange.window += exchange.owed;
    exchange.owed = 0;
    down_->put(to);
  }
  return !exchange.cancel_owed && (exchange.owed < limits_.window_bytes / 4 || exchange.cancelled);
}

bool ServerLink::ping(uint64_t serial) { return tell(PENSTOCK_PING, serial); }
bool ServerLink::stop() { return tell(PENSTOCK_STOP, 0); }

bool ServerLink::tell(uint8_t kind, uint64_t serial) {
  if (!ready() || down_->room() == 0) return false;
  penstock_descriptor to{};
  to.kind = kind;
  to.serial = serial;
  down_->put(to);
  return true;
}

bool ServerLink::flush() {
  if (violation_ != LinkViolation::NONE) return false;
  // It may have gone to sleep before there was any epoch to see.
  if (!attach()) return !std::exchange(announced_, true);
  std::erase_if(owing_, [this](uint32_t slot) {
    Exchange& exchange = exchanges_[slot];
    exchange.owing = exchange.open && !settle(exchange);
    return !exchange.owing;
  });
  if (down_->broken()) {
    (void)violate(LinkViolation::INDEX);
    return false;
  }
  const bool said = down_->publish();
  if (!made_room_) return said;
  made_room_ = false;
  // Pairs with WorkerLink::starve(): the head was stored before this fence, the flag is read after it.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return said || std::atomic_ref(memory_.worker->starving).load(std::memory_order_relaxed) != 0;
}

// --- up -------------------------------------------------------------------------------------

bool ServerLink::may_sleep() {
  if (violation_ != LinkViolation::NONE) return true;
  if (attach()) return up_->may_sleep();
  // Its first word is a new epoch, and READY behind it: the doorbell tells.
  raise_flag(memory_.server->sleeping);
  return std::atomic_ref(memory_.worker->epoch).load(std::memory_order_relaxed) != epoch_;
}

void ServerLink::awake() { lower_flag(memory_.server->sleeping); }

bool ServerLink::next(LinkEvent& event) {
  while (violation_ == LinkViolation::NONE && attach()) {
    const bool some = up_->available() > 0;
    // What the last events named has been used. Not at each of them: the worker watches that word.
    if (taken_ > 0 && (!some || taken_ >= memory_.entries / 4 || taken_bytes_ >= memory_.arena_bytes / 4)) {
      up_->release();
      made_room_ = true;
      taken_ = 0;
      taken_bytes_ = 0;
    }
    if (up_->broken()) return violate(LinkViolation::INDEX);
    if (!some) return false;
    const penstock_descriptor from = up_->take();
    ++taken_;
    event = LinkEvent{};
    const uint32_t use = used_by(from.kind);
    if (use == 0) return violate(LinkViolation::KIND);
    if (!is_clean(from, use)) return violate(LinkViolation::RESERVED);
    if (!in_arena(from.head_at, from.head_bytes) || !in_arena(from.body_at, from.body_bytes)) {
      return violate(LinkViolation::RANGE);
    }
    taken_bytes_ += uint64_t{from.head_bytes} + from.body_bytes;
    if ((use & EXCHANGE) == 0) {
      event.serial = from.serial;
      if (from.kind == PENSTOCK_READY) return understand_ready(from);
      event.kind = LinkEvent::Kind::PONG;
      return true;
    }
    Exchange* const exchange = find(from);
    if (exchange == nullptr) return violate(LinkViolation::EXCHANGE);
    event.exchange = {from.slot, from.generation};
    event.serial = exchange->serial;
    event.end = (from.flags & PENSTOCK_END) != 0;
    event.body = {reinterpret_cast<const char*>(memory_.worker_arena) + from.body_at, from.body_bytes};
    if (!understand_exchange(from, *exchange, event)) return false;
    const bool cancelled = exchange->cancelled;
    if (event.end && !take_end(*exchange, event)) return false;
    if (!cancelled) return true;
    if (event.end) {
      event.kind = LinkEvent::Kind::ENDED;
      return true;
    }
  }
  return false;
}

ServerLink::Exchange* ServerLink::find(const penstock_descriptor& from) {
  return is_open({from.slot, from.generation}) ? &exchanges_[from.slot] : nullptr;
}

bool ServerLink::in_arena(uint32_t at, uint32_t bytes) const {
  return at <= memory_.arena_bytes && bytes <= memory_.arena_bytes - at;
}

bool ServerLink::understand_ready(const penstock_descriptor& from) {
  if (ready_) return violate(LinkViolation::ORDER);
  version_ = from.status;
  if (from.status < PENSTOCK_ABI_VERSION_MIN || from.status > memory_.version_max) {
    return violate(LinkViolation::VERSION);
  }
  ready_ = true;
  return true;
}

bool ServerLink::understand_exchange(const penstock_descriptor& from, Exchange& exchange, LinkEvent& event) {
  // Only of a request that is not answered yet a filter may do that by itself; and what it wants served instead it says
  // in its verdict.
  const bool answers = from.kind == PENSTOCK_HEAD || from.kind == PENSTOCK_EXECUTE;
  if (answers && exchange.filter != 0 && (exchange.filter != PENSTOCK_FILTER_REQUEST || from.kind != PENSTOCK_HEAD)) {
    return violate(LinkViolation::ORDER);
  }
  switch (from.kind) {
    case PENSTOCK_VERDICT:
      return understand_verdict(from, exchange, event);
    case PENSTOCK_HEAD:
      return understand_head(from, exchange, event);
    case PENSTOCK_DATA:
    case PENSTOCK_FILE:
    case PENSTOCK_ENTRY:
      return understand_body(from, exchange, event);
    case PENSTOCK_CONSUMED:
      event.kind = LinkEvent::Kind::CONSUMED;
      return understand_consumed(from, exchange);
    case PENSTOCK_ABORT:
      event.kind = LinkEvent::Kind::ABORTED;
      return true;
    case PENSTOCK_EXECUTE:
      event.kind = LinkEvent::Kind::EXECUTE;
      if (exchange.has_head) return violate(LinkViolation::ORDER);
      return from.body_bytes > 0 && from.body_bytes <= TEXT_BYTES_MAX ? true : violate(LinkViolation::RANGE);
    default:
      event.kind = LinkEvent::Kind::LOG;
      return from.body_bytes <= TEXT_BYTES_MAX ? true : violate(LinkViolation::RANGE);
  }
}

bool ServerLink::understand_head(const penstock_descriptor& from, Exchange& exchange, LinkEvent& event) {
  if (exchange.has_head) return violate(LinkViolation::ORDER);
  if (from.status < 200 || from.status > 599) return violate(LinkViolation::STATUS);
  if (!copy_head(from, event)) return violate(LinkViolation::HEAD);
  exchange.has_head = true;
  exchange.bodyless = from.status == 204 || from.status == 304;
  exchange.knows_length = from.length != PENSTOCK_LENGTH_UNKNOWN && !exchange.bodyless;
  exchange.body_left = from.length;
  event.kind = LinkEvent::Kind::HEAD;
  event.status = from.status;
  event.ttl_ms = from.ttl_ms;
  event.length = from.length;
  return count_body(exchange, from.body_bytes);
}

bool ServerLink::understand_body(const penstock_descriptor& from, Exchange& exchange, LinkEvent& event) {
  if (!exchange.has_head) return violate(LinkViolation::ORDER);
  event.length = from.length;
  event.offset = from.offset;
  if (from.kind == PENSTOCK_DATA) {
    event.kind = LinkEvent::Kind::DATA;
    return count_body(exchange, from.body_bytes);
  }
  event.kind = from.kind == PENSTOCK_FILE ? LinkEvent::Kind::FILE : LinkEvent::Kind::ENTRY;
  if (exchange.bodyless) return violate(LinkViolation::STATUS);
  if (from.body_bytes == 0 || from.body_bytes > TEXT_BYTES_MAX) return violate(LinkViolation::RANGE);
  // How long the part is shows when it is opened: who delivers it counts.
  exchange.knows_length = false;
  return true;
}

bool ServerLink::count_body(Exchange& exchange, uint64_t bytes) {
  if (bytes == 0) return true;
  if (exchange.bodyless) return violate(LinkViolation::STATUS);
  if (bytes > exchange.window) return violate(LinkViolation::WINDOW);
  exchange.window -= static_cast<uint32_t>(bytes);
  if (!exchange.knows_length) return true;
  if (bytes > exchange.body_left) return violate(LinkViolation::LENGTH);
  exchange.body_left -= bytes;
  return true;
}

bool ServerLink::understand_consumed(const penstock_descriptor& from, Exchange& exchange) {
  if (from.credit == 0 || from.credit > exchange.chunks) return violate(LinkViolation::CREDIT);
  for (uint32_t i = 0; i < from.credit; ++i) give_body_chunk(exchange);
  return true;
}

// A whole answer has a head, and as many bytes as it announced.
bool ServerLink::take_end(Exchange& exchange, LinkEvent& event) {
  const bool whole = event.kind != LinkEvent::Kind::ABORTED && event.kind != LinkEvent::Kind::EXECUTE &&
                     event.kind != LinkEvent::Kind::VERDICT;
  if (whole && exchange.wants_body && exchange.knows_length && exchange.body_left > 0) {
    return violate(LinkViolation::LENGTH);
  }
  end_exchange(exchange);
  return true;
}

void ServerLink::end_exchange(Exchange& exchange) {
  give_chunk(exchange.head_chunk);
  while (exchange.first_chunk != NONE) give_body_chunk(exchange);
  exchange.open = false;
  exchange.next_free = free_slot_;
  free_slot_ = slot_of(exchange);
  --open_;
}

}  // namespace penstock
