// `penstock journal killers`: the processes that ended as they should not have, and the requests that were inside.
#include "src/cli/commands.h"
#include "src/cli/render.h"

#include <fmt/format.h>

namespace penstock {
namespace {

std::string head_line(const Json& death, size_t inside) {
  std::string who = "server";
  if (json_text(death, "process") == "worker") {
    who = fmt::format("pool {} worker {}", cli_clean(json_text(death, "pool")), json_number(death, "worker"));
  }
  std::string out =
      fmt::format("{}  {} (pid {})  {} after {}", json_text(death, "when"), who, json_number(death, "pid"),
                  cli_clean(json_text(death, "how")), render_micros(json_number(death, "age_ms") * 1000));
  if (const std::string cause = json_text(death, "cause"); !cause.empty()) out += ": " + cli_clean(cause);
  return out + fmt::format("  [{}, {} request{} inside]\n", json_text(death, "kind"), inside, inside == 1 ? "" : "s");
}

std::string request_table(const Json& requests) {
  std::vector<std::vector<std::string>> rows = {{"  age", "stage", "client", "request"}};
  for (const Json& request : requests) {
    const std::string head = json_text(request, "head");
    const std::string what =
        head.empty() ? json_text(request, "method") + " " + json_text(request, "host") + json_text(request, "target")
                     : "head: " + head;
    rows.push_back({"  " + render_micros(json_number(request, "age_us")), json_text(request, "stage"),
                    fmt::format("{}:{}", json_text(request, "client"), json_number(request, "client_port")),
                    cli_clean(what).substr(0, 500)});
  }
  return rows.size() == 1 ? "" : render_table(rows);
}

std::string closed_line(const Json& closed) {
  if (closed.empty()) return {};
  std::string out = "  answered or left while the worker had them:";
  for (const Json& number : closed) out += " " + render_scalar(number);
  return out + "\n";
}

}  // namespace

int command_journal_killers(const std::string& control, const std::string& pool, bool json) {
  const CallResult called = call_instance(control, {{"cmd", "journal.killers"}, {"pool", pool}});
  if (called.exit_code != CLI_OK) return called.exit_code;
  if (json) {
    cli_print(json_line(called.answer) + "\n");
    return CLI_OK;
  }
  std::string out;
  for (const Json& death : json_array(called.answer, "killers")) {
    const Json& requests = json_array(death, "requests");
    const uint64_t left_out = json_number(death, "left_out");
    out += (out.empty() ? "" : "\n") + head_line(death, requests.size() + left_out) + request_table(requests);
    if (left_out > 0) out += fmt::format("  and {} more that are not kept\n", left_out);
    out += closed_line(json_array(death, "closed"));
  }
  if (out.empty()) out = "no process has ended as it should not have\n";
  if (const uint64_t forgotten = json_number(called.answer, "forgotten"); forgotten > 0) {
    out += fmt::format("\n{} earlier ends are not kept any more\n", forgotten);
  }
  cli_print(out);
  return CLI_OK;
}

}  // namespace penstock
