// Invariants: after lose() nothing is read, written or watched; in_ is understood up to in_at_, and further only while
// no answer is full; holding_ is null but within process().
#include "pool/runtimes/fastcgi/fcgi_connection.h"

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
constexpr uint16_t IDS = 4'096;  // four times what a worker is ever asked at a time
constexpr int READS_MAX = 4;     // in a turn; others have work, too

}  // namespace

FcgiConnection::FcgiConnection(Host& host, UniqueFd socket, const FcgiAddress& address)
    : host_(host), socket_(std::move(socket)), address_(address.text) {}

Result<std::unique_ptr<FcgiConnection>> FcgiConnection::open(Host& host, const FcgiAddress& address) {
  UniqueFd socket(::socket(address.raw.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) return fail_errno("socket");
  if (address.raw.ss_family != AF_UNIX) {
    const int on = 1;
    (void)::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  int rc = 0;
  do {
    rc = ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address.raw), address.bytes);
  } while (rc != 0 && errno == EINTR);
  if (rc != 0 && errno != EINPROGRESS) return fail_errno("connect to " + address.text);
  std::unique_ptr<FcgiConnection> made(new FcgiConnection(host, std::move(socket), address));
  made->connected_ = rc == 0;
  FcgiConnection* const self = made.get();
  auto watch = host.loop.watch(self->socket_.get(), EPOLLIN | (rc == 0 ? 0U : EPOLLOUT),
                               [self](uint32_t events) { self->ready(events); });
  if (!watch) return std::unexpected(watch.error());
  self->watch_ = *watch;
  return made;
}

FcgiConnection::~FcgiConnection() {
  host_.loop.forget(watch_);
  host_.loop.forget_ends(this);
}

void FcgiConnection::ready(uint32_t events) {
  if (!connected_) {
    int error = 0;
    socklen_t bytes = sizeof error;
    (void)::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &bytes);
    if (error != 0) return lose("cannot be reached: " + fail_errno("connect to " + address_, error).error().message);
    if ((events & EPOLLOUT) == 0) return;
    connected_ = true;
  }
  if ((events & EPOLLOUT) != 0) flush();
  if (!lost_ && (events & ~EPOLLOUT) != 0) read();
  if (!lost_) watch_again();
}

void FcgiConnection::watch_again() {
  const bool sends = !connected_ || out_at_ < out_.size();
  host_.loop.change(watch_, (stalled() ? 0U : EPOLLIN) | (sends ? EPOLLOUT : 0U));
}

bool FcgiConnection::stalled() const { return feeding_ != nullptr; }

void FcgiConnection::lose(const std::string& why) {
  if (std::exchange(lost_, true)) return;
  reusable_ = false;
  host_.loop.forget(watch_);
  host_.lost(*this, why);
}

bool FcgiConnection::refuse(const std::string& why) {
  lose(why);
  return false;
}

// --- to the application -----------------------------------------------------------------------

void FcgiConnection::ask_values() {
  std::string text;
  put_fcgi_pair(text, "FCGI_MPXS_CONNS", "");
  put_fcgi_pair(text, "FCGI_MAX_REQS", "");
  put_fcgi_record(out_, FcgiType::GET_VALUES, 0, text);
  asked_ = true;
  send_soon();
}

void FcgiConnection::begin(FcgiRequest& request) {
  // Small numbers (section 3.3), but each only after all others: what an application says once more of a request that
  // it has ended is then of nobody, and not the answer to the next one.
  ASSERT(requests_.size() < IDS);
  do last_id_ = static_cast<uint16_t>(last_id_ % IDS + 1);
  while (requests_.contains(last_id_));
  const uint16_t id = last_id_;
  if (requests_.empty()) asked_at_ = host_.loop.now();
  requests_.emplace(id, &request);
  request.connection = this;
  request.id = id;
  put_fcgi_begin(out_, id, true);
  put_fcgi_params(out_, id, request.variables);
  if (!request.body_follows) {
    put_fcgi_record(out_, FcgiType::STDIN, id, {});
    request.body_sent = true;
  }
  send_soon();
}

void FcgiConnection::send_body(FcgiRequest& request, std::string_view bytes, bool last) {
  if (!bytes.empty()) put_fcgi_record(out_, FcgiType::STDIN, request.id, bytes);
  if (last) put_fcgi_record(out_, FcgiType::STDIN, request.id, {});
  request.body_sent = last;
  if (out_.size() - out_at_ > OUT_MAX && !request.paused && !last) {
    request.paused = true;
    penstock_pause(request.answer.exchange());
  }
  send_soon();
}

void FcgiConnection::abort(FcgiRequest& request) {
  put_fcgi_record(out_, FcgiType::ABORT_REQUEST, request.id, {});
  request.aborted = true;
  send_soon();
}

void FcgiConnection::forget(FcgiRequest& request) {
  requests_[request.id] = nullptr;
  request.connection = nullptr;
  reusable_ = false;
  if (feeding_ != &request) return;
  feeding_ = nullptr;
  resume();
}

