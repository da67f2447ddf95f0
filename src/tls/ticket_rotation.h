// TicketRotation: which keys session tickets are sealed with over time (tickets.h). The supervisor's: servers come and
// go.
//
// The newest seals for `rotate`, then another is made; a key that seals no more opens tickets for `lifetime`, so that
// each ticket is good for as long as it was given out for. What is older is forgotten, and with it the means to read
// what was recorded of resumed TLS 1.2 connections. Time is handed in; randomness is the kernel's.
#pragma once

#include "src/base/result.h"
#include "src/base/time.h"
#include "src/tls/tickets.h"

#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

class TicketRotation {
 public:
  // Brings the keys in line with `now`. True: they have changed. Error: the kernel gives no randomness; as before.
  [[nodiscard]] Result<bool> turn(MonoTime now, Duration rotate, Duration lifetime);
  // No tickets. True: there were keys.
  bool clear();
  // When turn() has something to do.
  [[nodiscard]] MonoTime due(Duration rotate, Duration lifetime) const;
  // For servers: the newest first, in hexadecimal.
  [[nodiscard]] std::string text() const;

 private:
  struct Held {
    TicketKey key;
    MonoTime made;
    MonoTime retired = MonoTime::never();  // when another took its place
  };
  std::deque<Held> keys_;  // the newest first
};

// The keys of text(); what is no key is left out.
[[nodiscard]] std::vector<TicketKey> ticket_keys_of(std::string_view text);

}  // namespace penstock
