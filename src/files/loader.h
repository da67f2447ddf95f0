// Loader: from a canonical path to something deliverable (DESIGN.md section 2, cold static).
//
// One per reactor, on its thread; it never waits. start() a load, then poll() once a turn: it drives
// the FileReader and gives results out. What a result holds (pins, an open descriptor) is the caller's.
//
// Never torn: content is taken only if fstat before and after agree, the length is exact and the last
// change is older than `settle`. Otherwise, or while the watch knows of a writer who has not closed, it
// is tried again every few milliseconds, at most `write_hold` long; then what fstat calls consistent is
// served but not cached. Never stale: what is to be cached is watched before it is read.
// What cannot be known is in file_watch.h: of such writers, one is not waited for who opened the file before it
// was watched and pauses for longer than `settle` in the middle. What the file holds then is what is served, and only
// until he goes on: his next write makes the entry stale. (cache/README.md, "What is kept of a file".)
#pragma once

#include "cache/body.h"
#include "cache/validity.h"
#include "cache/verdict.h"
#include "src/base/coding.h"
#include "src/base/time.h"
#include "src/files/file_reader.h"
#include "src/files/file_watch.h"
#include "src/files/mime.h"
#include "src/http/status.h"

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

inline constexpr uint32_t INDEX_NAMES_MAX = 8;

// What one route says about files. Made with the config snapshot; outlives every load that names it.
struct LoadPolicy {
  std::vector<std::string> index_names;  // at most INDEX_NAMES_MAX
  bool listing = false;
  ListingFormat listing_format = ListingFormat::HTML;
  std::string listing_footer;
  uint32_t listing_entries_max = 10'000;
  DecodeRules decode;  // what the URLs of entries are held to
  SymlinkPolicy symlinks = SymlinkPolicy::ALL;
  bool dotfiles = false;  // names that begin with '.' exist; else only a first segment ".well-known" does (RFC 8615)
  uint8_t precompressed = 0;  // OR of ACCEPT_GZIP, ACCEPT_BR, ACCEPT_ZSTD: siblings .gz .br .zst are looked for
  UnknownTypePolicy unknown_type = UnknownTypePolicy::OCTET_STREAM;
  const MimeTable* mime = nullptr;
  uint64_t entry_bytes_max = 1 << 20;       // larger files are streamed
  uint64_t sendfile_bytes_min = 128 << 10;  // from this size on a file that is not to be cached is streamed
  Duration settle = milliseconds(20);
  Duration write_hold = seconds(1);
};

struct LoadRequest {
  RootDir root;
  // Decoded and canonical, without the leading '/'; a trailing '/' asks for a directory; "" is the
  // root directory. Copied.
  std::string_view path;
  std::string_view url_path;  // canonical path of the URL, for the title of a listing. Copied.
  const LoadPolicy* policy = nullptr;
  bool admit = false;  // wanted for the cache: place watches
};

// How a load ends. The list is load_kinds.def.
enum class LoadKind : uint8_t {
#define X(name, reason, sentence) name,
#include "src/files/load_kinds.def"
#undef X
};
[[nodiscard]] Reason load_kind_reason(LoadKind kind);
[[nodiscard]] std::string_view load_kind_sentence(LoadKind kind);

// One representation: in memory, or open to be streamed.
struct LoadedVariant {
  Coding coding = Coding::IDENTITY;
  Body* body = nullptr;  // FILE, LISTING: sealed, one pin that is the caller's
  int fd = -1;           // STREAM: open; the caller gives it to FileReader::close()
  FileInfo info;         // of the file it came from; not of a LISTING
};

struct LoadResult {
  uint64_t token = 0;
  LoadKind kind = LoadKind::IO_ERROR;
  // FILE, STREAM: [0] is the identity, precompressed siblings follow. LISTING: the page.
  std::array<LoadedVariant, CODING_COUNT> variants;
  uint32_t variant_count = 0;
  std::string_view content_type;        // of the identity; "" where unknown; valid as long as the policy
  uint8_t index = UINT8_MAX;            // which of index_names answered for a directory; UINT8_MAX: the path itself
  bool cacheable = false;               // FILE: may be put into the cache with `validity`
  Verdict verdict = Verdict::FILL_LED;  // why it is not cacheable; FILL_LED when it is
  Validity validity;                    // cacheable: what the entry depends on
  int error = 0;                        // errno behind a failure; for the log
  uint32_t retries = 0;                 // times the file was found changing

  // Gives back every pin and descriptor it still holds.
  void discard(FileReader& reader);
};

struct LoaderCounters {
  uint64_t started = 0;
  uint64_t retried = 0;   // reads repeated because the file changed
  uint64_t changing = 0;  // served uncached because it did not settle
  uint64_t unwatchable = 0;
  uint64_t siblings_old = 0;  // siblings ignored because they are older than their original
  uint64_t bytes_read = 0;
};

class Loader {
 public:
  // All outlive it. `watch` may be nullptr: then nothing is cacheable (UNWATCHABLE).
  Loader(FileReader& reader, BodyStore& bodies, FileWatch* watch, uint32_t loads_max);
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;
  ~Loader();

  // False at loads_max or for a path longer than PATH_BYTES_MAX: nothing was started.
  [[nodiscard]] bool start(const LoadRequest& request, uint64_t token, MonoTime now);
  // Drives all loads; writes up to out.size() results. `wall` is the wall clock, read no later than now.
  [[nodiscard]] size_t poll(MonoTime now, WallTime wall, std::span<LoadResult> out);
  // When poll() should be called even if nothing wakes the reactor; MonoTime{0} means at once.
  [[nodiscard]] MonoTime next_due() const;

  [[nodiscard]] uint32_t loads() const;
  [[nodiscard]] const LoaderCounters& counters() const;

  static constexpr size_t PATH_BYTES_MAX = 4095;

  struct State;  // load.h

 private:
  std::unique_ptr<State> state_;
};

}  // namespace penstock
