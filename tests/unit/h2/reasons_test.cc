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

struct ReasonRow {
  std::string said;  // behind the preface
  Http2Options options;
  uint32_t streams = 8;
  bool preface = true;
  std::string_view answer;  // to the first stream
  size_t times = 1;         // how often it is told: once, or once for each stream that is refused
};

std::vector<Reason> told(const ReasonRow& row) {
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

std::vector<std::pair<Reason, ReasonRow>> rows() {
  const std::string post = field(":method", "POST") + PSEUDO.substr(field(":method", "GET").size());
  const std::string ping = frame(NGHTTP2_PING, 0, 0, "12345678");
  const auto with = [](const std::string& more) {
    return ReasonRow{.said = head(PSEUDO + more), .options = {}, .answer = {}};
  };
  const auto only = [](const std::string& block) {
    return ReasonRow{.said = head(block), .options = {}, .answer = {}};
  };
  const auto raw = [](const std::string& said) { return ReasonRow{.said = said, .options = {}, .answer = {}}; };
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
    EXPECT_NE(std::ranges::find(all, reason, &std::pair<Reason, ReasonRow>::first), all.end()) << name << " has no row";
  }
  for (const auto& [reason, row] : all) {
    const std::string_view name = reason_info(reason).name;
    const std::vector<Reason> reasons = told(row);
    ASSERT_FALSE(reasons.empty()) << name << " is told to nobody";
    EXPECT_EQ(reasons, std::vector<Reason>(row.times, reason))
        << name << " comes as " << reason_info(reasons.back()).name << ", " << reasons.size() << " times";
  }
}

// ---- RFC 9113 sections 3 to 8: what the peer is told

struct Fault {
  const char* section;
  std::string said;   // behind the preface and SETTINGS
  const char* told;   // "goaway" the connection ends, "reset" the stream; with the code. "": it goes on
  bool bare = false;  // `said` is all there is
};

