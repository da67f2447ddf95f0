// Every way in which io_uring can be refused ends on epoll, in a moment, with one line that says which way it was.
//
// Each case runs in a child process that puts itself under a seccomp filter first.
#include "src/base/clock.h"
#include "src/transport/select.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <seccomp.h>
#include <string>
#include <sys/socket.h>
#include <sys/wait.h>

namespace penstock {
namespace {

struct RingRefusal {
  const char* name;
  int call;  // of the system calls of io_uring
  int error;
  const char* expected;          // part of the line
  const char* sysctl = nullptr;  // contents of what stands in for io_uring_disabled
};

void forbid(int call, int error) {
  scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
  if (seccomp_rule_add(filter, SCMP_ACT_ERRNO(static_cast<uint32_t>(error)), call, 0) != 0) ::_exit(100);
  if (seccomp_load(filter) != 0) ::_exit(101);
  seccomp_release(filter);
}

int listen_on_loopback(sockaddr_in& address) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(fd, 8) != 0) ::_exit(102);
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  return fd;
}

// Opens a transport under the filter, and has it echo one message. Returns the exit code of the child.
int serve_once(const RingRefusal& refusal, const char* sysctl_path, std::string& line) {
  forbid(refusal.call, refusal.error);
  RealClock clock;
  const MonoTime start = clock.now();
  UringOptions uring;
  uring.ring.disabled_sysctl_path = sysctl_path;
  Result<OpenedTransport> opened = open_transport(TransportKind::URING, {.connections_max = 64}, uring);
  if (!opened) return 1;
  Transport& transport = *opened->transport;
  line = opened->note;
  if (std::string(transport.name()) != "epoll") return 2;
  if (clock.now() - start > seconds(1)) return 3;

  sockaddr_in address{};
  if (!transport.add_listener(listen_on_loopback(address), 1)) return 4;
  const int client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (::connect(client, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return 5;
  if (::send(client, "ping", 4, 0) != 4) return 6;
  std::vector<TransportEvent> events(8);
  for (int turns = 0; turns < 100; ++turns) {
    const size_t count = transport.poll(clock.now(), clock.now() + milliseconds(100), events);
    for (size_t i = 0; i < count; ++i) {
      if (events[i].kind == TransportEventKind::RECEIVED) {
        transport.send_bytes(events[i].conn, events[i].data, events[i].size);
      }
      if (events[i].kind == TransportEventKind::SENT) {
        char answer[4];
        return ::recv(client, answer, 4, MSG_WAITALL) == 4 && std::string(answer, 4) == "ping" ? 0 : 7;
      }
    }
  }
  return 8;
}

class Fallback : public testing::TestWithParam<RingRefusal> {};

TEST_P(Fallback, serves_over_epoll_and_says_in_one_line_why) {
  const RingRefusal& refusal = GetParam();
  const char* sysctl_path = "/nonexistent";
  char path[] = "/tmp/penstock-sysctl-XXXXXX";
  if (refusal.sysctl != nullptr) {
    const int fd = ::mkstemp(path);
    ASSERT_EQ(::write(fd, refusal.sysctl, 2), 2);
    ::close(fd);
    sysctl_path = path;
  }
  int line_pipe[2];
  ASSERT_EQ(::pipe(line_pipe), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    std::string line;
    const int code = serve_once(refusal, sysctl_path, line);
    if (::write(line_pipe[1], line.data(), line.size()) < 0) ::_exit(103);
    ::_exit(code);
  }
  ::close(line_pipe[1]);
  std::string line(4'096, '\0');
  const ssize_t size = ::read(line_pipe[0], line.data(), line.size());
  line.resize(size < 0 ? 0 : static_cast<size_t>(size));
  ::close(line_pipe[0]);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  if (refusal.sysctl != nullptr) ::unlink(path);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_TRUE(line.starts_with("transport: epoll instead of io_uring: ")) << line;
  EXPECT_NE(line.find(refusal.expected), std::string::npos) << line;
  EXPECT_EQ(line.find('\n'), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(
    Refusals, Fallback,
    testing::Values(
        RingRefusal{"setup_enosys", SCMP_SYS(io_uring_setup), ENOSYS, "io_uring_setup refused: ENOSYS"},
        RingRefusal{"setup_eperm", SCMP_SYS(io_uring_setup), EPERM, "seccomp filter or a security module"},
        RingRefusal{"setup_eopnotsupp", SCMP_SYS(io_uring_setup), EOPNOTSUPP, "EOPNOTSUPP"},
        RingRefusal{"setup_enomem", SCMP_SYS(io_uring_setup), ENOMEM, "ulimit -l"},
        RingRefusal{"setup_einval", SCMP_SYS(io_uring_setup), EINVAL, "older than"},
        RingRefusal{"register_eperm", SCMP_SYS(io_uring_register), EPERM, "io_uring_register refused: EPERM"},
        RingRefusal{"enter_enosys", SCMP_SYS(io_uring_enter), ENOSYS, "io_uring_enter refused: ENOSYS"},
        RingRefusal{"enter_eperm", SCMP_SYS(io_uring_enter), EPERM, "io_uring_enter refused: EPERM"},
        RingRefusal{"sysctl_2", SCMP_SYS(io_uring_setup), EPERM, "sysctl kernel.io_uring_disabled = 2", "2\n"},
        RingRefusal{"sysctl_1", SCMP_SYS(io_uring_setup), EPERM, "sysctl kernel.io_uring_disabled = 1", "1\n"}),
    [](const auto& one) { return one.param.name; });

TEST(Select, epoll_when_wanted_comes_without_a_line) {
  Result<OpenedTransport> opened = open_transport(TransportKind::EPOLL, {.connections_max = 64});
  ASSERT_TRUE(opened);
  EXPECT_STREQ(opened->transport->name(), "epoll");
  EXPECT_EQ(opened->note, "");
}

}  // namespace
}  // namespace penstock
