// A role that keeps the supervisor's protocol and does nothing else: what server.cc and logd.cc are until theirs land.
#pragma once

namespace penstock {

[[nodiscard]] int run_idle_role(int channel_fd);

}  // namespace penstock
