#include "src/roles/pool_process.h"

#include "src/base/bytes.h"
#include "src/base/doorbell.h"
#include "src/http/request_head.h"
#include "src/http/target.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <unistd.h>
#include <utility>

namespace penstock {
namespace {

constexpr uint32_t CHUNKS_LEAST = 128;

Status duplicate_fd(const UniqueFd& from, UniqueFd& to) {
  to.reset(::fcntl(from.get(), F_DUPFD_CLOEXEC, 3));
  if (!to.valid()) return fail_errno("duplicate a descriptor");
  return {};
}

}  // namespace

// --- output -----------------------------------------------------------------------------------

OutputRelay::State OutputRelay::read(int fd, const std::string& prefix, OperatorLog& log, MonoTime now) {
  const Duration since = std::min(now - filled_, seconds(60));
  const auto earned = static_cast<uint32_t>(since.ms() * LINES_A_SECOND / 1000);
  if (earned > 0) {
    budget_ = std::min(budget_ + earned, LINES_AT_ONCE);
    filled_ = now;
    if (left_out_ > 0) {
      log.warn(prefix + "(" + std::to_string(std::exchange(left_out_, 0)) + " lines left out)");
    }
  }
  std::array<char, 8192> bytes;
  for (size_t total = 0; total < READ_BYTES;) {
    const ssize_t n = ::read(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == EAGAIN ? State::WAITING : State::CLOSED;
    if (n == 0) return State::CLOSED;
    take({bytes.data(), static_cast<size_t>(n)}, prefix, log);
    total += static_cast<size_t>(n);
  }
  return State::MORE;
}

void OutputRelay::take(std::string_view bytes, const std::string& prefix, OperatorLog& log) {
  while (!bytes.empty()) {
    const size_t end = std::min(bytes.find('\n'), bytes.size());
    if (!cut_) {
      partial_ += bytes.substr(0, std::min(end, LINE_BYTES_MAX - partial_.size()));
      cut_ = partial_.size() == LINE_BYTES_MAX;
    }
    if (end == bytes.size()) return;
    line(prefix, log);
    bytes.remove_prefix(end + 1);
  }
}

void OutputRelay::line(const std::string& prefix, OperatorLog& log) {
  if (budget_ == 0) {
    ++left_out_;
  } else if (!partial_.empty()) {
    --budget_;
    log.note(prefix + partial_ + (cut_ ? " …" : ""));
  }
  partial_.clear();
  cut_ = false;
}

void OutputRelay::finish(const std::string& prefix, OperatorLog& log) {
  line(prefix, log);
  if (left_out_ > 0) log.warn(prefix + "(" + std::to_string(std::exchange(left_out_, 0)) + " lines left out)");
}

// --- the process ------------------------------------------------------------------------------

// A head grows on the way: the path once more, decoded; the query and the authority once more; offsets and an end for
// each text. In place of its target may stand another that an application named, escaped anew.
uint64_t request_block_bytes_max(const Settings& settings) {
  constexpr uint64_t FIXED =
      sizeof(penstock_request_head) + sizeof(penstock_client_certificate) + FIELDS_MAX * sizeof(penstock_field);
  constexpr uint64_t NAMES = 4096 + 1024 + 1024;  // a route's prefix, a certificate's subject, names and addresses
  uint64_t url = settings.limits_url_bytes;
  uint64_t query = settings.limits_query_bytes;
  for (const SiteSettings& site : settings.sites) {
    url = std::max(url, site.limits_url_bytes.value_or(0));
    query = std::max(query, site.limits_query_bytes.value_or(0));
  }
  const uint64_t head = settings.longest_head();
  const uint64_t path = canonical_bytes_max(url, {.non_utf8 = settings.decode_non_utf8});
  return FIXED + NAMES + head + path + query + 3 * path + query;
}

uint64_t filter_bytes_max(const Settings& settings, const std::string& pool) {
  const auto named = [&pool](const std::vector<std::string>& filters) {
    return std::ranges::find(filters, pool) != filters.end();
  };
  const bool filters = std::ranges::any_of(settings.sites, [&](const SiteSettings& site) {
    return named(site.filters) || std::ranges::any_of(site.routes, [&](const RouteSettings& route) {
             return route.filters && named(*route.filters);
           });
  });
  // As an application may send it, and what the server's own fields add to one of a file.
  return filters ? 2 * PENSTOCK_HEAD_BYTES : 0;
}

SegmentShape segment_shape(uint32_t reactors, uint32_t concurrency, uint64_t block_bytes) {
  SegmentShape shape;
  shape.channels = reactors;
  shape.chunk_bytes = static_cast<uint32_t>((block_bytes + PENSTOCK_PAGE - 1) / PENSTOCK_PAGE * PENSTOCK_PAGE);
  // Heads of all exchanges, and as much again for bodies under way; rings that hold what all of them may have waiting.
  const uint32_t fit = (1U << 30) / shape.chunk_bytes;
  shape.chunks = std::min(std::max(CHUNKS_LEAST, 2 * concurrency), fit);
  shape.exchanges_max = std::min(concurrency, shape.chunks / 2);
  while (shape.entries < 4 * concurrency) shape.entries *= 2;
  return shape;
}

Result<PoolProcess> PoolProcess::start(const std::string& executable, WorkerLaunch launch, const SegmentShape& shape,
                                       MonoTime now) {
  auto memory = create_segment(shape);
  if (!memory) return std::unexpected(memory.error());
  auto helper_bed = make_bed();
  if (!helper_bed) return std::unexpected(helper_bed.error());
  auto worker_bed = make_bed();
  if (!worker_bed) return std::unexpected(worker_bed.error());
  std::vector<UniqueFd> server_bells;
  for (uint32_t i = 0; i < shape.channels; ++i) {
    auto bell = make_bell();
    if (!bell) return std::unexpected(bell.error());
    launch.server_bells.push_back(bell->get());
    server_bells.push_back(std::move(*bell));
  }
  launch.server_half = memory->server_half.get();
  launch.worker_half = memory->worker_half.get();
  launch.helper_bed = helper_bed->get();
  launch.worker_bed = worker_bed->get();
  auto process = WorkerProcess::spawn(executable, launch, now);
  if (!process) return std::unexpected(process.error());
  return PoolProcess{.process = std::move(*process),
                     .memory = std::move(*memory),
                     .helper_bed = std::move(*helper_bed),
                     .worker_bed = std::move(*worker_bed),
                     .server_bells = std::move(server_bells),
                     .output = {},
                     .start_problem = {}};
}

Result<WorkerHandover> PoolProcess::handover(const std::string& pool, uint64_t number, uint32_t epoch, bool warm,
                                             uint64_t served) const {
  WorkerHandover out;
  out.pool = pool;
  out.worker = number;
  out.pid = process.pid();
  out.epoch = epoch;
  out.warm = warm;
  out.served = served;
  Status ok = duplicate_fd(memory.server_half, out.server_half);
  if (ok) ok = duplicate_fd(memory.worker_half, out.worker_half);
  auto bell = make_bell();
  if (!bell) return std::unexpected(bell.error());
  out.worker_bell = std::move(*bell);
  if (ok) ok = hang_bell(out.worker_bell, {helper_bed.get(), worker_bed.get()});
  for (const UniqueFd& server_bell : server_bells) {
    out.server_bells.emplace_back();
    if (ok) ok = duplicate_fd(server_bell, out.server_bells.back());
  }
  if (!ok) return std::unexpected(ok.error());
  return out;
}

}  // namespace penstock
