#include "tests/net_tap/tap_engine.h"

#include <algorithm>
#include <cstring>
#include <future>
#include <poll.h>
#include <sys/eventfd.h>

namespace penstock {
namespace {

constexpr uint32_t STRIDE = 1'400;  // of the sums that are made beforehand
constexpr size_t QUEUED_PARTS = 4;  // of PATTERN_BYTES each

const std::vector<uint16_t>& pattern_sums() {
  static const std::vector<uint16_t> sums = [] {
    std::vector<uint16_t> made;
    for (size_t at = 0; at < PATTERN_BYTES; at += STRIDE)
      made.push_back(
          internet_sum(std::span(pattern()).subspan(at, std::min<size_t>(STRIDE, PATTERN_BYTES - at))).value);
    return made;
  }();
  return sums;
}

}  // namespace

const std::vector<uint8_t>& pattern() {
  static const std::vector<uint8_t> bytes = [] {
    std::vector<uint8_t> made(PATTERN_BYTES);
    Prng prng(4711);
    for (uint8_t& byte : made) byte = static_cast<uint8_t>(prng.next());
    return made;
  }();
  return bytes;
}

bool is_pattern(uint64_t offset, const uint8_t* bytes, size_t size) {
  while (size != 0) {
    const size_t at = offset % PATTERN_BYTES;
    const size_t step = std::min(size, PATTERN_BYTES - at);
    if (std::memcmp(&pattern()[at], bytes, step) != 0) return false;
    offset += step;
    bytes += step;
    size -= step;
  }
  return true;
}

TapEngine::TapEngine(const NetConfig& config, std::unique_ptr<TapDevice> device, uint64_t seed, const TapFaults& faults)
    : tap_(std::move(device)),
      faulty_(*tap_, seed, faults),
      stack_(config, faults.lose_one_in == 0 && faults.delay_one_in == 0 ? static_cast<PacketDevice&>(*tap_) : faulty_,
             clock_.now()),
      wake_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  for (const TapService service :
       {TapService::ECHO, TapService::SINK, TapService::SOURCE, TapService::PARTING, TapService::RESET})
    ASSERT(stack_.listen(static_cast<uint16_t>(service), static_cast<uint32_t>(service)));
  (void)pattern_sums();
  thread_ = std::thread([this] { loop(); });
}

TapEngine::~TapEngine() {
  run([this](NetStack&) { stopping_ = true; });
  thread_.join();
}

void TapEngine::run(const std::function<void(NetStack&)>& job) {
  std::promise<void> done;
  {
    const std::scoped_lock lock(mutex_);
    jobs_.emplace_back([&] {
      job(stack_);
      done.set_value();
    });
  }
  ASSERT(::eventfd_write(wake_.get(), 1) == 0);
  done.get_future().wait();
}

NetCounters TapEngine::counters() {
  NetCounters copy;
  run([&](NetStack& stack) { copy = stack.counters(); });
  return copy;
}

