// Reflector: the bare limit of a server past the kernel: no connections, no windows, no timers, no HTTP.
//
// Each segment with data is answered by one prepared frame, whose numbers follow from the segment's own. It shakes
// hands and says good-bye just as far as a client needs it, and knows one address. It sends nothing twice.
#pragma once

#include "src/net/packet_device.h"
#include "src/net/wire/checksum.h"
#include "src/net/wire/ethernet.h"
#include "src/net/wire/ip_address.h"

#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

class Reflector {
 public:
  // REQUIRES: head and body fit one frame.
  Reflector(PacketDevice& device, const MacAddress& mac, const IpAddress& own, std::string_view body);
  void turn();

 private:
  static constexpr size_t BURST = 64;

  void receive(const RxFrame& frame);
  [[nodiscard]] bool receive_arp(const RxFrame& frame);
  void answer(const RxFrame& frame, uint8_t flags, bool with_payload);

  PacketDevice& device_;
  MacAddress mac_;
  IpAddress own_;
  std::string payload_;
  InternetSum payload_sum_;
  std::vector<uint8_t> rooms_;  // BURST frames
  std::array<TxFrame, BURST> frames_;
  size_t count_ = 0;
};

}  // namespace penstock
