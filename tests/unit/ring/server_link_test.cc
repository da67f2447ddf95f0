#include "pool/ring/server_link.h"

#include "src/base/prng.h"
#include "tests/unit/ring/link_pair.h"

#include <algorithm>
#include <cstring>
#include <gtest/gtest.h>
#include <map>
#include <string>

namespace penstock {
namespace {

using Kind = LinkEvent::Kind;
using Said = WorkerEvent::Kind;

class Link : public ::testing::Test {
 protected:
  void SetUp() override {
    (void)hear();  // RESET
    ASSERT_EQ(expect(Kind::READY).kind, Kind::READY);
  }

  // The next thing that the worker hears, with what the server has said so far.
  WorkerEvent hear() {
    (void)server.flush();
    WorkerEvent event;
    EXPECT_TRUE(worker.next(event));
    (void)worker.flush();
    return event;
  }
  bool hears_nothing() {
    (void)server.flush();
    WorkerEvent event;
    return !worker.next(event);
  }
  LinkEvent expect(Kind kind) {
    (void)worker.flush();
    LinkEvent event;
    EXPECT_TRUE(server.next(event)) << violation_sentence(server.violation());
    EXPECT_EQ(event.kind, kind);
    return event;
  }
  bool quiet() {
    (void)worker.flush();
    LinkEvent event;
    return !server.next(event) && server.violation() == LinkViolation::NONE;
  }

  Handle begin(std::string_view body = {}, bool end = true, bool wants_body = true) {
    const std::span<char> room = server.request_room();
    EXPECT_FALSE(room.empty());
    const penstock_request_head head{.bytes = sizeof head};
    std::memcpy(room.data(), &head, sizeof head);
    std::ranges::copy(body, room.data() + sizeof head);
    return server.begin({.serial = ++serial,
                         .head_bytes = sizeof head,
                         .body_bytes = static_cast<uint32_t>(body.size()),
                         .length = end ? body.size() : PENSTOCK_LENGTH_UNKNOWN,
                         .end = end,
                         .wants_body = wants_body});
  }

  PlainChannel& channel = pair_.channel;
  ServerLink& server = pair_.server;
  WorkerLink& worker = pair_.worker;
  uint64_t serial = 100;

