#include "src/admin/pool_messages.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace penstock {
namespace {

UniqueFd bell(unsigned value) { return UniqueFd(::eventfd(value, EFD_NONBLOCK | EFD_CLOEXEC)); }

uint64_t value_of(const UniqueFd& fd) {
  uint64_t value = 0;
  EXPECT_EQ(::read(fd.get(), &value, sizeof value), static_cast<ssize_t>(sizeof value));
  return value;
}

WorkerHandover example_worker(size_t reactors) {
  WorkerHandover worker;
  worker.pool = "shop-1";
  worker.worker = 0x123456789abcdefULL;
  worker.pid = 4711;
  worker.epoch = 3;
  worker.warm = true;
  worker.served = 12'345;
  worker.server_half = bell(1);
  worker.worker_half = bell(2);
  worker.worker_bell = bell(3);
  for (size_t i = 0; i < reactors; ++i) worker.server_bells.push_back(bell(static_cast<unsigned>(100 + i)));
  return worker;
}

Result<WorkerHandover> pass_worker(const WorkerHandover& worker) {
  auto pair = Channel::make_pair();
  Channel role(std::move(pair->theirs), ChannelSide::ROLE);
  if (const Status sent = send_worker(pair->ours, worker); !sent) return std::unexpected(sent.error());
  auto got = role.receive();
  if (!got) return std::unexpected(got.error());
  if (!got->has_value()) return fail("nothing came");
  EXPECT_EQ((*got)->kind, MessageKind::WORKER);
  return decode_worker(std::move(**got));
}

TEST(WorkerHandover, arrives_as_it_was_sent) {
  auto got = pass_worker(example_worker(2));
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(got->pool, "shop-1");
  EXPECT_EQ(got->worker, 0x123456789abcdefULL);
  EXPECT_EQ(got->pid, 4711);
  EXPECT_EQ(got->epoch, 3U);
  EXPECT_TRUE(got->warm);
  EXPECT_EQ(got->served, 12'345U);
  EXPECT_EQ(value_of(got->server_half), 1U);
  EXPECT_EQ(value_of(got->worker_half), 2U);
  EXPECT_EQ(value_of(got->worker_bell), 3U);
  ASSERT_EQ(got->server_bells.size(), 2U);
  EXPECT_EQ(value_of(got->server_bells[0]), 100U);
  EXPECT_EQ(value_of(got->server_bells[1]), 101U);
}

TEST(WorkerHandover, reaches_a_server_with_as_many_reactors_as_there_may_be) {
  auto got = pass_worker(example_worker(POOL_REACTORS_MAX));
  ASSERT_TRUE(got) << got.error().message;
  ASSERT_EQ(got->server_bells.size(), POOL_REACTORS_MAX);
  EXPECT_EQ(value_of(got->server_bells.back()), 100U + POOL_REACTORS_MAX - 1);
}

TEST(WorkerHandover, is_not_sent_without_reactors_or_with_too_many) {
  EXPECT_FALSE(pass_worker(example_worker(0)));
  EXPECT_FALSE(pass_worker(example_worker(POOL_REACTORS_MAX + 1)));
}

TEST(WorkerHandover, refuses_what_makes_no_sense) {
  const std::pair<const char*, const char*> cases[] = {
      {"not JSON", "x"},
      {"not an object", "[]"},
      {"no pool", R"({"worker":1,"pid":2,"epoch":3,"warm":false,"served":0})"},
      {"a pool that is no name", R"({"pool":"a b","worker":1,"pid":2,"epoch":3,"warm":false,"served":0})"},
      {"worker 0", R"({"pool":"a","worker":0,"pid":2,"epoch":3,"warm":false,"served":0})"},
      {"worker that is text", R"({"pool":"a","worker":"1","pid":2,"epoch":3,"warm":false,"served":0})"},
      {"worker below zero", R"({"pool":"a","worker":-1,"pid":2,"epoch":3,"warm":false,"served":0})"},
      {"no pid", R"({"pool":"a","worker":1,"epoch":3,"warm":false,"served":0})"},
      {"pid 0", R"({"pool":"a","worker":1,"pid":0,"epoch":3,"warm":false,"served":0})"},
      {"pid too large", R"({"pool":"a","worker":1,"pid":2147483648,"epoch":3,"warm":false,"served":0})"},
      {"epoch 0", R"({"pool":"a","worker":1,"pid":2,"epoch":0,"warm":false,"served":0})"},
      {"no warm", R"({"pool":"a","worker":1,"pid":2,"epoch":3,"served":0})"},
      {"warm that is a number", R"({"pool":"a","worker":1,"pid":2,"epoch":3,"warm":1,"served":0})"},
      {"no served", R"({"pool":"a","worker":1,"pid":2,"epoch":3,"warm":false})"},
      {"epoch too large", R"({"pool":"a","worker":1,"pid":2,"epoch":4294967296,"warm":false,"served":0})"},
  };
  const auto message = [](const char* payload, size_t fds) {
    ChannelMessage out;
    out.kind = MessageKind::WORKER;
    out.payload = payload;
    for (size_t i = 0; i < fds; ++i) out.fds.push_back(bell(0));
    return out;
  };
  for (const auto& [what, payload] : cases) EXPECT_FALSE(decode_worker(message(payload, 4))) << what;
  const char* good = R"({"pool":"a","worker":1,"pid":2,"epoch":3,"warm":false,"served":0})";
  EXPECT_TRUE(decode_worker(message(good, 4)));
  EXPECT_FALSE(decode_worker(message(good, 3))) << "no bell of a reactor";
  EXPECT_FALSE(decode_worker(message(good, 0))) << "no descriptor";
  EXPECT_FALSE(decode_worker(message(good, 4 + POOL_REACTORS_MAX))) << "too many descriptors";
}

TEST(WorkerNotice, arrives_as_it_was_sent_and_is_checked) {
  const auto got = decode_notice(encode_notice({7, "was killed by \"SIGSEGV\"\n\xff", true}));
  ASSERT_TRUE(got);
  EXPECT_EQ(got->worker, 7U);
  EXPECT_EQ(got->why, "was killed by \"SIGSEGV\"\n\xef\xbf\xbd");
  EXPECT_TRUE(got->intruded);
  const auto older = decode_notice(R"({"worker":7,"why":"x"})");
  ASSERT_TRUE(older);
  EXPECT_FALSE(older->intruded);
  EXPECT_FALSE(decode_notice(R"({"worker":7,"why":"x","intruded":1})"));
  EXPECT_FALSE(decode_notice("{}"));
  EXPECT_FALSE(decode_notice(R"({"worker":0,"why":"x"})"));
  EXPECT_FALSE(decode_notice(R"({"worker":1,"why":")" + std::string(100'000, 'x') + "\"}"));
}

TEST(PoolMessages, shorten_what_is_too_long) {
  const auto notice = decode_notice(encode_notice({7, std::string(100'000, '\xff'), false}));
  ASSERT_TRUE(notice) << "every byte of it was replaced by three";
  EXPECT_EQ(notice->why.size(), 3 * POOL_TEXT_BYTES_MAX);
  WorkerReport report;
  report.worker = 1;
  report.serials.assign(WORKER_SERIALS_MAX + 1, 5);
  const auto got = decode_worker_report(encode_worker_report(report));
  ASSERT_TRUE(got);
  EXPECT_EQ(got->serials.size(), WORKER_SERIALS_MAX);
}

TEST(PoolState, arrives_as_it_was_sent_and_is_checked) {
  for (const auto kind : {PoolState::Kind::SERVING, PoolState::Kind::STOPPED, PoolState::Kind::FAILED}) {
    const auto got = decode_pool_state(encode_pool_state({kind, "a", "by hand"}));
    ASSERT_TRUE(got);
    EXPECT_EQ(got->kind, kind);
    EXPECT_EQ(got->pool, "a");
    EXPECT_EQ(got->why, "by hand");
  }
  EXPECT_FALSE(decode_pool_state(R"({"pool":"a","kind":"dancing"})"));
  EXPECT_FALSE(decode_pool_state(R"({"pool":"a"})"));
  EXPECT_FALSE(decode_pool_state(R"({"kind":"serving"})"));
  EXPECT_FALSE(decode_pool_state(R"({"pool":"../a","kind":"serving"})"));
}

TEST(PoolNeed, arrives_as_it_was_sent_and_is_checked) {
  const auto got = decode_pool_need(encode_pool_need({"a", 12, 345}));
  ASSERT_TRUE(got);
  EXPECT_EQ(got->pool, "a");
  EXPECT_EQ(got->waiting, 12U);
  EXPECT_EQ(got->oldest_ms, 345U);
  EXPECT_FALSE(decode_pool_need(R"({"pool":"a","waiting":1})"));
  EXPECT_FALSE(decode_pool_need(R"({"pool":"a","waiting":4294967296,"oldest_ms":0})"));
  EXPECT_FALSE(decode_pool_need(R"({"waiting":1,"oldest_ms":0})"));
}

TEST(WorkerReport, arrives_as_it_was_sent_and_is_checked) {
  using Kind = WorkerReport::Kind;
  for (const auto kind : {Kind::READY, Kind::IDLE, Kind::BROKE, Kind::OVERDUE, Kind::SILENT}) {
    const auto got = decode_worker_report(encode_worker_report({kind, 9, "why", {1, UINT64_MAX}}));
    ASSERT_TRUE(got);
    EXPECT_EQ(got->kind, kind);
    EXPECT_EQ(got->worker, 9U);
    EXPECT_EQ(got->text, "why");
    EXPECT_EQ(got->serials, (std::vector<uint64_t>{1, UINT64_MAX}));
  }
  EXPECT_FALSE(decode_worker_report(R"({"worker":1})"));
  EXPECT_FALSE(decode_worker_report(R"({"worker":1,"kind":"READY"})"));
  EXPECT_FALSE(decode_worker_report(R"({"kind":"ready"})"));
  EXPECT_FALSE(decode_worker_report(R"({"worker":1,"kind":"ready","serials":["x"]})"));
  std::string many = R"({"worker":1,"kind":"silent","serials":[0)";
  for (size_t i = 0; i < WORKER_SERIALS_MAX; ++i) many += ",1";
  EXPECT_FALSE(decode_worker_report(many + "]}"));
}

TEST(PoolLoad, arrives_as_it_was_sent_and_is_checked) {
  const auto got =
      decode_pool_load(encode_pool_load({{{1, 2, 3, 4}, {5, UINT64_MAX, 0, 0}}, {{"shop", 1000}, {"blog", 0}}}));
  ASSERT_TRUE(got);
  ASSERT_EQ(got->workers.size(), 2U);
  EXPECT_EQ(got->workers[0].worker, 1U);
  EXPECT_EQ(got->workers[0].served, 2U);
  EXPECT_EQ(got->workers[0].inside, 3U);
  EXPECT_EQ(got->workers[0].idle_ms, 4U);
  EXPECT_EQ(got->workers[1].served, UINT64_MAX);
  ASSERT_EQ(got->queues.size(), 2U);
  EXPECT_EQ(got->queues[0].pool, "shop");
  EXPECT_EQ(got->queues[0].waiting, 1000U);
  EXPECT_EQ(got->queues[1].waiting, 0U);
  EXPECT_TRUE(decode_pool_load(encode_pool_load({})));
  EXPECT_TRUE(decode_pool_load(R"({"workers":[]})")) << "an older server";
  const char* const bad[] = {
      "{}",
      R"({"workers":[1]})",
      R"({"workers":[{"worker":1,"served":2,"inside":3}]})",
      R"({"workers":[{"worker":0,"served":2,"inside":3,"idle_ms":4}]})",
      R"({"workers":[],"queues":[1]})",
      R"({"workers":[],"queues":[{"pool":"a"}]})",
      R"({"workers":[],"queues":[{"pool":"a b","waiting":1}]})",
      R"({"workers":[],"queues":[{"pool":"a","waiting":4294967296}]})",
  };
  for (const char* const payload : bad) EXPECT_FALSE(decode_pool_load(payload)) << payload;
}

TEST(PoolLoad, takes_no_more_rows_than_it_may) {
  const PoolLoad many = {std::vector<WorkerLoadReport>(POOL_LOAD_ROWS_MAX + 1, {1, 2, 3, 4}),
                         std::vector<PoolQueueReport>(POOL_LOAD_ROWS_MAX + 1, {"a", 1})};
  const auto got = decode_pool_load(encode_pool_load(many));
  ASSERT_TRUE(got);
  EXPECT_EQ(got->workers.size(), POOL_LOAD_ROWS_MAX);
  EXPECT_EQ(got->queues.size(), POOL_LOAD_ROWS_MAX);
}

TEST(PoolLoad, of_two_thousand_pools_arrives_whole) {
  PoolLoad load;
  for (uint32_t i = 0; i < 2000; ++i) load.queues.push_back({std::string(56, 'x') + std::to_string(i), i});
  auto pair = Channel::make_pair();
  ASSERT_TRUE(pair);
  Channel role(std::move(pair->theirs), ChannelSide::ROLE);
  ASSERT_TRUE(role.send(MessageKind::POOL_LOAD, 0, encode_pool_load(load)));
  auto message = pair->ours.receive();
  ASSERT_TRUE(message && message->has_value());
  EXPECT_GT((*message)->payload.size(), 65'536U);
  const auto got = decode_pool_load((*message)->payload);
  ASSERT_TRUE(got);
  ASSERT_EQ(got->queues.size(), 2000U);
  EXPECT_EQ(got->queues.back().waiting, 1999U);
}

}  // namespace
}  // namespace penstock
