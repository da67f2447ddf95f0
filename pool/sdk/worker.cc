// Invariant: open_exchanges counts the exchanges with `open`; one of these that is not `handed_out` has something
// pending, and ends when that is out.
#include "pool/sdk/worker.h"

#include "src/base/assert.h"
#include "src/base/doorbell.h"

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <string>
#include <sys/epoll.h>
#include <utility>

namespace penstock {
namespace {

// A program with a loop of its own has other events, too: so many turns belong to one step.
constexpr uint32_t TURNS_MAX = 16;

void ring(const UniqueFd& bell) { (void)ring_bell(bell.get()); }

// One system call for a sleep. The name of the bell that rang.
int wait_for_bell(const UniqueFd& bed) {
  epoll_event event{};
  return ::epoll_wait(bed.get(), &event, 1, -1) > 0 ? event.data.fd : -1;
}

Result<std::vector<int>> descriptors() {
  const char* const text = std::getenv(PENSTOCK_WORKER_VARIABLE);
  if (text == nullptr) return fail("not started by penstock: " PENSTOCK_WORKER_VARIABLE " is not set", EINVAL);
  std::vector<int> numbers;
  for (std::string_view left = text; !left.empty();) {
    int number = -1;
    const auto [end, error] = std::from_chars(left.data(), left.data() + left.size(), number);
    if (error != std::errc() || number < 0) return fail(PENSTOCK_WORKER_VARIABLE " is malformed", EINVAL);
    numbers.push_back(number);
    left.remove_prefix(static_cast<size_t>(end - left.data()));
    left.remove_prefix(std::min(left.find_first_not_of(' '), left.size()));
  }
  if (numbers.size() < 4) return fail(PENSTOCK_WORKER_VARIABLE " names too few descriptors", EINVAL);
  return numbers;
}

// PENSTOCK_WORKER_VERSION_MAX: speak nothing newer, to see how an application fares with an older front end.
uint32_t version_max() {
  const char* const text = std::getenv("PENSTOCK_WORKER_VERSION_MAX");
  if (text == nullptr) return PENSTOCK_ABI_VERSION;
  uint32_t number = 0;
  const std::string_view digits = text;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  const bool fits = error == std::errc() && end == digits.data() + digits.size() && number >= PENSTOCK_ABI_VERSION_MIN;
  return fits ? std::min(number, PENSTOCK_ABI_VERSION) : PENSTOCK_ABI_VERSION;
}

// Also that of a front end from before the beds, which gives an eventfd that both ends write.
Status hang_own_bells(penstock_worker& worker) {
  auto nudge = make_bell();
  if (!nudge) return std::unexpected(nudge.error());
  worker.nudge = std::move(*nudge);
  Status ok = hang_bell(worker.bell, {worker.helper_bed.get(), worker.bed.get()});
  if (ok) ok = hang_bell(worker.nudge, {worker.helper_bed.get()}, worker.nudge.get());
  return ok;
}

Status open_beds_for(UniqueFd bell, penstock_worker& worker) {
  auto helper_bed = make_bed();
  auto bed = make_bed();
  if (!helper_bed || !bed) return std::unexpected(helper_bed ? bed.error() : helper_bed.error());
  worker.helper_bed = std::move(*helper_bed);
  worker.bed = std::move(*bed);
  worker.bell = std::move(bell);
  return hang_own_bells(worker);
}

Status open_worker(penstock_worker& worker) {
  const Result<std::vector<int>> numbers = descriptors();
  if (!numbers) return std::unexpected(numbers.error());
  ::unsetenv(PENSTOCK_WORKER_VARIABLE);  // what this process starts is no worker
  std::vector<UniqueFd> fds;
  for (const int number : *numbers) {
    (void)::fcntl(number, F_SETFD, FD_CLOEXEC);  // nor does it get its memory
    fds.emplace_back(number);
  }
  Result<Segment> segment = Segment::map(fds[0].get(), fds[1].get(), Segment::Side::WORKER);
  if (!segment) return std::unexpected(segment.error());
  worker.segment = std::move(*segment);
  const uint32_t channels = worker.segment.header().channels;
  if (fds.size() != 3 + size_t{channels} && fds.size() != 4 + size_t{channels}) {
    return fail("the segment has another number of channels", EINVAL);
  }
  for (size_t i = fds.size() - channels; i < fds.size(); ++i) {
    worker.channels.push_back(std::make_unique<SdkChannel>(
        worker.segment.channel(static_cast<uint32_t>(worker.channels.size())), std::move(fds[i]), version_max()));
  }
  if (fds.size() == 3 + size_t{channels}) return open_beds_for(std::move(fds[2]), worker);
  worker.helper_bed = std::move(fds[2]);
  worker.bed = std::move(fds[3]);
  auto bell = make_bell();
  if (!bell) return std::unexpected(bell.error());
  worker.bell = std::move(*bell);
  return hang_own_bells(worker);
}

void request_came(penstock_worker& worker, SdkChannel& channel, const WorkerEvent& event) {
  penstock_exchange& exchange = channel.exchanges[event.exchange.index];
  ASSERT(!exchange.open);
  exchange = penstock_exchange{};
  exchange.worker = &worker;
  exchange.channel = &channel;
  exchange.handle = event.exchange;
  exchange.serial = event.serial;
  exchange.head = event.head;
  exchange.body_length = event.length;
  exchange.open = exchange.handed_out = true;
  ++worker.open_exchanges;
  if (event.asked != PENSTOCK_REQUEST) return sdk_filter_came(exchange, event);
  if (worker.callbacks.request == nullptr) return sdk_end_with(exchange, {.kind = SdkPending::Kind::ABORT});
  if (!event.body.empty() || (event.end && event.length > 0)) {
    exchange.body.push_back({.bytes = event.body, .last = event.end, .inline_piece = true});
  }
  worker.callbacks.request(&exchange, worker.context);
  if (exchange.open && !exchange.body.empty()) sdk_list(exchange);
}

void server_was_replaced(SdkChannel& channel) {
  for (penstock_exchange& exchange : channel.exchanges) {
    if (!exchange.open) continue;
    sdk_cancel(exchange, PENSTOCK_WHY_LOST);
    sdk_finish(exchange);
  }
}

void obey(penstock_worker& worker, SdkChannel& channel, const WorkerEvent& event) {
  using Event = WorkerEvent::Kind;
  switch (event.kind) {
    case Event::RESET:
      channel.pong_owed.reset();
      return server_was_replaced(channel);
    case Event::REQUEST:
      return request_came(worker, channel, event);
    case Event::PING:
      channel.pong_owed = event.serial;
      return;
    case Event::STOP:
      ++worker.stops;
      return;
    case Event::BODY:
    case Event::CREDIT:
    case Event::CANCEL:
      break;
  }
  penstock_exchange& exchange = channel.exchanges[event.exchange.index];
  if (event.kind == Event::BODY) exchange.body.push_back({.bytes = event.body, .last = event.end});
  if (event.kind == Event::CANCEL) {
    sdk_cancel(exchange, static_cast<penstock_why_cancelled>(event.reason));
    exchange.pending.clear();
    exchange.pending.push_back({.kind = SdkPending::Kind::ABORT});
  }
  sdk_list(exchange);
}

void advance_busy(SdkChannel& channel) {
  channel.due.swap(channel.busy);
  for (penstock_exchange* exchange : channel.due) {
    exchange->listed = false;
    if (exchange->open) sdk_advance(*exchange);
  }
  channel.due.clear();
}

// Before all others: where answers fill the ring as fast as it is read, it finds no room behind them, and a worker that
// does not answer is ended.
void answer_ping(SdkChannel& channel) {
  if (!channel.pong_owed) return;
  if (channel.link.pong(*channel.pong_owed)) {
    channel.pong_owed.reset();
  } else {
    channel.starving = true;
  }
}

bool run_posts(penstock_worker& worker) {
  std::vector<std::pair<void (*)(void*), void*>> due;
  {
    const std::lock_guard lock(worker.post_mutex);
    due.swap(worker.posts);
  }
  for (const auto& [call, argument] : due) call(argument);
  return !due.empty();
}

}  // namespace
}  // namespace penstock

