// Signals to all that a process has started, whatever group or session it is in: to freeze a worker with its programs.
#pragma once

#include <string>
#include <sys/types.h>
#include <vector>

namespace penstock {

// Sends `number` to what descends from `roots`, each once, not to the roots: until no process is found that has not had
// it. Who has SIGSTOP waiting makes no children any more (fork(2) is interrupted), so that one who makes them without
// end is caught up with. Nobody else is signalled who got the number of one that has ended meanwhile. At most
// PROCESSES_MAX of each root. `roots`: not reaped. `proc`: where /proc is; tests differ.
void signal_descendants(const std::vector<pid_t>& roots, int number, const std::string& proc = "/proc");

}  // namespace penstock