// The first GOAWAY or RST_STREAM of those frames.
std::string told_to_peer(const Fault& fault) {
  H2Shared shared(8, 32, 1);
  const auto session = H2Session::create(shared, {}, 1);
  if (!fault.bare) {
    (void)session->receive("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 1);
    (void)session->receive(frame(NGHTTP2_SETTINGS, 0, 0, ""), 1);
  }
  (void)session->receive(fault.said, 1);
  H2Batch batch;
  (void)session->produce(batch);
  std::string out;
  for (const SendPart& part : batch.parts()) out.append(static_cast<const char*>(part.data), part.size);
  H2Session::batch_over(shared, batch, true);
  const auto number = [&out](size_t at, size_t bytes) {
    uint32_t value = 0;
    for (size_t i = 0; i < bytes; ++i) value = value << 8 | static_cast<unsigned char>(out[at + i]);
    return value;
  };
  for (size_t at = 0; at + 9 <= out.size(); at += 9 + number(at, 3)) {
    if (out[at + 3] == NGHTTP2_GOAWAY) {
      return std::string("goaway ") + nghttp2_http2_strerror(number(at + 13, 4));
    }
    if (out[at + 3] == NGHTTP2_RST_STREAM) {
      return std::string("reset ") + nghttp2_http2_strerror(number(at + 9, 4));
    }
  }
  return "";
}

std::vector<Fault> faults() {
  using namespace std::string_literals;
  constexpr uint8_t PADDED = 8;
  constexpr uint8_t PRIORITY = 32;
  constexpr const char* PROTOCOL = "goaway PROTOCOL_ERROR";
  constexpr const char* SIZE = "goaway FRAME_SIZE_ERROR";
  constexpr const char* WINDOW = "goaway FLOW_CONTROL_ERROR";
  constexpr const char* RESET = "reset PROTOCOL_ERROR";
  const std::string magic = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  const std::string post = field(":method", "POST") + PSEUDO.substr(field(":method", "GET").size());
  const std::string open = head(post, 1, 0);
  const std::string four(4, '\0');
  const auto setting = [](char id, const std::string& value) {
    return frame(NGHTTP2_SETTINGS, 0, 0, "\0"s + id + value);
  };
  return {
      {"3.4, another preface", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", PROTOCOL, true},
      {"3.4, no SETTINGS first", magic + frame(NGHTTP2_PING, 0, 0, "12345678"), PROTOCOL, true},
      {"4.1, an unknown type", frame(0xbb, 0xff, 0, "anything") + frame(0xbb, 0, 7, ""), ""},
      {"4.1, unknown flags", frame(NGHTTP2_PING, 0xfe, 0, "12345678"), ""},
      {"4.2, longer than 16,384", open + data(std::string(16'385, 'x'), 0), SIZE},
      {"4.3, a block that cannot be decompressed", head("\xff\xff\xff\xff\xff"), "goaway COMPRESSION_ERROR"},
      {"4.3, an index beyond both tables", head("\xfe"), "goaway COMPRESSION_ERROR"},
      {"5.1, DATA, idle", data("x", 0, 1), PROTOCOL},
      {"5.1, RST_STREAM, idle", frame(NGHTTP2_RST_STREAM, 0, 1, four), PROTOCOL},
      {"5.1, WINDOW_UPDATE, idle", frame(NGHTTP2_WINDOW_UPDATE, 0, 1, "\0\0\0\1"s), PROTOCOL},
      {"5.1, CONTINUATION, idle", frame(NGHTTP2_CONTINUATION, END_HEADERS, 1, PSEUDO), PROTOCOL},
      {"5.1, DATA, half closed", head(PSEUDO) + data("x", 0), "goaway STREAM_CLOSED"},
      {"5.1, HEADERS, half closed", head(PSEUDO) + head(PSEUDO), "goaway STREAM_CLOSED"},
      {"5.1, WINDOW_UPDATE, half closed", head(PSEUDO) + frame(NGHTTP2_WINDOW_UPDATE, 0, 1, "\0\0\0\1"s), ""},
      {"5.1, RST_STREAM, half closed", head(PSEUDO) + frame(NGHTTP2_RST_STREAM, 0, 1, "\0\0\0\x08"s), ""},
      {"5.1.1, an even stream", head(PSEUDO, 2), PROTOCOL},
      {"5.3.1, PRIORITY of an idle stream", frame(NGHTTP2_PRIORITY, 0, 9, four + "\x10"), ""},
      {"6.1, DATA on stream 0", data("x", 0, 0), PROTOCOL},
      {"6.1, padding as long as the frame", open + data("\x02x", PADDED), PROTOCOL},
      {"6.1, padding without its length", open + data("", PADDED), PROTOCOL},
      {"6.2, HEADERS on stream 0", head(PSEUDO, 0), PROTOCOL},
      {"6.2, padding longer than the block",
       frame(NGHTTP2_HEADERS, END_HEADERS | END_STREAM | PADDED, 1, "\x7f" + PSEUDO), PROTOCOL},
      {"6.2, a priority that is cut off", frame(NGHTTP2_HEADERS, END_HEADERS | END_STREAM | PRIORITY, 1, four), SIZE},
      {"6.2, another frame within a block",
       frame(NGHTTP2_HEADERS, END_STREAM, 1, PSEUDO) + frame(NGHTTP2_PING, 0, 0, "12345678"), PROTOCOL},
      {"6.2, another stream within a block", frame(NGHTTP2_HEADERS, END_STREAM, 1, PSEUDO) + head(PSEUDO, 3), PROTOCOL},
      {"6.3, PRIORITY on stream 0", frame(NGHTTP2_PRIORITY, 0, 0, four + "\x10"), PROTOCOL},
      {"6.3, PRIORITY of four bytes", head(PSEUDO) + frame(NGHTTP2_PRIORITY, 0, 1, four), SIZE},
      {"6.4, RST_STREAM on stream 0", frame(NGHTTP2_RST_STREAM, 0, 0, four), PROTOCOL},
      {"6.4, RST_STREAM of three bytes", head(PSEUDO) + frame(NGHTTP2_RST_STREAM, 0, 1, "\0\0\0"s), SIZE},
      {"6.5, an acknowledgement that says something",
       frame(NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, std::string(6, '\0')), SIZE},
      {"6.5, SETTINGS on a stream", frame(NGHTTP2_SETTINGS, 0, 1, ""), PROTOCOL},
      {"6.5, SETTINGS of five bytes", frame(NGHTTP2_SETTINGS, 0, 0, std::string(5, '\0')), SIZE},
      {"6.5.2, ENABLE_PUSH 2", setting(2, "\0\0\0\2"s), PROTOCOL},
      {"6.5.2, INITIAL_WINDOW_SIZE 2^31", setting(4, "\x80\0\0\0"s), WINDOW},
      {"6.5.2, MAX_FRAME_SIZE 16,383", setting(5, "\0\0\x3f\xff"s), PROTOCOL},
      {"6.5.2, MAX_FRAME_SIZE 2^24", setting(5, "\1\0\0\0"s), PROTOCOL},
      {"6.5.2, an unknown setting", setting('\x7f', four), ""},
      {"6.6, PUSH_PROMISE of a client", frame(NGHTTP2_PUSH_PROMISE, END_HEADERS, 1, "\0\0\0\2"s + PSEUDO), PROTOCOL},
      {"6.7, PING on a stream", frame(NGHTTP2_PING, 0, 1, "12345678"), PROTOCOL},
      {"6.7, PING of seven bytes", frame(NGHTTP2_PING, 0, 0, "1234567"), SIZE},
      {"6.7, an answer to no PING", frame(NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, "12345678"), ""},
      {"6.8, GOAWAY on a stream", frame(NGHTTP2_GOAWAY, 0, 1, std::string(8, '\0')), PROTOCOL},
      {"6.8, GOAWAY of four bytes", frame(NGHTTP2_GOAWAY, 0, 0, four), SIZE},
      {"6.9, WINDOW_UPDATE by 0", frame(NGHTTP2_WINDOW_UPDATE, 0, 0, four), PROTOCOL},
      {"6.9, WINDOW_UPDATE of a stream by 0", open + frame(NGHTTP2_WINDOW_UPDATE, 0, 1, four), PROTOCOL},
      {"6.9, WINDOW_UPDATE of three bytes", frame(NGHTTP2_WINDOW_UPDATE, 0, 0, "\0\0\1"s), SIZE},
      {"6.9.1, the connection's window beyond 2^31", frame(NGHTTP2_WINDOW_UPDATE, 0, 0, "\x7f\xff\xff\xff"), WINDOW},
      {"6.9.1, a stream's window beyond 2^31", open + frame(NGHTTP2_WINDOW_UPDATE, 0, 1, "\x7f\xff\xff\xff"),
       "reset FLOW_CONTROL_ERROR"},
      {"6.9.1, more than the stream's window", open + repeated(data(std::string(16'384, 'x'), 0), 5),
       "reset FLOW_CONTROL_ERROR"},
      {"6.10, CONTINUATION behind END_HEADERS", open + frame(NGHTTP2_CONTINUATION, END_HEADERS, 1, field("a", "b")),
       PROTOCOL},
      {"6.10, CONTINUATION on stream 0", frame(NGHTTP2_CONTINUATION, END_HEADERS, 0, PSEUDO), PROTOCOL},
      {"8.1, trailers that do not end the stream", open + head(field("x", "y"), 1, 0), RESET},
      {"8.1.1, DATA behind its content-length", head(post + field("content-length", "1"), 1, 0) + data("xy", 0), RESET},
      {"8.1.1, less than its content-length", head(post + field("content-length", "5"), 1, 0) + data("x", END_STREAM),
       RESET},
      {"8.2.1, a name in upper case", head(PSEUDO + field("X", "y")), RESET},
      {"8.2.1, a line feed", head(PSEUDO + field("x", "a\nb")), RESET},
      {"8.2.1, a NUL", head(PSEUDO + field("x", "a\0b"s)), RESET},
      {"8.2.1, a space in front", head(PSEUDO + field("x", " a")), RESET},
      {"8.2.2, connection", head(PSEUDO + field("connection", "x")), RESET},
      {"8.2.2, transfer-encoding", head(PSEUDO + field("transfer-encoding", "chunked")), RESET},
      {"8.2.2, te", head(PSEUDO + field("te", "gzip")), RESET},
      {"8.3, an unknown pseudo-header", head(PSEUDO + field(":x", "y")), RESET},
      {"8.3, one of answers", head(PSEUDO + field(":status", "200")), RESET},
      {"8.3, one behind a field", head(field(":method", "GET") + field("x", "y") + field(":path", "/")), RESET},
      {"8.3, one in trailers", open + head(field(":path", "/")), RESET},
      {"8.3.1, no method", head(field(":scheme", "http") + field(":path", "/")), RESET},
      {"8.3.1, no scheme", head(field(":method", "GET") + field(":path", "/")), RESET},
      {"8.3.1, no path", head(field(":method", "GET") + field(":scheme", "http")), RESET},
      {"8.3.1, an empty path", head(field(":method", "GET") + field(":scheme", "http") + field(":path", "")), RESET},
      {"8.3.1, a path twice", head(PSEUDO + field(":path", "/")), RESET},
      {"8.3.1, another host", head(PSEUDO + field("host", "b")), RESET},
      {"8.5, CONNECT with a path", head(field(":method", "CONNECT") + field(":path", "/") + field(":authority", "a")),
       RESET},
      {"RFC 9218 7.1, PRIORITY_UPDATE on a stream", frame(NGHTTP2_PRIORITY_UPDATE, 0, 1, "\0\0\0\1u=1"s), PROTOCOL},
      {"RFC 9218 7.1, PRIORITY_UPDATE of stream 0", frame(NGHTTP2_PRIORITY_UPDATE, 0, 0, four + "u=1"), PROTOCOL},
      {"a good request", head(PSEUDO), ""},
  };
}

TEST(H2Reasons, rfc_9113_each_fault_of_a_peer_is_answered_with_its_code) {
  for (const Fault& fault : faults()) EXPECT_EQ(told_to_peer(fault), fault.told) << fault.section;
}

}  // namespace
}  // namespace penstock
