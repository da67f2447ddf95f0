// What a process that led a session has left behind in it, whatever the process group: ended.
#pragma once

#include <sys/types.h>

namespace penstock {

// SIGKILL to every process of the session but its leader, until none is found that has not had it. Who has left it by
// setsid(2) goes on. REQUIRES: the leader is not reaped, so that its number is no other session's.
void kill_session(pid_t leader);

}  // namespace penstock
