// Pieces of an answer that the application names and does not send: a part of a file, the body of another URL. They are
// sent from where they lie, in their place between the bytes that came through the ring.
#include "src/http/target.h"
#include "src/server/connections.h"
#include "src/server/pools/answer_copy.h"
#include "src/server/pools/pool_bridge.h"
#include "src/server/steps/deliver.h"
#include "src/server/steps/steps.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace penstock {
namespace {

constexpr uint64_t WINDOW = 1024 * 1024;  // of a file, in one send
constexpr size_t PARTS_MAX = 64;          // that wait for the client, of one answer
constexpr size_t CHUNK_FRAME_MAX = 20;    // a size in hexadecimal, CRLF; and CRLF behind

}  // namespace

AnswerPart::~AnswerPart() {
  if (body != nullptr) body->unpin();
}

// A part of a file, or the body of a URL of the same site. REQUIRES: the head has come.
void PoolBridge::take_part(Dispatch& d, const LinkEvent& event) {
  Exchange* const ex = d.exchange;
  if (ex == nullptr || !d.begun || d.failed || d.framing == AnswerFraming::NONE) return;
  // Names cost the worker nothing of its window.
  if (d.parts.size() >= PARTS_MAX) return give_up(d, Reason::WORKER_HEAD_INVALID, event.end);
  if (d.copy != nullptr) ex->verdict = Verdict::STREAMED;
  give_up_copy(d, *ex);           // what lies in files is for the cache of files
  std::string named(event.body);  // out of the worker's memory, once
  if (!named.starts_with('/')) named.insert(0, 1, '/');
  DecodeRules rules = ex->config->decode_rules;
  rules.segment_bytes = ex->site->segment_bytes;
  rules.segments = ex->site->segments;
  AnswerPart& part = d.parts.emplace_back();
  part.is_text = false;
  part.offset = event.kind == LinkEvent::Kind::FILE ? event.offset : 0;
  part.length = event.kind == LinkEvent::Kind::FILE ? event.length : PENSTOCK_LENGTH_UNKNOWN;
  part.route = ex->route;
  if (event.kind == LinkEvent::Kind::FILE) {
    // A name in a file system, not in a URL: nothing in it is escaped. The loader keeps it beneath the root.
    part.text = named.substr(1);
    return;
  }
  std::string path(canonical_bytes_max(named.size(), rules), '\0');
  const CanonicalPath canonical = canonicalise(named, rules, path);
  if (canonical.reason != Reason::NONE) return give_up(d, Reason::WORKER_HEAD_INVALID, event.end);
  path.resize(canonical.path.size());
  std::string escaped(path.size() * 3, '\0');
  const KeyView key{.secure = ex->secure, .host = ex->head.authority, .target = escape_path(path, escaped)};
  Verdict why = Verdict::MISS_FIRST;
  const uint64_t hash = hash_key(key, core_.shared.cache.hash_seed());
  const Entry* const entry =
      core_.shared.cache.lookup(core_.index, key, hash, ex->config->serving_generation, core_.now, why);
  const Variant* const variant = entry != nullptr ? entry->variant(Coding::IDENTITY) : nullptr;
  if (variant != nullptr) {
    variant->body->pin();
    return open_body(d, part, variant->body);
  }
  part.route = &RouteTable::find_route(*ex->site, path);
  if (part.route->handler != HandlerSetting::STATIC) return give_up(d, Reason::WORKER_HEAD_INVALID, event.end);
  part.text = RouteTable::path_below_root(*part.route, path);
}

// Has the front part read. False: it cannot be.
bool PoolBridge::load_part(Exchange& ex, const AnswerPart& part) {
  const Snapshot::Serving& serving = ex.config->serving[part.route->number];
  if (serving.root.fd < 0 || part.text.size() > Loader::PATH_BYTES_MAX) return false;
  LoadRequest request;
  request.root = serving.root;
  request.path = part.text;
  request.url_path = ex.path;
  request.policy = &serving.html;
  const Handle handle = core_.exchanges.handle_of(&ex);
  const uint64_t token = (static_cast<uint64_t>(handle.generation) << 32) | handle.index;
  ex.loading = core_.loader.start(request, token, core_.now);
  return ex.loading;
}

