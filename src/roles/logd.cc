#include "src/roles/logd.h"

#include "src/roles/role_idle.h"

namespace penstock {

int run_logd(int channel_fd) { return run_idle_role(channel_fd); }

}  // namespace penstock
