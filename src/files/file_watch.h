// FileWatch: the seam that turns changes of files into stale cache entries (FEATURES SC6).
//
// The order is the whole trick: watch() FIRST, then read, then ask write_state(). A change before
// watch() returns is seen in what is read; a change after it bumps the cell, so an entry made from
// older bytes is stale from birth. watch() may be called by every reactor (mutex; cold path, only for
// what will be cached). Real: inotify_watch.h; fake: tests/support/memory_file_reader.h.
//
// A cell is bumped at once, counted from the event, by
//   - rename, delete, create, chmod, chown, link of the file, of a name it depends on, of any
//     directory or symbolic link on the way to it;
//   - every write(2) or truncate(2) of the file under any of its names, and every closing of it by
//     somebody who could have written;
//   - the loss of events (the kernel's queue overflowed), which bumps everything.
// So a fresh entry is what reading the file again would give; it outlives a change by no more than the
// time until somebody takes the event in. No Linux interface tells an unprivileged reader
//   - whether somebody who opened the file before it was watched is in the middle of writing it (a
//     lease would, but needs ownership or CAP_LEASE and makes writers wait for us);
//   - of stores through a shared mapping, before it is unmapped.
// It never reads a file, and what it does not know how to watch it refuses.
#pragma once

#include "cache/validity.h"
#include "src/base/time.h"
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
  CHANGING,     // the path changed each time it was walked: ask again
  LIMIT,        // inotify watches, cells or our own bound are used up
  UNSUPPORTED,  // the file system or the kernel refused, or the directory is not there
};

struct WatchTicket {
  WatchStatus status = WatchStatus::UNSUPPORTED;
  Validity validity;  // current, read after all watches stood; cell 0 unless WATCHED
  // What each name led to when its watch stood; ino 0: nothing (or nothing that may be served).
  // Content is only good for caching when it was read from these very inodes.
  std::array<FileId, WATCH_NAMES_MAX> files;
};

// What was seen of writers on the files of a watch, all events up to now taken in.
struct WriteState {
  bool current = false;  // the validity still holds; else what was read since may be of two times
  MonoTime since;        // the first write that no closing followed, of those close to each other; 0: none
  MonoTime last;         // the latest of them
  uint32_t writes = 0;   // their number, at least
};

class FileWatch {
 public:
  virtual ~FileWatch() = default;
  // A request equal to an earlier one whose cell was not bumped since costs one look-up.
  [[nodiscard]] virtual WatchTicket watch(const WatchRequest& request) = 0;
  // As of now: events that the kernel has queued are taken in first.
  [[nodiscard]] virtual WriteState write_state(Validity validity) = 0;
  // A hint: no entry with this validity exists (any more), so its watches may go first. Bumps the cell.
  virtual void forget(Validity validity) = 0;
};

}  // namespace penstock
