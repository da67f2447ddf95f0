#include "tests/sim/sim_pools.h"

#include "src/base/bytes.h"

#include <algorithm>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace penstock {
namespace {

constexpr SegmentShape SHAPE{
    .entries = 64, .exchanges_max = 8, .chunk_bytes = 16'384, .chunks = 24, .arena_bytes = 65'536};

}  // namespace

const std::string& part_file_bytes() {
  static const std::string bytes = [] {
    std::string text;
    while (text.size() < 100'000) text += std::to_string(text.size()) + " ";
    return text;
  }();
  return bytes;
}

std::string expected_body(std::string_view path, std::string_view body) {
  const size_t slash = path.rfind('/');
  const auto size = static_cast<size_t>(parse_decimal(path.substr(slash + 1)).value_or(0));
  if (path.starts_with("/app/file/")) return "<" + part_file_bytes().substr(size) + ">";
  std::string text;
  const std::string word = std::string(path) + " ";
  while (text.size() < size) text += word;
  text.resize(size);
  return text.append(body);
}

SimWorker::SimWorker(uint64_t its_number, uint32_t reactors, uint64_t seed) : number(its_number), prng_(seed) {
  for (uint32_t i = 0; i < reactors; ++i) {
    End end{.memory = std::make_unique<PlainChannel>(SHAPE), .bell = UniqueFd(::eventfd(0, EFD_NONBLOCK))};
    end.link = std::make_unique<WorkerLink>(end.memory->memory);
    ends_.push_back(std::move(end));
  }
}

std::vector<ChannelMemory> SimWorker::channels() const {
  std::vector<ChannelMemory> list;
  for (const End& end : ends_) list.push_back(end.memory->memory);
  return list;
}

std::vector<UniqueFd> SimWorker::bells() const {
  std::vector<UniqueFd> list;
  for (const End& end : ends_) list.emplace_back(::fcntl(end.bell.get(), F_DUPFD_CLOEXEC, 3));
  return list;
}

void SimWorker::hear(uint32_t channel, const WorkerEvent& event, const SimWorkerFaults& faults) {
  WorkerLink& link = *ends_[channel].link;
  const auto job_of = [&](Handle exchange) {
    return std::ranges::find_if(jobs_,
                                [&](const Job& job) { return job.channel == channel && job.exchange == exchange; });
  };
  switch (event.kind) {
    case WorkerEvent::Kind::RESET:
      std::erase_if(jobs_, [channel](const Job& job) { return job.channel == channel; });
      break;
    case WorkerEvent::Kind::REQUEST: {
      const auto text = [&](penstock_text at) {
        return std::string(reinterpret_cast<const char*>(event.head) + at.at, at.bytes);
      };
      ++begun;
      jobs_.push_back({.channel = channel,
                       .exchange = event.exchange,
                       .path = text(event.head->path),
                       .body = std::string(event.body),
                       .head_only = text(event.head->method) == "HEAD",
                       .body_whole = event.end,
                       .counted = prng_.one_in(2),
                       .gives_up = faults.abort > 0 && prng_.one_in(faults.abort)});
      open_max = std::max<uint64_t>(open_max, jobs_.size());
      break;
    }
    case WorkerEvent::Kind::BODY: {
      const auto job = job_of(event.exchange);
      if (job != jobs_.end()) {
        job->body += event.body;
        job->body_whole = event.end;
      }
      ASSERT(link.consumed(event.exchange, 1));
      break;
    }
    case WorkerEvent::Kind::CANCEL: {
      const auto job = job_of(event.exchange);
      if (job != jobs_.end()) job->gives_up = true;
      break;
    }
    case WorkerEvent::Kind::PING:
      (void)link.pong(event.serial);
      break;
    case WorkerEvent::Kind::STOP:
      stopped = true;
      break;
    case WorkerEvent::Kind::CREDIT:
      break;
  }
}

bool SimWorker::move_on(Job& job) {
  WorkerLink& link = *ends_[job.channel].link;
  if (job.gives_up && (job.head_sent || prng_.one_in(2))) return link.abort(job.exchange);
  if (!job.body_whole) return false;
  if (!job.head_sent) {
    job.answer = expected_body(job.path, job.body);
    const std::pair<std::string_view, std::string_view> fields[] = {{"Content-Type", "text/plain"},
                                                                    {"X-Path", job.path}};
    const WorkerHead head{.length = job.counted ? job.answer.size() : PENSTOCK_LENGTH_UNKNOWN, .fields = fields};
    const bool whole = job.head_only || job.answer.empty();
    if (!link.send_head(job.exchange, head, {}, whole)) return false;
    job.head_sent = true;
    return whole;
  }
  if (job.path.starts_with("/app/file/")) {
    if (job.sent == 0) {
      job.sent = link.send_data(job.exchange, "<", false) ? 1 : 0;
      return false;
    }
    if (!job.named) {
      const uint64_t offset = parse_decimal(job.path.substr(job.path.rfind('/') + 1)).value_or(0);
      job.named = link.send_file(job.exchange, PART_FILE, offset, PENSTOCK_LENGTH_UNKNOWN, false);
      return false;
    }
    return link.send_data(job.exchange, ">", true);
  }
  const size_t rest = job.answer.size() - job.sent;
  const size_t size = std::min<size_t>({rest, link.window(job.exchange), link.piece_max(), 1 + prng_.below(20'000)});
  const bool last = size == rest;
  if (size == 0 || !link.send_data(job.exchange, std::string_view(job.answer).substr(job.sent, size), last))
    return false;
  job.sent += size;
  return last;
}

void SimWorker::step(SimWorld& world, const SimWorkerFaults& faults) {
  if (faults.hang > 0 && prng_.one_in(faults.hang)) deaf_ = 200;
  if (deaf_ > 0) {
    --deaf_;
    return;
  }
  for (uint32_t i = 0; i < ends_.size(); ++i) {
    WorkerEvent event;
    while (ends_[i].link->next(event)) hear(i, event, faults);
  }
  for (size_t i = 0; i < jobs_.size();) {
    if (prng_.one_in(2) && move_on(jobs_[i])) {
      jobs_.erase(jobs_.begin() + static_cast<ptrdiff_t>(i));
    } else {
      ++i;
    }
  }
  for (uint32_t i = 0; i < ends_.size(); ++i) {
    End& end = ends_[i];
    if (end.link->flush() || !end.link->starve() || !end.link->may_sleep()) {
      const uint64_t one = 1;
      (void)!::write(end.bell.get(), &one, sizeof one);
      world.ring(i);
    }
    end.link->awake();
  }
}

void SimWorker::lie(SimWorld& world) {
  const uint32_t channel = prng_.below(static_cast<uint32_t>(ends_.size()));
  End& end = ends_[channel];
  penstock_descriptor lie{};
  lie.kind = static_cast<uint8_t>(prng_.below(256));
  lie.flags = static_cast<uint8_t>(prng_.below(3));
  lie.slot = static_cast<uint16_t>(prng_.below(16));
  lie.generation = prng_.below(4);
  lie.head_at = prng_.below(1U << 17);
  lie.head_bytes = prng_.below(1U << 17);
  lie.reserved1 = 1;  // so that it surely is one
  const uint32_t tail = end.memory->worker.response_tail;
  end.memory->responses[tail % SHAPE.entries] = lie;
  end.memory->worker.response_tail = tail + 1;
  const uint64_t one = 1;
  (void)!::write(end.bell.get(), &one, sizeof one);
  world.ring(channel);
  deaf_ = UINT32_MAX;
}

void SimPools::start() {
  workers_.push_back(std::make_unique<SimWorker>(next_, world_.reactors(), prng_.next()));
  world_.pools().add_in_memory(pool_, next_, 1, workers_.back()->channels(), workers_.back()->bells());
  ++next_;
}

void SimPools::end(uint64_t number) {
  const auto it = std::ranges::find(workers_, number, [](const auto& worker) { return worker->number; });
  if (it == workers_.end()) return;
  world_.pools().gone(number);
  begun_ += (*it)->begun;
  open_max_ = std::max(open_max_, (*it)->open_max);
  dead_.push_back(std::move(*it));
  workers_.erase(it);
}

void SimPools::kill_one() {
  if (workers_.empty()) return;
  ++lost_;
  end(workers_[prng_.below(static_cast<uint32_t>(workers_.size()))]->number);
}

void SimPools::recycle() {
  if (workers_.empty()) return start();
  const uint64_t old = workers_.front()->number;
  start();
  world_.pools().retire(old);
}

void SimPools::step() {
  for (const auto& worker : workers_) worker->step(world_, faults_);
  if (faults_.die > 0 && prng_.one_in(faults_.die)) kill_one();
  if (faults_.lie > 0 && prng_.one_in(faults_.lie) && !workers_.empty()) workers_.back()->lie(world_);
  uint64_t dropped = 0;
  for (const PoolReport& report : world_.pool_reports().take(dropped)) {
    switch (report.kind) {
      case PoolReport::Kind::NEED:
        if (workers_.size() < 2) start();
        break;
      case PoolReport::Kind::BROKE:
      case PoolReport::Kind::OVERDUE:
      case PoolReport::Kind::SILENT:
        ++lost_;
        end(report.worker);
        break;
      case PoolReport::Kind::IDLE:
        end(report.worker);
        break;
      default:
        break;
    }
  }
  for (const auto& worker : workers_) {
    open_max_ = std::max(open_max_, worker->open_max);
  }
}

}  // namespace penstock