void PoolBridge::file_loaded(Exchange& ex, LoadResult& result) {
  Dispatch& d = *ex.dispatch;
  AnswerPart& part = d.parts.front();
  LoadedVariant& identity = result.variants[0];
  if (result.kind == LoadKind::FILE) {
    open_body(d, part, std::exchange(identity.body, nullptr));
  } else if (result.kind == LoadKind::STREAM) {
    ex.stream = std::exchange(identity.fd, -1);
    ex.stream_info = identity.info;
    open_part(d, part, identity.info.size);
  } else {
    fail_part(d);
  }
  result.discard(core_.reader);
  if (!ex.waits_send) go_on(ex);
}

void PoolBridge::open_body(Dispatch& d, AnswerPart& part, const Body* pinned) {
  part.body = pinned;
  open_part(d, part, pinned->size());
}

// The size is known: is what the application named inside of it, and inside of what it announced?
void PoolBridge::open_part(Dispatch& d, AnswerPart& part, uint64_t size) {
  part.opened = true;
  if (part.offset > size) return fail_part(d);
  if (part.length == PENSTOCK_LENGTH_UNKNOWN) part.length = size - part.offset;
  if (part.length > size - part.offset) return fail_part(d);
}

void PoolBridge::fail_part(Dispatch& d) {
  d.failed = true;
  d.exchange->reason = Reason::WORKER_HEAD_INVALID;
  if (d.inside) cancel(d, PENSTOCK_CANCEL_CLIENT_GONE);
}

// As much of the parts as there is room for. PARKED: a file has to be read, or all is out (d.parts is empty).
PoolBridge::Put PoolBridge::put_parts(Exchange& ex, Dispatch& d) {
  while (!d.parts.empty() && !d.failed) {
    AnswerPart& part = d.parts.front();
    if (part.is_text) {
      const size_t put = put_data(ex, d, std::string_view(part.text).substr(part.sent));
      part.sent += put;
      grant(d, put);
      if (part.sent < part.text.size()) return Put::NO_ROOM;
    } else if (!part.opened) {
      if (ex.loading) return Put::WAITS;
      if (load_part(ex, part)) return Put::WAITS;
      fail_part(d);
      break;
    } else if (part.sent < part.length) {
      if (!put_window(ex, d, part)) return Put::NO_ROOM;
      if (ex.stream >= 0) return Put::NO_ROOM;  // its descriptor stays open until SENT; one window at a time
      continue;
    }
    if (ex.stream >= 0) core_.reader.close(std::exchange(ex.stream, -1));
    d.parts.pop_front();
  }
  return Put::ALL;
}

bool PoolBridge::put_window(Exchange& ex, Dispatch& d, AnswerPart& part) {
  const uint64_t size = std::min(part.length - part.sent, WINDOW);
  if (d.framing == AnswerFraming::LENGTH && size > d.left) {
    fail_part(d);
    return true;
  }
  const bool chunked = d.framing == AnswerFraming::CHUNKED;
  Outgoing* const out = room_for(core_, *ex.connection, chunked ? CHUNK_FRAME_MAX : 0, 2);
  if (out == nullptr) return false;
  if (chunked) {
    std::array<char, CHUNK_FRAME_MAX> text;
    char* end = std::to_chars(text.data(), text.data() + text.size(), size, 16).ptr;
    *end++ = '\r';
    *end++ = '\n';
    out->copy({text.data(), static_cast<size_t>(end - text.data())});
  }
  if (part.body != nullptr) {
    out->refer(*part.body, part.offset + part.sent, size, ex.secure);
  } else {
    out->refer_file(ex.stream, part.offset + part.sent, size, true);
  }
  if (chunked) out->copy("\r\n");
  part.sent += size;
  ex.body_bytes_out += size;
  core_.journal.bytes_out(ex.slot, ex.head_bytes_out + ex.body_bytes_out);
  if (d.framing == AnswerFraming::LENGTH) d.left -= size;
  return true;
}

void PoolBridge::grant(Dispatch& d, size_t bytes) {
  if (bytes == 0 || !d.inside || d.cancelled) return;
  d.link->link.grant(d.handle, static_cast<uint32_t>(bytes));
  activate(*d.link);
}

}  // namespace penstock
