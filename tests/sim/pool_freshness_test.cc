// Freshness by a model: random answers, requests, clock moves, deaths of workers, purges and changes, against a small
// reference that knows the only right answer to each request, and whether the application is asked for it.
//
// One client asks at a time, so that the order of things is known; refreshes are answered late, in between.
#include "src/base/bytes.h"
#include "src/base/prng.h"
#include "src/server/pools/answer_copy.h"
#include "tests/sim/pool_scene.h"

#include <cstdlib>
#include <map>
#include <optional>

namespace penstock {
namespace {

constexpr uint32_t URLS = 6;
constexpr uint32_t TIERS = 3;
constexpr Duration UNSURE = milliseconds(50);  // turns move the clock a little: nothing is asked so near a border

uint64_t rounds() {
  const char* const text = std::getenv("PENSTOCK_SIM_ROUNDS");
  return text != nullptr ? parse_decimal(text).value_or(400) : 400;
}

class Freshness : public PoolScene, public testing::WithParamInterface<uint64_t> {
 protected:
  Freshness() : PoolScene(CONFIG + "site.s.route.app.cache_vary = X-Tier\npool.p.ping_interval = 0\n") {}

  using Key = std::pair<uint32_t, uint32_t>;  // URL and tier; of a URL that does not vary the tier is 0
  struct Entry {
    std::string body;
    MonoTime expires, stale_until, error_until;
    uint32_t tag = 0;
  };
  struct Answer {  // as the application gives it
    std::string body, cache_control, tag_text;
    uint16_t status = 200;
    bool dies = false, aborts = false;
    std::optional<Entry> kept;
    uint32_t tag = 0;
  };

  static bool varies(uint32_t url) { return url % 2 == 1; }
  static Key key_of(uint32_t url, uint32_t tier) { return {url, varies(url) ? tier : 0}; }
  MonoTime now() { return world.clock().now(); }

  Answer make_answer(uint32_t url) {
    Answer answer;
    answer.body = "u" + std::to_string(url) + " v" + std::to_string(++version_);
    answer.tag = prng_.below(3);
    answer.tag_text = "tag" + std::to_string(answer.tag);
    const uint32_t kind = prng_.below(12);
    if (kind == 0) answer.status = 503;
    if (kind == 1) answer.aborts = true;
    if (kind == 2) answer.dies = true;
    if (kind == 3) answer.cache_control = "private, max-age=60";
    if (kind <= 3) return answer;
    const uint32_t lifetime = 1 + prng_.below(20);
    const uint32_t stale = prng_.below(3) * prng_.below(20);
    const uint32_t error = prng_.below(3) * prng_.below(40);
    answer.cache_control = "max-age=" + std::to_string(lifetime) + ", stale-while-revalidate=" + std::to_string(stale) +
                           ", stale-if-error=" + std::to_string(error);
    const MonoTime expires = now() + seconds(lifetime);
    answer.kept = Entry{answer.body, expires, expires + seconds(stale), expires + seconds(error), answer.tag};
    return answer;
  }

  HandWorker& worker() { return *workers.back(); }

  // A request that the worker has is answered; the model learns. False: the worker is gone, and a new one there.
  bool give(const Key& key, Handle exchange, const Answer& answer) {
    if (answer.dies) {
      world.pools().gone(workers.size());
      turn();
      (void)start();
      refreshing_.reset();  // that was in it, too
      return false;
    }
    if (answer.aborts) {
      EXPECT_TRUE(worker().link->abort(exchange));
      worker().ring();
      turn();
      return true;
    }
    Fields fields;
    if (!answer.cache_control.empty()) fields.emplace_back("Cache-Control", answer.cache_control);
    fields.emplace_back("Cache-Tag", answer.tag_text);
    if (varies(key.first)) fields.emplace_back("Vary", "X-Tier");
    worker().answer(exchange, answer.body, fields, answer.status);
    turn();
    if (answer.kept) model_[key] = *answer.kept;
    return true;
  }

  void settle_refresh() {
    if (!refreshing_) return;
    const auto [key, exchange] = *std::exchange(refreshing_, std::nullopt);
    const Answer answer = make_answer(key.first);
    (void)give(key, exchange, answer);
    if (answer.status == 200 && !answer.kept && !answer.dies && !answer.aborts) model_.erase(key);
  }

  // No border within reach of the small steps that the clock makes by itself.
  void keep_clear() {
    const auto near = [this](MonoTime border) { return border > now() - UNSURE && border < now() + UNSURE; };
    for (bool clear = false; !clear;) {
      clear = true;
      for (const auto& [key, entry] : model_) {
        if (near(entry.expires) || near(entry.stale_until) || near(entry.error_until)) clear = false;
      }
      if (!clear) world.advance(milliseconds(120));
    }
  }

  uint32_t send(uint32_t url, uint32_t tier, std::string_view method) {
    std::string text(method);
    text += " /app/" + std::to_string(url) + " HTTP/1.1\r\nHost: h\r\nX-Tier: " + std::to_string(tier) +
            (method == "POST" ? "\r\nContent-Length: 0\r\n\r\n" : "\r\nConnection: close\r\n\r\n");
    return ask(text);
  }

