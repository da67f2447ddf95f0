// Links and turns: which workers there are, when each is looked at, what the supervisor hears. The way down is in
// pool_bridge_down.cc, the way up in pool_bridge_up.cc.
//
// Invariants:
//  - A Dispatch is queued, or `inside` a link, or neither while its answer waits for its client or for this turn's end.
//  - link.inside[slot] names the Dispatch exactly while the link's exchange is open.
//  - A link that is not in active_ is ready and has its sleeping flag raised: its doorbell tells. It has nothing open,
//    so that nothing which it may say by then is waited for.
#include "src/server/pools/pool_bridge.h"

#include "src/base/doorbell.h"
#include "src/http/response_head.h"
#include "src/server/connections.h"
#include "src/server/pools/answer_copy.h"
#include "src/server/pools/filtering.h"
#include "src/server/pools/pool_reports.h"
#include "src/server/pools/refresh.h"

#include <algorithm>
#include <array>
#include <sys/epoll.h>
#include <unistd.h>

namespace penstock {
namespace {

constexpr Duration NEED_EVERY = milliseconds(100);   // while requests wait
constexpr Duration PINGS_EVERY = milliseconds(250);  // how often links are looked at; pool.NAME.ping_interval is longer
constexpr uint32_t PROBES_MAX = 8;                   // of one client: a round trip of two seconds is found
constexpr uint32_t QUEUE_CLIENTS = 1024;
// Events of one link in one turn: a worker that never stops talking does not keep the others waiting.
constexpr uint32_t EVENTS_MAX = 256;
// What a worker has under way for one exchange until the client has taken it: memory for slow clients, each.
constexpr LinkLimits LINK_LIMITS{};

}  // namespace

Dispatch::Dispatch() { timer.owner = this; }
Dispatch::~Dispatch() = default;

PoolBridge::PoolBridge(Core& core)
    : core_(core),
      wheel_(core.now),
      turns_(QUEUE_CLIENTS, core.shared.cache.hash_seed()),
      dispatches_(2 * core.connections.count_max()) {}

PoolBridge::~PoolBridge() {
  while (!links_.empty()) remove(*links_.back());
}

Status PoolBridge::start(uint32_t wake_id) {
  bells_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!bells_.valid()) return fail_errno("epoll for the doorbells of workers");
  return core_.transport.add_wake_source(bells_.get(), wake_id);
}

ReactorPool& PoolBridge::pool_of(SharedPool& shared) {
  if (pools_.size() <= shared.number) pools_.resize(shared.number + 1);
  if (pools_[shared.number] == nullptr) pools_[shared.number] = std::make_unique<ReactorPool>(shared, turns_);
  return *pools_[shared.number];
}

const PoolSettings* PoolBridge::settings_of(const ReactorPool& pool) const {
  const auto& pools = core_.config->pools;
  return pool.shared.number < pools.size() ? pools[pool.shared.number] : nullptr;
}

// --- links ----------------------------------------------------------------------------------

void PoolBridge::add(PoolWorker& worker) {
  ReactorPool& pool = pool_of(worker.pool);
  links_.push_back(std::make_unique<PoolLink>(worker, pool, worker.channels[core_.index], LINK_LIMITS));
  PoolLink& link = *links_.back();
  pool.links.push_back(&link);
  if (core_.index < worker.server_bells.size()) {
    // Edge-triggered: an eventfd that is written again is a new edge, so that it never has to be read.
    epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.ptr = &link}};
    const int added = ::epoll_ctl(bells_.get(), EPOLL_CTL_ADD, worker.server_bells[core_.index].get(), &event);
    ASSERT(added == 0);  // the descriptor is an eventfd: PoolTable checked; memory alone could fail
  }
  activate(link);
}

void PoolBridge::remove(PoolLink& link) {
  if (core_.index < link.worker.server_bells.size()) {
    (void)::epoll_ctl(bells_.get(), EPOLL_CTL_DEL, link.worker.server_bells[core_.index].get(), nullptr);
  }
  std::erase(active_, &link);
  std::erase(link.pool.links, &link);
  link.worker.users.fetch_sub(1, std::memory_order_release);  // PoolTable::collect() may unmap it now
  std::erase_if(links_, [&link](const auto& one) { return one.get() == &link; });
}

