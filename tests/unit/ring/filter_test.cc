// Version 3: exchanges of filters, and the verdicts that end them.
#include "tests/unit/ring/link_pair.h"

#include <array>
#include <cstring>
#include <gtest/gtest.h>
#include <string>

namespace penstock {
namespace {

constexpr penstock_to_worker MOMENTS[] = {PENSTOCK_FILTER_REQUEST, PENSTOCK_FILTER_RESPONSE, PENSTOCK_FILTER_LOG};

RequestFrame frame_of(penstock_to_worker kind) { return {.kind = kind, .serial = 1, .head_bytes = 96, .length = 0}; }

TEST(Filter, is_told_what_its_moment_has) {
  for (const penstock_to_worker kind : MOMENTS) {
    LinkPair pair;
    WorkerEvent heard;
    LinkEvent event;
    ASSERT_TRUE(pair.worker.next(heard) && !pair.worker.flush() && pair.server.next(event));
    std::memcpy(pair.server.request_room().data() + 96, "answer", 6);
    const Handle exchange = pair.server.begin(
        {.kind = kind, .status = 404, .offset = 1'234, .serial = 9, .head_bytes = 96, .body_bytes = 6, .length = 77});
    ASSERT_FALSE(pair.server.flush());
    ASSERT_TRUE(pair.worker.next(heard));
    EXPECT_EQ(heard.kind, WorkerEvent::Kind::REQUEST);
    EXPECT_EQ(heard.asked, kind);
    EXPECT_TRUE(heard.end);
    EXPECT_EQ(heard.exchange, exchange);
    EXPECT_EQ(heard.serial, 9U);
    EXPECT_EQ(heard.status, 404);
    EXPECT_EQ(heard.body, "answer");
    EXPECT_EQ(heard.length, 77U);
    EXPECT_EQ(heard.offset, 1'234U);
  }
}

TEST(Filter, says_what_it_wants_changed_and_has_ended_with_it) {
  LinkPair pair;
  const Handle exchange = pair.open(frame_of(PENSTOCK_FILTER_REQUEST));
  const WorkerEdit edits[] = {{.what = PENSTOCK_EDIT_SET, .name = "A", .value = "1"},
                              {.what = PENSTOCK_EDIT_ADD, .name = "B", .value = ""},
                              {.what = PENSTOCK_EDIT_REMOVE, .name = "C", .value = ""}};
  ASSERT_TRUE(pair.worker.send_verdict(
      exchange, {.wants = PENSTOCK_WANTS_LOG, .target = "/b?c", .log = "who=me", .edits = edits}));
  EXPECT_FALSE(pair.worker.is_open(exchange));
  ASSERT_FALSE(pair.worker.flush());
  LinkEvent event;
  ASSERT_TRUE(pair.server.next(event));
  EXPECT_EQ(event.kind, LinkEvent::Kind::VERDICT);
  EXPECT_TRUE(event.end);
  EXPECT_FALSE(pair.server.is_open(exchange));
  EXPECT_EQ(event.status, 0);
  ASSERT_NE(event.verdict, nullptr);
  EXPECT_EQ(event.verdict->target, "/b?c");
  EXPECT_EQ(event.verdict->log, "who=me");
  EXPECT_TRUE(event.verdict->wants_log);
  EXPECT_FALSE(event.verdict->wants_response);
  ASSERT_EQ(event.verdict->edits.size(), 3U);
  EXPECT_EQ(event.verdict->edits[0].value, "1");
  EXPECT_EQ(event.verdict->edits[1].what, PENSTOCK_EDIT_ADD);
  EXPECT_EQ(event.verdict->edits[2].name, "C");
  EXPECT_EQ(pair.server.free_chunks(), SHAPE.chunks);
}

TEST(Filter, of_an_answer_may_name_another_status) {
  LinkPair pair;
  const Handle exchange = pair.open(frame_of(PENSTOCK_FILTER_RESPONSE));
  ASSERT_TRUE(pair.worker.send_verdict(exchange, {.status = 404}));
  ASSERT_FALSE(pair.worker.flush());
  LinkEvent event;
  ASSERT_TRUE(pair.server.next(event));
  EXPECT_EQ(event.status, 404);
}

TEST(Filter, may_answer_a_request_by_itself) {
  LinkPair pair;
  const Handle exchange = pair.open(frame_of(PENSTOCK_FILTER_REQUEST));
  ASSERT_TRUE(pair.worker.send_head(exchange, {.status = 403, .length = 2}, "no", true));
  ASSERT_FALSE(pair.worker.flush());
  LinkEvent event;
  ASSERT_TRUE(pair.server.next(event));
  EXPECT_EQ(event.kind, LinkEvent::Kind::HEAD);
  EXPECT_EQ(event.body, "no");
}

// `say` after an exchange of `kind` was opened is that violation.
template <typename Say>
LinkViolation violation_of(penstock_to_worker kind, Say&& say) {
  LinkPair pair;
  const Handle exchange = pair.open(frame_of(kind));
  say(pair.worker, exchange);
  (void)pair.worker.flush();
  LinkEvent event;
  while (pair.server.next(event)) {
  }
  return pair.server.violation();
}

TEST(Filter, answers_only_where_it_can) {
  const auto answer = [](WorkerLink& worker, Handle exchange) {
    ASSERT_TRUE(worker.send_head(exchange, {.length = 0}, {}, true));
  };
  const auto execute = [](WorkerLink& worker, Handle exchange) { ASSERT_TRUE(worker.execute(exchange, "/x")); };
  const auto data = [](WorkerLink& worker, Handle exchange) { ASSERT_TRUE(worker.send_data(exchange, "x", false)); };
  const auto abort = [](WorkerLink& worker, Handle exchange) { ASSERT_TRUE(worker.abort(exchange)); };
  const auto verdict = [](WorkerLink& worker, Handle exchange) { ASSERT_TRUE(worker.send_verdict(exchange, {})); };
  const auto both = [](WorkerLink& worker, Handle exchange) {
    ASSERT_TRUE(worker.send_head(exchange, {.length = 0}, {}, false));
    ASSERT_TRUE(worker.send_verdict(exchange, {}));
  };
  for (const penstock_to_worker kind : MOMENTS) {
    const bool may = kind == PENSTOCK_FILTER_REQUEST;
    EXPECT_EQ(violation_of(kind, answer), may ? LinkViolation::NONE : LinkViolation::ORDER) << kind;
    EXPECT_EQ(violation_of(kind, execute), LinkViolation::ORDER) << kind;
    EXPECT_EQ(violation_of(kind, data), LinkViolation::ORDER) << kind;
    EXPECT_EQ(violation_of(kind, both), LinkViolation::ORDER) << kind;
    EXPECT_EQ(violation_of(kind, abort), LinkViolation::NONE) << kind;
    EXPECT_EQ(violation_of(kind, verdict), LinkViolation::NONE) << kind;
  }
  EXPECT_EQ(violation_of(PENSTOCK_REQUEST, verdict), LinkViolation::ORDER);
}

TEST(Filter, says_nothing_that_its_moment_does_not_have) {
  const WorkerEdit edits[] = {{.what = PENSTOCK_EDIT_REMOVE, .name = "A", .value = ""}};
  const auto of = [](penstock_to_worker kind, const WorkerVerdict& verdict) {
    return violation_of(
        kind, [&](WorkerLink& worker, Handle exchange) { ASSERT_TRUE(worker.send_verdict(exchange, verdict)); });
  };
  for (const penstock_to_worker kind : MOMENTS) {
    const bool request = kind == PENSTOCK_FILTER_REQUEST;
    const bool response = kind == PENSTOCK_FILTER_RESPONSE;
    const auto head = [](bool may) { return may ? LinkViolation::NONE : LinkViolation::HEAD; };
    EXPECT_EQ(of(kind, {.log = "x"}), LinkViolation::NONE) << kind;
    EXPECT_EQ(of(kind, {.target = "/"}), head(request)) << kind;
    EXPECT_EQ(of(kind, {.wants = PENSTOCK_WANTS_RESPONSE}), head(request)) << kind;
    EXPECT_EQ(of(kind, {.edits = edits}), head(kind != PENSTOCK_FILTER_LOG)) << kind;
    EXPECT_EQ(of(kind, {.status = 404}), response ? LinkViolation::NONE : LinkViolation::STATUS) << kind;
    for (const uint16_t status : {uint16_t{100}, uint16_t{199}, uint16_t{600}}) {
      EXPECT_EQ(of(kind, {.status = status}), LinkViolation::STATUS) << kind << " " << status;
    }
  }
}

// A verdict with one edit, changed by `change`, is malformed.
struct Block {
  penstock_verdict says{.bytes = sizeof(Block),
                        .edit_count = 1,
                        .edits_at = sizeof(penstock_verdict),
                        .wants = 0,
                        .target = {},
                        .log = {}};
  penstock_edit edit{.what = PENSTOCK_EDIT_SET,
                     .reserved = 0,
                     .name = {sizeof(penstock_verdict) + sizeof(penstock_edit), 4},
                     .value = {sizeof(penstock_verdict) + sizeof(penstock_edit) + 4, 4}};
  std::array<char, 8> text{'n', 'a', 'm', 'e', 'w', 'o', 'r', 'd'};
};

LinkViolation violation_of_block(const Block& block, uint32_t bytes = sizeof(Block)) {
  LinkPair pair;
  const Handle exchange = pair.open(frame_of(PENSTOCK_FILTER_REQUEST));
  std::memcpy(pair.channel.worker_arena.data(), &block, sizeof block);
  penstock_descriptor to{};
  to.kind = PENSTOCK_VERDICT;
  to.flags = PENSTOCK_END;
  to.slot = static_cast<uint16_t>(exchange.index);
  to.generation = exchange.generation;
  to.head_bytes = bytes;
  pair.write(to);
  LinkEvent event;
  while (pair.server.next(event)) {
  }
  return pair.server.violation();
}

TEST(Filter, whose_verdict_is_malformed_is_ended) {
  EXPECT_EQ(violation_of_block({}), LinkViolation::NONE);
  EXPECT_EQ(violation_of_block({}, 0), LinkViolation::HEAD);
  EXPECT_EQ(violation_of_block({}, sizeof(penstock_verdict) - 1), LinkViolation::HEAD);
  EXPECT_EQ(violation_of_block({}, LIMITS.head_bytes_max + 1), LinkViolation::HEAD);
  const auto changed = [](auto&& change) {
    Block block;
    change(block);
    return violation_of_block(block);
  };
  EXPECT_EQ(changed([](Block& b) { --b.says.bytes; }), LinkViolation::HEAD);
  EXPECT_EQ(changed([](Block& b) { b.says.edit_count = 2; }), LinkViolation::HEAD);
  EXPECT_EQ(changed([](Block& b) { b.says.edit_count = LIMITS.fields_max + 1; }), LinkViolation::HEAD);
  EXPECT_EQ(changed([](Block& b) { b.says.edit_count = UINT32_MAX; }), LinkViolation::HEAD);
  EXPECT_EQ(changed([](Block& b) { b.says.edits_at = 0; }), LinkViolation::HEAD);
  EXPECT_EQ(changed([](Block& b) { b.says.edits_at = UINT32_MAX; }), LinkViolation::HEAD);
  EXPECT_EQ(changed([](Block& b) { b.says.wants = 4; }), LinkViolation::HEAD);
  EXPECT_EQ(changed([](Block& b) { b.says.target = {64, 1}; }), LinkViolation::HEAD);
  EXPECT_EQ(changed([](Block& b) { b.says.log = {1, UINT32_MAX}; }), LinkViolation::HEAD);
  EXPECT_EQ(changed([](Block& b) { b.edit.what = 0; }), LinkViolation::HEAD);
  EXPECT_EQ(changed([](Block& b) { b.edit.what = 4; }), LinkViolation::HEAD);
  EXPECT_EQ(changed([](Block& b) { b.edit.reserved = 1; }), LinkViolation::HEAD);
  EXPECT_EQ(changed([](Block& b) { b.edit.name.bytes = 0; }), LinkViolation::HEAD);
  EXPECT_EQ(changed([](Block& b) { b.edit.name.at = 61; }), LinkViolation::HEAD);
  EXPECT_EQ(changed([](Block& b) { b.edit.value.bytes = 5; }), LinkViolation::HEAD);
  EXPECT_EQ(changed([](Block& b) { b.edit.what = PENSTOCK_EDIT_REMOVE; }), LinkViolation::HEAD) << "with a value";
}

}  // namespace
}  // namespace penstock
