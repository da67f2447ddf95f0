#include "src/server/reactor.h"

#include "src/base/allocations.h"
#include "src/base/doorbell.h"
#include "src/http/date.h"
#include "src/server/connections.h"
#include "src/server/leaving.h"
#include "src/server/pools/pool_bridge.h"
#include "src/server/steps/steps.h"
#include "src/server/walk.h"

#include <algorithm>
#include <unistd.h>
#include <utility>

namespace penstock {
namespace {

enum WakeId : uint32_t { WAKE_INBOX = 1, WAKE_FILES = 2, WAKE_COMPRESS = 3, WAKE_WORKERS = 4 };

// Even with nothing to do a reactor looks around this often: it adopts a new config, renews the date.
constexpr Duration REST_MAX = milliseconds(500);

// The clock is read once in so many looks at the rings.
constexpr uint32_t MANY_CONNECTIONS = 512;  // what fewer of them need stays in the caches
constexpr uint32_t SPIN_LOOKS_TIMED = 16;

Http2Options http2_options(const Settings& settings) {
  return {.cleartext = settings.http2_cleartext,
          .streams = settings.http2_streams,
          .stream_window_bytes = static_cast<uint32_t>(settings.http2_stream_window),
          .connection_window_bytes = static_cast<uint32_t>(settings.http2_connection_window),
          .head_bytes = static_cast<uint32_t>(settings.longest_head()),
          .control_frames = settings.http2_control_frames,
          .resets = settings.http2_resets};
}

std::vector<PeerRange> peer_ranges(const std::vector<AddressRange>& configured) {
  std::vector<PeerRange> ranges;
  for (const AddressRange& range : configured) {
    ranges.push_back({.unix_peers = range.unix_peers, .bits = range.bits, .ip = range.ip});
  }
  return ranges;
}

}  // namespace

Reactor::Reactor(const ReactorParts& parts)
    : core_(parts.index, parts.transport, parts.reader, parts.loader, parts.journal, parts.counters, parts.clock,
            parts.shared, parts.limits),
      compress_wake_fd_(parts.compress_wake_fd),
      carries_for_others_(parts.carries_for_others) {
  adopt_config();
  take_time();
}

Reactor::~Reactor() {
  if (core_.spare != nullptr) core_.exchanges.give(core_.spare);
}

Status Reactor::start() {
  Transport& transport = core_.transport;
  if (Status added = transport.add_wake_source(core_.shared.inboxes[core_.index]->wake_fd(), WAKE_INBOX); !added) {
    return added;
  }
  if (core_.reader.wake_fd() >= 0) {
    if (Status added = transport.add_wake_source(core_.reader.wake_fd(), WAKE_FILES); !added) return added;
  }
  if (Status added = core_.pools->start(WAKE_WORKERS); !added) return added;
  if (compress_wake_fd_ >= 0) return transport.add_wake_source(compress_wake_fd_, WAKE_COMPRESS);
  return {};
}

void Reactor::take_time() {
  core_.now = core_.clock.now();
  core_.turn_clock.turn(core_.now, core_.clock.ticks());
  // The wall clock moves with the monotonic one; it is read anew once a second, in case somebody set it.
  if (core_.now - wall_paired_ >= seconds(1) || date_second_ == INT64_MIN) {
    core_.wall = core_.clock.wall();
    wall_paired_ = core_.now;
    core_.journal.set_wall(core_.now, core_.wall);
  } else {
    core_.wall = core_.wall + (core_.now - last_now_);
  }
  last_now_ = core_.now;
  if (const int64_t second = core_.wall.unix_seconds(); second != date_second_) {
    date_second_ = second;
    write_http_date(second, core_.date.data());
  }
}

void Reactor::adopt_config() {
  const Snapshot* before = core_.config;
  const bool counts_no_clients = before != nullptr && before->settings.limits_connections_per_client == 0;
  core_.config = core_.shared.snapshots.adopt(core_.index);
  if (core_.config == before) return;
  const Settings& settings = core_.config->settings;
  core_.journal.set_recording(settings.writes_log());
  core_.journal.set_refusing(settings.log_access_on_full == LogFullSetting::REFUSE);
  if (counts_no_clients && settings.limits_connections_per_client != 0) count_by_client(core_);
  const Http2Options http2 = http2_options(settings);
  core_.transport.set_http2(http2);
  leave_http2(core_, std::exchange(http2_, http2), http2);
  core_.transport.set_proxies(peer_ranges(settings.server_proxy_protocol), settings.limits_header_timeout);
  core_.transport.set_exact_local(settings.tells_server_address());
  core_.transport.set_zerocopy_min(static_cast<uint32_t>(std::min<uint64_t>(settings.send_zerocopy_min, UINT32_MAX)));
}

MonoTime Reactor::wait_until(MonoTime deadline) const {
  if (turns_to_accept_ > 0) return core_.now;
  deadline = std::min(deadline, core_.now + REST_MAX);
  deadline = std::min(deadline, core_.wheel.next_due());
  deadline = std::min(deadline, core_.pools->next_due());
  return std::min(deadline, core_.loader.next_due());
}

// Whether this turn is not to wait, since a worker answers soon: the server's end of what AdaptiveSpin says. Only what
// the looking finds counts as its merit: a worker that gets this very core once we sleep is never found by it.
bool Reactor::spins() {
  const uint64_t most_us = core_.config->settings.server_spin_us;
  if (most_us == 0 || spin_.left() == 0 || !core_.pools->awaits()) return false;
  // Before anything else: the looking keeps nothing back, and what is there by now is not its merit.
  if (core_.transport.sees_work() || core_.pools->hears()) return true;
  core_.counters.spins.add();
  const MonoTime until = core_.clock.now() + microseconds(static_cast<int64_t>(most_us));
  while (spin_.again()) {
    if (core_.pools->hears()) {
      spin_.worked();
      core_.counters.spins_paid.add();
      return true;
    }
    if (core_.transport.sees_work()) return true;
    spin_once();
    if (spin_.left() % SPIN_LOOKS_TIMED != 0 || core_.clock.now() < until) continue;
    spin_.give_up();
    break;
  }
  return false;
}

void Reactor::turn(MonoTime deadline) {
  const uint64_t allocations_before = allocations_of_this_thread();
  deadline = wait_until(deadline);
  const bool may_wait = deadline > core_.now && !spins() && core_.pools->may_wait();
  if (!may_wait) deadline = core_.now;
  core_.shared.cache.quiescent(core_.index);
  if (may_wait) core_.shared.cache.offline(core_.index);
  const size_t count = core_.transport.poll(core_.now, deadline, events_);
  if (may_wait) core_.shared.cache.online(core_.index);
  core_.pools->awake();
  take_time();
  adopt_config();
  if (turns_to_accept_ > 0) --turns_to_accept_;

  look_ahead(count);
  for (size_t i = 0; i < count; ++i) handle(events_[i]);
  take_messages();
  take_loads();
  take_timers();
  core_.pools->turn();
  flush_all(core_);

  core_.journal.turn_end();
  core_.counters.turns.add();
  if (count > 0) core_.counters.turns_busy.add();
  count_transport();
  core_.counters.allocations.add(allocations_of_this_thread() - allocations_before);
  if (looked_) tell_control();
}

// Wakes the control thread, which waits for this reactor to have turned.
void Reactor::tell_control() {
  looked_ = false;
  if (core_.shared.control_wake_fd < 0) return;
  (void)ring_bell(core_.shared.control_wake_fd);
}

// With more connections than the caches hold, what all events of the turn need is fetched at once, not one by one.
void Reactor::look_ahead(size_t events) {
  if (core_.transport.connection_count() < MANY_CONNECTIONS) return;
  for (size_t i = 0; i < events; ++i) {
    if (events_[i].context == nullptr) continue;
    const auto* connection = static_cast<const char*>(events_[i].context);
    for (size_t at = 0; at < sizeof(Connection); at += 64) __builtin_prefetch(connection + at);
    if (events_[i].conn.index < core_.by_handle.size()) __builtin_prefetch(&core_.by_handle[events_[i].conn.index]);
  }
  for (size_t i = 0; i < events; ++i) {
    if (events_[i].kind != TransportEventKind::SENT || events_[i].context == nullptr) continue;
    const Outgoing* sending = static_cast<const Connection*>(events_[i].context)->sending;
    if (sending == nullptr) continue;
    sending->prefetch();
    core_.outgoings.prefetch_slot(sending);
  }
}

void Reactor::handle(const TransportEvent& event) {
  if (event.kind == TransportEventKind::ACCEPTED) {
    connection_accepted(core_, event);
    return;
  }
  if (event.kind == TransportEventKind::WOKEN) {
    if (event.id == WAKE_INBOX) inbox_woken_ = true;
    if (event.id == WAKE_COMPRESS) compress_woken_ = true;
    if (event.id == WAKE_WORKERS) core_.pools->doorbell();
    return;
  }
  if (event.kind == TransportEventKind::NOTED) {
    connection_noted(core_, event);
    return;
  }
  if (event.kind == TransportEventKind::CLOSED) {
    connection_released(core_, *static_cast<Connection*>(event.context));
    return;
  }
  // Not by context: it is not yet set on an event that came in one batch with its ACCEPTED. And an earlier event of
  // this batch may have ended the connection; its buffer must go back all the same.
  const bool open = core_.transport.is_open(event.conn);
  Connection* connection = open ? core_.by_handle[event.conn.index] : nullptr;
  switch (event.kind) {
    case TransportEventKind::RECEIVED:
      if (open) connection_received(core_, *connection, {event.data, event.size});
      core_.transport.release(event.buffer);
      break;
    case TransportEventKind::PEER_CLOSED:
      if (open) connection_peer_closed(core_, *connection);
      break;
    case TransportEventKind::SENT:
      if (open) connection_sent(core_, *connection);
      break;
    case TransportEventKind::FAILED:
      if (open) connection_failed(core_, *connection, event.error);
      break;
    default:
      ASSERT(false);
  }
}

void Reactor::take_messages() {
  if (compress_woken_) {
    compress_woken_ = false;
    core_.compress.results(core_);
  }
  if (!inbox_woken_) return;
  inbox_woken_ = false;
  core_.shared.inboxes[core_.index]->take(messages_);
  for (const ReactorMessage& message : messages_) obey(message);
}

void Reactor::obey(const ReactorMessage& message) {
  switch (message.kind) {
    case ReactorMessage::Kind::FILL_DONE: {
      Exchange* exchange = core_.exchanges.find(message.exchange);
      ASSERT(exchange != nullptr);  // an exchange that waits outlives its connection until this message
      fill_done(core_, *exchange, message.entry);
      break;
    }
    case ReactorMessage::Kind::PURGED: {
      Exchange* exchange = core_.exchanges.find(message.exchange);
      // Its connection may have ended, and it may serve another request.
      if (exchange != nullptr && exchange->purge == message.purge) purge_done(core_, *exchange, message.fell);
      break;
    }
    case ReactorMessage::Kind::DRAIN:
      turns_to_accept_ = ACCEPTED_LATE_TURNS;
      drain_all(core_);
      break;
    case ReactorMessage::Kind::STOP:
      stopped_ = true;
      break;
    case ReactorMessage::Kind::LOOK:
      looked_ = true;  // the config was adopted when this turn began
      break;
    case ReactorMessage::Kind::ADD_LISTENER:
      // The control thread holds the socket and knows that it listens; what can fail is our table.
      core_.transport.set_layers(message.listener, message.layers);
      if (Status added = core_.transport.add_listener(message.fd, message.listener); !added) {
        core_.counters.accept_errors.add();
      }
      break;
    case ReactorMessage::Kind::SET_LAYERS:
      core_.transport.set_layers(message.listener, message.layers);
      leave_layers(core_, message.listener);
      break;
    case ReactorMessage::Kind::REMOVE_LISTENER:
      core_.transport.remove_listener(message.listener);
      leave_listener(core_, message.listener);
      break;
    case ReactorMessage::Kind::ACCEPT_AGAIN:
      core_.transport.pause_accept(true);
      core_.transport.pause_accept(false);
      break;
    case ReactorMessage::Kind::WORKER_ADDED:
    case ReactorMessage::Kind::WORKER_RETIRED:
    case ReactorMessage::Kind::WORKER_GONE:
    case ReactorMessage::Kind::WORKER_SUSPENDED:
    case ReactorMessage::Kind::WORKER_RESUMED:
    case ReactorMessage::Kind::POOL_SERVICE:
    case ReactorMessage::Kind::POOL_TURN:
      core_.pools->obey(message);
      break;
  }
}

void Reactor::take_loads() {
  // A load may be done, with its result waiting, before it ever needed the reader.
  if (core_.loader.loads() == 0 && core_.loader.next_due() == MonoTime::never()) return;
  std::array<LoadResult, 32> results;
  while (const size_t count = core_.loader.poll(core_.now, core_.wall, results)) {
    for (size_t i = 0; i < count; ++i) {
      const Handle handle{.index = static_cast<uint32_t>(results[i].token),
                          .generation = static_cast<uint32_t>(results[i].token >> 32)};
      Exchange* exchange = core_.exchanges.find(handle);
      ASSERT(exchange != nullptr);  // an exchange that loads outlives its connection until the load is done
      load_done(core_, *exchange, results[i]);
    }
    if (count < results.size()) break;
  }
}

void Reactor::take_timers() {
  while (Timer* timer = core_.wheel.expire(core_.now)) {
    static_assert(offsetof(Connection, timer) == 0);
    connection_timer(core_, *reinterpret_cast<Connection*>(timer));
  }
}

// The transport counts for itself; the page that others read gets the difference of each turn.
void Reactor::count_transport() {
  const TransportCounters& total = core_.transport.counters();
  core_.counters.syscalls.add(total.syscalls - counted_.syscalls);
  core_.counters.wakeups.add(total.waits - counted_.waits);
  core_.counters.sends.add(total.sends - counted_.sends);
  core_.counters.recvs.add(total.receives - counted_.receives);
  core_.counters.accept_errors.add(total.accept_errors - counted_.accept_errors);
  core_.counters.accept_pauses.add(total.accept_limit_pauses - counted_.accept_limit_pauses);
  core_.counters.bytes_summed.add(total.bytes_summed - counted_.bytes_summed);
  core_.counters.large_segments.add(total.large_segments - counted_.large_segments);
  core_.counters.handed_over.add(total.handed_over - counted_.handed_over);
  core_.counters.hand_over_drops.add(total.hand_over_drops - counted_.hand_over_drops);
  core_.counters.exception_in.add(total.exception_in - counted_.exception_in);
  core_.counters.exception_out.add(total.exception_out - counted_.exception_out);
  core_.counters.exception_drops.add(total.exception_drops - counted_.exception_drops);
  core_.counters.sends_zero_copy.add(total.sends_zerocopy - counted_.sends_zerocopy);
  core_.counters.recv_buffers_empty.add(total.receive_starved - counted_.receive_starved);
  core_.counters.tls_handshakes.add(total.handshakes - counted_.handshakes);
  core_.counters.tls_resumed.add(total.handshakes_resumed - counted_.handshakes_resumed);
  core_.counters.tls_certificates_loaded.add(total.certificates_loaded - counted_.certificates_loaded);
  core_.counters.tls_bytes_encrypted.add(total.bytes_encrypted - counted_.bytes_encrypted);
  core_.counters.tls_bytes_gathered.add(total.bytes_gathered - counted_.bytes_gathered);
  core_.counters.tls_kernel.add(total.kernel_tls - counted_.kernel_tls);
  core_.counters.tls_kernel_refused.add(total.kernel_tls_refused - counted_.kernel_tls_refused);
  counted_ = total;
}

bool Reactor::drained() const {
  return core_.draining && turns_to_accept_ == 0 && core_.connections.count() == 0 && !core_.pools->owes_records() &&
         !core_.transport.has_unsettled();
}

bool Reactor::pools_are_full() const {
  return core_.connections.count() == 0 && core_.outgoings.count() == 0 &&
         core_.exchanges.count() == (core_.spare == nullptr ? 0U : 1U) && core_.loader.loads() == 0 &&
         core_.pools->count() == 0;
}

void Reactor::run() {
  core_.shared.cache.online(core_.index);
  while (!stopped_ && !(drained() && !carries_for_others_)) {
    turn(MonoTime::never());
    if (carries_for_others_ && drained()) at_rest_.store(true, std::memory_order_release);
  }
  leave();
  core_.shared.cache.offline(core_.index);
}

// The drain time is over: what is still open is ended, and told to the journal.
void Reactor::leave() {
  core_.connections.for_each([this](Connection& connection) {
    if (connection.state == ConnectionState::CLOSED) return;
    // The record of a short answer is closed before it is sent: that it was not is told by one of the connection.
    const bool busy = connection.exchange != nullptr || connection.slot.valid() || connection.sending != nullptr ||
                      connection.filling != nullptr;
    (busy ? core_.counters.connections_cut : core_.counters.connections_drained).add();
    end_connection(core_, connection, EndKind::CLOSE, busy ? Reason::TIMER_DRAIN : Reason::NONE);
  });
  const MonoTime patience = core_.now + seconds(1);  // for the kernel to let go of what was being sent
  while (core_.transport.connection_count() > 0 && core_.now < patience) turn(core_.now + milliseconds(10));
  core_.pools->end_records();
}

}  // namespace penstock
