// OperatorLog: what the supervisor tells its operator: one line an event, to stderr, and the last ones for `status`.
//
// Owned by the supervisor, used by its thread. A line is written by one write(2) and escaped, so that no byte of a
// peer or a worker can forge a second line or a terminal sequence. Under systemd each line carries its priority.
// Who reads too slowly is waited for once, for PATIENCE; who has stopped reading loses lines, and is told how many as
// soon as there is room: a pager or a pipe that stands still must not hold up the one who replaces servers.
#pragma once

#include "src/base/clock.h"
#include "src/base/time.h"

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

namespace penstock {

enum class Severity : uint8_t { ERROR, WARNING, NOTICE };

struct OperatorEvent {
  WallTime when;
  Severity severity = Severity::NOTICE;
  std::string text;
};

class OperatorLog {
 public:
  static constexpr size_t KEPT = 100;
  static constexpr size_t LINE_BYTES_MAX = 4000;  // with time and severity within PIPE_BUF: one page of a pipe takes it
  static constexpr Duration PATIENCE = milliseconds(50);

  // `to_journal`: stderr goes to the systemd journal (JOURNAL_STREAM is set), which knows the time itself.
  OperatorLog(Clock& clock, int fd, bool to_journal) : clock_(clock), fd_(fd), to_journal_(to_journal) {}

  void error(std::string_view text) { say(Severity::ERROR, text); }
  void warn(std::string_view text) { say(Severity::WARNING, text); }
  void note(std::string_view text) { say(Severity::NOTICE, text); }

  // The last KEPT events, oldest first.
  [[nodiscard]] const std::deque<OperatorEvent>& recent() const { return recent_; }

 private:
  void say(Severity severity, std::string_view text);
  void put(WallTime when, Severity severity, std::string_view text) const;
  [[nodiscard]] bool has_room() const;

  Clock& clock_;
  int fd_;
  bool to_journal_;
  uint64_t lost_ = 0;  // lines since the last one that was written
  std::deque<OperatorEvent> recent_;
};

// ASCII control characters as \xNN, at most `bytes_max` bytes long: it is one line, whatever `text` was.
[[nodiscard]] std::string escape_line(std::string_view text, size_t bytes_max);

// "2026-11-22T03:11:49Z".
[[nodiscard]] std::string iso_time(WallTime when);

}  // namespace penstock
