// Drain: one log: takes finish records from the rings, writes those that it wants to its file in batches, rotates it.
//
// One owner, one thread, in logd. A batch comes from one ring. Before it is written the ring's ack page says where in
// which file it will stand (WriteIntent); when it is written the ring's tail moves over it. Whoever takes over after
// a kill looks at the file: a whole batch is acknowledged, a part of one is cut off and written anew. So each record
// is in the log once. (Where the file cannot tell - a pipe, or a log that another program moved or cut in that very
// moment - the batch is written again: twice rather than never.)
//
// A disk that is full or fails stops nothing but the log: the batch waits, is tried again, and meanwhile the rings
// fill; what does not fit there is dropped by the reactors and counted, and the log says so at the place of the gap.
// Where log.access.on_full is drop_oldest, that cannot happen while logd runs: it gives up the oldest records itself.
//
// It never waits by itself: pass() says how long the caller may. Several Drains are a LogBooks.
#pragma once

#include "src/base/result.h"
#include "src/base/time.h"
#include "src/log/drain/filter.h"
#include "src/log/drain/followers.h"
#include "src/log/drain/log_encoder.h"
#include "src/log/drain/log_file.h"
#include "src/log/drain/settings.h"
#include "src/log/ring_reader.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace penstock {

struct DrainStats {
  uint64_t records = 0;  // written to the log
  uint64_t bytes = 0;    // likewise
  uint64_t batches = 0;
  uint64_t discarded = 0;     // taken while no log was wanted
  uint64_t given_up = 0;      // the oldest, to make room
  uint64_t write_errors = 0;  // writes that failed, each counted
  uint64_t rotations = 0;
  uint64_t pruned = 0;     // rotated files removed
  uint64_t repaired = 0;   // batches of a predecessor that were cut off and written anew
  uint64_t accepted = 0;   // batches of a predecessor that proved whole
  uint64_t uncertain = 0;  // batches of a predecessor that could not be checked, and were written again
  std::string failing;     // why the log cannot be written now; empty while it can
};

// How long the caller of pass() may wait for anything else before it calls again, and what the reactors are told of
// that.
struct DrainRest {
  Duration wait;  // UNTIL_BELL: as long as it takes; zero: call again at once
  DrainState state = DrainState::AWAKE;
};

class Drain {
 public:
  static constexpr Duration BATCH_INTERVAL = milliseconds(50);
  static constexpr Duration RETRY_MIN = milliseconds(100);
  static constexpr Duration RETRY_MAX = seconds(2);
  static constexpr Duration IDLE_BEFORE_SLEEP = seconds(1);
  static constexpr Duration UNTIL_BELL = {-1};

  // REQUIRES: the rings outlive this and nobody else reads them.
  Drain(std::vector<RingReader*> rings, std::string computer_name, uint64_t hash_seed);
  Drain(const Drain&) = delete;
  Drain& operator=(const Drain&) = delete;

  // Changes the log, between batches. On an error (the file cannot be opened) the log stays what it was; if there was
  // none, the settings are taken and pass() tries to open again.
  [[nodiscard]] Status apply(const AccessLogSettings& settings, MonoTime now, WallTime wall);

  // Writes what waits, up to a bound that keeps a caller responsive.
  [[nodiscard]] DrainRest pass(MonoTime now, WallTime wall);

  // Rotates now, by command: renames the file if it still is where it was and not empty, and opens a new one.
  [[nodiscard]] Status rotate(WallTime wall);

  // True when every ring is empty and nothing waits to be written.
  [[nodiscard]] bool drained() const;

  // Whoever follows is shown each record once it is taken from its ring. Not owned; nullptr: nobody.
  void set_followers(LogFollowers* followers) { followers_ = followers; }

  [[nodiscard]] const DrainStats& stats() const { return stats_; }
  [[nodiscard]] const AccessLogSettings& settings() const { return settings_; }
  // One line for the operator when the log begins or ceases to fail, or rotation does; nothing otherwise.
  [[nodiscard]] std::optional<std::string> take_message();

 private:
  struct Batch {
    RingReader* ring = nullptr;  // nullptr: no batch is pending
    uint64_t records = 0;        // taken from the ring
    uint64_t wanted = 0;         // of these: in `bytes`
    size_t written = 0;
    WriteIntent intent{};
    LineBuffer bytes;
  };

  [[nodiscard]] Status open_file(const AccessLogSettings& settings, WallTime wall);
  void recover(LogFile& file);
  bool make_batch(WallTime wall);
  void fill_batch(RingReader& ring);
  bool write_batch(MonoTime now);
  void throw_batch_away();
  bool discard_waiting();
  void give_up_oldest(uint64_t from, uint64_t to);
  void rotate_if_due(MonoTime now, WallTime wall);
  [[nodiscard]] DrainRest wait(MonoTime now, bool worked);
  void failed(MonoTime now, const Error& error);
  void succeeded();

  std::vector<RingReader*> rings_;
  LogFollowers* followers_ = nullptr;
  std::string computer_name_;
  uint64_t hash_seed_;
  AccessLogSettings settings_;
  LogFilter filter_;
  EntryTexts filter_texts_;
  std::optional<LogFile> file_;
  std::unique_ptr<LogEncoder> encoder_;
  bool recovered_ = false;      // a predecessor's open batches were looked at
  bool start_pending_ = false;  // the next batch begins with encoder_->start()
  int64_t file_period_ = 0;
  Batch batch_;
  size_t next_ring_ = 0;
  MonoTime retry_at_{};
  Duration retry_{};
  MonoTime rotate_retry_at_{};
  MonoTime last_work_{};
  DrainStats stats_;
  std::string message_;
};

}  // namespace penstock
