// Landlock: what is outside the roots is out of reach, what is inside stays readable and no more.
#include "tests/sandbox/try.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <linux/openat2.h>
#include <netinet/in.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace penstock::test {
namespace {

using Kind = Outcome::Kind;

class SandboxFiles : public testing::Test {
 protected:
  void SetUp() override {
    if (landlock_abi() == 0) GTEST_SKIP() << "the kernel has no Landlock";
    char name[] = "/tmp/penstock-sandbox-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    base_ = name;
    for (const char* dir : {"site", "other", "log"}) std::filesystem::create_directory(base_ + "/" + dir);
    for (const char* file : {"site/page", "other/secret", "log/access.log"}) {
      std::ofstream(base_ + "/" + file) << "text";
      ::chmod((base_ + "/" + file).c_str(), 0666);
    }
    ::symlink("../other/secret", (base_ + "/site/link").c_str());
    for (const char* dir : {"", "/site", "/other", "/log"}) ::chmod((base_ + dir).c_str(), 0777);
    server_ = role_profile(SyscallProfile::SERVER);
    server_.read_only_paths = {base_ + "/site"};
    logd_ = role_profile(SyscallProfile::LOGD);
    logd_.read_write_paths = {base_ + "/log"};
  }
  void TearDown() override {
    if (!base_.empty()) std::filesystem::remove_all(base_);
  }

  Outcome open_in(const SandboxProfile& profile, const std::string& path, int flags) {
    return try_in_sandbox(profile, [&] { return result_of(::open((base_ + path).c_str(), flags, 0600)); });
  }

  std::string base_;
  SandboxProfile server_, logd_;
};

TEST_F(SandboxFiles, server_reads_within_its_root) {
  EXPECT_EQ(open_in(server_, "/site/page", O_RDONLY).kind, Kind::DID);
  EXPECT_EQ(open_in(server_, "/site", O_RDONLY | O_DIRECTORY).kind, Kind::DID);
}

TEST_F(SandboxFiles, server_reads_nothing_outside) {
  for (const char* path : {"/other/secret", "/site/link", "/site/../other/secret"}) {
    const Outcome outcome = open_in(server_, path, O_RDONLY);
    EXPECT_EQ(outcome.kind, Kind::REFUSED) << path << ": " << outcome;
    EXPECT_EQ(outcome.detail, EACCES) << path << ": " << outcome;
  }
  const Outcome passwd = try_in_sandbox(server_, [] { return result_of(::open("/etc/passwd", O_RDONLY)); });
  EXPECT_EQ(passwd.detail, EACCES) << passwd;
  const Outcome proc = try_in_sandbox(server_, [] { return result_of(::open("/proc/self/mem", O_RDONLY)); });
  EXPECT_EQ(proc.detail, EACCES) << proc;
}

// openat2 hides its flags from seccomp: Landlock alone stands between the server and its files.
TEST_F(SandboxFiles, server_cannot_write_through_openat2) {
  for (const uint64_t flags : {uint64_t{O_WRONLY}, uint64_t{O_RDWR}, uint64_t{O_RDONLY | O_TRUNC}}) {
    const Outcome outcome = try_in_sandbox(server_, [&] {
      open_how how{};
      how.flags = flags;
      return result_of(::syscall(SYS_openat2, AT_FDCWD, (base_ + "/site/page").c_str(), &how, sizeof how));
    });
    EXPECT_EQ(outcome.kind, Kind::REFUSED) << outcome;
    EXPECT_EQ(outcome.detail, EACCES) << outcome;
  }
}

TEST_F(SandboxFiles, server_can_watch_and_list_its_root) {
  const Outcome outcome = try_in_sandbox(server_, [&] {
    const int watch = ::inotify_init1(IN_CLOEXEC);
    return result_of(::inotify_add_watch(watch, (base_ + "/site").c_str(), IN_MODIFY));
  });
  EXPECT_EQ(outcome.kind, Kind::DID) << outcome;
}

TEST_F(SandboxFiles, logd_writes_and_rotates_in_its_directory) {
  const Outcome outcome = try_in_sandbox(logd_, [&] {
    const int fd = ::open((base_ + "/log/new.log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0640);
    if (fd < 0 || ::write(fd, "x", 1) != 1 || ::fsync(fd) != 0) return errno;
    if (::rename((base_ + "/log/new.log").c_str(), (base_ + "/log/new.log.1").c_str()) != 0) return errno;
    return result_of(::unlink((base_ + "/log/new.log.1").c_str()));
  });
  EXPECT_EQ(outcome.kind, Kind::DID) << outcome;
}

TEST_F(SandboxFiles, logd_touches_nothing_outside) {
  for (const char* path : {"/other/secret", "/site/page"}) {
    EXPECT_EQ(open_in(logd_, path, O_WRONLY).detail, EACCES) << path;
    EXPECT_EQ(open_in(logd_, path, O_RDONLY).detail, EACCES) << path;
    const Outcome removed = try_in_sandbox(logd_, [&] { return result_of(::unlink((base_ + path).c_str())); });
    EXPECT_EQ(removed.detail, EACCES) << removed;
  }
  EXPECT_EQ(open_in(logd_, "/other/new", O_WRONLY | O_CREAT).detail, EACCES);
}

TEST_F(SandboxFiles, a_missing_root_is_reported_and_stays_denied) {
  server_.read_only_paths = {base_ + "/gone"};
  const Outcome outcome = try_in_sandbox(
      server_, [&] { return result_of(::open((base_ + "/site/page").c_str(), O_RDONLY)) == EACCES ? 0 : EEXIST; });
  EXPECT_EQ(outcome.kind, Kind::DID) << outcome;
}

TEST_F(SandboxFiles, tcp_bind_is_denied_even_on_an_open_socket) {
  if (landlock_abi() < 4) GTEST_SKIP() << "Landlock ABI below 4";
  // bind is not on the list at all; connect neither: SIGSYS comes before Landlock is asked.
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  const Outcome outcome = try_in_sandbox(server_, [fd] {
    sockaddr_in any{};
    any.sin_family = AF_INET;
    return result_of(::bind(fd, reinterpret_cast<sockaddr*>(&any), sizeof any));
  });
  ::close(fd);
  EXPECT_EQ(outcome.kind, Kind::KILLED) << outcome;
}

TEST(LandlockCovers, only_what_is_beneath_a_root) {
  const std::vector<std::string> roots = {"/srv/www", "/data/"};
  EXPECT_TRUE(landlock_covers(roots, "/srv/www"));
  EXPECT_TRUE(landlock_covers(roots, "/srv/www/a/b"));
  EXPECT_TRUE(landlock_covers(roots, "/data/x"));
  EXPECT_FALSE(landlock_covers(roots, "/srv/www2"));
  EXPECT_FALSE(landlock_covers(roots, "/srv"));
  EXPECT_FALSE(landlock_covers({}, "/"));
  EXPECT_TRUE(landlock_covers({"/"}, "/anything"));
}

}  // namespace
}  // namespace penstock::test
