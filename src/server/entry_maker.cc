#include "src/server/entry_maker.h"

#include "src/http/accept_encoding.h"
#include "src/http/host.h"
#include "src/http/response_head.h"
#include "src/server/head_edit.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace penstock {
namespace {

// "text/*" or a whole type, against the type without its parameters.
bool type_matches(std::string_view pattern, std::string_view type) {
  if (pattern == "*/*") return true;
  if (pattern.ends_with("/*")) return type.starts_with(pattern.substr(0, pattern.size() - 1));
  return type == pattern;
}

void add_common(ResponseHeadWriter& head, const HeadSource& source) {
  if (source.last_modified != INT64_MIN) head.field_date("Last-Modified", source.last_modified);
  if (!source.etag.empty()) head.field("ETag", source.etag);
  if (source.vary) head.field("Vary", "Accept-Encoding");
  if (source.vary_accept) head.field("Vary", "Accept");
  head.raw(source.route->header_lines(source.secure));
}

}  // namespace

std::string make_head(const HeadSource& source, int64_t unix_seconds) {
  std::array<char, HEAD_BYTES_MAX> room;
  ResponseHeadWriter head(room, 200, unix_seconds, source.config->server_header);
  head.field("Content-Type", source.content_type);
  head.field("Content-Length", source.size);
  if (!source.vary_accept) head.field("Accept-Ranges", "bytes");
  add_common(head, source);
  return std::string(head.finish());
}

std::string make_head_304(const HeadSource& source, int64_t unix_seconds) {
  std::array<char, HEAD_BYTES_MAX> room;
  ResponseHeadWriter head(room, 304, unix_seconds, source.config->server_header);
  add_common(head, source);
  return std::string(head.finish());
}

std::string make_etag(const FileInfo& info, Coding coding) {
  std::array<char, 64> room;
  char* at = room.data();
  char* const end = room.data() + room.size();
  *at++ = '"';
  at = std::to_chars(at, end, info.size, 16).ptr;
  *at++ = '-';
  at = std::to_chars(at, end, static_cast<uint64_t>(info.mtime_ns), 16).ptr;
  std::string etag(room.data(), at);
  if (coding != Coding::IDENTITY) etag.append("-").append(coding_name(coding));
  return etag + '"';
}

std::string make_variant_head(std::string_view identity, Coding coding, uint64_t size, std::string_view etag) {
  HeadEdit edit;
  edit.replace.push_back({"Content-Length", std::to_string(size)});
  if (!etag.empty()) edit.replace.push_back({"ETag", std::string(etag)});
  edit.add.push_back({"Content-Encoding", std::string(coding_name(coding))});
  return edit_head(identity, edit);
}

bool may_compress(const Snapshot& config, const Route& route, std::string_view content_type) {
  if (!config.settings.compress_enable || !route.compress) return false;
  std::string_view type = content_type.substr(0, content_type.find(';'));
  while (!type.empty() && type.back() == ' ') type.remove_suffix(1);
  return std::any_of(config.settings.compress_types.begin(), config.settings.compress_types.end(),
                     [&](const std::string& pattern) { return type_matches(pattern, type); });
}

Entry* make_entry(const EntrySource& source, const LoadResult& result, MemoryLedger& ledger) {
  const Settings& settings = source.config->settings;
  const LoadedVariant& identity = result.variants[0];
  const bool listing = result.kind == LoadKind::LISTING;
  const bool compressible = !listing && may_compress(*source.config, *source.route, result.content_type);
  const bool worth_it = compressible && result.variant_count == 1 &&
                        identity.body->size() >= settings.compress_min_bytes &&
                        identity.body->size() <= settings.compress_max_bytes && !settings.compress_codings.empty();

  const std::string etag = listing ? std::string() : make_etag(identity.info, Coding::IDENTITY);
  HeadSource head_source{.config = source.config,
                         .route = source.route,
                         .content_type = result.content_type,
                         .size = identity.body->size(),
                         .etag = etag,
                         .vary = compressible || result.variant_count > 1,
                         .vary_accept = listing,
                         .secure = source.key.secure};
  if (!listing) head_source.last_modified = WallTime{identity.info.mtime_ns}.unix_seconds();
  const std::string head = make_head(head_source, source.unix_seconds);
  // Also of a listing, which has no validators: If-None-Match: * holds for whatever there is.
  const std::string head_304 = make_head_304(head_source, source.unix_seconds);
  if (head.empty()) return nullptr;

  std::string canonical = origin_name(source.key.host, source.key.secure);
  canonical.append(source.canonical_path);
  EntryBuilder builder;
  builder.key = source.key;
  builder.hash = source.hash;
  builder.generation = source.config->serving_generation;
  builder.purge_mark = source.purge_mark;
  builder.validity = result.validity;
  builder.created = source.now;
  builder.last_modified = head_source.last_modified;
  builder.content_type = result.content_type;
  builder.canonical = canonical;
  builder.soft_grace = source.route->stale_while_revalidate;
  builder.owner_flags = (worth_it ? uint32_t{ENTRY_WANTS_COMPRESSION} : 0) | entry_site(*source.route->site);

  std::array<std::string, CODINGS> heads;
  std::array<std::string, CODINGS> heads_304;
  std::array<std::string, CODINGS> etags;
  for (uint32_t i = 0; i < result.variant_count; ++i) {
    const LoadedVariant& from = result.variants[i];
    if (from.coding == Coding::IDENTITY) {
      heads[i] = head;
      heads_304[i] = head_304;
      etags[i] = etag;
    } else {
      etags[i] = make_etag(from.info, from.coding);
      heads[i] = make_variant_head(head, from.coding, from.body->size(), etags[i]);
      HeadSource own = head_source;
      own.etag = etags[i];
      heads_304[i] = make_head_304(own, source.unix_seconds);
    }
    const VariantSpec spec{.coding = from.coding,
                           .head = heads[i],
                           .date_offset = static_cast<uint32_t>(date_offset(200)),
                           .head_304 = heads_304[i],
                           .date_offset_304 = heads_304[i].empty() ? 0 : static_cast<uint32_t>(date_offset(304)),
                           .etag = etags[i],
                           .body = from.body};
    if (!builder.add(spec)) return nullptr;
  }
  return builder.build(ledger);
}

}  // namespace penstock
