#include "pool/queue/pool_queue.h"

#include "src/base/prng.h"

#include <algorithm>
#include <deque>
#include <gtest/gtest.h>
#include <list>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace penstock {
namespace {

constexpr uint32_t NO_LIMIT = UINT32_MAX;

class Queue : public ::testing::Test {
 protected:
  void TearDown() override {
    while (queue.take() != nullptr) {
    }
    EXPECT_EQ(bound.waiting(), 0U);
  }
  // An item of `client`, numbered in order of making and one millisecond younger than the one before.
  QueueItem& item(uint64_t client) {
    items.push_back(std::make_unique<QueueItem>());
    items.back()->client = client;
    items.back()->arrived = MonoTime{} + milliseconds(static_cast<int64_t>(items.size()));
    return *items.back();
  }
  QueueItem& put(uint64_t client) {
    QueueItem& made = item(client);
    EXPECT_TRUE(queue.put(made, NO_LIMIT));
    return made;
  }
  // The clients of all that wait, in the order in which they are taken.
  std::string take_all() {
    std::string clients;
    while (QueueItem* next = queue.take()) clients += static_cast<char>('a' + next->client);
    return clients;
  }

  PoolBound bound;
  QueueTurns turns{16, 42};
  PoolQueue queue{bound, turns};
  std::vector<std::unique_ptr<QueueItem>> items;
};

TEST_F(Queue, gives_one_client_what_came_first) {
  QueueItem& first = put(0);
  QueueItem& second = put(0);
  EXPECT_EQ(queue.take(), &first);
  EXPECT_EQ(queue.take(), &second);
  EXPECT_EQ(queue.take(), nullptr);
}

TEST_F(Queue, lets_clients_take_turns_however_much_one_asks) {
  for (int i = 0; i < 6; ++i) put(0);
  put(1);
  put(2);
  put(1);
  EXPECT_EQ(take_all(), "abcabaaaa");
}

TEST_F(Queue, holds_exactly_as_many_as_the_limit) {
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(queue.put(item(static_cast<uint64_t>(i) % 7), 1000));
  QueueItem& refused = item(1);
  EXPECT_FALSE(queue.put(refused, 1000));
  EXPECT_FALSE(refused.queued());
  EXPECT_NE(queue.take(), nullptr);
  EXPECT_TRUE(queue.put(refused, 1000));
  EXPECT_EQ(queue.waiting(), 1000U);
}

TEST_F(Queue, throws_nobody_out_when_the_limit_sinks) {
  for (int i = 0; i < 10; ++i) put(0);
  EXPECT_FALSE(queue.put(item(0), 5));
  for (int i = 0; i < 6; ++i) EXPECT_NE(queue.take(), nullptr);
  EXPECT_TRUE(queue.put(item(0), 5));
  EXPECT_FALSE(queue.put(item(0), 5));
}

TEST_F(Queue, shares_one_limit_with_the_other_reactors) {
  QueueTurns other_turns(16, 43);
  PoolQueue other(bound, other_turns);
  EXPECT_TRUE(queue.put(item(0), 2));
  EXPECT_TRUE(other.put(item(0), 2));
  EXPECT_FALSE(queue.put(item(0), 2));
  EXPECT_FALSE(other.put(item(0), 2));
  EXPECT_NE(other.take(), nullptr);
  EXPECT_TRUE(queue.put(item(0), 2));
}

TEST_F(Queue, keeps_the_pools_of_one_table_apart) {
  PoolBound other_bound;
  QueueTurns one_chain(1, 42);
  PoolQueue one(bound, one_chain);
  PoolQueue other(other_bound, one_chain);
  QueueItem& ours = item(5);
  QueueItem& theirs = item(5);
  EXPECT_TRUE(one.put(ours, NO_LIMIT));
  EXPECT_TRUE(other.put(theirs, NO_LIMIT));
  EXPECT_EQ(one.take(), &ours);
  EXPECT_EQ(one.take(), nullptr);
  EXPECT_EQ(other.take(), &theirs);
}

TEST_F(Queue, forgets_at_once_whose_client_has_gone) {
  QueueItem& first = put(0);
  QueueItem& middle = put(0);
  QueueItem& last = put(0);
  put(1);
  queue.remove(middle);
  EXPECT_FALSE(middle.queued());
  queue.remove(first);
  EXPECT_EQ(queue.waiting(), 2U);
  EXPECT_EQ(queue.take(), &last);
  EXPECT_EQ(take_all(), "b");
}

TEST_F(Queue, expires_the_oldest_first_and_only_when_due) {
  QueueItem& first = put(0);
  QueueItem& second = put(1);
  const Duration timeout = seconds(1);
  EXPECT_EQ(queue.next_due(timeout), first.arrived + timeout);
  EXPECT_EQ(queue.expire(first.arrived + timeout - Duration{1}, timeout), nullptr);
  EXPECT_EQ(queue.expire(first.arrived + timeout, timeout), &first);
  EXPECT_EQ(queue.expire(first.arrived + timeout, timeout), nullptr);
  EXPECT_EQ(queue.expire(second.arrived + timeout, timeout), &second);
  EXPECT_EQ(queue.next_due(timeout), MonoTime::never());
}

TEST_F(Queue, lets_a_lost_one_go_before_what_its_client_asked_since) {
  QueueItem& lost = put(0);
  EXPECT_EQ(queue.take(), &lost);
  put(1);
  QueueItem& later = put(0);
  queue.put_back(lost);
  EXPECT_EQ(queue.expire(lost.arrived + seconds(1), seconds(1)), &lost) << "it is as old as it was";
  queue.put_back(lost);
  EXPECT_EQ(queue.take()->client, 1U);
  EXPECT_EQ(queue.take(), &lost);
  EXPECT_EQ(queue.take(), &later);
}

TEST_F(Queue, lets_a_lost_one_in_over_the_limit) {
  EXPECT_TRUE(queue.put(item(0), 1));
  QueueItem* const lost = queue.take();
  EXPECT_TRUE(queue.put(item(0), 1));
  queue.put_back(*lost);
  EXPECT_EQ(queue.waiting(), 2U);
  EXPECT_FALSE(queue.put(item(0), 1));
}

TEST_F(Queue, stays_exact_where_reactors_meet) {
  constexpr uint32_t LIMIT = 50;
  std::atomic<uint32_t> most{0};
  const auto reactor = [&](uint64_t seed) {
    QueueTurns own_turns(16, seed);
    PoolQueue own(bound, own_turns);
    std::vector<QueueItem> own_items(200);
    Prng random(seed);
    for (int i = 0; i < 20'000; ++i) {
      QueueItem& some = own_items[random.below(200)];
      if (some.queued()) {
        own.remove(some);
      } else if (own.put(some, LIMIT)) {
        uint32_t seen = bound.waiting();
        for (uint32_t known = most.load(); seen > known && !most.compare_exchange_weak(known, seen);) {
        }
      }
    }
    while (own.take() != nullptr) {
    }
  };
  std::thread other(reactor, 2);
  reactor(1);
  other.join();
  EXPECT_EQ(most.load(), LIMIT);
}

// Against the plainest thing that does the same.
TEST_F(Queue, does_what_a_list_of_lists_does) {
  struct Client {
    uint64_t number;
    std::deque<QueueItem*> waiting;
  };
  std::list<Client> model;  // in order of turns
  Prng random(7);
  std::vector<QueueItem*> outside;
  uint32_t count = 0;
  const auto erase = [&](QueueItem* gone) {
    const auto client =
        std::find_if(model.begin(), model.end(), [&](const Client& c) { return c.number == gone->client; });
    std::erase(client->waiting, gone);
    if (client->waiting.empty()) model.erase(client);
    --count;
  };
  for (int step = 0; step < 100'000; ++step) {
    const uint32_t what = random.below(8);
    if (what < 3 && items.size() < 3'000) {
      QueueItem& made = put(random.below(40));
      const auto client =
          std::find_if(model.begin(), model.end(), [&](const Client& c) { return c.number == made.client; });
      (client == model.end() ? model.emplace_back(made.client) : *client).waiting.push_back(&made);
      ++count;
    } else if (what < 5) {
      QueueItem* const taken = queue.take();
      ASSERT_EQ(taken == nullptr, model.empty());
      if (taken == nullptr) continue;
      ASSERT_EQ(taken, model.front().waiting.front());
      model.front().waiting.pop_front();
      if (!model.front().waiting.empty()) model.push_back(model.front());
      model.pop_front();
      outside.push_back(taken);
      --count;
    } else if (what == 5 && !outside.empty()) {
      QueueItem* const back = outside.back();
      outside.pop_back();
      queue.put_back(*back);
      const auto client =
          std::find_if(model.begin(), model.end(), [&](const Client& c) { return c.number == back->client; });
      (client == model.end() ? model.emplace_back(back->client) : *client).waiting.push_front(back);
      ++count;
    } else if (what == 6 && !items.empty()) {
      QueueItem* const some = items[random.below(static_cast<uint32_t>(items.size()))].get();
      if (!some->queued()) continue;
      queue.remove(*some);
      erase(some);
      outside.push_back(some);
    } else if (QueueItem* const old = queue.expire(MonoTime{} + seconds(random.below(4)), milliseconds(500))) {
      for (const auto& other : items) ASSERT_TRUE(!other->queued() || other->arrived >= old->arrived);
      erase(old);
      outside.push_back(old);
    }
    ASSERT_EQ(queue.waiting(), count);
    ASSERT_EQ(bound.waiting(), count);
  }
}

}  // namespace
}  // namespace penstock
