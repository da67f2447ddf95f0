// Without memory: whatever nghttp2 cannot have, the connection ends for it with one note, and nothing is left behind.
#include "src/transport/transport_layer.h"
#include "tests/unit/h2/h2_world.h"

#include <cstdlib>
#include <gtest/gtest.h>

namespace penstock {
namespace {

// malloc() that says no from one request on, so many times. Not realloc(), which nghttp2 1.52 has for the queue of its
// streams alone: where that cannot grow, it frees an item twice.
class ScarceMemory {
 public:
  explicit ScarceMemory(size_t first, size_t times) : first_(first), times_(times) {}
  ScarceMemory(const ScarceMemory&) = delete;
  ScarceMemory& operator=(const ScarceMemory&) = delete;
  [[nodiscard]] nghttp2_mem* calls() { return &calls_; }
  [[nodiscard]] size_t refused() const { return refused_; }

 private:
  static bool refuse(void* self) {
    auto& memory = *static_cast<ScarceMemory*>(self);
    const size_t now = memory.asked_++;
    if (now < memory.first_ || now - memory.first_ >= memory.times_) return false;
    ++memory.refused_;
    return true;
  }
  size_t first_;
  size_t times_;
  size_t asked_ = 0;
  size_t refused_ = 0;
  nghttp2_mem calls_{
      .mem_user_data = this,
      .malloc = [](size_t size, void* self) { return refuse(self) ? nullptr : std::malloc(size); },
      .free = [](void* at, void*) { std::free(at); },
      .calloc = [](size_t count, size_t size, void* self) { return refuse(self) ? nullptr : std::calloc(count, size); },
      .realloc = [](void* at, size_t size, void*) { return std::realloc(at, size); },
  };
};

// Those from the n-th stream on; returns how many there are.
size_t answer_from(size_t n, H2World& world, const std::string& text) {
  for (; n < world.streams(); ++n) {
    const H2World::Conn& conn = world.stream(n);
    if (world.transport().is_open(conn.handle) && !conn.failed) world.answer(n, text);
  }
  return n;
}

// Requests with and without bodies, an answer, a refusal, a ping, a reset and the end.
void talk(H2World& world) {
  const std::string body(100'000, 'b');
  Fields wanted = H2World::get("/");
  wanted.emplace_back("priority", "u=1");
  (void)world.request(wanted);
  (void)world.request(H2World::get("/upload"), &body);
  Fields bad = H2World::get("/");
  bad.emplace_back("connection", "x");
  (void)world.request(bad);
  world.turn();
  size_t answered = answer_from(
      0, world, "HTTP/1.1 200 OK\r\nContent-Length: 40000\r\nETag: \"a\"\r\n\r\n" + std::string(40'000, 'x'));
  world.turn();
  (void)world.request(H2World::get("/trailers"));
  world.turn();
  answered = answer_from(answered, world,
                         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Sum: y\r\n\r\n");
  world.turn();
  (void)nghttp2_submit_ping(world.client(), 0, nullptr);
  (void)world.request(H2World::get("/late"));
  world.turn();
  if (world.transport().is_open(world.carrier().handle)) world.transport().drain(world.carrier().handle);
  world.turn();
  (void)answer_from(answered, world, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");  // closed before its end
  world.turn();
}

// Whether anything was refused.
bool fails_well(size_t first, size_t times) {
  ScarceMemory memory(first, times);
  H2World world({.cleartext = true}, {}, 1, memory.calls());
  talk(world);
  std::vector<Reason> noted = world.noted();
  std::erase(noted, Reason::H2_CONNECTION_FIELD);
  EXPECT_EQ(noted, std::vector<Reason>(memory.refused() > 0 ? 1 : 0, Reason::H2_INTERNAL));
  EXPECT_TRUE(world.carrier().failed || memory.refused() == 0);
  EXPECT_EQ(world.faults_at_end(), NOTHING);
  return memory.refused() > 0;
}

TEST(H2Memory, whatever_cannot_be_had_ends_the_connection_with_one_note) {
  for (const size_t times : {size_t{1}, SIZE_MAX}) {
    size_t first = 0;
    for (; fails_well(first, times); ++first) {
      ASSERT_FALSE(HasFailure()) << "request " << first << " for memory, refused "
                                 << (times == 1 ? "once" : "for good");
    }
    EXPECT_GT(first, 30U);
  }
}

// What looked like the preface is held in a block. Where there is none the connection is over, and not heard half.
TEST(H2Memory, without_a_block_for_what_a_connection_began_with_it_fails) {
  constexpr uint32_t WINDOW = 8 << 20;
  H2World world({.cleartext = true, .stream_window_bytes = WINDOW, .connection_window_bytes = WINDOW});
  world.keep_buffers = true;
  const std::string body(3'000'000, 'b');
  (void)world.request(H2World::get("/"), &body);
  world.turn(150);
  ASSERT_EQ(world.noted(), std::vector<Reason>{Reason::H2_BUSY}) << "every block is lent";
  H2World::Conn first = world.carrier();
  const uint32_t second = world.below().client_connect(1, {});
  world.turn(2);
  for (const std::string_view piece : {"PRI * HT", "TP/1.1\r\nHost: a\r\n\r\n"}) {
    world.below().client_send(second, piece);
    world.turn(2);
  }
  EXPECT_TRUE(world.carrier().failed);
  EXPECT_EQ(world.carrier().received, "");
  EXPECT_EQ(world.noted(), (std::vector<Reason>{Reason::H2_BUSY, Reason::H2_BUSY}));
  world.close(first);
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

// HTTP/2 was agreed on below, as by ALPN.
class Agreed final : public TransportLayer {
 public:
  explicit Agreed(Transport& below) : TransportLayer(below) {}
  size_t poll(MonoTime now, MonoTime deadline, std::span<TransportEvent> out) override {
    return below_.poll(now, deadline, out);
  }
  [[nodiscard]] bool is_open(Handle conn) const override { return below_.is_open(conn); }
  [[nodiscard]] uint32_t connection_count() const override { return below_.connection_count(); }
  void set_context(Handle conn, void* context) override { below_.set_context(conn, context); }
  void release(uint32_t buffer) override { below_.release(buffer); }
  void send(Handle conn, std::span<const SendPart> parts, bool last) override { below_.send(conn, parts, last); }
  [[nodiscard]] uint64_t bytes_sent(Handle conn) const override { return below_.bytes_sent(conn); }
  void set_receiving(Handle conn, bool on) override { below_.set_receiving(conn, on); }
  void shutdown_send(Handle conn) override { below_.shutdown_send(conn); }
  bool close(Handle conn) override { return below_.close(conn); }
  bool reset(Handle conn) override { return below_.reset(conn); }
  [[nodiscard]] PeerAddress local_address(Handle conn) const override { return below_.local_address(conn); }
  [[nodiscard]] LayerFacts layer(Handle /*conn*/) const override { return {.secure = true, .protocol = "h2"}; }
  [[nodiscard]] const TransportCounters& counters() const override { return below_.counters(); }
};

TEST(H2Memory, a_connection_that_cannot_be_begun_is_noted_and_never_seen) {
  ScarceMemory memory(0, SIZE_MAX);
  SimTransport sim({.connections_max = 4, .receive_buffers = 8, .receive_buffer_bytes = 4096}, 1);
  Agreed agreed(sim);
  H2Transport h2(agreed, 4, 4, memory.calls());
  h2.set_layers(1, {.tls = true});
  (void)h2.add_listener(-1, 1);
  const uint32_t socket = sim.client_connect(1, {});
  sim.client_send(socket, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  std::array<TransportEvent, 8> events;
  size_t notes = 0;
  for (int i = 0; i < 4; ++i) {
    const size_t came = h2.poll({}, {}, events);
    for (size_t e = 0; e < came; ++e) {
      EXPECT_EQ(events[e].kind, TransportEventKind::NOTED);
      EXPECT_EQ(events[e].error, static_cast<int32_t>(Reason::H2_INTERNAL));
      ++notes;
    }
  }
  EXPECT_EQ(notes, 1U);
  EXPECT_EQ(h2.connection_count(), 0U);
  EXPECT_EQ(sim.violations(), NOTHING);
}

// RFC 7541 section 4.2: our encoder keeps no more than it wants to, whatever the peer allows, and the peer's no more
// than we have announced.
TEST(H2Memory, the_state_of_header_compression_is_bounded_both_ways) {
  constexpr size_t TABLE_BYTES = 4'096;
  H2World world;
  const nghttp2_settings_entry allowed = {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, 1'048'576};
  ASSERT_EQ(::nghttp2_submit_settings(world.client(), NGHTTP2_FLAG_NONE, &allowed, 1), 0);
  for (size_t n = 0; n < 32; ++n) {
    Fields fields = H2World::get("/" + std::to_string(n));
    fields.emplace_back("x-asked-" + std::to_string(n), std::string(500, 'a'));
    const int32_t id = world.request(fields);
    world.turn();
    ASSERT_EQ(world.streams(), n + 1);
    world.answer(n, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Said-" + std::to_string(n) + ": " +
                        std::string(500, 'b') + "\r\n\r\n");
    world.turn();
    ASSERT_TRUE(world.reply(id).ended);
  }
  EXPECT_LE(::nghttp2_session_get_hd_inflate_dynamic_table_size(world.client()), TABLE_BYTES);
  EXPECT_LE(::nghttp2_session_get_hd_deflate_dynamic_table_size(world.client()), TABLE_BYTES);
  EXPECT_EQ(world.faults_at_end(), NOTHING);
}

}  // namespace
}  // namespace penstock
