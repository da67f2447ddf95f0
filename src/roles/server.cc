#include "src/roles/server.h"

#include "src/roles/role_idle.h"

namespace penstock {

int run_server(int channel_fd) { return run_idle_role(channel_fd); }

}  // namespace penstock
