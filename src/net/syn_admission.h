// SynAdmission: when new connections are turned away, so that those that were begun are served.
//
// Asked for more than it can do, an engine that answers every SYN spends its time on clients who have gone when their
// turn comes. Two signs together tell that from a crowd, a flood or a slow path: frames wait (bursts are full, one
// after the other), and of the handshakes that we answer most come to be established, but some are given up by their
// clients (a RST answers our SYN-ACK). Where both were seen within an interval, a SYN that comes while frames wait and
// many connections are half open is dropped: the time goes to connections that are there. As soon as a burst is not
// full, SYNs are heard again; a dropped one is repeated by its client after a second (RFC 6298 section 2.1).
//
// Who sends nothing but SYNs completes nothing (cookies answer those: RFC 4987), who is patient gives nothing up, and
// of a crowd that comes at once nobody does: all these are let in. The interval is that of CoDel (RFC 8289 section
// 3.2). Pure; one engine's.
#pragma once

#include "src/base/time.h"

#include <algorithm>
#include <cstdint>

namespace penstock {

class SynAdmission {
 public:
  static constexpr uint32_t FULL_BURSTS = 8;  // in a row: so many frames wait that one turn's are no matter
  static constexpr Duration INTERVAL = milliseconds(100);
  static constexpr uint32_t HOLD_MIN = 4;         // intervals for which the signs hold
  static constexpr uint32_t HOLD_MAX = 64;        // if they come again and again
  static constexpr uint32_t GIVEN_UP_SHARE = 16;  // one of so many handshakes that end is a sign
  static constexpr uint32_t ANSWERED_MIN = 64;    // SYNs of an interval; fewer tell nothing

  // With fewer than `half_open_min` half-open connections nobody is turned away.
  SynAdmission(uint32_t half_open_min, MonoTime now) : interval_end_(now + INTERVAL), half_open_min_(half_open_min) {}

  // Once a turn, before its frames are handled. `full`: as many have come as a turn takes.
  void turn(MonoTime now, bool full) {
    full_ = full ? full_ + 1 : 0;
    waited_ |= full_ >= FULL_BURSTS;
    if (now >= interval_end_) [[unlikely]]
      judge(now);
  }
  void answered() { ++answered_; }        // a SYN, by SYN-ACK
  void established() { ++established_; }  // a handshake
  void given_up() { ++given_up_; }        // a handshake: RST in the place of its last ACK

  // Whether a SYN is to be dropped.
  [[nodiscard]] bool turns_away(uint32_t half_open) const {
    return hold_left_ != 0 && full_ >= FULL_BURSTS && half_open >= half_open_min_;
  }

 private:
  void judge(MonoTime now) {
    const bool tells = answered_ >= ANSWERED_MIN;
    const bool flood = tells && established_ < answered_ / 2;
    if (tells && !flood && waited_ && uint64_t{given_up_} * GIVEN_UP_SHARE >= uint64_t{established_} + given_up_) {
      hold_ = calm_ < hold_ ? std::min(hold_ * 2, HOLD_MAX) : HOLD_MIN;  // soon after the last time: for longer
      hold_left_ = hold_;
      calm_ = 0;
    } else if (flood) {
      hold_left_ = 0;
    } else if (hold_left_ != 0) {
      --hold_left_;
    } else {
      calm_ = std::min(calm_ + 1, HOLD_MAX);
    }
    answered_ = established_ = given_up_ = 0;
    waited_ = false;
    interval_end_ = now + INTERVAL;
  }

  MonoTime interval_end_;
  uint32_t half_open_min_;
  uint32_t full_ = 0;  // bursts in a row
  bool waited_ = false;
  uint32_t answered_ = 0;
  uint32_t established_ = 0;
  uint32_t given_up_ = 0;
  uint32_t hold_ = HOLD_MIN;  // intervals, the last time
  uint32_t hold_left_ = 0;
  uint32_t calm_ = HOLD_MAX;  // intervals since
};

}  // namespace penstock
