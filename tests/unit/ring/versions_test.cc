// Version N and N-1 of the protocol, in both directions; and what version 2 adds: the cache policy of an answer.
#include "tests/unit/ring/link_pair.h"

#include <cstring>
#include <gtest/gtest.h>
#include <string>
#include <unistd.h>
#include <vector>

namespace penstock {
namespace {

// A segment whose header was changed as `change` does, as the worker maps it.
template <typename Change>
Result<Segment> mapped(Change&& change) {
  const SegmentMemory memory = create_segment({}).value();
  penstock_segment header{};
  EXPECT_EQ(::pread(memory.server_half.get(), &header, sizeof header, 0), static_cast<ssize_t>(sizeof header));
  change(header);
  EXPECT_EQ(::pwrite(memory.server_half.get(), &header, sizeof header, 0), static_cast<ssize_t>(sizeof header));
  const UniqueFd for_worker = read_only(memory.server_half.get()).value();
  return Segment::map(for_worker.get(), memory.worker_half.get(), Segment::Side::WORKER);
}

TEST(Versions, a_segment_says_the_oldest_first_so_that_older_workers_take_it) {
  const SegmentMemory memory = create_segment({}).value();
  penstock_segment header{};
  ASSERT_EQ(::pread(memory.server_half.get(), &header, sizeof header, 0), static_cast<ssize_t>(sizeof header));
  EXPECT_EQ(header.version, PENSTOCK_ABI_VERSION_MIN);  // the one word that a worker of version 1 looks at
  EXPECT_EQ(header.version_max, PENSTOCK_ABI_VERSION);
}

TEST(Versions, the_newest_that_both_know_is_spoken) {
  const auto spoken = [](uint32_t oldest, uint32_t newest) {
    const auto segment = mapped([&](penstock_segment& header) {
      header.version = oldest;
      header.version_max = newest;
    });
    return segment ? segment->channel(0).version_max : 0;
  };
  EXPECT_EQ(spoken(1, 0), 1U);  // a server that knows version 1 alone
  EXPECT_EQ(spoken(1, 1), 1U);
  EXPECT_EQ(spoken(1, 2), 2U);
  EXPECT_EQ(spoken(2, 3), 3U);
  EXPECT_EQ(spoken(2, 4), 3U);  // a server to come
  EXPECT_EQ(spoken(4, 5), 0U) << "it no longer speaks what we do";
  EXPECT_EQ(spoken(2, 1), 0U) << "impossible";
  EXPECT_EQ(spoken(0, 0), 0U);
}

TEST(Versions, a_worker_of_version_1_is_served) {
  PlainChannel channel(SHAPE);
  ServerLink server(channel.memory, 1, LIMITS);
  WorkerLink worker(channel.memory, 1);
  WorkerEvent heard;
  LinkEvent event;
  ASSERT_TRUE(worker.next(heard) && !worker.flush() && server.next(event));
  EXPECT_EQ(server.version(), 1U);
  EXPECT_EQ(worker.version(), 1U);
  ASSERT_FALSE(server.request_room().empty());
  const Handle exchange = server.begin({.serial = 1, .head_bytes = 96});
  ASSERT_FALSE(server.flush());
  ASSERT_TRUE(worker.next(heard));
  ASSERT_TRUE(worker.send_head(exchange, {.ttl_ms = 5}, "old", true) && !worker.flush());
  ASSERT_TRUE(server.next(event));
  EXPECT_EQ(event.body, "old");
  EXPECT_EQ(event.ttl_ms, 5U);
  EXPECT_EQ(event.policy, nullptr);
}

TEST(Versions, a_server_of_version_1_takes_no_more_than_that) {
  PlainChannel channel(SHAPE);
  channel.memory.version_max = 1;
  ServerLink server(channel.memory, 1, LIMITS);
  WorkerLink worker(channel.memory);
  WorkerEvent heard;
  LinkEvent event;
  ASSERT_TRUE(worker.next(heard) && !worker.flush() && server.next(event));
  EXPECT_EQ(worker.version(), 1U);
  EXPECT_EQ(server.version(), 1U);

  PlainChannel other(SHAPE);
  ServerLink old(ChannelMemory(other.memory), 1, LIMITS);
  other.memory.version_max = 1;
  ServerLink strict(other.memory, 1, LIMITS);
  other.worker.epoch = 1;
  other.responses[other.worker.response_tail++] = {.kind = PENSTOCK_READY, .status = 2};
  EXPECT_FALSE(strict.next(event));
  EXPECT_EQ(strict.violation(), LinkViolation::VERSION);
}

// An answer with `policy`, taken by the server; false: a violation.
bool carried(LinkPair& pair, const WorkerPolicy& policy, LinkEvent& event) {
  const Handle exchange = pair.open({.serial = 1, .head_bytes = 96});
  const std::pair<std::string_view, std::string_view> fields[] = {{"A", "b"}};
  EXPECT_TRUE(pair.worker.send_head(exchange, {.ttl_ms = 1, .fields = fields, .policy = &policy}, "body", true));
  (void)pair.worker.flush();
  return pair.server.next(event);
}

TEST(CachePolicy, travels_whole_up_to_its_limits) {
  const std::string name(PENSTOCK_POLICY_VARY_BYTES, 'n');
  const std::string tag(PENSTOCK_POLICY_TAG_BYTES, '~');
  const std::vector<std::string_view> vary(PENSTOCK_POLICY_VARY_MAX, name);
  const std::vector<std::string_view> tags(PENSTOCK_POLICY_TAGS_MAX, tag);
  LinkPair pair;
  LinkEvent event;
  ASSERT_TRUE(carried(pair, {.revalidate_ms = 2, .error_ms = 3, .vary = vary, .tags = tags}, event));
  ASSERT_NE(event.policy, nullptr);
  EXPECT_FALSE(event.policy->never);
  EXPECT_EQ(event.policy->revalidate_ms, 2U);
  EXPECT_EQ(event.policy->error_ms, 3U);
  EXPECT_EQ(event.policy->vary, vary);
  EXPECT_EQ(event.policy->tags, tags);
  EXPECT_EQ(event.fields[0].value, "b");
  EXPECT_EQ(event.body, "body");

  LinkPair other;
  ASSERT_TRUE(carried(other, {.never = true}, event));
  EXPECT_TRUE(event.policy->never);
  EXPECT_TRUE(event.policy->vary.empty() && event.policy->tags.empty());
}

TEST(CachePolicy, beyond_its_limits_is_a_violation) {
  const std::string long_name(PENSTOCK_POLICY_VARY_BYTES + 1, 'n');
  const std::string long_tag(PENSTOCK_POLICY_TAG_BYTES + 1, 't');
  const std::vector<std::string_view> many_names(PENSTOCK_POLICY_VARY_MAX + 1, "n");
  const std::vector<std::string_view> many_tags(PENSTOCK_POLICY_TAGS_MAX + 1, "t");
  using Texts = std::vector<std::string_view>;
  for (const auto& [vary, tags] : {std::pair<Texts, Texts>{{long_name}, {}},
                                   {{}, {long_tag}},
                                   {many_names, {}},
                                   {{}, many_tags},
                                   {{""}, {}},
                                   {{"*"}, {}},
                                   {{"a b"}, {}},
                                   {{"a:"}, {}},
                                   {{}, {""}},
                                   {{}, {"a,b"}},
                                   {{}, {"a b"}},
                                   {{}, {"a\x7f"}}}) {
    LinkPair pair;
    LinkEvent event;
    EXPECT_FALSE(carried(pair, {.vary = vary, .tags = tags}, event));
    EXPECT_EQ(pair.server.violation(), LinkViolation::HEAD);
  }
}

TEST(CachePolicy, that_lies_outside_of_its_block_is_a_violation) {
  struct Lie {
    size_t at;  // of 32 bits in the block
    uint32_t value;
  };
  constexpr size_t POLICY = sizeof(penstock_response_head) + sizeof(penstock_field);
  for (const Lie& lie : {Lie{offsetof(penstock_response_head, policy_at), 4},
                         {offsetof(penstock_response_head, policy_at), 8'000},
                         {offsetof(penstock_response_head, policy_at), UINT32_MAX - 4},
                         {POLICY + offsetof(penstock_policy, flags), 2},
                         {POLICY + offsetof(penstock_policy, reserved), 1},
                         {POLICY + offsetof(penstock_policy, texts_at), 8'000},
                         {POLICY + offsetof(penstock_policy, texts_at), UINT32_MAX},
                         {POLICY + sizeof(penstock_policy), UINT32_MAX - 1},
                         {POLICY + sizeof(penstock_policy) + 4, UINT32_MAX - 1}}) {
    LinkPair pair;
    LinkEvent event;
    const Handle exchange = pair.open({.serial = 1, .head_bytes = 96});
    const std::pair<std::string_view, std::string_view> fields[] = {{"A", "b"}};
    constexpr std::string_view TAGS[] = {"tag"};
    const WorkerPolicy policy{.tags = TAGS};
    ASSERT_TRUE(pair.worker.send_head(exchange, {.fields = fields, .policy = &policy}, "", true));
    std::memcpy(pair.channel.worker_arena.data() + lie.at, &lie.value, sizeof lie.value);
    (void)pair.worker.flush();
    EXPECT_FALSE(pair.server.next(event)) << lie.at << " " << lie.value;
    EXPECT_EQ(pair.server.violation(), LinkViolation::HEAD);
  }
}

TEST(CachePolicy, is_a_violation_in_version_1) {
  PlainChannel channel(SHAPE);
  ServerLink server(channel.memory, 1, LIMITS);
  channel.worker.epoch = 1;
  channel.responses[0] = {.kind = PENSTOCK_READY, .status = 1};
  channel.worker.response_tail = 1;
  LinkEvent event;
  ASSERT_TRUE(server.next(event));
  ASSERT_FALSE(server.request_room().empty());
  const Handle exchange = server.begin({.serial = 1, .head_bytes = 96});
  const penstock_response_head head{.bytes = sizeof(penstock_response_head) + sizeof(penstock_policy),
                                    .field_count = 0,
                                    .fields_at = 16,
                                    .policy_at = 16};
  std::memset(channel.worker_arena.data(), 0, head.bytes);
  std::memcpy(channel.worker_arena.data(), &head, sizeof head);
  penstock_descriptor to{};
  to.kind = PENSTOCK_HEAD;
  to.status = 200;
  to.slot = static_cast<uint16_t>(exchange.index);
  to.generation = exchange.generation;
  to.head_bytes = head.bytes;
  channel.responses[1] = to;
  channel.worker.response_tail = 2;
  EXPECT_FALSE(server.next(event));
  EXPECT_EQ(server.violation(), LinkViolation::HEAD);
}

}  // namespace
}  // namespace penstock
