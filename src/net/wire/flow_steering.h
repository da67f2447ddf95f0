// FlowSteering: which of several engines on one port a frame is for. Pure, without state: the same frame has the same
// engine in every process.
//
// A connection lives on the engine that its addresses and ports name by the Toeplitz hash of receive side scaling, with
// a key whose 16 bits repeat, so that both directions have one hash (Woo and Park, "Scalable TCP session monitoring
// with symmetric receive-side scaling", 2012). A card that is given KEY and a table of `buckets` entries, bucket i for
// engine i % engines, delivers the frames of a connection there by itself; what comes elsewhere is handed over.
#pragma once

#include "src/net/wire/ip_address.h"

#include <array>
#include <cstdint>
#include <span>

namespace penstock {

// The 32 bits that a card computes over (source, destination, source port, destination port), in either order.
[[nodiscard]] uint32_t flow_hash(const IpAddress& one, uint16_t one_port, const IpAddress& other, uint16_t other_port);

class FlowSteering {
 public:
  static constexpr uint16_t KEY_WORD = 0x6d5a;
  static constexpr uint16_t BUCKETS = 128;  // where no card says otherwise

  // REQUIRES: both at least 1.
  explicit FlowSteering(uint16_t engines, uint16_t buckets = BUCKETS) : engines_(engines), buckets_(buckets) {}

  // ANY: whoever has it may answer it. ONE: `engine`'s. ALL: everybody learns from it, whoever has it answers.
  struct Route {
    enum class To : uint8_t { ANY, ONE, ALL } to = To::ANY;
    uint16_t engine = 0;
    bool operator==(const Route&) const = default;
  };
  // TCP, and ICMP errors that quote it: ONE. ARP and neighbour discovery: ALL. All else, fragments and what is broken:
  // ANY. Checksums are not looked at.
  [[nodiscard]] Route route(std::span<const uint8_t> frame) const;
  [[nodiscard]] uint16_t engine_of(uint32_t hash) const { return static_cast<uint16_t>(hash % buckets_ % engines_); }
  [[nodiscard]] uint16_t engines() const { return engines_; }

 private:
  [[nodiscard]] Route by_ports(const IpAddress& one, const IpAddress& other, std::span<const uint8_t> transport) const;

  uint16_t engines_;
  uint16_t buckets_;
};

}  // namespace penstock
