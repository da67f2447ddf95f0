// The role that runs alarm.exec: `penstock --role alarm UID GID PROGRAM WORD…`. A process of its own, because the
// supervisor is root and the operator's program is not to be: it gives up user, groups and capabilities first. It stays
// free to start set-uid programs, since that is how mail is handed to a mail system.
#pragma once

#include "src/base/result.h"

#include <string>
#include <vector>

namespace penstock {

// The arguments to start the role with. `user`: alarm.user; "" keeps the caller. Error: no such user, or it is root.
[[nodiscard]] Result<std::vector<std::string>> alarm_command_words(const std::string& program, const std::string& user,
                                                                   const std::vector<std::string>& words);

// Comes back only where it failed: the exit code. Says why on stderr.
[[nodiscard]] int run_alarm_command(int argc, char** argv);

}  // namespace penstock
