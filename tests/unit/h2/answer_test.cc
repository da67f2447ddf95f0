// Our answers on their way to the wire. Section numbers are RFC 9113's.
#include "tests/unit/h2/h2_world.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace penstock {
namespace {

// The reply to one request that is answered with `text`.
H2World::Reply reply_to(const Fields& request, const std::string& text) {
  H2World world;
  const int32_t id = world.request(request);
  world.turn();
  world.answer(0, text);
  world.turn();
  H2World::Reply reply = world.reply(id);
  EXPECT_EQ(world.faults_at_end(), NOTHING);
  return reply;
}

TEST(H2Answer, chunked_comes_out_of_its_chunks) {
  const auto reply = reply_to(
      H2World::get("/"), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n");
  EXPECT_EQ(reply.head, (Fields{{":status", "200"}}));
  EXPECT_EQ(reply.body, "abcde");
  EXPECT_TRUE(reply.ended);
  EXPECT_EQ(reply.code, 0U);
}

constexpr const char* CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

TEST(H2Answer, section_8_1_trailers_are_headers_behind_the_last_data) {
  for (const std::string body : {"", "3\r\nabc\r\n"}) {
    const auto reply = reply_to(H2World::get("/"), CHUNKED + body + "0\r\nGrpc-Status: 0\r\nX-Sum:  a b \r\n\r\n");
    EXPECT_EQ(reply.head, (Fields{{":status", "200"}}));
    EXPECT_EQ(reply.body, body.empty() ? "" : "abc");
    EXPECT_EQ(reply.trailers, (Fields{{"grpc-status", "0"}, {"x-sum", "a b"}}));
    EXPECT_TRUE(reply.ended);
    EXPECT_EQ(reply.code, 0U);
  }
}

TEST(H2Answer, rfc_9110_section_6_5_1_what_may_not_stand_in_trailers_is_dropped) {
  const std::string frames = "Content-Length: 1\r\nTransfer-Encoding: x\r\nConnection: x\r\nTrailer: x\r\n";
  const std::string others = "HOST: x\r\nSet-Cookie: x\r\ncontent-type: x\r\nCache-Control: x\r\nKeep-Alive: x\r\n";
  const auto some =
      reply_to(H2World::get("/"), CHUNKED + ("1\r\nx\r\n0\r\n" + frames + "ETag: \"x\"\r\n" + others + "\r\n"));
  EXPECT_EQ(some.trailers, (Fields{{"etag", "\"x\""}}));
  const auto none = reply_to(H2World::get("/"), CHUNKED + ("1\r\nx\r\n0\r\n" + frames + others + "\r\n"));
  EXPECT_EQ(none.trailers, Fields{});
  EXPECT_TRUE(none.ended);
  EXPECT_EQ(none.code, 0U);
}

// In any pieces, beside heads that are sent from memory, and where the batch is full between body and trailers.
TEST(H2Answer, trailers_of_many_answers_at_once_come_with_their_own) {
  H2World world;
  std::vector<int32_t> ids;
  for (int i = 0; i < 12; ++i) ids.push_back(world.request(H2World::get("/")));
  world.turn();
  const std::string body(6'000, 'b');
  for (size_t n = 0; n < ids.size(); ++n) {
    const std::string number = std::to_string(n);
    world.answer(n, n % 4 == 3 ? "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"
                               : CHUNKED + ("1770\r\n" + body + "\r\n0\r\nx-n: " + number + "\r\n\r\n"));
  }
  world.turn();
  for (size_t n = 0; n < ids.size(); ++n) {
    const auto& reply = world.reply(ids[n]);
    EXPECT_EQ(reply.body, n % 4 == 3 ? "x" : body) << n;
    EXPECT_EQ(reply.trailers, n % 4 == 3 ? Fields{} : Fields({{"x-n", std::to_string(n)}})) << n;
    EXPECT_TRUE(reply.ended) << n;
  }
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

TEST(H2Answer, trailers_that_wait_for_a_window_end_with_their_stream) {
  for (const bool reset : {false, true}) {
    H2World world;
    const nghttp2_settings_entry small[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1}};
    (void)nghttp2_submit_settings(world.client(), 0, small, 1);
    const int32_t id = world.request(H2World::get("/"));
    world.turn();
    world.client_reads = false;
    world.answer(0, CHUNKED + std::string("3\r\nabc\r\n0\r\nx: y\r\n\r\n"), false);
    world.turn();
    EXPECT_EQ(world.stream(0).sent, 0U);
    if (reset) world.close(world.stream(0), true);
    world.client_reads = true;
    world.turn();
    EXPECT_EQ(world.reply(id).trailers, reset ? Fields{} : Fields({{"x", "y"}}));
    EXPECT_EQ(world.reply(id).code, reset ? uint32_t{NGHTTP2_CANCEL} : 0U);
    EXPECT_EQ(world.faults_at_end(), NOTHING);
  }
}

TEST(H2Answer, the_same_head_again_means_the_same_for_each_request) {
  H2World world;
  Fields head = H2World::get("/");
  head[0].second = "HEAD";
  const std::string whole = "HTTP/1.1 200 OK\r\nX-Y: z\r\nContent-Length: 3\r\n\r\n";
  const std::string chunked = "HTTP/1.1 200 OK\r\nX-Y: z\r\nTransfer-Encoding: chunked\r\n\r\n";
  const std::string broken = "HTTP/1.1 200 OK\r\nnothing\r\n\r\n";
  const std::vector<std::string> answers = {
      whole + "abc",         whole + "abc", whole + "def", chunked + "1\r\na\r\n0\r\n\r\n",
      chunked + "0\r\n\r\n", broken,        broken,        whole + "ghi"};
  const std::vector<std::string> bodies = {"abc", "", "def", "a", "", "", "", "ghi"};
  for (size_t n = 0; n < answers.size(); ++n) {
    const int32_t id = world.request(n == 1 ? head : H2World::get("/"));
    world.turn();
    world.answer(n, answers[n]);
    world.turn();
    const bool is_broken = answers[n] == broken;
    EXPECT_EQ(world.reply(id).body, bodies[n]) << n;
    EXPECT_EQ(world.reply(id).code, is_broken ? uint32_t{NGHTTP2_INTERNAL_ERROR} : 0U) << n;
    EXPECT_EQ(world.reply(id).field("x-y"), is_broken ? "(none)" : "z") << n;
  }
  EXPECT_EQ(world.noted(), (std::vector<Reason>{Reason::H2_ANSWER_INVALID, Reason::H2_ANSWER_INVALID}));
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

// A head that was compressed before is not compressed again, and means the same: also where others come between, where
// it is asked for by HEAD, and where the peer changes the table that it was compressed by while answers wait.
TEST(H2Answer, rfc_7541_a_head_that_comes_again_is_sent_from_memory) {
  H2World world;
  const std::string hot = "HTTP/1.1 200 OK\r\nETag: \"hot\"\r\nX-Hot: 1\r\nContent-Length: 3\r\n\r\nabc";
  const std::string cold = "HTTP/1.1 404 Not Found\r\nX-Cold: 1\r\nContent-Length: 0\r\n\r\n";
  Fields head = H2World::get("/");
  head[0].second = "HEAD";
  size_t asked = 0;
  const auto ask = [&](const std::string& answer, size_t times, const Fields& request) {
    std::vector<int32_t> ids;
    for (size_t i = 0; i < times; ++i) ids.push_back(world.request(request));
    world.turn();
    for (size_t i = 0; i < times; ++i) world.answer(asked++, answer);
    world.turn();
    for (const int32_t id : ids) {
      const H2World::Reply& reply = world.reply(id);
      const bool is_hot = answer == hot;
      EXPECT_EQ(reply.head,
                is_hot ? (Fields{{":status", "200"}, {"etag", "\"hot\""}, {"x-hot", "1"}, {"content-length", "3"}})
                       : (Fields{{":status", "404"}, {"x-cold", "1"}, {"content-length", "0"}}));
      EXPECT_EQ(reply.body, is_hot && request != head ? "abc" : "");
      EXPECT_TRUE(reply.ended);
    }
  };
  ask(hot, 5, H2World::get("/"));
  ask(hot, 2, head);
  for (int i = 0; i < 3; ++i) {
    ask(cold, 2, H2World::get("/"));
    ask(hot, 3, H2World::get("/"));
  }
  for (const uint32_t bytes : {0U, 4'096U, 64U, 100'000U}) {
    const nghttp2_settings_entry table{NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, bytes};
    std::vector<int32_t> ids;
    for (int i = 0; i < 3; ++i) ids.push_back(world.request(H2World::get("/")));
    world.turn();
    ASSERT_EQ(nghttp2_submit_settings(world.client(), NGHTTP2_FLAG_NONE, &table, 1), 0);
    for (int i = 0; i < 3; ++i) world.answer(asked++, hot);  // they wait while the table changes
    world.turn();
    for (const int32_t id : ids) EXPECT_EQ(world.reply(id).field("x-hot"), "1") << bytes;
    ask(hot, 4, H2World::get("/"));
    ask(cold, 1, H2World::get("/"));
  }
  EXPECT_EQ(world.goaway(), -1);
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

TEST(H2Answer, section_8_2_2_connection_fields_stay_inside) {
  const auto reply = reply_to(H2World::get("/"),
                              "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: 5\r\nUpgrade: x\r\n"
                              "Proxy-Connection: x\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(reply.head, (Fields{{":status", "200"}, {"content-length", "0"}}));
  EXPECT_EQ(reply.frames, 0U);
  EXPECT_TRUE(reply.ended);
}

TEST(H2Answer, answers_without_a_body_end_with_their_head) {
  EXPECT_EQ(reply_to(H2World::get("/"), "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n").frames, 0U);
  EXPECT_EQ(reply_to(H2World::get("/"), "HTTP/1.1 204 No Content\r\n\r\n").frames, 0U);
  Fields head = H2World::get("/");
  head[0].second = "HEAD";
  const auto reply = reply_to(head, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
  EXPECT_EQ(reply.frames, 0U);
  EXPECT_EQ(reply.field("content-length"), "5");
  EXPECT_TRUE(reply.ended);
  // A refusal may say to HEAD what HTTP/1.1 says behind it: nobody asked for it.
  EXPECT_EQ(reply_to(head, "HTTP/1.1 400 Bad\r\nContent-Length: 2\r\n\r\nno").body, "");
}

TEST(H2Answer, section_8_1_interim_answers) {
  H2World world;
  const std::string body = "b";
  const int32_t id = world.request(H2World::get("/"), &body);
  world.turn();
  world.answer(0, "HTTP/1.1 100 Continue\r\n\r\n", false);
  world.turn();
  EXPECT_EQ(world.stream(0).sent, 1U);
  EXPECT_EQ(world.reply(id).interim, "100 ");
  world.answer(0, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nz");
  world.turn();
  EXPECT_EQ(world.reply(id).interim, "100 103 ");
  EXPECT_EQ(world.reply(id).field(":status"), "200");
  EXPECT_EQ(world.reply(id).body, "z");
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

TEST(H2Answer, in_pieces_of_one_byte_each_send) {
  H2World world;
  const int32_t id = world.request(H2World::get("/"));
  world.turn();
  const std::string text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n";
  for (const char c : text) {
    world.answer(0, std::string(1, c), false);
    world.turn(4);
  }
  EXPECT_EQ(world.stream(0).sent, text.size());
  EXPECT_EQ(world.reply(id).body, "abc");
  EXPECT_EQ(world.reply(id).trailers, (Fields{{"x", "y"}}));
  EXPECT_TRUE(world.reply(id).ended);
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

TEST(H2Answer, section_8_1_an_answer_before_the_request_has_ended) {
  H2World world({.cleartext = true, .stream_window_bytes = 1024});
  world.keep_buffers = true;
  const std::string body(10'000, 'b');
  const int32_t id = world.request(H2World::get("/"), &body);
  world.turn();
  world.answer(0, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno");
  world.turn();
  EXPECT_EQ(world.reply(id).body, "no");
  EXPECT_TRUE(world.reply(id).ended);
  EXPECT_TRUE(world.reply(id).closed);
  EXPECT_EQ(world.reply(id).code, uint32_t{NGHTTP2_NO_ERROR});
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

TEST(H2Answer, a_close_before_its_end_is_a_reset_not_an_end) {
  for (const bool reset : {false, true}) {
    H2World world;
    const int32_t id = world.request(H2World::get("/"));
    world.turn();
    world.answer(0, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", false);
    world.turn();
    world.close(world.stream(0), reset);
    world.turn();
    EXPECT_FALSE(world.reply(id).ended);
    EXPECT_EQ(world.reply(id).code, uint32_t{reset ? NGHTTP2_CANCEL : NGHTTP2_INTERNAL_ERROR});
    EXPECT_EQ(world.faults_at_end(), NOTHING);
  }
}

// The client may send it again: RFC 9113 section 8.7. What is with its connection goes on.
TEST(H2Answer, rfc_9113_a_request_that_nobody_worked_on_is_refused_on_its_stream_alone) {
  H2World world;
  const int32_t refused = world.request(H2World::get("/"));
  const int32_t other = world.request(H2World::get("/"));
  world.turn();
  world.refuse(world.stream(0));
  world.answer(1, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
  world.turn();
  EXPECT_EQ(world.reply(refused).code, uint32_t{NGHTTP2_REFUSED_STREAM});
  EXPECT_EQ(world.reply(other).body, "abc");
  EXPECT_TRUE(world.noted().empty()) << "it is no fault of the client's";
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

TEST(H2Answer, one_that_cannot_be_read_is_reset_and_noted) {
  for (const char* text :
       {"HTTP/1.0 200 OK\r\n\r\n", "nonsense\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n: x\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nno colon\r\n"}) {
    H2World world;
    const int32_t id = world.request(H2World::get("/"));
    world.turn();
    world.answer(0, text, false);
    world.turn();
    EXPECT_TRUE(world.stream(0).failed) << text;
    EXPECT_EQ(world.reply(id).code, uint32_t{NGHTTP2_INTERNAL_ERROR});
    EXPECT_EQ(world.noted(), std::vector<Reason>{Reason::H2_ANSWER_INVALID});
    EXPECT_EQ(world.faults_at_end(), NOTHING);
  }
}

TEST(H2Answer, large_bodies_go_by_reference_and_many_frames_in_one_send) {
  H2World world;
  const int32_t id = world.request(H2World::get("/"));
  const int32_t other = world.request(H2World::get("/b"));
  world.turn();
  char name[] = "/tmp/h2_answer_XXXXXX";
  const int fd = ::mkstemp(name);
  ASSERT_GE(fd, 0);
  (void)::unlink(name);
  const std::string file(40'000, 'f');
  ASSERT_EQ(::write(fd, file.data(), file.size()), static_cast<ssize_t>(file.size()));
  const std::string head = "HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n";
  const std::string memory(20'000, 'm');
  const SendPart parts[] = {SendPart::memory(head.data(), head.size()), SendPart::memory(memory.data(), memory.size()),
                            SendPart::file(fd, 0, file.size())};
  const uint64_t sends = world.below().counters().sends;
  world.transport().send(world.stream(0).handle, parts, false);
  world.answer(1, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
  world.turn(2);
  EXPECT_EQ(world.below().counters().sends, sends + 1);
  world.turn();
  EXPECT_EQ(world.reply(id).body, memory + file);
  EXPECT_EQ(world.reply(other).body, "x");
  EXPECT_EQ(world.stream(0).sent, 1U);
  EXPECT_GE(world.transport().bytes_sent(world.stream(0).handle), 60'000U);
  EXPECT_EQ(world.faults_at_end(), NOTHING);
  ::close(fd);
}

TEST(H2Answer, closed_while_its_memory_is_lent_tells_when_it_is_free) {
  H2World world({.cleartext = true}, {.socket_bytes_max = 1'000});
  world.turn();
  (void)world.request(H2World::get("/"));
  world.turn();
  world.client_reads = false;
  const std::string body(30'000, 'm');
  world.answer(0, "HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n" + body, false);
  world.turn();
  EXPECT_EQ(world.stream(0).sent, 0U);
  world.close(world.stream(0));  // CLOSED is owed: faults_at_end() sees that it comes
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

}  // namespace
}  // namespace penstock
