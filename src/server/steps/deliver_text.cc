// Answers told by their reason alone: refusals, redirects, OPTIONS, a bare status.

#include "src/http/response_head.h"
#include "src/server/client_address.h"
#include "src/server/connections.h"
#include "src/server/entry_maker.h"
#include "src/server/pools/pool_bridge.h"
#include "src/server/steps/deliver.h"
#include "src/server/steps/steps.h"

#include <fmt/format.h>
#include <iterator>

namespace penstock {
namespace {

constexpr size_t PAGE_BYTES_MAX = 1024;

constexpr bool is_plain_html(std::string_view text) { return text.find_first_of("<>&") == std::string_view::npos; }
static_assert(std::ranges::all_of(REASONS, [](const ReasonInfo& info) {
  return is_plain_html(info.name) && is_plain_html(info.phrase) && is_plain_html(info.text);
}));

// What the log has of a refusal. All of it is the server's own: nothing of the request, of a file or an application.
std::string_view write_details(std::span<char> out, const Core& core, const Exchange& ex) {
  const ReasonInfo& info = reason_info(ex.reason);
  const auto end =
      fmt::format_to_n(out.data(), out.size(), "<p>{}.{} {}: {}</p>\n<p>{}; reactor {}, request {}</p>\n", ex.status(),
                       info.sub_status, info.phrase, info.text, info.name, core.index, core.journal.serial(ex.slot));
  return {out.data(), std::min(end.size, out.size())};
}

// A small page for people. The sub-status and its cause mostly stay in the log: they would tell an attacker which check
// refused him.
size_t write_page(std::span<char> out, const Core& core, const Exchange& ex, uint16_t status) {
  const std::string_view phrase = status_phrase(status);
  std::array<char, PAGE_BYTES_MAX / 2> room;
  const bool detailed = status >= 400 && tells_details(ex);
  const std::string_view details = detailed ? write_details(room, core, ex) : "";
  const auto end = fmt::format_to_n(out.data(), out.size(),
                                    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                                    "<title>{0} {1}</title></head>\n<body><h1>{0} {1}</h1>{2}</body></html>\n",
                                    status, phrase, details);
  return std::min(end.size, out.size());
}

// The same of a route with filters, once they have seen its head.
StepResult deliver_filtered_text(Core& core, Exchange& ex, std::string_view head, std::string_view page) {
  std::string changed;
  switch (core.pools->filter_head(ex, head, changed)) {
    case HeadFate::WAITS:
      return StepResult::PARKED;
    case HeadFate::REFUSED:
      return deliver_step(core, ex);
    case HeadFate::CHANGED:
      head = changed;
      break;
    case HeadFate::AS_IT_IS:
      break;
  }
  if (ex.head.method == Method::HEAD) page = {};
  Outgoing* const out = room_for(core, *ex.connection, head.size() + page.size(), 0);
  if (out == nullptr) return wait_for_sent(ex);
  out->copy(head);
  out->copy(page);
  ex.head_bytes_out = head.size();
  ex.body_bytes_out = page.size();
  core.counters.bytes_copied.add(head.size() + page.size());
  return StepResult::DONE;
}

}  // namespace

bool tells_details(const Exchange& ex) {
  if (ex.refused || ex.site == nullptr || !ex.slot.valid()) return false;
  switch (ex.site->error_details) {
    case ErrorDetailsSetting::NONE:
      return false;
    case ErrorDetailsSetting::LOCAL:
      return is_local_client(ex.config->settings, ex);
    case ErrorDetailsSetting::ALL:
      return true;
  }
  return false;
}

StepResult deliver_text(Core& core, Exchange& ex) {
  Connection& c = *ex.connection;
  const uint16_t status = ex.page_elsewhere() ? reason_status(Reason::FOUND) : ex.status();  // the record keeps its own
  ASSERT(status >= 200);
  // Nobody waits with an answer for a refusal: this is the whole head, at most.
  std::string_view site_lines;
  if (ex.route != nullptr) site_lines = ex.route->header_lines(ex.secure);
  const size_t head_max = 2048 + ex.location.size() + site_lines.size();
  const size_t page_max = std::max(PAGE_BYTES_MAX, ex.text.size());
  if (head_max + page_max > Outgoing::BYTES_MAX) {
    ex.location.clear();
    ex.text.clear();
    ex.route = nullptr;
    ex.reason = Reason::CONFIG_INVALID;
    return deliver_text(core, ex);
  }
  Outgoing* out = room_for(core, c, head_max + page_max, 0);
  if (out == nullptr) return wait_for_sent(ex);

  std::array<char, PAGE_BYTES_MAX> room;
  std::string_view page = ex.text;
  if (page.empty() && !status_is_bodiless(status)) page = {room.data(), write_page(room, core, ex, status)};
  std::string apart(ex.filtered ? head_max : 0, '\0');
  ResponseHeadWriter head(ex.filtered ? std::span<char>(apart) : out->reserve(head_max), status,
                          core.wall.unix_seconds(), ex.config->server_header);
  if (!status_is_bodiless(status)) {
    head.field("Content-Type", ex.text.empty() ? "text/html; charset=utf-8" : "application/json");
    head.field("Content-Length", page.size());
  }
  if (!ex.location.empty()) head.field("Location", ex.location);
  const bool says_allow = status == 405 || (ex.head.method == Method::OPTIONS && status == 204);
  if (says_allow && ex.route != nullptr) head.field("Allow", ex.route->allow);
  if (status == 503) head.field("Retry-After", uint64_t{1});
  head.raw(site_lines);
  if (!ex.keep_alive) {
    head.field("Connection", "close");
  } else if (ex.http_1_0) {
    head.field("Connection", "keep-alive");
  }
  const std::string_view text = head.finish();
  if (text.empty()) {  // a Location that cannot be sent: it holds what no field may
    ASSERT(!ex.location.empty());
    ex.location.clear();
    ex.reason = Reason::CONFIG_INVALID;
    return deliver_text(core, ex);
  }
  if (ex.filtered) return deliver_filtered_text(core, ex, text, page);
  out->commit(text.size());
  ex.head_bytes_out = text.size();
  if (ex.head.method != Method::HEAD || ex.refused) {
    out->copy(page);
    ex.body_bytes_out = page.size();
  }
  core.counters.bytes_copied.add(ex.head_bytes_out + ex.body_bytes_out);
  return StepResult::DONE;
}

}  // namespace penstock
