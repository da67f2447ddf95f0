// Invariants: pidfd_ and init_ name processes that are children of this one and not reaped, until exit_ is set; so no
// number is ever signalled after it could have been given to another process.
#include "src/admin/worker_process.h"

#include "src/admin/kill_session.h"
#include "src/admin/process_exit.h"
#include "src/admin/program_path.h"
#include "src/base/assert.h"
#include "src/base/shared_memory.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace penstock {
namespace {

constexpr size_t REPORT_BYTES_MAX = 256 * 1024;  // a few lines are usual
constexpr int NAMESPACE_END_MS = 5;              // killing what is in a pid namespace usually takes less than one

// The attributes of posix_spawn: a session of its own, every signal at its default and unblocked.
class Attributes {
 public:
  Attributes() {
    ::posix_spawnattr_init(&raw_);
    sigset_t all;
    sigset_t none;
    ::sigfillset(&all);
    ::sigemptyset(&none);
    ::posix_spawnattr_setsigdefault(&raw_, &all);
    ::posix_spawnattr_setsigmask(&raw_, &none);
    ::posix_spawnattr_setflags(&raw_, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
  }
  ~Attributes() { ::posix_spawnattr_destroy(&raw_); }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;

  // Starts `path` with 0 to 2 from /dev/null and `fds` as the descriptors from `first` on; nothing above them is open.
  [[nodiscard]] Result<pid_t> start(const std::string& path, std::vector<std::string> words,
                                    std::vector<std::string> variables,
                                    const std::vector<std::pair<int, int>>& fds) const {
    posix_spawn_file_actions_t files;
    ::posix_spawn_file_actions_init(&files);
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
      ::posix_spawn_file_actions_addopen(&files, fd, "/dev/null", fd == STDIN_FILENO ? O_RDONLY : O_WRONLY, 0);
    }
    int next = STDERR_FILENO + 1;
    for (const auto& [from, to] : fds) {
      ::posix_spawn_file_actions_adddup2(&files, from, to);
      next = std::max(next, to + 1);
    }
    ::posix_spawn_file_actions_addclosefrom_np(&files, next);
    std::vector<char*> argv;
    std::vector<char*> envp;
    for (std::string& word : words) argv.push_back(word.data());
    for (std::string& variable : variables) envp.push_back(variable.data());
    argv.push_back(nullptr);
    envp.push_back(nullptr);
    pid_t pid = -1;
    const int rc = ::posix_spawn(&pid, path.c_str(), &files, &raw_, argv.data(), envp.data());
    ::posix_spawn_file_actions_destroy(&files);
    if (rc != 0) return fail_errno("start " + path, rc);
    return pid;
  }

 private:
  posix_spawnattr_t raw_{};
};

// While it lives, processes that this one starts are in a new pid namespace. Only for a process with one thread.
class NewPidNamespace {
 public:
  explicit NewPidNamespace(bool wanted) {
    if (!wanted || ::geteuid() != 0) return;
    own_.reset(::open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC));
    if (own_.valid() && ::unshare(CLONE_NEWPID) != 0) own_.reset();
  }
  // Without the way back nothing could be started again.
  ~NewPidNamespace() {
    if (own_.valid()) ASSERT(::setns(own_.get(), CLONE_NEWPID) == 0);
  }
  NewPidNamespace(const NewPidNamespace&) = delete;
  NewPidNamespace& operator=(const NewPidNamespace&) = delete;
  [[nodiscard]] bool made() const { return own_.valid(); }

 private:
  UniqueFd own_;
};

// Not reaped yet, so the number is still this process.
Result<UniqueFd> pidfd_of(pid_t pid) {
  UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (fd.valid()) return fd;
  auto failed = fail_errno("pidfd_open");
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  return failed;
}

Result<UniqueFd> sealed_text(const std::string& text) {
  UniqueFd fd(::memfd_create("penstock-launch", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return fail_errno("memfd_create");
  for (size_t at = 0; at < text.size();) {
    const ssize_t n = ::write(fd.get(), text.data() + at, text.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return fail_errno("write the launch message");
    at += static_cast<size_t>(n);
  }
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0) {
    return fail_errno("seal the launch message");
  }
  return fd;
}

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

// For the report: a socket, because a descriptor may come with it.
Result<Pipe> open_report() {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) return fail_errno("socketpair");
  Pipe pair{UniqueFd(fds[0]), UniqueFd(fds[1])};
  if (::fcntl(fds[0], F_SETFL, O_NONBLOCK) != 0) return fail_errno("socketpair");  // of this end alone
  return pair;
}

// As read(2); a descriptor that comes with the bytes is put into `passed`.
ssize_t receive_report(int socket, char* buffer, size_t size, UniqueFd& passed) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  iovec part{buffer, size};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t n = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  const cmsghdr* const header = n > 0 ? CMSG_FIRSTHDR(&message) : nullptr;
  if (header != nullptr && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
    passed.reset(fd);
  }
  return n;
}

Result<Pipe> open_pipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return fail_errno("pipe");
  Pipe pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
  if (::fcntl(fds[0], F_SETFL, O_NONBLOCK) != 0) return fail_errno("pipe");  // of this end alone
  return pipe;
}

// Copies of what the worker gets, numbered above every place where it will find them: no dup2 hits a source of another.
class Handed {
 public:
  explicit Handed(size_t count) : above_(WORKER_FIRST_FD + static_cast<int>(count)) {}
  [[nodiscard]] Status add(int fd, int place) {
    UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, above_));
    if (!copy.valid()) return fail_errno("hand descriptor " + std::to_string(fd) + " to a worker");
    places_.emplace_back(copy.get(), place);
    copies_.push_back(std::move(copy));
    return {};
  }
  [[nodiscard]] const std::vector<std::pair<int, int>>& places() const { return places_; }

 private:
  int above_;
  std::vector<UniqueFd> copies_;
  std::vector<std::pair<int, int>> places_;
};

