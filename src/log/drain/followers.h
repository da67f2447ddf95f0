// LogFollowers: who watches the stream of records live (`penstock log follow`), beside the log and whatever it writes.
//
// Owned by logd's role, fed by the Drain, one thread. Each follower has a buffer of lines of its own form that he
// fetches; what finds it full is lost to him, and he is told how many. Nobody is ever waited for. A follower that does
// not fetch for IDLE_MAX is forgotten. It costs nothing while there is none.
#pragma once

#include "src/base/time.h"
#include "src/log/drain/filter.h"
#include "src/log/drain/line_format.h"
#include "src/log/ring_reader.h"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace penstock {

class LogFollowers {
 public:
  static constexpr size_t FOLLOWERS_MAX = 16;
  static constexpr size_t BYTES_MAX = size_t{1} << 20;  // of lines that one has not fetched
  static constexpr Duration IDLE_MAX = seconds(10);

  // What is sent to one: W3C begins with its directives. Not BINARY.
  // The number to fetch by, or why not: a format that has no lines, too many followers.
  [[nodiscard]] Result<uint64_t> open(LineFormatOptions form, LogFilter filter, MonoTime now, WallTime wall);

  struct Fetched {
    std::string lines;
    uint64_t lost = 0;  // records that he would have got since he last fetched
  };
  // Nothing: there is no such follower (any more).
  [[nodiscard]] std::optional<Fetched> fetch(uint64_t number, MonoTime now);

  // One record that `ring` has just returned. A record that is read again, since its batch was thrown away, is not
  // shown again.
  void add(const EndRecordView& record, const RingReader& ring);
  // Once in a while: forgets who does not fetch.
  void expire(MonoTime now);
  [[nodiscard]] bool any() const { return !followers_.empty(); }

 private:
  struct Follower {
    LineFormat form;
    Escape escape;
    LogFilter filter;
    LineBuffer lines;
    uint64_t lost = 0;
    MonoTime fetched;
  };

  std::map<uint64_t, std::unique_ptr<Follower>> followers_;
  std::map<uint32_t, uint64_t> shown_;  // position by reactor
  uint64_t numbers_ = 0;
  EntryTexts texts_;
};

}  // namespace penstock
