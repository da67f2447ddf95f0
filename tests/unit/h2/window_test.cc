// What a peer gets that opens its windows by little. Frames by hand, on one stream.
#include "src/http/h2/session.h"
#include "tests/unit/h2/h2_world.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <numeric>

namespace penstock {
namespace {

std::string wire_frame(uint8_t type, uint8_t flags, char stream, const std::string& payload) {
  std::string out{'\0', static_cast<char>(payload.size() >> 8), static_cast<char>(payload.size())};
  out += static_cast<char>(type);
  out += static_cast<char>(flags);
  return out + std::string(3, '\0') + stream + payload;
}

std::string four_bytes(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
          static_cast<char>(value)};
}

// A client that asked for one answer, with this window for it at first. It says of each DATA frame that it consumed it,
// one at a time, and the server sends what it may in between.
class ByFrame {
 public:
  explicit ByFrame(uint32_t window) : shared_(8, 32, 1) {
    shared_.options.control_frames = 100;
    session_ = H2Session::create(shared_, {}, 1);
    // GET / http, of HPACK's static table.
    hear("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" +
         wire_frame(NGHTTP2_SETTINGS, 0, 0, std::string("\0\4", 2) + four_bytes(window)) +
         wire_frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, 1,
                    "\x82\x84\x86\x41\x01"
                    "a"));
    stream_ = shared_.take_ready();
  }

  // The answer in pieces of so many bytes.
  void answer(size_t bytes, size_t piece_bytes) {
    head_ = "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(bytes) + "\r\n\r\n";
    body_.assign(bytes, 'x');
    std::vector<SendPart> parts{SendPart::memory(head_.data(), head_.size())};
    for (size_t at = 0; at < bytes; at += piece_bytes) {
      parts.push_back(SendPart::memory(body_.data() + at, std::min(piece_bytes, bytes - at)));
    }
    session_->send(*stream_, parts);
  }

  void run() {
    send();
    while (next_ < frames.size() && !session_->is_dying()) {
      const std::string consumed = four_bytes(static_cast<uint32_t>(frames[next_++]));
      hear(wire_frame(NGHTTP2_WINDOW_UPDATE, 0, 0, consumed) + wire_frame(NGHTTP2_WINDOW_UPDATE, 0, 1, consumed));
      send();
    }
  }

  [[nodiscard]] size_t got() const { return std::accumulate(frames.begin(), frames.end(), size_t{0}); }
  [[nodiscard]] bool is_dying() const { return session_->is_dying(); }

  std::vector<size_t> frames;  // of DATA, their payload

 private:
  void hear(const std::string& bytes) { (void)session_->receive(bytes, ++turn_); }
  void send() {
    while (session_->wants_write()) {
      H2Batch batch;
      if (!session_->produce(batch)) return;
      std::string out;
      for (const SendPart& part : batch.parts()) out.append(static_cast<const char*>(part.data), part.size);
      H2Session::batch_over(shared_, batch, true);
      const auto byte = [&out](size_t at) { return static_cast<size_t>(static_cast<unsigned char>(out[at])); };
      for (size_t at = 0, size = 0; at + 9 <= out.size(); at += 9 + size) {
        size = byte(at) << 16 | byte(at + 1) << 8 | byte(at + 2);
        if (byte(at + 3) == NGHTTP2_DATA) frames.push_back(size);
      }
    }
  }

  H2Shared shared_;
  std::unique_ptr<H2Session> session_;
  H2Stream* stream_ = nullptr;
  std::string head_;
  std::string body_;
  size_t next_ = 0;
  uint64_t turn_ = 0;
};

TEST(H2Windows, opened_frame_by_frame_they_are_filled_by_frames_worth_their_head) {
  ByFrame client(65'535);
  client.answer(8 << 20, 65'536);
  client.run();
  EXPECT_FALSE(client.is_dying());
  EXPECT_EQ(client.got(), size_t{8} << 20);
  for (size_t at = 0; const size_t bytes : client.frames) {
    at += bytes;
    EXPECT_TRUE(bytes >= 256 || at % 65'536 == 0) << bytes << " bytes, before " << at;  // or the end of a piece
  }
}

TEST(H2Windows, narrow_ones_are_filled) {
  for (const uint32_t window : {256U, 300U, 1'000U, 5'000U, 8'191U, 20'000U}) {
    ByFrame client(window);
    client.answer(400'000, 70'000);
    client.run();
    EXPECT_FALSE(client.is_dying()) << window;
    EXPECT_EQ(client.got(), 400'000U) << window;
  }
}

TEST(H2Windows, opened_byte_by_byte_they_are_a_flood) {
  ByFrame client(1);
  client.answer(10'000, 10'000);
  client.run();
  EXPECT_TRUE(client.is_dying());
}

// Who opens a window when all of it is used up gets the small rest of it, too.
TEST(H2Windows, the_small_rest_of_one_waits_for_it_to_open_and_not_for_ever) {
  H2World world({.cleartext = true}, {.socket_bytes_max = 1'000'000});
  const nghttp2_settings_entry window[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 20'000}};
  ASSERT_EQ(nghttp2_submit_settings(world.client(), 0, window, 1), 0);
  (void)world.request(H2World::get("/"));
  world.turn();
  world.client_reads = false;  // so it opens nothing by itself
  world.answer(0, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + std::string(100'000, 'x'));
  world.turn();
  const auto sent = [&] { return world.transport().bytes_sent(world.stream(0).handle); };
  const auto ping = [&] {
    for (int i = 0; i < 100; ++i) world.raw(world.frame(NGHTTP2_PING, 0, 0, "12345678"));
    world.turn();
  };
  const uint64_t first = sent();
  EXPECT_LT(first, 17'000U);
  ping();
  EXPECT_EQ(sent(), first) << "answers to pings are no progress of what waits for its window";
  world.advance(milliseconds(199));
  world.turn();
  EXPECT_EQ(sent(), first);
  world.advance(milliseconds(1));
  world.turn();
  EXPECT_EQ(sent(), first + 20'000 - 16'384);
  world.raw(world.frame(NGHTTP2_WINDOW_UPDATE, 0, 1, std::string("\0\0\x27\x10", 4)));  // 10,000
  world.turn();
  EXPECT_EQ(sent(), first + 30'000 - 16'384);
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

}  // namespace
}  // namespace penstock
