// NetWorld: two engines on a SimLink, and users of their connections that know every byte that must come.
#pragma once

#include "src/net/net_stack.h"
#include "tests/net_sim/silly_peer.h"
#include "tests/support/sim_link.h"

#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace penstock {

// What one end of a connection does. Its bytes are a function of the connection's number, the direction and the offset.
struct UserPlan {
  uint64_t send_bytes = 0;
  uint32_t chunk_max = 4'000;  // of a send()
  uint32_t unacknowledged_max = 64'000;
  uint32_t hold_buffers = 0;          // RECEIVED buffers kept before any is released: a slow reader
  bool pauses = false;                // turns receiving off and on
  bool closes_at_peer_close = true;   // else close() as soon as all is sent
  uint64_t abort_after = UINT64_MAX;  // reset() once so many bytes were received
};

class NetWorld {
 public:
  static constexpr uint16_t PORT = 80;

  // `silliness`: the client is a SillyPeer, with these bits.
  NetWorld(uint64_t seed, const LinkOptions& link, const NetConfig& client, const NetConfig& server,
           uint32_t silliness = 0);
  ~NetWorld();

  // The client's end connects now; what the server's end does is `server`.
  void open(const UserPlan& client, const UserPlan& server, bool v6 = false);
  // Lets time pass until nobody has anything to do, or `limit` is reached. True: all connections have ended.
  bool run(MonoTime limit);
  // Lets time pass until nothing is lent any more, or 400 s: for what still speaks of closed connections, and
  // TIME-WAIT.
  void rest();
  void advance(Duration by) { now_ = now_ + by; }
  [[nodiscard]] MonoTime now() const { return now_; }
  [[nodiscard]] NetStack& stack(size_t which) { return *stacks_[which]; }
  [[nodiscard]] SimLink& link() { return link_; }
  [[nodiscard]] SillyPeer& silly() { return *silly_; }
  [[nodiscard]] bool all_ended() const;
  // Both users of each connection that has not ended close it, as after a time-out of theirs.
  void give_up();

  struct Outcome {
    uint32_t exact = 0;   // both directions arrived whole, both ends saw the end
    uint32_t failed = 0;  // an end was told of a failure, what had come until then was right
  };
  [[nodiscard]] Outcome outcome() const;
  // What is wrong: bytes that were not sent, ends that were not told, things still lent. Empty: nothing.
  [[nodiscard]] std::string faults(bool at_rest);

  // Addresses of the two ends.
  static NetConfig config(size_t which);

 private:
  struct Block {
    std::vector<uint8_t> bytes;
    std::vector<uint16_t> sums;
  };
  struct User {
    UserPlan plan;
    Handle conn;
    uint32_t number = 0;
    size_t side = 0;
    uint64_t queued = 0;
    uint64_t acknowledged = 0;
    uint64_t received = 0;
    std::map<uint64_t, std::unique_ptr<Block>> blocks;  // by token: the memory of sends
    std::vector<uint32_t> buffers;
    bool connected = false;
    bool peer_closed = false;
    bool failed = false;
    bool aborted = false;
    bool ended = false;  // close() or reset() was called
    bool closed_due = false;
    bool paused = false;
    MonoTime resumes;
  };
  struct Pair {
    std::unique_ptr<User> ends[2];
    UserPlan server_plan;
    TcpTuple tuple;
  };

  void turn(size_t side);
  void handle(size_t side, const NetEvent& event);
  void act(User& user);
  void send_some(User& user);
  void receive(User& user, const NetEvent& event);
  void release(User& user);
  void finish(User& user, bool with_reset);
  void complain(const User* user, const std::string& what);
  [[nodiscard]] uint8_t byte_of(uint32_t number, size_t from_side, uint64_t offset) const {
    const uint64_t word = hash_word((uint64_t{number} << 33 | uint64_t{from_side} << 32) + offset / 8 + 1);
    return static_cast<uint8_t>(word >> (offset % 8 * 8));
  }

  MonoTime now_;
  Prng prng_;
  SimLink link_;
  uint32_t silliness_;
  std::unique_ptr<SillyPeer> silly_;
  std::unique_ptr<NetStack> stacks_[2];
  std::vector<std::unique_ptr<Pair>> pairs_;
  std::vector<User*> busy_[2];
  uint64_t next_token_ = 1;
  std::string complaints_;
};

}  // namespace penstock
