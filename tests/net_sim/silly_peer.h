// SillyPeer: stands between an engine and its end of a wire, and makes of its segments what no sane peer would send,
// from a seed. What the engine at the other end does then is what counts.
#pragma once

#include "src/base/prng.h"
#include "src/net/packet_device.h"
#include "src/net/wire/ethernet.h"
#include "src/net/wire/ip.h"
#include "src/net/wire/tcp_header.h"

#include <cstdint>
#include <deque>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace penstock {

// Bits.
enum Silliness : uint32_t {
  // The streams have to be exact all the same.
  SHRINKS_WINDOW = 1U << 0,      // takes back what it has offered, down to nothing
  ACKS_UNSENT = 1U << 1,         // beyond what was sent
  ACKS_IN_THE_MIDDLE = 1U << 2,  // of segments, and once more what is old
  STORMS = 1U << 3,              // each ACK many times
  INVENTS_SACKS = 1U << 4,       // inverted, old, beyond what was sent, of what it has not
  FORGETS_SACKS = 1U << 5,       // reneges: tells of a part and never again
  RESETS_IN_WINDOW = 1U << 6,    // but for the exact number
  SYNS_IN_WINDOW = 1U << 7,
  TIME_GOES_BACK = 1U << 8,  // timestamps of before, and echoes of none
  BYTE_BY_BYTE = 1U << 9,
  URGENT = 1U << 10,
  SENDS_BEYOND_FIN = 1U << 11,
  // It may harm itself: bytes that it said it had never come again, it does not hear the end, or its connection fails.
  OVERLAPS_OTHERWISE = 1U << 12,  // sends other bytes in numbers that it has used: each complemented
  ACKS_UNRECEIVED = 1U << 13,     // what is on its way, or lost
  IGNORES_FIN = 1U << 14,
  SHUTS_WINDOW = 1U << 15,  // for good, and still acknowledges probes
  FALLS_SILENT = 1U << 16,
};
inline constexpr uint32_t SILLINESS_COUNT = 17;
inline constexpr uint32_t HARMLESS = OVERLAPS_OTHERWISE - 1;
// Of these, what an owner that has left does not wait for: it is sent more, or told of round trips that take minutes.
inline constexpr uint32_t MAY_END_IT = SENDS_BEYOND_FIN | TIME_GOES_BACK;

class SillyPeer final : public PacketDevice {
 public:
  // `wire` outlives it.
  SillyPeer(PacketDevice& wire, uint64_t seed, uint32_t silliness) : wire_(wire), prng_(seed), silliness_(silliness) {}

  // From here on it is as sane as its engine.
  void come_to_reason() { silliness_ = 0; }
  // How often it was silly.
  [[nodiscard]] uint64_t deeds() const { return deeds_; }

  [[nodiscard]] DeviceFeatures features() const override { return {.copies_payload = true}; }
  [[nodiscard]] size_t rx_burst(std::span<RxFrame> out) override;
  void rx_release(uint32_t token) override { wire_.rx_release(token); }
  [[nodiscard]] size_t tx_burst(std::span<const TxFrame> frames) override;
  [[nodiscard]] size_t tx_done(std::span<uint32_t> holds) override { return wire_.tx_done(holds); }

 private:
  struct Segment {
    EthernetHeader link;
    IpHeader ip;
    TcpHeader header;
    TcpOptions options;
    std::vector<uint8_t> data;
    bool urgent = false;
    [[nodiscard]] bool has(uint8_t bits) const { return (header.flags & bits) != 0; }
  };
  struct Stream {  // of a connection, by its port
    std::deque<Segment> sent;
    uint32_t snd_max = 0;  // of ours, behind all, FIN included
    uint32_t heard = 0;    // behind all of the other's
    uint32_t told = 0;     // the last ACK of ours
    uint16_t window = 0;
    bool fin_sent = false;
    bool begun = false;
    uint32_t segments = 0;
  };

  [[nodiscard]] static bool parse(std::span<const uint8_t> frame, Segment& out);
  void put(Segment segment);
  void put_frame(std::span<const uint8_t> frame);
  void pass_on(Segment segment);
  void change(Segment& segment, Stream& stream);
  void add(const Segment& segment, Stream& stream);
  [[nodiscard]] bool does(Silliness one, uint32_t one_in);

  PacketDevice& wire_;
  Prng prng_;
  uint32_t silliness_;
  uint64_t deeds_ = 0;
  std::map<uint16_t, Stream> streams_;
};

}  // namespace penstock
