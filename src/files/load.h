// Load: one path on its way to something deliverable; Loader::State: all of a reactor's. Internal to the loader.
//
//   PROBE ──► (directory: index candidates, listing) ──► (SUFFIXES) ──► OPEN ──► READ ──► verify ──► done
//     ▲                                                                  │         │         │
//     └─────────────── WAIT (a few ms) ◄──── changing ───────────────────┴─────────┴─────────┘
// PROBE finds out what the path is and brings its dentries into memory, so that placing watches
// afterwards does not wait for a disk. For what will be cached, OPEN then opens everything anew.
#pragma once

#include "src/base/fixed_pool.h"
#include "src/files/loader.h"
#include "src/files/suffix_index.h"

#include <array>
#include <deque>
#include <memory>
#include <string>
#include <vector>

namespace penstock {

enum class LoadPhase : uint8_t { PROBE, SUFFIXES, WAIT, OPEN, READ, LIST, WRITE_LIST };

// What the writers that were seen at a load's files mean for it.
enum class Writing : uint8_t {
  NO,
  NOW,      // worth waiting for the closing
  PAUSED,   // not closed, nor lately written to (truncate(2), a writer who is slow): to be served, not to be cached
  ENDLESS,  // again and again for long (a log file): the same, and taken for whole though it grows meanwhile
};

// The identity or a sibling while it is loaded.
struct LoadFile {
  Coding coding = Coding::IDENTITY;
  std::string path;
  int fd = -1;
  FileInfo info;  // at OPEN, then as read just before the content
  Body* body = nullptr;
  char* into = nullptr;
  uint64_t filled = 0;
};

struct Listing {
  DirectoryList list;
  ListingWriter writer;
  std::string page;
};

struct Load {
  uint64_t token = 0;
  const LoadPolicy* policy = nullptr;
  RootDir root;
  std::string path;  // without trailing slash
  std::string url_path;
  bool directory = false;  // a trailing slash was given
  bool admit = false;
  LoadPhase phase = LoadPhase::PROBE;
  uint8_t index = UINT8_MAX;
  std::string suffix_directory;  // while it is read
  uint8_t siblings = 0;          // coding_bit()s of those that may be there
  uint32_t file_count = 0;       // of files in use; [0] is the identity
  uint32_t pending = 0;          // operations under way
  bool broken = false;           // a read failed; the others are awaited only
  int error = 0;                 // of that read
  std::array<LoadFile, CODING_COUNT> files;
  WatchStatus watch_status = WatchStatus::UNSUPPORTED;
  Validity validity;
  std::array<FileId, CODING_COUNT> watched;  // what the watch saw each of `files` lead to
  WriteState writers;
  std::string_view content_type;
  MonoTime started;
  MonoTime due;
  int64_t wall_ns = 0;  // wall clock of the turn in which the files were opened
  uint32_t retries = 0;
  std::unique_ptr<Listing> listing;

  // Of the identity; "" is the root.
  [[nodiscard]] std::string_view directory_name() const {
    const std::string_view name = files[0].path;
    const size_t slash = name.rfind('/');
    return slash == std::string_view::npos ? std::string_view() : name.substr(0, slash);
  }
};

struct Loader::State {
  State(FileReader& reader_in, BodyStore& bodies_in, FileWatch* watch_in, uint32_t loads_max)
      : reader(reader_in), bodies(bodies_in), watch(watch_in), loads(loads_max) {}

  // loader.cc: the machine.
  void submit(Load& load, const FileOp& op, uint32_t file);
  void complete(const FileCompletion& completion);
  void wait(Load& load, Duration pause);
  void finish(Load& load, LoadKind kind, int error = 0);
  void deliver(Load& load, LoadResult&& result);
  void release_files(Load& load);  // descriptors and bodies
  void close(LoadFile& file);

  // load_siblings.cc: which precompressed siblings there may be, and which count.
  void ask_suffixes(Load& load, const DirectoryVersion& directory);
  void suffixes_read(Load& load, const FileCompletion& done);
  void name_files(Load& load);
  void drop_useless_siblings(Load& load);

  // load_steps.cc: what follows on what.
  void begin(Load& load);
  void probe(Load& load);
  void probed(Load& load, const FileCompletion& done);
  void directory_found(Load& load);
  void try_index(Load& load);
  void list(Load& load);
  void listed(Load& load, const FileCompletion& done);
  void write_listing(Load& load);
  void file_found(Load& load, const DirectoryVersion& directory);
  void open_files(Load& load);
  void place_watch(Load& load);
  void opened(Load& load, uint32_t file, const FileCompletion& done);
  void all_opened(Load& load);
  void ask_watch(Load& load);
  Writing writing(const Load& load) const;
  bool better_wait(const Load& load) const;
  bool watch_agrees(const Load& load) const;
  Duration unsettled(const Load& load, const LoadFile& file) const;
  bool must_stream(const Load& load) const;
  void stream(Load& load, Verdict verdict);
  void read_all(Load& load);
  void read_more(Load& load, uint32_t file);
  void was_read(Load& load, uint32_t file, const FileCompletion& done);
  void verify(Load& load);
  void deliver_file(Load& load, bool settled);
  void changing(Load& load, Duration pause);

  FileReader& reader;
  BodyStore& bodies;
  FileWatch* watch;
  FixedPool<Load> loads;
  std::vector<Handle> waiting;  // WAIT and WRITE_LIST
  std::deque<LoadResult> done;
  struct Stalled {
    FileOp op;
    uint64_t token;
  };
  std::deque<Stalled> stalled;  // operations that the reader had no room for
  MonoTime now;
  WallTime wall;
  bool poll_again = false;  // something was submitted since the reader was last found empty
  uint32_t pending = 0;     // operations under way, of all loads
  SuffixIndex suffixes;
  LoaderCounters counters;
};

}  // namespace penstock
