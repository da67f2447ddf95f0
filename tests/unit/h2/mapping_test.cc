// Requests on the wire against what comes out above, and what is refused on the wire. Section numbers are RFC 9113's.
#include "tests/unit/h2/h2_world.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

Fields with_more(Fields fields, const Fields& more) {
  fields.insert(fields.end(), more.begin(), more.end());
  return fields;
}

TEST(H2Mapping, a_request_is_a_connection_of_its_own) {
  H2World world;
  const int32_t id = world.request(H2World::get("/a"));
  world.turn();
  ASSERT_EQ(world.streams(), 1U);
  EXPECT_EQ(world.stream(0).received, "GET /a HTTP/1.1\r\nhost: a.example\r\n\r\n");
  const LayerFacts facts = world.transport().layer(world.stream(0).handle);
  EXPECT_TRUE(facts.stream);
  EXPECT_EQ(facts.http_major, 2);
  EXPECT_EQ(facts.carrier, world.carrier().handle);
  EXPECT_EQ(world.carrier().received, "");
  world.answer(0, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\nX-A: b\r\n\r\nhi");
  world.turn();
  EXPECT_EQ(world.reply(id).head, (Fields{{":status", "200"}, {"content-length", "2"}, {"x-a", "b"}}));
  EXPECT_EQ(world.reply(id).body, "hi");
  EXPECT_EQ(world.reply(id).frames, 1U);
  EXPECT_TRUE(world.reply(id).closed);
  EXPECT_EQ(world.reply(id).code, 0U);
  EXPECT_EQ(world.noted(), std::vector<Reason>{});
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

TEST(H2Mapping, section_3_4_the_preface_in_any_pieces_and_its_neighbours) {
  for (const size_t piece : {1U, 2U, 23U, 24U, 25U}) {
    H2World world;
    world.piece = piece;
    const int32_t id = world.request(H2World::get("/a"));
    world.turn();
    ASSERT_EQ(world.streams(), 1U) << piece;
    world.answer(0, "HTTP/1.1 204 No Content\r\n\r\n");
    world.turn();
    EXPECT_EQ(world.reply(id).field(":status"), "204");
    EXPECT_EQ(world.faults_at_end(), NOTHING) << piece;
  }
}

TEST(H2Mapping, what_only_begins_like_the_preface_passes_through) {
  for (const size_t cut : {1U, 3U, 16U, 23U}) {
    SimTransport below({.connections_max = 4, .receive_buffers = 8, .receive_buffer_bytes = 256}, 1);
    H2Transport h2(below, 4, 4);
    h2.set_http2({.cleartext = true});
    ASSERT_TRUE(h2.add_listener(-1, 1));
    const uint32_t client = below.client_connect(1, {});
    std::array<TransportEvent, 8> events;
    std::string received;
    const std::string text = std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").substr(0, cut) + "?";
    for (const char c : text) {
      below.client_send(client, {&c, 1});
      for (size_t i = h2.poll({}, {}, events); i > 0; --i) {
        const TransportEvent& event = events[i - 1];
        if (event.kind == TransportEventKind::RECEIVED) received.insert(0, event.data, event.size);
        if (event.kind == TransportEventKind::RECEIVED) h2.release(event.buffer);
      }
      if (received.empty()) (void)h2.poll({}, {}, events);
    }
    EXPECT_EQ(received, text) << cut;
  }
}

TEST(H2Mapping, cleartext_is_taken_only_where_that_is_on) {
  H2World world({.cleartext = false});
  (void)world.request(H2World::get("/a"));
  world.turn();
  EXPECT_EQ(world.streams(), 0U);
  EXPECT_TRUE(world.carrier().received.starts_with("PRI * HTTP/2.0\r\n"));
}

TEST(H2Mapping, section_8_1_1_malformed_heads_are_reset_and_noted) {
  H2World world;
  const int32_t bad = world.request(with_more(H2World::get("/a"), {{"connection", "x"}}));
  const int32_t good = world.request(H2World::get("/b"));
  world.turn();
  ASSERT_EQ(world.streams(), 1U);
  EXPECT_TRUE(world.reply(bad).closed);
  EXPECT_EQ(world.reply(bad).code, uint32_t{NGHTTP2_PROTOCOL_ERROR});
  EXPECT_EQ(world.noted(), std::vector<Reason>{Reason::H2_CONNECTION_FIELD});
  world.answer(0, "HTTP/1.1 204 No Content\r\n\r\n");
  world.turn();
  EXPECT_TRUE(world.reply(good).ended);
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

TEST(H2Mapping, section_8_1_bodies_with_and_without_length) {
  for (const size_t piece : {SIZE_MAX, size_t{1}}) {
    H2World world;
    world.piece = piece;
    const std::string body(100, 'b');
    (void)world.request(with_more(H2World::get("/l"), {{"content-length", "100"}}), &body);
    (void)world.request(H2World::get("/c"), &body, {{"x-sum", "7"}});
    world.turn();
    ASSERT_EQ(world.streams(), 2U);
    EXPECT_TRUE(world.stream(0).received.ends_with("\r\ncontent-length: 100\r\n\r\n" + body));
    const std::string& chunked = world.stream(1).received;
    const size_t head = chunked.find("\r\n\r\n") + 4;
    EXPECT_NE(chunked.substr(0, head).find("transfer-encoding: chunked"), std::string::npos);
    EXPECT_TRUE(chunked.ends_with("\r\n0\r\nx-sum: 7\r\n\r\n")) << chunked;
    EXPECT_GE(std::ranges::count(chunked.substr(head), 'b'), 100);
    EXPECT_EQ(world.faults_at_end(), NOTHING);
  }
}

TEST(H2Mapping, section_8_1_1_a_body_that_differs_from_its_length) {
  for (const char* length : {"99", "101"}) {
    H2World world;
    const std::string body(100, 'b');
    const int32_t id = world.request(with_more(H2World::get("/l"), {{"content-length", length}}), &body);
    world.turn();
    EXPECT_EQ(world.reply(id).code, uint32_t{NGHTTP2_PROTOCOL_ERROR}) << length;
    EXPECT_EQ(world.noted(), std::vector<Reason>{Reason::H2_LENGTH_DIFFERS});
    for (size_t n = 0; n < world.streams(); ++n) EXPECT_TRUE(world.stream(n).failed);
    EXPECT_EQ(world.faults_at_end(), NOTHING);
  }
}

TEST(H2Mapping, section_8_1_trailers_are_held_to_the_rules) {
  for (const auto& [trailer, reason] :
       std::vector<std::pair<Fields, Reason>>{{{{":path", "/"}}, Reason::H2_PSEUDO_IN_TRAILERS},
                                              {{{"transfer-encoding", "x"}}, Reason::H2_CONNECTION_FIELD},
                                              {{{"content-length", "1"}}, Reason::H2_TRAILER_INVALID}}) {
    H2World world;
    const std::string body = "b";
    const int32_t id = world.request(H2World::get("/c"), &body, trailer);
    world.turn();
    EXPECT_EQ(world.reply(id).code, uint32_t{NGHTTP2_PROTOCOL_ERROR});
    EXPECT_EQ(world.noted(), std::vector<Reason>{reason});
    EXPECT_EQ(world.faults_at_end(), NOTHING);
  }
}

TEST(H2Mapping, section_8_1_reset_by_the_peer_fails_the_stream) {
  H2World world;
  const int32_t id = world.request(H2World::get("/a"));
  world.turn();
  (void)nghttp2_submit_rst_stream(world.client(), 0, id, NGHTTP2_CANCEL);
  world.turn();
  EXPECT_TRUE(world.stream(0).failed);
  EXPECT_FALSE(world.carrier().failed);
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

TEST(H2Mapping, the_end_of_a_request_is_not_the_peer_leaving_but_fin_is) {
  H2World world;
  (void)world.request(H2World::get("/a"));
  world.turn();
  EXPECT_FALSE(world.stream(0).peer_closed);
  world.below().client_half_close(world.socket());
  world.turn();
  EXPECT_TRUE(world.stream(0).peer_closed);
  EXPECT_TRUE(world.carrier().peer_closed);
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

TEST(H2Mapping, a_lost_connection_fails_carrier_and_streams) {
  H2World world;
  (void)world.request(H2World::get("/a"));
  (void)world.request(H2World::get("/b"));
  world.turn();
  world.below().client_reset(world.socket());
  world.client_reads = false;
  world.turn();
  EXPECT_TRUE(world.carrier().failed);
  EXPECT_TRUE(world.stream(0).failed);
  EXPECT_TRUE(world.stream(1).failed);
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

}  // namespace
}  // namespace penstock
