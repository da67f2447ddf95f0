// With more connections than fit the caches each frame would wait for memory several times, one after the other: for
// the place in the table, then for the connection, then for what its owner has. A burst's frames are all there before
// the first is handled, so what each of them will look up is fetched meanwhile, all at once.
#include "src/net/net_stack.h"
#include "src/net/wire/byte_order.h"

namespace penstock {

void NetStack::look_ahead(size_t frames) {
  std::array<uint32_t, BURST> found;
  found.fill(ConnectionTable::NONE);
  for (size_t i = 0; i < frames; ++i) {
    rx_hashes_[i] = hash_of(rx_frames_[i]);
    if (rx_hashes_[i] != 0) table_.prefetch(rx_hashes_[i]);
  }
  for (size_t i = 0; i < frames; ++i) {
    if (rx_hashes_[i] == 0) continue;
    found[i] = table_.guess(rx_hashes_[i]);
    if (found[i] != ConnectionTable::NONE) connections_.prefetch(found[i]);
  }
  for (size_t i = 0; i < frames; ++i) {
    const TcpConnection* c = found[i] == ConnectionTable::NONE ? nullptr : connections_.at(found[i]);
    if (c == nullptr) continue;
    if (c->piece_head != NO_INDEX) {
      pieces_.prefetch(c->piece_head);
      pieces_.prefetch(c->piece_tail);
    }
    if (c->context == nullptr) continue;
    __builtin_prefetch(c->context);
    __builtin_prefetch(static_cast<const char*>(c->context) + 64);
  }
}

// Of the socket pair, where the frame is TCP without anything unusual before it; else 0. Nothing is checked: what is
// wrong with it will be found, and its hash not used.
uint64_t NetStack::hash_of(const RxFrame& frame) const {
  const size_t link = EthernetHeader::BYTES + (config_.addresses.vlan_id != 0 ? EthernetHeader::TAG_BYTES : size_t{0});
  if (frame.size < link + IpHeader::V6_BYTES) return 0;
  const uint8_t* packet = frame.data + link;
  const auto type = static_cast<EtherType>(load_be16(packet - 2));
  TcpTuple tuple;
  const uint8_t* ports = nullptr;
  if (type == EtherType::IPV4 && packet[0] == 0x45 && packet[9] == IP_PROTOCOL_TCP) {
    tuple.remote = IpAddress::v4(load_be32(packet + 12));
    tuple.local = IpAddress::v4(load_be32(packet + 16));
    ports = packet + IpHeader::V4_BYTES;
  } else if (type == EtherType::IPV6 && packet[6] == IP_PROTOCOL_TCP &&
             frame.size >= link + IpHeader::V6_BYTES + TcpHeader::BYTES) {
    tuple.remote = IpAddress::v6(packet + 8);
    tuple.local = IpAddress::v6(packet + 24);
    ports = packet + IpHeader::V6_BYTES;
  } else {
    return 0;
  }
  tuple.remote_port = load_be16(ports);
  tuple.local_port = load_be16(ports + 2);
  return tuple.keyed_hash(config_.secret);
}

}  // namespace penstock
