// The machine that drives loads: operations out, completions in, timers, results. What follows on
// what is in load_steps.cc.
//
// Invariant: a load with pending > 0 is never given back; so a completion always finds its load.
#include "src/files/loader.h"

#include "src/base/assert.h"
#include "src/files/load.h"

#include <algorithm>
#include <poll.h>

namespace penstock {
namespace {

constexpr size_t BATCH = 64;
// Rounds of completions in one poll(): what is in memory goes through in a handful (probe, open,
// read); more only when operations finish while we look, and those may wait for the next turn.
constexpr int ROUNDS_MAX = 32;

constexpr uint32_t FILE_BITS = 2;
static_assert(CODING_COUNT <= 1U << FILE_BITS);

uint64_t token_of(Handle handle, uint32_t file) {
  return static_cast<uint64_t>(handle.generation) << 32 | handle.index << FILE_BITS | file;
}
Handle handle_in(uint64_t token) {
  return {static_cast<uint32_t>(token) >> FILE_BITS, static_cast<uint32_t>(token >> 32)};
}
uint32_t file_in(uint64_t token) { return static_cast<uint32_t>(token) & ((1U << FILE_BITS) - 1); }

struct KindRow {
  Reason reason;
  std::string_view sentence;
};
constexpr KindRow KINDS[] = {
#define X(name, reason, sentence) {Reason::reason, sentence},
#include "src/files/load_kinds.def"
#undef X
};

}  // namespace

Reason load_kind_reason(LoadKind kind) { return KINDS[static_cast<size_t>(kind)].reason; }
std::string_view load_kind_sentence(LoadKind kind) { return KINDS[static_cast<size_t>(kind)].sentence; }

void LoadResult::discard(FileReader& reader) {
  for (LoadedVariant& variant : variants) {
    if (variant.body != nullptr) variant.body->unpin();
    if (variant.fd >= 0) reader.close(variant.fd);
    variant = {};
  }
  variant_count = 0;
}

Loader::Loader(FileReader& reader, BodyStore& bodies, FileWatch* watch, uint32_t loads_max)
    : state_(std::make_unique<State>(reader, bodies, watch, loads_max)) {
  ASSERT(loads_max < 1U << (32 - FILE_BITS));
}

Loader::~Loader() {
  State& state = *state_;
  // The reader still writes into our bodies and lists: wait for it. What is opened meanwhile is closed.
  std::array<FileCompletion, BATCH> batch;
  state.pending -= static_cast<uint32_t>(state.stalled.size());
  while (state.pending > 0) {
    const size_t count = state.reader.poll(batch);
    for (size_t i = 0; i < count; ++i) {
      const Load* load = state.loads.find(handle_in(batch[i].token));
      const bool opening = load->phase == LoadPhase::PROBE || load->phase == LoadPhase::OPEN;
      if (opening && batch[i].result >= 0) state.reader.close(static_cast<int>(batch[i].result));
      --state.pending;
    }
    if (count > 0 || state.pending == 0) continue;
    pollfd wake{.fd = state.reader.wake_fd(), .events = POLLIN, .revents = 0};
    (void)::poll(&wake, wake.fd >= 0 ? 1 : 0, 10);
  }
  state.loads.for_each([&](Load& load) { state.release_files(load); });
  for (LoadResult& result : state.done) result.discard(state.reader);
}

bool Loader::start(const LoadRequest& request, uint64_t token, MonoTime now) {
  State& state = *state_;
  if (request.path.size() > PATH_BYTES_MAX) return false;
  Load* load = state.loads.take();
  if (load == nullptr) return false;
  load->token = token;
  load->policy = request.policy;
  load->root = request.root;
  load->path = request.path;
  load->url_path = request.url_path;
  load->admit = request.admit;
  load->started = now;
  ++state.counters.started;
  state.now = now;
  state.begin(*load);
  return true;
}

size_t Loader::poll(MonoTime now, WallTime wall, std::span<LoadResult> out) {
  State& state = *state_;
  state.now = now;
  state.wall = wall;
  for (size_t i = state.stalled.size(); i > 0; --i) {
    const State::Stalled again = state.stalled.front();
    if (!state.reader.submit(again.op, again.token)) break;
    state.stalled.pop_front();
    state.poll_again = true;
  }
  std::vector<Handle> due;
  std::erase_if(state.waiting, [&](Handle handle) {
    if (state.loads.find(handle)->due > now) return false;
    due.push_back(handle);
    return true;
  });
  for (const Handle handle : due) {
    Load& load = *state.loads.find(handle);
    if (load.phase == LoadPhase::WRITE_LIST) {
      state.write_listing(load);
    } else {
      state.probe(load);
    }
  }
  std::array<FileCompletion, BATCH> batch;
  for (int round = 0; round < ROUNDS_MAX; ++round) {
    const size_t count = state.reader.poll(batch);
    if (count == 0) {
      state.poll_again = false;
      break;
    }
    for (size_t i = 0; i < count; ++i) state.complete(batch[i]);
  }
  const size_t count = std::min(out.size(), state.done.size());
  std::move(state.done.begin(), state.done.begin() + static_cast<std::ptrdiff_t>(count), out.begin());
  state.done.erase(state.done.begin(), state.done.begin() + static_cast<std::ptrdiff_t>(count));
  return count;
}

MonoTime Loader::next_due() const {
  const State& state = *state_;
  if (state.poll_again || !state.done.empty()) return MonoTime{0};
  MonoTime next = MonoTime::never();
  for (const Handle handle : state.waiting) next = std::min(next, state_->loads.find(handle)->due);
  // The reader makes room when it completes something; there is no other event for it.
  if (!state.stalled.empty()) next = std::min(next, state.now + milliseconds(1));
  return next;
}

uint32_t Loader::loads() const { return state_->loads.count(); }
const LoaderCounters& Loader::counters() const { return state_->counters; }

void Loader::State::submit(Load& load, const FileOp& op, uint32_t file) {
  const uint64_t token = token_of(loads.handle_of(&load), file);
  ++load.pending;
  ++pending;
  if (!stalled.empty() || !reader.submit(op, token)) {
    stalled.push_back({op, token});
    return;
  }
  poll_again = true;
}

void Loader::State::complete(const FileCompletion& completion) {
  Load* load = loads.find(handle_in(completion.token));
  ASSERT(load != nullptr && load->pending > 0);
  --load->pending;
  --pending;
  const uint32_t file = file_in(completion.token);
  switch (load->phase) {
    case LoadPhase::PROBE:
      probed(*load, completion);
      break;
    case LoadPhase::SUFFIXES:
      suffixes_read(*load, completion);
      break;
    case LoadPhase::OPEN:
      opened(*load, file, completion);
      break;
    case LoadPhase::READ:
      was_read(*load, file, completion);
      break;
    case LoadPhase::LIST:
      listed(*load, completion);
      break;
    case LoadPhase::WAIT:
    case LoadPhase::WRITE_LIST:
      ASSERT(false && "nothing is under way in these");
  }
}

void Loader::State::wait(Load& load, Duration pause) {
  ASSERT(load.pending == 0);
  load.due = now + pause;
  waiting.push_back(loads.handle_of(&load));
}

void Loader::State::close(LoadFile& file) {
  if (file.fd >= 0) reader.close(std::exchange(file.fd, -1));
}

void Loader::State::release_files(Load& load) {
  for (LoadFile& file : load.files) {
    close(file);
    if (file.body != nullptr) std::exchange(file.body, nullptr)->unpin();
    file.filled = 0;
  }
}

void Loader::State::finish(Load& load, LoadKind kind, int error) {
  LoadResult result;
  result.kind = kind;
  result.error = error;
  result.verdict = kind == LoadKind::REDIRECT_SLASH ? Verdict::REDIRECT : Verdict::ERROR_STATUS;
  deliver(load, std::move(result));
}

void Loader::State::deliver(Load& load, LoadResult&& result) {
  ASSERT(load.pending == 0);
  release_files(load);
  result.token = load.token;
  result.retries = load.retries;
  result.index = load.index;
  done.push_back(std::move(result));
  loads.give(&load);
}

}  // namespace penstock
