// Pools under the simulator: whole reactors, workers at the other end of the real rings, clients that check every byte.
//
// Checked for each seed: a request gets its own answer, whole and once, or 502, 503 or a cut connection where a worker
// failed, and never without such a cause; no worker has more inside than its concurrency; all ends, and every dispatch,
// slot and count is given back.
#include "src/base/bytes.h"
#include "src/http/chunked.h"
#include "tests/sim/sim_pools.h"
#include "tests/support/effort.h"

#include <cstdlib>
#include <deque>
#include <gtest/gtest.h>
#include <sys/socket.h>

namespace penstock {
namespace {

constexpr uint64_t POOL_SEEDS = simulated_seeds(400);

constexpr const char* POOLS_CONFIG =
    "site.s.hosts = *\nsite.s.root = /sim\nlimits.send_rate_min = 0\nlog.access.path = /sim.log\n"
    "pool.p.app = /app\npool.p.concurrency = 3\npool.p.queue_max = 40\n"
    "site.s.route.app.prefix = /app\nsite.s.route.app.handler = pool\nsite.s.route.app.pool = p\n";

// The same site while its pool is not configured.
constexpr const char* CONFIG_WITHOUT =
    "site.s.hosts = *\nsite.s.root = /sim\nlimits.send_rate_min = 0\nlog.access.path = /sim.log\n"
    "site.s.route.app.prefix = /app\nsite.s.route.app.handler = status\nsite.s.route.app.status = 503\n";

class AppClient {
 public:
  AppClient(SimWorld& world, uint64_t seed, uint32_t number)
      : world_(world), prng_(seed), name_(number), left_(2 + prng_.below(10)) {}

  [[nodiscard]] bool done() const { return left_ == 0 && asked_.empty() && !connected_; }
  [[nodiscard]] std::string state() const {
    return std::to_string(left_) + " to ask, " + std::to_string(asked_.size()) + " asked, " +
           std::to_string(out_.size()) + " bytes to send, got \"" + in_.substr(0, 60) + "\"";
  }
  uint64_t right = 0;    // whole answers
  uint64_t refused = 0;  // 502, 503
  uint64_t cut = 0;      // connections that ended under a request

  void act(bool calm, std::vector<std::string>& wrong) {
    if (done()) return;
    if (!connected_) connect();
    SimTransport& transport = world_.transport(reactor_);
    if (left_ > 0 && asked_.size() < 3 && prng_.one_in(2)) ask();
    if (!out_.empty()) {
      const size_t size = prng_.one_in(3) ? 1 + prng_.below(static_cast<uint32_t>(out_.size())) : out_.size();
      transport.client_send(number_, std::string_view(out_).substr(0, size));
      out_.erase(0, size);
    }
    if (!calm && prng_.one_in(150)) transport.client_reset(number_);
    in_ += transport.client_take(number_, calm || prng_.one_in(2) ? SIZE_MAX : prng_.below(5000));
    const SimTransport::ClientState state = transport.client_state(number_);
    const bool ended = state == SimTransport::ClientState::FINISHED || state == SimTransport::ClientState::RESET ||
                       state == SimTransport::ClientState::REFUSED;
    if (ended) in_ += transport.client_take(number_);
    while (take_answer(wrong)) {
    }
    if (left_ == 0 && asked_.empty() && !ended) transport.client_half_close(number_);
    if (!ended) return;
    cut += asked_.size();
    connected_ = false;
    asked_.clear();
    in_.clear();
    out_.clear();
  }

 private:
  struct Request {
    std::string path, body;
    bool head = false;
  };

  void connect() {
    reactor_ = prng_.below(world_.reactors());
    PeerAddress peer;
    peer.family = AF_INET;
    peer.ip[0] = 127;
    peer.ip[3] = static_cast<uint8_t>(1 + prng_.below(5));
    number_ = world_.transport(reactor_).client_connect(SimWorld::LISTENER, peer);
    connected_ = true;
  }

