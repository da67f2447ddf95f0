// Frames from hell: whatever comes in, whatever its order and time, and whatever the owner does between, the engine
// reads no byte that is not there, keeps its own invariants (ASSERT), and gives everything back in the end.
//
// The input is a list of small commands: raw frames, segments with good checksums and numbers near the connections'
// own, time, and calls of the owner. A fuzzer gives it (src/net/net_stack_fuzz.cc), or a seed (tests/net_sim).
#pragma once

#include "tests/support/tcp_bench.h"

#include <span>
#include <string>
#include <vector>

namespace penstock {

class HellScript {
 public:
  HellScript(const uint8_t* data, size_t size) : left_(data, size) {}
  [[nodiscard]] bool empty() const { return left_.empty(); }
  uint32_t number(size_t bytes) {
    uint32_t value = 0;
    for (; bytes != 0; --bytes) {
      value = value << 8 | (left_.empty() ? 0U : left_[0]);
      if (!left_.empty()) left_ = left_.subspan(1);
    }
    return value;
  }
  std::span<const uint8_t> bytes(size_t count) {
    const std::span<const uint8_t> taken = left_.first(count < left_.size() ? count : left_.size());
    left_ = left_.subspan(taken.size());
    return taken;
  }

 private:
  std::span<const uint8_t> left_;
};

// The kernel on a shared port: it keeps what it gets for a while, or has no room.
class HellKernel final : public FrameTaker {
 public:
  explicit HellKernel(PacketDevice& device) : device_(device) {}
  [[nodiscard]] bool take(const RxFrame& frame) override {
    uint8_t sum = 0;
    for (uint32_t i = 0; i < frame.size; ++i) sum = static_cast<uint8_t>(sum + frame.data[i]);
    if (tokens_.size() == 4 + sum % 4U) return false;
    tokens_.push_back(frame.token);
    return true;
  }
  void give_back() {
    for (const uint32_t token : tokens_) device_.rx_release(token);
    tokens_.clear();
  }

 private:
  PacketDevice& device_;
  std::vector<uint32_t> tokens_;
};

class NetHell {
 public:
  NetHell(const NetConfig& config, bool shared, uint32_t large_bytes)
      : bench_(config, {.copies_payload = false, .tx_large_v4_bytes = large_bytes}),
        kernel_(bench_.device),
        shared_(shared) {
    if (shared) bench_.stack->share(kernel_);
  }

  void run(HellScript& script) {
    while (!script.empty()) {
      command(script);
      listen_to_events();
      if (shared_ && script.number(1) % 2 == 0) kernel_.give_back();
    }
    end();
  }
  [[nodiscard]] uint64_t frames() const { return bench_.stack->counters().frames_received; }

