#include "tests/support/sim_transport.h"

#include "src/base/assert.h"
#include "src/base/hash.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <numeric>
#include <sys/socket.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIM_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define SIM_ASAN 1
#endif
#ifdef SIM_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

// A slot of conns_ is `gone`, or `live` (the reactor may use the handle), or neither: ended by the reactor
// while a send was outstanding, waiting to tell CLOSED.

namespace penstock {

namespace {

constexpr int POISON = 0xDB;
constexpr uint64_t CHECKSUM_SEED = 1;

}  // namespace

SimFaults SimFaults::from_seed(uint64_t seed) {
  Prng prng(seed ^ 0xfa0175);
  const auto strength = [&prng]() -> uint32_t {
    constexpr uint32_t STRENGTHS[] = {0, 0, 2, 5, 20, 100};
    return STRENGTHS[prng.below(6)];
  };
  SimFaults faults;
  faults.one_byte_receive = strength();
  faults.partial_receive = strength();
  faults.late_receive = strength();
  faults.partial_send = strength();
  faults.late_send = strength();
  faults.late_event = strength();
  faults.reset = prng.one_in(3) ? 500 : 0;
  faults.starve = strength();
  constexpr uint32_t SOCKET_BYTES[] = {64, 1'000, 16'384, 65'536, 1'048'576};
  faults.socket_bytes_max = SOCKET_BYTES[prng.below(5)];
  return faults;
}

SimTransport::SimTransport(const TransportOptions& options, uint64_t seed, const SimFaults& faults)
    : options_(options), prng_(seed), faults_(faults) {
  buffers_.resize(options.receive_buffers);
  for (Buffer& buffer : buffers_) {
    buffer.bytes = std::make_unique<char[]>(options.receive_buffer_bytes);
    ASAN_POISON_MEMORY_REGION(buffer.bytes.get(), options.receive_buffer_bytes);
  }
}

SimTransport::~SimTransport() {
  for (const Buffer& buffer : buffers_) {
    ASAN_UNPOISON_MEMORY_REGION(buffer.bytes.get(), options_.receive_buffer_bytes);
  }
}

void SimTransport::violate(const std::string& what, Handle conn) {
  violations_.push_back(what + " (connection " + std::to_string(conn.index) + "/" + std::to_string(conn.generation) +
                        ", turn " + std::to_string(turn_) + ")");
}

// ---- the turn

size_t SimTransport::poll(MonoTime, MonoTime, std::span<TransportEvent> out) {
  ++turn_;
  ++counters_.polls;
  for (size_t i = 0; i < conns_.size(); ++i) {
    if (conns_[i].live && conns_[i].close_due) violate("no close followed the last send", handle_of(i));
    conns_[i].close_due = false;
  }
  size_t count = 0;
  while (!woken_.empty() && count < out.size()) {
    const uint32_t id = woken_.back();
    woken_.pop_back();
    if (std::ranges::find(wake_sources_, id) == wake_sources_.end()) continue;
    out[count++] = {.id = id, .kind = TransportEventKind::WOKEN};
  }
  while (count < out.size() && accept_one(out[count])) ++count;

  std::vector<size_t> order(conns_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[prng_.below(static_cast<uint32_t>(i))]);
  for (const size_t index : order) {
    // One connection may have several things to tell: its bytes and the end of its send, say.
    for (int i = 0; i < 3 && count < out.size(); ++i) {
      out[count] = {};
      if (!step(index, out[count])) break;
      ++count;
    }
  }
  counters_.events += count;
  return count;
}

bool SimTransport::accept_one(TransportEvent& event) {
  if (accept_paused_ || connection_count() >= options_.connections_max) return false;
  const auto served = [this](uint32_t client) {
    return std::ranges::find(listeners_, clients_[client].listener) != listeners_.end();
  };
  const auto next = std::ranges::find_if(backlog_, served);
  if (next == backlog_.end()) return false;
  const uint32_t number = *next;
  backlog_.erase(next);
  auto slot = std::ranges::find_if(conns_, [](const Conn& c) { return c.gone; });
  if (slot == conns_.end()) slot = conns_.insert(conns_.end(), Conn{});
  const uint32_t generation = slot->generation;
  *slot = Conn{};
  slot->generation = generation;
  slot->gone = false;
  slot->live = true;
  slot->client = number;
  slot->accepted_turn = turn_;
  Client& client = clients_[number];
  slot->listener = client.listener;
  slot->peer = client.peer;
  const auto index = static_cast<size_t>(slot - conns_.begin());
  client.conn = static_cast<uint32_t>(index);
  if (client.state == ClientState::WAITING) client.state = ClientState::OPEN;
  if (client.state == ClientState::RESET) {
    slot->failed = true;
    slot->error = ECONNRESET;
  }
  ++counters_.accepts;
  event = {.conn = handle_of(index), .id = client.listener, .kind = TransportEventKind::ACCEPTED, .peer = client.peer};
  return true;
}

// One thing that happens on the connection, if any does.
bool SimTransport::step(size_t index, TransportEvent& event) {
  Conn& conn = conns_[index];
  if (conn.gone || conn.accepted_turn == turn_) return false;
  const Handle handle = handle_of(index);
  if (conn.live && !conn.failed && chance(faults_.reset)) break_connection(clients_[conn.client], ECONNRESET);
  if (conn.sending && step_send(conn, handle, event)) return true;
  if (!conn.live) return false;
  if (conn.failed) return step_failed(conn, handle, event);
  return step_receive(conn, handle, event);
}

bool SimTransport::step_failed(Conn& conn, Handle handle, TransportEvent& event) {
  if (conn.fail_told_turn != 0) return false;
  if (conn.sending) check_parts(conn, handle);
  drop_parts(conn);
  conn.fail_told_turn = turn_;
  ++counters_.failures;
  event = {.conn = handle, .context = conn.context, .error = conn.error, .kind = TransportEventKind::FAILED};
  return true;
}

bool SimTransport::step_receive(Conn& conn, Handle handle, TransportEvent& event) {
  Client& client = clients_[conn.client];
  if (!conn.receiving || conn.eof_told || chance(faults_.late_receive)) return false;
  if (client.to_server.empty()) {
    if (!client.fin_to_server || chance(faults_.late_event)) return false;
    conn.eof_told = true;
    event = {.conn = handle, .context = conn.context, .kind = TransportEventKind::PEER_CLOSED};
    return true;
  }
  size_t size = std::min<size_t>(client.to_server.size(), options_.receive_buffer_bytes);
  if (chance(faults_.one_byte_receive)) {
    size = 1;
  } else if (chance(faults_.partial_receive)) {
    size = 1 + prng_.below(static_cast<uint32_t>(size));
  }
  const uint32_t number = chance(faults_.starve) ? UINT32_MAX : take_buffer();
  if (number == UINT32_MAX) {
    ++counters_.receive_starved;
    return false;
  }
  Buffer& buffer = buffers_[number];
  // At the end of the buffer, so that one byte too many is out of bounds.
  char* data = buffer.bytes.get() + options_.receive_buffer_bytes - size;
  ASAN_UNPOISON_MEMORY_REGION(data, size);
  std::memcpy(data, client.to_server.data(), size);
  client.to_server.erase(0, size);
  ++counters_.receives;
  counters_.bytes_received += size;
  event = {.conn = handle,
           .context = conn.context,
           .data = data,
           .size = static_cast<uint32_t>(size),
           .buffer = number,
           .kind = TransportEventKind::RECEIVED};
  return true;
}

uint32_t SimTransport::take_buffer() {
  // Any free one: the reactor must not depend on an order.
  const auto start = prng_.below(static_cast<uint32_t>(buffers_.size()));
  for (uint32_t i = 0; i < buffers_.size(); ++i) {
    const uint32_t number = (start + i) % static_cast<uint32_t>(buffers_.size());
    if (buffers_[number].lent) continue;
    buffers_[number].lent = true;
    ++buffers_lent_;
    return number;
  }
  return UINT32_MAX;
}

void SimTransport::release(uint32_t buffer) {
  if (buffer >= buffers_.size() || !buffers_[buffer].lent) {
    violate("release of buffer " + std::to_string(buffer) + ", which is not lent", {});
    return;
  }
  Buffer& one = buffers_[buffer];
  ASAN_UNPOISON_MEMORY_REGION(one.bytes.get(), options_.receive_buffer_bytes);
  std::memset(one.bytes.get(), POISON, options_.receive_buffer_bytes);
  ASAN_POISON_MEMORY_REGION(one.bytes.get(), options_.receive_buffer_bytes);
  one.lent = false;
  --buffers_lent_;
}

// ---- sending

void SimTransport::send(Handle handle, std::span<const SendPart> parts, bool last) {
  Conn* conn = usable(handle, "send");
  if (conn == nullptr) return;
  if (conn->sending) return violate("send while a send is outstanding", handle);
  if (conn->shut) return violate("send after shutdown_send", handle);
  if (conn->last) return violate("send after the last one", handle);
  if (parts.empty() || parts.size() > SEND_PARTS_MAX) return violate("send of a wrong number of parts", handle);
  if (conn->fail_told_turn != 0) return;  // crosses with FAILED of this batch, which ends it
  conn->parts.clear();
  for (const SendPart& part : parts) {
    if (part.size == 0) return violate("send of an empty part", handle);
    conn->parts.push_back({part, part.fd < 0 ? hash_bytes(part.data, part.size, CHECKSUM_SEED) : 0});
  }
  conn->sending = true;
  conn->last = last;
  conn->next_part = 0;
  conn->part_sent = 0;
  ++counters_.sends;
}

bool SimTransport::step_send(Conn& conn, Handle handle, TransportEvent& event) {
  Client& client = clients_[conn.client];
  if (conn.live && !conn.failed && conn.next_part < conn.parts.size()) {
    if (chance(faults_.late_send)) return false;
    move_bytes(conn, client);
  }
  if (conn.failed && conn.live) return false;  // step_failed() tells it
  if (conn.live && conn.next_part < conn.parts.size()) return false;
  if (chance(faults_.late_event)) return false;
  check_parts(conn, handle);
  drop_parts(conn);
  conn.close_due = conn.last;
  event = {.conn = handle,
           .context = conn.context,
           .kind = conn.live ? TransportEventKind::SENT : TransportEventKind::CLOSED};
  if (!conn.live) free_slot(conn);
  return true;
}

// Moves what the socket takes.
void SimTransport::move_bytes(Conn& conn, Client& client) {
  while (conn.next_part < conn.parts.size() && !conn.failed) {
    const size_t held = client.to_client.size();
    uint64_t room = held < faults_.socket_bytes_max ? faults_.socket_bytes_max - held : 0;
    if (room == 0) {
      ++counters_.sends_partial;
      return;
    }
    const bool cut = chance(faults_.partial_send);
    if (cut) room = 1 + prng_.below(static_cast<uint32_t>(room));
    if (!move_part(conn, client, room)) return;
    if (cut) {
      ++counters_.sends_partial;
      return;
    }
  }
}

bool SimTransport::move_part(Conn& conn, Client& client, uint64_t room) {
  const SendPart& part = conn.parts[conn.next_part].part;
  uint64_t bytes = std::min(room, part.size - conn.part_sent);
  if (part.fd < 0) {
    client.to_client.append(static_cast<const char*>(part.data) + conn.part_sent, bytes);
    counters_.bytes_copied += bytes;
  } else {
    std::string piece(bytes, '\0');
    const ssize_t got = ::pread(part.fd, piece.data(), bytes, static_cast<off_t>(part.offset + conn.part_sent));
    if (got <= 0) {
      conn.failed = true;
      conn.error = got == 0 ? ENODATA : errno;
      return false;
    }
    bytes = static_cast<uint64_t>(got);
    client.to_client.append(piece.data(), bytes);
    counters_.bytes_from_files += bytes;
  }
  conn.bytes_sent += bytes;
  counters_.bytes_sent += bytes;
  conn.part_sent += bytes;
  if (conn.part_sent == part.size) {
    ++conn.next_part;
    conn.part_sent = 0;
  }
  return true;
}

void SimTransport::check_parts(const Conn& conn, Handle handle) {
  for (const Part& one : conn.parts) {
    if (one.part.fd >= 0) continue;
    if (hash_bytes(one.part.data, one.part.size, CHECKSUM_SEED) != one.checksum) {
      violate("a memory part changed while it was being sent", handle);
    }
  }
}

void SimTransport::drop_parts(Conn& conn) {
  conn.parts.clear();
  conn.sending = false;
}

// ---- calls on a connection

const SimTransport::Conn* SimTransport::find(Handle handle) const {
  if (handle.index >= conns_.size()) return nullptr;
  const Conn& conn = conns_[handle.index];
  return conn.live && conn.generation == handle.generation ? &conn : nullptr;
}

SimTransport::Conn* SimTransport::usable(Handle handle, const char* call) {
  if (find(handle) == nullptr) {
    violate(std::string(call) + " on a handle that is not open", handle);
    return nullptr;
  }
  Conn& conn = conns_[handle.index];
  // In the turn of FAILED itself the call may have been made before the event was looked at.
  if (conn.fail_told_turn != 0 && conn.fail_told_turn != turn_) {
    violate(std::string(call) + " after FAILED", handle);
    return nullptr;
  }
  return &conn;
}

bool SimTransport::is_open(Handle handle) const { return find(handle) != nullptr; }

uint32_t SimTransport::connection_count() const {
  return static_cast<uint32_t>(std::ranges::count_if(conns_, [](const Conn& c) { return !c.gone; }));
}

void SimTransport::set_context(Handle handle, void* context) {
  if (Conn* conn = usable(handle, "set_context")) conn->context = context;
}

uint64_t SimTransport::bytes_sent(Handle handle) const {
  const Conn* conn = find(handle);
  ASSERT(conn != nullptr);
  return conn->bytes_sent;
}

void SimTransport::set_receiving(Handle handle, bool on) {
  if (Conn* conn = usable(handle, "set_receiving")) conn->receiving = on;
}

void SimTransport::shutdown_send(Handle handle) {
  Conn* conn = usable(handle, "shutdown_send");
  if (conn == nullptr) return;
  if (conn->sending) return violate("shutdown_send while a send is outstanding", handle);
  conn->shut = true;
  clients_[conn->client].fin_to_client = true;
}

bool SimTransport::end(Handle handle, bool with_reset) {
  if (find(handle) == nullptr) {
    violate("close of a handle that is not open", handle);
    return false;
  }
  Conn& conn = conns_[handle.index];
  Client& client = clients_[conn.client];
  ++(with_reset ? counters_.resets : counters_.closes);
  conn.live = false;
  client.conn = UINT32_MAX;
  // As close(2) does it: bytes that nobody read make a reset of it.
  if (with_reset || !client.to_server.empty()) {
    client.state = ClientState::RESET;
    client.to_client.clear();
  }
  client.fin_to_client = true;
  client.to_server.clear();
  if (conn.sending) return true;
  free_slot(conn);
  return false;
}

void SimTransport::free_slot(Conn& conn) {
  conn.live = false;
  conn.gone = true;
  ++conn.generation;
}

PeerAddress SimTransport::local_address(Handle) const { return {.family = AF_INET, .port = 80, .ip = {127, 0, 0, 1}}; }

Status SimTransport::add_listener(int, uint32_t id) {
  ASSERT(std::ranges::find(listeners_, id) == listeners_.end());
  listeners_.push_back(id);
  return {};
}

void SimTransport::remove_listener(uint32_t id) {
  std::erase(listeners_, id);
  for (const uint32_t client : backlog_) {
    if (clients_[client].listener == id) clients_[client].state = ClientState::REFUSED;
  }
  std::erase_if(backlog_, [this](uint32_t client) { return clients_[client].state == ClientState::REFUSED; });
}

Status SimTransport::add_wake_source(int, uint32_t id) {
  wake_sources_.push_back(id);
  return {};
}

// ---- the clients' side

}  // namespace penstock
