// SimPools: worker processes of the simulator: the worker's end of the real rings in plain memory, and the part of the
// supervisor that starts and ends them.
//
// A worker's answer is known from its request alone: see expected_body(). Workers are slow, answer out of order, in
// pieces and with or without a length; with faults they also die, lie, hang and give up.
#pragma once

#include "pool/ring/worker_link.h"
#include "src/base/prng.h"
#include "tests/sim/sim_world.h"
#include "tests/support/plain_channel.h"

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

// A file of the site that workers name in their answers.
inline constexpr std::string_view PART_FILE = "part.txt";
[[nodiscard]] const std::string& part_file_bytes();

// What a worker answers: `size` bytes that name the request, then its body. The path is "/app/NAME/SIZE". Or, of
// "/app/file/NAME/OFFSET", in brackets PART_FILE from there on.
[[nodiscard]] std::string expected_body(std::string_view path, std::string_view body);

struct SimWorkerFaults {
  uint32_t die = 0;    // one in so many steps a worker dies; 0: never. So for all
  uint32_t lie = 0;    // writes what no worker may
  uint32_t hang = 0;   // is deaf for a while
  uint32_t abort = 0;  // of requests: given up, before or after the head
};

class SimWorker {
 public:
  SimWorker(uint64_t number, uint32_t reactors, uint64_t seed);

  [[nodiscard]] std::vector<ChannelMemory> channels() const;
  [[nodiscard]] std::vector<UniqueFd> bells() const;  // copies, for the server
  // Reads what has come, and moves some of its answers on.
  void step(SimWorld& world, const SimWorkerFaults& faults);
  void lie(SimWorld& world);

  const uint64_t number;
  uint64_t begun = 0;
  uint64_t open_max = 0;  // requests inside at a time
  bool stopped = false;   // was told to stop

 private:
  struct Job {
    uint32_t channel = 0;
    Handle exchange;
    std::string path;
    std::string body;
    bool head_only = false;
    bool body_whole = false;
    bool head_sent = false;
    bool counted = false;  // says its length
    bool gives_up = false;
    bool named = false;  // the file was
    std::string answer;
    size_t sent = 0;
  };
  struct End {
    std::unique_ptr<PlainChannel> memory;
    std::unique_ptr<WorkerLink> link;
    UniqueFd bell;
    bool ready = false;
  };
  void hear(uint32_t channel, const WorkerEvent& event, const SimWorkerFaults& faults);
  [[nodiscard]] bool move_on(Job& job);  // true: it is done

  Prng prng_;
  std::vector<End> ends_;
  std::deque<Job> jobs_;
  uint32_t deaf_ = 0;
};

class SimPools {
 public:
  SimPools(SimWorld& world, std::string pool, uint64_t seed, SimWorkerFaults faults)
      : world_(world), pool_(std::move(pool)), prng_(seed), faults_(faults) {}

  void start();
  void step();
  // The oldest worker is replaced: another one comes first, then it gets nothing more.
  void recycle();
  void kill_one();
  void stop_faults() { faults_ = {}; }
  [[nodiscard]] size_t alive() const { return workers_.size(); }
  [[nodiscard]] uint64_t open_max() const { return open_max_; }
  [[nodiscard]] uint64_t begun() const { return begun_; }
  [[nodiscard]] uint64_t lost() const { return lost_; }  // workers that died or lied

 private:
  void end(uint64_t number);

  SimWorld& world_;
  std::string pool_;
  Prng prng_;
  SimWorkerFaults faults_;
  uint64_t next_ = 1;
  uint64_t begun_ = 0;
  uint64_t open_max_ = 0;
  uint64_t lost_ = 0;
  std::deque<std::unique_ptr<SimWorker>> workers_;
  std::vector<std::unique_ptr<SimWorker>> dead_;  // their memory is the server's until it has let go
};

}  // namespace penstock
