// LogBooks: all logs of logd: log.access, and a Drain for each logfile.NAME, each with a place of its own in every
// ring.
//
// One owner, one thread, in logd. Each log goes its own way: one that cannot be written holds up no other. So that it
// does not hold up the reactors either, a logfile.NAME gives up its oldest records when half a ring waits for it alone;
// log.access does as log.access.on_full says.
//
// It tells the reactors how logd waits, which a single Drain cannot know.
#pragma once

#include "src/base/result.h"
#include "src/base/time.h"
#include "src/log/drain/drain.h"
#include "src/log/drain/followers.h"
#include "src/log/drain/settings.h"
#include "src/log/journal_memory.h"
#include "src/log/ring_reader.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

// What stands for the log of that name in the rings (LogCursor::log); never 0.
[[nodiscard]] uint64_t log_number(std::string_view name);

class LogBooks {
 public:
  static constexpr size_t LOGS_MAX = LOG_CURSORS;

  // REQUIRES: the maps outlive this, and nobody else reads their rings.
  LogBooks(std::vector<const JournalMap*> maps, std::string computer_name, uint64_t hash_seed);
  LogBooks(const LogBooks&) = delete;
  LogBooks& operator=(const LogBooks&) = delete;

  // Changes the logs, log.access first, to these, which all have a name of their own. A log that is gone takes what
  // waits for it, if it can be written. All that can be changed is; the error is the first log's that could not
  // (Drain::apply).
  [[nodiscard]] Status apply(std::span<const AccessLogSettings> logs, MonoTime now, WallTime wall);

  // A pass of each. How long the caller may wait: as DrainRest::wait.
  [[nodiscard]] Duration pass(MonoTime now, WallTime wall);
  // Rotates all; the first error.
  [[nodiscard]] Status rotate(WallTime wall);

  [[nodiscard]] bool drained() const;
  // Whether any log is written.
  [[nodiscard]] bool wanted() const;
  void set_followers(LogFollowers* followers) { books_.front()->drain->set_followers(followers); }
  [[nodiscard]] std::optional<std::string> take_message();
  // Of log.access, or of the log file of that name; nullptr: there is none.
  [[nodiscard]] const Drain* find(std::string_view name) const;

 private:
  struct Book {
    std::string name;
    std::vector<std::unique_ptr<RingReader>> rings;
    std::unique_ptr<Drain> drain;
  };
  [[nodiscard]] std::unique_ptr<Book> open_book(const std::string& name) const;
  void close_books(std::span<const AccessLogSettings> logs, MonoTime now, WallTime wall);

  std::vector<const JournalMap*> maps_;
  std::string computer_name_;
  uint64_t hash_seed_;
  std::vector<std::unique_ptr<Book>> books_;  // log.access, then the others
};

}  // namespace penstock
