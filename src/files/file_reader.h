// FileReader: the seam between a reactor and the file system (DESIGN.md section 5).
//
// One per reactor, used on its thread only. Operations go in by submit(), completions come out of
// poll() in any order; wake_fd() tells the reactor's transport that one waits. What needs no disk
// (dentries and pages in memory) is done inside submit() and its completion is there at the next
// poll(); what would block goes to a worker thread, never on the reactor.
// Real: thread_file_reader.h; fake: tests/support/memory_file_reader.h.
//
// Every path is resolved beneath its root (openat2 RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS), so a
// wrong mapping above cannot escape. It interprets no policy but that of symbolic links.
#pragma once

#include "src/files/directory_list.h"
#include "src/files/file_info.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace penstock {

enum class FileOpKind : uint8_t {
  OPEN,      // root, path, symlinks → result: descriptor; info: of the opened file
  READ,      // fd, offset, into → result: bytes read, 0 at the end of the file; may be short
  LIST,      // root, path, symlinks, list → result: 0; `list` filled and sorted by name
  SUFFIXES,  // root, path of a directory, symlinks → result: coding_bit()s of the suffixes (coding_suffix()) that names
             // in it end in; directory: its version, where it is the same before and after
};

// What the pointers and the span name must stay until the completion.
struct FileOp {
  FileOpKind kind = FileOpKind::OPEN;
  SymlinkPolicy symlinks = SymlinkPolicy::NONE;
  RootDir root;
  bool tell_directory = false;
  const char* path = "";  // canonical, relative, no "." or ".." segment, no leading or trailing '/'; "" is the root
  int fd = -1;
  uint64_t offset = 0;
  std::span<char> into;
  DirectoryList* list = nullptr;
};

// Errors that are not errno's usual meaning for a web server:
//   ELOOP  a symbolic link that the policy forbids, or too many
//   EXDEV  a link that leads out of the root
//   ENXIO  not a regular file or directory: a FIFO, device or socket (never served, never blocks)
struct FileCompletion {
  uint64_t token = 0;
  int64_t result = 0;  // >= 0 as FileOpKind says, or -errno
  FileInfo info;       // OPEN
  // OPEN with tell_directory: the directory of the name, as it was before the look-up. SUFFIXES.
  DirectoryVersion directory;
  bool link_met = false;  // OPEN: a symbolic link was on the way
};

struct FileReaderCounters {
  uint64_t inline_done = 0;   // finished inside submit(): no disk, no thread
  uint64_t offloaded = 0;     // went to the worker
  uint64_t links_walked = 0;  // OPENs that met a symbolic link, counted when their completions are taken
};

class FileReader {
 public:
  virtual ~FileReader() = default;  // waits for what is under way; its completions are lost

  [[nodiscard]] virtual const char* name() const = 0;  // "threads", "memory"

  // False at the limit of operations under way: nothing happened, try after the next poll().
  [[nodiscard]] virtual bool submit(const FileOp& op, uint64_t token) = 0;
  // Submits what is queued, takes up to out.size() completions; never waits.
  [[nodiscard]] virtual size_t poll(std::span<FileCompletion> out) = 0;
  // An eventfd that becomes readable when a completion waits that submit() did not already make.
  // It need not be read (see Transport::add_wake_source). -1 where nothing is ever late.
  [[nodiscard]] virtual int wake_fd() const = 0;

  // Of a descriptor from OPEN. Neither waits for a disk.
  [[nodiscard]] virtual int stat(int fd, FileInfo& info) = 0;  // 0 or an errno
  virtual void close(int fd) = 0;

  [[nodiscard]] virtual const FileReaderCounters& counters() const = 0;
};

}  // namespace penstock