  void ask() {
    --left_;
    static constexpr uint32_t SIZES[] = {0, 1, 100, 3'000, 40'000, 300'000};
    Request request;
    const std::string own = std::to_string(name_) + "-" + std::to_string(left_) + "/";
    request.path = prng_.one_in(6) ? "/app/file/" + own + std::to_string(prng_.below(100'000))
                                   : "/app/" + own + std::to_string(SIZES[prng_.below(std::size(SIZES))]);
    request.head = prng_.one_in(8);
    const std::string to = request.path + " HTTP/1.1\r\nHost: sim.test\r\n";
    if (!request.head && prng_.one_in(3)) {
      request.body.assign(prng_.below(60'000), 'b');
      const std::string expect = prng_.one_in(4) ? "Expect: 100-continue\r\n" : "";
      if (prng_.one_in(2)) {
        out_ += "POST " + to + expect + "Content-Length: " + std::to_string(request.body.size()) + "\r\n\r\n" +
                request.body;
      } else {
        out_ += "POST " + to + expect + "Transfer-Encoding: chunked\r\n\r\n";
        for (size_t at = 0; at < request.body.size();) {
          const size_t size = std::min<size_t>(request.body.size() - at, 1 + prng_.below(9000));
          char hex[16];
          (void)std::snprintf(hex, sizeof hex, "%zx\r\n", size);
          out_ += hex + request.body.substr(at, size) + "\r\n";
          at += size;
        }
        out_ += "0\r\n\r\n";
      }
    } else {
      out_ += (request.head ? "HEAD " : "GET ") + to + "\r\n";
    }
    asked_.push_back(std::move(request));
  }

  bool take_answer(std::vector<std::string>& wrong) {
    const size_t head_end = in_.find("\r\n\r\n");
    if (head_end == std::string::npos) return false;
    const std::string head = in_.substr(0, head_end + 4);
    if (asked_.empty()) {
      wrong.push_back("an answer to no request: " + head);
      return false;
    }
    const Request& request = asked_.front();
    const std::string status = head.substr(9, 3);
    if (status == "100") {
      in_.erase(0, head.size());
      return true;
    }
    std::string body;
    size_t used = head.size();
    if (!request.head && head.find("\r\nTransfer-Encoding: chunked\r\n") != std::string::npos) {
      // Decoded once it is whole: again with each piece takes more time than all else.
      if (in_.find("\r\n0\r\n\r\n", head_end + 2) == std::string::npos) return false;
      ChunkDecoder decoder;
      while (true) {
        const ChunkStep step = decoder.next(std::string_view(in_).substr(used));
        used += step.consumed;
        if (step.state == ChunkState::DATA) body += step.data;
        if (step.state == ChunkState::NEED_MORE) return false;
        if (step.state == ChunkState::BAD) wrong.push_back("bad chunks behind " + head);
        if (step.state != ChunkState::DATA) break;
      }
    } else if (!request.head) {
      const size_t at = head.find("\r\nContent-Length: ");
      const size_t size = at == std::string::npos
                              ? 0
                              : parse_decimal(head.substr(at + 18, head.find("\r\n", at + 2) - at - 18)).value_or(0);
      if (in_.size() < used + size) return false;
      body = in_.substr(used, size);
      used += size;
    }
    if (status == "200") {
      ++right;
      if (head.find("\r\nX-Path: " + request.path + "\r\n") == std::string::npos) {
        wrong.push_back("another's head for " + request.path + ": " + head);
      }
      if (!request.head && body != expected_body(request.path, request.body)) {
        wrong.push_back("another's body for " + request.path + ": " + std::to_string(body.size()) + " bytes, " +
                        body.substr(0, 60));
      }
    } else if (status == "502" || status == "503" || status == "405") {  // 405: POST to what stands for the pool
      ++refused;
    } else {
      wrong.push_back("unexpected: " + head);
    }
    in_.erase(0, used);
    asked_.pop_front();
    return true;
  }

  SimWorld& world_;
  Prng prng_;
  uint32_t name_;
  uint32_t left_;
  uint32_t reactor_ = 0;
  uint32_t number_ = 0;
  bool connected_ = false;
  std::string out_, in_;
  std::deque<Request> asked_;
};

void run_pools_seed(uint64_t seed, bool with_faults) {
  Prng prng(seed);
  SimOptions options;
  options.seed = seed;
  options.reactors = 1 + prng.below(3);
  options.config = POOLS_CONFIG;
  SimWorkerFaults worker_faults;
  if (with_faults) {
    options.transport = SimFaults::from_seed(seed);
    worker_faults = {.die = 60 + prng.below(200),
                     .lie = prng.one_in(2) ? 100 + prng.below(200) : 0,
                     .hang = prng.one_in(2) ? 300U : 0U,
                     .abort = prng.one_in(2) ? 10U : 0};
  }
  SimWorld world(options);
  world.tree().put(std::string(PART_FILE), part_file_bytes(), world.clock().wall());
  world.advance(seconds(1));
  SimPools pools(world, "p", prng.next(), worker_faults);
  std::vector<std::unique_ptr<AppClient>> clients;
  for (uint32_t i = 0; i < 2 + prng.below(8); ++i) {
    clients.push_back(std::make_unique<AppClient>(world, prng.next(), i));
  }
  std::vector<std::string> wrong;
  const auto round = [&](bool calm) {
    for (auto& client : clients) client->act(calm, wrong);
    world.step();
    pools.step();
  };
  for (int turn = 0; turn < 300 && wrong.empty(); ++turn) {
    round(!with_faults);
    if (prng.one_in(50)) pools.recycle();
    if (with_faults && prng.one_in(60)) {
      static constexpr PoolService SERVICES[] = {PoolService::SERVING, PoolService::STOPPED, PoolService::FAILED};
      world.pools().set_service("p", SERVICES[prng.below(3)]);
    }
    if (with_faults && prng.one_in(60)) world.apply(prng.one_in(3) ? CONFIG_WITHOUT : POOLS_CONFIG);
  }
  world.stop_faults();
  pools.stop_faults();
  world.apply(POOLS_CONFIG);
  world.pools().set_service("p", PoolService::SERVING);
  const auto all_done = [&] { return std::ranges::all_of(clients, [](const auto& client) { return client->done(); }); };
  for (int turn = 0; turn < 60'000 && wrong.empty() && !all_done(); ++turn) round(true);
  ASSERT_TRUE(wrong.empty()) << "seed " << seed << ": " << wrong.front();
  for (auto& client : clients) ASSERT_TRUE(client->done()) << "seed " << seed << " does not end: " << client->state();
  uint64_t right = 0;
  uint64_t refused = 0;
  for (auto& client : clients) {
    right += client->right;
    refused += client->refused + (with_faults ? 0 : client->cut);
  }
  if (!with_faults) {
    ASSERT_EQ(refused, 0U) << "seed " << seed;
    ASSERT_GT(right, 0U);
  }
  ASSERT_LE(pools.open_max(), 3U) << "seed " << seed;  // pool.p.concurrency
  for (int turn = 0; turn < 2000 && world.open_requests() > 0; ++turn) round(true);
  // Twice: bytes that a client left behind renew the patience for its connection once more.
  for (int times = 0; times < 2; ++times) {
    world.advance(seconds(300));
    for (int turn = 0; turn < 300; ++turn) round(true);
  }
  const std::vector<std::string> faults = world.faults_at_end(right);
  ASSERT_TRUE(faults.empty()) << "seed " << seed << ": " << faults.front();
}

TEST(SimPools, every_request_gets_its_own_answer_from_workers_that_keep_the_rules) {
  for (uint64_t seed = 1; seed <= number_from("PENSTOCK_SIM_SEEDS", POOL_SEEDS) / 4; ++seed) {
    run_pools_seed(seed, false);
    if (HasFatalFailure()) return;
  }
}

TEST(SimPools, every_request_gets_its_own_answer_or_an_honest_end_from_workers_that_die_lie_and_hang) {
  if (const uint64_t one = number_from("PENSTOCK_SIM_SEED", 0); one != 0) return run_pools_seed(one, true);
  for (uint64_t seed = 1; seed <= number_from("PENSTOCK_SIM_SEEDS", POOL_SEEDS); ++seed) {
    run_pools_seed(seed, true);
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace penstock
