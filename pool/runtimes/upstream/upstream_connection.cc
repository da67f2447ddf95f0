// Invariants: after lose() nothing is read, written or watched; in_ is understood up to in_at_, and further only while
// no answer is full; holding_ is null but within process().
#include "pool/runtimes/upstream/upstream_connection.h"

#include "src/base/assert.h"

#include <algorithm>
#include <cerrno>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace penstock {
namespace {

constexpr size_t OUT_MAX = 64 * 1'024;  // of bodies that the application has not taken; then they are held back
constexpr size_t READ_BYTES = 32 * 1'024;
constexpr int READS_MAX = 4;  // in a turn; others have work, too

}  // namespace

Status UpstreamConnection::open() {
  socket_.reset(::socket(address_.raw.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket_.valid()) return fail_errno("socket");
  if (address_.raw.ss_family != AF_UNIX) {
    const int on = 1;
    (void)::setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  int rc = 0;
  do {
    rc = ::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address_.raw), address_.bytes);
  } while (rc != 0 && errno == EINTR);
  if (rc != 0 && errno != EINPROGRESS) return fail_errno("connect to " + address_.text);
  connected_ = rc == 0;
  auto watch =
      host_.loop.watch(socket_.get(), EPOLLIN | (rc == 0 ? 0U : EPOLLOUT), [this](uint32_t events) { ready(events); });
  if (!watch) return std::unexpected(watch.error());
  watch_ = *watch;
  return {};
}

UpstreamConnection::~UpstreamConnection() {
  host_.loop.forget(watch_);
  host_.loop.forget_ends(this);
}

void UpstreamConnection::ready(uint32_t events) {
  if (!connected_) {
    int error = 0;
    socklen_t bytes = sizeof error;
    (void)::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &bytes);
    if (error != 0)
      return lose("cannot be reached: " + fail_errno("connect to " + address_.text, error).error().message);
    if ((events & EPOLLOUT) == 0) return;
    connected_ = true;
  }
  if ((events & EPOLLOUT) != 0) flush();
  if (!lost_ && (events & ~EPOLLOUT) != 0) read();
  if (!lost_) watch_again();
}

void UpstreamConnection::watch_again() {
  const bool sends = !connected_ || out_at_ < out_.size();
  host_.loop.change(watch_, (stalled() ? 0U : EPOLLIN) | (sends ? EPOLLOUT : 0U));
}

void UpstreamConnection::lose(const std::string& why) {
  if (std::exchange(lost_, true)) return;
  reusable_ = false;
  host_.loop.forget(watch_);
  host_.lost(*this, why);
}

bool UpstreamConnection::refuse(const std::string& why) {
  lose(why);
  return false;
}

// --- requests ---------------------------------------------------------------------------------

void UpstreamConnection::enter(uint16_t number, UpstreamRequest& request) {
  if (requests_.empty()) asked_at_ = host_.loop.now();
  requests_.emplace(number, &request);
  request.connection = this;
  request.id = number;
}

void UpstreamConnection::leave(uint16_t number) {
  const auto found = requests_.find(number);
  ASSERT(found != requests_.end());
  UpstreamRequest* const request = found->second;
  requests_.erase(found);
  used_ = true;
  if (request == nullptr) return;
  request->lines.finish();
  request->connection = nullptr;
  if (!request->body_sent) reusable_ = false;  // the rest of the body would be in the way of the next request
}

void UpstreamConnection::forget(UpstreamRequest& request) {
  requests_[request.id] = nullptr;
  request.connection = nullptr;
  reusable_ = false;
  if (feeding_ != &request) return;
  feeding_ = nullptr;
  resume();
}

// --- to the application -----------------------------------------------------------------------

void UpstreamConnection::hold_back(UpstreamRequest& request) {
  if (out_.size() - out_at_ <= OUT_MAX || request.paused) return;
  request.paused = true;
  penstock_pause(request.answer.exchange());
}

// At the end of the turn: what was put together in it goes out in one write. (Nobody can delete a connection before:
// that happens at the end of a turn, too, and later.)
void UpstreamConnection::send_soon() {
  if (std::exchange(sends_soon_, true)) return;
  host_.loop.at_end_of_turn(this, [this] {
    sends_soon_ = false;
    if (lost_) return;
    if (connected_) flush();
    if (!lost_) watch_again();
  });
}

void UpstreamConnection::send_no_more() {
  out_.clear();
  out_at_ = 0;
  reusable_ = false;
  if (connected_) (void)::shutdown(socket_.get(), SHUT_WR);
}

void UpstreamConnection::flush() {
  while (out_at_ < out_.size()) {
    const ssize_t size = ::send(socket_.get(), out_.data() + out_at_, out_.size() - out_at_, MSG_NOSIGNAL);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == EAGAIN) return;
    if (size < 0) {
      // It may have answered and closed before it had read all: what it said counts.
      read();
      return lose("closed its connection in the middle of a request");
    }
    out_at_ += static_cast<size_t>(size);
  }
  out_.clear();
  out_at_ = 0;
  for (const auto& [id, request] : requests_) {
    if (request == nullptr || !request->paused || !request->answer.open()) continue;
    request->paused = false;
    penstock_resume(request->answer.exchange());
  }
}

// --- from the application ---------------------------------------------------------------------

// Until a read brings less than there was room for: then there was no more, and epoll tells of what comes.
void UpstreamConnection::read() {
  if (in_ == nullptr) in_ = std::make_unique_for_overwrite<char[]>(READ_BYTES);
  for (int reads = 0; reads < READS_MAX && !lost_ && !stalled(); ++reads) {
    ASSERT(in_at_ == in_end_);
    ssize_t size = 0;
    do {
      size = ::recv(socket_.get(), in_.get(), READ_BYTES, 0);
    } while (size < 0 && errno == EINTR);
    const int error = size < 0 ? errno : 0;
    in_at_ = 0;
    in_end_ = size > 0 ? static_cast<size_t>(size) : 0;
    if (error == EAGAIN) return;
    if (size < 0) return lose("broke its connection: " + fail_errno("recv", error).error().message);
    if (size == 0) return closed();
    const bool more = in_end_ == READ_BYTES;
    process();
    if (!more) return;
  }
}

void UpstreamConnection::process() {
  if (!lost_ && !stalled()) understand();
  show_held();
}

void UpstreamConnection::feed(UpstreamRequest& request, std::string_view output) {
  if (holding_ != &request) show_held();
  request.answer.feed(output, true);
  holding_ = &request;
  if (request.answer.is_full()) feeding_ = &request;
  host_.heard(*this, request);
}

// What is not whole is not kept waiting.
void UpstreamConnection::show_held() {
  UpstreamRequest* const request = std::exchange(holding_, nullptr);
  if (request == nullptr) return;
  request->answer.show();
  if (request->answer.is_full() && request->connection == this) feeding_ = request;
}

void UpstreamConnection::resume() {
  if (lost_) return;
  // More than one may be full: what was held of one is shown when something comes for another.
  const auto full = std::ranges::find_if(
      requests_, [](const auto& entry) { return entry.second != nullptr && entry.second->answer.is_full(); });
  feeding_ = full != requests_.end() ? full->second : nullptr;
  if (feeding_ != nullptr) return;
  send_soon();  // which watches again
  process();
}

}  // namespace penstock
