// What supervisor and server tell each other about the workers of pools, as types: the contents of the messages
// WORKER, WORKER_RETIRE, WORKER_GONE, WORKER_SUSPEND, WORKER_RESUME, POOL_STATE, POOL_NEED, WORKER_STATE and POOL_LOAD
// of channel.h.
//
// Who decides what. The supervisor starts processes, stops them and says why; it never sees a request. The server
// hands requests out and sees first that a worker is slow, silent or lies; it never touches a process. A worker
// belongs to one server process: when a server is replaced in good order it keeps its workers until they are idle, and
// the new server gets new ones; when it died, its replacement takes the living ones over, with an epoch of its own.
//
//   supervisor                                   server
//     WORKER (memory, bells) ───────────────────►  maps, waits for READY in the ring
//     ◄────────────────── WORKER_STATE WARMING, COLD  where pool.NAME.warmup.* says so: before it serves
//     ◄─────────────────────── WORKER_STATE READY
//     WORKER_RETIRE (why) ──────────────────────►  gives it nothing more, says STOP in the ring
//     ◄──────────────────────── WORKER_STATE IDLE  when nothing is inside any more that anybody waits for
//     WORKER_GONE (why) ────────────────────────►  forgets it; what was inside is tried again or answered 502
//     WORKER_SUSPEND (why) ─────────────────────►  gives it nothing more for now, and sends no pings
//     ◄─────────────────────── WORKER_STATE RESTS  when nothing is inside any more: it is stopped where it is
//     WORKER_RESUME (why) ──────────────────────►  gives it requests again
//     ◄──── WORKER_STATE BROKE, OVERDUE, SILENT    to be ended (OVERDUE: asked first, then ended)
//     POOL_STATE ───────────────────────────────►  out of service: 503 at once, and what waits is answered so
//     ◄──────────────────────────────── POOL_NEED  requests wait and no worker has room
//     ◄──────────────────────────────── POOL_LOAD  once a second, and at once when a worker has served
//     recycle.requests:
//                                                  of its workers, and of queues that have changed
//
// Encoders shorten what is too long (texts, lists of serials), so that what they make can always be decoded. Decoders
// check everything: an Error, never an assertion.
#pragma once

#include "src/admin/channel.h"
#include "src/base/result.h"
#include "src/base/unique_fd.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

inline constexpr size_t POOL_REACTORS_MAX = 1024;        // of a server: server.reactors
inline constexpr size_t POOL_TEXT_BYTES_MAX = 1000;      // of a reason
inline constexpr size_t WORKER_SERIALS_MAX = 64;         // in one report
inline constexpr size_t POOL_LOAD_ROWS_MAX = 16 * 1024;  // of either kind in one POOL_LOAD: send a second for more

// WORKER: a process that takes requests, or will. Descriptors: the halves of its segment (pool/ring/segment.h), the
// bell that wakes it, and one eventfd of the server's for each reactor, in this order.
struct WorkerHandover {
  std::string pool;
  uint64_t worker = 0;  // never used twice while the supervisor lives
  int32_t pid = 0;
  uint32_t epoch = 0;   // of the server process that gets it; > 0
  bool warm = false;    // it served another server process before: no warm-up
  uint64_t served = 0;  // so many requests
  UniqueFd server_half;
  UniqueFd worker_half;
  UniqueFd worker_bell;  // which the worker itself does not have: it could make who rings it wait for ever
  std::vector<UniqueFd> server_bells;  // by reactor; this worker's alone, so that it can silence nobody else
};

// WORKER_RETIRE, WORKER_GONE, WORKER_SUSPEND and WORKER_RESUME.
struct WorkerNotice {
  uint64_t worker = 0;
  std::string why;        // "recycled after 1000 requests", "was killed by SIGSEGV"
  bool intruded = false;  // GONE: it was ended for what it tried, perhaps at the bidding of a request inside
};

// POOL_STATE. A pool of which nothing was said is SERVING.
struct PoolState {
  enum class Kind : uint8_t { SERVING, STOPPED, FAILED } kind = Kind::SERVING;  // FAILED: rapid-fail protection
  std::string pool;
  std::string why;
};

// POOL_NEED: sent when a request has to wait, and again every 100 ms while requests wait.
struct PoolNeed {
  std::string pool;
  uint32_t waiting = 0;
  uint32_t oldest_ms = 0;  // how long the oldest has waited
};

// WORKER_STATE.
struct WorkerReport {
  enum class Kind : uint8_t {
    READY,    // it takes requests, and is warmed up
    IDLE,     // retired, and nothing is inside any more that anybody waits for
    BROKE,    // it broke the protocol: text says how. It gets nothing more
    OVERDUE,  // a request took longer than request_timeout; the ring has told it so, and it has not ended it in time
    SILENT,   // it has not answered a ping for pool.NAME.ping_timeout
    WARMING,  // a request of its warm-up begins: text says which
    COLD,     // one has failed: text says which and how. It gets nothing more
    RESTS,    // to be suspended, and nothing is inside any more
  } kind = Kind::READY;
  uint64_t worker = 0;
  std::string text;
  std::vector<uint64_t> serials;  // of the requests inside, for OVERDUE, SILENT and BROKE; the first of them
};

// Since the server took the worker.
struct WorkerLoadReport {
  uint64_t worker = 0;
  uint64_t served = 0;   // exchanges that ended
  uint32_t inside = 0;   // now
  uint64_t idle_ms = 0;  // since one ended or began; 0 while one is inside
};

// What waits for a worker in one server, all its reactors together.
struct PoolQueueReport {
  std::string pool;
  uint32_t waiting = 0;
};

// POOL_LOAD. A pool of which no number was ever sent has none waiting.
struct PoolLoad {
  std::vector<WorkerLoadReport> workers;
  std::vector<PoolQueueReport> queues;
};

[[nodiscard]] Status send_worker(Channel& channel, const WorkerHandover& worker);
[[nodiscard]] Result<WorkerHandover> decode_worker(ChannelMessage message);  // REQUIRES: kind WORKER

[[nodiscard]] std::string encode_notice(const WorkerNotice& notice);
[[nodiscard]] Result<WorkerNotice> decode_notice(std::string_view payload);
[[nodiscard]] std::string encode_pool_state(const PoolState& state);
[[nodiscard]] Result<PoolState> decode_pool_state(std::string_view payload);
[[nodiscard]] std::string encode_pool_need(const PoolNeed& need);
[[nodiscard]] Result<PoolNeed> decode_pool_need(std::string_view payload);
[[nodiscard]] std::string encode_worker_report(const WorkerReport& report);
[[nodiscard]] Result<WorkerReport> decode_worker_report(std::string_view payload);
[[nodiscard]] std::string encode_pool_load(const PoolLoad& load);
[[nodiscard]] Result<PoolLoad> decode_pool_load(std::string_view payload);

}  // namespace penstock
