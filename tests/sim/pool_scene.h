// PoolScene: one reactor of the simulator, a pool "p" under /app, clients, and workers whose every word the test says.
#pragma once

#include "pool/ring/worker_link.h"
#include "tests/sim/sim_world.h"
#include "tests/support/plain_channel.h"

#include <algorithm>
#include <deque>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <string_view>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace penstock {

using Fields = std::vector<std::pair<std::string_view, std::string_view>>;

inline const std::string SITE =
    "site.s.hosts = *\nsite.s.root = /sim\nlimits.send_rate_min = 0\nlog.access.path = /sim.log\n"
    "site.s.route.app.prefix = /app\n";
inline const std::string ROUTE = "site.s.route.app.handler = pool\nsite.s.route.app.pool = p\n";
inline const std::string CONFIG = SITE + ROUTE + "pool.p.app = /app\npool.p.concurrency = 2\npool.p.queue_max = 3\n";

// A worker process that does nothing by itself.
struct HandWorker {
  struct Request {
    Handle exchange;
    std::string method, path;
    std::string body;
    bool whole = false;
    penstock_to_worker asked = PENSTOCK_REQUEST;
    uint16_t status = 0;  // of a filter's
  };

  HandWorker(SimWorld& its_world, uint64_t number, std::string_view pool = "p")
      : world(its_world), bell(::eventfd(0, EFD_NONBLOCK)) {
    std::vector<UniqueFd> bells;
    bells.emplace_back(::fcntl(bell.get(), F_DUPFD_CLOEXEC, 3));
    world.pools().add_in_memory(pool, number, 1, {memory.memory}, std::move(bells));
    link = std::make_unique<WorkerLink>(memory.memory);
  }

  void hear() {
    WorkerEvent event;
    while (link->next(event)) {
      if (event.kind == WorkerEvent::Kind::REQUEST) {
        const auto text = [&](penstock_text at) {
          return std::string(reinterpret_cast<const char*>(event.head) + at.at, at.bytes);
        };
        requests.push_back({.exchange = event.exchange,
                            .method = text(event.head->method),
                            .path = text(event.head->path),
                            .body = std::string(event.body),
                            .whole = event.end,
                            .asked = event.asked,
                            .status = event.status});
      }
      if (event.kind == WorkerEvent::Kind::CANCEL) cancelled.push_back(event.exchange);
      if (event.kind != WorkerEvent::Kind::BODY) continue;
      for (Request& request : requests) {
        if (request.exchange != event.exchange) continue;
        request.body += event.body;
        request.whole = event.end;
      }
      if (reads && !link->consumed(event.exchange, 1)) ADD_FAILURE() << "no room for one word";
    }
  }

  void ring() {
    (void)link->flush();
    const uint64_t one = 1;
    (void)!::write(bell.get(), &one, sizeof one);
    world.ring(0);
  }

  void answer(Handle exchange, std::string_view body, const Fields& fields = {}, uint16_t status = 200) {
    ASSERT_TRUE(link->send_head(exchange, {.status = status, .length = body.size(), .fields = fields}, body, true));
    ring();
  }

  void pass(Handle exchange, const WorkerVerdict& verdict = {}) {
    ASSERT_TRUE(link->send_verdict(exchange, verdict));
    ring();
  }

  // What no worker may say, behind all that was said so far.
  void lie() {
    (void)link->flush();
    const uint32_t tail = memory.worker.response_tail;
    penstock_descriptor lie{};
    lie.kind = 255;
    memory.responses[tail % memory.responses.size()] = lie;
    memory.worker.response_tail = tail + 1;
    const uint64_t one = 1;
    (void)!::write(bell.get(), &one, sizeof one);
    world.ring(0);
  }

  SimWorld& world;
  PlainChannel memory{
      SegmentShape{.entries = 64, .exchanges_max = 8, .chunk_bytes = 16'384, .chunks = 24, .arena_bytes = 1 << 18}};
  UniqueFd bell;
  std::unique_ptr<WorkerLink> link;
  std::deque<Request> requests;
  std::vector<Handle> cancelled;
  bool reads = true;  // bodies: their chunks are given back
};

class PoolScene : public testing::Test {
 protected:
  explicit PoolScene(std::string config = CONFIG, uint32_t connections_max = 64)
      : world({.seed = 1, .reactors = 1, .config = std::move(config), .connections_max = connections_max}) {}

  void TearDown() override {
    for (const uint32_t client : clients) world.transport(0).client_reset(client);
    for (uint64_t number = 1; number <= workers.size(); ++number) world.pools().gone(number);
    turn(20);
    world.advance(seconds(300));
    turn(20);
    EXPECT_EQ(world.faults_at_end(0), std::vector<std::string>{});
  }

  HandWorker& start(std::string_view pool = "p") {
    workers.push_back(std::make_unique<HandWorker>(world, workers.size() + 1, pool));
    turn(4);
    return *workers.back();
  }
  void turn(int times = 8) {
    for (int i = 0; i < times; ++i) {
      world.step();
      for (const auto& worker : workers) {
        worker->hear();
        if (worker->link->flush()) worker->ring();
      }
      if (turn_rings) {
        for (const auto& worker : workers) worker->ring();
      }
    }
  }
  uint32_t connect(uint8_t host = 1) {
    PeerAddress peer;
    peer.family = AF_INET;
    peer.ip[0] = 127;
    peer.ip[3] = host;
    clients.push_back(world.transport(0).client_connect(SimWorld::LISTENER, peer));
    return clients.back();
  }
  uint32_t ask(std::string_view text, uint8_t host = 1) {
    const uint32_t client = connect(host);
    world.transport(0).client_send(client, text);
    turn();
    return client;
  }
  void say(uint32_t client, std::string_view text) {
    world.transport(0).client_send(client, text);
    turn();
  }
  std::string take(uint32_t client) {
    std::string all;
    for (int i = 0; i < 40; ++i) {
      turn(1);
      all += world.transport(0).client_take(client);
    }
    return all;
  }
  SimTransport::ClientState state(uint32_t client) { return world.transport(0).client_state(client); }
  // What the reactor reported of its workers, since the last call.
  std::vector<PoolReport::Kind> reports() {
    uint64_t dropped = 0;
    std::vector<PoolReport::Kind> kinds;
    for (const PoolReport& report : world.pool_reports().take(dropped)) kinds.push_back(report.kind);
    return kinds;
  }

  SimWorld world;
  std::vector<std::unique_ptr<HandWorker>> workers;
  std::vector<uint32_t> clients;
  bool turn_rings = true;
};

inline const std::string GET = "GET /app/a HTTP/1.1\r\nHost: h\r\n\r\n";

inline bool has(const std::vector<PoolReport::Kind>& kinds, PoolReport::Kind kind) {
  return std::ranges::find(kinds, kind) != kinds.end();
}

inline std::string status_of(const std::string& answer) { return answer.size() < 12 ? answer : answer.substr(9, 3); }

inline size_t count_of(const std::string& text, std::string_view what) {
  size_t count = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

}  // namespace penstock
