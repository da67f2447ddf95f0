// The small parts of the supervisor: backoff, operator's lines, paths, service manager, listeners.
#include "src/admin/control_socket.h"
#include "src/admin/listener_set.h"
#include "src/admin/notify.h"
#include "src/admin/operator_log.h"
#include "src/admin/restart_backoff.h"
#include "src/admin/role_paths.h"
#include "src/admin/role_process.h"
#include "src/config/tree.h"

#include <arpa/inet.h>
#include <array>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace penstock {
namespace {

class StoppedClock final : public Clock {
 public:
  MonoTime now() override { return {}; }
  WallTime wall() override { return {1'763'780'000'000'000'000}; }
};

TEST(RestartBackoff, first_death_is_answered_at_once) {
  RestartBackoff backoff;
  EXPECT_EQ(backoff.died({0}, MonoTime{} + seconds(1)).ns, 0);
  EXPECT_FALSE(backoff.crash_loop());
}

TEST(RestartBackoff, doubles_up_to_its_longest) {
  RestartBackoff backoff;
  const MonoTime born{};
  const MonoTime died = born + seconds(1);
  (void)backoff.died(born, died);
  EXPECT_EQ(backoff.died(born, died), milliseconds(100));
  EXPECT_EQ(backoff.died(born, died), milliseconds(200));
  EXPECT_TRUE(backoff.crash_loop());
  EXPECT_EQ(backoff.died(born, died), milliseconds(400));
  for (int i = 0; i < 100; ++i) (void)backoff.died(born, died);
  EXPECT_EQ(backoff.died(born, died), RestartBackoff::LONGEST);
}

TEST(RestartBackoff, a_long_life_ends_the_series) {
  RestartBackoff backoff;
  for (int i = 0; i < 10; ++i) (void)backoff.died({}, MonoTime{} + seconds(1));
  EXPECT_EQ(backoff.died({}, MonoTime{} + RestartBackoff::STABLE).ns, 0);
  EXPECT_EQ(backoff.short_lives(), 1U);
}

TEST(EscapeLine, makes_one_line_of_any_bytes) {
  EXPECT_EQ(escape_line("a\nb\x1b[2J\x7f", 100), "a\\x0ab\\x1b[2J\\x7f");
  EXPECT_EQ(escape_line("gr\xc3\xbc\xc3\x9f", 100), "gr\xc3\xbc\xc3\x9f");
  EXPECT_LE(escape_line(std::string(1000, '\n'), 100).size(), 104U);
}

TEST(OperatorLog, writes_one_line_an_event_and_keeps_the_last) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  StoppedClock clock;
  OperatorLog log(clock, ends[1], false);
  log.error("first\nforged");
  char text[256];
  const ssize_t n = ::read(ends[0], text, sizeof text);
  EXPECT_EQ(std::string(text, static_cast<size_t>(n)), "2025-11-22T02:53:20Z penstock: error: first\\x0aforged\n");
  for (size_t i = 0; i < 2 * OperatorLog::KEPT; ++i) log.note(std::to_string(i));
  EXPECT_EQ(log.recent().size(), OperatorLog::KEPT);
  EXPECT_EQ(log.recent().back().text, std::to_string(2 * OperatorLog::KEPT - 1));
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(OperatorLog, waits_for_nobody_who_has_stopped_reading_and_tells_how_much_he_lost) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);  // a write to it waits for room
  StoppedClock clock;
  OperatorLog log(clock, ends[1], true);
  const std::string longest(2 * OperatorLog::LINE_BYTES_MAX, 'x');
  for (int i = 0; i < 200; ++i) log.note(longest);
  ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
  std::string seen(1 << 20, '\0');
  const auto read_all = [&] {
    return seen.substr(0, static_cast<size_t>(std::max<ssize_t>(::read(ends[0], seen.data(), seen.size()), 0)));
  };
  const std::string first = read_all();
  const auto lines = std::count(first.begin(), first.end(), '\n');
  EXPECT_GT(lines, 5);
  EXPECT_EQ(first.back(), '\n');  // no half a line
  log.note("again");
  EXPECT_EQ(read_all(),
            "<4>" + std::to_string(200 - lines) + " lines before this one are lost: nobody took them\n<5>again\n");
  log.note("and on");
  EXPECT_EQ(read_all(), "<5>and on\n");
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(OperatorLog, carries_the_priority_for_the_journal) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  StoppedClock clock;
  OperatorLog log(clock, ends[1], true);
  log.warn("x");
  char text[64];
  const ssize_t n = ::read(ends[0], text, sizeof text);
  EXPECT_EQ(std::string(text, static_cast<size_t>(n)), "<4>x\n");
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(DefaultControlPath, follows_the_user) {
  EXPECT_EQ(default_control_path(0, "/run/user/0"), "/run/penstock/control.sock");
  EXPECT_EQ(default_control_path(1000, "/run/user/1000"), "/run/user/1000/penstock.sock");
  EXPECT_EQ(default_control_path(1000, ""), "/tmp/penstock-1000/control.sock");
  EXPECT_EQ(default_control_path(1000, "relative"), "/tmp/penstock-1000/control.sock");
}

