// EntryMaker: from a loaded file to a wire-ready cache entry; and the head of a representation that
// is streamed. Cold path: it allocates. Pure but for the store it is given; no clock, no socket.
#pragma once

#include "cache/entry.h"
#include "src/files/loader.h"
#include "src/route/route_table.h"
#include "src/server/snapshot.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace penstock {

// Entry::owner_flags: these bits, and above them the site that answered, by which the log names it.
enum EntryFlag : uint32_t {
  ENTRY_WANTS_COMPRESSION = 1 << 0,  // a compressible type, and variants are missing
  ENTRY_ANSWER = 1 << 1,             // of an application: it has an age, and answers whatever codings are accepted
  ENTRY_FLAGS = 0xff                 // all of them
};
inline constexpr int ENTRY_SITE_SHIFT = 8;

// What stands for a site there. Numbers of sites are the same as long as entries are good (serving_generation).
[[nodiscard]] inline uint32_t entry_site(const Site& site) { return (site.number + 1) << ENTRY_SITE_SHIFT; }
// The site that answered; nullptr where the entry does not say.
[[nodiscard]] inline const Site* site_of(const Entry& entry, const RouteTable& routes) {
  return routes.site_numbered((entry.owner_flags() >> ENTRY_SITE_SHIFT) - 1);
}

// What an answer's head is made from, for one representation.
struct HeadSource {
  const Snapshot* config = nullptr;
  const Route* route = nullptr;
  std::string_view content_type;
  uint64_t size = 0;
  int64_t last_modified = INT64_MIN;  // Unix seconds
  std::string_view etag;              // with quotes; empty: none
  bool vary = false;                  // other codings of it exist or may come to exist
  bool vary_accept = false;           // a listing: HTML or JSON by Accept
  bool secure = false;                // for answers over TLS
};

// A complete head with its date at date_offset(200) or date_offset(304). Empty where the fields that the
// config adds do not fit (HEAD_BYTES_MAX).
inline constexpr size_t HEAD_BYTES_MAX = 16 * 1024;
[[nodiscard]] std::string make_head(const HeadSource& source, int64_t unix_seconds);
[[nodiscard]] std::string make_head_304(const HeadSource& source, int64_t unix_seconds);

// "\"1f2-17f3c...\"": size and modification time in hexadecimal, and the coding where there is one.
[[nodiscard]] std::string make_etag(const FileInfo& info, Coding coding);

// The head of the compressed variant of the identity whose head is `identity`: other length and ETag, and
// Content-Encoding.
[[nodiscard]] std::string make_variant_head(std::string_view identity, Coding coding, uint64_t size,
                                            std::string_view etag);

// Whether answers of this type may come compressed, on this route.
[[nodiscard]] bool may_compress(const Snapshot& config, const Route& route, std::string_view content_type);

struct EntrySource {
  const Snapshot* config = nullptr;
  const Site* site = nullptr;
  const Route* route = nullptr;
  KeyView key;
  uint64_t hash = 0;
  std::string_view canonical_path;
  uint64_t purge_mark = 0;
  MonoTime now;
  int64_t unix_seconds = 0;
};
// The entry of a FILE or LISTING result, pinned once for the caller. nullptr without memory, or where the head
// does not fit. The result keeps its pins.
[[nodiscard]] Entry* make_entry(const EntrySource& source, const LoadResult& result, MemoryLedger& ledger);

}  // namespace penstock
