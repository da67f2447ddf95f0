// A small world around PoolKeeper, driven by a seed: processes that start, serve, hang, die and lie, servers that
// come and go, an operator who changes everything. After each step what must always hold is checked; at the end the
// world becomes well, and the pool must be in service again with all it wants; then it stops, and nothing is left.
#include "pool/supervisor/pool_keeper.h"
#include "src/base/prng.h"
#include "tests/support/effort.h"

#include <csignal>
#include <gtest/gtest.h>
#include <map>
#include <optional>
#include <set>

namespace penstock {
namespace {

constexpr int STEPS = 400;
constexpr uint64_t SEEDS = one_threaded_rounds(500);

class World {
 public:
  explicit World(uint64_t seed) : random_(seed), keeper_(rules(), numbers_) {
    call([&] { keeper_.tick(now_); });
  }

  void step() {
    advance(milliseconds(random_.below(random_.one_in(10) ? 60'000 : 300)));
    switch (random_.below(16)) {
      case 0:
      case 1:
        return call(
            [&] { keeper_.need(some_server(), 1 + random_.below(20), milliseconds(random_.below(500)), now_); });
      case 2:
      case 3:
      case 4:
        return on_some([&](uint64_t worker) {
          if (processes_.at(worker).given) keeper_.ready(worker, now_);
        });
      case 5:
        if (random_.one_in(4)) return on_some([&](uint64_t worker) { keeper_.cold(worker, "answered 500", now_); });
        if (random_.one_in(2)) return on_some([&](uint64_t worker) { keeper_.rests(worker, now_); });
        return on_some([&](uint64_t worker) { keeper_.idle(worker, now_); });
      case 6:
        return on_some([&](uint64_t worker) { end(worker, random_.one_in(2)); });
      case 7:
      case 8:
        return on_some([&](uint64_t worker) {
          keeper_.load(worker, random_.below(2000), random_.below(3), milliseconds(random_.below(1000)), now_);
        });
      case 9:
        return on_some([&](uint64_t worker) { keeper_.overdue(worker, {1}, now_); });
      case 10:
        return on_some([&](uint64_t worker) { keeper_.silent(worker, {2}, now_); });
      case 11:
        if (random_.one_in(2)) {
          return on_some([&](uint64_t worker) { keeper_.intruded(worker, "tried", random_.one_in(2), now_); });
        }
        return on_some([&](uint64_t worker) { keeper_.broke(worker, "lie", {3}, now_); });
      case 12:
        return on_some([&](uint64_t worker) { keeper_.memory_seen(worker, random_.below(2 << 20), now_); });
      case 13:
        return server_event();
      default:
        return operator_event();
    }
  }

  // Everything works from now on: the pool must come to serve.
  void become_well() {
    broken_ = false;
    call([&] { keeper_.configure(well_rules(), now_); });
    call([&] { keeper_.start(now_); });
    if (servers_.empty() || current_ == 0) new_server();
    for (int i = 0; i < 400; ++i) {
      std::vector<uint64_t> given;
      for (const auto& [number, process] : processes_) {
        if (process.given) given.push_back(number);
      }
      for (const uint64_t number : given) {
        call([&] { keeper_.ready(number, now_); });
        call([&] { keeper_.load(number, 1, 1, {}, now_); });
        call([&] { keeper_.idle(number, now_); });
        call([&] { keeper_.rests(number, now_); });
      }
      advance(milliseconds(500));
    }
    EXPECT_EQ(keeper_.state(), PoolKeeper::State::SERVING);
    EXPECT_FALSE(keeper_.trial());
    uint32_t serving = 0;
    for (const auto& [number, worker] : keeper_.workers()) {
      EXPECT_NE(worker.state, PoolKeeper::WorkerState::RETIRING) << number;
      if (worker.state == PoolKeeper::WorkerState::READY && worker.server == current_) {
        ++serving;
        EXPECT_EQ(worker.version, keeper_.workers().rbegin()->second.version) << "of the last settings";
      }
    }
    EXPECT_GE(serving, keeper_.rules().workers_min);
    EXPECT_LE(serving, keeper_.rules().workers_max);
  }

  void stop() {
    const std::set<uint32_t> all = servers_;
    for (const uint32_t server : all) lose(server);
    call([&] { keeper_.shut_down(now_); });
    for (int i = 0; i < 50 && !keeper_.empty(); ++i) advance(milliseconds(100));
    EXPECT_TRUE(keeper_.empty());
    EXPECT_TRUE(processes_.empty());
    EXPECT_EQ(keeper_.next_deadline(now_), MonoTime::never());
  }

 private:
  struct Process {
    bool given = false;
    bool stubborn = false;  // does not heed SIGTERM
    bool frozen = false;
    bool told = false;      // its server gives it nothing
    bool term_due = false;  // SIGTERM came while it was frozen
  };

  PoolRules rules() {
    PoolRules out;
    out.workers_max = 1 + random_.below(6);
    out.workers_min = random_.below(out.workers_max + 1);
    out.idle_timeout = seconds(random_.below(30));
    out.idle_suspend = random_.one_in(2);
    out.start_timeout = seconds(1 + random_.below(20));
    out.stop_timeout = seconds(random_.below(20));
    out.recycle_time = seconds(random_.below(60));
    out.recycle_requests = random_.below(1500);
    out.recycle_memory = random_.one_in(2) ? 1 << 20 : 0;
    out.recycle_overlap = !random_.one_in(4);
    out.rapid_fail_enable = !random_.one_in(4);
    out.rapid_fail_crashes = 1 + random_.below(8);
    out.rapid_fail_probe = seconds(random_.below(20));
    out.orphan_enable = random_.one_in(2);
    out.orphan_ttl = seconds(1 + random_.below(60));
    out.orphan_max = 1 + random_.below(3);
    out.recipe = std::to_string(random_.below(4));
    return out;
  }

  PoolRules well_rules() {
    PoolRules out = rules();
    out.recycle_time = {};
    out.recycle_requests = 0;
    out.recycle_memory = 0;
    out.start_timeout = seconds(20);
    return out;
  }

  template <typename Act>
  void call(Act act) {
    act();
    obey();
    check();
  }

  template <typename Act>
  void on_some(Act act) {
    if (processes_.empty()) return;
    auto at = processes_.begin();
    std::advance(at, random_.below(static_cast<uint32_t>(processes_.size())));
    const uint64_t number = at->first;
    call([&] { act(number); });
  }

  void obey() {
    for (auto orders = keeper_.take_orders(); !orders.empty(); orders = keeper_.take_orders()) {
      for (const PoolOrder& order : orders) obey_one(order);
    }
    std::set<uint64_t> dying;
    dying.swap(dying_);
    for (const uint64_t worker : dying) {
      if (processes_.contains(worker)) end(worker, false);
    }
    if (!dying.empty()) obey();
  }

  void obey_one(const PoolOrder& order) {
    const auto known = processes_.find(order.worker);
    switch (order.kind) {
      case PoolOrder::Kind::START:
        ASSERT_TRUE(used_.insert(order.worker).second) << "a number twice";
        if (broken_ && random_.one_in(10)) return keeper_.start_failed(order.worker, "no", now_);
        processes_[order.worker].stubborn = random_.one_in(3);
        return keeper_.spawned(order.worker, now_);
      case PoolOrder::Kind::GIVE:
        ASSERT_TRUE(known != processes_.end());
        ASSERT_TRUE(servers_.contains(order.server)) << "given to a server that is not there";
        ASSERT_FALSE(known->second.given) << "given twice";
        ASSERT_FALSE(known->second.frozen) << "given, and it cannot answer";
        known->second.given = true;
        known->second.told = false;
        return;
      case PoolOrder::Kind::RETIRE:
        ASSERT_TRUE(known != processes_.end() && known->second.given);
        return;
      case PoolOrder::Kind::GONE:
        ASSERT_TRUE(known == processes_.end() || known->second.frozen) << "gone, and it lives";
        return;
      case PoolOrder::Kind::SIGNAL:
        if (known == processes_.end()) return;
        known->second.term_due = known->second.frozen;
        if (order.signal != SIGKILL && known->second.frozen) return;
        if (order.signal == SIGKILL || !known->second.stubborn) dying_.insert(order.worker);
        return;
      case PoolOrder::Kind::FREEZE:
        ASSERT_TRUE(known != processes_.end());
        known->second.frozen = true;
        return;
      case PoolOrder::Kind::THAW:
        ASSERT_TRUE(known != processes_.end() && known->second.frozen) << "let go on, and it was not stopped";
        known->second.frozen = false;
        if (known->second.term_due && !known->second.stubborn) dying_.insert(order.worker);
        return;
      case PoolOrder::Kind::RECLAIM:
        ASSERT_TRUE(known != processes_.end() && known->second.frozen);
        return;
      case PoolOrder::Kind::SUSPEND:
        ASSERT_TRUE(known != processes_.end() && known->second.given && !known->second.told);
        known->second.told = true;
        return;
      case PoolOrder::Kind::RESUME:
        ASSERT_TRUE(known != processes_.end() && known->second.given && known->second.told && !known->second.frozen);
        known->second.told = false;
        return;
      case PoolOrder::Kind::ACT:
        ASSERT_TRUE(known != processes_.end() && known->second.frozen);
        return;
      case PoolOrder::Kind::STATE:
      case PoolOrder::Kind::LOG:
        return;
    }
  }

  void end(uint64_t worker, bool clean) {
    processes_.erase(worker);
    keeper_.ended(worker, {clean, "ended"}, now_);
  }

  // Time passes; every deadline on the way is kept, and none is due twice without an effect.
  void advance(Duration span) {
    const MonoTime until = now_ + span;
    for (int turns = 0;; ++turns) {
      ASSERT_LT(turns, 2000) << "deadlines that lead nowhere";
      const MonoTime next = keeper_.next_deadline(now_);
      ASSERT_GE(next, now_);
      if (next > until) break;
      now_ = next;
      call([&] { keeper_.tick(now_); });
    }
    now_ = until;
  }

  uint32_t some_server() {
    if (servers_.empty()) return 0;
    auto at = servers_.begin();
    std::advance(at, random_.below(static_cast<uint32_t>(servers_.size())));
    return *at;
  }

  void new_server() {
    current_ = ++last_server_;
    servers_.insert(current_);
    call([&] { keeper_.server_ready(current_, now_); });
  }

  void lose(uint32_t server) {
    servers_.erase(server);
    if (server == current_) current_ = 0;
    for (auto& [number, process] : processes_) {
      const auto known = keeper_.workers().find(number);
      if (known != keeper_.workers().end() && known->second.server == server) process.given = false;
    }
    call([&] { keeper_.server_gone(server, now_); });
  }

  void server_event() {
    if (servers_.size() < 3 && (random_.one_in(2) || servers_.empty())) return new_server();
    lose(some_server());
  }

  void operator_event() {
    switch (random_.below(6)) {
      case 0:
        return call([&] { keeper_.configure(rules(), now_); });
      case 1:
        return call([&] { keeper_.recycle("by command", now_); });
      case 2:
        return call([&] { keeper_.start(now_); });
      case 3:
        return random_.one_in(3) ? call([&] { keeper_.stop("by hand", now_); }) : call([&] { keeper_.start(now_); });
      case 4:
        return random_.one_in(3) ? call([&] { keeper_.remove(now_); })
                                 : call([&] { keeper_.configure(keeper_.rules(), now_); });
      default:
        return;
    }
  }

  // What holds after every event.
  void check() {
    uint32_t takers = 0;
    uint32_t orphans = 0;
    for (const auto& [number, worker] : keeper_.workers()) {
      ASSERT_TRUE(processes_.contains(number)) << number << " is not a process";
      const bool stopped =
          worker.state == PoolKeeper::WorkerState::FROZEN || worker.state == PoolKeeper::WorkerState::SUSPENDED;
      ASSERT_EQ(processes_.at(number).frozen && worker.state != PoolKeeper::WorkerState::KILLED, stopped);
      if (worker.state == PoolKeeper::WorkerState::READY && worker.given) {
        ASSERT_FALSE(processes_.at(number).told) << "it serves, and its server gives it nothing";
      }
      const bool lives =
          worker.state == PoolKeeper::WorkerState::STARTING || worker.state == PoolKeeper::WorkerState::READY;
      if (lives && worker.predecessor == 0 && (worker.server == current_ || worker.server == 0)) ++takers;
      if (worker.state == PoolKeeper::WorkerState::FROZEN) ++orphans;
      if (worker.successor != 0) {
        ASSERT_EQ(keeper_.workers().at(worker.successor).predecessor, number);
      }
      if (worker.predecessor != 0) {
        ASSERT_EQ(keeper_.workers().at(worker.predecessor).successor, number);
      }
      if (worker.server != 0 && lives) {
        ASSERT_TRUE(servers_.contains(worker.server));
      }
    }
    ASSERT_EQ(processes_.size(), keeper_.workers().size()) << "a process that nobody keeps";
    ASSERT_LE(orphans, 3U);
    const bool serving = keeper_.state() == PoolKeeper::State::SERVING;
    if (serving) {
      ASSERT_LE(takers, keeper_.rules().workers_max);
    }
    if (keeper_.state() == PoolKeeper::State::STOPPED) {
      ASSERT_EQ(takers, 0U);
    }
    if (keeper_.state() == PoolKeeper::State::FAILED) {
      ASSERT_LE(takers, 1U);
    }
  }

  Prng random_;
  MonoTime now_{1'000'000'000'000};
  WorkerNumbers numbers_;
  PoolKeeper keeper_;
  std::map<uint64_t, Process> processes_;
  std::set<uint64_t> used_;
  std::set<uint64_t> dying_;
  std::set<uint32_t> servers_;
  uint32_t current_ = 0;
  uint32_t last_server_ = 0;
  bool broken_ = true;
};

TEST(PoolKeeperModel, keeps_its_promises_whatever_happens) {
  for (uint64_t seed = 1; seed <= SEEDS && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    World world(seed);
    for (int i = 0; i < STEPS && !testing::Test::HasFailure(); ++i) world.step();
    if (!testing::Test::HasFailure()) world.become_well();
    if (!testing::Test::HasFailure()) world.stop();
  }
}

}  // namespace
}  // namespace penstock