bool TapEngine::wait_until(const std::function<bool(NetStack&)>& holds) {
  const MonoTime limit = RealClock().now() + seconds(10);
  for (bool answer = false;;) {
    run([&](NetStack& stack) { answer = holds(stack); });
    if (answer || RealClock().now() > limit) return answer;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

void TapEngine::start_reading() {
  lazy = false;
  for (const Session& session : sessions_) {
    if (stack_.is_open(session.conn)) stack_.set_receiving(session.conn, true);
  }
}

bool TapEngine::connect(const IpAddress& remote, uint16_t port, uint64_t bytes) {
  Session& session = sessions_.emplace_back();
  session.service = TapService::SINK;
  session.conn = stack_.connect(remote, port);
  if (!session.conn.valid()) return false;
  session.send_size = bytes;
  stack_.set_context(session.conn, &session);
  return true;
}

void TapEngine::loop() {
  std::array<NetEvent, 64> events;
  while (!stopping_) {
    const size_t count = stack_.poll(clock_.now(), events);
    for (size_t i = 0; i < count; ++i) handle(events[i]);
    dead_.clear();
    std::vector<std::function<void()>> jobs;
    {
      const std::scoped_lock lock(mutex_);
      jobs.swap(jobs_);
    }
    for (const auto& job : jobs) job();
    stack_.submit();
    if (count != 0) continue;
    const MonoTime deadline = faulty_.pending() ? clock_.now() + milliseconds(1) : stack_.next_deadline();
    const Duration left =
        std::clamp(deadline == MonoTime::never() ? seconds(1) : deadline - clock_.now(), nanoseconds(0), seconds(1));
    pollfd fds[2] = {{tap_->fd(), POLLIN, 0}, {wake_.get(), POLLIN, 0}};
    const timespec timeout = {left.s(), left.ns % 1'000'000'000};
    (void)::ppoll(fds, 2, &timeout, nullptr);
    eventfd_t value = 0;
    (void)::eventfd_read(wake_.get(), &value);
  }
}

void TapEngine::handle(const NetEvent& event) {
  if (event.kind == NetEventKind::ACCEPTED) {
    ++seen.accepted;
    Session& session = sessions_.emplace_back();
    session.service = static_cast<TapService>(event.id);
    session.conn = event.conn;
    stack_.set_context(event.conn, &session);
    if (lazy) stack_.set_receiving(event.conn, false);
    if (session.service == TapService::PARTING) {
      const NetPart bye{.data = "bye", .size = 3};
      ASSERT(stack_.send(event.conn, {&bye, 1}, 0));
      stack_.shutdown_send(event.conn);
    }
    return;
  }
  Session& session = *static_cast<Session*>(event.context);
  switch (event.kind) {
    case NetEventKind::CONNECTED:
      ++seen.connected;
      push(session);
      break;
    case NetEventKind::RECEIVED:
      received(session, event);
      break;
    case NetEventKind::SENT:
      if (session.service == TapService::ECHO && std::erase(session.lent, static_cast<uint32_t>(event.token)) != 0)
        stack_.release(static_cast<uint32_t>(event.token));
      if (!session.finishing) push(session);
      break;
    case NetEventKind::PEER_CLOSED:
      session.peer_closed = true;
      if (!session.finishing) push(session);
      break;
    case NetEventKind::FAILED:
      if (session.finishing) break;
      ++seen.failed;
      seen.last_error = event.error;
      finish(session, false);
      break;
    case NetEventKind::CLOSED:
      forget(session);
      break;
    default:
      break;
  }
}

void TapEngine::received(Session& session, const NetEvent& event) {
  if (session.finishing) return stack_.release(event.buffer);
  if (session.service == TapService::RESET) {
    stack_.release(event.buffer);
    return finish(session, true);
  }
  if (session.service == TapService::ECHO) {
    session.unsent.push_back(event);
    session.lent.push_back(event.buffer);
    return push(session);
  }
  if (session.service == TapService::SOURCE) {
    session.head.insert(session.head.end(), event.data, event.data + event.size);
    if (session.head.size() == 8)
      session.send_size = uint64_t{load_be32(&session.head[0])} << 32 | load_be32(&session.head[4]);
  } else {
    session.right = session.right && is_pattern(session.received, event.data, event.size);
    session.received += event.size;
  }
  stack_.release(event.buffer);
  push(session);
}

// Sends what there is to send, and ends what is at its end.
void TapEngine::push(Session& session) {
  const Handle conn = session.conn;
  while (!session.unsent.empty()) {
    const NetPart part{.data = session.unsent.front().data, .size = session.unsent.front().size};
    if (!stack_.send(conn, {&part, 1}, session.unsent.front().buffer)) return;
    session.unsent.pop_front();
  }
  while (session.send_queued < session.send_size && stack_.unacknowledged_bytes(conn) < QUEUED_PARTS * PATTERN_BYTES) {
    const size_t at = session.send_queued % PATTERN_BYTES;
    const uint64_t size = std::min<uint64_t>(session.send_size - session.send_queued, PATTERN_BYTES - at);
    NetPart part{.data = &pattern()[at], .size = static_cast<uint32_t>(size)};
    if (size == PATTERN_BYTES) part.sums = pattern_sums().data(), part.stride = STRIDE;
    if (!stack_.send(conn, {&part, 1}, 1)) return;
    session.send_queued += size;
  }
  const bool all_queued = session.send_size != 0 && session.send_queued == session.send_size;
  if (session.service == TapService::SOURCE && all_queued) return finish(session, false);
  if (session.service == TapService::SINK && all_queued) stack_.shutdown_send(conn);
  if (!session.peer_closed) return;
  if (session.service == TapService::SINK && session.send_size == 0) {
    static constexpr uint64_t WRONG = UINT64_MAX;
    const uint64_t count = session.right ? session.received : WRONG;
    auto* answer = reinterpret_cast<uint8_t*>(&session.answer);
    store_be32(answer, static_cast<uint32_t>(count >> 32));
    store_be32(answer + 4, static_cast<uint32_t>(count));
    const NetPart part{.data = answer, .size = 8};
    ASSERT(stack_.send(conn, {&part, 1}, 2));
  }
  finish(session, false);
}

void TapEngine::finish(Session& session, bool with_reset) {
  session.finishing = true;
  if (session.right) {
    seen.sunk_bytes += session.received;
  } else {
    ++seen.wrong;
  }
  for (const NetEvent& event : session.unsent) {
    stack_.release(event.buffer);
    std::erase(session.lent, event.buffer);
  }
  session.unsent.clear();
  const bool told_later = with_reset ? stack_.reset(session.conn) : stack_.close(session.conn);
  if (!told_later) forget(session);
}

void TapEngine::forget(Session& session) {
  for (const uint32_t buffer : session.lent) stack_.release(buffer);
  session.lent.clear();
  const auto place = std::find_if(sessions_.begin(), sessions_.end(), [&](const Session& s) { return &s == &session; });
  dead_.splice(dead_.end(), sessions_, place);  // the batch may still speak of it
}

}  // namespace penstock
