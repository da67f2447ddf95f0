// FileWatch: the seam that turns changes of files into stale cache entries (FEATURES SC6).
//
// The order is the whole trick: watch() FIRST, then read. A change before watch() returns is seen in
// what is read; a change after it bumps the cell, so an entry made from older bytes is stale from
// birth. watch() may be called by every reactor (mutex; cold path, only for what will be cached).
// Real: inotify_watch.h; fake: tests/support/memory_file_reader.h.
//
// When a cell is bumped, counted from the event:
//   at once            rename, delete, create, chmod, chown, link of the file, of a name it depends
//                      on, of any directory or symbolic link on the way to it
//   at the close       in-place writing: the old entry is complete, so it is held (never a torn
//                      body) until the writer closes, at most `write_hold` from its first write
//   after `settle`     truncate(2) or writing by nobody who was seen to open it
//   everything         when the kernel's event queue overflowed
// It never reads a file, and what it does not know how to watch it refuses.
#pragma once

#include "cache/validity.h"
#include "src/files/file_info.h"

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace penstock {

inline constexpr uint32_t WATCH_NAMES_MAX = 16;

// Everything one cache entry depends on.
struct WatchRequest {
  RootDir root;
  SymlinkPolicy symlinks = SymlinkPolicy::NONE;
  std::string_view directory;               // canonical, relative to the root, no slash at the ends; "" is the root
  std::span<const std::string_view> names;  // in that directory, existing or not, at most WATCH_NAMES_MAX
};

enum class WatchStatus : uint8_t {
  WATCHED,
  LIMIT,        // inotify watches, cells or our own bound are used up
  UNSUPPORTED,  // the file system or the kernel refused, the path changes while it is walked, or a forbidden link
};

struct WatchTicket {
  WatchStatus status = WatchStatus::UNSUPPORTED;
  Validity validity;  // current, read after all watches stood; cell 0 unless WATCHED
  // What each name led to when its watch stood; ino 0: nothing (or nothing that may be served).
  // Content is only good for caching when it was read from these very inodes.
  std::array<FileId, WATCH_NAMES_MAX> files;
};

// What is known of writers on the files of a watch, from best to worst.
enum class WriteState : uint8_t {
  CLEAN,      // nobody has it open: whoever writes it must open it first, and so is seen
  UNKNOWN,    // nobody was seen writing, but somebody may have opened it before the watch stood
  WRITING,    // written to and not yet closed, for less than write_hold: better wait
  CONTINUAL,  // written to and not closed for longer (a log file): serve it, do not cache it
};

class FileWatch {
 public:
  virtual ~FileWatch() = default;
  // A request equal to an earlier one whose cell was not bumped since costs one look-up.
  [[nodiscard]] virtual WatchTicket watch(const WatchRequest& request) = 0;
  // As of now: events that the kernel has queued are taken in first. UNKNOWN for a validity that is
  // not watched (any more).
  [[nodiscard]] virtual WriteState write_state(Validity validity) = 0;
  // A hint: no entry with this validity exists (any more), so its watches may go first. Bumps the cell.
  virtual void forget(Validity validity) = 0;
};

}  // namespace penstock
