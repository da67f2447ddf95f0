// Deliver: every walk ends here. A hot hit is composed in one go from what the entry holds; all
// other answers go through deliver_representation() or deliver_text() (deliver_other.cc).

#include "src/server/steps/deliver.h"

#include "src/server/connections.h"
#include "src/server/entry_maker.h"
#include "src/server/pools/pool_bridge.h"
#include "src/server/steps/steps.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

namespace penstock {
namespace {

constexpr std::string_view CONNECTION_CLOSE = "Connection: close\r\n\r\n";
constexpr std::string_view CONNECTION_KEEP_ALIVE = "Connection: keep-alive\r\n\r\n";
constexpr uint64_t STREAM_COPY_MAX = 256;
constexpr size_t AGE_LINE_MAX = 32;  // "Age: ", seconds, CRLF

// The error page that the site has for this refusal, if it is a file still to be tried; or it is elsewhere.
bool find_error_page(Exchange& ex) {
  if (ex.page_tried || ex.refused || ex.site == nullptr || ex.site->error_pages.empty()) return false;
  const uint16_t status = ex.status();
  if (status < 400 || tells_details(ex)) return false;
  const auto& pages = ex.site->error_pages;
  auto found = pages.find(std::to_string(status) + "." + std::to_string(reason_info(ex.reason).sub_status));
  if (found == pages.end()) found = pages.find(std::to_string(status));
  if (found == pages.end()) return false;
  ex.page_tried = true;
  ex.cold_used = true;
  if (!found->second.starts_with('/')) {
    ex.location = found->second;
    return false;
  }
  ex.page = true;
  ex.path = found->second;
  return true;
}

// GET or HEAD, no condition, no range, from an entry: head, date, body. No allocation, no lock; the
// copies are the answer itself, into the buffer that one send will take.
template <bool AGES>
StepResult deliver_hot(Core& core, Exchange& ex, const Variant& variant) {
  Connection& c = *ex.connection;
  const uint64_t body_size = ex.head.method == Method::HEAD ? 0 : variant.body_size;
  const bool small = body_size <= Outgoing::COPY_MAX;
  // HTTP/2 puts many answers into one send, and copies what is small itself.
  const uint64_t copy_max = c.stream ? STREAM_COPY_MAX : ex.secure ? Outgoing::COPY_MAX : core.limits.copy_max;
  const bool copies = variant.body_data != nullptr && body_size <= copy_max;
  const size_t most =
      variant.head_size + CONNECTION_KEEP_ALIVE.size() + (AGES ? AGE_LINE_MAX : 0) + (copies ? body_size : 0);
  Outgoing* out = room_for(core, c, most, copies ? 0 : 1);
  if (out == nullptr) return wait_for_sent(ex);

  const size_t head_size = AGES ? copy_aged_head(*out, variant.head(), core, ex)
                                : copy_head(*out, variant.head(), variant.date_offset, core, ex);
  ex.head_bytes_out = head_size;
  ex.body_bytes_out = body_size;
  ex.coding = variant.coding;
  if (copies) {
    out->copy({variant.body_data, static_cast<size_t>(body_size)});
    core.counters.bytes_copied.add(head_size + body_size);
    return StepResult::DONE;
  }
  core.counters.bytes_copied.add(head_size);
  if (body_size == 0) return StepResult::DONE;
  out->refer(*variant.body, 0, body_size, ex.secure);
  if (small) return StepResult::DONE;
  ex.composed = true;
  return wait_for_sent(ex);  // the record closes when the last byte is with the kernel
}

StepResult deliver_entry(Core& core, Exchange& ex) {
  const Entry& entry = *ex.entry;
  if (ex.head.accept_simple) {
    const Variant* variant = entry.pick(ex.head.accept_mask);
    if (variant != nullptr && !ex.head.has_conditional && !ex.head.has_range && !ex.page) {
      if (ex.head.method == Method::HEAD && verdict_is_hit(ex.verdict)) ex.verdict = Verdict::HIT_HEAD;
      if (variant->coding != Coding::IDENTITY && ex.verdict == Verdict::HIT) ex.verdict = Verdict::HIT_VARIANT;
      if ((entry.owner_flags() & ENTRY_FLAGS) != 0) {
        if ((entry.owner_flags() & ENTRY_ANSWER) != 0) return deliver_answer(core, ex, *variant);
        if (ex.head.accept_mask != 0) core.compress.hit(core, entry);
      }
      return deliver_hot<false>(core, ex, *variant);
    }
  }
  return deliver_from_entry(core, ex);
}

}  // namespace

std::string_view head_ending(const Exchange& ex) {
  if (!ex.keep_alive) return CONNECTION_CLOSE;
  return ex.http_1_0 ? CONNECTION_KEEP_ALIVE : std::string_view("\r\n");
}

StepResult wait_for_sent(Exchange& ex) {
  ex.waits_send = true;
  return StepResult::PARKED;
}

StepResult deliver_answer(Core& core, Exchange& ex, const Variant& variant) {
  if (ex.entry->status() != 200) ex.app_status = ex.entry->status();
  return deliver_hot<true>(core, ex, variant);
}

size_t copy_aged_head(Outgoing& out, std::string_view head, const Core& core, const Exchange& ex) {
  const MonoTime made{static_cast<int64_t>(ex.entry->owner_word())};
  const auto age = static_cast<uint64_t>(std::max<int64_t>((core.now - made).s(), 0));
  std::array<char, AGE_LINE_MAX> line;
  constexpr std::string_view NAME = "Age: ";
  std::ranges::copy(NAME, line.begin());
  char* end = std::to_chars(line.data() + NAME.size(), line.data() + line.size(), age).ptr;
  *end++ = '\r';
  *end++ = '\n';
  const std::string_view ending = head_ending(ex);
  const std::string_view age_line{line.data(), static_cast<size_t>(end - line.data())};
  out.copy(head.substr(0, head.size() - 2));
  out.copy(age_line);
  out.copy(ending);
  return head.size() - 2 + age_line.size() + ending.size();
}

size_t copy_head(Outgoing& out, std::string_view head, size_t date_at, const Core& core, const Exchange& ex) {
  // A stored head ends in the blank line; what this connection adds goes in front of it.
  std::string_view ending = "";  // not null: memcpy may not be given that even for no bytes
  if (!ex.keep_alive) {
    ending = CONNECTION_CLOSE;
  } else if (ex.http_1_0) {
    ending = CONNECTION_KEEP_ALIVE;
  }
  const size_t kept = ending.empty() ? head.size() : head.size() - 2;
  char* at = out.reserve(kept + ending.size()).data();
  std::memcpy(at, head.data(), kept);
  std::memcpy(at + date_at, core.date.data(), core.date.size());
  std::memcpy(at + kept, ending.data(), ending.size());
  out.commit(kept + ending.size());
  return kept + ending.size();
}

StepResult deliver_step(Core& core, Exchange& ex) {
  if (ex.dispatch != nullptr) return core.pools->deliver(ex);
  if (ex.composed) return deliver_segments(core, ex);
  if (find_error_page(ex)) return StepResult::FILL;
  core.journal.stage(ex.slot, Stage::DELIVER, core.now);
  if (ex.entry != nullptr) return ex.filtered ? deliver_from_entry(core, ex) : deliver_entry(core, ex);
  if (ex.stream >= 0) return deliver_stream(core, ex);
  if (ex.to_https) return deliver_https(core, ex);
  return deliver_text(core, ex);
}

}  // namespace penstock
