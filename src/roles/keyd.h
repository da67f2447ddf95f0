// The keyd role: holds the private keys and signs the handshakes of servers. Started by the supervisor, never by hand.
#pragma once

namespace penstock {

// Runs until it is told to end or its channel is closed. Returns the exit code.
[[nodiscard]] int run_keyd(int channel_fd);

}  // namespace penstock
