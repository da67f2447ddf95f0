// Doorbell: how a process wakes another one that it need not trust.
//
// A descriptor that two processes have is one open file description, with flags that either may change: who is handed
// the eventfd that another one writes can take O_NONBLOCK off it and fill its counter, and the next write waits for
// ever. So who sleeps never has the eventfd. It has a *bed*, an epoll instance in which the *bell*, the eventfd, hangs
// already; what it does there touches nobody else. Who rings has the bell, and shares it with nobody who could mean
// harm.
//
// A bell is hung edge-triggered and never read: each ring is a new edge. So a bed is readable from a ring until
// somebody waits there (epoll_wait(2)), and it may hang in an epoll instance itself.
#pragma once

#include "src/base/result.h"
#include "src/base/unique_fd.h"

#include <initializer_list>

namespace penstock {

[[nodiscard]] Result<UniqueFd> make_bed();
[[nodiscard]] Result<UniqueFd> make_bell();

// Of several beds, it wakes who waits in the first where somebody does. `name` is the `data.fd` of its events. A bell
// whose descriptors have all been closed hangs nowhere any more. REQUIRES: `beds` are of make_bed().
[[nodiscard]] Status hang_bell(const UniqueFd& bell, std::initializer_list<int> beds, int name = -1);

// Never waits: `bell` is an eventfd in non-blocking mode, as make_bell() makes them, and only who is trusted has it.
// False: rung 2^64 - 2 times, it is readable for ever, or it is none.
bool ring_bell(int bell);

// Takes what has rung in the bed; never waits.
void empty_bed(int bed);

}  // namespace penstock
