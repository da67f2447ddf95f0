// Changes of a running instance: what is applied, what is refused, and that nothing is lost by either.
#include "src/admin/control_socket.h"
#include "src/admin/unix_socket.h"
#include "tests/process/instance.h"

#include <array>
#include <atomic>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace penstock::test {
namespace {

std::string value_of(Instance& instance, const std::string& key) {
  const Json answer = instance.call({{"cmd", "sysctl.get"}, {"keys", {key}}});
  const Json& entries = json_array(answer, "entries");
  return entries.empty() ? "" : json_text(entries[0], "value");
}

uint64_t generation(Instance& instance) { return json_number(instance.status()["config"], "generation"); }

TEST(LiveChange, is_applied_by_the_same_server_process) {
  Instance instance;
  instance.start();
  const pid_t server = instance.role_pid("server");
  const Json answer = instance.call(set_request({"cache.size=64m", "limits.head_bytes=32k"}));
  EXPECT_TRUE(json_flag(answer, "ok")) << answer;
  EXPECT_EQ(json_number(answer, "generation"), 2U);
  EXPECT_EQ(value_of(instance, "cache.size"), "64m");
  EXPECT_EQ(instance.role_pid("server"), server);
}

TEST(LiveChange, is_all_or_nothing) {
  Instance instance;
  instance.start();
  const Json answer = instance.call(set_request({"cache.size=64m", "limits.head_bytes=none"}));
  EXPECT_FALSE(json_flag(answer, "ok"));
  EXPECT_EQ(value_of(instance, "cache.size"), "256m");
  EXPECT_EQ(generation(instance), 1U);
}

TEST(LiveChange, to_a_user_that_no_role_can_be_is_refused) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  Instance instance;
  instance.start();
  const Json answer = instance.call(set_request({"alarm.user=no-such-user"}));
  EXPECT_FALSE(json_flag(answer, "ok"));
  EXPECT_EQ(json_text(answer, "kind"), "config") << answer;
  EXPECT_NE(json_text(answer, "error").find("-w: alarm.user: expected auto, or a user"), std::string::npos) << answer;
}

TEST(LiveChange, with_an_old_generation_is_refused) {
  Instance instance;
  instance.start();
  Json request = set_request({"cache.size=64m"});
  request["if_generation"] = 1;
  EXPECT_TRUE(json_flag(instance.call(request), "ok"));
  request["assignments"] = {"cache.size=32m"};
  EXPECT_FALSE(json_flag(instance.call(request), "ok"));
  EXPECT_EQ(value_of(instance, "cache.size"), "64m");
}

TEST(LiveChange, that_the_server_refuses_changes_nothing) {
  Instance instance;
  instance.start();
  const Json answer =
      instance.call(set_request({"server.backlog=666", "server.listen=127.0.0.1:0 unix:" + instance.path("new.sock")}));
  EXPECT_FALSE(json_flag(answer, "ok"));
  EXPECT_TRUE(contains(json_text(answer, "error"), "666 is not liked")) << answer;
  EXPECT_EQ(generation(instance), 1U);
  EXPECT_NE(::access(instance.path("new.sock").c_str(), F_OK), 0) << "the listener opened for it stayed";
  EXPECT_NE(get(instance.port(), "/pid"), "");
}

TEST(LiveChange, that_kills_the_server_changes_nothing) {
  Instance instance;
  instance.start();
  const Json answer = instance.call(set_request({"server.backlog=667"}));
  EXPECT_FALSE(json_flag(answer, "ok")) << answer;
  EXPECT_EQ(value_of(instance, "server.backlog"), "4096");
  EXPECT_TRUE(Instance::eventually([&] { return instance.role_pid("server") != 0; }));
}

TEST(LiveChange, opens_and_closes_listeners) {
  Instance instance;
  instance.start();
  const uint16_t port = instance.port();
  const std::string socket = instance.path("site.sock");
  ASSERT_TRUE(json_flag(instance.call(set_request({"server.listen=unix:" + socket})), "ok"));
  Client unix_client(socket);
  ASSERT_TRUE(unix_client.connected());
  unix_client.ask("/pid");
  EXPECT_EQ(unix_client.body(), std::to_string(instance.role_pid("server")));
  EXPECT_FALSE(Client(port).connected());
  ASSERT_TRUE(json_flag(instance.call(set_request({"server.listen=127.0.0.1:0"})), "ok"));
  EXPECT_NE(::access(socket.c_str(), F_OK), 0) << "the socket file stayed";
  EXPECT_NE(get(instance.port(), "/pid"), "");
}

TEST(LiveChange, an_address_in_use_is_refused_with_its_name) {
  Instance other;
  other.start();
  Instance instance;
  instance.start();
  const std::string address = "127.0.0.1:" + std::to_string(other.port());
  const Json answer = instance.call(set_request({"server.listen=" + address}));
  EXPECT_FALSE(json_flag(answer, "ok"));
  EXPECT_TRUE(contains(json_text(answer, "error"), address)) << answer;
}

