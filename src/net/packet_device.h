// PacketDevice: the lower seam (DESIGN.md section 5): frames in bursts. Real: a DPDK port; fake: SimLink, a TAP device
// in tests.
//
// Used by one engine's thread. It never calls back and never blocks.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace penstock {

struct RxFrame {
  const uint8_t* data = nullptr;
  uint32_t size = 0;
  uint32_t token = 0;  // of the device: what rx_release() gives back
  // The port has checked these and found them good; false: not checked, or bad.
  bool ip_checksum_good = false;
  bool tcp_checksum_good = false;
  // Another engine of the same port has this frame as well, answers it and hands it on: here it is only learnt from.
  bool overheard = false;
};

// Payload that a frame refers to. It stays as it is, and where it is, until the peer has acknowledged it and, where the
// device does not copy, tx_done() has named `hold` for this frame.
struct TxPart {
  const uint8_t* data = nullptr;
  uint32_t size = 0;
  uint32_t hold = 0;
};

struct TxFrame {
  static constexpr size_t PARTS_MAX = 4;
  static constexpr size_t HEAD_BYTES_MAX = 144;  // Ethernet with a tag, IPv6, TCP with all options; or an ICMP answer
  static constexpr uint32_t SEGMENTS_MAX = 64;   // that a port is asked to cut of one frame
  const uint8_t* head = nullptr;                 // valid until tx_burst() returns
  uint16_t head_bytes = 0;
  uint8_t part_count = 0;
  // Only where the features say that the port can: the fields hold zero (IP), the pseudo-header's sum (TCP; of a frame
  // that is cut, with no length in it).
  bool fill_ip_checksum = false;
  bool fill_tcp_checksum = false;
  // Not 0: the port cuts the payload into segments of so many bytes (TSO), each with this head, made right: lengths,
  // sequence number, checksums, FIN and PSH on the last one only.
  uint16_t segment_bytes = 0;
  uint8_t ip_offset = 0;
  uint8_t tcp_offset = 0;
  std::array<TxPart, PARTS_MAX> parts;
};

struct DeviceFeatures {
  bool tx_ip_checksum = false;
  bool tx_tcp_checksum = false;
  bool copies_payload = false;  // everything is copied when tx_burst() returns: no holds
  // Payload bytes at most of a frame that the port cuts into TCP segments, in either version of IP; 0: it cuts none.
  // Such a port fills in checksums where a frame asks for them, even if the two above say that we had better do so.
  uint32_t tx_large_v4_bytes = 0;
  uint32_t tx_large_v6_bytes = 0;
};

struct DeviceCounts {
  uint64_t handed_over = 0;      // frames, to other engines of the same port
  uint64_t hand_over_drops = 0;  // that were lost on the way there
};

class PacketDevice {
 public:
  virtual ~PacketDevice() = default;
  [[nodiscard]] virtual DeviceFeatures features() const = 0;
  // Up to out.size() frames that have come in; each is lent until rx_release().
  [[nodiscard]] virtual size_t rx_burst(std::span<RxFrame> out) = 0;
  virtual void rx_release(uint32_t token) = 0;
  // False: what tx_burst() was given last waits for room, and more would be lost. To be asked again and again: it
  // tries.
  [[nodiscard]] virtual bool tx_ready() { return true; }
  // Takes the first so many frames; the rest is lost, as if on the way.
  [[nodiscard]] virtual size_t tx_burst(std::span<const TxFrame> frames) = 0;
  // The holds of parts, each as often as it was sent, that the device reads no more. Returns how many.
  [[nodiscard]] virtual size_t tx_done(std::span<uint32_t> holds) = 0;

  // By the thread that will use it, once, before it does.
  virtual void start() {}
  // As long as the device; nullptr: it has none.
  [[nodiscard]] virtual const DeviceCounts* counts() const { return nullptr; }
  // Before its owner sleeps: a descriptor that is readable as soon as a frame is there, or -1 where the device has
  // none, and must be asked again and again. end_wait() comes after the sleep.
  [[nodiscard]] virtual int begin_wait() { return -1; }
  virtual void end_wait() {}
};

}  // namespace penstock
