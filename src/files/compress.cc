// The mutex is held for a few instructions at a time, but this thread runs at idle priority and may be
// preempted among them for as long as the machine is busy; so reactors only ever try to lock it.
//
// Invariants: bytes_held is the sum of the sizes of the bodies of all jobs queued or being done; each
// job holds one pin of its identity, each result that is DONE one pin of its body.
#include "src/files/compress.h"

#include "src/base/assert.h"
#include "src/base/doorbell.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>
#include <vector>

namespace penstock {

struct CompressQueue::State {
  State(BodyStore& bodies_in, const ValidityTable& cells_in, const CompressOptions& options_in,
        std::span<const int> wake_fds_in)
      : bodies(bodies_in),
        cells(cells_in),
        options(options_in),
        wake_fds(wake_fds_in.begin(), wake_fds_in.end()),
        results(wake_fds_in.size()) {}

  CompressResult run(const CompressJob& job);
  [[nodiscard]] int level(Coding coding);
  void wake(uint32_t reactor) const {
    if (wake_fds[reactor] >= 0) (void)ring_bell(wake_fds[reactor]);
  }

  BodyStore& bodies;
  const ValidityTable& cells;
  CompressOptions options;  // its levels: under the mutex
  const std::vector<int> wake_fds;
  mutable std::mutex mutex;  // all below
  std::condition_variable added;
  std::deque<CompressJob> jobs;
  std::vector<std::deque<CompressResult>> results;
  uint32_t outstanding = 0;  // jobs queued or under way, results not yet taken
  uint64_t bytes_held = 0;
  bool stopping = false;
  CompressCounters counters;
};

CompressQueue::CompressQueue(BodyStore& bodies, const ValidityTable& cells, const CompressOptions& options,
                             std::span<const int> wake_fds)
    : state_(std::make_unique<State>(bodies, cells, options, wake_fds)) {}

CompressQueue::~CompressQueue() {
  for (const CompressJob& job : state_->jobs) job.identity->unpin();
  for (auto& queue : state_->results) {
    for (const CompressResult& result : queue) {
      if (result.body != nullptr) result.body->unpin();
    }
  }
}

bool CompressQueue::submit(const CompressJob& job) {
  State& state = *state_;
  ASSERT(job.reactor < state.results.size() && job.coding != Coding::IDENTITY && job.identity->sealed());
  const uint64_t bytes = job.identity->size();
  {
    const std::unique_lock lock(state.mutex, std::try_to_lock);
    if (!lock.owns_lock()) return false;
    if (state.stopping || state.outstanding >= state.options.jobs_max ||
        state.bytes_held + bytes > state.options.bytes_max) {
      ++state.counters.refused;
      return false;
    }
    ++state.outstanding;
    state.bytes_held += bytes;
    job.identity->pin();
    state.jobs.push_back(job);
  }
  state.added.notify_one();
  return true;
}

size_t CompressQueue::results(uint32_t reactor, std::span<CompressResult> out) {
  State& state = *state_;
  const std::unique_lock lock(state.mutex, std::try_to_lock);
  if (!lock.owns_lock()) {
    state.wake(reactor);  // come again next turn
    return 0;
  }
  std::deque<CompressResult>& queue = state.results[reactor];
  const size_t count = std::min(out.size(), queue.size());
  std::copy_n(queue.begin(), count, out.begin());
  queue.erase(queue.begin(), queue.begin() + static_cast<std::ptrdiff_t>(count));
  state.outstanding -= static_cast<uint32_t>(count);
  return count;
}

void CompressQueue::set_levels(const CompressLevels& levels) {
  const std::lock_guard lock(state_->mutex);
  state_->options.levels = levels;
}

int CompressQueue::State::level(Coding coding) {
  const std::lock_guard lock(mutex);
  switch (coding) {
    case Coding::GZIP:
      return options.levels.gzip;
    case Coding::BR:
      return options.levels.br;
    case Coding::ZSTD:
      return options.levels.zstd;
    case Coding::IDENTITY:
      break;
  }
  return 0;
}

CompressResult CompressQueue::State::run(const CompressJob& job) {
  CompressResult result{.token = job.token, .coding = job.coding};
  const auto fresh = [&] { return job.validity.cell == 0 || cells.fresh(job.validity); };
  if (!fresh()) {
    result.outcome = CompressOutcome::STALE;
    return result;
  }
  const std::string_view input = job.identity->view();
  if (input.data() == nullptr) return result;  // FAILED: could not be mapped
  // 64 bits hold size * 100 for any body that fits into memory.
  const uint64_t bytes_max = input.size() * (100 - std::min(options.saving_min_percent, 100U)) / 100;
  uint64_t size = 0;
  const std::unique_ptr<char[]> bytes = compress_bytes(input, job.coding, level(job.coding), bytes_max, size);
  if (bytes == nullptr) {
    result.outcome = CompressOutcome::NOT_SMALLER;
  } else if (!fresh()) {
    result.outcome = CompressOutcome::STALE;
  } else if (Body* body = bodies.create(size)) {
    char* into = body->writable();
    if (into != nullptr) std::memcpy(into, bytes.get(), size);
    if (into != nullptr && body->seal()) {
      result.outcome = CompressOutcome::DONE;
      result.body = body;
    } else {
      body->unpin();
    }
  }
  return result;
}

bool CompressQueue::run_one() {
  State& state = *state_;
  CompressJob job;
  {
    const std::lock_guard lock(state.mutex);
    if (state.jobs.empty()) return false;
    job = state.jobs.front();
    state.jobs.pop_front();
  }
  const uint64_t bytes = job.identity->size();
  const CompressResult result = state.run(job);
  job.identity->unpin();
  {
    const std::lock_guard lock(state.mutex);
    CompressCounters& counters = state.counters;
    state.bytes_held -= bytes;
    switch (result.outcome) {
      case CompressOutcome::DONE:
        ++counters.done;
        counters.bytes_in += bytes;
        counters.bytes_out += result.body->size();
        break;
      case CompressOutcome::NOT_SMALLER:
        ++counters.not_smaller;
        break;
      case CompressOutcome::STALE:
        ++counters.stale;
        break;
      case CompressOutcome::FAILED:
        ++counters.failed;
        break;
    }
    state.results[job.reactor].push_back(result);
  }
  state.wake(job.reactor);
  return true;
}

void CompressQueue::run() {
  // Only what the reactors leave over: SCHED_IDLE, else the lowest nice value. Refusal is harmless.
  const sched_param param{};
  if (::sched_setscheduler(0, SCHED_IDLE, &param) != 0) (void)::setpriority(PRIO_PROCESS, 0, 19);
  State& state = *state_;
  for (;;) {
    {
      std::unique_lock lock(state.mutex);
      state.added.wait(lock, [&] { return state.stopping || !state.jobs.empty(); });
      if (state.stopping) return;
    }
    (void)run_one();
  }
}

void CompressQueue::stop() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->added.notify_all();
}

CompressCounters CompressQueue::counters() const {
  const std::lock_guard lock(state_->mutex);
  return state_->counters;
}

}  // namespace penstock
