// Invariants: the exchange is paused exactly while in_kept_ is not empty; stdout is watched exactly while the answer
// takes more or is over. Whatever happened, advance() is called and draws the conclusions.
#include "pool/runtimes/cgi/cgi_job.h"

#include "src/base/assert.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <utility>

namespace penstock {
namespace {

constexpr Duration STATUS_WAIT = milliseconds(100);
constexpr Duration LADDER_STEP = seconds(1);
constexpr Duration OVERRUN_STEP = milliseconds(50);  // where its place is wanted back at once
constexpr int READS_MAX = 4;                         // of one pipe in a turn; others have work, too

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

Result<Pipe> make_pipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return fail_errno("pipe2");
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

void make_nonblocking(const UniqueFd& fd) { (void)::fcntl(fd.get(), F_SETFL, O_NONBLOCK); }

// One read; 0 at the end, -1 where there is nothing now.
ssize_t read_some(const UniqueFd& fd, std::span<char> room) {
  ssize_t size = 0;
  do {
    size = ::read(fd.get(), room.data(), room.size());
  } while (size < 0 && errno == EINTR);
  return size;
}

}  // namespace

CgiJob::CgiJob(Host& host, penstock_exchange* exchange, CgiCall call, bool body_follows)
    : host_(host),
      answer_(exchange, call.program.empty() ? "penstock-cgi" : call.words.back(), host.errors),
      call_(std::move(call)),
      lines_(host.errors, "[" + std::to_string(penstock_serial(exchange)) + "] "),
      body_follows_(body_follows) {}

CgiJob::~CgiJob() {
  host_.loop.forget(in_watch_);
  host_.loop.forget(out_watch_);
  host_.loop.forget(err_watch_);
  host_.loop.forget(child_watch_);
  host_.loop.cancel(timer_);
}

void CgiJob::start() {
  if (const Status spawned = spawn(); !spawned) {
    const int code = spawned.error().code;
    const bool busy = code == EAGAIN || code == ENOMEM || code == EMFILE || code == ENFILE;
    answer_.refuse(busy ? 503 : 500, "could not run: " + spawned.error().message);
  }
  advance();
}

Status CgiJob::spawn() {
  MetaVariables variables;
  for (const auto& [name, value] : host_.settings.environment) variables.set(name, value);
  set_request_variables(request_of(answer_.exchange()), call_.mapping, host_.settings.variables, variables);
  variables.set("PATH", "/usr/local/bin:/usr/bin:/bin");
  if (!variables.fits()) {
    answer_.refuse(431, "would get an environment of more than 128 KiB");
    return {};
  }
  Pipe in;
  if (body_follows_) {
    auto made = make_pipe();
    if (!made) return std::unexpected(made.error());
    in = std::move(*made);
  }
  auto out = make_pipe();
  if (!out) return std::unexpected(out.error());
  auto err = make_pipe();
  if (!err) return std::unexpected(err.error());
  auto child = ChildProcess::spawn({.program = call_.program,
                                    .words = call_.words,
                                    .environment = variables.environment(),
                                    .directory = call_.directory,
                                    .in = in.read.get(),
                                    .out = out->write.get(),
                                    .err = err->write.get(),
                                    .cpu_seconds = host_.settings.cpu_seconds});
  if (!child) return std::unexpected(child.error());
  child_.emplace(std::move(*child));
  in_ = std::move(in.write);
  out_ = std::move(out->read);
  err_ = std::move(err->read);
  const Status watched = watch_all();
  if (!watched) child_.reset();  // which ends it
  return watched;
}

Status CgiJob::watch_all() {
  make_nonblocking(out_);
  make_nonblocking(err_);
  const auto add = [&](RuntimeLoop::Watch& watch, int fd, uint32_t events, auto call) -> Status {
    auto made = host_.loop.watch(fd, events, [this, call](uint32_t came) {
      call(came);
      advance();
    });
    if (!made) return std::unexpected(made.error());
    watch = *made;
    return {};
  };
  if (in_.valid()) {
    make_nonblocking(in_);
    const auto ready = [this](uint32_t came) {
      if ((came & EPOLLERR) != 0) close_in();  // nobody can read it any more
      write_in();
    };
    if (const Status s = add(in_watch_, in_.get(), EPOLLERR, ready); !s) return s;
  }
  if (const Status s = add(out_watch_, out_.get(), EPOLLIN, [this](uint32_t) { read_out(); }); !s) return s;
  if (const Status s = add(err_watch_, err_.get(), EPOLLIN, [this](uint32_t) { read_err(); }); !s) return s;
  return add(child_watch_, child_->pidfd(), EPOLLIN, [this](uint32_t) { child_ended(); });
}

void CgiJob::body(std::string_view bytes, bool last) {
  ASSERT(in_kept_.empty());
  in_kept_.assign(bytes);
  in_last_ = last;
  write_in();
}

// What the process does not read any more is dropped, as RFC 3875 section 4.2 lets a script do.
void CgiJob::write_in() {
  while (in_.valid() && !in_kept_.empty()) {
    const ssize_t size = ::write(in_.get(), in_kept_.data(), in_kept_.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == EAGAIN) break;
    if (size < 0) close_in();
    if (size > 0) in_kept_.erase(0, static_cast<size_t>(size));
  }
  if (!in_.valid()) in_kept_.clear();
  const bool full = !in_kept_.empty();
  if (!full && in_last_) close_in();
  if (in_.valid()) host_.loop.change(in_watch_, full ? EPOLLOUT : EPOLLERR);
  if (full == paused_ || !answer_.open()) return;
  paused_ = full;
  full ? penstock_pause(answer_.exchange()) : penstock_resume(answer_.exchange());
}

void CgiJob::close_in() {
  host_.loop.forget(in_watch_);
  in_.reset();
}

void CgiJob::read_out() {
  char room[64 * 1'024];
  for (int reads = 0; reads < READS_MAX && !answer_.is_full() && !out_ended_; ++reads) {
    const ssize_t size = read_some(out_, room);
    if (size < 0) {
      // Whoever still holds it has left the group that was killed.
      out_ended_ = ladder_ == Ladder::KILL;
      break;
    }
    out_ended_ = size == 0;
    answer_.feed({room, static_cast<size_t>(size)});
  }
}

void CgiJob::read_err() {
  char room[4 * 1'024];
  for (int reads = 0; reads < READS_MAX; ++reads) {
    const ssize_t size = read_some(err_, room);
    if (size < 0) return;
    if (size == 0) return host_.loop.forget(err_watch_);
    lines_.feed({room, static_cast<size_t>(size)});
  }
}

void CgiJob::child_ended() {
  exit_ = child_->poll();
  if (exit_) host_.loop.forget(child_watch_);
}

void CgiJob::writable() {
  answer_.writable();
  advance();
}

void CgiJob::cancelled(bool overran) {
  answer_.cancelled();
  if (child_ && ladder_ < Ladder::TERMINATE) climb(Ladder::TERMINATE, overran ? OVERRUN_STEP : LADDER_STEP);
  advance();
}

// Goes up to that step, never down, and on from there after `wait`.
void CgiJob::climb(Ladder to, Duration wait) {
  if (to <= ladder_) return;
  ladder_ = to;
  host_.loop.cancel(timer_);
  if (to == Ladder::TERMINATE) child_->signal_group(SIGTERM);
  if (to == Ladder::KILL) {
    child_->signal_group(SIGKILL);
    read_out();
    return;
  }
  timer_ = host_.loop.after(wait, [this] {
    climb_next();
    advance();
  });
}

void CgiJob::climb_next() {
  if (ladder_ == Ladder::STATUS) {
    status_overdue_ = true;
    return climb(Ladder::LINGER, LADDER_STEP);
  }
  climb(ladder_ == Ladder::LINGER ? Ladder::TERMINATE : Ladder::KILL, LADDER_STEP);
}

void CgiJob::leave() {
  if (answer_.open() || over_) return;
  over_ = true;
  host_.over(*this);
}

// Every exit is told once: to the request's log while it has one, else to ours.
void CgiJob::judge_exit() {
  if (std::exchange(judged_, true) || ladder_ >= Ladder::TERMINATE) return;  // our own doing
  if (exit_->signal != 0) {
    answer_.open() ? answer_.fail(exit_->text())
                   : host_.errors.line("penstock: ", call_.words.back() + " " + exit_->text());
  } else if (exit_->code != 0 && !answer_.begun()) {
    answer_.fail(exit_->text() + " before its head was whole");
  }
}

void CgiJob::advance() {
  if (!child_) return leave();
  if (out_watch_ != 0) {
    if (out_ended_) {
      host_.loop.forget(out_watch_);
    } else {
      host_.loop.change(out_watch_, answer_.is_full() ? 0U : EPOLLIN);
    }
  }
  if (answer_.open() && out_ended_) {
    if (exit_) judge_exit();
    if (exit_ || status_overdue_) answer_.finish();
    if (!exit_ && !status_overdue_) climb(Ladder::STATUS, STATUS_WAIT);
  }
  if (!answer_.open()) close_in();
  if (!exit_) {
    if (!answer_.open()) climb(Ladder::LINGER, LADDER_STEP);
    return;
  }
  if (answer_.open() && !out_ended_) return climb(Ladder::LINGER, LADDER_STEP);
  // Its process is gone, and so is all it had to say; the client may still be reading.
  judge_exit();
  if (err_watch_ != 0) read_err();
  host_.loop.cancel(timer_);
  child_->reap();
  child_.reset();
  lines_.finish();
  host_.ended(*this);
  leave();
}

}  // namespace penstock