 private:
  LinkPair pair_;
};

TEST_F(Link, carries_a_request_and_its_answer) {
  const Handle exchange = begin("the body");
  const WorkerEvent request = hear();
  ASSERT_EQ(request.kind, Said::REQUEST);
  EXPECT_EQ(request.serial, 101U);
  EXPECT_EQ(request.head->bytes, sizeof(penstock_request_head));
  EXPECT_EQ(request.body, "the body");
  EXPECT_EQ(request.length, 8U);
  EXPECT_TRUE(request.end);
  EXPECT_EQ(request.exchange, exchange);

  const std::pair<std::string_view, std::string_view> fields[] = {{"Content-Type", "text/plain"}, {"X", ""}};
  ASSERT_TRUE(worker.send_head(exchange, {.status = 201, .ttl_ms = 50, .length = 6, .fields = fields}, "answer", true));
  const LinkEvent answer = expect(Kind::HEAD);
  EXPECT_EQ(answer.status, 201);
  EXPECT_EQ(answer.ttl_ms, 50U);
  EXPECT_EQ(answer.length, 6U);
  EXPECT_EQ(answer.serial, 101U);
  EXPECT_EQ(answer.body, "answer");
  EXPECT_TRUE(answer.end);
  ASSERT_EQ(answer.fields.size(), 2U);
  EXPECT_EQ(answer.fields[0].name, "Content-Type");
  EXPECT_EQ(answer.fields[0].value, "text/plain");
  EXPECT_EQ(answer.fields[1].value, "");
  EXPECT_FALSE(server.is_open(exchange));
  EXPECT_FALSE(worker.is_open(exchange));
  EXPECT_EQ(server.open_exchanges(), 0U);
}

TEST_F(Link, takes_no_request_before_the_worker_is_ready) {
  PlainChannel fresh(SHAPE);
  ServerLink link(fresh.memory, 1, LIMITS);
  EXPECT_TRUE(link.request_room().empty());
  WorkerLink late(fresh.memory);
  WorkerEvent event;
  ASSERT_TRUE(late.next(event));
  (void)late.flush();
  EXPECT_TRUE(link.request_room().empty()) << "READY lies in the ring and was not read";
  LinkEvent ready;
  ASSERT_TRUE(link.next(ready));
  EXPECT_FALSE(link.request_room().empty());
}

TEST_F(Link, wakes_a_worker_that_slept_before_there_was_a_server) {
  PlainChannel fresh(SHAPE);
  WorkerLink early(fresh.memory);
  WorkerEvent event;
  EXPECT_FALSE(early.next(event));
  EXPECT_TRUE(early.may_sleep());
  ServerLink link(fresh.memory, 1, LIMITS);
  EXPECT_TRUE(link.flush());
  EXPECT_FALSE(link.flush()) << "once";
  EXPECT_TRUE(early.next(event));
}

TEST_F(Link, answers_in_any_order) {
  const Handle first = begin();
  const Handle second = begin();
  (void)hear();
  (void)hear();
  ASSERT_TRUE(worker.send_head(second, {.status = 202, .length = 0}, {}, true));
  ASSERT_TRUE(worker.send_head(first, {.status = 201, .length = 0}, {}, true));
  EXPECT_EQ(expect(Kind::HEAD).exchange, second);
  EXPECT_EQ(expect(Kind::HEAD).exchange, first);
}

TEST_F(Link, takes_as_many_exchanges_as_the_shape_says) {
  std::vector<Handle> open;
  for (uint32_t i = 0; i < SHAPE.exchanges_max; ++i) open.push_back(begin());
  EXPECT_TRUE(server.request_room().empty());
  for (uint32_t i = 0; i < SHAPE.exchanges_max; ++i) (void)hear();
  ASSERT_TRUE(worker.abort(open[2]));
  EXPECT_TRUE(expect(Kind::ABORTED).end);
  EXPECT_FALSE(server.request_room().empty());
  EXPECT_NE(begin(), open[2]) << "a slot comes back with another generation";
}

TEST_F(Link, holds_an_upload_to_its_chunks_until_they_are_read) {
  const Handle exchange = begin({}, false);
  (void)hear();
  const std::string chunk(SHAPE.chunk_bytes, 'u');
  for (uint32_t i = 0; i < LIMITS.upload_chunks_max; ++i) {
    EXPECT_EQ(server.send_body(exchange, chunk + "more", false), chunk.size()) << "one chunk at a time";
  }
  EXPECT_EQ(server.send_body(exchange, "x", false), 0U);
  EXPECT_EQ(hear().body, chunk);
  EXPECT_EQ(hear().body, chunk);
  ASSERT_TRUE(worker.consumed(exchange, 2));
  EXPECT_EQ(expect(Kind::CONSUMED).exchange, exchange);
  EXPECT_EQ(server.send_body(exchange, "last", true), 4U);
  (void)hear();
  (void)hear();
  const WorkerEvent last = hear();
  EXPECT_EQ(last.body, "last");
  EXPECT_TRUE(last.end);
}

TEST_F(Link, keeps_room_for_heads_whatever_is_uploaded) {
  const Handle one = begin({}, false);
  const Handle two = begin({}, false);
  while (server.send_body(one, "x", false) + server.send_body(two, "x", false) > 0) {
  }
  EXPECT_FALSE(server.request_room().empty());
  (void)begin();
  EXPECT_FALSE(server.request_room().empty());
  (void)begin();
}

TEST_F(Link, lets_the_worker_send_what_was_granted) {
  const Handle exchange = begin();
  (void)hear();
  ASSERT_TRUE(worker.send_head(exchange, {}, {}, false));
  EXPECT_EQ(worker.window(exchange), LIMITS.window_bytes);
  ASSERT_TRUE(worker.send_data(exchange, std::string(8'000, 'd'), false));
  EXPECT_FALSE(worker.send_data(exchange, std::string(193, 'd'), false)) << "beyond the window";
  ASSERT_TRUE(worker.send_data(exchange, std::string(192, 'd'), false));
  (void)expect(Kind::HEAD);
  EXPECT_EQ(expect(Kind::DATA).body.size(), 8'000U);
  EXPECT_EQ(expect(Kind::DATA).body.size(), 192U);
  server.grant(exchange, 100);
  EXPECT_TRUE(hears_nothing()) << "credit comes in portions";
  server.grant(exchange, 4'000);
  const WorkerEvent credit = hear();
  EXPECT_EQ(credit.kind, Said::CREDIT);
  EXPECT_EQ(worker.window(exchange), 4'100U);
}

TEST_F(Link, gives_back_every_chunk_with_the_end_of_its_exchange) {
  EXPECT_EQ(server.free_chunks(), SHAPE.chunks);
  const Handle exchange = begin({}, false);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(server.send_body(exchange, "unread", false), 6U);
  EXPECT_EQ(server.free_chunks(), SHAPE.chunks - 4);
  for (int i = 0; i < 4; ++i) (void)hear();
  ASSERT_TRUE(worker.consumed(exchange, 1));
  ASSERT_TRUE(worker.abort(exchange));
  (void)expect(Kind::CONSUMED);
  (void)expect(Kind::ABORTED);
  EXPECT_EQ(server.free_chunks(), SHAPE.chunks);
}

TEST_F(Link, writes_over_nothing_in_the_arena_that_was_not_read) {
  std::vector<Handle> open;
  for (int i = 0; i < 3; ++i) {
    open.push_back(begin());
    (void)hear();
    ASSERT_TRUE(worker.send_head(open.back(), {}, {}, false));
  }
  ASSERT_TRUE(worker.send_data(open[0], std::string(7'000, 'a'), false));
  ASSERT_TRUE(worker.send_data(open[1], std::string(7'000, 'b'), false));
  EXPECT_FALSE(worker.send_data(open[2], std::string(7'000, 'c'), false)) << "16 KiB hold no third one";
  for (int i = 0; i < 3; ++i) (void)expect(Kind::HEAD);
  EXPECT_EQ(expect(Kind::DATA).body, std::string(7'000, 'a'));
  EXPECT_EQ(expect(Kind::DATA).body, std::string(7'000, 'b'));
  EXPECT_TRUE(quiet());
  ASSERT_TRUE(worker.send_data(open[2], std::string(7'000, 'c'), false)) << "it was read";
  EXPECT_EQ(expect(Kind::DATA).body, std::string(7'000, 'c'));
}

TEST_F(Link, rings_a_worker_that_waits_for_room) {
  std::vector<Handle> open;
  for (int i = 0; i < 3; ++i) {
    open.push_back(begin());
    (void)hear();
    ASSERT_TRUE(worker.send_head(open.back(), {}, {}, false));
    if (i == 2) continue;
    ASSERT_TRUE(worker.send_data(open.back(), std::string(7'000, 'd'), true));
  }
  ASSERT_FALSE(worker.send_data(open[2], std::string(7'000, 'd'), true));
  EXPECT_TRUE(worker.starve());
  EXPECT_FALSE(server.flush()) << "nothing has been read";
  for (const Kind kind : {Kind::HEAD, Kind::DATA, Kind::HEAD, Kind::DATA, Kind::HEAD}) (void)expect(kind);
  EXPECT_TRUE(quiet());
  EXPECT_TRUE(server.flush());
  EXPECT_FALSE(worker.starve()) << "there is room";
  worker.awake();
  ASSERT_TRUE(worker.send_data(open[2], std::string(7'000, 'd'), true));
  (void)expect(Kind::DATA);
  EXPECT_TRUE(quiet());
  EXPECT_FALSE(server.flush()) << "it waits for nothing";
}

TEST_F(Link, says_nothing_more_of_what_was_cancelled_but_its_end) {
  const Handle exchange = begin();
  (void)hear();
  EXPECT_FALSE(worker.is_cancelled(exchange));
  server.cancel(exchange, PENSTOCK_CANCEL_TIMEOUT);
  EXPECT_TRUE(worker.is_cancelled(exchange)) << "the flag is there before the message";
  const WorkerEvent heard = hear();
  EXPECT_EQ(heard.kind, Said::CANCEL);
  EXPECT_EQ(heard.reason, PENSTOCK_CANCEL_TIMEOUT);
  ASSERT_TRUE(worker.send_head(exchange, {}, "late", false));
  ASSERT_TRUE(worker.send_data(exchange, "later", false));
  EXPECT_TRUE(quiet());
  EXPECT_TRUE(server.is_open(exchange)) << "the worker may still read its chunks";
  ASSERT_TRUE(worker.send_data(exchange, {}, true));
  const LinkEvent ended = expect(Kind::ENDED);
  EXPECT_TRUE(ended.end);
  EXPECT_EQ(ended.exchange, exchange);
}

TEST_F(Link, tells_a_worker_nothing_of_an_exchange_that_it_has_ended) {
  const Handle exchange = begin();
  (void)hear();
  ASSERT_TRUE(worker.send_head(exchange, {.length = 0}, {}, true));
  server.cancel(exchange, PENSTOCK_CANCEL_CLIENT_GONE);  // they cross
  EXPECT_TRUE(hears_nothing());
  EXPECT_EQ(expect(Kind::ENDED).exchange, exchange);
}

TEST_F(Link, carries_every_kind_of_answer) {
  const Handle exchange = begin();
  (void)hear();
  ASSERT_TRUE(worker.send_head(exchange, {}, {}, false));
  ASSERT_TRUE(worker.send_file(exchange, "some/file", 10, 20, false));
  ASSERT_TRUE(worker.send_entry(exchange, "/fragment", false));
  ASSERT_TRUE(worker.log(exchange, "user=jane"));
  ASSERT_TRUE(worker.send_data(exchange, "end", true));
  (void)expect(Kind::HEAD);
  const LinkEvent file = expect(Kind::FILE);
  EXPECT_EQ(file.body, "some/file");
  EXPECT_EQ(file.offset, 10U);
  EXPECT_EQ(file.length, 20U);
  EXPECT_EQ(expect(Kind::ENTRY).body, "/fragment");
  EXPECT_EQ(expect(Kind::LOG).body, "user=jane");
  EXPECT_EQ(expect(Kind::DATA).body, "end");
  const Handle other = begin();
  (void)hear();
  ASSERT_TRUE(worker.execute(other, "/elsewhere?a=b"));
  const LinkEvent execute = expect(Kind::EXECUTE);
  EXPECT_EQ(execute.body, "/elsewhere?a=b");
  EXPECT_TRUE(execute.end);
}

TEST_F(Link, lets_an_answer_to_head_announce_a_body_and_bring_none) {
  const Handle exchange = begin({}, true, false);
  (void)hear();
  ASSERT_TRUE(worker.send_head(exchange, {.length = 5'000}, {}, true));
  EXPECT_EQ(expect(Kind::HEAD).length, 5'000U);
}

TEST_F(Link, pings_and_stops) {
  ASSERT_TRUE(server.ping(42));
  const WorkerEvent ping = hear();
  EXPECT_EQ(ping.kind, Said::PING);
  ASSERT_TRUE(worker.pong(ping.serial));
  EXPECT_EQ(expect(Kind::PONG).serial, 42U);
  ASSERT_TRUE(server.stop());
  EXPECT_EQ(hear().kind, Said::STOP);
}

TEST_F(Link, goes_over_to_the_server_process_that_follows) {
  const Handle old = begin();
  (void)hear();
  const Handle unread = begin();
  (void)server.flush();
  ASSERT_TRUE(worker.send_head(old, {.status = 201, .length = 0}, {}, true));
  (void)worker.flush();  // nobody reads it any more
  EXPECT_TRUE(server.is_open(unread));

  ServerLink next(channel.memory, 2, LIMITS);
  EXPECT_TRUE(next.request_room().empty());
  WorkerEvent event;
  ASSERT_TRUE(worker.next(event));
  EXPECT_EQ(event.kind, Said::RESET);
  EXPECT_FALSE(worker.is_open(unread));
  EXPECT_FALSE(worker.next(event)) << "what the old one asked is forgotten";
  (void)worker.flush();
  LinkEvent ready;
  ASSERT_TRUE(next.next(ready));
  EXPECT_EQ(ready.kind, Kind::READY);
  ASSERT_FALSE(next.request_room().empty());
  const Handle exchange = next.begin({.serial = 7, .head_bytes = 100, .length = 0});
  (void)next.flush();
  ASSERT_TRUE(worker.next(event));
  EXPECT_EQ(event.serial, 7U);
  ASSERT_TRUE(worker.send_head(exchange, {.length = 0}, "", true));
  (void)worker.flush();
  LinkEvent answer;
  ASSERT_TRUE(next.next(answer)) << violation_sentence(next.violation());
  EXPECT_EQ(answer.serial, 7U);
  EXPECT_EQ(answer.status, 200) << "an answer to the process before, whose exchange had the same slot and generation";
}

// Bytes both ways through small windows: all of them, in order, and never more memory than the shape has.
TEST_F(Link, streams_both_ways_at_once) {
  constexpr uint64_t BYTES = 3'000'000;
  const auto byte_at = [](uint64_t i) { return static_cast<char>(hash_word(i) & 0xff); };
  Prng random(11);
  const Handle exchange = begin({}, false);
  (void)hear();
  ASSERT_TRUE(worker.send_head(exchange, {.length = BYTES}, {}, false));
  uint64_t up_sent = 0, up_heard = 0, down_sent = 0, down_heard = 0;
  bool ended = false;
  while (!ended) {
    std::string bytes(random.below(9'000), 0);
    bytes.resize(std::min<uint64_t>(bytes.size(), BYTES - up_sent));
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = byte_at(up_sent + i);
    if (up_sent < BYTES) up_sent += server.send_body(exchange, bytes, up_sent + bytes.size() == BYTES);
    (void)server.flush();
    for (WorkerEvent event; random.below(3) != 0 && worker.next(event);) {
      if (event.kind != Said::BODY) continue;
      for (const char c : event.body) ASSERT_EQ(c, byte_at(up_heard++));
      ASSERT_TRUE(worker.consumed(exchange, 1));
    }
    const uint64_t piece = std::min<uint64_t>({random.below(5'000), BYTES - down_sent, worker.window(exchange)});
    std::string answer(piece, 0);
    for (size_t i = 0; i < piece; ++i) answer[i] = byte_at(~(down_sent + i));
    const bool last = down_sent + piece == BYTES && up_heard == BYTES;
    if ((piece > 0 || last) && worker.is_open(exchange) && worker.send_data(exchange, answer, last)) down_sent += piece;
    (void)worker.flush();
    for (LinkEvent event; random.below(3) != 0 && server.next(event);) {
      if (event.kind != Kind::DATA) continue;
      for (const char c : event.body) ASSERT_EQ(c, byte_at(~down_heard++));
      if (!event.end) server.grant(exchange, static_cast<uint32_t>(event.body.size()));
      ended = event.end;
    }
    ASSERT_EQ(server.violation(), LinkViolation::NONE) << violation_sentence(server.violation());
  }
  EXPECT_EQ(up_heard, BYTES);
  EXPECT_EQ(down_heard, BYTES);
  EXPECT_EQ(server.open_exchanges(), 0U);
}

}  // namespace
}  // namespace penstock