TEST(LiveChange, several_reactors_do_not_hide_an_address_in_use) {
  // SO_REUSEPORT would let two instances share a port in silence.
  Instance other;
  other.set.back() = "server.reactors=2";
  other.start();
  Instance instance;
  instance.set.back() = "server.reactors=2";
  instance.start();
  ASSERT_EQ(json_number(instance.status(), "reactors"), 2U);
  const std::string address = "127.0.0.1:" + std::to_string(other.port());
  EXPECT_FALSE(json_flag(instance.call(set_request({"server.listen=" + address})), "ok"));
}

TEST(LiveChange, a_root_beyond_the_sandbox_brings_a_new_server_and_loses_nothing) {
  Instance instance;
  instance.start();
  const pid_t first = instance.role_pid("server");
  Client held(instance.port());
  held.ask("/hold");
  ASSERT_TRUE(Instance::eventually([&] { return instance.open_requests() == 1; }));
  const Json answer = instance.call(set_request({"site.b.hosts=b.example", "site.b.root=" + instance.path("other")}));
  EXPECT_TRUE(json_flag(answer, "ok")) << answer;
  EXPECT_NE(instance.role_pid("server"), first);
  EXPECT_NE(instance.role_pid("server"), 0);
  EXPECT_EQ(held.body(), "held") << "the old server did not finish its request";
  EXPECT_EQ(json_number(instance.status()["server"], "restarts"), 0U) << "a planned replacement is no restart";
}

TEST(LiveChange, the_server_can_be_replaced_under_load_without_a_failed_request) {
  Instance instance;
  instance.start();
  const uint16_t port = instance.port();
  std::atomic<bool> done = false;
  std::atomic<int> failed = 0;
  std::atomic<int> served = 0;
  std::thread load([&] {
    while (!done) {
      const std::string body = get(port, "/pid");
      (body.empty() || body == "refused" ? failed : served) += 1;
    }
  });
  pid_t last = 0;
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(json_flag(instance.call({{"cmd", "server.restart"}}), "ok"));
    EXPECT_NE(instance.role_pid("server"), last);
    last = instance.role_pid("server");
  }
  done = true;
  load.join();
  EXPECT_GT(served.load(), 10);
  EXPECT_EQ(failed.load(), 0);
}

TEST(ConfigFile, is_applied_when_saved_and_changes_nothing_when_wrong) {
  Instance instance;
  const std::string base =
      "server.reactors = 1\nserver.listen = 127.0.0.1:0\nsite.a.hosts = *\nsite.a.root = " + instance.path("www") +
      "\n";
  instance.config_text = base;
  instance.start();
  const auto save = [&](const std::string& text) {
    std::ofstream(instance.path("new")) << text;
    ASSERT_EQ(::rename(instance.path("new").c_str(), instance.path("penstock.conf").c_str()), 0);
  };
  save(base + "cache.size = 64m\n");
  EXPECT_TRUE(Instance::eventually([&] { return value_of(instance, "cache.size") == "64m"; }));

  save(base + "cache.size = 64q\n");
  EXPECT_TRUE(Instance::eventually(
      [&] { return contains(json_text(instance.status()["config"], "problem"), "penstock.conf:5: cache.size"); }));
  EXPECT_EQ(value_of(instance, "cache.size"), "64m");
  EXPECT_TRUE(contains(instance.log(), "nothing changed")) << instance.log();

  save(base);
  EXPECT_TRUE(Instance::eventually([&] { return value_of(instance, "cache.size") == "256m"; }));
  EXPECT_EQ(json_text(instance.status()["config"], "problem"), "");
}

