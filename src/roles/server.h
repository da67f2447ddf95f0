// The server role: the process that the internet reaches. See DESIGN: no privilege, no application code.
#pragma once

namespace penstock {

// The whole life of a server process, on the supervisor's channel `channel_fd` (taken over). Returns the
// exit code: 0 after a drain, 1 when it could not start or lost the supervisor.
[[nodiscard]] int run_server(int channel_fd);

}  // namespace penstock
