// A port that goes from server to server while clients come and talk: two engines, and at times three, hear the same
// wire (port_handover.h). Every byte of every connection must come back, none may be refused or cut off, and without
// faults on the wire nothing may have to be sent twice.
#include "src/net/port_handover.h"

#include "tests/net_sim/net_world.h"
#include "tests/net_sim/seeds.h"

#include <algorithm>
#include <deque>
#include <gtest/gtest.h>

namespace penstock {
namespace {

// A device that gives what comes in to several engines, each its own copy, as packet sockets do on one interface.
class Hub {
 public:
  class Ear final : public PacketDevice {
   public:
    explicit Ear(Hub& hub) : hub_(hub) { hub_.ears_.push_back(this); }
    ~Ear() override { std::erase(hub_.ears_, this); }
    [[nodiscard]] DeviceFeatures features() const override { return hub_.wire_.features(); }
    [[nodiscard]] size_t rx_burst(std::span<RxFrame> out) override {
      hub_.listen();
      size_t count = 0;
      for (; count < out.size() && !heard_.empty(); ++count) {
        std::vector<uint8_t>& frame = lent_[++last_token_];
        frame = std::move(heard_.front());
        heard_.pop_front();
        out[count] = {.data = frame.data(), .size = static_cast<uint32_t>(frame.size()), .token = last_token_};
      }
      return count;
    }
    void rx_release(uint32_t token) override { ASSERT(lent_.erase(token) == 1); }
    [[nodiscard]] size_t tx_burst(std::span<const TxFrame> frames) override { return hub_.wire_.tx_burst(frames); }
    [[nodiscard]] size_t tx_done(std::span<uint32_t> holds) override { return hub_.wire_.tx_done(holds); }
    [[nodiscard]] bool hears() const { return !heard_.empty(); }

   private:
    friend class Hub;
    Hub& hub_;
    std::deque<std::vector<uint8_t>> heard_;
    std::map<uint32_t, std::vector<uint8_t>> lent_;
    uint32_t last_token_ = 0;
  };

  // `lose_one_in`: each ear misses one frame in so many by itself.
  Hub(PacketDevice& wire, uint64_t seed, uint32_t lose_one_in) : wire_(wire), prng_(seed), lose_one_in_(lose_one_in) {}

 private:
  void listen() {
    std::array<RxFrame, 32> frames;
    while (const size_t count = wire_.rx_burst(frames)) {
      for (const RxFrame& frame : std::span(frames).first(count)) {
        for (Ear* ear : ears_) {
          if (lose_one_in_ == 0 || !prng_.one_in(lose_one_in_))
            ear->heard_.emplace_back(frame.data, frame.data + frame.size);
        }
        wire_.rx_release(frame.token);
      }
    }
  }

  PacketDevice& wire_;
  Prng prng_;
  uint32_t lose_one_in_;
  std::vector<Ear*> ears_;
};

// What an engine sends stays where it is until the end of the world.
using Memory = std::deque<std::vector<uint8_t>>;

void send_from(Memory& memory, NetStack& stack, Handle conn, std::vector<uint8_t> bytes) {
  memory.push_back(std::move(bytes));
  const NetPart part{.data = memory.back().data(), .size = static_cast<uint32_t>(memory.back().size())};
  ASSERT_TRUE(stack.send(conn, {&part, 1}, 1));
}

// It sends back what it gets, and closes behind the client.
struct Server {
  Server(Hub& hub, const NetConfig& config, MonoTime now) : ear(hub), stack(config, ear, now) {
    stack.set_handover(PortHandover::SILENT);
  }
  void turn(MonoTime now, Memory& memory) {
    NetEvent events[16];
    for (size_t count = stack.poll(now, events); count != 0; count = stack.poll(now, events)) {
      for (const NetEvent& event : std::span(events).first(count)) {
        if (event.kind == NetEventKind::ACCEPTED) ++accepted, ++open;
        if (event.kind == NetEventKind::RECEIVED) {
          send_from(memory, stack, event.conn, {event.data, event.data + event.size});
          stack.release(event.buffer);
        }
        if (event.kind == NetEventKind::FAILED) ++failed;
        if (event.kind == NetEventKind::FAILED || event.kind == NetEventKind::PEER_CLOSED) {
          --open;
          (void)stack.close(event.conn);
        }
      }
    }
  }
  Hub::Ear ear;
  NetStack stack;
  uint32_t accepted = 0;
  uint32_t open = 0;
  uint32_t failed = 0;
  MonoTime patience = MonoTime::never();  // of one that leaves, for what is unsettled
};

struct Client {
  uint32_t number = 0;
  uint32_t rounds = 0;
  uint32_t bytes = 0;  // of a round
  Duration pause;
  MonoTime acts_at;
  Handle conn;
  uint64_t sent = 0;
  uint64_t received = 0;
  bool over = false;

