#include "src/admin/key_messages.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <utility>

namespace penstock {
namespace {

class KeyMessages : public testing::Test {
 protected:
  ChannelMessage received() {
    auto got = role_.receive();
    EXPECT_TRUE(got && got->has_value());
    return std::move(**got);
  }
  static ChannelMessage message(MessageKind kind, std::string payload, size_t fds) {
    ChannelMessage out{.kind = kind, .payload = std::move(payload)};
    for (size_t i = 0; i < fds; ++i) out.fds.emplace_back(::eventfd(0, EFD_CLOEXEC));
    return out;
  }

  Channel::Pair pair_ = std::move(*Channel::make_pair());
  Channel role_{std::move(pair_.theirs), ChannelSide::ROLE};
};

TEST_F(KeyMessages, arrive_as_they_were_sent) {
  ASSERT_TRUE(send_key_files(pair_.ours, {"/a", "/b c\n"}).has_value());
  EXPECT_EQ(*decode_key_files(received()), (std::vector<std::string>{"/a", "/b c\n"}));
  ASSERT_TRUE(send_key_file(pair_.ours, {.file = "/a", .fd = UniqueFd(::eventfd(0, 0))}).has_value());
  auto opened = decode_key_file(received());
  ASSERT_TRUE(opened.has_value());
  EXPECT_TRUE(opened->fd.valid());
  ASSERT_TRUE(send_key_file(pair_.ours, {.file = "/a", .problem = "open: no"}).has_value());
  auto failed = decode_key_file(received());
  ASSERT_TRUE(failed.has_value());
  EXPECT_FALSE(failed->fd.valid());
  EXPECT_EQ(failed->problem, "open: no");
  EXPECT_FALSE(failed->kept.valid());
  ASSERT_TRUE(
      send_key_file(pair_.ours, {.file = "/a", .fd = UniqueFd(::eventfd(0, 0)), .kept = UniqueFd(::eventfd(7, 0))}));
  auto both = decode_key_file(received());
  ASSERT_TRUE(both.has_value());
  uint64_t number = 0;
  EXPECT_EQ(::read(both->kept.get(), &number, sizeof number), 8);
  EXPECT_EQ(number, 7U);
  EXPECT_TRUE(both->fd.valid());
  ASSERT_TRUE(send_key_file(pair_.ours, {.file = "/a", .problem = "open: no", .kept = UniqueFd(::eventfd(0, 0))}));
  auto kept = decode_key_file(received());
  ASSERT_TRUE(kept.has_value());
  EXPECT_TRUE(kept->kept.valid() && !kept->fd.valid());
  std::vector<UniqueFd> fds;
  for (int i = 0; i < 4; ++i) fds.emplace_back(::eventfd(0, EFD_CLOEXEC));
  ASSERT_TRUE(send_key_channels(pair_.ours, 9, fds).has_value());
  auto channels = decode_key_channels(received());
  ASSERT_TRUE(channels.has_value());
  EXPECT_EQ(channels->server, 9U);
  EXPECT_EQ(channels->fds.size(), 4U);
  const auto breach = decode_key_breach(message(MessageKind::KEY_BREACH, encode_key_breach({3, "lied"}), 0));
  ASSERT_TRUE(breach.has_value());
  EXPECT_EQ(breach->server, 3U);
  EXPECT_EQ(breach->what, "lied");
}

TEST_F(KeyMessages, that_make_no_sense_are_refused) {
  EXPECT_FALSE(decode_key_files(message(MessageKind::KEY_FILES, "[]", 0)).has_value());
  EXPECT_FALSE(decode_key_files(message(MessageKind::KEY_FILES, R"({"files":[1]})", 0)).has_value());
  EXPECT_FALSE(decode_key_file(message(MessageKind::KEY_FILE, R"({"file":"/a"})", 0)).has_value());
  EXPECT_FALSE(decode_key_file(message(MessageKind::KEY_FILE, R"({"file":"/a"})", 2)).has_value());
  EXPECT_FALSE(decode_key_file(message(MessageKind::KEY_FILE, R"({"file":"/a","problem":"x"})", 1)).has_value());
  EXPECT_FALSE(decode_key_file(message(MessageKind::KEY_FILE, R"({"file":"/a","kept":1})", 1)).has_value());
  EXPECT_FALSE(
      decode_key_file(message(MessageKind::KEY_FILE, R"({"file":"/a","problem":"x","kept":1})", 2)).has_value());
  EXPECT_FALSE(decode_key_channels(message(MessageKind::KEY_CHANNELS, R"({"server":1})", 0)).has_value());
  EXPECT_FALSE(decode_key_channels(message(MessageKind::KEY_CHANNELS, R"({"server":1})", 3)).has_value());
  EXPECT_FALSE(decode_key_breach(message(MessageKind::KEY_BREACH, "x", 0)).has_value());
}

}  // namespace
}  // namespace penstock
