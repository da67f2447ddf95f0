// RateLimit: a bucket of tokens for what a stranger can make us send: challenge ACKs (RFC 5961 section 7), RSTs, ICMP
// (RFC 1812).
#pragma once

#include "src/base/time.h"

#include <algorithm>
#include <cstdint>

namespace penstock {

class RateLimit {
 public:
  RateLimit(uint32_t per_second, MonoTime now) : per_second_(per_second), tokens_(per_second), last_(now) {}

  // Takes a token, or says that there is none. At most a second's worth is saved up.
  [[nodiscard]] bool allow(MonoTime now) {
    const int64_t grown = std::min<int64_t>((now - last_).ns, seconds(1).ns) * per_second_ / seconds(1).ns;
    if (grown > 0) {
      tokens_ = std::min<int64_t>(tokens_ + grown, per_second_);
      last_ = now;
    }
    if (tokens_ == 0) return false;
    --tokens_;
    return true;
  }

 private:
  int64_t per_second_;
  int64_t tokens_;
  MonoTime last_;
};

}  // namespace penstock
