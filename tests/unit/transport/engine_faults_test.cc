// EngineTransport under faults, from seeds: a wire that loses, doubles, delays and corrupts, files and memory in one
// answer, the memory's sums known beforehand or not, and both sides hanging up in the midst of it.
//
// Checked for each seed: what a client gets is the beginning of its answer, all of it where nobody hung up; a send has
// one end; and when all is over no piece, frame, chunk or slot is left, and no memory changed while a frame still
// referred to it. A tenth of PENSTOCK_SIM_SEEDS says how many seeds run, PENSTOCK_SIM_SEED replays one.
#include "src/base/bytes.h"
#include "src/base/prng.h"
#include "src/net/wire/checksum.h"
#include "tests/net_sim/seeds.h"
#include "tests/unit/transport/engine_world.h"

#include <algorithm>
#include <cstdlib>
#include <gtest/gtest.h>

namespace penstock::test {
namespace {

constexpr uint64_t SEEDS = simulated_seeds(120);
constexpr size_t FILE_BYTES = 300'000;

uint32_t one_of(Prng& prng, std::initializer_list<uint32_t> values) {
  return values.begin()[prng.below(static_cast<uint32_t>(values.size()))];
}

std::vector<uint16_t> sums_of(std::string_view text, size_t stride) {
  std::vector<uint16_t> sums;
  const std::span bytes(reinterpret_cast<const uint8_t*>(text.data()), text.size());
  for (size_t at = 0; at < bytes.size(); at += stride)
    sums.push_back(internet_sum(bytes.subspan(at, std::min(stride, bytes.size() - at))).value);
  return sums;
}

enum class Manner : uint8_t { PATIENT, PEER_RESETS, PEER_LEAVES, CLOSED_EARLY, RESET_EARLY };

struct Exchange {
  std::unique_ptr<Peer> peer;
  Manner manner = Manner::PATIENT;
  std::string request;
  size_t written = 0;
  std::string answer;          // what must come
  std::string memory;          // of its memory parts
  std::vector<uint16_t> sums;  // of these
  std::vector<SendPart> parts;
  std::string got;
  size_t leaves_after = 0;
  bool asked = false;  // the server has sent
  bool gone = false;   // the peer is
  int ends = 0;
};

class Faults {
 public:
  explicit Faults(uint64_t seed) : seed_(seed), prng_(seed), file_(memory_file(pattern(FILE_BYTES, seed))) {
    LinkOptions link{.delay = microseconds(one_of(prng_, {10, 300, 10'000})),
                     .bytes_per_second = one_of(prng_, {2'000'000, 125'000'000}),
                     .queue_max = one_of(prng_, {20, 1'000}),
                     .faults = {.lose_one_in = one_of(prng_, {0, 8, 30, 100}),
                                .duplicate_one_in = one_of(prng_, {0, 10, 50}),
                                .delay_one_in = one_of(prng_, {0, 4, 30}),
                                .corrupt_one_in = one_of(prng_, {0, 0, 10, 50})},
                     .offload = prng_.one_in(2),
                     .copies = prng_.one_in(3)};
    world_ = make_engine_world({.connections_max = 64, .receive_buffers = one_of(prng_, {8, 64})}, seed, link);
    EXPECT_TRUE(world_->listen(World::Family::IPV4, 1) && world_->listen(World::Family::IPV6, 2));
    server_ = std::make_unique<Server>(*world_);
  }

  ~Faults() {
    for (Exchange& exchange : exchanges_) exchange.peer.reset();
  }

  void run() {
    exchanges_.resize(1 + prng_.below(6));
    for (Exchange& exchange : exchanges_) make(exchange);
    ASSERT_TRUE(within_minutes([&] {
      bool done = true;
      for (Exchange& exchange : exchanges_) done = step(exchange) && done;
      return done;
    })) << "seed "
        << seed_;
    server_->close_all();
    ASSERT_TRUE(within_minutes([&] { return world_->transport().connection_count() == 0; })) << "seed " << seed_;
    for (const auto& conn : server_->conns()) {
      ASSERT_LE(conn->sent + conn->failed + conn->closed, 2) << "seed " << seed_;
      ASSERT_LE(conn->sent, 1) << "seed " << seed_;
    }
    ASSERT_EQ(world_->violations(), std::vector<std::string>{}) << "seed " << seed_;
  }
  [[nodiscard]] uint32_t whole() const { return whole_; }

 private:
  // A timer that has backed off takes its time, and under heavy loss the next one is twice as long: when the faults
  // have stopped there must be an end.
  bool within_minutes(const std::function<bool()>& done) {
    for (int i = 0; i < 18; ++i) {
      if (server_->until(done)) return true;
      if (i == 5) world_->link().stop_faults();
    }
    return false;
  }

  void make(Exchange& exchange) {
    exchange.peer = world_->connect(1 + prng_.below(2));
    ASSERT_NE(exchange.peer, nullptr);
    exchange.request = pattern(1 + prng_.below(one_of(prng_, {200, 20'000})), prng_.next());
    if (prng_.one_in(3)) exchange.manner = static_cast<Manner>(1 + prng_.below(4));
    exchange.memory = pattern(1 + prng_.below(one_of(prng_, {300, 4'000, 400'000})), prng_.next());
    exchange.parts.push_back(SendPart::memory(exchange.memory.data(), exchange.memory.size()));
    if (prng_.one_in(2)) {
      const uint32_t stride = one_of(prng_, {100, 1'428, 2'001});
      exchange.sums = sums_of(exchange.memory, stride);
      exchange.parts.back().sums = exchange.sums.data();
      exchange.parts.back().sum_stride = static_cast<uint16_t>(stride);
    }
    exchange.answer = exchange.memory;
    const std::string file = pattern(FILE_BYTES, seed_);
    for (uint32_t i = prng_.below(4); i != 0; --i) {
      const size_t at = prng_.below(FILE_BYTES - 1);
      const size_t size = 1 + prng_.below(static_cast<uint32_t>(FILE_BYTES - at));
      exchange.parts.push_back(SendPart::file(file_.get(), at, size, prng_.one_in(2)));
      exchange.answer += file.substr(at, size);
    }
    exchange.leaves_after = prng_.below(static_cast<uint32_t>(exchange.answer.size()));
  }

  Server::Conn* conn_of(const Exchange& exchange) {
    const PeerAddress address = exchange.peer->address();
    const auto found = std::ranges::find_if(server_->conns(), [&](const auto& conn) { return conn->peer == address; });
    return found == server_->conns().end() ? nullptr : found->get();
  }

  // True: it has come to an end.
  bool step(Exchange& exchange) {
    if (exchange.gone) return true;
    serve(exchange);
    Peer& peer = *exchange.peer;
    if (exchange.written < exchange.request.size())
      exchange.written += peer.write(std::string_view(exchange.request).substr(exchange.written));
    exchange.got += peer.read(1 + prng_.below(50'000));
    EXPECT_LE(exchange.got.size(), exchange.answer.size()) << "seed " << seed_;
    const bool leaves = exchange.manner == Manner::PEER_RESETS || exchange.manner == Manner::PEER_LEAVES;
    if (leaves && exchange.got.size() >= exchange.leaves_after) {
      if (exchange.manner == Manner::PEER_RESETS) peer.reset();
      return leave(exchange);
    }
    return peer.end() != Peer::End::OPEN && leave(exchange);
  }

  void serve(Exchange& exchange) {
    Server::Conn* conn = conn_of(exchange);
    if (conn == nullptr || conn->ended) return;
    if (conn->failed != 0) {
      server_->close(*conn);
    } else if (!exchange.asked && conn->received.size() == exchange.request.size()) {
      EXPECT_TRUE(conn->received == exchange.request) << "seed " << seed_;
      exchange.asked = true;
      world_->transport().send(conn->handle, exchange.parts, false);
    } else if (exchange.asked && conn->sent != 0) {
      server_->close(*conn);
    } else if (exchange.asked && prng_.one_in(4)) {
      if (exchange.manner == Manner::CLOSED_EARLY) server_->close(*conn);
      if (exchange.manner == Manner::RESET_EARLY) server_->reset(*conn);
    }
  }

  bool leave(Exchange& exchange) {
    const Server::Conn* conn = conn_of(exchange);
    EXPECT_TRUE(exchange.got == exchange.answer.substr(0, exchange.got.size())) << "seed " << seed_;
    const bool whole = exchange.got.size() == exchange.answer.size();
    // RTOs may grow long enough for a connection to be given up; then there is no FIN, and no SENT.
    const bool promised = exchange.peer->end() == Peer::End::FIN || (conn != nullptr && conn->sent != 0);
    EXPECT_TRUE(whole || exchange.manner != Manner::PATIENT || !promised) << "seed " << seed_;
    whole_ += whole ? 1 : 0;
    exchange.gone = true;
    exchange.peer.reset();
    return true;
  }

  uint64_t seed_;
  Prng prng_;
  UniqueFd file_;
  std::vector<Exchange> exchanges_;
  std::unique_ptr<EngineWorld> world_;
  std::unique_ptr<Server> server_;
  uint32_t whole_ = 0;
};

TEST(SendPart, sc13_a_slice_has_the_sums_of_its_own_strides_or_none) {
  const uint16_t sums[3] = {};
  SendPart whole = SendPart::memory("", 25);
  whole.sums = sums;
  whole.sum_stride = 10;
  struct {
    uint64_t from, count;
    const uint16_t* sums;
  } const cases[] = {{0, 25, sums},     {0, 20, sums},   {0, 10, sums},     {10, 10, sums + 1}, {10, 15, sums + 1},
                     {20, 5, sums + 2}, {0, 9, nullptr}, {10, 11, nullptr}, {5, 10, nullptr},   {5, 20, nullptr}};
  for (const auto& one : cases) {
    const SendPart slice = whole.slice(one.from, one.count);
    EXPECT_EQ(slice.sums, one.sums) << one.from << "+" << one.count;
    EXPECT_EQ(slice.size, one.count);
    EXPECT_EQ(slice.data, static_cast<const char*>(whole.data) + one.from);
  }
  const SendPart file = SendPart::file(3, 100, 50).slice(7, 20);
  EXPECT_EQ(file.offset, 107U);
  EXPECT_EQ(file.size, 20U);
}

TEST(EngineTransport, sc13_what_is_summed_beforehand_is_neither_copied_nor_summed_again) {
  for (const size_t size : {size_t{1}, size_t{1'024}, size_t{1'429}, size_t{700'001}}) {
    const std::unique_ptr<EngineWorld> world = make_engine_world({}, 1, {.faults = {}});
    ASSERT_TRUE(world->listen(World::Family::IPV4, 1));
    Server server(*world);
    const std::unique_ptr<Peer> peer = world->connect(1);
    ASSERT_TRUE(server.until([&] { return !server.conns().empty(); }));
    const std::string head = pattern(251, 1);
    const std::string body = pattern(size, 2);
    const std::vector<uint16_t> sums = sums_of(body, 1'428);
    SendPart parts[] = {SendPart::memory(head.data(), head.size()), SendPart::memory(body.data(), size)};
    parts[1].sums = sums.data();
    parts[1].sum_stride = 1'428;
    world->transport().send(server.conn(0).handle, parts, false);
    std::string got;
    ASSERT_TRUE(server.until([&] {
      got += peer->read(1 << 20);
      return server.conn(0).sent == 1;
    }));
    EXPECT_TRUE(got == head + body) << size;
    // The head is this answer's own.
    EXPECT_EQ(world->transport().counters().bytes_summed, head.size()) << size;
    EXPECT_EQ(world->transport().counters().bytes_copied, 0U) << size;
    server.close_all();
  }
}

TEST(EngineTransport, answers_arrive_exactly_or_fail_cleanly_and_nothing_is_left) {
  const char* count = std::getenv("PENSTOCK_SIM_SEEDS");
  const char* one = std::getenv("PENSTOCK_SIM_SEED");
  uint64_t first = 1;
  uint64_t last = count == nullptr ? SEEDS : parse_decimal(count).value_or(10 * SEEDS) / 10;
  if (one != nullptr) first = last = parse_decimal(one).value_or(1);
  uint32_t whole = 0;
  for (uint64_t seed = first; seed <= last && !HasFailure(); ++seed) {
    Faults faults(seed);
    faults.run();
    whole += faults.whole();
  }
  EXPECT_GE(whole, last - first + 1) << "most are answered to the end";
}

}  // namespace
}  // namespace penstock::test
