// One request and its answer through the TCP engine (src/net), by the number of open connections: what the memory that
// does not fit the caches costs. A burst of frames from connections in no order is made beforehand; what is measured is
// the turn in which the engine takes them, their owner sends 1 KiB to each, and the answers go to a device that drops
// them. And with an answer of ten segments, which the engine cuts, or the device (TSO).
#include "src/base/prng.h"
#include "src/net/net_stack.h"
#include "src/net/wire/arp.h"
#include "src/net/wire/byte_order.h"

#include <algorithm>
#include <benchmark/benchmark.h>
#include <chrono>
#include <cstring>
#include <memory>
#include <numeric>
#include <vector>

namespace penstock {
namespace {

constexpr size_t BURST = 32;
constexpr uint32_t REQUEST_BYTES = 64;
constexpr uint32_t ANSWER_BYTES = 1'024;
constexpr size_t HEAD_BYTES = EthernetHeader::BYTES + IpHeader::V4_BYTES + TcpHeader::BYTES;
constexpr size_t FRAME_ROOM = 2'048;  // as the buffers of a port lie
constexpr MacAddress OUR_MAC = {{2, 0, 0, 0, 0, 1}};
constexpr MacAddress PEER_MAC = {{2, 0, 0, 0, 0, 2}};
const IpAddress OURS = IpAddress::v4(10, 0, 0, 1);
const IpAddress GATEWAY = IpAddress::v4(10, 0, 0, 2);

// Gives the frames that it was given; what is sent it forgets, but for the last one's head.
class BenchDevice final : public PacketDevice {
 public:
  explicit BenchDevice(bool cuts) : room_(BURST * FRAME_ROOM), cuts_(cuts) {}
  [[nodiscard]] DeviceFeatures features() const override {
    return {.tx_ip_checksum = true,
            .tx_tcp_checksum = true,
            .copies_payload = true,
            .tx_large_v4_bytes = cuts_ ? 65'000U : 0U};
  }
  [[nodiscard]] size_t rx_burst(std::span<RxFrame> out) override {
    const size_t taken = std::min(count, out.size());
    for (size_t i = 0; i < taken; ++i) {
      out[i] = {.data = frame(i),
                .size = sizes[i],
                .token = static_cast<uint32_t>(i),
                .ip_checksum_good = true,
                .tcp_checksum_good = true};
    }
    count = 0;
    return taken;
  }
  void rx_release(uint32_t) override {}
  [[nodiscard]] size_t tx_burst(std::span<const TxFrame> frames) override {
    std::memcpy(last, frames.back().head, frames.back().head_bytes);
    sent += frames.size();
    return frames.size();
  }
  [[nodiscard]] size_t tx_done(std::span<uint32_t>) override { return 0; }
  [[nodiscard]] uint8_t* frame(size_t i) { return &room_[i * FRAME_ROOM]; }

  size_t count = 0;
  uint32_t sizes[BURST] = {};
  uint8_t last[TxFrame::HEAD_BYTES_MAX] = {};
  uint64_t sent = 0;

 private:
  std::vector<uint8_t> room_;
  bool cuts_;
};

class Crowd {
 public:
  explicit Crowd(uint32_t count, uint32_t answer_bytes = ANSWER_BYTES, bool device_cuts = false)
      : body_(answer_bytes, 'x'), clients_(count), order_(count), device_(device_cuts) {
    NetConfig config;
    config.addresses.mac = OUR_MAC;
    config.addresses.v4 = OURS;
    config.addresses.v4_gateway = GATEWAY;
    config.limits.connections_max = count + 1'024;
    config.limits.send_pieces_max = count + 1'024;
    config.secret = {11, 22};
    stack_ = std::make_unique<NetStack>(config, device_, now_);
    ASSERT(stack_->listen(80, 1));
    write_ethernet(device_.frame(0), {.destination = MacAddress::broadcast(), .source = PEER_MAC, .type = 0x0806});
    write_arp(device_.frame(0) + EthernetHeader::BYTES,
              {.request = true, .sender_mac = PEER_MAC, .sender = GATEWAY, .target_mac = {}, .target = OURS});
    device_.sizes[0] = EthernetHeader::BYTES + ArpPacket::BYTES;
    device_.count = 1;
    turn();
    for (uint32_t i = 0; i < count; ++i) open(i);
    std::iota(order_.begin(), order_.end(), 0U);
    Prng prng(1);
    for (uint32_t i = count; i > 1; --i) std::swap(order_[i - 1], order_[prng.below(i)]);
  }

