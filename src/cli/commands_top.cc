// `penstock top`: rates out of two readings of the counters, and the oldest requests in flight. Plain ANSI.
#include "src/cli/commands.h"
#include "src/cli/render.h"

#include <algorithm>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>
#include <utility>

namespace penstock {
namespace {

constexpr size_t REQUESTS_SHOWN = 15;

// One reading of an instance.
struct Reading {
  Json counters;
  uint64_t now_ns = 0;  // the instance's clock, so that the delay of the answer does not distort a rate
  uint64_t generation = 0;
  Json requests = Json::array();
};

int read_instance(const std::string& control, Reading& reading) {
  const CallResult counters = call_instance(control, {{"cmd", "counters"}}, seconds(10));
  if (counters.exit_code != CLI_OK) return counters.exit_code;
  const CallResult requests = call_instance(control, {{"cmd", "requests"}}, seconds(10));
  if (requests.exit_code != CLI_OK) return requests.exit_code;
  reading.counters = counters.answer.value("counters", Json::object());
  reading.now_ns = json_number(counters.answer, "now_ns");
  reading.generation = json_number(counters.answer, "generation");
  reading.requests = json_array(requests.answer, "requests");
  return CLI_OK;
}

class Rates {
 public:
  Rates(const Reading& before, const Reading& after)
      : before_(before),
        after_(after),
        seconds_(std::max(1e-9, static_cast<double>(after.now_ns - before.now_ns) / 1e9)) {}
  [[nodiscard]] double value(const char* name) const { return static_cast<double>(json_number(after_.counters, name)); }
  [[nodiscard]] double delta(const char* name) const {
    return std::max(0.0, value(name) - static_cast<double>(json_number(before_.counters, name)));
  }
  [[nodiscard]] double rate(const char* name) const { return delta(name) / seconds_; }
  [[nodiscard]] double ratio(const char* name, const char* of) const {
    return delta(of) > 0 ? delta(name) / delta(of) : 0;
  }

 private:
  const Reading& before_;
  const Reading& after_;
  double seconds_;
};

std::string top_text(const Reading& before, const Reading& after) {
  const Rates r(before, after);
  std::string out = fmt::format("penstock top   generation {}\n\n", after.generation);
  out += fmt::format("requests    {:>10}/s   in flight {:>7}   total {}\n", render_count(r.rate("requests")),
                     render_count(r.value("requests_open")), render_count(r.value("requests")));
  out += fmt::format("connections {:>10}/s   open      {:>7}   refused {}  reset {}\n",
                     render_count(r.rate("connections_accepted")), render_count(r.value("connections_open")),
                     render_count(r.value("connections_refused")), render_count(r.value("connections_reset")));
  out += fmt::format("bytes out   {:>10}/s   in {:>10}/s\n", render_bytes(r.rate("bytes_out")),
                     render_bytes(r.rate("bytes_in")));
  out += fmt::format("status      2xx {}/s  3xx {}/s  4xx {}/s  5xx {}/s\n", render_count(r.rate("responses_2xx")),
                     render_count(r.rate("responses_3xx")), render_count(r.rate("responses_4xx")),
                     render_count(r.rate("responses_5xx")));
  out += fmt::format("cache       hits {:5.1f} %   fills {}/s   bypass {}/s\n", 100 * r.ratio("cache_hits", "requests"),
                     render_count(r.rate("cache_fills")), render_count(r.rate("cache_bypass")));
  out += fmt::format(
      "cost        {:.3f} system calls, {:.3f} wake-ups, {:.0f} bytes copied a request; {:.0f} % of turns busy\n",
      r.ratio("syscalls", "requests"), r.ratio("wakeups", "requests"), r.ratio("bytes_copied", "requests"),
      100 * r.ratio("turns_busy", "turns"));
  out += fmt::format("journal     {}/s records   dropped {}\n\n", render_count(r.rate("journal_records")),
                     render_count(r.value("journal_drops")));
  std::vector<std::vector<std::string>> rows = {{"AGE", "STAGE", "CLIENT", "REQUEST"}};
  for (const Json& request : after.requests) {
    if (rows.size() > REQUESTS_SHOWN) break;
    const std::string what =
        json_text(request, "method") + " " + json_text(request, "host") + json_text(request, "target");
    rows.push_back({render_micros(json_number(request, "age_us")), json_text(request, "stage"),
                    json_text(request, "client"), cli_clean(what).substr(0, 100)});
  }
  return out + render_table(rows);
}

}  // namespace

int command_top(const std::string& control, double interval_seconds, uint64_t rounds) {
  const bool terminal = ::isatty(STDOUT_FILENO) == 1;
  Reading before;
  if (const int code = read_instance(control, before); code != CLI_OK) return code;
  for (uint64_t round = 0; rounds == 0 || round < rounds; ++round) {
    ::poll(nullptr, 0, static_cast<int>(interval_seconds * 1000));
    Reading after;
    if (const int code = read_instance(control, after); code != CLI_OK) return code;
    // Home and clear, in one write with the text, so that the screen does not flicker.
    cli_print((terminal ? "\033[H\033[2J" : "") + top_text(before, after) + (terminal ? "" : "\n"));
    before = std::move(after);
  }
  return CLI_OK;
}

}  // namespace penstock
