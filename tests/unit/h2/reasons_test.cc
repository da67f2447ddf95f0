// Every reason that HTTP/2 has for ending a stream or a connection is told to the journal: a row for each way to it.
#include "src/http/h2/session.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <utility>
#include <vector>

namespace penstock {
namespace {

constexpr uint8_t END_STREAM = 1;
constexpr uint8_t END_HEADERS = 4;

std::string frame(uint8_t type, uint8_t flags, int32_t stream, std::string_view payload) {
  std::string out;
  for (const int shift : {16, 8, 0}) out += static_cast<char>(payload.size() >> shift);
  out += {static_cast<char>(type), static_cast<char>(flags)};
  for (const int shift : {24, 16, 8, 0}) out += static_cast<char>(stream >> shift);
  return out.append(payload);
}

// RFC 7541 section 6.2.2, without compression.
std::string field(std::string_view name, std::string_view value) {
  std::string out(1, '\0');
  for (const std::string_view text : {name, value}) out.append(1, static_cast<char>(text.size())).append(text);
  return out;
}

const std::string PSEUDO =
    field(":method", "GET") + field(":scheme", "http") + field(":path", "/") + field(":authority", "a");

std::string head(const std::string& block, int32_t stream = 1, uint8_t end = END_STREAM) {
  return frame(NGHTTP2_HEADERS, END_HEADERS | end, stream, block);
}
std::string data(std::string_view text, uint8_t flags, int32_t stream = 1) {
  return frame(NGHTTP2_DATA, flags, stream, text);
}
std::string repeated(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

struct Row {
  std::string said;  // behind the preface
  Http2Options options;
  uint32_t streams = 8;
  bool preface = true;
  std::string_view answer;  // to the first stream
  size_t times = 1;         // how often it is told: once, or once for each stream that is refused
};

std::vector<Reason> told(const Row& row) {
  H2Shared shared(row.streams, 4 * row.streams, 1);
  shared.options = row.options;
  const auto session = H2Session::create(shared, {}, 1);
  if (row.preface) {
    (void)session->receive("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 1);
    (void)session->receive(frame(NGHTTP2_SETTINGS, 0, 0, ""), 1);
  }
  (void)session->receive(row.said, 1);
  if (!row.answer.empty()) {
    const SendPart part = SendPart::memory(row.answer.data(), row.answer.size());
    session->send(*shared.take_ready(), {&part, 1});
  }
  H2Batch batch;
  (void)session->produce(batch);
  H2Session::batch_over(shared, batch, true);
  std::vector<Reason> reasons;
  for (const H2Shared::Note& note : shared.notes) reasons.push_back(note.reason);
  return reasons;
}

const std::string HEAD_OF_70_KB = "HTTP/1.1 200 OK\r\nX: " + std::string(70'000, 'y') + "\r\n\r\n";

std::vector<std::pair<Reason, Row>> rows() {
  const std::string post = field(":method", "POST") + PSEUDO.substr(field(":method", "GET").size());
  const std::string ping = frame(NGHTTP2_PING, 0, 0, "12345678");
  const auto with = [](const std::string& more) {
    return Row{.said = head(PSEUDO + more), .options = {}, .answer = {}};
  };
  const auto only = [](const std::string& block) { return Row{.said = head(block), .options = {}, .answer = {}}; };
  const auto raw = [](const std::string& said) { return Row{.said = said, .options = {}, .answer = {}}; };
  std::string resets;
  std::string two;
  for (int32_t id = 1; id < 100; id += 2) {
    resets += head(PSEUDO, id) + frame(NGHTTP2_RST_STREAM, 0, id, std::string("\0\0\0\x08", 4));
    if (id < 8) two += head(PSEUDO, id);
  }
  const std::string scheme = field(":scheme", "http");
  return {
      {Reason::H2_PREFACE_INVALID,
       {.said = "GET / HTTP/1.1\r\nHost: a\r\n\r\n", .options = {}, .preface = false, .answer = {}}},
      {Reason::H2_PROTOCOL, raw(data("x", 0, 9))},
      {Reason::H2_FRAME_SIZE, raw(frame(NGHTTP2_PING, 0, 0, "short"))},
      {Reason::H2_FLOW_CONTROL, raw(frame(NGHTTP2_WINDOW_UPDATE, 0, 0, "\x7f\xff\xff\xff"))},
      {Reason::H2_COMPRESSION, raw(head("\xff\xff\xff\xff\xff"))},
      {Reason::H2_STREAM_CLOSED, raw(head(PSEUDO) + data("x", 0))},
      {Reason::H2_PSEUDO_MISSING, only(field(":method", "GET") + scheme)},
      {Reason::H2_PSEUDO_REPEATED, with(field(":path", "/"))},
      {Reason::H2_PSEUDO_UNKNOWN, with(field(":x", "y"))},
      {Reason::H2_PSEUDO_AFTER_FIELD, with(field("x", "y") + field(":authority", "a"))},
      {Reason::H2_PSEUDO_IN_TRAILERS, raw(head(post, 1, 0) + head(field(":path", "/")))},
      {Reason::H2_METHOD_INVALID, only(field(":method", "G T") + scheme + field(":path", "/"))},
      {Reason::H2_SCHEME_INVALID, only(field(":method", "GET") + field(":scheme", "ftp") + field(":path", "/"))},
      {Reason::H2_PATH_INVALID, only(field(":method", "GET") + scheme + field(":path", "/a b"))},
      {Reason::H2_AUTHORITY_INVALID,
       only(field(":method", "GET") + scheme + field(":path", "/") + field(":authority", ""))},
      {Reason::H2_AUTHORITY_DIFFERS, with(field("host", "b"))},
      {Reason::H2_CONNECT_INVALID,
       only(field(":method", "CONNECT") + scheme + field(":path", "/") + field(":authority", "a"))},
      {Reason::H2_NAME_INVALID, with(field("X", "y"))},
      {Reason::H2_VALUE_INVALID, with(field("x", "a\nb"))},
      {Reason::H2_CONNECTION_FIELD, with(field("connection", "x"))},
      {Reason::H2_TE_INVALID, with(field("te", "gzip"))},
      {Reason::H2_LENGTH_INVALID, with(field("content-length", "1x"))},
      {Reason::H2_LENGTH_DIFFERS, raw(head(post + field("content-length", "5"), 1, 0) + data("x", END_STREAM))},
      {Reason::H2_TRAILER_INVALID, raw(head(post, 1, 0) + head(field("content-length", "1")))},
      {Reason::H2_PEER_ERROR, raw(repeated(frame(NGHTTP2_GOAWAY, 0, 0, std::string("\0\0\0\0\0\0\0\1", 8)), 3))},
      {Reason::H2_STREAMS_LIMIT, {.said = two, .options = {.streams = 1}, .answer = {}, .times = 3}},
      {Reason::H2_BUSY, {.said = two, .options = {}, .streams = 1, .answer = {}, .times = 3}},
      {Reason::H2_HEADER_FLOOD,
       raw(frame(NGHTTP2_HEADERS, 0, 1, PSEUDO) + repeated(frame(NGHTTP2_CONTINUATION, 0, 1, field("a", "b")), 200))},
      {Reason::H2_CONTROL_FLOOD, {.said = repeated(ping, 200), .options = {.control_frames = 100}, .answer = {}}},
      {Reason::H2_RESET_FLOOD, {.said = resets, .options = {.resets = 10}, .streams = 100, .answer = {}}},
      {Reason::H2_ANSWERS_UNREAD,
       {.said = repeated(ping, 2'000), .options = {.control_frames = 1'000'000}, .answer = {}}},
      {Reason::H2_ANSWER_INVALID, {.said = head(PSEUDO), .options = {}, .answer = "HTTP/1.1 nonsense\r\n\r\n"}},
      // What nghttp2 does not write, and the second way to some of the reasons above.
      {Reason::H2_ANSWER_INVALID, {.said = head(PSEUDO), .options = {}, .answer = HEAD_OF_70_KB}},
      {Reason::H2_PROTOCOL, raw(head(PSEUDO) + frame(NGHTTP2_WINDOW_UPDATE, 0, 1, std::string(4, '\0')))},
      {Reason::H2_FLOW_CONTROL, raw(head(post, 1, 0) + repeated(data(std::string(16'384, 'x'), 0), 5))},
      {Reason::H2_CONTROL_FLOOD, raw(frame(NGHTTP2_SETTINGS, 0, 0, repeated(std::string("\0\3\0\0\0\1", 6), 40)))},
      {Reason::H2_LENGTH_DIFFERS, raw(head(post + field("content-length", "1"), 1, 0) + data("xy", 0))},
      {Reason::H2_TRAILER_INVALID, raw(head(post, 1, 0) + head(field("x", "y"), 1, 0))},
      {Reason::H2_BUSY,
       {.said = head(post, 1, 0) + repeated(data(std::string(16'000, 'x'), 0), 2),
        .options = {},
        .streams = 1,
        .answer = {}}},
  };
}

TEST(H2Reasons, each_is_told_to_the_journal) {
  const auto all = rows();
  for (size_t i = 0; i < REASON_COUNT; ++i) {
    const auto reason = static_cast<Reason>(i);
    const std::string_view name = reason_info(reason).name;
    if (!name.starts_with("H2_") || reason == Reason::H2_INTERNAL) continue;  // that one: memory_test.cc
    EXPECT_NE(std::ranges::find(all, reason, &std::pair<Reason, Row>::first), all.end()) << name << " has no row";
  }
  for (const auto& [reason, row] : all) {
    const std::string_view name = reason_info(reason).name;
    const std::vector<Reason> reasons = told(row);
    ASSERT_FALSE(reasons.empty()) << name << " is told to nobody";
    EXPECT_EQ(reasons, std::vector<Reason>(row.times, reason))
        << name << " comes as " << reason_info(reasons.back()).name << ", " << reasons.size() << " times";
  }
}

}  // namespace
}  // namespace penstock
