// Each row tries one thing that a broken-in server or logd would want, and names the only acceptable answer.
// Without its rule in pool/sandbox a row fails: the child would answer "could do it".
#include "tests/sandbox/try.h"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/io_uring.h>
#include <linux/sched.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace penstock::test {
namespace {

using Kind = Outcome::Kind;

struct Attempt {
  const char* name;
  int (*action)();
};

int exec_shell() {
  char path[] = "/bin/true";
  char* const args[] = {path, nullptr};
  return result_of(::execve(path, args, nullptr));
}

int clone_process() { return result_of(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr)); }

int map_executable() {
  void* p = ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return p == MAP_FAILED ? errno : 0;
}

int make_executable() {
  void* p = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return result_of(::mprotect(p, 4096, PROT_READ | PROT_EXEC));
}

int new_ring() {
  io_uring_params params{};
  return result_of(::syscall(SYS_io_uring_setup, 8, &params));
}

int raise_limit() {
  const rlimit limit{1 << 20, 1 << 20};
  return result_of(::setrlimit(RLIMIT_NOFILE, &limit));
}

// Killed in every role.
constexpr Attempt KILLED_EVERYWHERE[] = {
    {"execve", &exec_shell},
    {"fork", &clone_process},
    {"ptrace", [] { return result_of(::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr)); }},
    {"inet_socket", [] { return result_of(::socket(AF_INET, SOCK_STREAM, 0)); }},
    {"packet_socket", [] { return result_of(::socket(AF_PACKET, SOCK_RAW, 0)); }},
    {"netlink_socket", [] { return result_of(::socket(AF_NETLINK, SOCK_RAW, 0)); }},
    {"unix_socket", [] { return result_of(::socket(AF_UNIX, SOCK_STREAM, 0)); }},
    {"mmap_exec", &map_executable},
    {"mprotect_exec", &make_executable},
    {"io_uring_setup", &new_ring},
    {"mount", [] { return result_of(::mount("none", "/tmp", "tmpfs", 0, nullptr)); }},
    {"kill_parent", [] { return result_of(::kill(::getppid(), 0)); }},
    {"tgkill_parent", [] { return result_of(::syscall(SYS_tgkill, ::getppid(), ::getppid(), 0)); }},
    {"setuid_root", [] { return result_of(::setuid(0)); }},
    {"unshare", [] { return result_of(::unshare(CLONE_NEWUSER)); }},
    {"bpf", [] { return result_of(::syscall(SYS_bpf, 0, nullptr, 0)); }},
    {"perf_event", [] { return result_of(::syscall(SYS_perf_event_open, nullptr, 0, -1, -1, 0)); }},
    {"process_vm_read",
     [] { return result_of(::syscall(SYS_process_vm_readv, ::getppid(), nullptr, 0, nullptr, 0, 0)); }},
    {"pidfd_getfd", [] { return result_of(::syscall(SYS_pidfd_getfd, 0, 0, 0)); }},
    {"chmod", [] { return result_of(::chmod("/tmp", 0777)); }},
    {"symlink", [] { return result_of(::symlink("/etc/passwd", "/tmp/penstock-sandbox-link")); }},
    {"raise_limit", &raise_limit},
    {"dumpable_again", [] { return result_of(::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)); }},
    {"chroot", [] { return result_of(::chroot("/tmp")); }},
    {"keyctl", [] { return result_of(::syscall(SYS_keyctl, 0, 0, 0, 0, 0)); }},
    {"init_module", [] { return result_of(::syscall(SYS_init_module, nullptr, 0, nullptr)); }},
    {"x32_call", [] { return result_of(::syscall(0x40000000 + 39)); }},
};

// Killed in the server and keyd: logd has a use for them within its directories.
constexpr Attempt KILLED_IN_SERVER[] = {
    {"open_for_write", [] { return result_of(::open("/dev/null", O_WRONLY)); }},
    {"create_file", [] { return result_of(::open("/tmp/penstock-sandbox-new", O_RDONLY | O_CREAT, 0600)); }},
    {"truncate_file", [] { return result_of(::open("/dev/null", O_RDONLY | O_TRUNC)); }},
    {"temporary_file", [] { return result_of(::open("/tmp", O_RDWR | O_TMPFILE, 0600)); }},
    {"rename", [] { return result_of(::rename("/tmp/penstock-a", "/tmp/penstock-b")); }},
    {"unlink", [] { return result_of(::unlink("/tmp/penstock-sandbox-none")); }},
    {"setsockopt_of_ip", [] { return result_of(::setsockopt(0, IPPROTO_IP, IP_OPTIONS, nullptr, 0)); }},
    {"setsockopt_to_receive_tls", [] { return result_of(::setsockopt(0, SOL_TLS, TLS_RX, nullptr, 0)); }},
};

// Killed in logd and keyd, which have no connection to anyone.
constexpr Attempt KILLED_OFF_LINE[] = {
    {"accept", [] { return result_of(::accept4(0, nullptr, nullptr, 0)); }},
    {"io_uring_enter", [] { return result_of(::syscall(SYS_io_uring_enter, 0, 0, 0, 0, nullptr, 0)); }},
    {"sendto", [] { return result_of(::sendto(0, "x", 1, 0, nullptr, 0)); }},
    {"setsockopt", [] { return result_of(::setsockopt(0, SOL_SOCKET, SO_DEBUG, nullptr, 0)); }},
};

