// The server role: exposed to the internet, without privilege. Started by the supervisor, never by hand.
#pragma once

namespace penstock {

// Runs until it has drained or its channel is closed. Returns the exit code.
[[nodiscard]] int run_server(int channel_fd);

}  // namespace penstock
