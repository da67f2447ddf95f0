// PURGE: a client of those that site.NAME.purge_from names empties the cache of a URL, or of all below one.
//
// The purge is in force before the client hears of it; what it waits for is the count. Parked until purge_done().

#include "src/base/bytes.h"
#include "src/http/host.h"
#include "src/server/client_address.h"
#include "src/server/connections.h"
#include "src/server/purge_desk.h"
#include "src/server/steps/steps.h"
#include "src/server/walk.h"

#include <algorithm>
#include <fmt/format.h>

namespace penstock {
namespace {

constexpr std::string_view SOFT_FIELD = "Soft-Purge";

bool may_purge(const Exchange& ex) {
  const JournalAddress& client = client_of(ex);
  return std::ranges::any_of(ex.site->purge_from, [&](const AddressRange& range) {
    return range.contains(client.family == JournalAddress::UNIX, client.ip);
  });
}

bool is_soft(const RequestHead& head) {
  const auto lines = std::span(head.lines).first(head.field_count);
  return std::ranges::any_of(
      lines, [](const HeaderField& line) { return iequals(line.name, SOFT_FIELD) && line.value == "1"; });
}

std::string json_escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out.append(1, '\\').append(1, c);
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

StepResult purge_step(Core& core, Exchange& ex) {
  PurgeDesk* const desk = core.shared.purges;
  if (ex.site->purge_from.empty() || desk == nullptr) {
    return answer_with(ex, Reason::PURGE_OFF, Verdict::UNCACHEABLE_METHOD);
  }
  if (!may_purge(ex)) return answer_with(ex, Reason::ADDRESS_DENIED, Verdict::UNCACHEABLE_METHOD);
  // As sent: an escaped * is part of a name.
  const bool prefix = ex.head.path.ends_with('*');
  if (prefix) ex.path.pop_back();
  const bool soft = is_soft(ex.head);
  const std::string name = origin_name(ex.head.authority, ex.cache_key().secure).append(ex.path);
  const uint64_t number = core.shared.cache.purge(prefix ? PurgeKind::PREFIX : PurgeKind::URL, name,
                                                  soft ? PurgeMode::SOFT : PurgeMode::HARD, core.now, /*wait=*/false);
  if (number == 0) return answer_with(ex, Reason::PURGE_LIMIT, Verdict::UNCACHEABLE_METHOD);
  core.counters.cache_purges.add();
  ex.purge = number;
  ex.cold_used = true;
  ex.text = fmt::format(R"({{"purged":"{}{}","soft":{},"entries":)", json_escaped(name), prefix ? "*" : "", soft);
  desk->add(number, core.index, core.exchanges.handle_of(&ex));
  return StepResult::PARKED;
}

void purge_done(Core& core, Exchange& ex, uint64_t fell) {
  ex.purge = 0;
  ex.text += fmt::format("{}}}\n", fell);
  ex.reason = Reason::OK;
  ex.verdict = Verdict::PURGE;
  Connection& c = *ex.connection;
  resume_exchange(core, ex, Step::DELIVER);
  if (c.exchange == nullptr) connection_go_on(core, c);
}

}  // namespace penstock
