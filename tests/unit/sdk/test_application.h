// The application that the SDK's tests talk to: each path is one way to use penstock_worker.h.
#pragma once

namespace penstock {

// Runs until the front end says stop, as a worker's main() does; `in_steps`: with an event loop of its own.
int run_test_application(bool in_steps = false);

// Likewise a filter with these hooks, bits of TestHook, and no `request`.
enum TestHook : int { HOOK_REQUEST = 1, HOOK_RESPONSE = 2, HOOK_LOG = 4 };
int run_test_filter(int hooks);

}  // namespace penstock
