// What the compressor makes is taken apart again by the other half of each library.
#include "src/files/compress.h"

#include "cache/body.h"
#include "cache/ledger.h"
#include "cache/validity.h"
#include "src/base/prng.h"
#include "src/base/unique_fd.h"

#include <brotli/decode.h>
#include <cstring>
#include <gtest/gtest.h>
#include <poll.h>
#include <string>
#include <sys/eventfd.h>
#include <thread>
#include <zlib.h>
#include <zstd.h>

namespace penstock {
namespace {

std::string gunzip(std::string_view packed, size_t size) {
  std::string out(size + 1, '\0');
  z_stream stream{};
  EXPECT_EQ(::inflateInit2(&stream, 15 + 16), Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(::inflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  EXPECT_EQ(stream.avail_in, 0U);
  (void)::inflateEnd(&stream);
  return out;
}

std::string unpack(std::string_view packed, Coding coding, size_t size) {
  if (coding == Coding::GZIP) return gunzip(packed, size);
  std::string out(size + 1, '\0');
  size_t got = out.size();
  if (coding == Coding::BR) {
    EXPECT_EQ(::BrotliDecoderDecompress(packed.size(), reinterpret_cast<const uint8_t*>(packed.data()), &got,
                                        reinterpret_cast<uint8_t*>(out.data())),
              BROTLI_DECODER_RESULT_SUCCESS);
  } else {
    got = ::ZSTD_decompress(out.data(), out.size(), packed.data(), packed.size());
    EXPECT_EQ(::ZSTD_isError(got), 0U);
  }
  out.resize(got);
  return out;
}

std::string sample(size_t size, uint64_t seed) {
  Prng random(seed);
  std::string text;
  while (text.size() < size) text += "word" + std::to_string(random.below(50)) + (random.one_in(9) ? "\n" : " ");
  text.resize(size);
  return text;
}

class Compressing : public testing::Test {
 protected:
  Compressing() { make({}); }
  void make(const CompressOptions& options) {
    const int wakes[] = {wake.get(), -1};
    queue = std::make_unique<CompressQueue>(bodies, cells, options, wakes);
  }
  ~Compressing() override {
    queue.reset();
    EXPECT_EQ(bodies.bodies(), 0U);
  }
  Body* body_of(std::string_view bytes) {
    Body* body = bodies.create(bytes.size());
    std::memcpy(body->writable(), bytes.data(), bytes.size());
    EXPECT_TRUE(body->seal());
    return body;
  }
  bool submit(Body* body, Coding coding = Coding::GZIP, Validity validity = {}, uint32_t reactor = 0) {
    return queue->submit({.identity = body, .coding = coding, .validity = validity, .reactor = reactor, .token = 7});
  }
  CompressResult result(uint32_t reactor = 0) {
    CompressResult out;
    EXPECT_EQ(queue->results(reactor, {&out, 1}), 1U);
    return out;
  }

  MemoryLedger ledger;
  BodyStore bodies{ledger, BodyLimits{}};
  ValidityTable cells{16};
  UniqueFd wake{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::unique_ptr<CompressQueue> queue;
};

TEST_F(Compressing, every_coding_unpacks_to_the_same_bytes) {
  for (const size_t size : {1000U, 100'000U, 1'000'000U}) {
    const std::string text = sample(size, size);
    Body* body = body_of(text);
    for (const Coding coding : {Coding::GZIP, Coding::BR, Coding::ZSTD}) {
      ASSERT_TRUE(submit(body, coding));
      ASSERT_TRUE(queue->run_one());
      const CompressResult made = result();
      ASSERT_EQ(made.outcome, CompressOutcome::DONE);
      EXPECT_EQ(made.coding, coding);
      EXPECT_EQ(made.token, 7U);
      EXPECT_LT(made.body->size(), size * 9 / 10);
      EXPECT_EQ(unpack(made.body->view(), coding, size), text);
      made.body->unpin();
    }
    body->unpin();
  }
  uint64_t ticks = 0;
  EXPECT_EQ(::read(wake.get(), &ticks, sizeof ticks), static_cast<ssize_t>(sizeof ticks));
  EXPECT_EQ(ticks, 9U) << "each result wakes its reactor";
}

TEST_F(Compressing, throws_away_what_saves_too_little) {
  Prng random(1);
  std::string noise;
  while (noise.size() < 10'000) noise += static_cast<char>(random.next());
  for (const std::string& text : {noise, std::string("tiny"), std::string()}) {
    Body* body = body_of(text);
    for (const Coding coding : {Coding::GZIP, Coding::BR, Coding::ZSTD}) {
      ASSERT_TRUE(submit(body, coding));
      ASSERT_TRUE(queue->run_one());
      EXPECT_EQ(result().outcome, CompressOutcome::NOT_SMALLER);
    }
    body->unpin();
  }
  EXPECT_EQ(queue->counters().not_smaller, 9U);
}

TEST_F(Compressing, drops_jobs_whose_entry_is_stale) {
  Body* body = body_of(sample(5000, 1));
  const Validity validity = cells.allocate();
  ASSERT_TRUE(submit(body, Coding::BR, validity));
  cells.bump(validity.cell);
  ASSERT_TRUE(queue->run_one());
  EXPECT_EQ(result().outcome, CompressOutcome::STALE);
  body->unpin();
}

TEST_F(Compressing, is_bounded_by_jobs_and_bytes_and_recovers) {
  make({.jobs_max = 2, .bytes_max = 10'000});
  Body* body = body_of(sample(4000, 1));
  EXPECT_TRUE(submit(body));
  EXPECT_TRUE(submit(body));
  EXPECT_FALSE(submit(body)) << "jobs";
  ASSERT_TRUE(queue->run_one());
  EXPECT_FALSE(submit(body)) << "a result that nobody took counts";
  result().body->unpin();
  EXPECT_TRUE(submit(body));
  body->unpin();
  make({.jobs_max = 100, .bytes_max = 10'000});
  body = body_of(sample(4000, 1));
  EXPECT_TRUE(submit(body));
  EXPECT_TRUE(submit(body));
  EXPECT_FALSE(submit(body)) << "bytes";
  EXPECT_EQ(queue->counters().refused, 1U);
  body->unpin();
}

TEST_F(Compressing, gives_each_reactor_its_own_results) {
  Body* body = body_of(sample(5000, 1));
  ASSERT_TRUE(submit(body, Coding::GZIP, {}, 1));
  ASSERT_TRUE(queue->run_one());
  CompressResult out;
  EXPECT_EQ(queue->results(0, {&out, 1}), 0U);
  result(1).body->unpin();
  body->unpin();
}

TEST_F(Compressing, works_off_its_queue_on_a_thread_until_it_is_stopped) {
  std::thread thread([&] { queue->run(); });
  Body* body = body_of(sample(20'000, 1));
  int taken = 0;
  for (int submitted = 0; taken < 20;) {
    while (submitted < 20 && submit(body)) ++submitted;
    uint64_t ticks = 0;
    pollfd woken{wake.get(), POLLIN,
                 0};  // the thread has the least of priorities: who looked again and again would keep it from its core
    ASSERT_EQ(::poll(&woken, 1, -1), 1);
    ASSERT_EQ(::read(wake.get(), &ticks, sizeof ticks), static_cast<ssize_t>(sizeof ticks));
    for (CompressResult out; queue->results(0, {&out, 1}) != 0; ++taken) {
      ASSERT_EQ(out.outcome, CompressOutcome::DONE);
      out.body->unpin();
    }
  }
  queue->stop();
  thread.join();
  EXPECT_FALSE(submit(body)) << "after the stop";
  body->unpin();
}

TEST_F(Compressing, is_deterministic) {
  const std::string text = sample(30'000, 3);
  for (const Coding coding : {Coding::GZIP, Coding::BR, Coding::ZSTD}) {
    uint64_t first = 0;
    uint64_t second = 0;
    const auto a = compress_bytes(text, coding, 6, text.size(), first);
    const auto b = compress_bytes(text, coding, 6, text.size(), second);
    ASSERT_NE(a, nullptr);
    EXPECT_EQ(std::string_view(a.get(), first), std::string_view(b.get(), second));
    EXPECT_EQ(compress_bytes(text, coding, 6, first - 1, second), nullptr) << "the bound holds";
  }
}

}  // namespace
}  // namespace penstock
