// The load of perf/load/net_load against a server of this file: it counts rightly, sees a wrong byte, and does not
// leave out the times of those who came while the server stood still.
#include "perf/load/load_clients.h"

#include "tests/net_sim/net_world.h"

#include <deque>
#include <gtest/gtest.h>
#include <map>
#include <string>

namespace penstock {
namespace {

constexpr uint16_t LOAD_PORT = 80;

// Answers every blank line, in an engine of its own on the other end of a wire.
class LoadBench {
 public:
  explicit LoadBench(const LoadPlan& plan, uint16_t mtu = 1'500, uint64_t seed = 1)
      : link_(seed, {.delay = microseconds(static_cast<int64_t>(50 * seed)), .queue_max = 10'000}) {
    link_.set_now(now_);
    NetConfig configs[2] = {NetWorld::config(0), NetWorld::config(1)};
    for (NetConfig& config : configs) {
      config.addresses.mtu = mtu;
      if (plan.connections <= 16) continue;
      config.limits.connections_max = 4 * plan.connections + 4'096;
      config.limits.half_open_max = 1'024;
      config.limits.send_pieces_max = config.limits.receive_holds_max = 4 * plan.connections;
      config.limits.replies_per_second = 1'000'000;
      config.times.time_wait = milliseconds(10);
    }
    load_ = std::make_unique<NetStack>(configs[0], link_.end(0), now_);
    server_ = std::make_unique<NetStack>(configs[1], link_.end(1), now_);
    EXPECT_TRUE(server_->listen(LOAD_PORT, 1));
    closes_ = plan.close;
    answer_ =
        "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: " + std::to_string(plan.body.size()) + "\r\n\r\n" + plan.body;
    wrong_ = answer_;
    wrong_.back() ^= 1;
    LoadPlan to = plan;
    to.to = configs[1].addresses.v4;
    clients_ = std::make_unique<LoadClients>(*load_, to);
  }
  void run(Duration duration) {
    for (const MonoTime until = now_ + duration; now_ < until;) {
      (void)clients_->turn(now_);
      if (now_ >= stalled_until) serve();
      if (now_ >= stalled_until) stalled_until = now_ + rests;
      now_ = now_ + microseconds(50);
      link_.set_now(now_);
    }
  }
  LoadClients& clients() { return *clients_; }
  [[nodiscard]] uint64_t turned_away() const { return server_->counters().dropped(DropReason::TCP_OVERLOAD); }
  [[nodiscard]] MonoTime now() const { return now_; }
  [[nodiscard]] uint64_t answers() const { return answers_; }
  uint64_t wrong_at = UINT64_MAX;  // the number of the answer whose last byte is another
  MonoTime stalled_until{};
  Duration rests{};  // after each turn: what a slow server does

 private:
  void serve() {
    NetEvent events[64];
    const size_t count = server_->poll(now_, events);
    for (size_t i = 0; i < count; ++i) {
      const NetEvent& event = events[i];
      if (event.kind == NetEventKind::RECEIVED) {
        std::string& text = texts_[event.conn.index];
        text.append(reinterpret_cast<const char*>(event.data), event.size);
        server_->release(event.buffer);
        for (size_t end = text.find("\r\n\r\n"); end != std::string::npos; end = text.find("\r\n\r\n")) {
          text.erase(0, end + 4);
          const std::string& answer = answers_++ == wrong_at ? wrong_ : answer_;
          const NetPart part{.data = answer.data(), .size = static_cast<uint32_t>(answer.size())};
          EXPECT_TRUE(server_->send(event.conn, {&part, 1}, 0));
          if (closes_) server_->shutdown_send(event.conn);
        }
      }
      if ((event.kind == NetEventKind::PEER_CLOSED || event.kind == NetEventKind::FAILED) &&
          server_->is_open(event.conn)) {
        texts_.erase(event.conn.index);
        (void)server_->close(event.conn);
      }
    }
    server_->submit();
  }

  MonoTime now_{1'000'000'000'000};
  SimLink link_;
  std::unique_ptr<NetStack> load_;
  std::unique_ptr<NetStack> server_;
  std::unique_ptr<LoadClients> clients_;
  std::map<uint32_t, std::string> texts_;
  std::string answer_;
  std::string wrong_;
  uint64_t answers_ = 0;
  bool closes_ = false;
};

LoadPlan plan() { return {.body = std::string(1'000, 'b'), .connections = 8}; }

TEST(LoadClients, closed_loop_asks_again_on_each_connection_and_counts_every_answer) {
  for (const uint32_t pipeline : {1U, 16U}) {
    LoadPlan of = plan();
    of.pipeline = pipeline;
    LoadBench bench(of);
    bench.run(milliseconds(100));
    bench.clients().stop();
    bench.run(milliseconds(100));
    const LoadResult& result = bench.clients().result();
    EXPECT_EQ(result.connects, 8U);
    EXPECT_EQ(result.requests, bench.answers());
    EXPECT_GT(result.requests, 8U * 100);
    EXPECT_EQ(result.latency.total(), result.requests);
    EXPECT_EQ(result.wrong + result.failed + result.refused, 0U);
    EXPECT_EQ(bench.clients().asked(), 0U);
  }
}

TEST(LoadClients, answers_may_come_in_pieces) {
  LoadBench bench(plan(), 100);
  bench.run(milliseconds(100));
  EXPECT_GT(bench.clients().result().requests, 100U);
  EXPECT_EQ(bench.clients().result().wrong, 0U);
}

TEST(LoadClients, one_wrong_byte_is_seen) {
  LoadBench bench(plan());
  bench.wrong_at = 50;
  bench.run(milliseconds(100));
  EXPECT_EQ(bench.clients().result().wrong, 1U);
  EXPECT_EQ(bench.clients().connected(), 8U) << "it goes on with another connection";
}

TEST(LoadClients, one_request_a_connection_makes_one_for_each) {
  LoadPlan of = plan();
  of.close = true;
  LoadBench bench(of);
  bench.run(milliseconds(200));
  const LoadResult& result = bench.clients().result();
  EXPECT_GT(result.requests, 100U);
  EXPECT_LE(result.connects - result.requests, 8U);
  EXPECT_EQ(result.wrong + result.failed, 0U);
}

TEST(LoadClients, open_loop_keeps_its_rate_and_counts_from_when_a_request_was_due) {
  LoadPlan of = plan();
  of.rate = 1'000;
  LoadBench bench(of);
  bench.run(milliseconds(500));
  EXPECT_NEAR(static_cast<double>(bench.clients().result().requests), 500, 5);
  EXPECT_LT(bench.clients().result().latency.percentile_us(0.99), 1'000);
  // The server stands still for a tenth of the time: a tenth of the requests is due meanwhile, and waits.
  bench.clients().start_counting();
  bench.stalled_until = bench.now() + milliseconds(100);
  bench.run(milliseconds(1'000));
  const LoadResult& result = bench.clients().result();
  EXPECT_NEAR(static_cast<double>(result.requests), 1'000, 10);
  EXPECT_GT(result.late_max, 80U);
  EXPECT_GT(result.latency.percentile_us(0.95), 40'000) << "half of those who came meanwhile waited as long";
  EXPECT_LT(result.latency.percentile_us(0.85), 1'000);
}

TEST(LoadClients, who_gives_up_is_counted_once_and_frees_his_place) {
  LoadPlan of = plan();
  of.close = true;
  of.rate = 1'000;
  of.give_up = milliseconds(20);
  LoadBench bench(of);
  bench.run(milliseconds(500));
  EXPECT_NEAR(static_cast<double>(bench.clients().result().requests), 500, 5);
  EXPECT_EQ(bench.clients().result().given_up, 0U);
  bench.clients().start_counting();
  bench.stalled_until = bench.now() + milliseconds(300);
  bench.run(milliseconds(500));
  const LoadResult& result = bench.clients().result();
  // Those of the last 20 ms before it goes on are served.
  EXPECT_NEAR(static_cast<double>(result.given_up), 280, 15);
  EXPECT_NEAR(static_cast<double>(result.given_up + result.requests), 500, 10);
  EXPECT_EQ(result.wrong + result.failed, 0U);
}

TEST(Overload, a_thousand_connects_at_once_are_all_answered_at_once) {
  for (const uint64_t seed : {1U, 2U, 3U}) {
    LoadPlan of = plan();
    of.connections = 1'000;
    of.close = true;
    LoadBench bench(of, 1'500, seed);
    bench.run(milliseconds(20));
    EXPECT_GT(bench.clients().result().requests, 1'000U);
    EXPECT_EQ(bench.turned_away(), 0U);
    EXPECT_EQ(bench.clients().result().wrong + bench.clients().result().failed, 0U);
  }
}

// A server whose turns are so rare that it can serve half of what falls due, and clients who wait for 50 ms.
TEST(Overload, who_is_let_in_is_served_wholly_when_twice_as_much_is_offered) {
  for (const uint64_t seed : {1U, 2U}) {
    LoadPlan of = plan();
    of.connections = 4'000;
    of.close = true;
    of.rate = 60'000;
    of.give_up = milliseconds(50);
    LoadBench bench(of, 1'500, seed);
    bench.rests = microseconds(200);
    bench.run(milliseconds(500));
    bench.clients().start_counting();
    bench.run(milliseconds(500));
    const LoadResult& result = bench.clients().result();
    EXPECT_GT(bench.turned_away(), 1'000U);
    EXPECT_GT(result.requests, 9'000U) << "6,080 are served where every SYN is answered";
    EXPECT_LT(result.latency.percentile_us(0.5), 80'000) << "93 ms";
    EXPECT_EQ(result.wrong + result.failed, 0U);
  }
}

TEST(LatencyCounts, percentiles_are_right_to_a_64th) {
  LatencyCounts counts;
  for (int us = 1; us <= 10'000; ++us) counts.add(microseconds(us));
  for (const double share : {0.5, 0.9, 0.99, 0.999})
    EXPECT_NEAR(counts.percentile_us(share), share * 10'000, share * 10'000 / 64);
  EXPECT_EQ(counts.max_us(), 10'000);
}

}  // namespace
}  // namespace penstock