// Killed in keyd only: it opens nothing at all, and what it may write to it has been given.
constexpr Attempt KILLED_IN_KEYD[] = {
    {"open_for_reading", [] { return result_of(::open("/dev/null", O_RDONLY)); }},
    {"open_key_file", [] { return result_of(::openat(AT_FDCWD, "/etc/ssl/private/key.pem", O_RDONLY)); }},
    {"read_link",
     [] {
       char text[8];
       return result_of(::readlink("/proc/self/exe", text, sizeof text));
     }},
    {"pwrite", [] { return result_of(::pwrite(1, "x", 1, 0)); }},
    {"eventfd", [] { return result_of(::syscall(SYS_eventfd2, 0, 0)); }},
    {"unlock_memory", [] { return result_of(::munlockall()); }},
    {"socketpair",
     [] {
       int ends[2];
       return result_of(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
     }},
};

struct ForbiddenCase {
  SyscallProfile profile;
  Attempt attempt;
};

std::vector<ForbiddenCase> killed_cases() {
  std::vector<ForbiddenCase> cases;
  for (const Attempt& a : KILLED_EVERYWHERE) {
    cases.push_back({SyscallProfile::SERVER, a});
    cases.push_back({SyscallProfile::LOGD, a});
    cases.push_back({SyscallProfile::KEYD, a});
  }
  for (const Attempt& a : KILLED_IN_SERVER) {
    cases.push_back({SyscallProfile::SERVER, a});
    cases.push_back({SyscallProfile::KEYD, a});
  }
  for (const Attempt& a : KILLED_OFF_LINE) {
    cases.push_back({SyscallProfile::LOGD, a});
    cases.push_back({SyscallProfile::KEYD, a});
  }
  for (const Attempt& a : KILLED_IN_KEYD) cases.push_back({SyscallProfile::KEYD, a});
  return cases;
}

class Forbidden : public testing::TestWithParam<ForbiddenCase> {};

TEST_P(Forbidden, kills_the_process) {
  const Outcome outcome = try_in_sandbox(role_profile(GetParam().profile), GetParam().attempt.action);
  EXPECT_EQ(outcome.kind, Kind::KILLED) << outcome;
  EXPECT_EQ(outcome.detail, SIGSYS) << outcome;
}

INSTANTIATE_TEST_SUITE_P(Sandbox, Forbidden, testing::ValuesIn(killed_cases()),
                         [](const testing::TestParamInfo<ForbiddenCase>& row) {
                           const SyscallProfile profile = row.param.profile;
                           const char* role = profile == SyscallProfile::SERVER ? "server_"
                                              : profile == SyscallProfile::LOGD ? "logd_"
                                                                                : "keyd_";
                           return role + std::string(row.param.attempt.name);
                         });

// What a role needs every day must still work, or the lists are wrong in the other direction.
TEST(Sandbox, server_can_start_threads_and_use_memory) {
  const Outcome outcome = try_in_sandbox(role_profile(SyscallProfile::SERVER), [] {
    int answer = 1;
    std::thread thread([&answer] { answer = 0; });
    thread.join();
    return answer;
  });
  EXPECT_EQ(outcome.kind, Kind::DID) << outcome;
}

// And nothing else of what a socket can be told.
TEST(Sandbox, server_can_end_connections_and_give_the_kernel_their_keys) {
  const Outcome outcome = try_in_sandbox(role_profile(SyscallProfile::SERVER), [] {
    constexpr std::pair<int, int> USED[] = {
        {SOL_SOCKET, SO_LINGER}, {IPPROTO_TCP, TCP_NODELAY}, {IPPROTO_TCP, TCP_ULP}, {SOL_TLS, TLS_TX}};
    for (const auto& [level, option] : USED) {
      if (result_of(::setsockopt(-1, level, option, "tls", 4)) != EBADF) return 1;
    }
    return 0;
  });
  EXPECT_EQ(outcome.kind, Kind::DID) << outcome;
}

TEST(Sandbox, threads_made_later_are_confined_too) {
  const Outcome outcome = try_in_sandbox(role_profile(SyscallProfile::SERVER), [] {
    std::thread thread([] { (void)::socket(AF_INET, SOCK_STREAM, 0); });
    thread.join();
    return 0;
  });
  EXPECT_EQ(outcome.kind, Kind::KILLED) << outcome;
}

TEST(Sandbox, refuses_to_be_entered_with_two_threads) {
  // Landlock and capabilities are per thread: a second one would stay outside.
  const pid_t child = ::fork();
  if (child == 0) {
    std::thread other([] { ::pause(); });
    const auto report = enter_sandbox(role_profile(SyscallProfile::SERVER));
    ::_exit(report ? 1 : 0);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST(Sandbox, root_role_without_identity_is_an_error) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  SandboxProfile profile;
  const Outcome outcome = try_in_sandbox(profile, [] { return 0; });
  EXPECT_EQ(outcome.kind, Kind::NOT_ENTERED) << outcome;
  EXPECT_NE(outcome.message.find("may not stay root"), std::string::npos) << outcome.message;
}

TEST(Sandbox, no_privilege_is_left) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const Outcome outcome = try_in_sandbox(role_profile(SyscallProfile::LOGD),
                                         [] { return ::getuid() == 65117 && ::geteuid() == 65117 ? 0 : EPERM; });
  EXPECT_EQ(outcome.kind, Kind::DID) << outcome;
}

TEST(Sandbox, descriptors_not_named_are_closed) {
  const int kept = ::open("/dev/null", O_RDONLY);
  const int other = ::open("/dev/null", O_RDONLY);
  SandboxProfile profile = role_profile(SyscallProfile::SERVER);
  profile.keep_fds = std::vector<int>{kept};
  const Outcome outcome = try_in_sandbox(profile, [kept, other] {
    if (::fcntl(kept, F_GETFD) < 0) return EBADFD;
    return ::fcntl(other, F_GETFD) < 0 && errno == EBADF ? 0 : EEXIST;
  });
  ::close(kept);
  ::close(other);
  EXPECT_EQ(outcome.kind, Kind::DID) << outcome;
}

}  // namespace
}  // namespace penstock::test
