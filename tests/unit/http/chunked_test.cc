#include "src/http/chunked.h"

#include "tests/support/guard_page.h"
#include "tests/unit/http/parse_helper.h"

#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace penstock {
namespace {

using enum Reason;

struct Body {
  ChunkState state = ChunkState::NEED_MORE;
  Reason error = NONE;
  std::string data;
  size_t consumed = 0;
  uint64_t counted = 0;
};

// Feeds `text` in pieces of `piece` bytes, each at a guard page.
Body decode(std::string_view text, size_t piece = 1 << 20, const ChunkLimits& limits = {}) {
  ChunkDecoder decoder(limits);
  Body body;
  while (body.consumed < text.size()) {
    const GuardedText input(text.substr(body.consumed, piece));
    std::string_view rest = input.view();
    do {
      const ChunkStep step = decoder.next(rest);
      EXPECT_LE(step.consumed, rest.size());
      EXPECT_EQ(step.data.empty(), step.state != ChunkState::DATA);
      body.state = step.state;
      body.data += step.data;
      body.consumed += step.consumed;
      rest.remove_prefix(step.consumed);
    } while (body.state == ChunkState::DATA);
    EXPECT_TRUE(rest.empty() || body.state != ChunkState::NEED_MORE);
    if (body.state != ChunkState::NEED_MORE) break;
  }
  if (body.state == ChunkState::BAD) body.error = decoder.error();
  body.counted = decoder.body_bytes();
  return body;
}

TEST(ChunkDecoder, gives_the_data_in_place_and_stops_at_the_end) {
  const std::string text = "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET /";
  const Body body = decode(text);
  EXPECT_EQ(body.state, ChunkState::DONE);
  EXPECT_EQ(body.data, "hello world");
  EXPECT_EQ(body.counted, 11U);
  EXPECT_EQ(text.substr(body.consumed), "GET /");
}

TEST(ChunkDecoder, stays_done_and_consumes_nothing_more) {
  ChunkDecoder decoder;
  EXPECT_EQ(decoder.next("0\r\n\r\n").state, ChunkState::DONE);
  const ChunkStep again = decoder.next("GET /");
  EXPECT_EQ(again.state, ChunkState::DONE);
  EXPECT_EQ(again.consumed, 0U);
}

TEST(ChunkDecoder, accepts_what_the_grammar_has) {
  const std::vector<std::string> table = {
      "1\r\na\r\n0\r\n\r\n",
      "0001\r\na\r\n0000\r\n\r\n",
      "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
      "1;x\r\na\r\n0;y\r\n\r\n",
      "1;x=y;z=\"q;\\\"\r\t\"\r\na\r\n0\r\n\r\n",
      "1 ; x = y\r\na\r\n0\r\n\r\n",
      "1;\tx=\"\"\r\na\r\n0\r\n\r\n",
      "1\r\na\r\n0\r\nTrailer: v\r\nOther:\r\n\r\n",
      "1\r\n\r\r\n0\r\n\r\n",
  };
  for (size_t i = 0; i < table.size(); ++i) {
    const bool quoted_cr = i == 4;  // a CR may not stand in a quoted string
    EXPECT_EQ(decode(table[i]).state, quoted_cr ? ChunkState::BAD : ChunkState::DONE) << table[i];
  }
}

std::vector<std::pair<std::string, Reason>> refused_bodies() {
  using namespace std::string_literals;
  return {
      {"\r\n", CHUNK_SIZE_INVALID},
      {"x\r\n", CHUNK_SIZE_INVALID},
      {"-1\r\n", CHUNK_SIZE_INVALID},
      {"+1\r\n", CHUNK_SIZE_INVALID},
      {" 1\r\n", CHUNK_SIZE_INVALID},
      {"0x1\r\n", CHUNK_SIZE_INVALID},
      {"1g\r\n", CHUNK_SIZE_INVALID},
      {"1.0\r\n", CHUNK_SIZE_INVALID},
      {"1,\r\n", CHUNK_SIZE_INVALID},
      {"\0"s, CHUNK_SIZE_INVALID},
      {"1\0"s, CHUNK_SIZE_INVALID},
      {";x\r\n", CHUNK_SIZE_INVALID},
      {"1 \r\n", CHUNK_EXTENSION_INVALID},
      {"1 1\r\n", CHUNK_EXTENSION_INVALID},
      {"1;\r\n", CHUNK_EXTENSION_INVALID},
      {"1;;x\r\n", CHUNK_EXTENSION_INVALID},
      {"1;x=\r\n", CHUNK_EXTENSION_INVALID},
      {"1;x y\r\n", CHUNK_EXTENSION_INVALID},
      {"1;x \r\n", CHUNK_EXTENSION_INVALID},
      {"1;x=\"y\r\n", CHUNK_EXTENSION_INVALID},
      {"1;x=\"y\"z\r\n", CHUNK_EXTENSION_INVALID},
      {"1;x=\"\\\r\n", CHUNK_EXTENSION_INVALID},
      {"1;x\x01\r\n", CHUNK_EXTENSION_INVALID},
      {"1;\"x\"\r\n", CHUNK_EXTENSION_INVALID},
      {"1\n", CHUNK_LINE_END_INVALID},
      {"1;x\n", CHUNK_LINE_END_INVALID},  // the "TERM.EXT" smuggling: LF alone ends nothing
      {"1;x=\"\n", CHUNK_LINE_END_INVALID},
      {"1\rx", CHUNK_LINE_END_INVALID},
      {"1\r\r\n", CHUNK_LINE_END_INVALID},
      {"1;x\rx", CHUNK_LINE_END_INVALID},
      {"1\r\nab", CHUNK_END_INVALID},
      {"1\r\na\n", CHUNK_END_INVALID},
      {"1\r\na\rx", CHUNK_END_INVALID},
      {"1\r\na0\r\n\r\n", CHUNK_END_INVALID},
      {"7fffffffffffffff0\r\n", CHUNK_SIZE_OVERFLOW},
      {"8000000000000000\r\n", CHUNK_SIZE_OVERFLOW},
      {"10000000000000005\r\n", CHUNK_SIZE_OVERFLOW},
      {"ffffffffffffffff\r\n", CHUNK_SIZE_OVERFLOW},
      {"1\r\na\r\n7fffffffffffffff\r\n", CHUNK_SIZE_OVERFLOW},
      {"0\r\n : v\r\n", TRAILER_INVALID},
      {"0\r\n:v\r\n", TRAILER_INVALID},
      {"0\r\nA : v\r\n", TRAILER_INVALID},
      {"0\r\nA\r\n", TRAILER_INVALID},
      {"0\r\nA: v\n", TRAILER_INVALID},
      {"0\r\nA: v\rx", TRAILER_INVALID},
      {"0\r\nA: v\r\n w\r\n", TRAILER_INVALID},
      {"0\r\nA: \0"s, TRAILER_INVALID},
      {"0\r\n\n", TRAILER_INVALID},
      {"0\r\n\rx", TRAILER_INVALID},
      {"0\r\nGET / HTTP/1.1\r\n", TRAILER_INVALID},
  };
}

TEST(ChunkDecoder, refuses_each_fault_with_its_own_reason) {
  for (const auto& [text, reason] : refused_bodies()) {
    EXPECT_EQ(decode(text).error, reason) << testing::PrintToString(text);
    EXPECT_EQ(decode(text, 1).error, reason) << testing::PrintToString(text);
  }
}

TEST(ChunkDecoder, does_not_depend_on_how_the_bytes_come) {
  std::vector<std::string> texts = {
      "5\r\nhello\r\n3;a=\"b\"\r\nabc\r\n10\r\n0123456789abcdef\r\n0;x\r\nT: v\r\n\r\nGET / HTTP/1.1\r\n"};
  for (const auto& refused : refused_bodies()) texts.push_back(refused.first);
  for (const std::string& text : texts) {
    const Body whole = decode(text);
    for (size_t piece = 1; piece < 9; ++piece) {
      const Body pieces = decode(text, piece);
      EXPECT_EQ(pieces.state, whole.state);
      EXPECT_EQ(pieces.error, whole.error);
      EXPECT_EQ(pieces.data, whole.data);
      EXPECT_EQ(pieces.consumed, whole.consumed);
    }
  }
}

TEST(ChunkDecoder, limits_size_lines_and_trailers_at_the_limit) {
  const ChunkLimits limits{.line_bytes = 10, .trailer_bytes = 10};
  EXPECT_EQ(decode("1;xxxxxx\r\na\r\n0\r\n\r\n", 1, limits).state, ChunkState::DONE);
  EXPECT_EQ(decode("1;xxxxxxx\r\n", 1, limits).error, CHUNK_LINE_LENGTH);
  EXPECT_EQ(decode("000000001\r\n", 1, limits).error, CHUNK_LINE_LENGTH);
  EXPECT_EQ(decode("0\r\nA: bcd\r\n\r\n", 1, limits).state, ChunkState::DONE);
  EXPECT_EQ(decode("0\r\nA: bcde\r\n\r\n", 1, limits).error, TRAILER_LENGTH);
  // Each chunk has its own line: many short ones are no long one.
  std::string many;
  for (int i = 0; i < 100; ++i) many += "1\r\na\r\n";
  EXPECT_EQ(decode(many + "0\r\n\r\n", 1 << 20, limits).data.size(), 100U);
}

TEST(ChunkDecoder, takes_sizes_up_to_63_bits) {
  ChunkDecoder decoder;
  EXPECT_EQ(decoder.next("7fffffffffffffff\r\n").state, ChunkState::NEED_MORE);
  const ChunkStep step = decoder.next("abc");
  EXPECT_EQ(step.state, ChunkState::DATA);
  EXPECT_EQ(step.data, "abc");
}

}  // namespace
}  // namespace penstock