Status hand_over(Handed& handed, const WorkerLaunch& launch, int message, int report, int output) {
  UniqueFd reader;
  int server_half = launch.server_half;
  if ((::fcntl(server_half, F_GETFL) & O_ACCMODE) != O_RDONLY) {
    auto opened = read_only(server_half);
    if (!opened) return std::unexpected(opened.error());
    reader = std::move(*opened);
    server_half = reader.get();
  }
  std::vector<int> fds = {message, report, server_half, launch.worker_half, launch.helper_bed, launch.worker_bed};
  fds.insert(fds.end(), launch.server_bells.begin(), launch.server_bells.end());
  Status ok = handed.add(output, STDOUT_FILENO);
  if (ok) ok = handed.add(output, STDERR_FILENO);
  for (size_t i = 0; ok && i < fds.size(); ++i) ok = handed.add(fds[i], WORKER_LAUNCH_FD + static_cast<int>(i));
  return ok;
}

bool has_ended(int pidfd) {
  pollfd waits{.fd = pidfd, .events = POLLIN, .revents = 0};
  return ::poll(&waits, 1, 0) > 0;
}

}  // namespace

Result<WorkerProcess> WorkerProcess::spawn(const std::string& executable, const WorkerLaunch& launch, MonoTime now) {
  const auto message = sealed_text(encode_launch(launch));
  if (!message) return std::unexpected(message.error());
  auto report = open_report();
  if (!report) return std::unexpected(report.error());
  auto output = open_pipe();
  if (!output) return std::unexpected(output.error());
  Handed handed(4 + launch.server_bells.size());
  Status ok = hand_over(handed, launch, message->get(), report->write.get(), output->write.get());
  if (!ok) return std::unexpected(ok.error());

  const Attributes attributes;
  const auto init = program_path(executable, "penstock-init");
  const NewPidNamespace pids(launch.sandbox.has_namespaces() && init.has_value());
  WorkerProcess process;
  if (pids.made()) {
    const auto pid = attributes.start(*init, {"penstock-init"}, {}, {});
    if (!pid) return std::unexpected(pid.error());
    auto fd = pidfd_of(*pid);
    if (!fd) return std::unexpected(fd.error());
    process.init_ = std::move(*fd);
    process.init_pid_ = *pid;
  }
  const auto program = program_path(executable, "penstock-worker");
  const std::vector<std::string> words =
      program ? std::vector<std::string>{"penstock-worker"} : std::vector<std::string>{"penstock", "--role", "worker"};
  const auto pid = attributes.start(program.value_or(executable), words, role_environment(environ), handed.places());
  auto fd = pid ? pidfd_of(*pid) : Result<UniqueFd>(std::unexpected(pid.error()));
  if (!fd) {
    process.worker_exit_ = RoleExit{};
    process.kill_and_wait();
    return std::unexpected(fd.error());
  }
  process.pid_ = *pid;
  process.pidfd_ = std::move(*fd);
  process.report_ = std::move(report->read);
  process.output_ = std::move(output->read);
  process.started = now;
  return process;
}

void WorkerProcess::signal(int number) {
  if (worker_exit_) return;
  if (number == SIGKILL && init_.valid()) ::syscall(SYS_pidfd_send_signal, init_.get(), SIGKILL, nullptr, 0);
  ::kill(-pid_, number);  // its group, whose number is taken until it is reaped
  ::syscall(SYS_pidfd_send_signal, pidfd_.get(), number, nullptr, 0);
}

std::vector<pid_t> WorkerProcess::roots() const {
  std::vector<pid_t> out;
  if (!worker_exit_) out.push_back(pid_);
  if (init_.valid()) out.push_back(init_pid_);
  return out;
}

bool WorkerProcess::init_gone(bool wait) {
  if (!init_.valid()) return true;
  ::syscall(SYS_pidfd_send_signal, init_.get(), SIGKILL, nullptr, 0);
  if (!wait) {
    pollfd waits{.fd = init_.get(), .events = POLLIN, .revents = 0};
    (void)::poll(&waits, 1, NAMESPACE_END_MS);
  }
  if (!wait_for_exit(init_.get(), wait)) return false;
  init_.reset();
  return true;
}

std::optional<RoleExit> WorkerProcess::wait_for_end(bool wait) {
  if (exit_) return exit_;
  if (!worker_exit_) {
    if (!wait && !has_ended(pidfd_.get())) return std::nullopt;
    if (!init_.valid() && has_ended(pidfd_.get())) kill_session(pid_);  // what it left behind
    worker_exit_ = wait_for_exit(pidfd_.get(), wait);
    if (!worker_exit_) return std::nullopt;
  }
  if (!init_gone(wait)) return std::nullopt;
  exit_ = worker_exit_;
  return exit_;
}

std::optional<RoleExit> WorkerProcess::reap() { return wait_for_end(false); }

RoleExit WorkerProcess::kill_and_wait() {
  signal(SIGKILL);
  return wait_for_end(true).value_or(RoleExit{});
}

std::optional<Result<SandboxReport>> WorkerProcess::take_report() {
  if (!report_.valid()) return std::nullopt;
  char buffer[4096];
  for (;;) {
    const ssize_t n = receive_report(report_.get(), buffer, sizeof buffer, listener_);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return std::nullopt;
    if (n <= 0 || report_text_.size() > REPORT_BYTES_MAX) break;
    report_text_.append(buffer, static_cast<size_t>(n));
  }
  report_.reset();
  return decode_sandbox_report(report_text_);
}

}  // namespace penstock
