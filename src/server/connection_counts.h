// ConnectionCounts: how many connections are open, in all and per client, in memory that all servers share.
//
// Made by the supervisor, once, and mapped by each server it starts. Two servers may live at a time, while one takes
// over from the other: each counts under a place of its own (0 or 1), and limits hold for both together. A server that
// is killed leaves its counts behind; once it is reaped the supervisor calls forget(), and they count no more. Any
// thread of any of them may call.
//
// The total is one word, 32 bits a place, so that "is there room, and then it is mine" is one compare-and-swap. Clients
// are in a hash table in 64 shards, each behind a robust mutex: whoever locks it after its holder was killed goes on
// with it, since what is changed under it is one word at a time. A number of a client is of the epoch of its place,
// which forget() moves on: nothing is swept.
//
// The supervisor trusts nothing in here: it only adds to two words and masks a third.
#pragma once

#include "src/base/result.h"
#include "src/base/shared_memory.h"
#include "src/base/unique_fd.h"

#include <cstdint>

namespace penstock {

class ConnectionCounts {
 public:
  static constexpr uint32_t PLACES = 2;

  // Room for the clients of two servers with `connections_max` connections each.
  [[nodiscard]] static Result<ConnectionCounts> create(uint32_t connections_max, uint64_t seed);
  // Of a descriptor that create() made, in another process.
  [[nodiscard]] static Result<ConnectionCounts> map(UniqueFd fd);

  // What another process may map. As long as this lives.
  [[nodiscard]] const UniqueFd& fd() const { return fd_; }

  // What a server at `place` had open is open no more. REQUIRES: none is there, or it has not counted yet.
  void forget(uint32_t place);

  // Takes one of `total_max`, and where `client_max` is not 0 one of those that this client may have; or says why not.
  // What was ADMITTED is given back by leave() with the same `client` (nullptr: it was not counted by client).
  enum class Answer : uint8_t { ADMITTED, OVER_TOTAL, OVER_CLIENT };
  [[nodiscard]] Answer enter(uint32_t place, uint32_t total_max);
  [[nodiscard]] Answer enter(uint32_t place, uint32_t total_max, uint64_t client, uint32_t client_max);
  void leave(uint32_t place, const uint64_t* client);
  // Counts one that was ADMITTED without its client from now on by client too, however many that has. False: there is
  // no room.
  [[nodiscard]] bool add(uint32_t place, uint64_t client);

  // What tells clients apart is hashed with this, so that nobody can choose where he lands.
  [[nodiscard]] uint64_t seed() const;
  [[nodiscard]] uint64_t open() const;  // of both places

 private:
  struct Layout;
  struct Shard;
  struct Bucket;
  struct Entry;
  class Held;

  ConnectionCounts(UniqueFd fd, SharedMapping memory, uint32_t buckets);
  [[nodiscard]] Layout& layout() const;
  [[nodiscard]] Bucket& bucket(uint64_t client, uint32_t step) const;
  [[nodiscard]] uint32_t count(const Entry& entry) const;
  [[nodiscard]] Entry* find(uint64_t client, uint32_t& steps) const;
  [[nodiscard]] Entry* find_free(uint64_t client, uint32_t& steps) const;
  struct Seat;
  [[nodiscard]] Seat seat_of(uint64_t client) const;
  void take(const Seat& seat, uint32_t place, uint64_t client);

  UniqueFd fd_;
  SharedMapping memory_;
  uint32_t buckets_;  // of a shard, a power of two; our own copy
};

}  // namespace penstock
