// One binary for every role. The supervisor starts it again as `penstock --role NAME --channel FD`, alarm.exec
// as `penstock --role alarm`, a worker of a pool where penstock-worker is missing as `penstock --role worker`; without
// --role it is the command line. The environment is read here and nowhere else.
#include "src/base/bytes.h"
#include "src/cli/cli.h"
#include "src/cli/commands.h"
#include "src/roles/alarm_command.h"
#include "src/roles/keyd.h"
#include "src/roles/logd.h"
#include "src/roles/server.h"
#include "src/roles/supervisor.h"
#include "src/roles/worker.h"

#include <cstdlib>
#ifdef PENSTOCK_MIMALLOC
#include <mimalloc.h>
#endif
#include <string>
#include <string_view>
#include <sys/prctl.h>
#include <utility>

namespace penstock {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

// Where memory lies is the kernel's choice, by first touch: mimalloc is not to ask for NUMA nodes, which takes calls
// that no sandboxed role may make.
void settle_allocator() {
#ifdef PENSTOCK_MIMALLOC
  mi_option_set(mi_option_use_numa_nodes, 1);
#endif
}

// Only the supervisor uses this form, so it is strict and says little.
int run_role(int argc, char** argv) {
  const std::string_view role = argc > 2 ? argv[2] : "";
  if (role == "worker" && argc == 3) {
    ::prctl(PR_SET_NAME, "penstock-worker");
    return run_worker();
  }
  if (role == "alarm") return run_alarm_command(argc, argv);
  const bool channel_named = argc == 5 && std::string_view(argv[3]) == "--channel";
  const auto fd = parse_decimal(channel_named ? argv[4] : "");
  if (!fd || *fd > 1023) return cli_fail("--role is for the supervisor's use", CLI_USAGE);
  // "exe" is what ps would show of /proc/self/exe.
  ::prctl(PR_SET_NAME, ("penstock-" + std::string(role)).c_str());
  if (role == "keyd") return run_keyd(static_cast<int>(*fd));
  if (role == "server") return run_server(static_cast<int>(*fd));
  if (role == "logd") return run_logd(static_cast<int>(*fd));
  return cli_fail("no such role", CLI_USAGE);
}

int run(int argc, char** argv) {
  settle_allocator();
  if (argc > 1 && std::string_view(argv[1]) == "--role") return run_role(argc, argv);
  CliOutcome outcome = run_cli(argc, argv, {variable("XDG_RUNTIME_DIR")});
  if (!outcome.supervise) return outcome.exit_code;
  SupervisorEnvironment environment;
  environment.listen_pid = variable("LISTEN_PID");
  environment.listen_fds = variable("LISTEN_FDS");
  environment.listen_fdnames = variable("LISTEN_FDNAMES");
  environment.notify_socket = variable("NOTIFY_SOCKET");
  environment.stderr_is_journal = !variable("JOURNAL_STREAM").empty();
  return run_supervisor(std::move(*outcome.supervise), environment);
}

}  // namespace
}  // namespace penstock

int main(int argc, char** argv) { return penstock::run(argc, argv); }