 private:
  void command(HellScript& script) {
    switch (script.number(1) % 8) {
      case 0: {
        const auto frame = script.bytes(script.number(1));
        bench_.put({frame.begin(), frame.end()});
        return;
      }
      case 1:
      case 2:
      case 3:
        return segment(script);
      case 4:
        return bench_.pass(milliseconds(int64_t{1} << script.number(1) % 22));
      case 5:
        return owner(script);
      case 6:
        bench_.device.keeps_holds = script.number(1) % 2 != 0;
        bench_.device.takes_max = script.number(1) % 4 == 0 ? 1 : SIZE_MAX;
        return;
      default:
        if (conns_.size() < 4) {
          const Handle conn =
              bench_.stack->connect(TcpBench::PEER, static_cast<uint16_t>(40'000 + script.number(1) % 4),
                                    static_cast<uint16_t>(1'000 + script.number(1) % 4));
          if (conn.valid()) conns_.push_back(conn);
          bench_.stack->submit();
        }
    }
  }

  // From the peer's port of one of four connections; numbers are those last seen from us, and a little beside.
  void segment(HellScript& script) {
    bench_.peer_port = static_cast<uint16_t>(40'000 + script.number(1) % 4);
    const auto flags = static_cast<uint8_t>(script.number(1) & 0x3f);
    const uint32_t seq = their_next_ + script.number(1) * (script.number(1) % 8 == 0 ? 500 : 1) - 4;
    const uint32_t ack = our_next_ + script.number(1) - 4;
    bench_.window = static_cast<uint16_t>(script.number(1) << (script.number(1) % 9));
    TcpOptions options;
    const uint32_t with = script.number(1);
    options.mss = static_cast<uint16_t>((flags & TCP_SYN) != 0 && with & 1 ? script.number(2) : 0);
    options.sack_permitted = (flags & TCP_SYN) != 0 && (with & 2) != 0;
    options.has_timestamps = (with & 4) != 0;
    options.ts_val = 1'000 + script.number(1);
    options.ts_ecr = ts_;
    options.has_window_scale = (flags & TCP_SYN) != 0 && (with & 8) != 0;
    options.window_scale = static_cast<uint8_t>(script.number(1) % 15);
    options.sack_count = static_cast<uint8_t>((flags & TCP_SYN) != 0 ? 0 : with >> 4 & 3);
    for (size_t i = 0; i < options.sack_count; ++i) {
      const uint32_t left = our_next_ - script.number(2);
      options.sacks[i] = {left, left + script.number(2)};
    }
    const std::string data(script.number(1) * (script.number(1) % 4), 'd');
    const uint16_t port =
        script.number(1) % 4 == 0 ? static_cast<uint16_t>(1'000 + script.number(1) % 4) : TcpBench::PORT;
    bench_.in(flags, seq, ack, data, options, port);
    if ((flags & TCP_SYN) != 0) their_next_ = seq + 1;
    if (script.number(1) % 2 == 0) their_next_ = seq + static_cast<uint32_t>(data.size());
    for (const SentSegment& sent : bench_.out()) {
      our_next_ =
          sent.header.seq + static_cast<uint32_t>(sent.data.size()) + (sent.has(TCP_SYN) || sent.has(TCP_FIN) ? 1 : 0);
      ts_ = sent.options.ts_val;
    }
  }

  void owner(HellScript& script) {
    if (conns_.empty()) return;
    const size_t which = script.number(1) % conns_.size();
    const Handle conn = conns_[which];
    switch (script.number(1) % 8) {
      case 0:
      case 1: {
        if (shut_[which]) return;
        NetPart parts[3];
        const size_t count = 1 + script.number(1) % 3;
        for (NetPart& part : parts)
          part = {.data = memory_, .size = 1 + script.number(2) % static_cast<uint32_t>(sizeof memory_)};
        (void)bench_.stack->send(conn, {parts, count}, 1);
        break;
      }
      case 2:
        bench_.stack->set_receiving(conn, script.number(1) % 2 == 0);
        break;
      case 3:
        bench_.stack->shutdown_send(conn);
        shut_[which] = true;
        break;
      case 4:
        drop(which, false);
        break;
      case 5:
        drop(which, true);
        break;
      case 6:
        release(script.number(1));
        break;
      default:
        bench_.stack->pause_accept(script.number(1) % 4 == 0);
        break;
    }
    bench_.stack->submit();
  }

  void drop(size_t which, bool with_reset) {
    (void)(with_reset ? bench_.stack->reset(conns_[which]) : bench_.stack->close(conns_[which]));
    conns_[which] = conns_.back();
    shut_[which] = shut_[conns_.size() - 1];
    shut_[conns_.size() - 1] = false;
    conns_.pop_back();
  }
  void release(size_t count) {
    for (; count != 0 && !buffers_.empty(); --count, buffers_.pop_back()) bench_.stack->release(buffers_.back());
  }

  void listen_to_events() {
    for (const NetEvent& event : bench_.events) {
      if (event.kind == NetEventKind::ACCEPTED) {
        if (conns_.size() == std::size(shut_))
          (void)bench_.stack->reset(event.conn);
        else
          conns_.push_back(event.conn);
      } else if (event.kind == NetEventKind::RECEIVED) {
        uint8_t sum = 0;
        for (uint32_t i = 0; i < event.size; ++i) sum = static_cast<uint8_t>(sum + event.data[i]);
        memory_[0] = sum;  // the bytes are there to be read
        buffers_.push_back(event.buffer);
      }
    }
    bench_.events.clear();
  }

  void end() {
    kernel_.give_back();
    bench_.device.keeps_holds = false;
    bench_.device.takes_max = SIZE_MAX;
    release(SIZE_MAX);
    while (!conns_.empty()) drop(0, false);
    bench_.stack->pause_accept(true);
    for (int i = 0; i < 60 && bench_.stack->lent() != NetStack::Lent{}; ++i) {
      bench_.pass(seconds(30));
      listen_to_events();
      release(SIZE_MAX);
      while (!conns_.empty()) drop(0, true);
    }
    kernel_.give_back();
    ASSERT(bench_.stack->lent() == NetStack::Lent{});
    ASSERT(bench_.device.lent.empty());
  }

  TcpBench bench_;
  HellKernel kernel_;
  bool shared_;
  std::vector<Handle> conns_;
  bool shut_[16] = {};
  std::vector<uint32_t> buffers_;
  uint8_t memory_[3'000] = {};
  uint32_t our_next_ = 0;
  uint32_t their_next_ = TcpBench::PEER_ISN;
  uint32_t ts_ = 0;
};

// One life of an engine, by `data`; returns how many frames it was given. Fewer than two bytes say nothing.
inline uint64_t frames_from_hell(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  NetConfig config = TcpBench::default_config();
  config.limits.connections_max = 8;
  config.limits.half_open_max = data[0] % 3;
  config.limits.receive_window_bytes = data[1] % 4 == 0 ? 700 : 60'000;
  config.congestion = data[0] % 2 == 0 ? CongestionKind::CUBIC : CongestionKind::RENO;
  HellScript script(data + 2, size - 2);
  NetHell hell(config, data[1] % 3 == 0, data[1] % 8 < 3 ? 2'500 : 0);
  hell.run(script);
  return hell.frames();
}

}  // namespace penstock
