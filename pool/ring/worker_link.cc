// Invariant: arena bytes [arena_free_, arena_next_) are named by descriptors that the server has not consumed;
// arena_next_ - arena_free_ <= arena_bytes. No piece wraps around: the rest of a turn that is too short is skipped.
#include "pool/ring/worker_link.h"

#include "src/base/assert.h"

#include <algorithm>
#include <cstring>

namespace penstock {
namespace {

penstock_descriptor descriptor_of(uint8_t kind, Handle exchange, bool end) {
  penstock_descriptor to{};
  to.kind = kind;
  to.flags = end ? PENSTOCK_END : 0;
  to.slot = static_cast<uint16_t>(exchange.index);
  to.generation = exchange.generation;
  return to;
}

size_t aligned(size_t bytes) { return (bytes + 7) & ~size_t{7}; }

size_t policy_bytes(const WorkerPolicy& policy) {
  return sizeof(penstock_policy) + (policy.vary.size() + policy.tags.size()) * sizeof(penstock_text);
}

size_t head_bytes(const WorkerHead& head) {
  size_t bytes = sizeof(penstock_response_head) + head.fields.size() * sizeof(penstock_field);
  for (const auto& [name, value] : head.fields) bytes += name.size() + value.size() + 2;
  if (head.policy == nullptr) return bytes;
  for (const std::string_view name : head.policy->vary) bytes += name.size() + 1;
  for (const std::string_view tag : head.policy->tags) bytes += tag.size() + 1;
  return bytes + policy_bytes(*head.policy);
}

// The block of pool/abi: header, fields, policy, texts.
void write_head(const WorkerHead& head, size_t bytes, char* to) {
  const size_t policy_at = sizeof(penstock_response_head) + head.fields.size() * sizeof(penstock_field);
  const penstock_response_head block{.bytes = static_cast<uint32_t>(bytes),
                                     .field_count = static_cast<uint32_t>(head.fields.size()),
                                     .fields_at = sizeof(penstock_response_head),
                                     .policy_at = head.policy != nullptr ? static_cast<uint32_t>(policy_at) : 0};
  std::memcpy(to, &block, sizeof block);
  size_t field_at = sizeof block;
  size_t text_at = policy_at + (head.policy != nullptr ? policy_bytes(*head.policy) : 0);
  const auto put_text = [&](std::string_view text) {
    const penstock_text placed{.at = static_cast<uint32_t>(text_at), .bytes = static_cast<uint32_t>(text.size())};
    std::ranges::copy(text, to + text_at);
    to[text_at + text.size()] = '\0';
    text_at += text.size() + 1;
    return placed;
  };
  for (const auto& [name, value] : head.fields) {
    const penstock_field field{.name = put_text(name), .value = put_text(value)};
    std::memcpy(to + field_at, &field, sizeof field);
    field_at += sizeof field;
  }
  if (head.policy == nullptr) return;
  const WorkerPolicy& says = *head.policy;
  const penstock_policy policy{.flags = says.never ? uint32_t{PENSTOCK_POLICY_NEVER} : 0,
                               .revalidate_ms = says.revalidate_ms,
                               .error_ms = says.error_ms,
                               .vary_count = static_cast<uint16_t>(says.vary.size()),
                               .tag_count = static_cast<uint16_t>(says.tags.size()),
                               .texts_at = static_cast<uint32_t>(policy_at + sizeof(penstock_policy)),
                               .reserved = 0};
  std::memcpy(to + policy_at, &policy, sizeof policy);
  size_t name_at = policy.texts_at;
  for (const std::span<const std::string_view> texts : {says.vary, says.tags}) {
    for (const std::string_view text : texts) {
      const penstock_text placed = put_text(text);
      std::memcpy(to + name_at, &placed, sizeof placed);
      name_at += sizeof placed;
    }
  }
}

}  // namespace

WorkerLink::WorkerLink(const ChannelMemory& memory, uint32_t version_max)
    : memory_(memory),
      version_(std::min(memory.version_max, version_max)),
      exchanges_(memory.exchanges_max),
      arena_end_(memory.entries) {}

void WorkerLink::take_up(uint32_t epoch) {
  epoch_ = epoch;
  for (Exchange& exchange : exchanges_) exchange.open = false;
  // The requests of another epoch are nobody's; so is what we had answered.
  memory_.worker->request_head = std::atomic_ref(memory_.server->request_tail).load(std::memory_order_acquire);
  down_.emplace(memory_.requests, memory_.entries, &memory_.worker->request_head, &memory_.server->request_tail,
                &memory_.worker->sleeping);
  up_.emplace(memory_.responses, memory_.entries, &memory_.worker->response_tail, &memory_.server->response_head,
              &memory_.server->sleeping);
  seen_consumed_ = up_->produced();
  arena_free_ = arena_next_ = 0;
  penstock_descriptor ready{};
  ready.kind = PENSTOCK_READY;
  ready.status = static_cast<uint16_t>(version_);
  std::atomic_ref(memory_.worker->epoch_tail).store(up_->produced(), std::memory_order_relaxed);
  std::atomic_ref(memory_.worker->epoch).store(epoch, std::memory_order_release);
  put(ready);
}

bool WorkerLink::next(WorkerEvent& event) {
  const uint32_t epoch = std::atomic_ref(memory_.server->epoch).load(std::memory_order_acquire);
  if (epoch != epoch_) {
    event = WorkerEvent{};
    take_up(epoch);
    return true;
  }
  if (!down_.has_value()) return false;
  for (;;) {
    if (down_->drained()) down_->release();
    if (down_->available() == 0) return false;
    if (understand(down_->take(), event)) return true;
  }
}

// False: of an exchange that has ended meanwhile, or of a kind that only a newer server knows.
bool WorkerLink::understand(const penstock_descriptor& from, WorkerEvent& event) {
  event = WorkerEvent{.end = (from.flags & PENSTOCK_END) != 0,
                      .exchange = {from.slot, from.generation},
                      .serial = from.serial,
                      .body = {reinterpret_cast<const char*>(memory_.server_arena) + from.body_at, from.body_bytes},
                      .length = from.length};
  switch (from.kind) {
    case PENSTOCK_REQUEST:
    case PENSTOCK_FILTER_REQUEST:
    case PENSTOCK_FILTER_RESPONSE:
    case PENSTOCK_FILTER_LOG:
      ASSERT(from.slot < exchanges_.size());
      exchanges_[from.slot] = {.generation = from.generation, .window = from.credit, .open = true};
      event.kind = WorkerEvent::Kind::REQUEST;
      event.asked = static_cast<penstock_to_worker>(from.kind);
      event.status = from.status;
      event.offset = from.offset;
      event.head = reinterpret_cast<const penstock_request_head*>(memory_.server_arena + from.head_at);
      return true;
    case PENSTOCK_BODY:
      event.kind = WorkerEvent::Kind::BODY;
      return is_open(event.exchange);
    case PENSTOCK_CREDIT:
      event.kind = WorkerEvent::Kind::CREDIT;
      if (!is_open(event.exchange)) return false;
      at(event.exchange).window += from.credit;
      return true;
    case PENSTOCK_CANCEL:
      event.kind = WorkerEvent::Kind::CANCEL;
      event.reason = static_cast<penstock_cancel_reason>(from.status);
      return is_open(event.exchange);
    case PENSTOCK_PING:
      event.kind = WorkerEvent::Kind::PING;
      return true;
    case PENSTOCK_STOP:
      event.kind = WorkerEvent::Kind::STOP;
      return true;
    default:
      return false;
  }
}

bool WorkerLink::is_open(Handle exchange) const {
  return exchange.index < exchanges_.size() && exchanges_[exchange.index].open &&
         exchanges_[exchange.index].generation == exchange.generation;
}

WorkerLink::Exchange& WorkerLink::at(Handle exchange) {
  ASSERT(is_open(exchange));
  return exchanges_[exchange.index];
}

uint32_t WorkerLink::window(Handle exchange) const { return is_open(exchange) ? exchanges_[exchange.index].window : 0; }

bool WorkerLink::is_cancelled(Handle exchange) const {
  ASSERT(exchange.index < PENSTOCK_EXCHANGES_MAX);
  const uint32_t generation =
      std::atomic_ref(memory_.cancel->cancelled[exchange.index]).load(std::memory_order_relaxed);
  return generation == exchange.generation;
}

WorkerLink::Piece WorkerLink::allocate(size_t bytes) {
  if (bytes == 0) return {.to = reinterpret_cast<char*>(memory_.worker_arena)};
  const uint32_t consumed = up_->consumed();
  if (consumed != seen_consumed_) {
    arena_free_ = arena_end_[(consumed - 1) & (memory_.entries - 1)];
    seen_consumed_ = consumed;
  }
  const uint32_t mask = memory_.arena_bytes - 1;
  const size_t need = aligned(bytes);
  if (need > memory_.arena_bytes) return {};
  uint32_t start = arena_next_;
  if ((start & mask) + need > memory_.arena_bytes) start += memory_.arena_bytes - (start & mask);
  if (start - arena_free_ + need > memory_.arena_bytes) return {};
  arena_next_ = start + static_cast<uint32_t>(need);
  return {.at = start & mask, .to = reinterpret_cast<char*>(memory_.worker_arena) + (start & mask)};
}

void WorkerLink::put(const penstock_descriptor& to) {
  arena_end_[up_->produced() & (memory_.entries - 1)] = arena_next_;
  up_->put(to);
}

void WorkerLink::close_if(Handle exchange, bool end) {
  if (end) exchanges_[exchange.index].open = false;
}

bool WorkerLink::send_head(Handle exchange, const WorkerHead& head, std::string_view body, bool end) {
  Exchange& state = at(exchange);
  ASSERT(head.policy == nullptr || version_ >= 2);
  if (body.size() > state.window || up_->room() == 0) return false;
  const size_t bytes = head_bytes(head);
  const Piece piece = allocate(bytes + body.size());
  if (piece.to == nullptr) return false;
  write_head(head, bytes, piece.to);
  std::ranges::copy(body, piece.to + bytes);
  state.window -= static_cast<uint32_t>(body.size());
  penstock_descriptor to = descriptor_of(PENSTOCK_HEAD, exchange, end);
  to.status = head.status;
  to.ttl_ms = head.ttl_ms;
  to.head_at = piece.at;
  to.head_bytes = static_cast<uint32_t>(bytes);
  to.body_at = piece.at + to.head_bytes;
  to.body_bytes = static_cast<uint32_t>(body.size());
  to.length = head.length;
  put(to);
  close_if(exchange, end);
  return true;
}

// Copies `text` into the arena as the body that `to` names.
bool WorkerLink::send_text(penstock_descriptor to, std::string_view text) {
  const Handle exchange{to.slot, to.generation};
  ASSERT(is_open(exchange));
  if (up_->room() == 0) return false;
  const Piece piece = allocate(text.size());
  if (piece.to == nullptr) return false;
  std::ranges::copy(text, piece.to);
  to.body_at = piece.at;
  to.body_bytes = static_cast<uint32_t>(text.size());
  put(to);
  close_if(exchange, (to.flags & PENSTOCK_END) != 0);
  return true;
}

bool WorkerLink::send_data(Handle exchange, std::string_view bytes, bool end) {
  Exchange& state = at(exchange);
  if (bytes.size() > state.window || !send_text(descriptor_of(PENSTOCK_DATA, exchange, end), bytes)) return false;
  state.window -= static_cast<uint32_t>(bytes.size());
  return true;
}

bool WorkerLink::send_file(Handle exchange, std::string_view path, uint64_t offset, uint64_t length, bool end) {
  penstock_descriptor to = descriptor_of(PENSTOCK_FILE, exchange, end);
  to.offset = offset;
  to.length = length;
  return send_text(to, path);
}

bool WorkerLink::send_entry(Handle exchange, std::string_view path, bool end) {
  return send_text(descriptor_of(PENSTOCK_ENTRY, exchange, end), path);
}

bool WorkerLink::execute(Handle exchange, std::string_view target) {
  return send_text(descriptor_of(PENSTOCK_EXECUTE, exchange, true), target);
}

bool WorkerLink::abort(Handle exchange) { return send_text(descriptor_of(PENSTOCK_ABORT, exchange, true), {}); }

bool WorkerLink::log(Handle exchange, std::string_view text) {
  return send_text(descriptor_of(PENSTOCK_LOG, exchange, false), text);
}

size_t verdict_bytes(const WorkerVerdict& verdict) {
  size_t bytes = sizeof(penstock_verdict) + verdict.edits.size() * sizeof(penstock_edit);
  for (const WorkerEdit& edit : verdict.edits) bytes += edit.name.size() + edit.value.size() + 2;
  return bytes + verdict.target.size() + verdict.log.size() + 2;
}

bool WorkerLink::send_verdict(Handle exchange, const WorkerVerdict& verdict) {
  ASSERT(is_open(exchange));
  const size_t bytes = verdict_bytes(verdict);
  ASSERT(bytes <= PENSTOCK_HEAD_BYTES);
  if (up_->room() == 0) return false;
  const Piece piece = allocate(bytes);
  if (piece.to == nullptr) return false;
  size_t text_at = sizeof(penstock_verdict) + verdict.edits.size() * sizeof(penstock_edit);
  const auto put_text = [&](std::string_view text) {
    const penstock_text placed{.at = static_cast<uint32_t>(text_at), .bytes = static_cast<uint32_t>(text.size())};
    std::ranges::copy(text, piece.to + text_at);
    piece.to[text_at + text.size()] = '\0';
    text_at += text.size() + 1;
    return placed;
  };
  size_t edit_at = sizeof(penstock_verdict);
  for (const WorkerEdit& from : verdict.edits) {
    const penstock_edit edit{.what = static_cast<uint32_t>(from.what),
                             .reserved = 0,
                             .name = put_text(from.name),
                             .value = put_text(from.value)};
    std::memcpy(piece.to + edit_at, &edit, sizeof edit);
    edit_at += sizeof edit;
  }
  const penstock_verdict block{.bytes = static_cast<uint32_t>(bytes),
                               .edit_count = static_cast<uint32_t>(verdict.edits.size()),
                               .edits_at = sizeof(penstock_verdict),
                               .wants = verdict.wants,
                               .target = put_text(verdict.target),
                               .log = put_text(verdict.log)};
  std::memcpy(piece.to, &block, sizeof block);
  penstock_descriptor to = descriptor_of(PENSTOCK_VERDICT, exchange, true);
  to.status = verdict.status;
  to.head_at = piece.at;
  to.head_bytes = static_cast<uint32_t>(bytes);
  put(to);
  close_if(exchange, true);
  return true;
}

bool WorkerLink::consumed(Handle exchange, uint32_t count) {
  ASSERT(is_open(exchange));
  if (up_->room() == 0) return false;
  penstock_descriptor to = descriptor_of(PENSTOCK_CONSUMED, exchange, false);
  to.credit = count;
  put(to);
  return true;
}

bool WorkerLink::pong(uint64_t serial) {
  if (up_->room() == 0) return false;
  penstock_descriptor to{};
  to.kind = PENSTOCK_PONG;
  to.serial = serial;
  put(to);
  return true;
}

bool WorkerLink::flush() { return up_.has_value() && up_->publish(); }

bool WorkerLink::may_sleep() {
  if (!down_.has_value()) {
    raise_flag(memory_.worker->sleeping);
  } else if (!down_->may_sleep()) {
    return false;
  }
  return std::atomic_ref(memory_.server->epoch).load(std::memory_order_relaxed) == epoch_;
}

bool WorkerLink::starve() {
  const uint32_t known = up_->known_consumed();
  raise_flag(memory_.worker->starving);
  return up_->consumed() == known;
}

void WorkerLink::awake() {
  lower_flag(memory_.worker->sleeping);
  lower_flag(memory_.worker->starving);
}

}  // namespace penstock