PoolLink* PoolBridge::find(const PoolWorker& worker) {
  const auto it = std::ranges::find(links_, &worker, [](const auto& link) { return &link->worker; });
  return it == links_.end() ? nullptr : it->get();
}

void PoolBridge::activate(PoolLink& link) {
  if (link.active) return;
  link.active = true;
  link.link.awake();
  active_.push_back(&link);
}

void PoolBridge::flush(PoolLink& link) {
  if (link.stop_owed && link.link.stop()) link.stop_owed = false;
  if (!link.link.flush() || !link.worker.bell.valid()) return;
  core_.counters.syscalls.add();
  (void)ring_bell(link.worker.bell.get());
}

void PoolBridge::obey(const ReactorMessage& message) {
  switch (message.kind) {
    case ReactorMessage::Kind::WORKER_ADDED:
      add(*message.worker);
      break;
    case ReactorMessage::Kind::WORKER_RETIRED:
      if (PoolLink* link = find(*message.worker)) {
        link->retired = link->stop_owed = true;
        activate(*link);
      }
      break;
    case ReactorMessage::Kind::WORKER_GONE:
      if (PoolLink* link = find(*message.worker)) {
        ReactorPool& pool = link->pool;
        // What it said with its last breath counts. No more than a ring holds: a child of it may still write there.
        take_events(*link, message.worker->channels[core_.index].entries);
        lose_all(*link, Reason::WORKER_EXITED);
        remove(*link);
        hand_out(pool);
      }
      break;
    case ReactorMessage::Kind::WORKER_SUSPENDED:
      if (PoolLink* link = find(*message.worker)) link->suspended = true;
      break;
    case ReactorMessage::Kind::WORKER_RESUMED:
      if (PoolLink* link = find(*message.worker)) {
        link->suspended = false;
        link->ping_sent = core_.now;  // a ping that it slept over is answered now
        hand_out(link->pool);
      }
      break;
    case ReactorMessage::Kind::POOL_SERVICE:
      list_waiting(pool_of(*message.pool));  // look_at_waiting() answers them
      break;
    case ReactorMessage::Kind::POOL_TURN: {
      ReactorPool& pool = pool_of(*message.pool);
      pool.own_since = core_.now;
      if (pool.queue.empty()) {
        hand_on(pool);
      } else {
        hand_out(pool);
      }
      break;
    }
    default:
      ASSERT(false);
  }
}

// --- turns ----------------------------------------------------------------------------------

// Which links are not looked at yet, and rang.
void PoolBridge::look_at_bells() {
  bells_owed_ = false;
  std::array<epoll_event, 64> events;
  while (true) {
    core_.counters.syscalls.add();
    const int count = ::epoll_wait(bells_.get(), events.data(), static_cast<int>(events.size()), 0);
    for (int i = 0; i < count; ++i) activate(*static_cast<PoolLink*>(events[static_cast<size_t>(i)].data.ptr));
    if (count < static_cast<int>(events.size())) return;
  }
}

// All that workers say. Where a doorbell rang it was most likely one of those that are looked at anyway, which saves
// the question whose it was; if they had something to say, it is asked later.
void PoolBridge::listen() {
  const bool rang = std::exchange(bells_rang_, false);
  bool heard = false;
  size_t i = 0;
  for (; i < active_.size(); ++i) heard = take_events(*active_[i], EVENTS_MAX) || heard;
  bells_owed_ = bells_owed_ || rang;
  const bool due = core_.now >= pings_next_;
  if (!(rang && !heard) && !(bells_owed_ && due)) return;
  look_at_bells();
  for (; i < active_.size(); ++i) (void)take_events(*active_[i], EVENTS_MAX);
}

// Whatever is done here may make more work of any kind: by index, and all links are shown at the end.
void PoolBridge::turn() {
  if (links_.empty() && waiting_.empty() && dispatches_.count() == 0) return;
  listen();
  while (Timer* timer = wheel_.expire(core_.now)) expire(*static_cast<DispatchTimer*>(timer)->owner);
  look_at_waiting();
  answer_refused();
  carry_bodies();
  if (core_.now >= pings_next_) ping_all();
  for (size_t i = 0; i < active_.size(); ++i) {
    flush(*active_[i]);
    look_idle(*active_[i]);
  }
  std::erase_if(active_, [](PoolLink* link) {
    const bool starts = !link->link.ready() && !link->broken;
    const bool talks = starts || link->link.open_exchanges() > 0 || link->ping_out;
    const bool quiet = !talks && !link->stop_owed && !link->must_be_told();
    link->active = !(quiet && link->link.may_sleep());
    return !link->active;
  });
}

