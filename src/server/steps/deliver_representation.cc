// Conditions, ranges, weights, streams and error pages: one representation, and which part of it is sent.
// Cold: it allocates. RFC 9110 sections 13 (conditions) and 14 (ranges).

#include "src/base/assert.h"
#include "src/base/bytes.h"
#include "src/base/hash.h"
#include "src/http/accept_encoding.h"
#include "src/http/conditional.h"
#include "src/http/range.h"
#include "src/http/response_head.h"
#include "src/server/connections.h"
#include "src/server/entry_maker.h"
#include "src/server/head_edit.h"
#include "src/server/pools/pool_bridge.h"
#include "src/server/steps/deliver.h"
#include "src/server/steps/steps.h"
#include "src/server/walk.h"

#include <algorithm>
#include <array>

namespace penstock {
namespace {

// What the answer is cut from.
struct Representation {
  std::string_view head;  // a 200
  std::string_view head_304;
  std::string_view etag;
  std::string_view content_type;
  int64_t last_modified = INT64_MIN;
  uint64_t size = 0;
  AnswerPiece::Kind source = AnswerPiece::Kind::BODY;
};

// Bytes of a file that go out before it is looked at again, and before other connections get their turn.
constexpr uint64_t STREAM_WINDOW = 1024 * 1024;

StepResult compose(Core& core, Exchange& ex, std::string_view head) {
  ASSERT(!head.empty());
  Connection& c = *ex.connection;
  uint16_t status = ex.status();
  std::string changed;
  if (ex.filtered) {
    const HeadFate fate = core.pools->filter_head(ex, head, changed);
    if (fate == HeadFate::WAITS || fate == HeadFate::REFUSED) {  // composed anew, or something else is
      ex.segments.clear();
      ex.segment_text.clear();
      if (fate == HeadFate::REFUSED) return deliver_step(core, ex);
      if (!ex.page) ex.reason = Reason::OK;
      return StepResult::PARKED;
    }
    if (fate == HeadFate::CHANGED) {
      head = changed;
      status = ex.app_status;
    }
  }
  Outgoing* out = room_for(core, c, head.size() + 64, 0);
  if (out == nullptr) {
    ex.segments.clear();
    ex.segment_text.clear();
    return wait_for_sent(ex);
  }
  const bool ages = ex.entry != nullptr && (ex.entry->owner_flags() & ENTRY_ANSWER) != 0;
  ex.head_bytes_out =
      ages ? copy_aged_head(*out, head, core, ex) : copy_head(*out, head, date_offset(status), core, ex);
  core.counters.bytes_copied.add(ex.head_bytes_out);
  ex.composed = true;
  if (ex.head.method == Method::HEAD) ex.segments.clear();
  return deliver_segments(core, ex);
}

void add_text(Exchange& ex, std::string_view text) {
  ex.segments.push_back({.kind = AnswerPiece::Kind::TEXT, .offset = ex.segment_text.size(), .size = text.size()});
  ex.segment_text.append(text);
}

StepResult compose_single_range(Core& core, Exchange& ex, const Representation& rep, ByteRange range) {
  std::array<char, CONTENT_RANGE_BYTES_MAX> text;
  const size_t size = write_content_range(text, range, rep.size);
  HeadEdit edit{.status = 206};
  edit.replace.push_back({"Content-Length", std::to_string(range.size())});
  edit.add.push_back({"Content-Range", std::string(text.data(), size)});
  ex.segments.push_back({.kind = rep.source, .offset = range.first, .size = range.size()});
  ex.reason = Reason::PARTIAL_CONTENT;
  return compose(core, ex, edit_head(rep.head, edit));
}

StepResult compose_multipart(Core& core, Exchange& ex, const Representation& rep, std::span<const ByteRange> ranges) {
  // The hash seed is drawn at start and never leaves the server: nobody who writes a file can foresee it.
  const uint64_t nonce = hash_word(core.shared.cache.hash_seed() ^ static_cast<uint64_t>(core.now.ns));
  const Multipart multipart(rep.content_type, rep.size, nonce);
  std::array<char, Multipart::PART_HEAD_BYTES_MAX> text;
  for (size_t i = 0; i < ranges.size(); ++i) {
    add_text(ex, {text.data(), multipart.write_part_head(text, i, ranges[i])});
    ex.segments.push_back({.kind = rep.source, .offset = ranges[i].first, .size = ranges[i].size()});
  }
  add_text(ex, {text.data(), multipart.write_tail(text)});
  HeadEdit edit{.status = 206};
  edit.replace.push_back({"Content-Length", std::to_string(multipart.total_bytes(ranges))});
  edit.replace.push_back({"Content-Type", std::string(multipart.media_type())});
  ex.reason = Reason::PARTIAL_CONTENT;
  return compose(core, ex, edit_head(rep.head, edit));
}

StepResult compose_unsatisfiable(Core& core, Exchange& ex, const Representation& rep) {
  std::array<char, CONTENT_RANGE_BYTES_MAX> text;
  const size_t size = write_content_range_unsatisfied(text, rep.size);
  HeadEdit edit{.status = 416, .remove = {"Content-Type", "Content-Encoding", "Last-Modified", "ETag"}};
  edit.replace.push_back({"Content-Length", "0"});
  edit.add.push_back({"Content-Range", std::string(text.data(), size)});
  ex.reason = Reason::RANGE_NOT_SATISFIABLE;
  return compose(core, ex, edit_head(rep.head, edit));
}

// A page for 401 comes with the challenge of the route that refused (RFC 9110 section 15.5.2).
void set_challenges(HeadEdit& edit, std::string_view lines) {
  edit.remove.push_back("WWW-Authenticate");  // the page's own
  while (!lines.empty()) {
    const std::string_view line = lines.substr(0, lines.find("\r\n"));
    lines.remove_prefix(std::min(lines.size(), line.size() + 2));
    const size_t colon = line.find(": ");
    if (colon == std::string_view::npos || !iequals(line.substr(0, colon), "WWW-Authenticate")) continue;
    edit.add.push_back({"WWW-Authenticate", std::string(line.substr(colon + 2))});
  }
}

StepResult compose_whole(Core& core, Exchange& ex, const Representation& rep) {
  if (rep.size > 0) ex.segments.push_back({.kind = rep.source, .offset = 0, .size = rep.size});
  if (!ex.page) {
    ex.reason = Reason::OK;
    return compose(core, ex, rep.head);
  }
  // An error page is no representation of what was asked for: it has no validators and no ranges.
  HeadEdit edit{.status = ex.status(), .remove = {"ETag", "Last-Modified", "Accept-Ranges", "Cache-Control"}};
  if (edit.status == 405 && ex.refused_by != nullptr) edit.add.push_back({"Allow", ex.refused_by->allow});
  if (edit.status == 401 && ex.refused_by != nullptr) set_challenges(edit, ex.refused_by->header_lines(ex.secure));
  return compose(core, ex, edit_head(rep.head, edit));
}

// Sets a hit's verdict to what became of it.
void refine(Exchange& ex, Verdict verdict) {
  if (verdict_is_hit(ex.verdict)) ex.verdict = verdict;
}

StepResult deliver_representation(Core& core, Exchange& ex, const Representation& rep) {
  ex.cold_used = true;
  if (ex.page) return compose_whole(core, ex, rep);
  Validators validators{.exists = true, .etag = rep.etag, .last_modified = std::nullopt};
  if (rep.last_modified != INT64_MIN) validators.last_modified = rep.last_modified;
  const ConditionalVerdict condition = evaluate_conditional(ex.head, validators, core.wall.unix_seconds());
  if (condition.outcome == Precondition::NOT_MODIFIED) {
    ex.reason = Reason::NOT_MODIFIED;
    refine(ex, Verdict::HIT_304);
    return compose(core, ex, rep.head_304);
  }
  if (condition.outcome == Precondition::FAILED) {
    ex.reason = Reason::PRECONDITION_FAILED;
    refine(ex, Verdict::HIT_412);
    return deliver_text(core, ex);
  }
  const Site* site = answering_site(ex);
  const uint32_t ranges_wanted = site != nullptr ? site->ranges : core.config->settings.limits_ranges;
  const size_t ranges_max = std::min<size_t>(ranges_wanted, RANGES_MAX);
  if (condition.honour_range && ranges_max > 0) {
    std::array<ByteRange, RANGES_MAX> ranges;
    const RangeVerdict verdict = parse_range(ex.head.get(Field::RANGE), rep.size, ranges_max, ranges);
    if (verdict.outcome == RangeOutcome::UNSATISFIABLE) {
      refine(ex, Verdict::HIT_416);
      return compose_unsatisfiable(core, ex, rep);
    }
    if (verdict.outcome == RangeOutcome::SATISFIABLE) {
      refine(ex, Verdict::HIT_206);
      if (verdict.count == 1) return compose_single_range(core, ex, rep, ranges[0]);
      return compose_multipart(core, ex, rep, {ranges.data(), verdict.count});
    }
  }
  if (ex.head.method == Method::HEAD) refine(ex, Verdict::HIT_HEAD);
  return compose_whole(core, ex, rep);
}

// The variant for this request, or nullptr where it accepts none.
const Variant* choose_variant(const Exchange& ex) {
  const Entry& entry = *ex.entry;
  if (ex.page || (entry.owner_flags() & ENTRY_ANSWER) != 0) return entry.variant(Coding::IDENTITY);
  uint8_t available = 0;
  for (uint32_t i = 0; i < entry.variant_count(); ++i) available |= coding_bit(entry.variant_at(i).coding);
  const CodingChoice choice = choose_coding(ex.head, available);
  return choice.acceptable ? entry.variant(choice.coding) : nullptr;
}

// Puts as much of `segment` as there is room for; true if all of it is in.
bool put_segment(Core& core, Exchange& ex, Outgoing& out, AnswerPiece& segment) {
  uint64_t size = segment.size;
  switch (segment.kind) {
    case AnswerPiece::Kind::TEXT:
      if (!out.fits(size, 0)) return false;
      out.copy({ex.segment_text.data() + segment.offset, static_cast<size_t>(size)});
      core.counters.bytes_copied.add(size);
      break;
    case AnswerPiece::Kind::BODY:
      if (!out.fits(0, 1)) return false;
      out.refer(*ex.body, segment.offset, size, ex.secure);
      break;
    case AnswerPiece::Kind::FILE:
      if (!out.fits(0, 1)) return false;
      size = std::min(size, STREAM_WINDOW);
      out.refer_file(ex.stream, segment.offset, size, true);
      break;
  }
  ex.body_bytes_out += size;
  segment.offset += size;
  segment.size -= size;
  return segment.size == 0 && segment.kind != AnswerPiece::Kind::FILE;  // a file: one window at a time
}

// The file behind a stream is still the one that was opened.
bool stream_is_unchanged(Core& core, const Exchange& ex) {
  FileInfo info;
  return core.reader.stat(ex.stream, info) == 0 && same_content(ex.stream_info, info);
}

}  // namespace

StepResult deliver_from_entry(Core& core, Exchange& ex) {
  const Variant* variant = choose_variant(ex);
  if (variant == nullptr) {
    ex.reason = Reason::CODING_NOT_ACCEPTABLE;
    ex.verdict = Verdict::CONDITION_UNUSUAL;
    if (ex.entry_pinned) ex.entry->unpin();
    ex.entry_pinned = false;
    ex.entry = nullptr;
    return deliver_text(core, ex);
  }
  const bool whole = ex.entry->status() != 200 && !ex.page;  // RFC 9110 sections 13.2.1 and 14.2: of a 200 only
  if (whole && !ex.filtered) return deliver_answer(core, ex, *variant);
  ex.coding = variant->coding;
  ex.body = variant->body;
  if (whole) {
    ex.cold_used = true;
    ex.app_status = ex.entry->status();
    if (variant->body_size > 0) {
      ex.segments.push_back({.kind = AnswerPiece::Kind::BODY, .offset = 0, .size = variant->body_size});
    }
    return compose(core, ex, variant->head());
  }
  return deliver_representation(core, ex,
                                {.head = variant->head(),
                                 .head_304 = variant->head_304(),
                                 .etag = variant->etag(),
                                 .content_type = ex.entry->content_type(),
                                 .last_modified = ex.entry->last_modified(),
                                 .size = variant->body_size});
}

StepResult deliver_stream(Core& core, Exchange& ex) {
  const std::string etag = make_etag(ex.stream_info, ex.coding);
  const HeadSource source{.config = ex.config,
                          .route = ex.route,
                          .content_type = ex.content_type,
                          .size = ex.stream_info.size,
                          .last_modified = ex.stream_modified_s,
                          .etag = etag,
                          .vary = ex.stream_varies,
                          .secure = ex.secure};
  std::string head = make_head(source, core.wall.unix_seconds());
  const std::string head_304 = make_head_304(source, core.wall.unix_seconds());
  if (head.empty()) {
    ex.reason = Reason::CONFIG_INVALID;
    return deliver_text(core, ex);
  }
  if (ex.coding != Coding::IDENTITY) head = make_variant_head(head, ex.coding, source.size, etag);
  return deliver_representation(core, ex,
                                {.head = head,
                                 .head_304 = head_304,
                                 .etag = etag,
                                 .content_type = ex.content_type,
                                 .last_modified = source.last_modified,
                                 .size = source.size,
                                 .source = AnswerPiece::Kind::FILE});
}

StepResult deliver_segments(Core& core, Exchange& ex) {
  if (ex.segment_next == ex.segments.size()) return StepResult::DONE;
  Connection& c = *ex.connection;
  if (ex.stream >= 0 && !stream_is_unchanged(core, ex)) {
    // What was sent belongs to a version that is gone. The length was promised: cut it short, so that the peer knows.
    c.reset_at_flush = true;
    c.reset_reason = Reason::FILE_CHANGED;
    mark_for_flush(core, c);
    return StepResult::PARKED;
  }
  Outgoing* out = room_for(core, c, 0, 0);
  if (out == nullptr) return wait_for_sent(ex);
  while (ex.segment_next < ex.segments.size()) {
    AnswerPiece& segment = ex.segments[ex.segment_next];
    const bool whole = put_segment(core, ex, *out, segment);
    if (segment.size == 0) ++ex.segment_next;
    if (!whole) break;
  }
  return wait_for_sent(ex);
}

}  // namespace penstock
