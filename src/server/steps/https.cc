// Requests that came without TLS to a site that is served over TLS only: sent to the same URL as https. As quick as a
// hit: nothing is allocated, and the cache need not be asked.
#include "src/http/host.h"
#include "src/server/connections.h"
#include "src/server/https_redirect.h"
#include "src/server/steps/deliver.h"
#include "src/server/steps/steps.h"
#include "src/server/walk.h"

#include <array>
#include <cstring>

namespace penstock {
namespace {

using HostRoom = std::array<char, HOST_NAME_BYTES_MAX>;

}  // namespace

StepResult https_step(Core& core, Exchange& ex) {
  const RequestHead& head = ex.head;
  if (head.form == TargetForm::ASTERISK || head.form == TargetForm::AUTHORITY) return StepResult::NEXT;
  HostRoom room;
  const HostName host = normalise_host(head.authority, room);
  const Site* const site = ex.config->routes.find_site(host.name);
  if (site == nullptr) return StepResult::NEXT;
  const HttpsRedirect& to = ex.config->https_redirects[site->number];
  if (to.reason == Reason::NONE || is_acme_challenge(head.path)) return StepResult::NEXT;
  ex.site = site;
  if (head.body != BodyKind::NONE) leave_body_unread(core, ex);
  if (host.name.empty() && to.host.empty()) return answer_with(ex, Reason::TLS_REQUIRED, Verdict::REDIRECT);
  ex.to_https = true;
  return answer_with(ex, to.reason, Verdict::REDIRECT);
}

StepResult deliver_https(Core& core, Exchange& ex) {
  const RequestHead& head = ex.head;
  const HttpsRedirect& to = ex.config->https_redirects[ex.site->number];
  HostRoom host_room;
  std::string_view host = normalise_host(head.authority, host_room).name;
  if (host.empty()) host = to.host;
  const std::string_view ending = head_ending(ex);
  const std::string_view page = head.method == Method::HEAD ? std::string_view() : to.page;
  const size_t most = to.head.size() + host.size() + to.port.size() + head.path.size() + 1 + head.query.size() +
                      to.rest.size() + ending.size() + page.size();
  if (most > Outgoing::BYTES_MAX) {
    ex.to_https = false;
    ex.reason = Reason::URL_LENGTH;
    return deliver_text(core, ex);
  }
  Outgoing* const out = room_for(core, *ex.connection, most, 0);
  if (out == nullptr) return wait_for_sent(ex);
  char* const begin = out->reserve(most).data();
  char* at = begin;
  const auto put = [&at](std::string_view text) {
    if (text.empty()) return;  // it may point nowhere
    std::memcpy(at, text.data(), text.size());
    at += text.size();
  };
  put(to.head);
  std::memcpy(begin + date_offset(reason_status(ex.reason)), core.date.data(), core.date.size());
  put(host);
  put(to.port);
  put(head.path);
  if (head.has_query) {
    *at++ = '?';
    put(head.query);
  }
  put(to.rest);
  put(ending);
  ex.head_bytes_out = static_cast<uint64_t>(at - begin);
  put(page);
  ex.body_bytes_out = page.size();
  out->commit(static_cast<size_t>(at - begin));
  core.counters.bytes_copied.add(ex.head_bytes_out + ex.body_bytes_out);
  return StepResult::DONE;
}

}  // namespace penstock
