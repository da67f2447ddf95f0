// A PoolKeeper with a server, whose processes start when told: what its tests share.
#pragma once

#include "pool/supervisor/pool_keeper.h"

#include <algorithm>
#include <csignal>
#include <gtest/gtest.h>
#include <optional>
#include <string>
#include <vector>

namespace penstock::test {

using Kind = PoolOrder::Kind;
using State = PoolKeeper::State;
using WorkerState = PoolKeeper::WorkerState;

inline constexpr uint32_t SERVER = 7;
inline const WorkerEnd CRASH = {false, {}};

// A keeper with a server, whose processes start when told.
class PoolKeeperTest : public testing::Test {
 protected:
  void open(PoolRules rules) {
    keeper_.emplace(std::move(rules), numbers_);
    keeper_->server_ready(SERVER, now_);
    run();
  }

  // Collects orders until there are none; what is to start is started.
  void run() {
    for (auto orders = keeper_->take_orders(); !orders.empty(); orders = keeper_->take_orders()) {
      for (PoolOrder& order : orders) {
        if (order.kind == Kind::START) keeper_->spawned(order.worker, now_);
        seen_.push_back(std::move(order));
      }
    }
  }

  template <typename Call>
  void tell(Call call) {
    seen_.clear();
    call(*keeper_);
    run();
  }

  void after(Duration span) {
    now_ = now_ + span;
    tell([&](PoolKeeper& k) { k.tick(now_); });
  }

  void ready(uint64_t worker) {
    tell([&](PoolKeeper& k) { k.ready(worker, now_); });
  }
  void need(Duration oldest = {}, uint32_t waiting = 1) {
    tell([&](PoolKeeper& k) { k.need(SERVER, waiting, oldest, now_); });
  }
  void ended(uint64_t worker, WorkerEnd end = CRASH) {
    tell([&](PoolKeeper& k) { k.ended(worker, end, now_); });
  }
  void load(uint64_t worker, uint64_t served, uint32_t inside = 0, Duration idle = {}) {
    tell([&](PoolKeeper& k) { k.load(worker, served, inside, idle, now_); });
  }

  // The workers that got an order of that kind since the last tell().
  [[nodiscard]] std::vector<uint64_t> got(Kind kind, int signal = 0) const {
    std::vector<uint64_t> out;
    for (const PoolOrder& order : seen_) {
      if (order.kind == kind && order.signal == signal) out.push_back(order.worker);
    }
    return out;
  }
  [[nodiscard]] bool logged(const std::string& part) const {
    return std::any_of(seen_.begin(), seen_.end(), [&](const PoolOrder& order) {
      return order.kind == Kind::LOG && order.text.find(part) != std::string::npos;
    });
  }
  [[nodiscard]] WorkerState state_of(uint64_t worker) const { return keeper_->workers().at(worker).state; }
  using List = std::vector<uint64_t>;

  WorkerNumbers numbers_;
  std::optional<PoolKeeper> keeper_;
  std::vector<PoolOrder> seen_;
  MonoTime now_{1'000'000'000'000};
};

inline PoolRules garden(uint32_t min, uint32_t max) {
  PoolRules rules;
  rules.workers_min = min;
  rules.workers_max = max;
  return rules;
}

}  // namespace penstock::test
