// The parts that runtimes share and that need no worker: lines, children, the loop's timers are seen in cgi_test.cc.
#include "pool/runtimes/gateway/child_process.h"
#include "pool/runtimes/gateway/error_lines.h"

#include <csignal>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <string>

namespace penstock {
namespace {

struct TestPipe {
  TestPipe() {
    int fds[2];
    EXPECT_EQ(::pipe2(fds, O_CLOEXEC), 0);
    read.reset(fds[0]);
    write.reset(fds[1]);
  }
  std::string take() {
    pollfd waits{.fd = read.get(), .events = POLLIN, .revents = 0};
    std::string all;
    while (::poll(&waits, 1, 0) == 1 && (waits.revents & POLLIN) != 0) {
      char room[65'536];
      const ssize_t size = ::read(read.get(), room, sizeof room);
      if (size <= 0) break;
      all.append(room, static_cast<size_t>(size));
    }
    return all;
  }
  UniqueFd read;
  UniqueFd write;
};

TEST(ErrorLines, are_whole_and_harmless) {
  TestPipe pipe;
  ErrorOutput output(pipe.write.get());
  ErrorLines lines(output, "[7] ");
  for (const char c : std::string("one\r\ntwo\x1b[31m\n\n\xc3\xa4\tz")) lines.feed({&c, 1});
  EXPECT_EQ(pipe.take(), "[7] one\n[7] two\\x1b[31m\n[7] \n");
  lines.finish();
  lines.finish();
  EXPECT_EQ(pipe.take(), "[7] \xc3\xa4\tz\n");
}

TEST(ErrorLines, cut_what_is_too_long) {
  TestPipe pipe;
  ErrorOutput output(pipe.write.get());
  ErrorLines lines(output, "");
  const std::string piece(ErrorOutput::LINE_BYTES_MAX, 'x');
  lines.feed(piece + piece + "end\n");
  EXPECT_EQ(pipe.take(), piece + "\n" + piece + "\nend\n");
}

TEST(ErrorOutput, counts_what_nobody_reads_and_never_waits) {
  TestPipe pipe;
  ErrorOutput output(pipe.write.get());
  const std::string text(1'000, 'x');
  for (int i = 0; i < 200; ++i) output.line("", text);
  EXPECT_GT(output.lost(), 100U);
  const uint64_t lost = output.lost();
  EXPECT_EQ((200 - lost) * 1'001, pipe.take().size());
  output.line("", "again");
  EXPECT_EQ(pipe.take(), std::to_string(lost) + " lines were lost: nobody read this log\nagain\n");
  EXPECT_EQ(output.lost(), 0U);
}

class Children : public ::testing::Test {
 protected:
  ChildProcess run(const std::string& script) {
    return ChildProcess::spawn({.program = "/bin/sh",
                                .words = {"sh", "-c", script},
                                .environment = {nullptr},
                                .directory = "/usr",
                                .out = out.write.get(),
                                .err = out.write.get()})
        .value();
  }
  static ChildExit end_of(ChildProcess& child) {
    pollfd waits{.fd = child.pidfd(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&waits, 1, 10'000), 1);
    return child.poll().value();
  }
  TestPipe out;
};

TEST_F(Children, have_three_descriptors_and_a_directory) {
  ChildProcess child = run("pwd; ls /proc/self/fd; readlink /proc/self/fd/0; cat /proc/$$/environ");
  EXPECT_EQ(end_of(child).text(), "ended with code 0");
  EXPECT_EQ(out.take(), "/usr\n0\n1\n2\n3\n/dev/null\n") << "3 is ls reading the directory";
  child.reap();
}

TEST_F(Children, say_how_they_ended) {
  ChildProcess one = run("exit 3");
  EXPECT_EQ(end_of(one).text(), "ended with code 3");
  ChildProcess two = run("kill -SEGV $$");
  EXPECT_EQ(end_of(two).text(), "was killed by SIGSEGV");
  EXPECT_EQ(end_of(two).text(), "was killed by SIGSEGV") << "until it is reaped";
}

TEST_F(Children, take_no_signal_setting_of_ours) {
  ::signal(SIGPIPE, SIG_IGN);
  ChildProcess child = run("kill -PIPE $$; echo still here");
  EXPECT_EQ(end_of(child).text(), "was killed by SIGPIPE");
  ::signal(SIGPIPE, SIG_DFL);
}

TEST_F(Children, are_killed_with_their_group) {
  ChildProcess child = run("trap '' TERM; (trap '' TERM; echo ready; exec cat /dev/zero >/dev/null) & exit 0");
  EXPECT_EQ(end_of(child).code, 0);
  pollfd waits{.fd = out.read.get(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(::poll(&waits, 1, 10'000), 1);
  EXPECT_EQ(out.take(), "ready\n");
  const pid_t group = child.pid();
  EXPECT_EQ(::kill(-group, 0), 0);
  child.reap();
  out.write.reset();
  ASSERT_EQ(::poll(&waits, 1, 10'000), 1);
  EXPECT_NE(waits.revents & POLLHUP, 0) << "the last of the group has let go of its stdout";
}

TEST_F(Children, are_not_started_where_that_cannot_be) {
  const auto child = ChildProcess::spawn(
      {.program = "/nowhere/program", .words = {"x"}, .environment = {nullptr}, .out = 1, .err = 2});
  ASSERT_FALSE(child);
  EXPECT_EQ(child.error().code, ENOENT);
  EXPECT_EQ(child.error().message, "start /nowhere/program: No such file or directory");
}

}  // namespace
}  // namespace penstock
