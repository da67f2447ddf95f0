// The application that the SDK's tests talk to: each path is one way to use penstock_worker.h.
#pragma once

namespace penstock {

// Runs until the front end says stop, as a worker's main() does.
int run_test_application();

}  // namespace penstock
