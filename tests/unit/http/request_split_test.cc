// FEATURES RD2: the answer does not depend on how the bytes came, and no byte is looked at over and over.

#include "tests/support/effort.h"
#include "tests/unit/http/parse_helper.h"
#include "tests/unit/http/request_corpus.h"

#include <array>
#include <gtest/gtest.h>
#include <string>

namespace penstock {
namespace {

constexpr ParseLimits SPLIT_LIMITS{
    .head_bytes = 400, .field_bytes = 90, .url_bytes = 70, .query_bytes = 40, .fields = 6, .verb_bytes = 16};

bool same_answer(const Answer& a, const RequestHead& a_head, std::string_view a_input, const Answer& b,
                 const RequestHead& b_head, std::string_view b_input) {
  if (a.state != b.state || a.error != b.error || a.consumed != b.consumed) return false;
  if (a.state == ParseState::COMPLETE) return same_head(a_head, a_input, b_head, b_input);
  if (a.state == ParseState::BAD) return same_refused(a_head, a_input, b_head, b_input);
  return true;
}

std::string shown_text(std::string_view text) {
  std::string out;
  for (const char c : text) {
    constexpr std::string_view HEX = "0123456789abcdef";
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f) {
      out += c;
    } else {
      out += {'\\', 'x', HEX[byte >> 4], HEX[byte & 15]};
    }
  }
  return out;
}

class RequestSplit : public testing::TestWithParam<ParseLimits> {};

TEST_P(RequestSplit, does_not_change_the_answer) {
  constexpr int REQUESTS = one_threaded_rounds(5'500);
  const ParseLimits& limits = GetParam();
  RequestCorpus corpus(20240601);
  GuardedRoom even(1 << 14);
  GuardedRoom odd(1 << 14);
  RequestHead head;
  std::array<size_t, 3> answers{};
  for (int n = 0; n < REQUESTS; ++n) {
    const std::string text = corpus.next();
    const Parsed whole = parse_text(text, limits);
    ++answers[static_cast<size_t>(whole.state)];
    ASSERT_EQ(whole.state == ParseState::BAD, reason_status(whole.error) >= 400) << "no reason: " << shown_text(text);

    std::string_view decided_in;
    const Answer bytewise = parse_bytewise(text, limits, head, even, odd, decided_in);
    ASSERT_TRUE(same_answer(whole, whole.head, whole.input->view(), bytewise, head, decided_in))
        << "byte by byte: " << shown_text(text);

    const std::string_view all = even.place(text);
    for (size_t split = 0; split <= text.size(); ++split) {
      RequestParser parser;
      std::string_view input = odd.place(std::string_view(text).substr(0, split));
      Answer answer = ask(parser, input, limits, head);
      if (answer.state == ParseState::NEED_MORE) answer = ask(parser, input = all, limits, head);
      ASSERT_TRUE(same_answer(whole, whole.head, whole.input->view(), answer, head, input))
          << "split at " << split << ": " << shown_text(text);
    }
  }
  // The corpus must exercise each answer, or the above says little.
  for (const size_t count : answers) EXPECT_GT(count, REQUESTS / 20U);
}

INSTANTIATE_TEST_SUITE_P(limits, RequestSplit, testing::Values(ParseLimits{}, SPLIT_LIMITS),
                         [](const auto& limits) { return limits.index == 0 ? "default" : "tight"; });

TEST(RequestParser, gives_the_same_answer_without_simd) {
  RequestCorpus corpus(7);
  const auto fast = std::make_unique<RequestHead>();
  const auto plain = std::make_unique<RequestHead>();
  for (int n = 0; n < 20000; ++n) {
    const std::string text = corpus.next();
    // Behind one guard page and before another: neither end may be overstepped.
    const GuardedText input(text, n % 2 == 0 ? GuardedText::Side::BEHIND : GuardedText::Side::BEFORE);
    RequestParser one;
    RequestParser two;
    const Answer a = ask(one, input.view(), {}, *fast);
    Answer b{two.parse_plain(input.view(), {}, *plain)};
    if (b.state == ParseState::BAD) b.error = two.error();
    if (b.state == ParseState::COMPLETE) b.consumed = two.consumed();
    ASSERT_TRUE(same_answer(a, *fast, input.view(), b, *plain, input.view())) << shown_text(text);
  }
}

// A head of 64 KiB comes byte by byte, and what was looked at is taken away as it comes (but for the page
// before, into which the last vector may reach back). Any second look at it would crash.
TEST(RequestParser, does_not_look_again_at_what_it_has_seen) {
  constexpr size_t PAGE = 4096;
  std::string text = "GET /" + std::string(9000, 'p') + "?" + std::string(9000, 'q') + " HTTP/1.1\r\nHost: h\r\n";
  text += std::string(9000, 'n') + ": v\r\n";
  text += "Long: " + std::string(20000, 'v') + "\r\n";
  while (text.size() < 65536) text += "X-Field: " + std::string(700, 'w') + "\r\n";
  text += "\r\n";
  const ParseLimits limits{.head_bytes = 1 << 20, .field_bytes = 1 << 20, .url_bytes = 1 << 20, .query_bytes = 1 << 20};
  GuardedText input(text);
  RequestParser parser;
  RequestHead head;
  for (size_t size = 1; size < text.size(); ++size) {
    ASSERT_EQ(parser.parse(input.view().substr(0, size), limits, head), ParseState::NEED_MORE);
    if (size % 512 == 0 && size > PAGE) input.hide_first(size - PAGE);
  }
  input.show_first(text.size());
  EXPECT_EQ(parser.parse(input.view(), limits, head), ParseState::COMPLETE);
  EXPECT_EQ(parser.consumed(), text.size());
}

TEST(RequestParser, tells_whether_a_request_has_begun) {
  RequestParser parser;
  RequestHead head;
  EXPECT_FALSE(parser.started());
  ASSERT_EQ(parser.parse("\r\n", {}, head), ParseState::NEED_MORE);
  EXPECT_FALSE(parser.started());
  ASSERT_EQ(parser.parse("\r\nG", {}, head), ParseState::NEED_MORE);
  EXPECT_TRUE(parser.started());
  parser.reset();
  EXPECT_FALSE(parser.started());
}

}  // namespace
}  // namespace penstock
