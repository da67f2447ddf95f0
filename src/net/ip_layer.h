// IpLayer: Ethernet, ARP, neighbour discovery, ICMP echo and IP under one engine's TCP. Owned by NetStack.
//
// In: one frame at a time; what concerns TCP is handed on, all else is answered or dropped here. Out: packets whose
// heads are written into a batch of frames, which flush() hands to the device. Payload is only referred to.
#pragma once

#include "src/net/index_pool.h"
#include "src/net/neighbour_table.h"
#include "src/net/net_config.h"
#include "src/net/net_counters.h"
#include "src/net/packet_device.h"
#include "src/net/rate_limit.h"
#include "src/net/tcp_connection.h"
#include "src/net/wire/checksum.h"
#include "src/net/wire/icmp.h"
#include "src/net/wire/ndp.h"

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace penstock {

class IpLayer {
 public:
  IpLayer(const NetConfig& config, PacketDevice& device, IndexPool<SendPiece>& pieces, NetCounters& counters,
          MonoTime now);
  IpLayer(const IpLayer&) = delete;
  IpLayer& operator=(const IpLayer&) = delete;

  // What a frame held for the floor above.
  struct Arrival {
    enum class Kind : uint8_t { NOTHING, TCP, ICMP_ERROR } kind = Kind::NOTHING;
    bool neighbours = false;  // ARP or neighbour discovery
    bool overheard = false;   // as the frame; or we are silent
    IpHeader packet;
    IcmpMessage icmp;
    MacAddress from;
  };
  // Somebody else has our addresses as well, and answers echo requests.
  void share() { shared_ = true; }
  // Another engine answers (port_handover.h).
  void set_silent(bool silent) { silent_ = silent; }
  // NONE when the frame was of use.
  [[nodiscard]] DropReason receive(const RxFrame& frame, MonoTime now, Arrival& arrival);

  // Our address that speaks to `remote`; none: we do not speak its version.
  [[nodiscard]] std::optional<IpAddress> local_for(const IpAddress& remote) const;
  [[nodiscard]] bool is_ours(const IpAddress& address) const;
  // The MAC address of the next hop to `remote`, or nothing, and `waiter` is told later (next_woken()).
  [[nodiscard]] std::optional<MacAddress> resolve(const IpAddress& remote, Handle waiter, MonoTime now);
  // One who waited for an address that the last frame has told; false: no more. To be asked until then.
  [[nodiscard]] bool next_woken(Handle& waiter) { return neighbours_.next_woken(waiter); }
  // `remote` does not answer; be it that its next hop has another address than we know.
  void doubt(const IpAddress& remote, MonoTime now) { neighbours_.doubt(next_hop(remote), now); }

  // Adds a packet to the batch: `head` is that of the transport, with its checksum. The pieces that the payload's parts
  // name are held until the device is done with them.
  struct Payload {
    std::span<const TxPart> parts;
    bool sum_later = false;      // the port makes TCP's checksum
    uint16_t segment_bytes = 0;  // not 0: and cuts (TxFrame)
  };
  void send(const MacAddress& to, const IpHeader& header, std::span<const uint8_t> head, const Payload& payload);
  // The device has no room: what need not go now waits where it is. Asks it where it had none before; a full batch
  // goes first, so that the answer holds for the next packet.
  [[nodiscard]] bool must_wait() {
    if (frame_count_ == BATCH) flush();
    return device_full_ && (device_full_ = !device_.tx_ready());
  }
  // To the device. Nothing that the batch refers to may change or go before.
  void flush();
  // The device has done with some pieces: their device_holds go down; fills `pieces` with those that are at zero.
  // Returns how many; 0: the device has no more to say.
  [[nodiscard]] size_t collect_done(std::span<uint32_t> pieces);

  // Tells the link who has our addresses (RFC 5227 section 3, RFC 4861 section 7.2.6): who asked before we listened
  // knows at once, and need not ask again a second later.
  void announce();
  // Asks for neighbours' addresses that are due.
  void ask_neighbours(MonoTime now);
  [[nodiscard]] MonoTime next_deadline() const { return neighbours_.next_request(); }
  [[nodiscard]] const DeviceFeatures& features() const { return features_; }
  [[nodiscard]] uint16_t mtu() const { return addresses_.mtu; }

 private:
  static constexpr size_t BATCH = 64;

  [[nodiscard]] const IpAddress& next_hop(const IpAddress& remote) const;
  [[nodiscard]] DropReason receive_arp(std::span<const uint8_t> bytes, MonoTime now, bool overheard);
  [[nodiscard]] DropReason receive_icmp(MonoTime now, Arrival& arrival);
  [[nodiscard]] DropReason receive_neighbour(MonoTime now, Arrival& arrival);
  [[nodiscard]] DropReason check_addresses(const IpHeader& packet) const;
  void answer_echo(const Arrival& arrival);
  void ask_for(const IpAddress& ip);
  size_t write_link(uint8_t* out, const MacAddress& to, EtherType type) const;
  // A free frame of the batch and its room.
  TxFrame& add_frame(uint8_t*& room);

  NetAddresses addresses_;
  IpAddress link_local_;
  PacketDevice& device_;
  IndexPool<SendPiece>& pieces_;
  NetCounters& counters_;
  DeviceFeatures features_;
  NeighbourTable neighbours_;
  RateLimit icmp_limit_;
  bool shared_ = false;
  bool silent_ = false;
  bool device_full_ = false;
  std::array<TxFrame, BATCH> frames_;
  std::vector<uint8_t> heads_;  // BATCH rooms
  std::vector<uint8_t> echo_;   // room of a whole frame
  size_t frame_count_ = 0;
};

}  // namespace penstock
