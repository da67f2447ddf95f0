// Each thing that no worker may do, one at a time.
#include "tests/unit/ring/link_pair.h"

#include <cstring>
#include <gtest/gtest.h>
#include <tuple>

namespace penstock {
namespace {

struct Broken {
  LinkViolation violation;
  const char* name;
  void (*say)(penstock_descriptor& to, PlainChannel& channel);
};

// Each is one descriptor, the first after a HEAD for a known length of 100 was sent; `slot` and `generation` are right.
const Broken BROKEN[] = {
    {LinkViolation::KIND, "kind of the other direction", [](auto& to, auto&) { to.kind = PENSTOCK_REQUEST; }},
    {LinkViolation::KIND, "kind 255", [](auto& to, auto&) { to.kind = 255; }},
    {LinkViolation::RESERVED, "an unknown flag", [](auto& to, auto&) { to.flags = 2; }},
    {LinkViolation::RESERVED, "reserved0", [](auto& to, auto&) { to.reserved0 = 1; }},
    {LinkViolation::RESERVED, "reserved1", [](auto& to, auto&) { to.reserved1 = 1; }},
    {LinkViolation::RESERVED, "a serial", [](auto& to, auto&) { to.serial = 1; }},
    {LinkViolation::RESERVED, "a head of data", [](auto& to, auto&) { to.head_bytes = 16; }},
    {LinkViolation::RESERVED, "an abort that does not end", [](auto& to, auto&) { to.kind = PENSTOCK_ABORT; }},
    {LinkViolation::RESERVED, "a log that ends",
     [](auto& to, auto&) {
       to.kind = PENSTOCK_LOG;
       to.flags = PENSTOCK_END;
     }},
    {LinkViolation::EXCHANGE, "another generation", [](auto& to, auto&) { ++to.generation; }},
    {LinkViolation::EXCHANGE, "a slot that is not there", [](auto& to, auto&) { to.slot = 4; }},
    {LinkViolation::EXCHANGE, "a slot that is free", [](auto& to, auto&) { to.slot = 3; }},
    {LinkViolation::RANGE, "a body beyond the arena",
     [](auto& to, auto&) {
       to.body_at = SHAPE.arena_bytes - 1;
       to.body_bytes = 2;
     }},
    {LinkViolation::RANGE, "a body that wraps around",
     [](auto& to, auto&) {
       to.body_at = 16;
       to.body_bytes = UINT32_MAX - 8;
     }},
    {LinkViolation::RANGE, "a path too long",
     [](auto& to, auto&) {
       to.kind = PENSTOCK_ENTRY;
       to.body_bytes = 9'000;
     }},
    {LinkViolation::RANGE, "no path", [](auto& to, auto&) { to.kind = PENSTOCK_FILE; }},
    {LinkViolation::ORDER, "a second head",
     [](auto& to, auto&) {
       to.kind = PENSTOCK_HEAD;
       to.status = 200;
     }},
    {LinkViolation::ORDER, "a redirect after the head",
     [](auto& to, auto&) {
       to.kind = PENSTOCK_EXECUTE;
       to.flags = PENSTOCK_END;
       to.body_bytes = 1;
     }},
    {LinkViolation::ORDER, "READY again",
     [](auto& to, auto&) {
       to = {};
       to.kind = PENSTOCK_READY;
       to.status = 1;
     }},
    {LinkViolation::WINDOW, "more than the window", [](auto& to, auto&) { to.body_bytes = LIMITS.window_bytes + 1; }},
    {LinkViolation::LENGTH, "more than was announced", [](auto& to, auto&) { to.body_bytes = 101; }},
    {LinkViolation::LENGTH, "less than was announced",
     [](auto& to, auto&) {
       to.body_bytes = 99;
       to.flags = PENSTOCK_END;
     }},
    {LinkViolation::CREDIT, "more consumed than sent",
     [](auto& to, auto&) {
       to.kind = PENSTOCK_CONSUMED;
       to.credit = 2;
     }},
    {LinkViolation::CREDIT, "nothing consumed", [](auto& to, auto&) { to.kind = PENSTOCK_CONSUMED; }},
    {LinkViolation::INDEX, "a tail too far", [](auto&, auto& channel) { channel.worker.response_tail += 65; }},
};

TEST(HostileMessages, ends_at_the_first_thing_that_no_worker_may_do) {
  for (const Broken& broken : BROKEN) {
    LinkPair pair;
    ServerLink& link = pair.server;
    LinkEvent event;
    const Handle exchange = pair.open({.serial = 1, .head_bytes = 96, .end = false});
    ASSERT_EQ(link.send_body(exchange, "one chunk", false), 9U);
    ASSERT_TRUE(pair.worker.send_head(exchange, {.length = 100}, {}, false));
    ASSERT_TRUE(!pair.worker.flush() && link.next(event));

    penstock_descriptor to{};
    to.kind = PENSTOCK_DATA;
    to.slot = static_cast<uint16_t>(exchange.index);
    to.generation = exchange.generation;
    broken.say(to, pair.channel);
    pair.write(to);
    EXPECT_FALSE(link.next(event)) << broken.name;
    EXPECT_EQ(link.violation(), broken.violation) << broken.name << ": " << violation_sentence(link.violation());
    EXPECT_FALSE(link.ready() || link.next(event) || link.flush());
    EXPECT_TRUE(link.request_room().empty());
    EXPECT_EQ(link.send_body(exchange, "x", false), 0U);
  }
}

// A head block with one number wrong at a time.
TEST(HostileMessages, refuses_heads_that_point_outside_of_themselves) {
  struct Wrong {
    const char* name;
    void (*make)(penstock_response_head& head, penstock_field& field, penstock_descriptor& to);
  };
  const Wrong wrongs[] = {
      {"too short", [](auto&, auto&, auto& to) { to.head_bytes = 8; }},
      {"longer than the limit",
       [](auto& head, auto&, auto& to) { head.bytes = to.head_bytes = 4'096 + PENSTOCK_POLICY_BYTES + 1; }},
      {"another size than its descriptor says", [](auto& head, auto&, auto&) { ++head.bytes; }},
      {"more fields than there is room for", [](auto& head, auto&, auto&) { head.field_count = 12; }},
      {"more fields than the limit", [](auto& head, auto&, auto&) { head.field_count = 17; }},
      {"fields inside of the head", [](auto& head, auto&, auto&) { head.fields_at = 4; }},
      {"fields behind the end", [](auto& head, auto&, auto&) { head.fields_at = UINT32_MAX - 3; }},
      {"a policy inside of the head", [](auto& head, auto&, auto&) { head.policy_at = 1; }},
      {"a name behind the end", [](auto&, auto& field, auto&) { field.name.at = 201; }},
      {"a name that wraps", [](auto&, auto& field, auto&) { field.name = {.at = 10, .bytes = UINT32_MAX - 5}; }},
      {"no name", [](auto&, auto& field, auto&) { field.name.bytes = 0; }},
      {"a value behind the end", [](auto&, auto& field, auto&) { field.value = {.at = 200, .bytes = 1}; }},
  };
  for (const Wrong& wrong : wrongs) {
    LinkPair pair;
    ServerLink& link = pair.server;
    LinkEvent event;
    const Handle exchange = pair.open({.serial = 1, .head_bytes = 96});
    penstock_response_head head{.bytes = 200, .field_count = 1, .fields_at = sizeof head, .policy_at = 0};
    penstock_field field{.name = {.at = 40, .bytes = 4}, .value = {.at = 50, .bytes = 10}};
    penstock_descriptor to{};
    to.kind = PENSTOCK_HEAD;
    to.status = 200;
    to.slot = static_cast<uint16_t>(exchange.index);
    to.generation = exchange.generation;
    to.head_bytes = 200;
    wrong.make(head, field, to);
    std::memcpy(pair.channel.worker_arena.data(), &head, sizeof head);
    std::memcpy(pair.channel.worker_arena.data() + sizeof head, &field, sizeof field);
    pair.write(to);
    EXPECT_FALSE(link.next(event)) << wrong.name;
    EXPECT_EQ(link.violation(), LinkViolation::HEAD) << wrong.name;
  }
}

TEST(HostileMessages, refuses_a_status_or_a_body_that_cannot_be) {
  for (const auto& [status, body, fine] : {std::tuple{100, "", false},
                                           {199, "", false},
                                           {200, "x", true},
                                           {204, "", true},
                                           {204, "x", false},
                                           {304, "x", false},
                                           {599, "", true},
                                           {600, "", false}}) {
    LinkPair pair;
    ServerLink& link = pair.server;
    LinkEvent event;
    const Handle exchange = pair.open({.serial = 1, .head_bytes = 96});
    ASSERT_TRUE(pair.worker.send_head(exchange, {.status = static_cast<uint16_t>(status)}, body, true));
    (void)pair.worker.flush();
    EXPECT_EQ(link.next(event), fine) << status << body;
    EXPECT_EQ(link.violation(), fine ? LinkViolation::NONE : LinkViolation::STATUS) << status << body;
  }
}

TEST(HostileMessages, refuses_a_version_that_it_does_not_speak) {
  for (const uint16_t version : {uint16_t{0}, uint16_t{PENSTOCK_ABI_VERSION + 1}}) {
    LinkPair pair;
    pair.channel.worker.epoch = 1;
    penstock_descriptor ready{};
    ready.kind = PENSTOCK_READY;
    ready.status = version;
    pair.write(ready);
    LinkEvent event;
    EXPECT_FALSE(pair.server.next(event));
    EXPECT_EQ(pair.server.violation(), LinkViolation::VERSION);
  }
}

}  // namespace
}  // namespace penstock
