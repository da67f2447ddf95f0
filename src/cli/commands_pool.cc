// `penstock pool`: what the supervisor knows of pools and their workers, and what it is told to do with them.
#include "src/cli/commands.h"
#include "src/cli/render.h"

#include <fmt/format.h>

namespace penstock {
namespace {

// "2/4", or with those that sleep "1/4, 2 suspended".
std::string workers_text(const Json& pool) {
  std::string text = fmt::format("{}/{}", json_number(pool, "ready"), json_number(pool, "workers_max"));
  const uint64_t suspended = json_number(pool, "suspended");
  return suspended == 0 ? text : fmt::format("{}, {} suspended", text, suspended);
}

std::string pool_table(const Json& pools) {
  std::vector<std::vector<std::string>> rows = {
      {"pool", "state", "runtime", "workers", "inside", "waiting", "started", "recycled", "failures", "identity"}};
  for (const Json& pool : pools) {
    rows.push_back({cli_clean(json_text(pool, "pool")), json_text(pool, "state"), json_text(pool, "runtime"),
                    workers_text(pool), std::to_string(json_number(pool, "inside")),
                    std::to_string(json_number(pool, "waiting")), std::to_string(json_number(pool, "started")),
                    std::to_string(json_number(pool, "recycled")), std::to_string(json_number(pool, "failures")),
                    cli_clean(json_text(pool, "identity"))});
  }
  return rows.size() == 1 ? "no pool is configured\n" : render_table(rows);
}

std::string worker_table(const Json& workers) {
  std::vector<std::vector<std::string>> rows = {{"worker", "pid", "state", "age", "served", "inside", "memory", "why"}};
  for (const Json& worker : workers) {
    std::string why = json_text(worker, "ending");
    if (why.empty()) why = json_text(worker, "recycling");
    if (why.empty()) why = json_text(worker, "cause");
    rows.push_back({std::to_string(json_number(worker, "worker")), std::to_string(json_number(worker, "pid")),
                    json_text(worker, "state"), render_micros(json_number(worker, "uptime_ms") * 1000),
                    std::to_string(json_number(worker, "served")), std::to_string(json_number(worker, "inside")),
                    render_bytes(static_cast<double>(json_number(worker, "memory"))), cli_clean(why)});
  }
  return rows.size() == 1 ? "no workers\n" : render_table(rows);
}

// What the newest worker that has become one is held by.
std::string newest_sandbox(const Json& workers) {
  for (size_t i = workers.size(); i > 0; --i) {
    const Json& steps = json_array(workers[i - 1], "sandbox");
    if (steps.empty()) continue;
    return fmt::format("\nsandbox of worker {}\n", json_number(workers[i - 1], "worker")) + render_sandbox(steps);
  }
  return {};
}

// Lines that stand only where there is something to say.
std::string remarks(const Json& answer) {
  const Json pool = answer.value("pool", Json::object());
  std::string out;
  const auto add = [&out](const char* name, const std::string& text) {
    if (!text.empty()) out += fmt::format("{:<9} {}\n", name, cli_clean(text));
  };
  add("app", json_text(pool, "app"));
  add("because", json_text(pool, "cause"));
  add("failed", json_text(pool, "last_failure"));
  add("problem", json_text(answer, "problem"));
  add("cgroup", json_text(answer, "cgroup"));
  return out;
}

}  // namespace

int command_pool_list(const std::string& control, bool json) {
  const CallResult called = call_instance(control, {{"cmd", "pool.list"}});
  if (called.exit_code != CLI_OK) return called.exit_code;
  const Json& pools = json_array(called.answer, "pools");
  cli_print(json ? json_line(called.answer) + "\n" : pool_table(pools));
  return CLI_OK;
}

int command_pool_show(const std::string& control, const std::string& pool, bool json) {
  const CallResult called = call_instance(control, {{"cmd", "pool.show"}, {"pool", pool}});
  if (called.exit_code != CLI_OK) return called.exit_code;
  if (json) {
    cli_print(json_line(called.answer) + "\n");
    return CLI_OK;
  }
  const Json& workers = json_array(called.answer, "workers");
  cli_print(pool_table(Json::array({called.answer.value("pool", Json::object())})) + remarks(called.answer) + "\n" +
            worker_table(workers) + newest_sandbox(workers));
  return CLI_OK;
}

int command_pool_do(const std::string& control, const std::string& what, const std::string& pool, bool json) {
  const CallResult called = call_instance(control, {{"cmd", "pool." + what}, {"pool", pool}});
  if (called.exit_code != CLI_OK) return called.exit_code;
  if (json) {
    cli_print(json_line(called.answer) + "\n");
    return CLI_OK;
  }
  const std::string state = json_text(called.answer.value("pool", Json::object()), "state");
  const char* remark = what == "recycle" ? ", its workers are being replaced" : "";
  cli_print(fmt::format("pool {}: {}{}\n", cli_clean(pool), state, remark));
  return CLI_OK;
}

}  // namespace penstock
