// One suite for every transport: connections, bytes and files.
#include "tests/unit/transport/conformance.h"

#include "src/base/prng.h"
#include "src/base/unique_fd.h"

#include <algorithm>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <thread>

namespace penstock::test {
namespace {

TEST_P(Conformance, echoes_random_sizes_on_many_connections_whole_and_in_order) {
  OPEN();
  server.echo = true;
  Prng prng(7);
  struct Client {
    std::unique_ptr<Peer> peer;
    std::string to_send, expected, got;
  };
  std::vector<Client> clients(40);
  for (size_t i = 0; i < clients.size(); ++i) {
    clients[i].peer = world.connect();
    clients[i].expected = clients[i].to_send = pattern(1 + prng.below(i % 8 == 0 ? 300'000 : 9'000), i);
  }
  EXPECT_TRUE(server.until([&] {
    bool done = true;
    for (Client& client : clients) {
      const size_t take = std::min<size_t>(client.to_send.size(), 1 + prng.below(20'000));
      client.to_send.erase(0, client.peer->write(std::string_view(client.to_send).substr(0, take)));
      client.got += client.peer->read(1 + prng.below(20'000));
      done = done && client.got.size() >= client.expected.size();
    }
    return done;
  }));
  for (const Client& client : clients) EXPECT_EQ(client.got, client.expected);
}

TEST_P(Conformance, accepted_names_listener_and_peer_over_ipv4_ipv6_and_unix) {
  OPEN();
  constexpr World::Family FAMILIES[] = {World::Family::IPV4, World::Family::IPV6, World::Family::UNIX};
  uint32_t id = 10;
  for (const World::Family family : FAMILIES) {
    ++id;
    if (!world.listen(family, id)) {
      const bool engines = family == World::Family::UNIX && is_engine(GetParam());
      EXPECT_TRUE(family == World::Family::IPV6 || engines) << "only IPv6 may be missing, and what is not TCP";
      continue;
    }
    const std::unique_ptr<Peer> peer = connect(id);
    EXPECT_EQ(server.conns().back()->listener, id);
    EXPECT_EQ(server.conns().back()->peer, peer->address());
    EXPECT_NE(server.conns().back()->peer.family, 0);
  }
}

TEST_P(Conformance, accepted_is_alone_in_its_batch_although_bytes_are_there) {
  OPEN();
  std::vector<std::unique_ptr<Peer>> peers;
  for (int i = 0; i < 20; ++i) {
    peers.push_back(world.connect());
    ASSERT_EQ(peers.back()->write("hello"), 5U);
    peers.back()->half_close();
  }
  std::vector<Handle> told;
  size_t received = 0;
  for (int turns = 0; turns < 1'000 && received < 20 * 5; ++turns) {
    std::vector<Handle> accepted;
    for (const TransportEvent& event : world.turn()) {
      if (event.kind == TransportEventKind::ACCEPTED) {
        accepted.push_back(event.conn);
        continue;
      }
      EXPECT_EQ(std::ranges::count(accepted, event.conn), 0);
      if (event.kind != TransportEventKind::RECEIVED) continue;
      received += event.size;
      world.transport().release(event.buffer);
    }
    for (const Handle handle : accepted) told.push_back(handle);
  }
  EXPECT_EQ(told.size(), 20U);
  for (const Handle handle : told) world.transport().close(handle);
}

TEST_P(Conformance, half_close_is_told_once_and_the_answer_still_arrives) {
  OPEN();
  const auto peer = connect();
  peer->write("request");
  peer->half_close();
  ASSERT_TRUE(server.until([&] { return server.conn(0).peer_closed; }));
  EXPECT_EQ(server.conn(0).received, "request");
  server.send_text(server.conn(0), "answer");
  EXPECT_EQ(read(*peer, 6), "answer");
  ASSERT_TRUE(server.until([&] { return server.conn(0).sent == 1; }));
  server.close(server.conn(0));
  (void)read(*peer, 1);
  EXPECT_EQ(peer->end(), Peer::End::FIN);
}

TEST_P(Conformance, shutdown_send_brings_fin_and_receiving_goes_on) {
  OPEN();
  const auto peer = connect();
  server.send_text(server.conn(0), "last words");
  ASSERT_TRUE(server.until([&] { return server.conn(0).sent == 1; }));
  world.transport().shutdown_send(server.conn(0).handle);
  EXPECT_EQ(read(*peer, 11), "last words");
  EXPECT_EQ(peer->end(), Peer::End::FIN);
  peer->write("still here");
  EXPECT_TRUE(server.until([&] { return server.conn(0).received == "still here"; }));
}

// A kernel thread may still be at the shutdown of one connection when its place belongs to the next.
TEST_P(Conformance, a_shutdown_and_a_close_do_not_reach_the_next_connection) {
  OPEN();
  const std::string text = pattern(3'000, 1);
  const SendPart parts[] = {SendPart::memory(text.data(), text.size())};
  const int rounds = has_kernel_threads(GetParam()) ? 400 : 40;
  for (int round = 0; round < rounds; ++round) {
    const auto before = connect();
    auto& ended = *server.conns().back();
    world.transport().shutdown_send(ended.handle);
    server.close(ended);
    const auto after = connect();
    ASSERT_NE(after, nullptr);
    world.transport().send(server.conns().back()->handle, parts, false);
    ASSERT_TRUE(read(*after, text.size()) == text) << "round " << round;
    server.close_all();
  }
}

TEST_P(Conformance, close_brings_fin_and_reset_brings_rst) {
  OPEN();
  const auto closed = connect();
  const auto broken = connect();
  EXPECT_FALSE(server.close(server.conn(0)));
  EXPECT_FALSE(server.reset(server.conn(1)));
  (void)read(*closed, 1);
  (void)read(*broken, 1);
  EXPECT_EQ(closed->end(), Peer::End::FIN);
  EXPECT_EQ(broken->end(), Peer::End::RESET);
  EXPECT_EQ(world.transport().counters().closes, 1U);
  EXPECT_EQ(world.transport().counters().resets, 1U);
}

TEST_P(Conformance, reset_by_the_peer_is_told_as_failed_once) {
  OPEN();
  const auto peer = connect();
  peer->reset();
  ASSERT_TRUE(server.until([&] { return server.conn(0).failed == 1; }));
  EXPECT_EQ(server.conn(0).error, ECONNRESET);
  server.turn(milliseconds(5));
  EXPECT_EQ(server.conn(0).failed, 1);
  EXPECT_TRUE(world.transport().is_open(server.conn(0).handle));
  EXPECT_FALSE(server.close(server.conn(0)));
  EXPECT_FALSE(world.transport().is_open(server.conn(0).handle));
}

TEST_P(Conformance, reset_during_a_send_ends_it_by_failed_and_not_by_sent) {
  OPEN();
  const auto peer = connect(1, true);
  server.send_text(server.conn(0), pattern(8'000'000, 1));
  server.turn(milliseconds(1));
  server.turn(milliseconds(1));
  peer->reset();
  ASSERT_TRUE(server.until([&] { return server.conn(0).failed == 1; }));
  EXPECT_EQ(server.conn(0).sent, 0);
  EXPECT_FALSE(server.close(server.conn(0))) << "FAILED has freed the parts";
}

// sendfile(2) raises SIGPIPE, which must not end the server.
TEST_P(Conformance, reset_during_a_file_send_is_told_as_failed) {
  OPEN();
  const UniqueFd file(memory_file(pattern(8'000'000, 4)));
  for (const bool cold : {false, true}) {
    const auto peer = connect(1, true);
    Server::Conn& conn = *server.conns().back();
    const SendPart part = SendPart::file(file.get(), 0, 8'000'000, cold);
    world.transport().set_receiving(conn.handle, false);
    world.transport().send(conn.handle, {&part, 1}, false);
    for (int i = 0; i < 5; ++i) server.turn(milliseconds(1));
    peer->reset();
    ASSERT_TRUE(server.until([&] { return conn.failed == 1; }));
    EXPECT_EQ(conn.sent, 0);
    server.close(conn);
  }
}

TEST_P(Conformance, close_during_a_send_tells_when_the_parts_are_free) {
  OPEN();
  for (const bool with_reset : {false, true}) {
    const auto peer = connect(1, true);
    Server::Conn& conn = *server.conns().back();
    server.send_text(conn, pattern(4'000'000, 1));
    server.turn(milliseconds(1));
    const bool lent = with_reset ? server.reset(conn) : server.close(conn);
    EXPECT_FALSE(world.transport().is_open(conn.handle));
    if (lent) {
      EXPECT_TRUE(server.until([&] { return conn.closed == 1; }));
    }
    conn.sending.assign(conn.sending.size(), 'x');
    // What arrives was sent before: nothing of the new contents.
    std::string got;
    EXPECT_TRUE(server.until([&] {
      got += peer->read(1'000'000);
      return peer->end() != Peer::End::OPEN;
    }));
    EXPECT_TRUE(got == pattern(4'000'000, 1).substr(0, got.size()));
    EXPECT_LT(got.size(), 4'000'000U);
    EXPECT_EQ(conn.sent, 0);
  }
  EXPECT_TRUE(server.until([&] { return world.transport().connection_count() == 0; }));
}

TEST_P(Conformance, a_stale_handle_is_not_open_when_its_slot_is_used_again) {
  OPEN();
  const auto first = connect();
  const Handle old = server.conn(0).handle;
  server.close(server.conn(0));
  ASSERT_TRUE(server.until([&] { return world.transport().connection_count() == 0; }));
  const auto second = connect();
  EXPECT_FALSE(world.transport().is_open(old));
  EXPECT_TRUE(world.transport().is_open(server.conn(1).handle));
}

TEST_P(Conformance, without_receiving_nothing_is_read_and_nothing_is_lost) {
  OPEN();
  const auto peer = connect();
  world.transport().set_receiving(server.conn(0).handle, false);
  server.turn(milliseconds(1));
  server.turn(milliseconds(1));
  const std::string text = pattern(50'000, 3);
  size_t written = peer->write(text);
  for (int i = 0; i < 5; ++i) server.turn(milliseconds(1));
  EXPECT_EQ(server.conn(0).received, "");
  world.transport().set_receiving(server.conn(0).handle, true);
  EXPECT_TRUE(server.until([&] {
    if (written < text.size()) written += peer->write(std::string_view(text).substr(written));
    return server.conn(0).received.size() == text.size();
  }));
  EXPECT_EQ(server.conn(0).received, text);
}

TEST_P(Conformance, receiving_may_be_switched_in_one_turn) {
  OPEN();
  const auto peer = connect();
  for (int i = 0; i < 10; ++i) {
    world.transport().set_receiving(server.conn(0).handle, false);
    world.transport().set_receiving(server.conn(0).handle, true);
    peer->write("x");
    server.turn(milliseconds(1));
  }
  EXPECT_TRUE(server.until([&] { return server.conn(0).received.size() == 10; }));
}

TEST_P(Conformance, parts_of_memory_and_files_arrive_in_order) {
  OPEN();
  const auto peer = connect();
  const std::string big = pattern(700'000, 5);
  const std::string file_bytes = pattern(1'500'000, 6);
  const UniqueFd file(memory_file(file_bytes));
  const SendPart parts[] = {
      SendPart::memory("head", 4),      SendPart::file(file.get(), 1'000, 1'400'000),
      SendPart::memory(big.data(), 1),  SendPart::memory(big.data() + 1, big.size() - 1),
      SendPart::file(file.get(), 0, 1), SendPart::file(file.get(), 1'499'999, 1),
      SendPart::memory("tail", 4),
  };
  const std::string expected =
      "head" + file_bytes.substr(1'000, 1'400'000) + big + file_bytes[0] + file_bytes.back() + "tail";
  for (int round = 1; round <= 2; ++round) {
    world.transport().send(server.conn(0).handle, parts, false);
    EXPECT_TRUE(read(*peer, expected.size()) == expected);
    ASSERT_TRUE(server.until([&] { return server.conn(0).sent == round; }));
    EXPECT_EQ(world.transport().bytes_sent(server.conn(0).handle), expected.size() * static_cast<size_t>(round));
  }
  EXPECT_EQ(world.transport().counters().bytes_from_files, 2 * 1'400'002U);
}

TEST_P(Conformance, the_largest_number_of_parts_goes_in_one_send) {
  OPEN();
  const auto peer = connect();
  std::vector<std::string> texts;
  std::vector<SendPart> parts;
  std::string expected;
  for (size_t i = 0; i < Transport::SEND_PARTS_MAX; ++i) texts.push_back(pattern(1 + i * 977, i));
  for (const std::string& text : texts) {
    parts.push_back(SendPart::memory(text.data(), text.size()));
    expected += text;
  }
  world.transport().send(server.conn(0).handle, parts, false);
  EXPECT_TRUE(read(*peer, expected.size()) == expected);
  EXPECT_TRUE(server.until([&] { return server.conn(0).sent == 1; }));
}

// One part and several, above the threshold and below: the same bytes, and the parts are lent until SENT.
TEST_P(Conformance, sends_without_a_copy_bring_the_same_bytes) {
  OPEN();
  const auto peer = connect();
  world.transport().set_zerocopy_min(10'000);
  for (const size_t size : {9'999U, 10'000U, 3'000'000U}) {
    const std::string before = pattern(size, size);
    std::string body = before;
    const SendPart one[] = {SendPart::memory(body.data(), body.size())};
    const SendPart two[] = {SendPart::memory("head", 4), one[0]};
    const int sent = server.conn(0).sent;
    world.transport().send(server.conn(0).handle, one, false);
    EXPECT_TRUE(read(*peer, size) == before);
    ASSERT_TRUE(server.until([&] { return server.conn(0).sent == sent + 1; }));
    world.transport().send(server.conn(0).handle, two, false);
    EXPECT_TRUE(read(*peer, size + 4) == "head" + before);
    ASSERT_TRUE(server.until([&] { return server.conn(0).sent == sent + 2; }));
    std::fill(body.begin(), body.end(), 'x');  // ours again
  }
  if (GetParam() == Kind::URING) {
    EXPECT_GE(world.transport().counters().sends_zerocopy, 4U);
  }
  world.transport().set_zerocopy_min(0);
  const uint64_t so_far = world.transport().counters().sends_zerocopy;
  const std::string last = pattern(50'000, 1);
  const SendPart parts[] = {SendPart::memory(last.data(), last.size())};
  world.transport().send(server.conn(0).handle, parts, false);
  EXPECT_TRUE(read(*peer, last.size()) == last);
  EXPECT_TRUE(server.until([&] { return server.conn(0).sent == 7; }));
  EXPECT_EQ(world.transport().counters().sends_zerocopy, so_far);
}

TEST_P(Conformance, a_cold_file_arrives_whole) {
  OPEN();
  const auto peer = connect();
  char path[] = "/var/tmp/penstock-cold-XXXXXX";
  const UniqueFd file(::mkstemp(path));
  ASSERT_TRUE(file.valid());
  ::unlink(path);
  const std::string bytes = pattern(1'100'000, 8);
  ASSERT_EQ(::write(file.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  ::fsync(file.get());
  ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
  const SendPart parts[] = {SendPart::memory("head", 4), SendPart::file(file.get(), 100, 1'000'000, true),
                            SendPart::memory("tail", 4)};
  world.transport().send(server.conn(0).handle, parts, false);
  std::string got;
  EXPECT_TRUE(server.until([&] {
    world.advance(milliseconds(1));
    got += peer->read(1'000'008 - got.size());
    return got.size() == 1'000'008;
  }));
  EXPECT_TRUE(got == "head" + bytes.substr(100, 1'000'000) + "tail");
  EXPECT_TRUE(server.until([&] { return server.conn(0).sent == 1; }));
}

TEST_P(Conformance, a_file_shorter_than_its_part_fails_with_enodata) {
  OPEN();
  for (const bool cold : {false, true}) {
    const auto peer = connect();
    // The connection has been used: epoll has told, once and for all, that there is room.
    const SendPart greeting = SendPart::memory("hello", 5);
    world.transport().send(server.conns().back()->handle, {&greeting, 1}, false);
    ASSERT_TRUE(server.until([&] { return server.conns().back()->sent == 1; }));
    for (int i = 0; i < 3; ++i) server.turn(milliseconds(1));
    const UniqueFd file(memory_file("short"));
    const SendPart part = SendPart::file(file.get(), 0, 100, cold);
    world.transport().send(server.conns().back()->handle, {&part, 1}, false);
    ASSERT_TRUE(server.until([&] {
      world.advance(milliseconds(1));
      return server.conns().back()->failed == 1;
    }));
    EXPECT_EQ(server.conns().back()->error, ENODATA);
    EXPECT_FALSE(server.close(*server.conns().back()));
  }
}

TEST_P(Conformance, close_during_a_file_send_lets_go_of_the_file) {
  OPEN();
  const auto peer = connect(1, true);
  const UniqueFd file(memory_file(pattern(8'000'000, 9)));
  const SendPart part = SendPart::file(file.get(), 0, 8'000'000);
  world.transport().send(server.conn(0).handle, {&part, 1}, false);
  for (int i = 0; i < 5; ++i) server.turn(milliseconds(1));
  const bool lent = server.close(server.conn(0));
  EXPECT_TRUE(server.until([&] { return world.transport().connection_count() == 0; }));
  EXPECT_EQ(server.conn(0).closed, lent ? 1 : 0);
}

TEST_P(Conformance, bytes_sent_shows_the_progress_of_a_slow_send) {
  OPEN();
  const auto peer = connect(1, true);
  const Handle handle = server.conn(0).handle;
  const std::string text = pattern(8'000'000, 2);
  server.send_text(server.conn(0), text);
  for (int i = 0; i < 5; ++i) server.turn(milliseconds(1));
  const uint64_t before = world.transport().bytes_sent(handle);
  EXPECT_GT(before, 0U);
  EXPECT_LT(before, text.size());
  std::string got;
  EXPECT_TRUE(server.until([&] {
    got += peer->read(100'000);
    return world.transport().bytes_sent(handle) > before;
  }));
  // What was acknowledged may not yet be known.
  EXPECT_TRUE(server.until([&] { return world.transport().bytes_sent(handle) >= got.size(); }));
  EXPECT_TRUE(got == text.substr(0, got.size()));
  EXPECT_EQ(server.conn(0).sent, 0);
}

TEST_P(Conformance, bytes_held_are_what_the_peer_has_not_taken) {
  if (is_simulated(GetParam())) GTEST_SKIP() << "no kernel holds anything";
  if (is_engine(GetParam())) GTEST_SKIP() << "of our own engine what is sent is what the peer has acknowledged";
  OPEN();
  const auto peer = connect(1);
  const Handle handle = server.conn(0).handle;
  const auto taken = [&] {
    return static_cast<int64_t>(world.transport().bytes_sent(handle)) -
           static_cast<int64_t>(world.transport().bytes_held(handle));
  };
  server.send_text(server.conn(0), pattern(1'000'000, 3));
  for (int i = 0; i < 5; ++i) server.turn(milliseconds(1));
  EXPECT_GT(world.transport().bytes_held(handle), 0U);
  const int64_t before = taken();
  EXPECT_TRUE(server.until([&] {
    (void)peer->read(100'000);
    return taken() > before;
  }));
  EXPECT_TRUE(server.until([&] {
    (void)peer->read(100'000);
    return server.conn(0).sent == 1 && world.transport().bytes_held(handle) == 0;
  }));
}

TEST_P(Conformance, receives_wait_for_buffers_and_go_on_when_they_come_back) {
  OPEN({.connections_max = 256, .receive_buffers = 4, .receive_buffer_bytes = 128});
  server.hold_buffers = true;
  std::vector<std::unique_ptr<Peer>> peers;
  for (int i = 0; i < 12; ++i) peers.push_back(connect());  // to shake hands needs buffers, too
  for (size_t i = 0; i < peers.size(); ++i) peers[i]->write(pattern(100, i));
  ASSERT_TRUE(server.until([&] { return server.held_buffers.size() == 4; }));
  for (int i = 0; i < 10; ++i) server.turn(milliseconds(1));
  EXPECT_EQ(server.held_buffers.size(), 4U);
  // One at a time: each buffer given back brings further bytes.
  EXPECT_TRUE(server.until([&] {
    if (!server.held_buffers.empty()) {
      world.transport().release(server.held_buffers.back());
      server.held_buffers.pop_back();
    }
    return std::ranges::all_of(server.conns(), [](const auto& conn) { return conn->received.size() == 100; });
  }));
  for (size_t i = 0; i < 12; ++i) {
    const std::string& got = server.conn(i).received;
    EXPECT_TRUE(std::ranges::any_of(std::vector<uint64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11},
                                    [&](uint64_t seed) { return got == pattern(100, seed); }));
  }
  if (!is_simulated(GetParam()) && !is_tls(GetParam())) {  // TLS has buffers of its own above
    EXPECT_GT(world.transport().counters().receive_starved, 0U);
  }
}

TEST_P(Conformance, buffers_can_be_released_after_their_connection_died) {
  OPEN({.connections_max = 256, .receive_buffers = 2, .receive_buffer_bytes = 128});
  server.hold_buffers = true;
  for (int round = 0; round < 6; ++round) {
    const auto peer = connect();
    peer->write("bytes");
    ASSERT_TRUE(server.until([&] { return !server.held_buffers.empty(); }));
    server.close(*server.conns().back());
    server.turn(milliseconds(1));
    for (const uint32_t buffer : server.held_buffers) world.transport().release(buffer);
    server.held_buffers.clear();
  }
}

INSTANTIATE_TEST_SUITE_P(Transports, Conformance, testing::ValuesIn(ALL_KINDS), conformance_name);

}  // namespace
}  // namespace penstock::test