  [[nodiscard]] uint8_t byte_at(uint64_t offset) const {
    return static_cast<uint8_t>(hash_word((uint64_t{number} << 32) + offset));
  }
};

class HandoverWorld {
 public:
  static constexpr uint32_t CLIENTS = 24;
  static constexpr uint32_t SWAPS = 4;
  static constexpr int64_t LONG_MS = 1'500;  // clients come for so long

  HandoverWorld(uint64_t seed, bool with_faults)
      : with_faults_(with_faults),
        prng_(seed),
        link_(seed, {.delay = milliseconds(1),
                     .faults = with_faults ? LinkFaults{.lose_one_in = 40, .duplicate_one_in = 40, .delay_one_in = 20}
                                           : LinkFaults{},
                     .copies = true}),
        hub_(link_.end(1), seed + 1, with_faults ? 40 : 0) {
    link_.set_now(now_);
    client_ = std::make_unique<NetStack>(NetWorld::config(0), link_.end(0), now_);
    for (uint32_t i = 0; i < CLIENTS; ++i) {
      Client& one = clients_.emplace_back();
      one.number = i;
      one.rounds = 1 + prng_.below(5);
      one.bytes = 1 + prng_.below(prng_.one_in(2) ? 200 : 5'000);
      one.pause = milliseconds(prng_.below(150));
      one.acts_at = now_ + microseconds(prng_.below(LONG_MS * 1'000));
    }
    begin_server();
    servers_[0]->stack.set_handover(PortHandover::NONE);
    ASSERT(servers_[0]->stack.listen(NetWorld::PORT, 7));
    next_step_ = now_ + milliseconds(50 + prng_.below(100));
  }

  // Until all clients are served and all that leave have left; false: not within `patience`.
  [[nodiscard]] bool run(Duration patience) {
    const MonoTime limit = now_ + patience;
    while (!over()) {
      turn();
      MonoTime next = std::min({link_.next_event(), client_->next_deadline(), swaps_ < SWAPS ? next_step_ : limit});
      for (const auto& server : servers_)
        next = std::min({next, server->stack.next_deadline(), server->ear.hears() ? now_ : limit,
                         server->patience > now_ ? server->patience : limit});
      for (const Client& one : clients_) next = std::min(next, one.over ? limit : one.acts_at);
      if (next >= limit) return false;
      now_ = std::max(next, now_ + microseconds(5));
      link_.set_now(now_);
    }
    return true;
  }

  [[nodiscard]] const NetStack& client() const { return *client_; }
  uint32_t exact = 0;
  uint32_t failed = 0;  // ends of either side that were told of a failure
  uint32_t servers_accepted = 0;
  uint64_t server_resets = 0;
  uint64_t left_to_another = 0;
  std::string wrong;

 private:
  [[nodiscard]] bool over() const {
    return swaps_ == SWAPS && servers_.size() == 1 && std::ranges::all_of(clients_, &Client::over) &&
           servers_[0]->open == 0;
  }

  void begin_server() {
    NetConfig config = NetWorld::config(1);
    config.secret = {prng_.next(), prng_.next()};  // each process draws its own
    // A cookie is refused where the first bytes behind it are lost and the next are not.
    config.limits.half_open_max = !with_faults_ && prng_.one_in(3) ? 1 : 32;
    servers_.push_back(std::make_unique<Server>(hub_, config, now_));
  }

  // The hand-over, one step after the other at any time.
  void step() {
    if (swaps_ == SWAPS || now_ < next_step_) return;
    next_step_ = now_ + microseconds(prng_.below(20'000));
    switch (step_++) {
      case 0:
        servers_.back()->stack.set_handover(PortHandover::ANSWERS);
        break;
      case 1:
        begin_server();
        break;
      case 2:
        ASSERT(servers_.back()->stack.listen(NetWorld::PORT, 7));
        servers_.back()->stack.set_handover(PortHandover::ANSWERS);
        break;
      default: {
        NetStack& old = servers_[servers_.size() - 2]->stack;
        old.stop_listening(7);
        old.set_handover(PortHandover::SILENT);
        servers_[servers_.size() - 2]->patience = now_ + seconds(3);
        next_step_ = now_ + milliseconds(prng_.below(300));
        step_ = 0;
        ++swaps_;
      }
    }
  }

  // Who leaves has left when its connections are over, and nothing is unsettled or has been for long; who is alone then
  // is told.
  void let_go() {
    const size_t leaving = servers_.size() - (step_ >= 2 ? 2 : 1);
    for (size_t i = 0; i < leaving; ++i) {
      const Server& server = *servers_[i];
      if (server.open != 0 || (server.stack.has_unsettled() && now_ < server.patience)) continue;
      account(*servers_[i]);
      servers_.erase(servers_.begin() + static_cast<ptrdiff_t>(i));
      break;
    }
    if (servers_.size() == 1 && step_ == 0) servers_[0]->stack.set_handover(PortHandover::NONE);
  }

  void account(const Server& server) {
    servers_accepted += server.accepted;
    failed += server.failed;
    server_resets += server.stack.counters().resets_sent;
    left_to_another += server.stack.counters().dropped(DropReason::LEFT_TO_ANOTHER);
  }

  void turn() {
    step();
    for (const auto& server : servers_) server->turn(now_, memory_);
    for (Client& one : clients_) act(one);
    NetEvent events[16];
    for (size_t count = client_->poll(now_, events); count != 0; count = client_->poll(now_, events)) {
      for (const NetEvent& event : std::span(events).first(count)) hear(event);
    }
    let_go();
    if (over()) account(*servers_[0]);
  }

  void act(Client& one) {
    if (one.over || one.acts_at > now_) return;
    one.acts_at = MonoTime::never();
    if (!one.conn.valid()) {
      one.conn = client_->connect(NetWorld::config(1).addresses.v4, NetWorld::PORT);
      ASSERT_TRUE(one.conn.valid());
      client_->set_context(one.conn, &one);
      return;
    }
    if (one.sent == uint64_t{one.rounds} * one.bytes) {
      ++exact;
      one.over = true;
      (void)client_->close(one.conn);
      return;
    }
    std::vector<uint8_t> bytes(one.bytes);
    for (uint8_t& byte : bytes) byte = one.byte_at(one.sent++);
    send_from(memory_, *client_, one.conn, std::move(bytes));
  }

  void hear(const NetEvent& event) {
    Client& one = *static_cast<Client*>(event.context);
    if (event.kind == NetEventKind::CONNECTED) one.acts_at = now_;
    if (event.kind == NetEventKind::RECEIVED) {
      for (size_t i = 0; i < event.size; ++i) {
        if (event.data[i] != one.byte_at(one.received++)) wrong = "client " + std::to_string(one.number) + ": a byte";
      }
      client_->release(event.buffer);
      if (one.received == one.sent) one.acts_at = now_ + one.pause;
    }
    if (event.kind == NetEventKind::FAILED || event.kind == NetEventKind::PEER_CLOSED) {
      ++failed;
      one.over = true;
      (void)client_->close(one.conn);
    }
  }

  MonoTime now_{1'000'000'000'000};
  const bool with_faults_;
  Prng prng_;
  SimLink link_;
  Hub hub_;
  Memory memory_;
  std::unique_ptr<NetStack> client_;
  std::vector<std::unique_ptr<Server>> servers_;  // the oldest first
  std::deque<Client> clients_;
  MonoTime next_step_;
  uint32_t step_ = 0;
  uint32_t swaps_ = 0;
};

constexpr uint64_t HANDOVER_SEEDS_MANY = 50;  // of so many one at least has two SYN-ACKs

void run_swaps(bool with_faults) {
  uint64_t left = 0;
  uint64_t twice = 0;
  const uint64_t seeds = number_from("PENSTOCK_SIM_SEEDS", HANDOVER_SEEDS);
  for (uint64_t seed = 1; seed <= seeds && !testing::Test::HasFailure(); ++seed) {
    HandoverWorld world(seed, with_faults);
    EXPECT_TRUE(world.run(seconds(120))) << "seed " << seed;
    EXPECT_EQ(world.wrong, "") << "seed " << seed;
    EXPECT_EQ(world.exact, HandoverWorld::CLIENTS) << "seed " << seed;
    EXPECT_EQ(world.failed, 0U) << "seed " << seed;
    EXPECT_EQ(world.servers_accepted, HandoverWorld::CLIENTS) << "seed " << seed;
    left += world.left_to_another;
    if (with_faults) continue;
    EXPECT_EQ(world.server_resets, 0U) << "seed " << seed;
    EXPECT_EQ(world.client().counters().segments_retransmitted, 0U) << "seed " << seed;
    const NetCounters& counters = world.client().counters();
    twice += counters.dropped(DropReason::TCP_PAWS) + counters.dropped(DropReason::TCP_OUT_OF_WINDOW) +
             counters.dropped(DropReason::TCP_OLD_DUPLICATE) + counters.dropped(DropReason::TCP_SYN_CHALLENGED);
  }
  if (seeds < HANDOVER_SEEDS_MANY) return;
  EXPECT_GT(left, 0U) << "nothing was left to another";
  EXPECT_TRUE(twice > 0 || with_faults) << "no SYN was answered by both";
}

TEST(PortHandoverSim, nothing_is_lost_and_nothing_sent_twice) { run_swaps(false); }
TEST(PortHandoverSim, on_a_wire_with_faults_nothing_is_lost) { run_swaps(true); }

}  // namespace
}  // namespace penstock
