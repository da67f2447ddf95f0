#include "src/http/range.h"

#include "src/base/prng.h"
#include "tests/support/effort.h"
#include "tests/support/guard_page.h"

#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace penstock {
namespace {

// "416", "200", or the ranges: "0-4 100-199".
std::string ranges_of(std::string_view value, uint64_t size, size_t ranges_max = 16) {
  const GuardedText input(value);
  ByteRange ranges[RANGES_MAX];
  const RangeVerdict verdict = parse_range(input.view(), size, ranges_max, ranges);
  if (verdict.outcome == RangeOutcome::IGNORE) return "200";
  if (verdict.outcome == RangeOutcome::UNSATISFIABLE) return "416";
  std::string text;
  for (size_t i = 0; i < verdict.count; ++i) {
    if (i != 0) text += ' ';
    text += std::to_string(ranges[i].first) + "-" + std::to_string(ranges[i].last);
  }
  return text;
}

TEST(Range, reads_single_suffix_and_multiple_ranges) {
  const std::vector<std::pair<std::string, std::string>> table = {
      {"bytes=0-0", "0-0"},
      {"bytes=0-499", "0-499"},
      {"bytes=500-", "500-999"},
      {"bytes=0-", "0-999"},
      {"bytes=-1", "999-999"},
      {"bytes=-1000", "0-999"},
      {"bytes=-5000", "0-999"},
      {"bytes=999-999", "999-999"},
      {"bytes=900-5000", "900-999"},
      {"bytes=0-18446744073709551615", "0-999"},
      {"bytes=0-99999999999999999999999", "0-999"},
      {"bytes=-99999999999999999999999", "0-999"},
      {"BYTES=0-0", "0-0"},
      {"bytes=007-008", "7-8"},
      {"bytes=0-9,500-509", "0-9 500-509"},
      {"bytes=500-509,0-9", "500-509 0-9"},
      {"bytes= 0-9 ,\t500-509 ", "0-9 500-509"},
      {"bytes=,0-9,,500-509,", "0-9 500-509"},
      {"bytes=0-9,-10", "0-9 990-999"},
      {"bytes=0-9,2000-3000", "0-9"},
      {"bytes=1000-", "416"},
      {"bytes=1000-1001", "416"},
      {"bytes=5000-6000,-0", "416"},
      {"bytes=-0", "416"},
      {"bytes=99999999999999999999999-", "416"},
  };
  for (const auto& [value, expected] : table) EXPECT_EQ(ranges_of(value, 1000), expected) << value;
}

TEST(Range, ignores_what_it_cannot_read) {
  for (const std::string_view value : {"",
                                       "bytes",
                                       "bytes=",
                                       "bytes=,",
                                       "bytes =0-1",
                                       "bytes:0-1",
                                       "lines=0-1",
                                       "bytes=-",
                                       "bytes=a-b",
                                       "bytes=1",
                                       "bytes=5-4",
                                       "bytes=0-1-2",
                                       "bytes=+0-1",
                                       "bytes=0-+1",
                                       "bytes=0x0-1",
                                       "bytes=0 - 1",
                                       "bytes=--1",
                                       "bytes=0-1;",
                                       "bytes=0-1,x",
                                       "bytes=0-1,5-4",
                                       "bytes=1.0-2",
                                       "0-1",
                                       "bytes=0-1 2-3",
                                       "bytes=99999999999999999999999-1"}) {
    EXPECT_EQ(ranges_of(value, 1000), "200") << value;
  }
}

TEST(Range, coalesces_what_overlaps_or_touches_and_nothing_else) {
  const std::vector<std::pair<std::string, std::string>> table = {
      {"bytes=0-9,5-14", "0-14"},
      {"bytes=0-9,10-19", "0-19"},
      {"bytes=0-9,0-9,0-9", "0-9"},
      {"bytes=0-999,5-6", "0-999"},
      {"bytes=5-6,0-999", "0-999"},
      {"bytes=0-0,2-2", "0-0 2-2"},
      {"bytes=0-9,500-509,300-400,200-310", "0-9 500-509 200-400"},
      {"bytes=0-9,251-309,5-250", "0-309"},  // the merged one reaches the one passed before
      {"bytes=900-909,0-9,-100", "900-999 0-9"},
  };
  for (const auto& [value, expected] : table) EXPECT_EQ(ranges_of(value, 1000), expected) << value;
}

TEST(Range, caps_the_number_of_ranges_asked_for) {
  std::string sixteen = "bytes=";
  for (int i = 0; i < 16; ++i)
    sixteen += (i == 0 ? "" : ",") + std::to_string(i * 1000) + "-" + std::to_string(i * 1000);
  EXPECT_NE(ranges_of(sixteen, 100000), "200");
  EXPECT_EQ(ranges_of(sixteen + ",50000-50001", 100000), "200");
  EXPECT_EQ(ranges_of(sixteen + ",", 100000), ranges_of(sixteen, 100000));
  EXPECT_EQ(ranges_of("bytes=0-0,500-500", 1000, 1), "200");
  // The attack of CVE-2011-3192: a hundred overlapping ranges.
  std::string overlapping = "bytes=0-";
  for (int i = 1; i < 100; ++i) overlapping += ",5-" + std::to_string(i + 5);
  EXPECT_EQ(ranges_of(overlapping, 1000), "200");
}

TEST(Range, has_no_range_of_an_empty_representation) {
  EXPECT_EQ(ranges_of("bytes=0-", 0), "416");
  EXPECT_EQ(ranges_of("bytes=0-0", 0), "416");
  EXPECT_EQ(ranges_of("bytes=-0", 0), "416");
  EXPECT_EQ(ranges_of("bytes=-1", 0), "200");
  EXPECT_EQ(ranges_of("bytes=5-", UINT64_MAX), "5-18446744073709551614");
}

TEST(Range, covers_exactly_the_bytes_asked_for) {
  Prng prng(11);
  for (int n = 0; n < one_threaded_rounds(20'000); ++n) {
    constexpr uint64_t SIZE = 2000;
    std::vector<bool> asked(SIZE);
    std::string value = "bytes=";
    const uint32_t count = 1 + prng.below(16);
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t first = prng.below(SIZE);
      const uint32_t last = std::min<uint32_t>(first + prng.below(100), SIZE - 1);
      value += (i == 0 ? "" : ",") + std::to_string(first) + "-" + std::to_string(last);
      for (uint32_t at = first; at <= last; ++at) asked[at] = true;
    }
    ByteRange ranges[16];
    const RangeVerdict verdict = parse_range(value, SIZE, 16, ranges);
    ASSERT_EQ(verdict.outcome, RangeOutcome::SATISFIABLE);
    std::vector<bool> given(SIZE);
    for (size_t i = 0; i < verdict.count; ++i) {
      for (uint64_t at = ranges[i].first; at <= ranges[i].last; ++at) {
        if (given[at]) FAIL() << "byte " << at << " is sent twice: " << value;
        given[at] = true;
      }
    }
    ASSERT_EQ(given, asked) << value;
  }
}

TEST(Range, writes_content_range) {
  char out[CONTENT_RANGE_BYTES_MAX];
  EXPECT_EQ(std::string_view(out, write_content_range(out, {0, 499}, 1234)), "bytes 0-499/1234");
  EXPECT_EQ(std::string_view(out, write_content_range_unsatisfied(out, 1234)), "bytes */1234");
  const ByteRange longest{UINT64_MAX - 1, UINT64_MAX - 1};
  EXPECT_EQ(write_content_range(out, longest, UINT64_MAX), CONTENT_RANGE_BYTES_MAX);
}

TEST(Multipart, writes_parts_whose_sum_is_the_total) {
  const std::string file = "0123456789abcdefghijklmnopqrstuvwxyz";
  const ByteRange ranges[] = {{0, 1}, {10, 12}, {35, 35}};
  const Multipart multipart("text/plain", file.size(), 0x0123456789abcdef);
  EXPECT_EQ(multipart.media_type(), "multipart/byteranges; boundary=penstock0123456789abcdef");
  std::string body;
  char room[Multipart::PART_HEAD_BYTES_MAX];
  for (size_t i = 0; i < 3; ++i) {
    body += std::string_view(room, multipart.write_part_head(room, i, ranges[i]));
    body += file.substr(ranges[i].first, ranges[i].size());
  }
  body += std::string_view(room, multipart.write_tail(room));
  EXPECT_EQ(body,
            "--penstock0123456789abcdef\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/36\r\n\r\n01"
            "\r\n--penstock0123456789abcdef\r\nContent-Type: text/plain\r\nContent-Range: bytes 10-12/36\r\n\r\nabc"
            "\r\n--penstock0123456789abcdef\r\nContent-Type: text/plain\r\nContent-Range: bytes 35-35/36\r\n\r\nz"
            "\r\n--penstock0123456789abcdef--\r\n");
  EXPECT_EQ(multipart.total_bytes(ranges), body.size());
  const Multipart typeless({}, 1'000'000, 1);
  std::string heads;
  const ByteRange two[] = {{99, 100}, {99999, 100000}};
  for (size_t i = 0; i < 2; ++i) heads += std::string_view(room, typeless.write_part_head(room, i, two[i]));
  heads += std::string_view(room, typeless.write_tail(room));
  EXPECT_EQ(typeless.total_bytes(two), heads.size() + 4);
  EXPECT_EQ(heads.find("Content-Type"), std::string::npos);
}

TEST(Multipart, gives_nothing_where_the_room_is_too_small) {
  const Multipart multipart("text/plain", 36, 1);
  char room[512];
  const size_t size = multipart.write_part_head(room, 0, {0, 1});
  EXPECT_EQ(multipart.write_part_head(std::span(room, size), 0, {0, 1}), size);
  EXPECT_EQ(multipart.write_part_head(std::span(room, size - 1), 0, {0, 1}), 0U);
  EXPECT_EQ(multipart.write_tail(std::span(room, 31)), 0U);
  EXPECT_EQ(multipart.write_tail(std::span(room, 32)), 32U);
}

}  // namespace
}  // namespace penstock
