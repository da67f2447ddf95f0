// What the reactors and the control thread share of a pool and of its worker processes.
//
// Made and destroyed by the control thread (PoolTable); each member says who may touch it. A SharedPool lives as long
// as the process; a PoolWorker until every reactor has let go of it.
#pragma once

#include "pool/queue/pool_queue.h"
#include "pool/ring/segment.h"
#include "src/base/time.h"
#include "src/base/unique_fd.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace penstock {

enum class PoolService : uint8_t {
  SERVING,
  STOPPED,  // by the operator
  FAILED    // by rapid-fail protection
};

struct SharedPool {
  SharedPool(std::string its_name, uint32_t its_number, uint32_t reactors)
      : name(std::move(its_name)), number(its_number), waiting(reactors) {}

  const std::string name;
  const uint32_t number;                                   // place in PoolTable, for the life of the process
  PoolBound bound;                                         // any thread
  uint32_t waiting_told = 0;                               // control thread: of `bound`, to the supervisor
  std::atomic<PoolService> service{PoolService::SERVING};  // written by the control thread

  // Requests that wait at each reactor; written by that one. Pairs with PoolWorker::inside: who queues a request looks
  // at `inside` after its store here, who frees a place looks here after its store there, all sequentially consistent,
  // so that one of the two sees the other.
  struct alignas(64) Cell {
    std::atomic<uint32_t> count{0};
  };
  std::vector<Cell> waiting;
};

struct PoolWorker {
  PoolWorker(SharedPool& its_pool, uint64_t its_number, uint32_t its_epoch, uint32_t reactors)
      : pool(its_pool), number(its_number), epoch(its_epoch), users(reactors), served(reactors) {}

  SharedPool& pool;
  const uint64_t number;
  const uint32_t epoch;                 // of this server process
  std::vector<ChannelMemory> channels;  // by reactor
  std::optional<Segment> segment;       // where the channels lie; none where a test made them
  UniqueFd bell;                        // the worker's: written by reactors
  std::vector<UniqueFd> server_bells;   // by reactor: the worker writes

  // It may get requests. Cleared by any reactor that saw it fail, and by the control thread when it is retired.
  std::atomic<bool> takes{true};
  std::atomic<bool> warm{false};  // it has done its warm-up, or needs none: nobody gives it requests before
  // It is to sleep, or sleeps: nobody gives it requests. Written by the control thread, which then waits for `inside`
  // to be 0; who has taken a place looks here once more. Both sequentially consistent, so that one of the two sees the
  // other.
  std::atomic<bool> suspended{false};
  bool rest_told = false;             // control thread: it sleeps, or will soon
  std::atomic<bool> intruded{false};  // it has ended for what it tried: nothing that was inside is tried again
  std::atomic<uint32_t> overrun{0};   // requests that took too long and are still inside: nothing is added to them
  std::atomic<uint32_t> inside{0};    // requests, of all reactors together: never above pool.NAME.concurrency
  std::atomic<uint32_t> ready{0};     // reactors that have seen it ready
  std::atomic<uint32_t> idle{0};      // reactors that have nothing of it left after it was retired
  std::atomic<uint32_t> users;        // reactors that still hold it
  std::atomic<int64_t> busy_ns{0};    // MonoTime when a request last began or ended

  struct alignas(64) Cell {
    std::atomic<uint64_t> count{0};
  };
  std::vector<Cell> served;                    // exchanges that ended, by reactor
  uint64_t served_before = 0;                  // at other servers
  std::atomic<uint64_t> served_limit_told{0};  // recycle.requests of which it was told that they are reached

  // With all that ended at any reactor before. Sequentially consistent with counting them, so that the last to count
  // sees all.
  [[nodiscard]] uint64_t served_in_all() const {
    uint64_t sum = served_before;
    for (const Cell& cell : served) sum += cell.count.load();
    return sum;
  }

  // One place for a request, if fewer than `limit` are taken. Sequentially consistent: see SharedPool::waiting.
  [[nodiscard]] bool enter(uint32_t limit) {
    uint32_t now = inside.load();
    do {
      if (now >= limit) return false;
    } while (!inside.compare_exchange_weak(now, now + 1));
    return true;
  }
  void leave() { inside.fetch_sub(1); }
};

}  // namespace penstock
