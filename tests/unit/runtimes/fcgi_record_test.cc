#include "pool/runtimes/upstream/fcgi_record.h"

#include "tests/support/guard_page.h"

#include <gtest/gtest.h>
#include <string>

namespace penstock {
namespace {

using ReaderState = FcgiReader::State;

std::string record(int type, int id, const std::string& content, size_t padding = 0, char version = 1) {
  std::string text = {version,
                      static_cast<char>(type),
                      static_cast<char>(id >> 8),
                      static_cast<char>(id),
                      static_cast<char>(content.size() >> 8),
                      static_cast<char>(content.size()),
                      static_cast<char>(padding),
                      0};
  return text + content + std::string(padding, 'p');
}

// Each record as "type:id:content;", read in pieces of that size.
std::string read(const std::string& text, size_t piece_max) {
  FcgiReader reader;
  std::string said;
  std::string content;
  size_t at = 0;
  while (at < text.size()) {
    const GuardedText given(std::string_view(text).substr(at, piece_max));
    size_t consumed = 0;
    FcgiPiece piece;
    const ReaderState state = reader.next(given.view(), consumed, piece);
    at += consumed;
    if (state == ReaderState::BAD) return said + "bad";
    if (state == ReaderState::NEED_MORE) {
      EXPECT_EQ(consumed, given.view().size());
      continue;
    }
    content += piece.content;
    if (!piece.last) continue;
    EXPECT_EQ(content.size(), piece.record_bytes);
    said += std::to_string(static_cast<int>(piece.type)) + ":" + std::to_string(piece.id) + ":" + content + ";";
    content.clear();
  }
  return said;
}

TEST(FcgiReader, reads_records_however_they_are_cut) {
  const std::string text = record(6, 1, "hello", 3) + record(7, 258, "x", 255) + record(6, 1, "") +
                           record(6, 1, "", 8) + record(3, 1, std::string(8, 'e'));
  for (const size_t piece : {text.size(), size_t{1}, size_t{2}, size_t{7}, size_t{9}}) {
    EXPECT_EQ(read(text, piece), "6:1:hello;7:258:x;6:1:;6:1:;3:1:eeeeeeee;") << piece;
  }
}

TEST(FcgiReader, refuses_another_version_at_its_first_byte) {
  EXPECT_EQ(read(record(6, 1, "a") + record(6, 1, "b", 0, 2), 1), "6:1:a;bad");
  EXPECT_EQ(read("H", 1), "bad");
}

TEST(FcgiReader, reads_the_largest_record) {
  const std::string most(FCGI_CONTENT_MAX, 'x');
  EXPECT_EQ(read(record(6, 65'535, most, 255), 1'000), "6:65535:" + most + ";");
}

TEST(FcgiWriter, writes_what_the_specification_shows) {
  std::string text;
  put_fcgi_begin(text, 1, true);
  EXPECT_EQ(text, std::string("\1\1\0\1\0\10\0\0\0\1\1\0\0\0\0\0", 16));
  text.clear();
  put_fcgi_record(text, FcgiType::STDIN, 258, "ab");
  EXPECT_EQ(text, std::string("\1\5\1\2\0\2\0\0ab", 10));
  text.clear();
  put_fcgi_record(text, FcgiType::STDIN, 1, {});
  EXPECT_EQ(text, std::string("\1\5\0\1\0\0\0\0", 8));
}

TEST(FcgiWriter, splits_what_does_not_fit_into_a_record) {
  std::string text;
  put_fcgi_record(text, FcgiType::STDIN, 1, std::string(FCGI_CONTENT_MAX + 1, 'x'));
  EXPECT_EQ(read(text, text.size()), "5:1:" + std::string(FCGI_CONTENT_MAX, 'x') + ";5:1:x;");
}

TEST(FcgiPairs, are_read_as_they_were_written) {
  const std::string longer(200, 'v');
  std::string text;
  put_fcgi_pair(text, "A", "");
  put_fcgi_pair(text, "", "b");
  put_fcgi_pair(text, longer, std::string(70'000, 'w'));
  EXPECT_EQ(text.substr(0, 6), std::string("\1\0A\0\1b", 6));
  EXPECT_EQ(static_cast<unsigned char>(text[6]), 0x80) << "128 and more take four bytes";
  const GuardedText guarded(text);
  const auto pairs = parse_fcgi_pairs(guarded.view());
  ASSERT_TRUE(pairs);
  EXPECT_EQ(*pairs, (FcgiPairs{{"A", ""}, {"", "b"}, {longer, std::string(70'000, 'w')}}));
  for (size_t cut = 1; cut < 6; ++cut) {
    if (cut == 3) continue;  // between the first two
    EXPECT_FALSE(parse_fcgi_pairs(text.substr(0, cut))) << cut;
  }
  EXPECT_FALSE(parse_fcgi_pairs(std::string("\x80\0\0", 3)));
  EXPECT_FALSE(parse_fcgi_pairs("\xff\xff\xff\xff\xff\xff\xff\xff"));
  EXPECT_TRUE(parse_fcgi_pairs("")->empty());
}

TEST(FcgiWriter, ends_the_stream_of_params) {
  MetaVariables variables;
  std::string text;
  put_fcgi_params(text, 1, variables);
  EXPECT_EQ(read(text, 100), "4:1:;");
  variables.set("A", "b");
  text.clear();
  put_fcgi_params(text, 1, variables);
  EXPECT_EQ(read(text, 100), "4:1:\1\1Ab;4:1:;");
}

}  // namespace
}  // namespace penstock