using namespace penstock;

bool penstock_worker::turn(bool& did_something) {
  did_something = run_posts(*this);
  for (const auto& channel : channels) {
    WorkerEvent event;
    while (channel->link.next(event)) {
      did_something = true;
      obey(*this, *channel, event);
    }
    channel->starving = false;
    answer_ping(*channel);
    advance_busy(*channel);
    if (channel->link.flush()) ring(channel->bell);
  }
  if (std::exchange(resumed, false)) did_something = true;
  if (stops < channels.size()) return true;
  if (!std::exchange(told_stopping, true) && callbacks.stopping != nullptr) {
    callbacks.stopping(context);
    did_something = true;
    return true;  // what it answered goes out in the next turn
  }
  return open_exchanges > 0;
}

bool penstock_worker::may_wait() {
  bool may = true;
  for (const auto& channel : channels) {
    may = channel->link.may_sleep() && may;
    if (channel->starving) may = channel->link.starve() && may;
  }
  const std::lock_guard lock(post_mutex);
  asleep = may && posts.empty();
  return asleep;
}

bool penstock_worker::settle(bool once, bool& did_something) {
  did_something = false;
  for (bool some = false;;) {
    if (!turn(some)) {
      over = true;
      return false;
    }
    if (some) {
      did_something = true;
      spin.worked();
      continue;
    }
    if (!(once && did_something) && spin.again()) {
      spin_once();
      continue;
    }
    if (may_wait()) return true;
    awake();
  }
}

