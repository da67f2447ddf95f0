#include "src/cli/commands.h"
#include "src/cli/render.h"

#include <fmt/format.h>
#include <utility>

namespace penstock {
namespace {

int print_json(const CallResult& called) {
  if (called.exit_code == CLI_OK) cli_print(json_line(called.answer) + "\n");
  return called.exit_code;
}

std::string status_head(const Json& status) {
  const Json config = status.value("config", Json::object());
  std::string out =
      fmt::format("penstock {}  {}  pid {}  up {}\n", json_text(status, "version"), json_text(status, "state"),
                  json_number(status, "pid"), render_micros(json_number(status, "uptime_ms") * 1000));
  out += fmt::format("config    generation {}", json_number(config, "generation"));
  if (const std::string file = json_text(config, "file"); !file.empty()) {
    out += fmt::format(", file {}, loaded {}", cli_clean(file), json_text(config, "loaded"));
  }
  out += "\n";
  if (const std::string problem = json_text(config, "problem"); !problem.empty()) {
    out += "          THE FILE AS IT IS NOW IS NOT IN FORCE: " + cli_clean(problem) + "\n";
  }
  for (const Json& listener : json_array(status, "listeners")) {
    out += fmt::format("listening {}  ({} socket{}{})\n", json_text(listener, "address"),
                       json_number(listener, "sockets"), json_number(listener, "sockets") == 1 ? "" : "s",
                       json_flag(listener, "from_service_manager") ? ", from the service manager" : "");
  }
  return out;
}

std::string status_role(const Json& role) {
  std::string out = fmt::format("\n{}  pid {}  {}  up {}  as {}", json_text(role, "role"), json_number(role, "pid"),
                                json_text(role, "state"), render_micros(json_number(role, "uptime_ms") * 1000),
                                json_text(role, "identity"));
  if (const std::string transport = json_text(role, "transport"); !transport.empty())
    out += "  " + cli_clean(transport);
  out += fmt::format("  generation {}\n", json_number(role, "generation"));
  return out + render_sandbox(json_array(role, "sandbox"));
}

std::string status_fate(const Json& status, const char* role) {
  const Json fate = status.value(role, Json::object());
  const uint64_t restarts = json_number(fate, "restarts");
  if (restarts == 0) return {};
  return fmt::format("{} was replaced {} time{} after an unexpected end{}; last: {}\n", role, restarts,
                     restarts == 1 ? "" : "s", json_flag(fate, "crash_loop") ? " and keeps crashing" : "",
                     cli_clean(json_text(fate, "last_end")));
}

// A line for each pool that has workers or is not well; the others are counted.
std::string status_pools(const Json& pools) {
  std::string out;
  size_t quiet = 0;
  for (const Json& pool : pools) {
    const std::string state = json_text(pool, "state");
    if (state == "serving" && json_number(pool, "workers") == 0 && json_number(pool, "waiting") == 0) {
      ++quiet;
      continue;
    }
    out +=
        fmt::format("pool      {}  {}  {} of {} workers ready, {} requests inside", cli_clean(json_text(pool, "pool")),
                    state, json_number(pool, "ready"), json_number(pool, "workers_max"), json_number(pool, "inside"));
    if (const uint64_t waiting = json_number(pool, "waiting"); waiting > 0) out += fmt::format(", {} waiting", waiting);
    if (const uint64_t asleep = json_number(pool, "suspended"); asleep > 0)
      out += fmt::format(", {} suspended", asleep);
    if (const std::string cause = json_text(pool, "cause"); state != "serving") out += "  (" + cli_clean(cause) + ")";
    out += "\n";
  }
  if (quiet > 0) out += fmt::format("pools     {} without a worker: started when a request comes\n", quiet);
  return out.empty() ? out : "\n" + out;
}

std::string status_text(const Json& status) {
  std::string out = status_head(status);
  for (const Json& role : json_array(status, "roles")) out += status_role(role);
  out += status_pools(json_array(status, "pools"));
  out += "\n" + status_fate(status, "server") + status_fate(status, "logd") + status_fate(status, "keyd");
  const Json journal = status.value("journal", Json::object());
  out += fmt::format("journal   {} records, {} in the log, {} dropped, {} waiting\n", json_number(journal, "finished"),
                     json_number(journal, "drained"), json_number(journal, "dropped"),
                     render_bytes(static_cast<double>(json_number(journal, "bytes_waiting"))));
  const Json& events = json_array(status, "events");
  if (!events.empty()) out += "\nlast events:\n";
  const size_t from = events.size() > 12 ? events.size() - 12 : 0;
  for (size_t i = from; i < events.size(); ++i) {
    const std::string severity = json_text(events[i], "severity");
    out += fmt::format("  {}  {}{}\n", json_text(events[i], "when"), severity == "notice" ? "" : severity + ": ",
                       cli_clean(json_text(events[i], "text")));
  }
  return out;
}

// The costs of one request: what §9's goals are read from.
std::string perf_text(const Json& counters) {
  const auto value = [&counters](const char* name) { return static_cast<double>(json_number(counters, name)); };
  const double requests = value("requests");
  if (requests == 0) return "no request yet\n";
  std::vector<std::vector<std::string>> rows = {{"per request", "", ""}};
  const auto add = [&](const char* what, double amount, const char* note) {
    rows.push_back({what, fmt::format("{:.4f}", amount / requests), note});
  };
  add("system calls", value("syscalls"), "io_uring_enter, epoll_wait, send …, of the reactors");
  add("wake-ups", value("wakeups"), "turns that had slept in the kernel");
  add("turns", value("turns"), "of the reactor");
  add("bytes copied", value("bytes_copied"), "in user space, on the way to the answer");
  add("sends", value("sends"), "send operations; below 1 where answers were coalesced");
  add("allocations", value("allocations"), "of the reactors, by operator new");
  add("cache hits", value("cache_hits"), "answered from the response cache");
  add("connections", value("connections_accepted"), "accepted");
  std::string out = render_table(rows);
  out += fmt::format("\n{:.0f} requests; {:.1f} requests a system call; {:.1f} % of the turns did work\n", requests,
                     value("syscalls") > 0 ? requests / value("syscalls") : 0,
                     value("turns") > 0 ? 100 * value("turns_busy") / value("turns") : 0);
  return out;
}

}  // namespace

int command_status(const std::string& control, bool json) {
  const CallResult called = call_instance(control, {{"cmd", "status"}});
  if (json || called.exit_code != CLI_OK) return print_json(called);
  cli_print(status_text(called.answer));
  return CLI_OK;
}

int command_requests(const std::string& control, bool json) {
  const CallResult called = call_instance(control, {{"cmd", "requests"}});
  if (json || called.exit_code != CLI_OK) return print_json(called);
  std::vector<std::vector<std::string>> rows = {{"age", "stage", "client", "request"}};
  for (const Json& request : json_array(called.answer, "requests")) {
    const std::string method = json_text(request, "method");
    const std::string what = method.empty() ? "head: " + json_text(request, "head")
                                            : method + " " + json_text(request, "host") + json_text(request, "target");
    rows.push_back({render_micros(json_number(request, "age_us")), json_text(request, "stage"),
                    json_text(request, "client"), cli_clean(what).substr(0, 160)});
  }
  cli_print(rows.size() == 1 ? "no request in flight\n" : render_table(rows));
  return CLI_OK;
}

int command_stats(const std::string& control, bool json, bool perf) {
  const CallResult called = call_instance(control, {{"cmd", "counters"}});
  if (json || called.exit_code != CLI_OK) return print_json(called);
  const Json counters = called.answer.value("counters", Json::object());
  if (perf) {
    cli_print(perf_text(counters));
    return CLI_OK;
  }
  std::vector<std::vector<std::string>> rows;
  const Json help = called.answer.value("help", Json::object());
  for (const auto& [name, value] : counters.items()) {
    rows.push_back({name, render_scalar(value), json_text(help, name.c_str())});
  }
  cli_print(render_table(rows));
  return CLI_OK;
}

}  // namespace penstock