bool PoolBridge::hears() const {
  return std::ranges::any_of(active_, [](const PoolLink* link) { return link->link.shows_more(); });
}

bool PoolBridge::awaits() const {
  return std::ranges::any_of(active_, [](const PoolLink* link) { return link->link.open_exchanges() > 0; });
}

bool PoolBridge::may_wait() {
  bool may = refused_.empty() && body_due_.empty();
  for (PoolLink* link : active_) may = link->link.may_sleep() && !link->must_be_told() && may;
  return may;
}

void PoolBridge::awake() {
  for (PoolLink* link : active_) link->link.awake();
}

MonoTime PoolBridge::next_due() const {
  MonoTime next = wheel_.next_due();
  if (!links_.empty()) next = std::min(next, pings_next_);
  for (const ReactorPool* pool : waiting_) {
    const PoolSettings* settings = settings_of(*pool);
    next = std::min(next, pool->need_next);
    if (settings != nullptr && settings->queue_timeout.ns > 0) {
      next = std::min(next, pool->queue.next_due(settings->queue_timeout));
    }
  }
  return next;
}

void PoolBridge::list_waiting(ReactorPool& pool) {
  if (pool.listed) return;
  pool.listed = true;
  pool.need_next = std::max(pool.need_next,
                            core_.now);  // the supervisor hears of it at the end of this turn, if it still waits then
  waiting_.push_back(&pool);
}

// Pools with requests that wait: whether they still may, and whether somebody could take them.
void PoolBridge::look_at_waiting() {
  for (size_t i = 0; i < waiting_.size(); ++i) {
    ReactorPool& pool = *waiting_[i];
    const PoolSettings* settings = settings_of(pool);
    const PoolService service = pool.shared.service.load(std::memory_order_relaxed);
    if (service != PoolService::SERVING || settings == nullptr) {
      while (QueueItem* item = pool.queue.take()) {
        leave_queue(pool);
        answer(*static_cast<Dispatch*>(item),
               service == PoolService::FAILED ? Reason::APP_FAILED : Reason::APP_OFFLINE);
      }
      continue;
    }
    if (settings->queue_timeout.ns > 0) {
      while (QueueItem* item = pool.queue.expire(core_.now, settings->queue_timeout)) {
        leave_queue(pool);
        answer(*static_cast<Dispatch*>(item), Reason::APP_POOL_TIMER);
      }
    }
    if (pool.queue.empty() || core_.now < pool.need_next) continue;
    pool.need_next = core_.now + NEED_EVERY;
    hand_out(pool);
    if (pool.queue.empty() || core_.shared.pool_reports == nullptr) continue;
    const Duration oldest = core_.now - (pool.queue.next_due(Duration{}));
    core_.shared.pool_reports->post({.kind = PoolReport::Kind::NEED,
                                     .pool = pool.shared.name,
                                     .waiting = pool.shared.bound.waiting(),
                                     .oldest_ms = static_cast<uint32_t>(std::max<int64_t>(oldest.ms(), 0))});
  }
  std::erase_if(waiting_, [](ReactorPool* pool) {
    pool->listed = !pool->queue.empty();
    return !pool->listed;
  });
}

// --- what the supervisor hears --------------------------------------------------------------

void PoolBridge::report(PoolReport::Kind kind, PoolLink& link, std::string text) {
  if (core_.shared.pool_reports == nullptr) return;
  PoolReport report{.kind = kind, .pool = link.pool.shared.name, .worker = link.worker.number, .text = std::move(text)};
  constexpr size_t SERIALS_MAX = 64;
  for (const Dispatch* d : link.inside) {
    if (d != nullptr && report.serials.size() < SERIALS_MAX) report.serials.push_back(d->serial);
  }
  core_.shared.pool_reports->post(std::move(report));
}

