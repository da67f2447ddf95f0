#include "src/admin/control_client.h"
#include "src/admin/operator_log.h"
#include "src/cli/commands.h"

#include <cerrno>
#include <unistd.h>

namespace penstock {
namespace {

void write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;  // a closed pipe, as of `| head`: nobody reads on
    text.remove_prefix(static_cast<size_t>(n));
  }
}

}  // namespace

int cli_fail(const std::string& text, int code) {
  write_all(STDERR_FILENO, "penstock: " + text + "\n");
  return code;
}

void cli_print(std::string_view text) { write_all(STDOUT_FILENO, text); }

std::string cli_clean(std::string_view text) { return escape_line(text, 4096); }

CallResult call_instance(const std::string& control, const Json& request, Duration timeout) {
  auto answer = control_call(control, request, timeout);
  if (!answer) {
    const int code = answer.error().code;
    if (code == ENOENT || code == ECONNREFUSED) {
      return {cli_fail("no instance is running at " + control + " (--control names another place)"), {}};
    }
    return {cli_fail(answer.error().message), {}};
  }
  if (json_flag(*answer, "ok")) return {CLI_OK, std::move(*answer)};
  const int code = json_text(*answer, "kind") == "config" ? CLI_USAGE : CLI_FAILED;
  return {cli_fail(json_text(*answer, "error", "failed"), code), {}};
}

int command_simple(const std::string& control, const std::string& cmd, const std::string& done) {
  const CallResult called = call_instance(control, {{"cmd", cmd}});
  if (called.exit_code == CLI_OK) cli_print(done + "\n");
  return called.exit_code;
}

}  // namespace penstock