  // The next burst, and the turn that answers it: its nanoseconds.
  int64_t round() {
    for (size_t i = 0; i < BURST; ++i) {
      const uint32_t number = order_[at_];
      at_ = at_ + 1 == order_.size() ? 0 : at_ + 1;
      Client& client = clients_[number];
      put(i, number, TCP_ACK | TCP_PSH, client.seq, client.ack, REQUEST_BYTES);
      client.seq += REQUEST_BYTES;
      client.ack += static_cast<uint32_t>(body_.size());
    }
    now_ = now_ + microseconds(30);
    device_.count = BURST;
    const auto begin = std::chrono::steady_clock::now();
    turn();
    return (std::chrono::steady_clock::now() - begin).count();
  }
  [[nodiscard]] uint64_t answers() const { return answers_; }
  [[nodiscard]] uint64_t frames() const { return device_.sent; }

 private:
  struct Client {
    uint32_t seq = 2;
    uint32_t ack = 0;
  };

  void turn() {
    const size_t count = stack_->poll(now_, events_);
    for (size_t i = 0; i < count; ++i) {
      const NetEvent& event = events_[i];
      if (event.kind != NetEventKind::RECEIVED) continue;
      stack_->release(event.buffer);
      const NetPart part{.data = body_.data(), .size = static_cast<uint32_t>(body_.size())};
      answers_ += stack_->send(event.conn, {&part, 1}, 1) ? 1 : 0;
    }
    stack_->submit();
  }
  void open(uint32_t number) {
    put(0, number, TCP_SYN, 1, 0, 0);
    device_.count = 1;
    turn();
    clients_[number].ack = load_be32(device_.last + EthernetHeader::BYTES + IpHeader::V4_BYTES + 4) + 1;
    put(0, number, TCP_ACK, 2, clients_[number].ack, 0);
    device_.count = 1;
    turn();
  }
  void put(size_t slot, uint32_t number, uint8_t flags, uint32_t seq, uint32_t ack, size_t bytes) {
    uint8_t* frame = device_.frame(slot);
    TcpHeader header{.source_port = static_cast<uint16_t>(1'024 + number % 50'000),
                     .destination_port = 80,
                     .seq = seq,
                     .ack = ack,
                     .flags = flags,
                     .window = 60'000};
    write_ethernet(frame, {.destination = OUR_MAC, .source = PEER_MAC, .type = 0x0800});
    write_ip(frame + EthernetHeader::BYTES,
             {.source = IpAddress::v4(11, 0, 0, static_cast<uint8_t>(number / 50'000)),
              .destination = OURS,
              .protocol = IP_PROTOCOL_TCP,
              .hop_limit = 64},
             TcpHeader::BYTES + bytes);
    write_tcp(frame + EthernetHeader::BYTES + IpHeader::V4_BYTES, header, {});
    device_.sizes[slot] = static_cast<uint32_t>(HEAD_BYTES + bytes);
  }

  MonoTime now_ = {1'000'000'000'000};
  std::vector<char> body_;
  std::vector<Client> clients_;
  std::vector<uint32_t> order_;
  size_t at_ = 0;
  uint64_t answers_ = 0;
  BenchDevice device_;
  std::unique_ptr<NetStack> stack_;
  std::array<NetEvent, 128> events_;
};

void measure(benchmark::State& state, Crowd& crowd) {
  for (int64_t i = 0; i < 3 * state.range(0) / static_cast<int64_t>(BURST); ++i) (void)crowd.round();
  const uint64_t before = crowd.answers();
  const uint64_t frames_before = crowd.frames();
  std::vector<int64_t> rounds;
  for (auto _ : state) {
    rounds.push_back(crowd.round());
    state.SetIterationTime(static_cast<double>(rounds.back()) / 1e9);
  }
  const uint64_t answers = crowd.answers() - before;
  if (answers != static_cast<uint64_t>(state.iterations()) * BURST)
    return state.SkipWithError("not all requests were answered");
  // Whoever else has the processor now and then makes the mean larger, and not the median.
  std::nth_element(rounds.begin(), rounds.begin() + static_cast<ptrdiff_t>(rounds.size() / 2), rounds.end());
  state.counters["median_ns"] = static_cast<double>(rounds[rounds.size() / 2]) / BURST;
  state.counters["frames"] = static_cast<double>(crowd.frames() - frames_before) / static_cast<double>(answers);
}

void request_and_answer(benchmark::State& state) {
  Crowd crowd(static_cast<uint32_t>(state.range(0)));
  measure(state, crowd);
}
BENCHMARK(request_and_answer)->Arg(64)->Arg(1'000)->Arg(10'000)->Arg(100'000)->UseManualTime();

// The peer names no MSS, so it is 536 (RFC 9293 section 3.7.1).
void answer_of_ten_segments(benchmark::State& state) {
  Crowd crowd(static_cast<uint32_t>(state.range(0)), 10 * 536, state.range(1) != 0);
  measure(state, crowd);
}
BENCHMARK(answer_of_ten_segments)->ArgNames({"", "device_cuts"})->Args({64, 0})->Args({64, 1})->UseManualTime();

}  // namespace
}  // namespace penstock

BENCHMARK_MAIN();
