#include "perf/load/load_clients.h"

#include <algorithm>
#include <cstring>

namespace penstock {
namespace {

constexpr std::string_view STATUS = "HTTP/1.1 200 ";
constexpr std::string_view BLANK_LINE = "\r\n\r\n";
constexpr size_t LATE_MAX = 1'000'000;

}  // namespace

LoadClients::LoadClients(NetStack& stack, LoadPlan plan) : stack_(stack), plan_(std::move(plan)) {
  plan_.pipeline = std::clamp<uint32_t>(plan_.close || plan_.rate != 0 ? 1 : plan_.pipeline, 1, PIPELINE_MAX);
  const std::string one =
      "GET " + plan_.path + " HTTP/1.1\r\nHost: load\r\n" + (plan_.close ? "Connection: close\r\n" : "") + "\r\n";
  request_bytes_ = static_cast<uint32_t>(one.size());
  for (uint32_t i = 0; i < plan_.pipeline; ++i) requests_ += one;
  content_length_ = "\r\nContent-Length: " + std::to_string(plan_.body.size()) + "\r\n";
  clients_.resize(plan_.connections);
  ready_.reserve(clients_.size());
  for (Client& client : clients_) unready_.push_back(&client);
}

bool LoadClients::turn(MonoTime now) {
  if (next_due_ == MonoTime{}) next_due_ = now;
  const size_t count = stack_.poll(now, events_);
  for (size_t i = 0; i < count; ++i) {
    __builtin_prefetch(events_[i].context);
    __builtin_prefetch(static_cast<const char*>(events_[i].context) + 64);
  }
  for (size_t i = 0; i < count; ++i) handle(events_[i], now);
  go_on(now);
  stack_.submit();
  return count != 0;
}

void LoadClients::handle(const NetEvent& event, MonoTime now) {
  Client& client = *static_cast<Client*>(event.context);
  if (event.conn != client.conn && event.kind != NetEventKind::CLOSED) {  // it was ended in this batch
    if (event.kind == NetEventKind::RECEIVED) stack_.release(event.buffer);
    return;
  }
  switch (event.kind) {
    case NetEventKind::CONNECTED:
      ++connected_;
      ++result_.connects;
      client.open = true;
      if (client.asked != 0) {  // by close: its request waits for this
        const NetPart part{.data = requests_.data(), .size = request_bytes_};
        if (!stack_.send(client.conn, {&part, 1}, 0)) end(client, true);
        break;
      }
      ready_.push_back(&client);
      break;
    case NetEventKind::RECEIVED:
      receive(client, {reinterpret_cast<const char*>(event.data), event.size}, now);
      stack_.release(event.buffer);
      break;
    case NetEventKind::PEER_CLOSED:
      if (client.asked != 0) ++result_.failed;
      end(client, false);
      break;
    case NetEventKind::FAILED:
      ++result_.failed;
      end(client, false);
      break;
    case NetEventKind::CLOSED:
      unready_.push_back(&client);
      break;
    case NetEventKind::SENT:
    case NetEventKind::ACCEPTED:
      break;
  }
}

void LoadClients::receive(Client& client, std::span<const char> bytes, MonoTime now) {
  while (!bytes.empty()) {
    if (!client.in_body) {
      const size_t used = take_head(client, bytes);
      if (used == 0) {
        ++result_.wrong;
        end(client, true);
        return;
      }
      bytes = bytes.subspan(used);
      if (!client.in_body) return;
    }
    const size_t size = std::min(bytes.size(), plan_.body.size() - client.body_at);
    if (std::memcmp(bytes.data(), plan_.body.data() + client.body_at, size) != 0) {
      ++result_.wrong;
      end(client, true);
      return;
    }
    client.body_at += static_cast<uint32_t>(size);
    bytes = bytes.subspan(size);
    if (client.body_at < plan_.body.size()) return;
    client.in_body = false;
    client.body_at = 0;
    answered(client, now);
  }
}

// Returns how many of `bytes` were the head's; 0: it is not that of a right answer, or nobody has asked.
size_t LoadClients::take_head(Client& client, std::span<const char> bytes) {
  if (client.asked == client.answered) return 0;
  std::string_view text(bytes.data(), bytes.size());
  if (client.head.empty()) {
    // All heads are of one size, as a rule.
    size_t end = usual_head_bytes_;
    if (end < BLANK_LINE.size() || text.size() < end ||
        text.substr(end - BLANK_LINE.size(), BLANK_LINE.size()) != BLANK_LINE) {
      const size_t found = text.find(BLANK_LINE);
      end = found == std::string_view::npos ? 0 : found + BLANK_LINE.size();
    }
    if (end != 0) {
      if (!head_is_right(text.substr(0, end))) return 0;
      usual_head_bytes_ = static_cast<uint32_t>(end);
      client.in_body = true;
      return end;
    }
  }
  const size_t before = client.head.size();
  client.head += text.substr(0, HEAD_BYTES_MAX);
  const size_t found = client.head.find(BLANK_LINE);
  if (found == std::string::npos) return client.head.size() > HEAD_BYTES_MAX ? 0 : bytes.size();
  const size_t end = found + BLANK_LINE.size();
  const bool right = head_is_right(std::string_view(client.head).substr(0, end));
  client.head.clear();
  client.in_body = right;
  return right ? end - before : 0;
}

bool LoadClients::head_is_right(std::string_view head) const {
  return head.starts_with(STATUS) && head.find(content_length_) != std::string_view::npos;
}

void LoadClients::answered(Client& client, MonoTime now) {
  ++result_.requests;
  result_.latency.add(now - client.due[client.first]);
  client.first = (client.first + 1) % plan_.pipeline;
  if (plan_.close) {
    --client.asked;
    --asked_;
    return;  // its end follows
  }
  if (client.answered++ == 0) ready_.push_back(&client);
}

// What the turn has made possible, and what has fallen due.
void LoadClients::go_on(MonoTime now) {
  if (plan_.rate != 0) {
    const Duration gap = nanoseconds(static_cast<int64_t>(1'000'000'000 / plan_.rate));
    for (; next_due_ <= now && !stopping_; next_due_ = next_due_ + gap) {
      if (late_.size() < LATE_MAX) late_.push_back(next_due_);
    }
  }
  if (plan_.give_up.ns != 0) give_up(now);
  if (plan_.close && plan_.rate != 0) {
    connect_due(now);
  } else if (!unready_.empty() && !stopping_) {
    std::swap(unready_, clients_to_connect_);
    for (Client* client : clients_to_connect_) connect(*client, now);
    clients_to_connect_.clear();
  }
  result_.late_max = std::max<uint64_t>(result_.late_max, late_.size());
  if (plan_.close) return;
  size_t kept = 0;
  for (Client* client : ready_) {
    const uint32_t freed = client->answered;
    client->answered = 0;
    client->asked -= freed;
    asked_ -= freed;
    if (!client->open || stopping_) continue;
    const bool due = plan_.rate == 0 || !late_.empty();
    if (!due || !ask(*client, plan_.pipeline - client->asked, plan_.rate == 0 ? now : late_.front())) {
      ready_[kept++] = client;
    } else if (plan_.rate != 0) {
      late_.pop_front();
    }
  }
  ready_.resize(kept);
}

// By close, a connection that may be made is what a request waits for.
void LoadClients::connect_due(MonoTime now) {
  while (!late_.empty() && !unready_.empty() && !stopping_) {
    Client& client = *unready_.back();
    unready_.pop_back();
    if (!unready_.empty()) __builtin_prefetch(unready_.back());
    connect(client, late_.front());
    if (!client.conn.valid()) return;  // and is unready again
    if (plan_.give_up.ns != 0) attempts_.push_back({&client, client.conn, now});
    late_.pop_front();
  }
}

void LoadClients::give_up(MonoTime now) {
  while (!late_.empty() && now - late_.front() > plan_.give_up) {
    late_.pop_front();
    ++result_.given_up;
  }
  while (!attempts_.empty() && now - attempts_.front().since > plan_.give_up) {
    const Attempt& oldest = attempts_.front();
    if (oldest.client->conn == oldest.conn && !oldest.client->open) {
      end(*oldest.client, false);
      ++result_.given_up;
    }
    attempts_.pop_front();
  }
}

void LoadClients::connect(Client& client, MonoTime due) {
  client.conn = stack_.connect(plan_.to, plan_.port);
  if (!client.conn.valid()) {
    ++result_.refused;
    unready_.push_back(&client);
    return;
  }
  stack_.set_context(client.conn, &client);
  if (!plan_.close) return;
  client.due[client.first] = due;
  client.asked = 1;
  ++asked_;
}

// False: our own engine has no room.
bool LoadClients::ask(Client& client, uint32_t count, MonoTime due) {
  const NetPart part{.data = requests_.data(), .size = count * request_bytes_};
  if (!stack_.send(client.conn, {&part, 1}, 0)) {
    ++result_.refused;
    return false;
  }
  for (uint32_t i = 0; i < count; ++i) client.due[(client.first + client.asked + i) % plan_.pipeline] = due;
  client.asked += count;
  asked_ += count;
  return true;
}

void LoadClients::end(Client& client, bool with_reset) {
  if (client.open) --connected_;
  asked_ -= client.asked;
  client.asked = client.answered = client.first = client.body_at = 0;
  client.open = client.in_body = false;
  client.head.clear();
  std::erase(ready_, &client);
  const bool lent = with_reset ? stack_.reset(client.conn) : stack_.close(client.conn);
  client.conn = {};
  if (!lent) unready_.push_back(&client);
}

void LoadClients::hang_up() {
  for (Client& client : clients_) {
    if (stack_.is_open(client.conn)) end(client, true);
  }
  stack_.submit();
}

}  // namespace penstock
