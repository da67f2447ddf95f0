// `penstock alarm`: what workers tried, which programs they run, and whether the alarm works.
#include "src/cli/commands.h"
#include "src/cli/render.h"
#include "src/config/types.h"

#include <fmt/format.h>
#include <time.h>

namespace penstock {
namespace {

constexpr int TEST_POLLS = 1500;  // half a minute, every 20 ms: the process has ten seconds, alarm.exec its time-out
constexpr timespec TEST_PAUSE = {0, 20'000'000};

std::string who_text(const Json& row) {
  std::string out = cli_clean(json_text(row, "pool"));
  if (const uint64_t worker = json_number(row, "worker"); worker != 0) out += fmt::format(" worker {}", worker);
  return out.empty() ? "-" : out;
}

std::string requests_text(const Json& row) {
  const Json& requests = json_array(row, "requests");
  std::string out;
  for (const Json& request : requests) {
    out += fmt::format("  {}: {}:{} {} {}{} for {}, {} bytes in, {} out\n",
                       json_flag(request, "left") ? "was inside" : "inside", json_text(request, "client"),
                       json_number(request, "client_port"), cli_clean(json_text(request, "method")),
                       cli_clean(json_text(request, "host")), cli_clean(json_text(request, "target")).substr(0, 500),
                       render_micros(json_number(request, "age_us")), json_number(request, "bytes_in"),
                       json_number(request, "bytes_out"));
  }
  if (const uint64_t more = json_number(row, "left_out"); more > 0) out += fmt::format("  and {} more\n", more);
  return out;
}

std::string alarm_text(const Json& alarm) {
  std::string out = fmt::format("{}  {}{} {}: {} (pid {}, uid {}): {}", json_text(alarm, "when"),
                                json_flag(alarm, "learnt") ? "learnt " : "", json_text(alarm, "kind"), who_text(alarm),
                                cli_clean(json_text(alarm, "what")), render_scalar(alarm.value("pid", Json())),
                                json_number(alarm, "uid"), cli_clean(json_text(alarm, "action")));
  if (const std::string detail = json_text(alarm, "detail"); !detail.empty()) out += "; " + cli_clean(detail);
  if (const uint64_t count = json_number(alarm, "count"); count > 1) {
    out += fmt::format("; {} times, last {}", count, json_text(alarm, "last"));
  }
  return out + fmt::format("\n  {}\n", cli_clean(json_text(alarm, "delivery"))) + requests_text(alarm);
}

std::string program_table(const Json& programs) {
  std::vector<std::vector<std::string>> rows = {{"pid", "uid", "age", "pool", "program", "end", "request"}};
  for (const Json& program : programs) {
    const Json& requests = json_array(program, "requests");
    std::string request;
    if (!requests.empty()) request = json_text(requests[0], "method") + " " + json_text(requests[0], "target");
    if (requests.size() > 1 && !json_flag(program, "own_first")) {
      request += fmt::format(" (or of {})", requests.size() + json_number(program, "left_out"));
    }
    rows.push_back({render_scalar(program.value("pid", Json())), std::to_string(json_number(program, "uid")),
                    render_micros(json_number(program, "age_us")), who_text(program),
                    cli_clean(json_text(program, "path")),
                    json_flag(program, "running") ? "runs" : cli_clean(json_text(program, "end")),
                    cli_clean(request).substr(0, 200)});
  }
  return rows.size() == 1 ? "no programs\n" : render_table(rows);
}

std::string inside_table(const Json& requests) {
  std::vector<std::vector<std::string>> rows = {{"age", "stage", "worker", "client", "request"}};
  for (const Json& request : requests) {
    rows.push_back(
        {render_micros(json_number(request, "age_us")), json_text(request, "stage"),
         std::to_string(json_number(request, "worker")), json_text(request, "client"),
         cli_clean(json_text(request, "method") + " " + json_text(request, "host") + json_text(request, "target"))
             .substr(0, 500)});
  }
  return rows.size() == 1 ? "no requests\n" : render_table(rows);
}

int print_as(const CallResult& called, bool json, const std::string& text) {
  cli_print(json ? json_line(called.answer) + "\n" : text);
  return CLI_OK;
}

}  // namespace

int command_alarm_list(const std::string& control, const std::string& pool, bool json) {
  const CallResult called = call_instance(control, {{"cmd", "alarm.list"}, {"pool", pool}});
  if (called.exit_code != CLI_OK) return called.exit_code;
  std::string out;
  for (const Json& alarm : json_array(called.answer, "alarms")) out += alarm_text(alarm);
  if (out.empty()) out = "no alarm\n";
  if (const uint64_t forgotten = json_number(called.answer, "forgotten"); forgotten > 0) {
    out += fmt::format("{} kinds are not kept any more\n", forgotten);
  }
  return print_as(called, json, out);
}

int command_alarm_programs(const std::string& control, const std::string& pool, bool json) {
  const CallResult called = call_instance(control, {{"cmd", "alarm.programs"}, {"pool", pool}});
  if (called.exit_code != CLI_OK) return called.exit_code;
  std::string out = program_table(json_array(called.answer, "programs"));
  const uint64_t missed = json_number(called.answer, "not_followed");
  if (missed > 0) out += fmt::format("{} programs were not followed to their ends: too many ran\n", missed);
  return print_as(called, json, out);
}

int command_alarm_running(const std::string& control, const std::string& older, bool json) {
  Json request = {{"cmd", "alarm.running"}};
  if (!older.empty()) {
    const auto time = ConfigTime::parse(older, {0, 31536000000});
    if (!time) return cli_fail("--older: expected " + time.error(), CLI_USAGE);
    request["older_ms"] = static_cast<uint64_t>(time->ms());
  }
  const CallResult called = call_instance(control, request);
  if (called.exit_code != CLI_OK) return called.exit_code;
  return print_as(called, json,
                  program_table(json_array(called.answer, "programs")) + "\n" +
                      inside_table(json_array(called.answer, "requests")));
}

int command_alarm_test(const std::string& control, const std::string& pool, bool json) {
  CallResult called = call_instance(control, {{"cmd", "alarm.test"}, {"pool", pool}});
  if (called.exit_code != CLI_OK) return called.exit_code;
  const uint64_t test = json_number(called.answer, "test");
  const auto is_open = [&called] {
    const bool waits = json_text(called.answer, "delivery").starts_with("waits");
    return json_flag(called.answer, "running") || waits;
  };
  for (int i = 0; i < TEST_POLLS && is_open(); ++i) {
    ::nanosleep(&TEST_PAUSE, nullptr);  // allow sleep: the instance answers at once how far it is
    called = call_instance(control, {{"cmd", "alarm.result"}, {"test", test}});
    if (called.exit_code != CLI_OK) return called.exit_code;
  }
  const std::string problem = json_text(called.answer, "problem");
  const std::string delivery = json_text(called.answer, "delivery");
  const bool good = problem.empty() && !is_open() && delivery.find("failed") == std::string::npos;
  std::string text = fmt::format("pool {}: a process in its sandbox tried to start {}\n", who_text(called.answer),
                                 cli_clean(json_text(called.answer, "path")));
  if (!problem.empty()) {
    text += cli_clean(problem) + "\n";
  } else {
    text += fmt::format("noticed and refused: alarm {}, {} after the process was made\n{}\n",
                        json_number(called.answer, "alarm"), render_micros(json_number(called.answer, "noticed_us")),
                        cli_clean(delivery));
  }
  (void)print_as(called, json, text);
  return good ? CLI_OK : CLI_FAILED;
}

}  // namespace penstock