TEST(ActivatedSockets, of_another_process_are_left_alone) {
  const auto none = take_activated_sockets("1", "3", "");
  ASSERT_TRUE(none);
  EXPECT_TRUE(none->empty());
  EXPECT_TRUE(take_activated_sockets("", "", "")->empty());
}

TEST(ActivatedSockets, a_count_that_makes_no_sense_is_an_error) {
  const std::string pid = std::to_string(::getpid());
  EXPECT_FALSE(take_activated_sockets(pid, "-1", ""));
  EXPECT_FALSE(take_activated_sockets(pid, "99999", ""));
  EXPECT_FALSE(take_activated_sockets(pid, "", ""));
}

TEST(RoleEnvironment, passes_only_what_is_named) {
  const char* const environment[] = {"TZ=UTC", "PATH=/bin", "LD_PRELOAD=/evil.so", "ASAN_OPTIONS=x", "TZX=1", nullptr};
  EXPECT_EQ(role_environment(environment), (std::vector<std::string>{"TZ=UTC", "ASAN_OPTIONS=x"}));
}

TEST(RoleExit, says_how_it_ended) {
  RoleExit end;
  end.code = 3;
  EXPECT_EQ(end.text(), "exited with code 3");
  end.signal = 11;
  EXPECT_EQ(end.text(), "was killed by SIGSEGV");
}

Tree tree_of(const std::string& text) {
  auto tree = Tree::from_text(text, "test");
  EXPECT_TRUE(tree.has_value()) << (tree ? "" : to_text(tree.error()));
  return tree ? *tree : Tree();
}

TEST(ServerReadPaths, are_the_roots_each_once) {
  const Tree tree = tree_of(
      "site.a.hosts = *\nsite.a.root = /srv/a\nsite.b.hosts = b.example\nsite.b.root = /srv/a/deep\n"
      "site.a.route.img.prefix = /img\nsite.a.route.img.root = /data/img\n");
  EXPECT_EQ(server_read_paths(tree.settings()), (std::vector<std::string>{"/data/img", "/srv/a"}));
}

TEST(LogdWritePaths, is_the_directory_of_the_log) {
  EXPECT_TRUE(logd_write_paths(tree_of("").settings()).empty());
  EXPECT_EQ(logd_write_paths(tree_of("log.access.path = /var/log/p/access.log\n").settings()),
            (std::vector<std::string>{"/var/log/p"}));
  EXPECT_TRUE(
      logd_write_paths(tree_of("log.access.path = /var/log/p/a.log\nlog.access.format = none\n").settings()).empty());
}

TEST(PathsCovered, asks_for_all) {
  EXPECT_TRUE(paths_covered({"/srv"}, {"/srv/a", "/srv"}));
  EXPECT_FALSE(paths_covered({"/srv"}, {"/srv/a", "/data"}));
  EXPECT_TRUE(paths_covered({}, {}));
}

// --- listeners, on the loopback

