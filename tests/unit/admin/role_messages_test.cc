#include "src/admin/role_messages.h"

#include <fcntl.h>
#include <functional>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace penstock {
namespace {

UniqueFd null_fd() { return UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }
UniqueFd zero_fd() { return UniqueFd(::open("/dev/zero", O_RDONLY | O_CLOEXEC)); }

dev_t device_of(const UniqueFd& fd) {
  struct stat st {};
  EXPECT_EQ(::fstat(fd.get(), &st), 0);
  return st.st_rdev;
}

RoleListener listener(uint32_t id, int32_t reactor, std::string address, UniqueFd fd) {
  RoleListener out;
  out.id = id;
  out.reactor = reactor;
  out.address = std::move(address);
  out.fd = std::move(fd);
  return out;
}

ChannelMessage pass_message(const std::function<Status(Channel&)>& send) {
  auto pair = Channel::make_pair();
  Channel role(std::move(pair->theirs), ChannelSide::ROLE);
  EXPECT_TRUE(send(pair->ours));
  auto got = role.receive();
  EXPECT_TRUE(got && got->has_value());
  return std::move(**got);
}

RoleStart example_start() {
  RoleStart start;
  start.role = "server";
  start.generation = 17;
  start.config_text = "cache.size = 1g\n# \xff not UTF-8\n";
  start.reactors = 2;
  start.server_epoch = 5;
  start.as_root = true;
  start.uid = 65117;
  start.gid = 65118;
  start.identity_name = "penstock";
  start.listeners.push_back(listener(3, 1, "[::]:443", zero_fd()));
  start.listeners.push_back(listener(4, RoleListener::ANY_REACTOR, "unix:/x", null_fd()));
  start.listeners[1].is_unix = true;
  start.journals.push_back(null_fd());
  start.journals.push_back(zero_fd());
  start.doorbell = null_fd();
  start.kernel_tap = zero_fd();
  start.connections = null_fd();
  start.place = 1;
  start.port_heard_by_two = true;
  start.certificates_are_new = true;
  return start;
}

TEST(RoleStart, arrives_as_it_was_sent) {
  const RoleStart start = example_start();
  auto got = decode_start(pass_message([&](Channel& channel) { return send_start(channel, start); }));
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(got->role, "server");
  EXPECT_EQ(got->generation, 17U);
  EXPECT_EQ(got->config_text, start.config_text);
  EXPECT_EQ(got->reactors, 2U);
  EXPECT_EQ(got->server_epoch, 5U);
  EXPECT_TRUE(got->as_root);
  EXPECT_EQ(got->uid, 65117U);
  EXPECT_EQ(got->gid, 65118U);
  ASSERT_EQ(got->listeners.size(), 2U);
  EXPECT_EQ(got->listeners[0].address, "[::]:443");
  EXPECT_EQ(got->listeners[0].reactor, 1);
  EXPECT_EQ(device_of(got->listeners[0].fd), device_of(start.listeners[0].fd));
  EXPECT_EQ(got->listeners[1].reactor, RoleListener::ANY_REACTOR);
  EXPECT_TRUE(got->listeners[1].is_unix);
  ASSERT_EQ(got->journals.size(), 2U);
  EXPECT_EQ(device_of(got->journals[1]), device_of(start.journals[1]));
  EXPECT_EQ(device_of(got->doorbell), device_of(start.doorbell));
  EXPECT_EQ(device_of(got->kernel_tap), device_of(start.kernel_tap));
  EXPECT_EQ(device_of(got->connections), device_of(start.connections));
  EXPECT_EQ(got->place, 1U);
  EXPECT_TRUE(got->port_heard_by_two);
  EXPECT_TRUE(got->certificates_are_new);
}

TEST(RoleStart, may_lack_what_a_role_does_not_need) {
  RoleStart start;
  start.role = "logd";
  auto got = decode_start(pass_message([&](Channel& channel) { return send_start(channel, start); }));
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_FALSE(got->doorbell.valid());
  EXPECT_FALSE(got->kernel_tap.valid());
  EXPECT_FALSE(got->port_heard_by_two);
  EXPECT_FALSE(got->certificates_are_new);
  EXPECT_TRUE(got->listeners.empty());
}

// What a broken sender could put into HELLO; every one is an Error, and none leaves a descriptor behind.
TEST(RoleStart, refuses_what_makes_no_sense) {
  const std::pair<const char*, const char*> cases[] = {
      {"no newline", "{}"},
      {"not JSON", "nonsense\n"},
      {"not an object", "[]\n"},
      {"no role", "{}\n"},
      {"unknown role", R"({"role":"root"})"
                       "\n"},
      {"would stay root", R"({"role":"server","as_root":true,"uid":0,"gid":0})"
                          "\n"},
      {"group root", R"({"role":"server","as_root":true,"uid":5,"gid":0})"
                     "\n"},
      {"listener without descriptor", R"({"role":"server","listeners":[{"id":1,"reactor":0,"fd":-1}]})"
                                      "\n"},
      {"descriptor out of range", R"({"role":"server","listeners":[{"id":1,"reactor":0,"fd":7}]})"
                                  "\n"},
      {"listener that is a number", R"({"role":"server","listeners":[5]})"
                                    "\n"},
      {"same descriptor twice", R"({"role":"server","journals":[0,0]})"
                                "\n"},
      {"descriptor nobody named", R"({"role":"server"})"
                                  "\n"},
      {"doorbell that is text", R"({"role":"server","doorbell":"x"})"
                                "\n"},
  };
  for (const auto& [what, payload] : cases) {
    ChannelMessage message;
    message.kind = MessageKind::HELLO;
    message.payload = payload;
    message.fds.push_back(null_fd());
    EXPECT_FALSE(decode_start(std::move(message))) << what;
  }
}

TEST(RoleConfig, carries_descriptors_of_new_listeners_only) {
  RoleConfig config;
  config.generation = 2;
  config.config_text = "a = b\n";
  config.listeners.push_back(listener(1, 0, "127.0.0.1:80", UniqueFd()));
  config.listeners.push_back(listener(2, 0, "127.0.0.1:81", zero_fd()));
  auto got = decode_config(pass_message([&](Channel& channel) { return send_config(channel, 9, config); }));
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(got->generation, 2U);
  EXPECT_EQ(got->config_text, "a = b\n");
  EXPECT_FALSE(got->listeners[0].fd.valid());
  EXPECT_TRUE(got->listeners[1].fd.valid());
}

TEST(ReadyReport, arrives_as_it_was_sent) {
  ReadyReport report;
  report.transport = "epoll (io_uring refused)";
  report.sandbox = {{"seccomp", true, "list"}, {"landlock", false, "old \"kernel\"\n"}};
  const auto got = decode_ready(encode_ready(report));
  ASSERT_TRUE(got);
  EXPECT_EQ(got->transport, report.transport);
  ASSERT_EQ(got->sandbox.size(), 2U);
  EXPECT_FALSE(got->sandbox[1].holds);
  EXPECT_EQ(got->sandbox[1].detail, "old \"kernel\"\n");
  EXPECT_FALSE(decode_ready("["));
}

}  // namespace
}  // namespace penstock
