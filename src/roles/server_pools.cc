#include "src/roles/server_pools.h"

#include "src/admin/operator_log.h"
#include "src/admin/pool_messages.h"
#include "src/base/bytes.h"
#include "src/roles/patience.h"
#include "src/server/pools/pool_reports.h"
#include "src/server/pools/pool_table.h"

#include <utility>

namespace penstock {
namespace {

constexpr Duration LOAD_EVERY = seconds(1);
constexpr size_t SAID_BYTES_MAX = 1000;  // of an application's line in the operator's log

PoolService service_of(PoolState::Kind kind) {
  switch (kind) {
    case PoolState::Kind::SERVING:
      return PoolService::SERVING;
    case PoolState::Kind::STOPPED:
      return PoolService::STOPPED;
    case PoolState::Kind::FAILED:
      return PoolService::FAILED;
  }
  return PoolService::STOPPED;
}

WorkerReport::Kind kind_of(PoolReport::Kind kind) {
  switch (kind) {
    case PoolReport::Kind::READY:
      return WorkerReport::Kind::READY;
    case PoolReport::Kind::IDLE:
      return WorkerReport::Kind::IDLE;
    case PoolReport::Kind::OVERDUE:
      return WorkerReport::Kind::OVERDUE;
    case PoolReport::Kind::SILENT:
      return WorkerReport::Kind::SILENT;
    case PoolReport::Kind::WARMING:
      return WorkerReport::Kind::WARMING;
    case PoolReport::Kind::COLD:
      return WorkerReport::Kind::COLD;
    default:
      return WorkerReport::Kind::BROKE;
  }
}

}  // namespace

bool ServerPools::obey(ChannelMessage& message, std::vector<std::string>& notes) {
  PoolTable& pools = process_.pools();
  switch (message.kind) {
    case MessageKind::WORKER: {
      Result<WorkerHandover> worker = decode_worker(std::move(message));
      Status added = worker ? pools.add({.pool = worker->pool,
                                         .worker = worker->worker,
                                         .epoch = worker->epoch,
                                         .warm = worker->warm,
                                         .served = worker->served,
                                         .server_half = std::move(worker->server_half),
                                         .worker_half = std::move(worker->worker_half),
                                         .worker_bell = std::move(worker->worker_bell),
                                         .server_bells = std::move(worker->server_bells)})
                            : std::unexpected(worker.error());
      if (!added) notes.push_back("a worker cannot be used: " + added.error().message);
      return true;
    }
    case MessageKind::WORKER_RETIRE:
      if (const auto notice = decode_notice(message.payload)) pools.retire(notice->worker);
      return true;
    case MessageKind::WORKER_GONE:
      if (const auto notice = decode_notice(message.payload)) pools.gone(notice->worker, notice->intruded);
      return true;
    case MessageKind::WORKER_SUSPEND:
      if (const auto notice = decode_notice(message.payload)) pools.suspend(notice->worker);
      return true;
    case MessageKind::WORKER_RESUME:
      if (const auto notice = decode_notice(message.payload)) pools.resume(notice->worker);
      return true;
    case MessageKind::POOL_STATE:
      if (const auto state = decode_pool_state(message.payload))
        pools.set_service(state->pool, service_of(state->kind));
      return true;
    default:
      return false;
  }
}

int ServerPools::wake_fd() const { return process_.pool_reports().wake_fd(); }

void ServerPools::tell(std::vector<std::string>& notes) {
  uint64_t dropped = 0;
  for (PoolReport& report : process_.pool_reports().take(dropped)) {
    switch (report.kind) {
      case PoolReport::Kind::NEED:
        (void)channel_.send_wait(
            MessageKind::POOL_NEED, 0,
            encode_pool_need({.pool = report.pool, .waiting = report.waiting, .oldest_ms = report.oldest_ms}),
            SEND_PATIENCE);
        break;
      case PoolReport::Kind::SAID:
        notes.push_back("pool " + report.pool + " worker " + std::to_string(report.worker) + ": " +
                        escape_line(report.text, SAID_BYTES_MAX));
        break;
      case PoolReport::Kind::SERVED:
        load_next_ = {};
        break;
      default:
        (void)channel_.send_wait(MessageKind::WORKER_STATE, 0,
                                 encode_worker_report({.kind = kind_of(report.kind),
                                                       .worker = report.worker,
                                                       .text = report.text,
                                                       .serials = std::move(report.serials)}),
                                 SEND_PATIENCE);
    }
  }
  if (dropped > 0) notes.push_back(std::to_string(dropped) + " lines of applications were dropped: too many at once");
  for (const uint64_t worker : process_.pools().rested()) {
    (void)channel_.send_wait(MessageKind::WORKER_STATE, 0,
                             encode_worker_report({.kind = WorkerReport::Kind::RESTS, .worker = worker}),
                             SEND_PATIENCE);
  }
  const MonoTime now = process_.now();
  if (now < load_next_) return;
  load_next_ = now + LOAD_EVERY;
  tell_load();
}

// However many there are: in as many messages as it takes.
void ServerPools::tell_load() {
  PoolLoad load;
  const auto send = [&] {
    (void)channel_.send_wait(MessageKind::POOL_LOAD, 0, encode_pool_load(load), SEND_PATIENCE);
    load = {};
  };
  for (const PoolTable::Load& one : process_.pools().loads()) {
    load.workers.push_back({.worker = one.worker, .served = one.served, .inside = one.inside, .idle_ms = one.idle_ms});
    if (load.workers.size() == POOL_LOAD_ROWS_MAX) send();
  }
  for (const PoolTable::Queue& one : process_.pools().changed_queues()) {
    load.queues.push_back({.pool = std::string(one.pool), .waiting = one.waiting});
    if (load.queues.size() == POOL_LOAD_ROWS_MAX) send();
  }
  if (!load.workers.empty() || !load.queues.empty()) send();
}

}  // namespace penstock
