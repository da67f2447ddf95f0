// LoadClients: HTTP/1.1 clients on one of our own engines, the load of a measurement past the kernel. No DPDK, no
// clock.
//
// Closed loop: each connection asks again as soon as it has its answer. Open loop (`rate`): requests fall due at fixed
// times whatever the server does; one that finds no free connection waits for one, and its latency counts from when it
// was due, so that a server that stands still is seen by all who would have come meanwhile (no coordinated omission).
// With `give_up` nobody waits longer than that, neither for a free connection nor for the answer to his SYN: he goes,
// is counted, and does not come again. So what is offered stays what it is, however little of it is served; and as it
// is less than a SYN's time-out, no SYN is sent twice. Every byte of every body is compared with what it should be.
#pragma once

#include "perf/load/latency.h"
#include "src/net/net_stack.h"

#include <array>
#include <deque>
#include <span>
#include <string>
#include <vector>

namespace penstock {

struct LoadPlan {
  IpAddress to;
  uint16_t port = 80;
  std::string path = "/";
  std::string body;  // of the right answer
  uint32_t connections = 64;
  uint32_t pipeline = 1;  // requests of one connection at a time
  bool close = false;     // one request a connection: a new one for each
  uint64_t rate = 0;      // requests a second, of all; 0: closed loop. Not with pipeline
  Duration give_up = {};  // by close and rate: how long one waits; zero: as long as it takes
};

struct LoadResult {
  uint64_t requests = 0;  // answered rightly
  uint64_t connects = 0;
  uint64_t wrong = 0;     // answers with another status, size or byte
  uint64_t failed = 0;    // connections that were reset or timed out, or ended in the midst of an answer
  uint64_t refused = 0;   // by our own engine: no slot, no port
  uint64_t given_up = 0;  // waited for longer than LoadPlan::give_up
  uint64_t late_max = 0;  // open loop: the most that waited for a free connection
  LatencyCounts latency;
};

class LoadClients {
 public:
  static constexpr uint32_t PIPELINE_MAX = 64;

  LoadClients(NetStack& stack, LoadPlan plan);

  // One turn: what came, what is due. True: something came.
  bool turn(MonoTime now);
  // From here on it counts.
  void start_counting() { result_ = {}; }
  // Asks no more.
  void stop() { stopping_ = true; }
  // Ends all connections by RST, so that the server waits for nobody. After stop().
  void hang_up();
  [[nodiscard]] const LoadResult& result() const { return result_; }
  [[nodiscard]] uint32_t asked() const { return asked_; }  // and not yet answered
  [[nodiscard]] uint32_t connected() const { return connected_; }

 private:
  static constexpr size_t HEAD_BYTES_MAX = 2'048;

  struct alignas(64) Client {  // all that the usual answer needs is in two lines of the cache
    Handle conn;
    uint32_t first = 0;
    uint32_t asked = 0;
    uint32_t answered = 0;  // in this turn
    uint32_t body_at = 0;
    bool in_body = false;
    bool open = false;
    std::string head;                             // the part of it that has come, where it came in parts
    std::array<MonoTime, PIPELINE_MAX> due = {};  // of those asked, a ring
  };

  void connect(Client& client, MonoTime due);
  void connect_due(MonoTime now);
  void give_up(MonoTime now);
  void handle(const NetEvent& event, MonoTime now);
  void receive(Client& client, std::span<const char> bytes, MonoTime now);
  [[nodiscard]] size_t take_head(Client& client, std::span<const char> bytes);
  void answered(Client& client, MonoTime now);
  [[nodiscard]] bool ask(Client& client, uint32_t count, MonoTime due);
  void end(Client& client, bool with_reset);
  void go_on(MonoTime now);
  [[nodiscard]] bool head_is_right(std::string_view head) const;

  NetStack& stack_;
  LoadPlan plan_;
  std::array<NetEvent, 128> events_;
  std::string requests_;  // PIPELINE_MAX of them
  uint32_t request_bytes_ = 0;
  std::string content_length_;
  uint32_t usual_head_bytes_ = 0;
  std::vector<Client> clients_;
  std::vector<Client*> ready_;    // may ask
  std::vector<Client*> unready_;  // to be connected
  std::vector<Client*> clients_to_connect_;
  std::deque<MonoTime> late_;  // due, and without a connection
  struct Attempt {
    Client* client;
    Handle conn;
    MonoTime since;
  };
  std::deque<Attempt> attempts_;  // with `give_up`: oldest first
  MonoTime next_due_;
  LoadResult result_;
  uint32_t asked_ = 0;
  uint32_t connected_ = 0;
  bool stopping_ = false;
};

}  // namespace penstock
