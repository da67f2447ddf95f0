// PoolProcess: one worker process with all that the supervisor holds for it: its memory, its bells, its output.
//
// Owned by Pools (supervisor_pools.h), used by the supervisor's thread. Nothing here decides and nothing here waits.
// The memory and the bells are kept as long as the process lives, so that a server can be replaced beneath it.
#pragma once

#include "pool/ring/segment.h"
#include "src/admin/event_loop.h"
#include "src/admin/operator_log.h"
#include "src/admin/pool_messages.h"
#include "src/admin/worker_process.h"
#include "src/config/settings.h"

#include <cstdint>
#include <string>
#include <vector>

namespace penstock {

// What the application's workers print, as lines for the operator: bounded, so that neither its log nor the supervisor
// drowns. A worker that prints faster than READ_BYTES a round has to wait for the next one.
class OutputRelay {
 public:
  static constexpr size_t LINE_BYTES_MAX = 1000;
  static constexpr size_t READ_BYTES = 64 * 1024;       // in one round
  static constexpr Duration ROUND = milliseconds(100);  // the shortest time between two
  static constexpr uint32_t LINES_A_SECOND = 50;
  static constexpr uint32_t LINES_AT_ONCE = 200;

  // Reads what is there, up to a round's share. `prefix` stands before each line.
  enum class State : uint8_t { WAITING, MORE, CLOSED };  // MORE: the share is used up
  State read(int fd, const std::string& prefix, OperatorLog& log, MonoTime now);
  // The end: what was no whole line yet, and how many were left out.
  void finish(const std::string& prefix, OperatorLog& log);

 private:
  void take(std::string_view bytes, const std::string& prefix, OperatorLog& log);
  void line(const std::string& prefix, OperatorLog& log);

  std::string partial_;
  bool cut_ = false;  // the rest of this line is dropped
  uint32_t budget_ = LINES_AT_ONCE;
  MonoTime filled_;
  uint64_t left_out_ = 0;
};

// The most bytes that the head of a request within the limits has in the ring (penstock_request_head).
[[nodiscard]] uint64_t request_block_bytes_max(const Settings& settings);
// What a chunk holds beside that, of a pool that some route names as a filter: the head of an answer. 0 for others.
[[nodiscard]] uint64_t filter_bytes_max(const Settings& settings, const std::string& pool);
// The memory for a worker that takes `concurrency` requests of each reactor, fewer where so many of their heads, of
// `block_bytes` each, were more than an arena holds.
[[nodiscard]] SegmentShape segment_shape(uint32_t reactors, uint32_t concurrency, uint64_t block_bytes);

struct PoolProcess {
  // Makes memory, beds and bells for a server with `shape.channels` reactors, and starts the process. `launch` without
  // descriptors.
  [[nodiscard]] static Result<PoolProcess> start(const std::string& executable, WorkerLaunch launch,
                                                 const SegmentShape& shape, MonoTime now);

  // For WORKER: everything with descriptors of its own.
  [[nodiscard]] Result<WorkerHandover> handover(const std::string& pool, uint64_t number, uint32_t epoch, bool warm,
                                                uint64_t served) const;

  WorkerProcess process;
  SegmentMemory memory;
  // Where it sleeps: it has these two, but no bell that hangs there (src/base/doorbell.h). Each server that takes it
  // gets a new one, so that none can spoil it for the next.
  UniqueFd helper_bed;
  UniqueFd worker_bed;
  std::vector<UniqueFd> server_bells;  // by reactor
  OutputRelay output;
  bool output_watched = false;
  bool output_open = true;
  MonoTime output_again = MonoTime::never();  // when a worker that prints too fast is read again
  bool report_watched = false;
  std::string start_problem;  // why it could not become a worker
  uint64_t memory_kills = 0;  // of the pool, when it was started
  bool killed_by_us = false;
};

}  // namespace penstock
