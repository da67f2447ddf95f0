// The commands behind the command line, one function each. Internal to src/cli; each returns an exit code.
#pragma once

#include "src/admin/json.h"
#include "src/base/result.h"
#include "src/base/time.h"
#include "src/roles/supervisor.h"

#include <cstdint>
#include <string>
#include <vector>

namespace penstock {

inline constexpr int CLI_OK = 0;
inline constexpr int CLI_FAILED = 1;
inline constexpr int CLI_USAGE = 2;

// Prints "penstock: text" to stderr and returns `code`.
int cli_fail(const std::string& text, int code = CLI_FAILED);
// Writes text to stdout as it is.
void cli_print(std::string_view text);
// Text for a terminal: control characters escaped, so that a client's bytes stay bytes.
std::string cli_clean(std::string_view text);

// Asks the running instance; an answer that is not ok is printed and becomes an exit code (2 if it is about config).
struct CallResult {
  int exit_code = CLI_OK;
  Json answer;
};
[[nodiscard]] CallResult call_instance(const std::string& control, const Json& request, Duration timeout = seconds(90));

struct ServeArguments {
  std::string dir;
  std::vector<std::string> listen;
  std::vector<std::string> set;
};
// What `serve` and `run` put on top of the defaults or the file. Exit code 2 with every fault told, or 0.
int serve_options(const ServeArguments& arguments, SupervisorOptions& options);
int overlay_options(const std::vector<std::string>& set, SupervisorOptions& options);

int command_check(const std::string& file);

struct SysctlArguments {
  bool all = false;
  bool verbose = false;
  bool json = false;
  std::vector<std::string> words;  // KEY, or KEY=VALUE with write
  bool write = false;
  std::string load_file;
  std::string offline_file;  // -c: read this file instead of asking an instance
  bool defaults = false;     // --defaults: the built-in configuration
  uint64_t if_generation = 0;
};
int command_sysctl(const SysctlArguments& arguments, const std::string& control);

int command_status(const std::string& control, bool json);
int command_requests(const std::string& control, bool json);
int command_stats(const std::string& control, bool json, bool perf);
int command_top(const std::string& control, double interval_seconds, uint64_t rounds);

int command_cache_stats(const std::string& control, bool json);
int command_cache_top(const std::string& control, uint64_t count, bool json);
int command_cache_why(const std::string& control, const std::string& url, bool json);
int command_cache_purge(const std::string& control, const std::string& what, bool soft, bool json);
// `what`: start, stop or recycle.
int command_pool_list(const std::string& control, bool json);
int command_pool_show(const std::string& control, const std::string& pool, bool json);
int command_pool_do(const std::string& control, const std::string& what, const std::string& pool, bool json);
// `pool`: only of that one; empty for all.
int command_journal_killers(const std::string& control, const std::string& pool, bool json);
// `pool`: likewise, for test any. `older`: a time, at least so old; empty: alarm.request_age.
int command_alarm_list(const std::string& control, const std::string& pool, bool json);
int command_alarm_programs(const std::string& control, const std::string& pool, bool json);
int command_alarm_running(const std::string& control, const std::string& older, bool json);
// 1 where the attempt was not noticed, or alarm.exec has failed.
int command_alarm_test(const std::string& control, const std::string& pool, bool json);
int command_simple(const std::string& control, const std::string& cmd, const std::string& done);

struct LogConvertArguments {
  std::vector<std::string> files;   // of one log, oldest first
  std::string to = "w3c";           // w3c, ncsa, json
  std::string by = "file";          // file, start, finish
  std::vector<std::string> fields;  // as in log.access.fields; empty: its default
  bool local_time = false;
};
struct LogFollowArguments {
  std::string format = "w3c";
  std::vector<std::string> fields;
  std::vector<std::string> where;
  bool local_time = false;
};
// Until it is interrupted, nobody reads, or the instance ends.
int command_log_follow(const std::string& control, const LogFollowArguments& arguments);
int command_log_convert(const LogConvertArguments& arguments);

// Reads the file, asks no instance. 1 where somebody could write what is served.
int command_secure_audit(const std::string& file, bool json);

int command_features(bool json);

}  // namespace penstock