void penstock_worker::awake() {
  {
    const std::lock_guard lock(post_mutex);
    asleep = false;
  }
  for (const auto& channel : channels) channel->link.awake();
}

int penstock::sdk_step(penstock_worker& worker, bool hushes) {
  if (hushes) empty_bed(worker.helper_bed.get());
  worker.awake();
  bool some = false;
  for (uint32_t turns = 0; turns < TURNS_MAX; ++turns) {
    if (!worker.turn(some)) return 0;
    if (!some && worker.may_wait()) return 1;
  }
  ring(worker.bell);
  return 1;
}

int penstock_worker_open(const penstock_callbacks* callbacks, void* context, penstock_worker** out) {
  if (callbacks == nullptr || out == nullptr) return -EINVAL;
  const bool filters =
      callbacks->filter_request != nullptr || callbacks->filter_response != nullptr || callbacks->filter_log != nullptr;
  if (callbacks->request == nullptr && !filters) return -EINVAL;
  auto worker = std::make_unique<penstock_worker>();
  worker->callbacks = *callbacks;
  worker->context = context;
  if (const Status opened = open_worker(*worker); !opened) {
    std::fprintf(stderr, "penstock worker: %s\n", opened.error().message.c_str());
    return opened.error().code != 0 ? -opened.error().code : -EINVAL;
  }
  *out = worker.release();
  return 0;
}

void penstock_worker_close(penstock_worker* worker) { const std::unique_ptr<penstock_worker> owned(worker); }

int penstock_worker_fd(const penstock_worker* worker) { return worker->helper_bed.get(); }

int penstock_worker_step(penstock_worker* worker) { return sdk_step(*worker, true); }

int penstock_worker_run(const penstock_callbacks* callbacks, void* context) {
  // Never closed: threads whose requests were cancelled may still post, and nothing tells them that this has ended.
  static penstock_worker* worker = nullptr;
  if (penstock_worker_open(callbacks, context, &worker) != 0) return 1;
  std::unique_lock turn(worker->turn_mutex);
  for (bool some = false; !worker->over && worker->settle(false, some);) {
    turn.unlock();
    (void)wait_for_bell(worker->bed);
    turn.lock();
    worker->awake();
  }
  ring(worker->nudge);  // who helps hears of it
  return 0;
}

int penstock_worker_help(penstock_worker* worker) {
  std::unique_lock turn(worker->turn_mutex, std::try_to_lock);
  while (true) {
    if (turn.owns_lock()) {  // else somebody is at it
      if (worker->over) return 0;
      worker->awake();
      bool some = false;
      if (!worker->settle(true, some)) {
        ring(worker->bell);  // for penstock_worker_run(), which ends
        return 0;
      }
      if (some) return 1;
      turn.unlock();
    }
    if (wait_for_bell(worker->helper_bed) == worker->nudge.get()) return 1;
    turn.lock();
  }
}

void penstock_worker_nudge(penstock_worker* worker) { ring(worker->nudge); }

int penstock_try_enter(penstock_worker* worker) {
  if (!worker->turn_mutex.try_lock()) return 0;
  if (!worker->over) return 1;
  worker->turn_mutex.unlock();
  return 0;
}

void penstock_leave(penstock_worker* worker) {
  bool more = worker->resumed || worker->stops == worker->channels.size();
  for (const auto& channel : worker->channels) {
    if (channel->link.flush()) ring(channel->bell);
    more = more || channel->starving || !channel->busy.empty();
  }
  if (more) ring(worker->bell);  // a turn is due
  worker->turn_mutex.unlock();
}

void penstock_post(penstock_worker* worker, void (*call)(void*), void* argument) {
  // Rung under the lock: once the call can run, the worker may end and take its eventfd with it.
  const std::lock_guard lock(worker->post_mutex);
  worker->posts.emplace_back(call, argument);
  if (worker->asleep) ring(worker->bell);  // else it looks before it sleeps
  worker->asleep = false;                  // once is enough
}
