// The fixture of the suite that every transport passes: what transport.h promises holds for all of them.
#pragma once

#include "tests/unit/transport/world.h"

#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <vector>

namespace penstock::test {

class Conformance : public testing::TestWithParam<Kind> {
 protected:
  void open(const TransportOptions& options = {.connections_max = 256, .receive_buffers = 64}) {
    world_ = World::make(GetParam(), options);
    if (world_ == nullptr) GTEST_SKIP() << "io_uring is refused on this machine";
    server_ = std::make_unique<Server>(*world_);
  }
  void TearDown() override {
    if (world_ == nullptr || HasFailure() || IsSkipped()) return;
    // Whatever a test did: afterwards everything can be given back.
    for (const uint32_t buffer : server_->held_buffers) world_->transport().release(buffer);
    server_->echo = server_->hold_buffers = false;
    server_->close_all();
    EXPECT_TRUE(server_->until([&] { return world_->transport().connection_count() == 0; }));
    EXPECT_EQ(world_->violations(), std::vector<std::string>{});
  }

  // Connects, and turns until the server has accepted it.
  std::unique_ptr<Peer> connect(uint32_t listener = 1, bool slow = false) {
    const size_t before = server_->conns().size();
    std::unique_ptr<Peer> peer = world_->connect(listener, slow);
    EXPECT_NE(peer, nullptr);
    EXPECT_TRUE(server_->until([&] { return server_->conns().size() > before; }));
    return peer;
  }
  // Turns until the peer has read `size` bytes or the end.
  std::string read(Peer& peer, size_t size) {
    std::string got;
    EXPECT_TRUE(server_->until([&] {
      got += peer.read(size - got.size());
      return got.size() == size || peer.end() != Peer::End::OPEN;
    })) << "after "
        << got.size() << " of " << size;
    return got;
  }

  std::unique_ptr<World> world_;
  std::unique_ptr<Server> server_;
};

#define OPEN(...)                          \
  open(__VA_ARGS__);                       \
  if (IsSkipped()) return;                 \
  [[maybe_unused]] World& world = *world_; \
  [[maybe_unused]] Server& server = *server_

inline std::string conformance_name(const testing::TestParamInfo<Kind>& one) { return kind_name(one.param); }

}  // namespace penstock::test