  void request(uint32_t url, uint32_t tier) {
    const Key key = key_of(url, tier);
    keep_clear();
    // Beyond its grace it would wait for the call that is under way; and of those there is one at a time here.
    const bool graced = model_.contains(key) && now() >= model_[key].expires && now() < model_[key].stale_until;
    if (refreshing_ && (refreshing_->first == key) != graced) {
      settle_refresh();
      keep_clear();
    }
    const auto found = model_.find(key);
    const bool has = found != model_.end();
    const bool fresh = has && now() < found->second.expires;
    const bool stale = has && !fresh && now() < found->second.stale_until;
    const bool error = has && !fresh && now() < found->second.error_until;
    const size_t before = worker().requests.size();
    const std::string kept = has ? found->second.body : "";
    const uint32_t client = send(url, tier, "GET");
    const size_t calls = worker().requests.size() - before;
    if (fresh || stale) {
      const bool refreshes = stale && serving_ && !(refreshing_ && refreshing_->first == key);
      ASSERT_EQ(calls, refreshes ? 1U : 0U) << (fresh ? "fresh" : "stale");
      if (refreshes) refreshing_.emplace(key, worker().requests.back().exchange);
      return expect(client, "200", kept);
    }
    if (!serving_) {
      ASSERT_EQ(calls, 0U);
      return expect(client, error ? "200" : "503", kept);
    }
    ASSERT_EQ(calls, 1U);
    const Answer answer = make_answer(url);
    if (!give(key, worker().requests.back().exchange, answer)) {
      if (error) return expect(client, "200", kept);
      ASSERT_EQ(worker().requests.size(), 1U) << "once more, on another worker";
      give_plain(key, "again");
      model_.erase(key);
      return expect(client, "200", "again");
    }
    if (answer.aborts) return expect(client, error ? "200" : "502", kept);
    if (answer.status == 503) return expect(client, error ? "200" : "503", error ? kept : answer.body);
    if (!answer.kept) model_.erase(key);  // it is true no more
    expect(client, "200", answer.body);
  }

  void give_plain(const Key& key, std::string_view body) {
    Fields fields;
    if (varies(key.first)) fields.emplace_back("Vary", "X-Tier");
    worker().answer(worker().requests.back().exchange, body, fields);
    turn();
  }

  void change(uint32_t url) {
    if (!serving_ || refreshing_) return;
    const uint32_t client = send(url, 0, "POST");
    const uint16_t status = prng_.below(2) == 0 ? 200 : 409;
    worker().answer(worker().requests.back().exchange, "said", {}, status);
    (void)take(client);
    world.transport(0).client_reset(client);
    turn(2);
    if (status == 409) return;
    for (uint32_t tier = 0; tier < TIERS; ++tier) model_.erase(key_of(url, tier));
  }

  void purge_tag() {
    const uint32_t tag = prng_.below(3);
    (void)world.cache().purge_label(tag_label("tag" + std::to_string(tag), world.cache().hash_seed()));
    std::erase_if(model_, [tag](const auto& one) { return one.second.tag == tag; });
  }

  void expect(uint32_t client, std::string_view status, std::string_view body) {
    const std::string answer = take(client);
    world.transport(0).client_reset(client);
    turn(1);
    ASSERT_EQ(status_of(answer), status) << answer;
    if (status != "503" && status != "502") {
      ASSERT_TRUE(answer.ends_with("\r\n\r\n" + std::string(body))) << answer << "\nexpected " << body;
    }
  }

  Prng prng_{GetParam() + 1};
  std::map<Key, Entry> model_;
  std::optional<std::pair<Key, Handle>> refreshing_;  // one at a time: see request()
  bool serving_ = true;
  uint64_t version_ = 0;
};

TEST_P(Freshness, every_answer_is_the_one_that_the_model_knows) {
  (void)start();
  for (uint64_t round = 0; round < rounds(); ++round) {
    SCOPED_TRACE("seed " + std::to_string(GetParam()) + ", round " + std::to_string(round));
    switch (prng_.below(16)) {
      case 0:
        world.advance(milliseconds(prng_.below(20'000)));
        break;
      case 1:
        change(prng_.below(URLS));
        break;
      case 2:
        if (!refreshing_) purge_tag();
        break;
      case 3:
        settle_refresh();
        serving_ = !serving_;
        world.pools().set_service("p", serving_ ? PoolService::SERVING : PoolService::FAILED);
        turn(2);
        break;
      case 4:
      case 5:
        settle_refresh();
        break;
      case 6:
        world.advance(milliseconds(prng_.below(3'000)));
        break;
      default:
        request(prng_.below(URLS), prng_.below(TIERS));
    }
    if (HasFatalFailure()) return;
    (void)reports();
    clients.clear();
  }
  settle_refresh();
}

INSTANTIATE_TEST_SUITE_P(Seeds, Freshness, testing::Range(uint64_t{0}, uint64_t{6}));

}  // namespace
}  // namespace penstock
