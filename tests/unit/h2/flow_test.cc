// Windows, priorities, drain. Section numbers are RFC 9113's.
#include "tests/unit/h2/h2_world.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

const std::string LONG_HEAD = "HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n";

TEST(H2Flow, section_5_2_the_stream_window_opens_only_as_the_upper_side_consumes) {
  H2World world({.cleartext = true, .stream_window_bytes = 4'096});
  world.keep_buffers = true;
  const std::string body(20'000, 'z');
  (void)world.request(H2World::get("/"), &body);
  world.turn(40);
  const auto got = [&] { return std::ranges::count(world.stream(0).received, 'z'); };
  // 65,535 before the client has seen our SETTINGS, so the first flight may be whole; later ones are not.
  const std::string second(20'000, 'z');
  (void)world.request(H2World::get("/"), &second);
  world.turn(40);
  EXPECT_EQ(std::ranges::count(world.stream(1).received, 'z'), 4'096);
  for (int i = 0; i < 20; ++i) {
    for (const uint32_t buffer : world.stream(1).kept) world.transport().release(buffer);
    world.stream(1).kept.clear();
    world.turn();
  }
  EXPECT_EQ(std::ranges::count(world.stream(1).received, 'z'), 20'000);
  EXPECT_EQ(got(), 20'000);
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

TEST(H2Flow, set_receiving_off_holds_back_what_has_come) {
  H2World world;
  const std::string body(20'000, 'z');
  (void)world.request(H2World::get("/"), nullptr);
  world.turn();
  (void)world.request(H2World::get("/b"), &body);
  world.turn(2);
  ASSERT_EQ(world.streams(), 2U);
  world.transport().set_receiving(world.stream(1).handle, false);
  const size_t had = world.stream(1).received.size();
  world.turn(20);
  EXPECT_EQ(world.stream(1).received.size(), had);
  world.transport().set_receiving(world.stream(1).handle, true);
  world.turn(20);
  EXPECT_TRUE(world.stream(1).received.ends_with("\r\n0\r\n\r\n"));
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

TEST(H2Flow, section_6_9_we_keep_to_the_peers_windows) {
  H2World world;
  const nghttp2_settings_entry none[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0}};
  (void)nghttp2_submit_settings(world.client(), 0, none, 1);
  const int32_t id = world.request(H2World::get("/"));
  world.turn();
  world.answer(0, LONG_HEAD + std::string(40'000, 'x'));
  world.turn();
  EXPECT_EQ(world.reply(id).field(":status"), "200");
  EXPECT_EQ(world.reply(id).body, "");
  const uint64_t before = world.transport().bytes_sent(world.stream(0).handle);
  world.turn();
  EXPECT_EQ(world.transport().bytes_sent(world.stream(0).handle), before);  // min-send-rate sees no progress
  (void)nghttp2_submit_window_update(world.client(), 0, id, 20'000);
  world.turn(1);
  EXPECT_EQ(world.reply(id).body.size(), 0U);
  world.turn();  // nghttp2 opens it again by itself
  EXPECT_EQ(world.reply(id).body.size(), 40'000U);
  EXPECT_TRUE(world.reply(id).ended);
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

// A peer that opens its window for streams wide and that for the connection never again has us send its pings' answers
// only: no progress of a stream. Bodies of others are, where its stream is behind them by our choice.
TEST(H2Flow, section_6_9_1_what_passes_a_shut_connection_window_is_no_progress_of_a_stream) {
  H2World world({.cleartext = true}, {.socket_bytes_max = 1'000'000});
  const nghttp2_settings_entry wide[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0x7fffffff}};
  ASSERT_EQ(nghttp2_submit_settings(world.client(), 0, wide, 1), 0);
  for (const std::string urgency : {"u=0", "u=6"}) {
    Fields fields = H2World::get("/");
    fields.emplace_back("priority", urgency);
    (void)world.request(fields);
  }
  world.turn();
  world.client_reads = false;  // so it opens nothing by itself
  for (size_t n = 0; n < 2; ++n) {
    world.answer(n, "HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + std::string(200'000, 'x'));
  }
  world.turn();
  const auto sent = [&](size_t n) { return world.transport().bytes_sent(world.stream(n).handle); };
  const auto ping = [&] {
    const uint64_t before = world.transport().bytes_sent(world.carrier().handle);
    for (int i = 0; i < 100; ++i) world.raw(world.frame(NGHTTP2_PING, 0, 0, "12345678"));
    world.turn();
    EXPECT_GE(world.transport().bytes_sent(world.carrier().handle), before + 1'700) << "they are answered";
  };
  const uint64_t first = sent(0);
  const uint64_t second = sent(1);
  EXPECT_GE(first, 65'535U);
  ping();
  EXPECT_EQ(sent(0), first);
  EXPECT_EQ(sent(1), second);
  world.raw(world.frame(NGHTTP2_WINDOW_UPDATE, 0, 0, std::string("\0\0\x27\x10", 4)));  // 10,000
  world.turn();
  EXPECT_EQ(sent(0), first + 20'000) << "its own, and as one of the connection's";
  EXPECT_EQ(sent(1), second + 10'000) << "the other's";
  ping();
  EXPECT_EQ(sent(0), first + 20'000);
  EXPECT_EQ(sent(1), second + 10'000);
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

enum class How { FIELD, FRAME_BEHIND, FRAME_BEFORE };

std::string priority_update(const H2World& world, int32_t id, const std::string& priority) {
  return world.frame(NGHTTP2_PRIORITY_UPDATE, 0, 0, std::string("\0\0\0", 3) + static_cast<char>(id) + priority);
}

// Answers of 40,000 bytes each at once, asked for in this order with these priorities: the stream of each DATA frame,
// one letter a frame, "a" for the first stream.
std::string order_of(const std::vector<std::string>& priorities, How how = How::FIELD) {
  H2World world({.cleartext = true}, {.socket_bytes_max = 8'192});
  const nghttp2_settings_entry wide[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1'000'000}};
  EXPECT_EQ(nghttp2_submit_settings(world.client(), 0, wide, 1), 0);
  EXPECT_EQ(nghttp2_session_set_local_window_size(world.client(), 0, 0, 1'000'000), 0);
  world.turn(2);
  for (size_t n = 0; n < priorities.size(); ++n) {
    Fields fields = H2World::get("/");
    if (how == How::FIELD) fields.emplace_back("priority", priorities[n]);
    // Section 7.1: it may come before the request that it speaks of.
    if (how == How::FRAME_BEFORE) world.raw(priority_update(world, static_cast<int32_t>(2 * n + 1), priorities[n]));
    const int32_t id = world.request(fields);
    if (how != How::FRAME_BEHIND) continue;
    world.turn(1);
    world.raw(priority_update(world, id, priorities[n]));
  }
  world.turn(4);
  EXPECT_EQ(world.streams(), priorities.size());
  world.client_reads = false;
  for (size_t n = 0; n < priorities.size(); ++n) world.answer(n, LONG_HEAD + std::string(40'000, 'x'));
  world.turn(4);
  world.client_reads = true;
  world.turn(200);
  EXPECT_EQ(world.faults_at_end(), NOTHING);
  std::string order;
  for (const int32_t id : world.data_in_order()) order += static_cast<char>('a' + id / 2);
  return order;
}

TEST(H2Flow, rfc_9218_urgency_decides_the_order) {
  for (const How how : {How::FIELD, How::FRAME_BEHIND, How::FRAME_BEFORE}) {
    EXPECT_EQ(order_of({"u=5", "u=3", "u=0"}, how), "cccbbbaaa");
    EXPECT_EQ(order_of({"u=6", "u=7", "u=1"}, how), "cccaaabbb");
    EXPECT_EQ(order_of({"u=0, i", "u=1", "u=0"}, how).substr(6), "bbb") << "whatever they are, more urgent goes first";
  }
}

TEST(H2Flow, rfc_9218_section_4_2_incremental_answers_share_and_others_come_one_by_one) {
  for (const How how : {How::FIELD, How::FRAME_BEHIND, How::FRAME_BEFORE}) {
    EXPECT_EQ(order_of({"u=3", "u=3", "u=3"}, how), "aaabbbccc");
    EXPECT_EQ(order_of({"u=3, i", "u=3, i", "u=3, i"}, how), "abcabcabc");
    EXPECT_EQ(order_of({"i=?0", "u=3", "i=?0"}, how), "aaabbbccc");
  }
  EXPECT_EQ(order_of({"", "", ""}), "aaabbbccc") << "the default";
  EXPECT_EQ(order_of({"i", "i", ""}), order_of({"u=3, i", "u=3, i", "u=3"}));
}

// What is under way is ordered anew: the last of three becomes the first, and one that was alone begins to share.
TEST(H2Flow, rfc_9218_section_7_1_an_update_holds_for_what_is_under_way) {
  H2World world({.cleartext = true}, {.socket_bytes_max = 8'192});
  const nghttp2_settings_entry wide[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 10'000'000}};
  ASSERT_EQ(nghttp2_submit_settings(world.client(), 0, wide, 1), 0);
  ASSERT_EQ(nghttp2_session_set_local_window_size(world.client(), 0, 0, 10'000'000), 0);
  world.turn(2);
  for (int i = 0; i < 3; ++i) (void)world.request(H2World::get("/"));
  world.turn(4);
  const std::string body(400'000, 'x');
  for (size_t n = 0; n < 3; ++n) world.answer(n, "HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n" + body);
  world.turn(6);
  ASSERT_EQ(world.ended_in_order(), std::vector<int32_t>{});
  world.raw(priority_update(world, 5, "u=0"));
  world.turn(400);
  EXPECT_EQ(world.ended_in_order(), (std::vector<int32_t>{5, 1, 3}));
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

TEST(H2Flow, section_6_8_drain_says_goaway_and_finishes_what_runs) {
  H2World world;
  const int32_t id = world.request(H2World::get("/"));
  world.turn();
  world.transport().drain(world.carrier().handle);
  world.turn();
  EXPECT_EQ(world.goaway(), int64_t{NGHTTP2_NO_ERROR});
  world.transport().drain(world.carrier().handle);
  world.turn();
  world.answer(0, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
  world.turn();
  EXPECT_EQ(world.reply(id).body, "x");
  EXPECT_TRUE(world.carrier().failed);  // there is nothing left to be done on it
  EXPECT_EQ(world.noted(), std::vector<Reason>{});
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

TEST(H2Flow, closing_the_carrier_says_goaway_and_fails_its_streams) {
  H2World world;
  (void)world.request(H2World::get("/"));
  world.turn();
  world.close(world.carrier());
  world.turn();
  EXPECT_EQ(world.goaway(), int64_t{NGHTTP2_NO_ERROR});
  EXPECT_TRUE(world.stream(0).failed);
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

TEST(H2Flow, survives_every_fault_of_the_transport_below) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SimFaults faults = SimFaults::from_seed(seed);
    H2World world({.cleartext = true}, faults, seed);
    world.piece = 1 + seed * 37 % 500;
    const std::string body(3'000, 'b');
    for (int i = 0; i < 6; ++i) (void)world.request(H2World::get("/"), i % 2 == 0 ? nullptr : &body);
    size_t answered = 0;
    for (int i = 0; i < 60; ++i) {
      world.turn(3);
      for (; answered < world.streams(); ++answered) {
        if (!world.transport().is_open(world.stream(answered).handle) || world.stream(answered).failed) continue;
        world.answer(answered, LONG_HEAD + std::string(40'000, 'x'), answered % 3 != 0);
        if (answered % 5 == 4) world.close(world.stream(answered), answered % 2 == 0);
      }
    }
    EXPECT_EQ(world.faults_at_end(), NOTHING) << "seed " << seed;
  }
}

}  // namespace
}  // namespace penstock