void PoolBridge::report_broken(PoolLink& link) {
  link.broken = true;
  link.worker.takes.store(false, std::memory_order_relaxed);
  std::string what(violation_sentence(link.link.violation()));
  if (link.link.violation() == LinkViolation::VERSION) {
    what += ": it says version " + std::to_string(link.link.version()) + ", spoken with it are " +
            std::to_string(PENSTOCK_ABI_VERSION_MIN) + " to " + std::to_string(link.link.version_max());
  }
  report(PoolReport::Kind::BROKE, link, std::move(what));
  lose_all(link, Reason::WORKER_BROKE);
  hand_out(link.pool);
}

// Another exchange has ended. That it was the last before recycle.requests is told at once, not with the next load.
void PoolBridge::count_served(PoolLink& link) {
  PoolWorker& worker = link.worker;
  worker.served[core_.index].count.fetch_add(1);
  const PoolSettings* const settings = settings_of(link.pool);
  const uint64_t limit = settings != nullptr ? settings->recycle_requests : 0;
  if (limit == 0 || worker.served_limit_told.load(std::memory_order_relaxed) == limit) return;
  if (worker.served_in_all() < limit || worker.served_limit_told.exchange(limit) == limit) return;
  report(PoolReport::Kind::SERVED, link, "");
}

// A retired worker that has nothing of this reactor's any more that anybody waits for; the last reactor to see it so
// tells. What was cancelled, because its client has gone or was answered otherwise, is not waited for.
void PoolBridge::look_idle(PoolLink& link) {
  if (!link.retired || link.idle_told || link.stop_owed) return;
  if (link.link.open_exchanges() > 0) {
    const auto cancelled =
        std::ranges::count_if(link.inside, [](const Dispatch* d) { return d != nullptr && d->cancelled; });
    if (link.link.open_exchanges() > static_cast<uint32_t>(cancelled)) return;
  }
  link.idle_told = true;
  if (link.worker.idle.fetch_add(1) + 1 == link.worker.served.size()) report(PoolReport::Kind::IDLE, link, "");
}

// One reactor asks for all of a worker: the process has one thread that answers, whoever asks.
void PoolBridge::ping_all() {
  pings_next_ = core_.now + PINGS_EVERY;
  for (const auto& link : links_) {
    if (link->retired || core_.draining) probe_clients(*link);
    const PoolSettings* settings = settings_of(link->pool);
    if (settings == nullptr || settings->ping_interval.ns == 0 || link->broken || link->suspended) continue;
    if (link->worker.number % link->worker.served.size() != core_.index) continue;
    ping(*link, *settings);
  }
}

// Clients that have shut their half of the connection may have gone altogether, and a worker or server that is to end
// would wait for their answers. Only something that is sent tells: a socket that was closed answers with RST (RFC 1122
// section 4.2.2.13). An interim answer is what every client of HTTP/1.1 can skip (RFC 9110 section 15.2). The first one
// provokes the RST, the next one finds it where nothing else is under way on the connection.
void PoolBridge::probe_clients(const PoolLink& link) {
  for (Dispatch* const d : link.inside) {
    if (d == nullptr || d->exchange == nullptr || d->filter != nullptr || d->begun || d->refused) continue;
    const Exchange& ex = *d->exchange;
    Connection& c = *ex.connection;
    if (!c.peer_closed || c.stream || ex.http_1_0 || d->probes == PROBES_MAX) continue;
    Outgoing* const out = room_for(core_, c, CONTINUE_RESPONSE.size(), 0);
    if (out == nullptr) continue;  // answers before it are on their way
    out->copy(CONTINUE_RESPONSE);
    ++d->probes;
  }
}

void PoolBridge::ping(PoolLink& link, const PoolSettings& settings) {
  if (!link.link.ready() || !link.worker.warm.load(std::memory_order_relaxed)) return;  // start_timeout holds till then
  if (!link.ping_out) {
    if (core_.now - link.ping_sent < settings.ping_interval) return;
    link.ping_out = true;
    link.ping_sent = core_.now;
    (void)link.link.ping(1);  // a ring without room: it does not read, which is what we ask
    activate(link);
    return;
  }
  if (core_.now - link.ping_sent < settings.ping_timeout) return;
  link.broken = true;
  link.worker.takes.store(false, std::memory_order_relaxed);
  report(PoolReport::Kind::SILENT, link, "");
}

}  // namespace penstock
