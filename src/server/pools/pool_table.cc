#include "src/server/pools/pool_table.h"

#include <algorithm>
#include <utility>

namespace penstock {

SharedPool* PoolTable::find_pool(std::string_view name) const {
  const auto it = std::ranges::find(pools_, name, [](const auto& pool) { return std::string_view(pool->name); });
  return it == pools_.end() ? nullptr : it->get();
}

SharedPool& PoolTable::pool_named(const std::string& name) {
  if (SharedPool* known = find_pool(name)) return *known;
  pools_.push_back(
      std::make_unique<SharedPool>(name, static_cast<uint32_t>(pools_.size()), static_cast<uint32_t>(inboxes_.size())));
  return *pools_.back();
}

void PoolTable::bind(Snapshot& snapshot) {
  StringMap<SharedPool*> by_name;
  for (const auto& pool : pools_) by_name.emplace(pool->name, pool.get());
  for (const PoolSettings& settings : snapshot.settings.pools) {
    const auto known = by_name.find(settings.name);
    SharedPool* pool = known != by_name.end() ? known->second : nullptr;
    if (pool == nullptr) {
      pools_.push_back(std::make_unique<SharedPool>(settings.name, static_cast<uint32_t>(pools_.size()),
                                                    static_cast<uint32_t>(inboxes_.size())));
      pool = pools_.back().get();
      by_name.emplace(settings.name, pool);
    }
    if (snapshot.pools.size() <= pool->number) snapshot.pools.resize(pool->number + 1);
    snapshot.pools[pool->number] = &settings;
  }
  for (const Route* route : snapshot.routes.routes()) {
    const auto found = by_name.find(route->pool);
    const bool served = route->handler == HandlerSetting::POOL && found != by_name.end();
    snapshot.pool_of_route.push_back(served ? found->second : nullptr);
    auto& filters = snapshot.filters_of_route.emplace_back();
    for (const std::string& name : route->filters) filters.push_back(by_name.at(name));  // checks.cc: each is a pool
  }
}

PoolWorker* PoolTable::find(uint64_t worker) const {
  const auto it = std::ranges::find(workers_, worker, [](const auto& one) { return one->number; });
  return it == workers_.end() ? nullptr : it->get();
}

void PoolTable::tell_all(const ReactorMessage& message) {
  for (const auto& inbox : inboxes_) inbox->post(message);
}

Status PoolTable::add(PoolWorkerStart start) {
  SharedPool* const pool = find_pool(start.pool);
  if (pool == nullptr) return fail("worker " + std::to_string(start.worker) + " is of a pool that is not known here");
  if (find(start.worker) != nullptr) return fail("worker " + std::to_string(start.worker) + " came twice");
  auto segment = Segment::map(start.server_half.get(), start.worker_half.get(), Segment::Side::SERVER);
  if (!segment) return std::unexpected(segment.error());
  const size_t reactors = inboxes_.size();
  if (segment->header().channels != reactors || start.server_bells.size() != reactors) {
    return fail("worker " + std::to_string(start.worker) + " was not made for " + std::to_string(reactors) +
                " reactors");
  }
  auto worker = std::make_unique<PoolWorker>(*pool, start.worker, start.epoch, static_cast<uint32_t>(reactors));
  for (uint32_t i = 0; i < reactors; ++i) worker->channels.push_back(segment->channel(i));
  worker->warm.store(start.warm, std::memory_order_relaxed);
  worker->served_before = start.served;
  worker->segment.emplace(std::move(*segment));
  worker->bell = std::move(start.worker_bell);
  worker->server_bells = std::move(start.server_bells);
  add_worker(std::move(worker));
  return {};
}

void PoolTable::add_worker(std::unique_ptr<PoolWorker> worker) {
  worker->busy_ns.store(clock_.now().ns, std::memory_order_relaxed);
  workers_.push_back(std::move(worker));
  tell_all({.kind = ReactorMessage::Kind::WORKER_ADDED, .worker = workers_.back().get()});
}

void PoolTable::add_in_memory(std::string_view pool, uint64_t number, uint32_t epoch,
                              std::vector<ChannelMemory> channels, std::vector<UniqueFd> server_bells) {
  auto worker = std::make_unique<PoolWorker>(pool_named(std::string(pool)), number, epoch,
                                             static_cast<uint32_t>(inboxes_.size()));
  worker->channels = std::move(channels);
  worker->server_bells = std::move(server_bells);
  add_worker(std::move(worker));
}

void PoolTable::retire(uint64_t number) {
  PoolWorker* const worker = find(number);
  if (worker == nullptr) return;
  worker->takes.store(false, std::memory_order_relaxed);
  tell_all({.kind = ReactorMessage::Kind::WORKER_RETIRED, .worker = worker});
}

void PoolTable::gone(uint64_t number, bool intruded) {
  const auto it = std::ranges::find(workers_, number, [](const auto& one) { return one->number; });
  if (it == workers_.end()) return;
  PoolWorker* const worker = it->get();
  worker->intruded.store(intruded, std::memory_order_relaxed);
  worker->takes.store(false, std::memory_order_relaxed);
  gone_.push_back(std::move(*it));
  workers_.erase(it);
  tell_all({.kind = ReactorMessage::Kind::WORKER_GONE, .worker = worker});
}

void PoolTable::suspend(uint64_t number) {
  PoolWorker* const worker = find(number);
  if (worker == nullptr) return;
  worker->rest_told = false;
  worker->suspended.store(true);
  tell_all({.kind = ReactorMessage::Kind::WORKER_SUSPENDED, .worker = worker});
}

void PoolTable::resume(uint64_t number) {
  PoolWorker* const worker = find(number);
  if (worker == nullptr) return;
  worker->busy_ns.store(clock_.now().ns, std::memory_order_relaxed);
  worker->suspended.store(false);
  tell_all({.kind = ReactorMessage::Kind::WORKER_RESUMED, .worker = worker});
}

std::vector<uint64_t> PoolTable::rested() {
  std::vector<uint64_t> list;
  for (const auto& worker : workers_) {
    if (worker->rest_told || !worker->suspended.load() || worker->inside.load() > 0) continue;
    worker->rest_told = true;
    list.push_back(worker->number);
  }
  return list;
}

void PoolTable::set_service(std::string_view name, PoolService service) {
  SharedPool* const pool = find_pool(name);
  if (pool == nullptr || pool->service.exchange(service) == service) return;
  tell_all({.kind = ReactorMessage::Kind::POOL_SERVICE, .pool = pool});
}

void PoolTable::collect() {
  // Acquire: what a reactor did with the memory was done before it is unmapped.
  std::erase_if(gone_, [](const auto& worker) { return worker->users.load(std::memory_order_acquire) == 0; });
}

std::vector<PoolTable::Load> PoolTable::loads() const {
  const MonoTime now = clock_.now();
  std::vector<Load> list;
  for (const auto& worker : workers_) {
    Load load{.worker = worker->number, .inside = worker->inside.load(std::memory_order_relaxed)};
    for (const PoolWorker::Cell& cell : worker->served) load.served += cell.count.load(std::memory_order_relaxed);
    const int64_t busy = worker->busy_ns.load(std::memory_order_relaxed);
    if (load.inside == 0) load.idle_ms = static_cast<uint64_t>(std::max<int64_t>((now - MonoTime{busy}).ms(), 0));
    list.push_back(load);
  }
  return list;
}

std::vector<PoolTable::Queue> PoolTable::changed_queues() {
  std::vector<Queue> list;
  for (const auto& pool : pools_) {
    const uint32_t waiting = pool->bound.waiting();
    if (std::exchange(pool->waiting_told, waiting) != waiting) list.push_back({.pool = pool->name, .waiting = waiting});
  }
  return list;
}

}  // namespace penstock
