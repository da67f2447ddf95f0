// WORKER's payload names the worker; its descriptors stand in a fixed order, so their number says what each is.
#include "src/admin/pool_messages.h"

#include "src/admin/json.h"
#include "src/config/schema.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

namespace penstock {
namespace {

constexpr size_t FIXED_FDS = 3;  // the two halves and the worker's bell; the server's bells follow
static_assert(FIXED_FDS + POOL_REACTORS_MAX <= CHANNEL_FDS_MAX);

constexpr std::string_view POOL_KINDS[] = {"serving", "stopped", "failed"};
constexpr std::string_view REPORT_KINDS[] = {"ready", "idle", "broke", "overdue", "silent", "warming", "cold", "rests"};

std::string_view shortened(std::string_view text) { return text.substr(0, POOL_TEXT_BYTES_MAX); }

// The place of the member's text in `names`, or nothing.
template <typename Kind, size_t N>
std::optional<Kind> kind_named(const Json& object, const std::string_view (&names)[N]) {
  const auto found = std::find(std::begin(names), std::end(names), json_text(object, "kind"));
  if (found == std::end(names)) return std::nullopt;
  return static_cast<Kind>(found - std::begin(names));
}

Result<Json> parse_object(std::string_view payload, const char* what) {
  auto json = parse_json(payload);
  if (!json || !json->is_object()) return fail(std::string(what) + " is not a JSON object");
  return std::move(*json);
}

// A number that must be there and fit.
Status take_number(const Json& object, const char* key, uint64_t max, uint64_t& out) {
  const auto it = object.find(key);
  if (it == object.end() || !it->is_number_unsigned() || it->get<uint64_t>() > max) {
    return fail(std::string(key) + " is missing or out of range");
  }
  out = it->get<uint64_t>();
  return {};
}

template <typename Number>
Status take_field(const Json& object, const char* key, Number& out) {
  uint64_t wide = 0;
  Status ok = take_number(object, key, static_cast<uint64_t>(std::numeric_limits<Number>::max()), wide);
  if (ok) out = static_cast<Number>(wide);
  return ok;
}

Status take_worker(const Json& object, uint64_t& out) {
  Status ok = take_field(object, "worker", out);
  if (ok && out == 0) return fail("worker 0 does not exist");
  return ok;
}

Status take_pool(const Json& object, std::string& out) {
  out = json_text(object, "pool");
  if (!is_instance_name(out)) return fail("pool is missing or no name");
  return {};
}

Status take_reason(const Json& object, const char* key, std::string& out) {
  out = json_text(object, key);
  if (out.size() > 4 * POOL_TEXT_BYTES_MAX) return fail(std::string(key) + " is too long");  // bytes may be replaced
  return {};
}

Status take_serials(const Json& object, std::vector<uint64_t>& out) {
  const Json& serials = json_array(object, "serials");
  if (serials.size() > WORKER_SERIALS_MAX) return fail("too many serials");
  for (const Json& serial : serials) {
    if (!serial.is_number_unsigned()) return fail("a serial is not a number");
    out.push_back(serial.get<uint64_t>());
  }
  return {};
}

}  // namespace

Status send_worker(Channel& channel, const WorkerHandover& worker) {
  std::vector<int> fds = {worker.server_half.get(), worker.worker_half.get(), worker.worker_bell.get()};
  for (const UniqueFd& bell : worker.server_bells) fds.push_back(bell.get());
  if (fds.size() == FIXED_FDS || fds.size() > FIXED_FDS + POOL_REACTORS_MAX) {
    return fail("WORKER for " + std::to_string(worker.server_bells.size()) + " reactors", EINVAL);
  }
  const Json head = {{"pool", worker.pool},   {"worker", worker.worker}, {"pid", worker.pid},
                     {"epoch", worker.epoch}, {"warm", worker.warm},     {"served", worker.served}};
  return channel.send(MessageKind::WORKER, 0, json_line(head), fds);
}

Result<WorkerHandover> decode_worker(ChannelMessage message) {
  const auto head = parse_object(message.payload, "WORKER");
  if (!head) return std::unexpected(head.error());
  WorkerHandover worker;
  Status ok = take_pool(*head, worker.pool);
  if (ok) ok = take_worker(*head, worker.worker);
  if (ok) ok = take_field(*head, "pid", worker.pid);
  if (ok) ok = take_field(*head, "epoch", worker.epoch);
  if (ok) ok = take_field(*head, "served", worker.served);
  if (!ok) return fail("WORKER: " + ok.error().message);
  const auto warm = head->find("warm");
  if (warm == head->end() || !warm->is_boolean()) return fail("WORKER: warm is missing or no boolean");
  worker.warm = warm->get<bool>();
  if (worker.pid <= 0 || worker.epoch == 0) return fail("WORKER: pid or epoch is 0");
  if (message.fds.size() <= FIXED_FDS || message.fds.size() > FIXED_FDS + POOL_REACTORS_MAX) {
    return fail("WORKER with " + std::to_string(message.fds.size()) + " descriptors");
  }
  worker.server_half = std::move(message.fds[0]);
  worker.worker_half = std::move(message.fds[1]);
  worker.worker_bell = std::move(message.fds[2]);
  for (size_t i = FIXED_FDS; i < message.fds.size(); ++i) worker.server_bells.push_back(std::move(message.fds[i]));
  return worker;
}

std::string encode_notice(const WorkerNotice& notice) {
  return json_line({{"worker", notice.worker}, {"why", shortened(notice.why)}, {"intruded", notice.intruded}});
}

Result<WorkerNotice> decode_notice(std::string_view payload) {
  const auto json = parse_object(payload, "notice");
  if (!json) return std::unexpected(json.error());
  WorkerNotice notice;
  Status ok = take_worker(*json, notice.worker);
  if (ok) ok = take_reason(*json, "why", notice.why);
  if (!ok) return fail("notice: " + ok.error().message);
  const auto intruded = json->find("intruded");
  if (intruded != json->end() && !intruded->is_boolean()) return fail("notice: intruded is no boolean");
  notice.intruded = intruded != json->end() && intruded->get<bool>();  // absent: an older supervisor
  return notice;
}

std::string encode_pool_state(const PoolState& state) {
  return json_line(
      {{"pool", state.pool}, {"kind", POOL_KINDS[std::to_underlying(state.kind)]}, {"why", shortened(state.why)}});
}

Result<PoolState> decode_pool_state(std::string_view payload) {
  const auto json = parse_object(payload, "POOL_STATE");
  if (!json) return std::unexpected(json.error());
  PoolState state;
  const auto kind = kind_named<PoolState::Kind>(*json, POOL_KINDS);
  if (!kind) return fail("POOL_STATE: unknown kind");
  state.kind = *kind;
  Status ok = take_pool(*json, state.pool);
  if (ok) ok = take_reason(*json, "why", state.why);
  if (!ok) return fail("POOL_STATE: " + ok.error().message);
  return state;
}

std::string encode_pool_need(const PoolNeed& need) {
  return json_line({{"pool", need.pool}, {"waiting", need.waiting}, {"oldest_ms", need.oldest_ms}});
}

Result<PoolNeed> decode_pool_need(std::string_view payload) {
  const auto json = parse_object(payload, "POOL_NEED");
  if (!json) return std::unexpected(json.error());
  PoolNeed need;
  Status ok = take_pool(*json, need.pool);
  if (ok) ok = take_field(*json, "waiting", need.waiting);
  if (ok) ok = take_field(*json, "oldest_ms", need.oldest_ms);
  if (!ok) return fail("POOL_NEED: " + ok.error().message);
  return need;
}

std::string encode_worker_report(const WorkerReport& report) {
  Json serials = Json::array();
  for (size_t i = 0; i < report.serials.size() && i < WORKER_SERIALS_MAX; ++i) serials.push_back(report.serials[i]);
  return json_line({{"worker", report.worker},
                    {"kind", REPORT_KINDS[std::to_underlying(report.kind)]},
                    {"text", shortened(report.text)},
                    {"serials", serials}});
}

Result<WorkerReport> decode_worker_report(std::string_view payload) {
  const auto json = parse_object(payload, "WORKER_STATE");
  if (!json) return std::unexpected(json.error());
  WorkerReport report;
  const auto kind = kind_named<WorkerReport::Kind>(*json, REPORT_KINDS);
  if (!kind) return fail("WORKER_STATE: unknown kind");
  report.kind = *kind;
  Status ok = take_worker(*json, report.worker);
  if (ok) ok = take_reason(*json, "text", report.text);
  if (ok) ok = take_serials(*json, report.serials);
  if (!ok) return fail("WORKER_STATE: " + ok.error().message);
  return report;
}

std::string encode_pool_load(const PoolLoad& load) {
  Json workers = Json::array();
  for (size_t i = 0; i < load.workers.size() && i < POOL_LOAD_ROWS_MAX; ++i) {
    const WorkerLoadReport& one = load.workers[i];
    workers.push_back(
        {{"worker", one.worker}, {"served", one.served}, {"inside", one.inside}, {"idle_ms", one.idle_ms}});
  }
  Json queues = Json::array();
  for (size_t i = 0; i < load.queues.size() && i < POOL_LOAD_ROWS_MAX; ++i) {
    queues.push_back({{"pool", load.queues[i].pool}, {"waiting", load.queues[i].waiting}});
  }
  return json_line({{"workers", workers}, {"queues", queues}});
}

Result<PoolLoad> decode_pool_load(std::string_view payload) {
  const auto json = parse_object(payload, "POOL_LOAD");
  if (!json) return std::unexpected(json.error());
  const auto rows = json->find("workers");
  if (rows == json->end() || !rows->is_array() || rows->size() > POOL_LOAD_ROWS_MAX) {
    return fail("POOL_LOAD: workers is missing, no list or too long");
  }
  PoolLoad load;
  for (const Json& row : *rows) {
    if (!row.is_object()) return fail("POOL_LOAD: a row is no object");
    WorkerLoadReport one;
    Status ok = take_worker(row, one.worker);
    if (ok) ok = take_field(row, "served", one.served);
    if (ok) ok = take_field(row, "inside", one.inside);
    if (ok) ok = take_field(row, "idle_ms", one.idle_ms);
    if (!ok) return fail("POOL_LOAD: " + ok.error().message);
    load.workers.push_back(one);
  }
  const Json& queues = json_array(*json, "queues");  // absent: an older server
  if (queues.size() > POOL_LOAD_ROWS_MAX) return fail("POOL_LOAD: queues is too long");
  for (const Json& row : queues) {
    if (!row.is_object()) return fail("POOL_LOAD: a row is no object");
    PoolQueueReport one;
    Status ok = take_pool(row, one.pool);
    if (ok) ok = take_field(row, "waiting", one.waiting);
    if (!ok) return fail("POOL_LOAD: " + ok.error().message);
    load.queues.push_back(std::move(one));
  }
  return load;
}

}  // namespace penstock
