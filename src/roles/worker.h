// The worker role: enters the sandbox of a pool and executes its runtime. Started by the supervisor, never by hand.
#pragma once

namespace penstock {

// Comes back only where it failed: the exit code. What failed is said on the report pipe (src/admin/worker_launch.h).
[[nodiscard]] int run_worker();

}  // namespace penstock
