// The logd role: drains the journal rings and writes the logs. Started by the supervisor, never by hand.
#pragma once

namespace penstock {

// Runs until it has drained or its channel is closed. Returns the exit code.
[[nodiscard]] int run_logd(int channel_fd);

}  // namespace penstock
