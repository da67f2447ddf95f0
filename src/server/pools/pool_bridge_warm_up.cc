// Before a worker gets requests: READY, and the warm-up that follows it where the pool has one.
//
// Where a route of the site leads the URL to this pool, the worker sees it as that route's request; else (the pool has
// no route yet) as if the pool stood at "/". The answer's bytes are dropped. How long it may take is the supervisor's
// to say: start_timeout; pings begin when it is over.
#include "src/http/host.h"
#include "src/server/core.h"
#include "src/server/pools/pool_bridge.h"
#include "src/server/pools/request_writer.h"

#include <array>

namespace penstock {
namespace {

constexpr std::string_view SCHEME = "http://";
constexpr std::string_view DEFAULT_HOST = "localhost";

// The head of a warm-up request into `room`; 0, with the reason in `why`: it cannot be made.
uint32_t write_warm_up(std::span<char> room, const Snapshot& config, const SharedPool& pool, std::string_view url,
                       std::string& why) {
  WarmUpRequest request{.host = DEFAULT_HOST, .target = url};
  if (url.starts_with(SCHEME)) {
    url.remove_prefix(SCHEME.size());
    request.host = url.substr(0, url.find('/'));
    request.target = url.substr(request.host.size());
  }
  std::array<char, HOST_NAME_BYTES_MAX> host;
  const Site* const site = config.routes.find_site(normalise_host(request.host, host).name);
  DecodeRules rules = config.decode_rules;
  if (site != nullptr) {
    rules.segment_bytes = site->segment_bytes;
    rules.segments = site->segments;
  }
  const std::string_view raw = request.target.substr(0, request.target.find('?'));
  std::string path(canonical_bytes_max(raw.size(), rules), '\0');
  const CanonicalPath canonical = canonicalise(raw, rules, path);
  if (canonical.reason != Reason::NONE) {
    why = "its path is refused";
    return 0;
  }
  request.path = canonical.path;
  const Route* const route = site != nullptr ? &RouteTable::find_route(*site, canonical.path) : nullptr;
  if (route != nullptr && route->number < config.pool_of_route.size() && config.pool_of_route[route->number] == &pool) {
    request.site = site->name;
    request.route_prefix = route->prefix;
  }
  const uint32_t bytes = write_warm_up_request(room, request);
  if (bytes == 0) why = "its head is too long";
  return bytes;
}

}  // namespace

void PoolBridge::take_ready(PoolLink& link) {
  PoolWorker& worker = link.worker;
  link.ping_sent = core_.now;
  const PoolSettings* const settings = settings_of(link.pool);
  const bool needs_none = settings == nullptr || settings->warmup.empty();
  if (needs_none) worker.warm.store(true);
  const bool last = worker.ready.fetch_add(1) + 1 == worker.served.size();
  if (last && !worker.warm.load()) {
    link.warm_up = std::make_unique<WarmUp>();
    link.warm_up->urls = settings->warmup;
    return warm_next(link);
  }
  if (last) report(PoolReport::Kind::READY, link, "");
  hand_out(link.pool);
}

// Asks the next one; after the last the worker is one like any other.
void PoolBridge::warm_next(PoolLink& link) {
  WarmUp& warm_up = *link.warm_up;
  if (warm_up.next == warm_up.urls.size()) {
    link.warm_up.reset();
    link.worker.warm.store(true);
    link.ping_sent = core_.now;
    report(PoolReport::Kind::READY, link, "");
    for (uint32_t i = 0; i < core_.shared.inboxes.size(); ++i) {
      if (i == core_.index || link.pool.shared.waiting[i].count.load() == 0) continue;
      core_.shared.inboxes[i]->post({.kind = ReactorMessage::Kind::POOL_TURN, .pool = &link.pool.shared});
    }
    return hand_out(link.pool);
  }
  const std::string& url = warm_up.urls[warm_up.next];
  warm_up.status = 0;
  const std::span<char> room = link.link.request_room();
  std::string why = "its ring has no room";
  const uint32_t bytes = room.empty() ? 0 : write_warm_up(room, *core_.config, link.pool.shared, url, why);
  if (bytes == 0) return fail_warm_up(link, why);
  report(PoolReport::Kind::WARMING, link, "GET " + url);
  warm_up.exchange = link.link.begin({.head_bytes = bytes, .length = 0});
  activate(link);
}

void PoolBridge::take_warm_up(PoolLink& link, const LinkEvent& event) {
  WarmUp& warm_up = *link.warm_up;
  switch (event.kind) {
    case LinkEvent::Kind::HEAD:
      warm_up.status = event.status;
      break;
    case LinkEvent::Kind::LOG:
      return report(PoolReport::Kind::SAID, link, std::string(event.body));
    case LinkEvent::Kind::EXECUTE:
      return fail_warm_up(link, "was answered with another URL, which is not asked here");
    case LinkEvent::Kind::ABORTED:
      return fail_warm_up(link, "was given up");
    default:
      break;
  }
  const bool carries = event.kind == LinkEvent::Kind::HEAD || event.kind == LinkEvent::Kind::DATA;
  if (carries && !event.end && !event.body.empty()) {
    link.link.grant(warm_up.exchange, static_cast<uint32_t>(event.body.size()));
  }
  if (!event.end) return;
  if (warm_up.status < 200 || warm_up.status > 299) {
    return fail_warm_up(link, "was answered " + std::to_string(warm_up.status));
  }
  ++warm_up.next;
  warm_next(link);
}

// It gets nothing; the supervisor ends it.
void PoolBridge::fail_warm_up(PoolLink& link, const std::string& how) {
  const std::string text = "GET " + link.warm_up->urls[link.warm_up->next] + " " + how;
  link.warm_up.reset();
  link.broken = true;
  link.worker.takes.store(false, std::memory_order_relaxed);
  report(PoolReport::Kind::COLD, link, text);
}

}  // namespace penstock
