#include "src/roles/alarm_command.h"

#include "pool/sandbox/identity.h"
#include "src/base/bytes.h"

#include <grp.h>
#include <string_view>
#include <unistd.h>

namespace penstock {
namespace {

constexpr int EXIT_NOT_STARTED = 126;
constexpr int FIRST_WORD = 5;  // penstock --role alarm UID GID PROGRAM …

int fail_alarm(const std::string& what) {
  const std::string text = "penstock: alarm.exec: " + fail_errno(what).error().message + "\n";
  (void)!::write(STDERR_FILENO, text.data(), text.size());
  return EXIT_NOT_STARTED;
}

}  // namespace

Result<std::vector<std::string>> alarm_command_words(const std::string& program, const std::string& user,
                                                     const std::vector<std::string>& words) {
  std::vector<std::string> out = {"penstock", "--role", "alarm"};
  if (user.empty()) {
    out.insert(out.end(), {"-", "-"});
  } else {
    const auto identity = resolve_identity(user, "alarm");
    if (!identity) return fail("alarm.user: " + identity.error().message);
    out.insert(out.end(), {std::to_string(identity->ids.uid), std::to_string(identity->ids.gid)});
  }
  out.push_back(program);
  out.insert(out.end(), words.begin(), words.end());
  return out;
}

int run_alarm_command(int argc, char** argv) {
  if (argc <= FIRST_WORD) return fail_alarm("no program is named");
  const auto uid = parse_decimal(argv[3]);
  const auto gid = parse_decimal(argv[4]);
  if (uid && gid) {
    const auto user = static_cast<uid_t>(*uid);
    const auto group = static_cast<gid_t>(*gid);
    if (::setgroups(0, nullptr) != 0 || ::setresgid(group, group, group) != 0 || ::setresuid(user, user, user) != 0) {
      return fail_alarm("become uid " + std::string(argv[3]));
    }
  }
  if (::chdir("/") != 0) return fail_alarm("enter /");
  ::execv(argv[FIRST_WORD], argv + FIRST_WORD);
  return fail_alarm(std::string("start ") + argv[FIRST_WORD]);
}

}  // namespace penstock
