// What a peer may not do, and what it gets for it. Section numbers are RFC 9113's.
#include "tests/unit/h2/h2_world.h"

#include <algorithm>
#include <gtest/gtest.h>

namespace penstock {
namespace {

// The connection ended with `code` and exactly this note.
void expect_end(H2World& world, uint32_t code, Reason reason) {
  EXPECT_EQ(world.goaway(), int64_t{code});
  EXPECT_EQ(world.noted(), std::vector<Reason>{reason}) << reason_info(reason).name;
  EXPECT_TRUE(world.carrier().failed);
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

// A frame that a connection ends for, right after its preface.
void expect_frame_ends(uint8_t type, uint8_t flags, int32_t stream, std::string_view payload, uint32_t code,
                       Reason reason) {
  H2World world;
  world.turn();
  world.raw(world.frame(type, flags, stream, payload));
  world.turn();
  expect_end(world, code, reason);
}

TEST(H2Limits, section_5_1_2_more_streams_than_the_limit_are_refused) {
  H2World world({.cleartext = true, .streams = 3});
  std::vector<int32_t> ids;
  for (int i = 0; i < 4; ++i) ids.push_back(world.request(H2World::get("/")));
  world.turn();
  EXPECT_EQ(world.streams(), 3U);
  EXPECT_EQ(world.reply(ids[3]).code, uint32_t{NGHTTP2_REFUSED_STREAM});
  EXPECT_EQ(world.noted(), std::vector<Reason>{Reason::H2_STREAMS_LIMIT});
  for (size_t n = 0; n < 3; ++n) world.answer(n, "HTTP/1.1 204 No Content\r\n\r\n");
  world.turn();
  (void)world.request(H2World::get("/"));
  world.turn();
  EXPECT_EQ(world.streams(), 4U);
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

TEST(H2Limits, section_10_5_pings) {
  H2World world({.cleartext = true, .control_frames = 100});
  for (int i = 0; i < 101; ++i) world.raw(world.frame(NGHTTP2_PING, 0, 0, "12345678"));
  world.turn();
  expect_end(world, NGHTTP2_ENHANCE_YOUR_CALM, Reason::H2_CONTROL_FLOOD);
}

TEST(H2Limits, section_10_5_the_budget_fills_again) {
  H2World world({.cleartext = true, .control_frames = 100});
  for (int second = 0; second < 30; ++second) {
    for (int i = 0; i < 9; ++i) world.raw(world.frame(NGHTTP2_PING, 0, 0, "12345678"));
    world.turn(2);
    world.advance(seconds(1));
  }
  EXPECT_EQ(world.goaway(), -1);
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

TEST(H2Limits, section_10_5_settings_priorities_and_empty_frames) {
  const std::string one_setting("\0\3\0\0\0\1", 6);
  for (const auto& [type, payload] : std::vector<std::pair<uint8_t, std::string>>{
           {NGHTTP2_SETTINGS, one_setting}, {NGHTTP2_PRIORITY, std::string("\0\0\0\0\1", 5)}}) {
    H2World world({.cleartext = true, .control_frames = 100});
    const int32_t stream = type == NGHTTP2_PRIORITY ? 1 : 0;
    for (int i = 0; i < 110; ++i) world.raw(world.frame(type, 0, stream, payload));
    world.turn();
    SCOPED_TRACE(type);
    expect_end(world, NGHTTP2_ENHANCE_YOUR_CALM, Reason::H2_CONTROL_FLOOD);
  }
  H2World world({.cleartext = true, .control_frames = 100});
  const std::string body(100'000, 'b');
  world.keep_buffers = true;
  const int32_t id = world.request(H2World::get("/"), &body);
  world.turn();
  for (int i = 0; i < 210; ++i) world.raw(world.frame(NGHTTP2_DATA, 0, id, ""));
  world.turn();
  EXPECT_EQ(world.goaway(), int64_t{NGHTTP2_ENHANCE_YOUR_CALM});
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

TEST(H2Limits, section_10_5_rapid_reset) {
  H2World world({.cleartext = true, .resets = 50});
  for (int i = 0; i < 51; ++i) {
    const int32_t id = world.request(H2World::get("/"));
    world.turn(1);
    (void)nghttp2_submit_rst_stream(world.client(), 0, id, NGHTTP2_CANCEL);
    world.turn(1);
    for (size_t n = 0; n < world.streams(); ++n) {
      if (world.stream(n).failed) world.close(world.stream(n));
    }
  }
  world.turn();
  world.close(world.carrier());
  world.turn();
  EXPECT_EQ(world.below().connection_count(), 0U) << "no time has passed: who floods is not waited for";
  expect_end(world, NGHTTP2_ENHANCE_YOUR_CALM, Reason::H2_RESET_FLOOD);
}

// One peer's burst does not keep the others waiting: a turn takes its share, and the next ones the rest, in order.
TEST(H2Limits, a_burst_of_requests_is_taken_in_shares) {
  constexpr size_t BURST = 3 * H2Session::REQUESTS_PER_TURN + 5;
  H2World world({.cleartext = true, .streams = BURST});
  world.turn();
  for (size_t i = 0; i < BURST; ++i) (void)world.request(H2World::get("/" + std::to_string(i)));
  size_t last = 0;
  size_t turns_with_more = 0;
  for (int i = 0; i < 24; ++i) {
    world.turn(1);
    EXPECT_LE(world.streams() - last, H2Session::REQUESTS_PER_TURN);
    turns_with_more += world.streams() > last ? 1 : 0;
    last = world.streams();
  }
  EXPECT_EQ(turns_with_more, 4U);
  ASSERT_EQ(world.streams(), BURST);
  for (size_t i = 0; i < BURST; ++i) {
    EXPECT_TRUE(world.stream(i).received.starts_with("GET /" + std::to_string(i) + " HTTP/1.1\r\n"));
  }
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

// What waits for its turn is before the FIN that came behind it.
TEST(H2Limits, a_burst_and_its_fin_are_taken_in_order) {
  constexpr size_t BURST = 2 * H2Session::REQUESTS_PER_TURN;
  H2World world({.cleartext = true, .streams = BURST});
  world.turn();
  for (size_t i = 0; i < BURST; ++i) (void)world.request(H2World::get("/"));
  world.flush_client();
  world.below().client_half_close(world.socket());
  world.turn(1);
  EXPECT_EQ(world.streams(), 0U + H2Session::REQUESTS_PER_TURN);
  EXPECT_FALSE(world.carrier().peer_closed);
  world.turn();
  ASSERT_EQ(world.streams(), BURST);
  EXPECT_TRUE(world.carrier().peer_closed);
  EXPECT_TRUE(world.stream(BURST - 1).peer_closed);
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

// … and is given back where the connection ends before its turn comes.
TEST(H2Limits, a_burst_whose_connection_is_lost_lends_nothing) {
  constexpr size_t BURST = 2 * H2Session::REQUESTS_PER_TURN;
  H2World world({.cleartext = true, .streams = BURST});
  world.turn();
  for (size_t i = 0; i < BURST; ++i) (void)world.request(H2World::get("/"));
  world.turn(1);
  world.below().client_reset(world.socket());
  world.turn();
  EXPECT_TRUE(world.carrier().failed);
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

// So much of it that it is not read on: nothing is asked of the connection any more once that has failed.
TEST(H2Limits, a_burst_that_is_not_read_on_whose_connection_is_lost_asks_nothing_of_it) {
  constexpr size_t BURST = 6 * H2Session::REQUESTS_PER_TURN;
  H2World world({.cleartext = true, .streams = BURST});
  world.turn();
  for (size_t i = 0; i < BURST; ++i) {
    Fields fields = H2World::get("/");
    fields.emplace_back("x", std::to_string(i) + std::string(800, 'Z'));
    (void)world.request(fields);
  }
  world.turn(1);
  world.turn(1);
  world.below().client_reset(world.socket());
  world.turn();
  EXPECT_TRUE(world.carrier().failed);
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

TEST(H2Limits, a_flood_is_not_read_on_and_its_end_not_waited_for_where_the_peer_reads_nothing) {
  H2World world({.cleartext = true, .control_frames = 100}, {.socket_bytes_max = 100});
  world.turn();
  (void)world.request(H2World::get("/"));
  world.turn();
  world.client_reads = false;
  world.answer(0, "HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n" + std::string(40'000, 'x'));
  world.turn();
  world.piece = 1'700;
  for (int i = 0; i < 20'000; ++i) world.raw(world.frame(NGHTTP2_PING, 0, 0, "12345678"));
  world.turn(200);
  EXPECT_EQ(world.noted(), std::vector<Reason>{Reason::H2_CONTROL_FLOOD});
  EXPECT_GT(world.below().client_unread(world.socket()), 100'000U);
  EXPECT_FALSE(world.carrier().failed) << "GOAWAY has its chance";
  world.advance(milliseconds(100));
  world.turn(2);
  EXPECT_TRUE(world.carrier().failed);
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

TEST(H2Limits, streams_that_the_upper_side_still_holds_count) {
  H2World world({.cleartext = true, .streams = 5});
  for (int i = 0; i < 12; ++i) {
    const int32_t id = world.request(H2World::get("/"));
    world.turn(2);
    (void)nghttp2_submit_rst_stream(world.client(), 0, id, NGHTTP2_CANCEL);
    world.turn(2);
  }
  EXPECT_EQ(world.streams(), 10U);
  EXPECT_EQ(world.noted(), (std::vector<Reason>{Reason::H2_STREAMS_LIMIT, Reason::H2_STREAMS_LIMIT}));
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

TEST(H2Limits, malformed_requests_spend_the_same_budget) {
  H2World world({.cleartext = true, .resets = 20});
  for (int i = 0; i < 30; ++i) {
    Fields fields = H2World::get("/");
    fields.emplace_back("upgrade", "x");
    (void)world.request(fields);
    world.turn(2);
  }
  EXPECT_EQ(world.goaway(), int64_t{NGHTTP2_ENHANCE_YOUR_CALM});
  EXPECT_EQ(world.noted().back(), Reason::H2_RESET_FLOOD);
  EXPECT_EQ(world.noted().size(), 22U);  // twenty of them, the one too many, and why it ended
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

// Streams that nghttp2 resets for what the peer sent: it made us do what it may not do itself.
TEST(H2Limits, resets_that_the_peer_provokes_spend_the_same_budget) {
  H2World world({.cleartext = true, .resets = 50});
  world.turn();
  for (int i = 0; i < 500 && world.goaway() < 0; ++i) {
    const int32_t id = world.request(H2World::get("/"));
    world.raw(world.frame(NGHTTP2_WINDOW_UPDATE, 0, id, "\x7f\xff\xff\xff"));
    world.turn(2);
    for (size_t n = 0; n < world.streams(); ++n) {
      if (world.stream(n).failed) world.close(world.stream(n));
    }
  }
  EXPECT_EQ(world.goaway(), int64_t{NGHTTP2_ENHANCE_YOUR_CALM});
  std::vector<Reason> wanted(51, Reason::H2_FLOW_CONTROL);
  wanted.push_back(Reason::H2_RESET_FLOOD);
  EXPECT_EQ(world.noted(), wanted);
  world.close(world.carrier());
  world.turn();
  EXPECT_EQ(world.below().connection_count(), 0U) << "no time has passed: who floods is not waited for";
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

// … and one that reads nothing of it is not waited for either.
TEST(H2Limits, provoked_resets_end_a_peer_that_reads_nothing) {
  H2World world({.cleartext = true, .resets = 20}, {.socket_bytes_max = 100});
  world.turn();
  world.client_reads = false;
  for (int i = 0; i < 30; ++i) {  // all of them before one of the answers
    const int32_t id = world.request(H2World::get("/"));
    world.raw(world.frame(NGHTTP2_WINDOW_UPDATE, 0, id, "\x7f\xff\xff\xff"));
  }
  world.turn(40);
  EXPECT_EQ(world.noted().back(), Reason::H2_RESET_FLOOD);
  world.advance(milliseconds(100));
  world.turn(2);
  EXPECT_TRUE(world.carrier().failed);
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

// Refused streams carry nothing: who never acknowledges our limit, and so may not know it, runs dry as with pings.
TEST(H2Limits, refused_streams_are_control_frames) {
  H2World world({.cleartext = true, .streams = 3, .control_frames = 100});
  world.client_reads = false;  // so it acknowledges nothing
  for (int32_t id = 1; id < 1'000; id += 2) world.raw(world.frame(NGHTTP2_HEADERS, 5, id, "\x82\x86\x84\x41\1a"));
  world.turn();
  EXPECT_EQ(world.streams(), 3U);
  std::vector<Reason> wanted(101, Reason::H2_STREAMS_LIMIT);
  wanted.push_back(Reason::H2_CONTROL_FLOOD);
  EXPECT_EQ(world.noted(), wanted);
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

TEST(H2Limits, refused_streams_beyond_those_that_the_upper_side_holds_are_control_frames) {
  H2World world({.cleartext = true, .streams = 3, .control_frames = 100});
  for (int i = 0; i < 500 && world.goaway() < 0; ++i) {
    const int32_t id = world.request(H2World::get("/"));
    world.turn(1);
    if (i < 6) (void)nghttp2_submit_rst_stream(world.client(), 0, id, NGHTTP2_CANCEL);
    world.turn(1);
  }
  EXPECT_EQ(world.streams(), 6U);
  EXPECT_EQ(world.goaway(), int64_t{NGHTTP2_ENHANCE_YOUR_CALM});
  EXPECT_EQ(world.noted().size(), 102U);
  EXPECT_EQ(world.noted().back(), Reason::H2_CONTROL_FLOOD);
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

// DATA earns control frames where it brings a body something: not on a stream that is over, and not as padding.
TEST(H2Limits, section_10_5_worthless_data_earns_nothing) {
  const std::string post("\x83\x86\x84\x41\1a", 6);
  const std::string pad_only("\3\0\0\0", 4);
  const std::string pad_length_only(1, '\0');
  struct Row {
    std::string_view what;
    bool is_closed;
    uint8_t flags;
    std::string payload;
    bool pings;
  };
  for (const Row& row : {Row{"of a closed stream", true, 0, "x", true},
                         Row{"padding, with pings", false, NGHTTP2_FLAG_PADDED, pad_only, true},
                         Row{"padding", false, NGHTTP2_FLAG_PADDED, pad_only, false},
                         Row{"length of no padding", false, NGHTTP2_FLAG_PADDED, pad_length_only, false}}) {
    SCOPED_TRACE(row.what);
    H2World world({.cleartext = true, .control_frames = 100});
    world.turn();
    world.raw(world.frame(NGHTTP2_HEADERS, 4, 1, post));
    if (row.is_closed) world.raw(world.frame(NGHTTP2_RST_STREAM, 0, 1, std::string("\0\0\0\x08", 4)));
    for (int i = 0; i < 1'000; ++i) {
      if (row.pings) world.raw(world.frame(NGHTTP2_PING, 0, 0, "12345678"));
      world.raw(world.frame(NGHTTP2_DATA, row.flags, 1, row.payload));
    }
    world.turn();
    EXPECT_EQ(world.goaway(), int64_t{NGHTTP2_ENHANCE_YOUR_CALM});
    EXPECT_EQ(world.noted(), std::vector<Reason>{Reason::H2_CONTROL_FLOOD});
    EXPECT_EQ(world.faults_at_end(), NOTHING);
  }
}

TEST(H2Limits, an_upload_in_small_frames_may_ping_with_each) {
  H2World world({.cleartext = true, .control_frames = 100});
  world.turn();
  world.raw(world.frame(NGHTTP2_HEADERS, 4, 1, "\x83\x86\x84\x41\1a"));
  for (int i = 0; i < 1'000; ++i) {
    world.raw(world.frame(NGHTTP2_PING, 0, 0, "12345678"));
    world.raw(world.frame(NGHTTP2_DATA, NGHTTP2_FLAG_PADDED, 1, std::string("\2zzz\0\0", 6)));
  }
  world.raw(world.frame(NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, ""));
  world.turn();
  EXPECT_EQ(world.goaway(), -1);
  ASSERT_EQ(world.streams(), 1U);
  EXPECT_EQ(std::ranges::count(world.stream(0).received, 'z'), 3'000);
  EXPECT_TRUE(world.stream(0).received.ends_with("\r\n0\r\n\r\n"));
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

TEST(H2Limits, section_6_10_continuation_without_end) {
  H2World world;
  world.turn();
  world.raw(world.frame(NGHTTP2_HEADERS, 0, 1, "\x82"));
  for (int i = 0; i < 200; ++i) world.raw(world.frame(NGHTTP2_CONTINUATION, 0, 1, std::string("\0\1a\1b", 5)));
  world.turn();
  expect_end(world, NGHTTP2_ENHANCE_YOUR_CALM, Reason::H2_HEADER_FLOOD);
}

TEST(H2Limits, section_10_5_1_a_head_too_long_is_the_parsers_and_one_without_end_is_ours) {
  H2World world({.cleartext = true, .head_bytes = 1'000});
  Fields fields = H2World::get("/");
  fields.emplace_back("x", std::string(2'000, 'y'));
  (void)world.request(fields);
  world.turn();
  ASSERT_EQ(world.streams(), 1U);
  EXPECT_EQ(world.stream(0).received.size(), 1'001U);
  for (int i = 0; i < 20; ++i) fields.emplace_back("z", std::string(4'000, 'y'));  // one byte each
  (void)world.request(fields);
  world.turn(40);
  expect_end(world, NGHTTP2_ENHANCE_YOUR_CALM, Reason::H2_HEADER_FLOOD);
}

TEST(H2Limits, section_6_9_tiny_windows_are_a_flood) {
  H2World world({.cleartext = true, .control_frames = 200});
  const nghttp2_settings_entry none[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0}};
  (void)nghttp2_submit_settings(world.client(), 0, none, 1);
  const int32_t id = world.request(H2World::get("/"));
  world.turn();
  world.answer(0, "HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n" + std::string(4'000, 'x'));
  for (int i = 0; i < 300 && world.goaway() < 0; ++i) {
    world.raw(world.frame(NGHTTP2_WINDOW_UPDATE, 0, id, std::string("\0\0\0\1", 4)));
    world.turn(2);
  }
  world.turn();
  expect_end(world, NGHTTP2_ENHANCE_YOUR_CALM, Reason::H2_CONTROL_FLOOD);
}

TEST(H2Limits, a_peer_that_pings_and_does_not_read_is_not_read) {
  H2World world({.cleartext = true, .control_frames = 1'000'000}, {.socket_bytes_max = 100});
  world.turn();
  world.client_reads = false;
  world.piece = 1'700;
  for (int i = 0; i < 20'000; ++i) world.raw(world.frame(NGHTTP2_PING, 0, 0, "12345678"));
  world.turn(200);
  EXPECT_GT(world.below().client_unread(world.socket()), 100'000U);
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

TEST(H2Limits, section_10_5_answers_to_pings_that_nobody_sends) {
  const H2World client;
  H2Shared shared(4, 4, 1);
  shared.options.control_frames = 1'000'000;
  const auto session = H2Session::create(shared, {}, 1);
  (void)session->receive("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 1);
  (void)session->receive(client.frame(NGHTTP2_SETTINGS, 0, 0, ""), 1);
  for (int i = 0; i < 2'000; ++i) (void)session->receive(client.frame(NGHTTP2_PING, 0, 0, "12345678"), 1);
  ASSERT_EQ(shared.notes.size(), 1U);
  EXPECT_EQ(shared.notes[0].reason, Reason::H2_ANSWERS_UNREAD);
  H2Batch batch;
  EXPECT_TRUE(session->produce(batch));
}

TEST(H2Limits, section_3_4_a_preface_that_breaks_off) {
  expect_frame_ends(0x7f, 0, 0, std::string(20'000, 'x'), NGHTTP2_FRAME_SIZE_ERROR, Reason::H2_FRAME_SIZE);
}

TEST(H2Limits, section_4_3_a_block_that_cannot_be_decompressed) {
  expect_frame_ends(NGHTTP2_HEADERS, 5, 1, "\xff\xff\xff\xff\xff", NGHTTP2_COMPRESSION_ERROR, Reason::H2_COMPRESSION);
}

// RFC 7541 section 6.3: a peer may not make the table that we decompress by larger than we said, which is 4,096 bytes.
TEST(H2Limits, header_compression_keeps_a_table_of_a_bounded_size) {
  expect_frame_ends(NGHTTP2_HEADERS, 5, 1, "\x3f\xe1\x3f", NGHTTP2_COMPRESSION_ERROR, Reason::H2_COMPRESSION);
  H2World world;  // and none has us remember more of our answers, whatever it offers
  const nghttp2_settings_entry offer{NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, 1U << 20};
  ASSERT_EQ(nghttp2_submit_settings(world.client(), NGHTTP2_FLAG_NONE, &offer, 1), 0);
  for (size_t n = 0; n < 100; ++n) {
    const int32_t id = world.request(H2World::get("/"));
    world.turn();
    const std::string value(100, static_cast<char>('a' + n % 26));
    world.answer(n, "HTTP/1.1 204 No Content\r\nX-" + std::to_string(n) + ": " + value + "\r\n\r\n");
    world.turn();
    EXPECT_EQ(world.reply(id).field("x-" + std::to_string(n)), value);
  }
  EXPECT_GT(nghttp2_session_get_hd_inflate_dynamic_table_size(world.client()), 2'000U);
  EXPECT_LE(nghttp2_session_get_hd_inflate_dynamic_table_size(world.client()), 4'096U);
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

TEST(H2Limits, section_6_9_1_an_overrun_window) {
  expect_frame_ends(NGHTTP2_WINDOW_UPDATE, 0, 0, "\x7f\xff\xff\xff", NGHTTP2_FLOW_CONTROL_ERROR,
                    Reason::H2_FLOW_CONTROL);
}

// nghttp2 lets both pass. The second is RFC 9218's section 7.1.
TEST(H2Limits, section_6_3_priorities_of_stream_0) {
  expect_frame_ends(NGHTTP2_PRIORITY, 0, 0, std::string("\0\0\0\0\1", 5), NGHTTP2_PROTOCOL_ERROR, Reason::H2_PROTOCOL);
  expect_frame_ends(NGHTTP2_PRIORITY_UPDATE, 0, 0, std::string("\0\0\0\0u=1", 7), NGHTTP2_PROTOCOL_ERROR,
                    Reason::H2_PROTOCOL);
}

TEST(H2Limits, section_5_1_frames_on_streams_that_are_idle_or_closed) {
  expect_frame_ends(NGHTTP2_DATA, 0, 9, "x", NGHTTP2_PROTOCOL_ERROR, Reason::H2_PROTOCOL);
}

}  // namespace
}  // namespace penstock
