// What the supervisor does with what workers print, and the memory that it makes for them.
#include "src/roles/pool_process.h"

#include "pool/ring/request_block.h"
#include "src/http/request_head.h"
#include "src/http/target.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace penstock {
namespace {

class StoppedClock final : public Clock {
 public:
  MonoTime now() override { return {}; }
  WallTime wall() override { return {}; }
};

class OutputRelayTest : public testing::Test {
 protected:
  void SetUp() override {
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    read_.reset(ends[0]);
    write_.reset(ends[1]);
    ASSERT_GT(::fcntl(write_.get(), F_SETPIPE_SZ, 1 << 20), 0);
  }
  void print(const std::string& text) {
    ASSERT_EQ(::write(write_.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  OutputRelay::State read() { return relay_.read(read_.get(), "w: ", log_, now_); }
  [[nodiscard]] size_t count() const { return log_.recent().size(); }
  [[nodiscard]] const std::string& last() const { return log_.recent().back().text; }

  StoppedClock clock_;
  OperatorLog log_{clock_, -1, false};
  OutputRelay relay_;
  UniqueFd read_, write_;
  MonoTime now_{100'000'000'000};
};

TEST_F(OutputRelayTest, makes_lines_of_what_comes_in_pieces) {
  print("one\ntw");
  EXPECT_EQ(read(), OutputRelay::State::WAITING);
  EXPECT_EQ(count(), 1U);
  EXPECT_EQ(last(), "w: one");
  print("o\n\nthree");
  EXPECT_EQ(read(), OutputRelay::State::WAITING);
  EXPECT_EQ(last(), "w: two") << "an empty line is none";
  write_.reset();
  EXPECT_EQ(read(), OutputRelay::State::CLOSED);
  relay_.finish("w: ", log_);
  EXPECT_EQ(count(), 3U);
  EXPECT_EQ(last(), "w: three");
}

TEST_F(OutputRelayTest, cuts_a_line_that_is_too_long_and_drops_its_rest) {
  print(std::string(3 * OutputRelay::LINE_BYTES_MAX, 'x') + "\nnext\n");
  (void)read();
  ASSERT_EQ(count(), 2U);
  EXPECT_EQ(log_.recent()[0].text, "w: " + std::string(OutputRelay::LINE_BYTES_MAX, 'x') + " …");
  EXPECT_EQ(last(), "w: next");
}

TEST_F(OutputRelayTest, reads_a_share_in_a_round) {
  print(std::string(4 * OutputRelay::READ_BYTES, 'x'));
  EXPECT_EQ(read(), OutputRelay::State::MORE);
  int left = 0;
  ASSERT_EQ(::ioctl(read_.get(), FIONREAD, &left), 0);
  EXPECT_EQ(static_cast<size_t>(left), 3 * OutputRelay::READ_BYTES);
}

TEST_F(OutputRelayTest, leaves_out_lines_beyond_the_rate_and_says_how_many) {
  std::string text;
  for (uint32_t i = 0; i < OutputRelay::LINES_AT_ONCE + 7; ++i) text += "x\n";
  print(text);
  (void)read();
  print("y\n");
  (void)read();
  EXPECT_NE(last(), "w: y");
  now_ = now_ + seconds(1);
  print("z\n");
  (void)read();
  EXPECT_EQ(last(), "w: z");
  EXPECT_EQ(log_.recent()[count() - 2].text, "w: (8 lines left out)");
}

// Settings whose heads may be as long as the keys allow.
Settings longest() {
  Settings settings;
  settings.limits_head_bytes = 1 << 20;
  settings.limits_url_bytes = settings.limits_query_bytes = 65536;
  settings.decode_non_utf8 = true;
  return settings;
}

TEST(SegmentShape, is_one_that_can_be_made_and_has_a_chunk_for_the_head_of_each_exchange) {
  for (const uint32_t concurrency : {1U, 16U, 1024U}) {
    for (const Settings& settings : {Settings{}, longest()}) {
      const uint64_t block = request_block_bytes_max(settings);
      SCOPED_TRACE(std::to_string(concurrency) + " x " + std::to_string(block));
      const SegmentShape shape = segment_shape(2, concurrency, block);
      EXPECT_GE(shape.chunk_bytes, block);
      EXPECT_GE(shape.entries, 4 * concurrency);
      EXPECT_GE(shape.chunks, 2 * shape.exchanges_max);
      EXPECT_TRUE(shape.exchanges_max == concurrency || 4 * shape.exchanges_max > concurrency);
      const auto memory = create_segment(shape);
      ASSERT_TRUE(memory) << memory.error().message;
      const auto mapped = Segment::map(memory->server_half.get(), memory->worker_half.get(), Segment::Side::SERVER);
      EXPECT_TRUE(mapped) << mapped.error().message;
    }
  }
}

// What of a head comes twice is what is longest in it.
TEST(RequestBlock, of_the_longest_head_within_the_limits_fits) {
  const Settings settings = longest();
  const std::string path = "/" + std::string(settings.limits_url_bytes - 1, 'p');
  const std::string query(settings.limits_query_bytes, 'q');
  const std::string target = path + "?" + query;
  const std::string name = "X";
  const size_t rest = settings.limits_head_bytes - target.size() - FIELDS_MAX * (name.size() + 4);
  const std::string value(rest / FIELDS_MAX, 'v');
  std::string room(request_block_bytes_max(settings), '\0');
  RequestBlock parts{.method = "GET", .target = target, .path = path, .query = query};
  const std::string decoded(canonical_bytes_max(path.size(), {.non_utf8 = true}), 'd');
  parts.path = decoded;
  const std::string names(4096, 'n');
  parts.route_prefix = names;
  RequestBlockWriter writer(room, parts, FIELDS_MAX);
  for (size_t i = 0; i < FIELDS_MAX; ++i) writer.field(name, value);
  EXPECT_GT(writer.finish(), settings.limits_head_bytes);
}

}  // namespace
}  // namespace penstock