// At the end of the turn: what was put together in it goes out in one write. (Nobody can delete a connection before:
// that happens at the end of a turn, too, and later.)
void FcgiConnection::send_soon() {
  if (std::exchange(sends_soon_, true)) return;
  host_.loop.at_end_of_turn(this, [this] {
    sends_soon_ = false;
    if (lost_) return;
    if (connected_) flush();
    if (!lost_) watch_again();
  });
}

void FcgiConnection::flush() {
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
void FcgiConnection::read() {
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
    if (size == 0) return lose("closed its connection in the middle of a request");
    const bool more = in_end_ == READ_BYTES;
    process();
    if (!more) return;
  }
}

void FcgiConnection::process() {
  while (!lost_ && !stalled() && in_at_ < in_end_) {
    size_t consumed = 0;
    FcgiPiece piece;
    const FcgiReader::State state = reader_.next({in_.get() + in_at_, in_end_ - in_at_}, consumed, piece);
    in_at_ += consumed;
    if (state == FcgiReader::State::BAD) lose("speaks another version of FastCGI, or something else");
    if (state == FcgiReader::State::PIECE && !take(piece)) break;
  }
  show_held();
}

// What is not whole is not kept waiting.
void FcgiConnection::show_held() {
  FcgiRequest* const request = std::exchange(holding_, nullptr);
  if (request == nullptr) return;
  request->answer.show();
  if (request->answer.is_full() && request->connection == this) feeding_ = request;
}

void FcgiConnection::resume() {
  if (lost_) return;
  // More than one may be full: what was held of one is shown when something comes for another.
  const auto full = std::ranges::find_if(
      requests_, [](const auto& entry) { return entry.second != nullptr && entry.second->answer.is_full(); });
  feeding_ = full != requests_.end() ? full->second : nullptr;
  if (feeding_ != nullptr) return;
  send_soon();  // which watches again
  process();
}

// To our stderr by lines, and the first of it to the request's own log record.
void FcgiConnection::hear_errors(FcgiRequest& request, std::string_view text) {
  constexpr size_t LOGGED_MAX = 1'024;
  request.lines.feed(text);
  const std::string_view first = text.substr(0, LOGGED_MAX - request.logged_bytes);
  if (first.empty() || !request.answer.open()) return;
  request.logged_bytes += first.size();
  penstock_log(request.answer.exchange(), {first.data(), first.size()});
}

bool FcgiConnection::take(const FcgiPiece& piece) {
  heard_ = true;
  if (piece.id == 0) return take_management(piece);
  const auto found = requests_.find(piece.id);
  if (found == requests_.end()) return refuse("answered a request that it was not asked");
  FcgiRequest* const request = found->second;
  if (request != nullptr) request->heard = true;
  switch (piece.type) {
    case FcgiType::STDOUT:
      if (request == nullptr || piece.content.empty()) return true;
      if (holding_ != request) show_held();
      request->answer.feed(piece.content, true);
      holding_ = request;
      if (request->answer.is_full()) feeding_ = request;
      host_.heard(*this, *request);
      return !lost_;
    case FcgiType::STDERR:
      if (request != nullptr) hear_errors(*request, piece.content);
      return true;
    case FcgiType::END_REQUEST:
      break;
    default:
      return refuse("sent a record that no application may send");
  }
  // Eight bytes of content (section 5.5), which may come one by one, but not among those of another record.
  if (piece.record_bytes != 8) return refuse("ended a request with a record of a wrong size");
  control_ += piece.content;
  if (!piece.last) return true;
  const std::string body = std::exchange(control_, {});
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(body[i])); };
  const uint32_t status = byte(0) << 24 | byte(1) << 16 | byte(2) << 8 | byte(3);
  if (byte(4) > 3) return refuse("ended a request in an unknown way");
  requests_.erase(found);
  used_ = true;
  if (request == nullptr) return true;
  request->lines.finish();
  request->connection = nullptr;
  if (!request->body_sent) reusable_ = false;  // the rest of the body would be in the way of the next request
  host_.ended(*this, *request, static_cast<End>(byte(4)), status);
  return !lost_;
}

bool FcgiConnection::take_management(const FcgiPiece& piece) {
  const bool expected = piece.type == FcgiType::GET_VALUES_RESULT || piece.type == FcgiType::UNKNOWN_TYPE;
  if (!asked_ || !expected) return refuse("sent a management record that it was not asked for");
  control_ += piece.content;
  if (!piece.last) return true;
  const std::string body = std::exchange(control_, {});
  asked_ = false;
  const auto pairs = piece.type == FcgiType::GET_VALUES_RESULT ? parse_fcgi_pairs(body) : FcgiPairs{};
  if (!pairs) return refuse("sent malformed values");
  host_.values(*this, *pairs);
  return !lost_;
}

}  // namespace penstock
