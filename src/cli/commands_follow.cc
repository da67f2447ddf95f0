// `penstock log follow`: the records of the running instance, as they come.
#include "src/cli/commands.h"

#include <cerrno>
#include <poll.h>
#include <unistd.h>

namespace penstock {
namespace {

constexpr int PAUSE_MS = 200;  // between two looks that bring nothing

bool write_out(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(STDOUT_FILENO, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;  // `| head` has seen enough
    text.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

}  // namespace

int command_log_follow(const std::string& control, const LogFollowArguments& arguments) {
  const Json wish = {{"cmd", "log.follow"},
                     {"format", arguments.format},
                     {"fields", arguments.fields},
                     {"where", arguments.where},
                     {"local_time", arguments.local_time}};
  uint64_t number = 0;
  for (bool again = false;; again = true) {
    const CallResult opened = call_instance(control, wish);
    if (opened.exit_code != CLI_OK) return opened.exit_code;
    number = json_number(opened.answer.value("result", Json::object()), "follow");
    if (again) (void)cli_fail("the log writer has forgotten us: records may be missing here");
    while (true) {
      const CallResult fetched = call_instance(control, {{"cmd", "log.follow"}, {"follow", number}});
      if (fetched.exit_code != CLI_OK) return fetched.exit_code;
      const Json result = fetched.answer.value("result", Json::object());
      if (json_flag(result, "gone")) break;
      const std::string lines = json_text(result, "lines");
      if (!write_out(lines)) return CLI_OK;
      if (const uint64_t lost = json_number(result, "lost"); lost > 0) {
        (void)cli_fail(std::to_string(lost) + " records were lost: they came faster than they were read");
      }
      pollfd reader{.fd = STDOUT_FILENO, .events = 0, .revents = 0};
      if (lines.empty() && ::poll(&reader, 1, PAUSE_MS) > 0) return CLI_OK;  // nobody reads any more
    }
  }
}

}  // namespace penstock
