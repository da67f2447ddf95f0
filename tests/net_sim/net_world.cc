#include "tests/net_sim/net_world.h"

#include "src/net/wire/checksum.h"

#include <algorithm>
#include <cstring>

namespace penstock {

NetConfig NetWorld::config(size_t which) {
  NetConfig config;
  config.addresses.mac = {{2, 0, 0, 0, 0, static_cast<uint8_t>(which + 1)}};
  config.addresses.v4 = IpAddress::v4(10, 0, 0, static_cast<uint8_t>(which + 1));
  config.addresses.v6.bytes = {0xfd, 1};
  config.addresses.v6.bytes[15] = static_cast<uint8_t>(which + 1);
  config.limits = {.connections_max = 64,
                   .half_open_max = 32,
                   .send_pieces_max = 512,
                   .receive_holds_max = 2'048,
                   .holds_per_connection_max = 256,
                   .scoreboards_max = 32,
                   .receive_window_bytes = 256 * 1'024};
  // Who has nothing to say learns of a reset that was lost from this alone.
  config.times.keepalive_idle = seconds(40);
  config.times.keepalive_interval = seconds(5);
  config.times.keepalive_probes = 4;
  config.secret = {0x1234567890abcdef + which, 0xfedcba0987654321};
  return config;
}

NetWorld::NetWorld(uint64_t seed, const LinkOptions& link, const NetConfig& client, const NetConfig& server,
                   uint32_t silliness)
    : now_{static_cast<int64_t>(1'000'000'000'000 + (hash_word(seed) >> 20))},
      prng_(seed),
      link_(seed + 1, link),
      silliness_(silliness) {
  link_.set_now(now_);
  if (silliness != 0) silly_ = std::make_unique<SillyPeer>(link_.end(0), seed + 2, silliness);
  PacketDevice& device = silly_ != nullptr ? static_cast<PacketDevice&>(*silly_) : link_.end(0);
  stacks_[0] = std::make_unique<NetStack>(client, device, now_);
  stacks_[1] = std::make_unique<NetStack>(server, link_.end(1), now_);
  ASSERT(stacks_[1]->listen(PORT, 7));
}

NetWorld::~NetWorld() = default;

void NetWorld::complain(const User* user, const std::string& what) {
  if (complaints_.size() > 2'000) return;
  if (user != nullptr)
    complaints_ += std::string(user->side == 0 ? "client " : "server ") + std::to_string(user->number) + ": ";
  complaints_ += what + "\n";
}

void NetWorld::open(const UserPlan& client, const UserPlan& server, bool v6) {
  const NetConfig there = config(1);
  const Handle conn = stacks_[0]->connect(v6 ? there.addresses.v6 : there.addresses.v4, PORT);
  if (!conn.valid()) {
    complain(nullptr, "connect() refused");
    return;
  }
  auto pair = std::make_unique<Pair>();
  pair->server_plan = server;
  pair->tuple = stacks_[0]->tuple(conn);
  pair->ends[0] = std::make_unique<User>();
  User& user = *pair->ends[0];
  user.plan = client;
  user.conn = conn;
  user.number = static_cast<uint32_t>(pairs_.size());
  stacks_[0]->set_context(conn, &user);
  busy_[0].push_back(&user);
  pairs_.push_back(std::move(pair));
}

bool NetWorld::all_ended() const {
  return std::all_of(pairs_.begin(), pairs_.end(), [](const auto& pair) {
    return pair->ends[0]->ended && !pair->ends[0]->closed_due &&
           (pair->ends[1] == nullptr || (pair->ends[1]->ended && !pair->ends[1]->closed_due));
  });
}

bool NetWorld::run(MonoTime limit) {
  for (uint64_t turns = 0; !all_ended(); ++turns) {
    turn(prng_.below(2));
    turn(0);
    turn(1);
    MonoTime next = std::min({link_.next_event(), stacks_[0]->next_deadline(), stacks_[1]->next_deadline()});
    for (const auto& users : busy_) {
      for (const User* user : users) {
        if (user->paused) next = std::min(next, user->resumes);
      }
    }
    if (next >= limit) {  // or what was left unsent in the last turn has still to go
      for (const auto& stack : stacks_) stack->submit();
      next = link_.next_event();
      if (next >= limit) return all_ended();
    }
    now_ = std::max(next, now_ + microseconds(5));
    link_.set_now(now_);
    if (turns > 20'000'000) return false;
  }
  return true;
}

void NetWorld::rest() {
  const auto lends = [](const auto& stack) { return stack->lent() != NetStack::Lent{}; };
  for (int i = 0; i < 400 && (lends(stacks_[0]) || lends(stacks_[1]) || link_.lent() != 0); ++i) {
    advance(seconds(1));
    link_.set_now(now_);
    NetEvent events[8];
    for (const auto& stack : stacks_) {
      for (size_t count = stack->poll(now_, events); count != 0; count = stack->poll(now_, events)) {
        for (size_t k = 0; k < count; ++k) {
          if (events[k].kind == NetEventKind::ACCEPTED) stack->reset(events[k].conn);
        }
      }
    }
  }
}

void NetWorld::turn(size_t side) {
  NetEvent events[32];
  const size_t room = 1 + prng_.below(32);
  const size_t count = stacks_[side]->poll(now_, {events, room});
  for (size_t i = 0; i < count; ++i) handle(side, events[i]);
  std::erase_if(busy_[side], [](const User* user) { return user->ended; });
  for (User* user : std::vector<User*>(busy_[side])) act(*user);
  if (prng_.one_in(2)) stacks_[side]->submit();
}

void NetWorld::handle(size_t side, const NetEvent& event) {
  if (event.kind == NetEventKind::ACCEPTED) {
    const TcpTuple& tuple = stacks_[side]->tuple(event.conn);
    for (const auto& pair : pairs_) {
      if (pair->tuple.local_port != tuple.remote_port || pair->tuple.local != tuple.remote || pair->ends[1] != nullptr)
        continue;
      pair->ends[1] = std::make_unique<User>();
      User& user = *pair->ends[1];
      user.plan = pair->server_plan;
      user.conn = event.conn;
      user.number = pair->ends[0]->number;
      user.side = 1;
      user.connected = true;
      stacks_[side]->set_context(event.conn, &user);
      busy_[1].push_back(&user);
      return;
    }
    stacks_[side]->reset(event.conn);  // of one that its opener has given up
    return;
  }
  User* user = static_cast<User*>(event.context);
  if (user == nullptr) return complain(nullptr, "an event without context");
  if (event.kind == NetEventKind::RECEIVED) return receive(*user, event);
  if (event.kind == NetEventKind::CLOSED) {
    if (!user->closed_due) complain(user, "CLOSED that was not due");
    user->closed_due = false;
    user->blocks.clear();
    return;
  }
  if (user->ended) return;  // it crossed our close()
  switch (event.kind) {
    case NetEventKind::CONNECTED:
      user->connected = true;
      break;
    case NetEventKind::PEER_CLOSED:
      if (user->peer_closed) complain(user, "PEER_CLOSED twice");
      user->peer_closed = true;
      break;
    case NetEventKind::SENT: {
      const auto block = user->blocks.find(event.token);
      if (block == user->blocks.end()) return complain(user, "SENT of what was not sent");
      if (block != user->blocks.begin()) complain(user, "SENT out of order");
      user->acknowledged += block->second->bytes.size();
      std::memset(block->second->bytes.data(), 0xdd, block->second->bytes.size());  // who still reads it is found out
      user->blocks.erase(block);
      break;
    }
    case NetEventKind::FAILED:
      user->failed = true;
      finish(*user, false);
      break;
    default:
      break;
  }
}

void NetWorld::receive(User& user, const NetEvent& event) {
  if (user.ended) {
    stacks_[user.side]->release(event.buffer);
    return;
  }
  if (user.peer_closed) complain(&user, "bytes after PEER_CLOSED");
  const bool may_differ = user.side == 1 && (silliness_ & OVERLAPS_OTHERWISE) != 0;
  for (uint32_t i = 0; i < event.size; ++i) {
    const uint8_t sent = byte_of(user.number, 1 - user.side, user.received + i);
    if (event.data[i] != sent && !(may_differ && event.data[i] == static_cast<uint8_t>(~sent))) {
      complain(&user, "wrong byte at " + std::to_string(user.received + i));
      break;
    }
  }
  user.received += event.size;
  user.buffers.push_back(event.buffer);
  if (user.buffers.size() > user.plan.hold_buffers) {
    release(user);
    if (user.plan.pauses && prng_.one_in(8)) {
      user.paused = true;
      user.resumes = now_ + milliseconds(1 + prng_.below(400));
      stacks_[user.side]->set_receiving(user.conn, false);
    }
  }
}

// In any order.
void NetWorld::release(User& user) {
  while (!user.buffers.empty()) {
    const size_t index = prng_.below(static_cast<uint32_t>(user.buffers.size()));
    stacks_[user.side]->release(user.buffers[index]);
    user.buffers.erase(user.buffers.begin() + static_cast<ptrdiff_t>(index));
  }
}

void NetWorld::act(User& user) {
  if (user.ended) return;
  if (prng_.one_in(6)) release(user);  // what it holds may be all of the window
  if (user.paused && now_ >= user.resumes) {
    user.paused = false;
    stacks_[user.side]->set_receiving(user.conn, true);
  }
  if (user.received >= user.plan.abort_after) {
    user.aborted = true;
    return finish(user, true);
  }
  send_some(user);
  if (user.queued < user.plan.send_bytes) return;
  if (!user.plan.closes_at_peer_close) {
    // Only who has heard all may leave for good; else a half-close, and wait.
    if (user.peer_closed) return finish(user, false);
    return stacks_[user.side]->shutdown_send(user.conn);
  }
  if (user.peer_closed)
    finish(user, false);
  else if (user.side == 0)
    stacks_[user.side]->shutdown_send(user.conn);
}

void NetWorld::send_some(User& user) {
  while (user.queued < user.plan.send_bytes && user.queued - user.acknowledged < user.plan.unacknowledged_max) {
    const uint64_t left = user.plan.send_bytes - user.queued;
    auto block = std::make_unique<Block>();
    block->bytes.resize(std::min<uint64_t>(left, 1 + prng_.below(user.plan.chunk_max)));
    for (size_t i = 0; i < block->bytes.size(); ++i) block->bytes[i] = byte_of(user.number, user.side, user.queued + i);
    NetPart parts[4];
    size_t count = 0;
    size_t at = 0;
    const uint32_t stride = prng_.one_in(2) ? 0 : 100 + prng_.below(1'400);
    while (at < block->bytes.size()) {
      const size_t size =
          count == 3 ? block->bytes.size() - at : 1 + prng_.below(static_cast<uint32_t>(block->bytes.size() - at));
      parts[count++] = {.data = &block->bytes[at], .size = static_cast<uint32_t>(size)};
      at += size;
    }
    if (stride != 0 && count == 1) {
      for (size_t i = 0; i < block->bytes.size(); i += stride) {
        block->sums.push_back(
            internet_sum(std::span(block->bytes).subspan(i, std::min<size_t>(stride, block->bytes.size() - i))).value);
      }
      parts[0].sums = block->sums.data();
      parts[0].stride = stride;
    }
    if (!stacks_[user.side]->send(user.conn, {parts, count}, next_token_)) return;
    user.queued += block->bytes.size();
    user.blocks[next_token_++] = std::move(block);
  }
}

void NetWorld::finish(User& user, bool with_reset) {
  user.ended = true;
  for (const uint32_t buffer : user.buffers) stacks_[user.side]->release(buffer);
  user.buffers.clear();
  user.closed_due = with_reset ? stacks_[user.side]->reset(user.conn) : stacks_[user.side]->close(user.conn);
  if (!user.closed_due) {
    for (auto& [token, block] : user.blocks) std::memset(block->bytes.data(), 0xdd, block->bytes.size());
    user.blocks.clear();
  }
}

void NetWorld::give_up() {
  for (const auto& pair : pairs_) {
    for (const auto& user : pair->ends) {
      if (user == nullptr || user->ended) continue;
      user->aborted = true;
      finish(*user, false);
    }
  }
}

NetWorld::Outcome NetWorld::outcome() const {
  Outcome outcome;
  for (const auto& pair : pairs_) {
    const User& client = *pair->ends[0];
    const User* server = pair->ends[1].get();
    const bool exact = server != nullptr && client.peer_closed && server->peer_closed &&
                       client.received == server->plan.send_bytes && server->received == client.plan.send_bytes;
    if (exact)
      ++outcome.exact;
    else
      ++outcome.failed;
  }
  return outcome;
}

std::string NetWorld::faults(bool at_rest) {
  for (const auto& pair : pairs_) {
    const User& client = *pair->ends[0];
    const User* server = pair->ends[1].get();
    for (const User* user : {&client, server}) {
      if (user != nullptr && (!user->ended || user->closed_due))
        complain(user, user->ended ? "was not told CLOSED" : "has not ended");
    }
    const bool clean = (silliness_ & ~HARMLESS) != 0 || client.failed || client.aborted || server == nullptr ||
                       server->failed || server->aborted;
    if (clean) continue;
    if (!client.ended || !server->ended)
      complain(&client, "has not ended: received " + std::to_string(client.received) + ", the server " +
                            std::to_string(server->received));
    else if (client.received != server->plan.send_bytes || server->received != client.plan.send_bytes)
      complain(&client, "ended without all of its bytes");
  }
  if (link_.memory_changed != 0)
    complain(nullptr, "memory that a frame refers to changed before the frame was on the wire");
  for (size_t i = 0; at_rest && i < 2; ++i) {
    const NetStack::Lent lent = stacks_[i]->lent();
    if (lent != NetStack::Lent{}) {
      complain(nullptr, std::string(i == 0 ? "client" : "server") + " still lends: connections " +
                            std::to_string(lent.connections) + ", pieces " + std::to_string(lent.pieces) + ", holds " +
                            std::to_string(lent.holds) + ", scoreboards " + std::to_string(lent.scoreboards) +
                            ", half open " + std::to_string(lent.half_open) + ", TIME-WAIT " +
                            std::to_string(lent.time_wait));
    }
  }
  if (at_rest && link_.lent() != 0) complain(nullptr, "frames are still lent");
  return complaints_;
}

}  // namespace penstock