TEST(Listeners, a_stale_socket_file_is_reclaimed_at_start) {
  Instance instance;
  const std::string path = instance.path("stale.sock");
  const int dead = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  ASSERT_EQ(::bind(dead, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ::close(dead);
  instance.set[2] = "server.listen=unix:" + path;
  instance.start();
  Client client(path);
  ASSERT_TRUE(client.connected());
  client.ask("/pid");
  EXPECT_EQ(client.body(), std::to_string(instance.role_pid("server")));
}

TEST(Listeners, a_file_that_is_no_socket_is_never_removed) {
  Instance instance;
  const std::string path = instance.path("precious");
  std::ofstream(path) << "text";
  instance.set[2] = "server.listen=unix:" + path;
  instance.spawn();
  EXPECT_EQ(instance.wait_exit(), 1);
  EXPECT_EQ(::access(path.c_str(), F_OK), 0);
}

TEST(Listeners, a_second_instance_on_one_control_socket_is_refused) {
  Instance instance;
  instance.start();
  Instance second;
  ASSERT_EQ(::symlink(instance.path("control.sock").c_str(), second.path("control.sock").c_str()), 0);
  second.spawn();
  EXPECT_EQ(second.wait_exit(), 1);
  EXPECT_NE(instance.role_pid("server"), 0);
}

TEST(Listeners, a_file_in_the_place_of_the_control_socket_is_named_and_left) {
  Instance instance;
  std::ofstream(instance.path("control.sock")) << "mine";
  instance.spawn();
  EXPECT_EQ(instance.wait_exit(), 1);
  EXPECT_NE(instance.log().find("control.sock is there, and is no socket"), std::string::npos) << instance.log();
  EXPECT_EQ(std::filesystem::file_size(instance.path("control.sock")), 4U);
}

TEST(ServiceManager, sockets_it_passes_are_used_and_kept) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&any), sizeof any), 0);
  ASSERT_EQ(::listen(listener, 16), 0);
  socklen_t length = sizeof any;
  ASSERT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&any), &length), 0);

  Instance instance;
  instance.set.erase(instance.set.begin() + 2);  // no server.listen: the sockets say where
  instance.in_child = [listener](SupervisorEnvironment& environment) {
    const int copy = ::fcntl(listener, F_DUPFD, 10);  // 3 may be taken in this process
    ::dup2(copy, 3);
    environment.listen_pid = std::to_string(::getpid());
    environment.listen_fds = "1";
    environment.listen_fdnames = "http";
  };
  instance.start();
  EXPECT_EQ(instance.port(), ntohs(any.sin_port));
  EXPECT_EQ(get(instance.port(), "/pid"), std::to_string(instance.role_pid("server")));
  EXPECT_TRUE(json_flag(instance.status()["listeners"][0], "from_service_manager"));
  ::close(listener);
}

TEST(ServiceManager, is_told_ready_and_stopping) {
  Instance instance;
  const std::string path = instance.path("notify");
  const int socket = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  ASSERT_EQ(::bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  instance.environment.notify_socket = path;
  instance.start();
  EXPECT_EQ(instance.stop(), 0);
  std::string heard;
  char text[1024];
  for (ssize_t n = 0; (n = ::recv(socket, text, sizeof text, MSG_DONTWAIT)) > 0;) {
    heard.append(text, static_cast<size_t>(n));
    heard += "\n";
  }
  ::close(socket);
  EXPECT_TRUE(contains(heard, "READY=1")) << heard;
  EXPECT_TRUE(contains(heard, "STOPPING=1")) << heard;
}

TEST(ControlSocket, a_stuck_client_keeps_nobody_waiting) {
  Instance instance;
  instance.start();
  Client stuck(instance.path("control.sock"));
  ASSERT_TRUE(stuck.connected());
  stuck.ask("/half a request, and no end of line follows");
  EXPECT_TRUE(json_flag(instance.status(), "ok"));
}

TEST(ControlSocket, nonsense_is_answered_with_an_error) {
  Instance instance;
  instance.start();
  EXPECT_FALSE(json_flag(instance.call(Json::array()), "ok"));
  EXPECT_FALSE(json_flag(instance.call({{"cmd", "no.such"}}), "ok"));
  EXPECT_FALSE(json_flag(instance.call({{"cmd", 5}}), "ok"));
  EXPECT_TRUE(json_flag(instance.status(), "ok"));
}

TEST(ControlSocket, a_long_configuration_is_taken_and_a_request_too_long_is_answered) {
  Instance instance;
  instance.start();
  const std::string line = "# " + std::string(2000, '\\') + "\n";  // escaped it is twice as long
  std::string text;
  while (text.size() < CONFIG_TEXT_BYTES_MAX / 6) text += line;
  EXPECT_TRUE(json_flag(instance.call({{"cmd", "sysctl.load"}, {"text", text}, {"source", "f"}}), "ok"));

  const auto fd = connect_unix(instance.path("control.sock"));
  ASSERT_TRUE(fd);
  text.assign(1 << 20, 'x');
  size_t sent = 0;
  while (sent <= 2 * ControlSocket::REQUEST_BYTES_MAX) {
    const ssize_t n = ::send(fd->get(), text.data(), text.size(), MSG_NOSIGNAL);
    if (n < 0) break;
    sent += static_cast<size_t>(n);
  }
  EXPECT_LT(sent, 2 * ControlSocket::REQUEST_BYTES_MAX);
  std::array<char, 200> answer{};
  ASSERT_GT(::recv(fd->get(), answer.data(), answer.size() - 1, 0), 0);
  EXPECT_NE(std::string(answer.data()).find("the request is too long"), std::string::npos) << answer.data();
}

TEST(ControlSocket, questions_for_the_server_come_back_from_it) {
  Instance instance;
  instance.start();
  const Json answer = instance.call({{"cmd", "cache.why"}, {"url", "http://x/y"}});
  EXPECT_TRUE(json_flag(answer, "ok")) << answer;
  EXPECT_EQ(json_text(answer["result"]["asked"], "url"), "http://x/y");
}

TEST(ControlSocket, other_users_cannot_connect) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  Instance instance;
  instance.start();
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setresuid(65000, 65000, 65000) != 0) ::_exit(2);
    ::_exit(Client(instance.path("control.sock")).connected() ? 1 : 0);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

}  // namespace
}  // namespace penstock::test