ListenAddress loopback(uint16_t port) {
  ListenAddress address;
  address.port = port;
  address.ip = {127, 0, 0, 1};
  return address;
}

TEST(ListenerSet, has_one_socket_per_reactor_on_one_port) {
  ListenerSet set(3, {});
  auto change = set.prepare({loopback(0)}, 16);
  ASSERT_TRUE(change) << change.error().message;
  set.commit(std::move(*change));
  ASSERT_EQ(set.groups().size(), 1U);
  const ListenerGroup& group = set.groups()[0];
  ASSERT_EQ(group.sockets.size(), 3U);
  const auto first = bound_address(group.sockets[0].fd.get());
  ASSERT_TRUE(first);
  EXPECT_NE(first->port, 0);
  EXPECT_EQ(group.bound, to_text(*first));
  for (const ListenerGroup::Socket& socket : group.sockets) EXPECT_EQ(*bound_address(socket.fd.get()), *first);
}

TEST(ListenerSet, a_change_that_fails_opens_nothing) {
  ListenerSet other(2, {});
  auto taken = other.prepare({loopback(0)}, 16);
  ASSERT_TRUE(taken);
  const auto used = bound_address(taken->added[0].sockets[0].fd.get());
  ASSERT_TRUE(used);
  ListenAddress unix_address;
  unix_address.kind = ListenAddress::Kind::UNIX_PATH;
  unix_address.name = testing::TempDir() + "penstock-listener-set.sock";
  ListenerSet set(2, {});
  const auto change = set.prepare({unix_address, *used}, 16);
  ASSERT_FALSE(change);
  EXPECT_NE(change.error().message.find(to_text(*used)), std::string::npos) << change.error().message;
  EXPECT_NE(::access(unix_address.name.c_str(), F_OK), 0) << "the unix listener's file stayed";
}

TEST(ListenerSet, keeps_what_stays_and_gives_new_ids_to_what_comes) {
  ListenerSet set(1, {});
  auto first = set.prepare({loopback(0)}, 16);
  ASSERT_TRUE(first);
  set.commit(std::move(*first));
  const uint32_t old_id = set.groups()[0].sockets[0].id;
  ListenAddress abstract;
  abstract.kind = ListenAddress::Kind::UNIX_ABSTRACT;
  abstract.name = "penstock-listener-set-test-" + std::to_string(::getpid());
  auto second = set.prepare({loopback(0), abstract}, 16);
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_FALSE(second->closes);
  auto table = set.table_for_config(*second);
  ASSERT_TRUE(table);
  ASSERT_EQ(table->size(), 2U);
  EXPECT_EQ((*table)[0].id, old_id);
  EXPECT_FALSE((*table)[0].fd.valid());
  EXPECT_NE((*table)[1].id, old_id);
  EXPECT_TRUE((*table)[1].fd.valid());
  EXPECT_EQ((*table)[1].reactor, RoleListener::ANY_REACTOR);
  set.commit(std::move(*second));
  auto third = set.prepare({abstract}, 16);
  ASSERT_TRUE(third);
  EXPECT_TRUE(third->closes);
  set.commit(std::move(*third));
  EXPECT_EQ(set.groups().size(), 1U);
}

TEST(ListenerSet, ipv6_does_not_take_the_ipv4_address_of_its_port) {
  ListenAddress v6;
  v6.kind = ListenAddress::Kind::IPV6;
  // Somebody else may have the IPv4 port of that number: then another is tried.
  bool both = false;
  for (int tries = 0; tries < 16 && !both; ++tries) {
    ListenerSet set(1, {});
    auto first = set.prepare({v6}, 16);
    if (!first) GTEST_SKIP() << "no IPv6 here: " << first.error().message;
    const auto bound = bound_address(first->added[0].sockets[0].fd.get());
    ASSERT_TRUE(bound);
    ListenAddress v4;
    v4.port = bound->port;
    ListenerSet other(1, {});
    both = other.prepare({v4}, 16).has_value();
  }
  EXPECT_TRUE(both);
}

}  // namespace
}  // namespace penstock
