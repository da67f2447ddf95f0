// NetConfig: what an engine is told at its start: addresses, times, and the bound of every pool.
#pragma once

#include "src/base/time.h"
#include "src/net/siphash.h"
#include "src/net/wire/ethernet.h"
#include "src/net/wire/ip_address.h"

#include <cstdint>

namespace penstock {

struct NetAddresses {
  MacAddress mac;
  uint16_t vlan_id = 0;  // 0: untagged
  uint16_t mtu = 1'500;
  // An address that is all zeroes is none: the engine then does not speak that version (but for the IPv6 link-local
  // address).
  IpAddress v4 = IpAddress::v4(0);
  uint8_t v4_prefix_bits = 24;
  IpAddress v4_gateway = IpAddress::v4(0);
  IpAddress v6;
  uint8_t v6_prefix_bits = 64;
  IpAddress v6_gateway;
};

struct NetLimits {
  uint32_t connections_max =
      16'384;  // open, half open and in TIME-WAIT; beyond: the oldest TIME-WAIT goes, else SYNs are dropped
  uint32_t half_open_max = 1'024;     // beyond: SYN cookies
  uint32_t send_pieces_max = 65'536;  // parts of sends that are not yet acknowledged; beyond: send() says no
  uint32_t receive_holds_max =
      16'384;  // frames with data that are lent out, wait, or are out of order; beyond: dropped
  uint32_t holds_per_connection_max = 256;  // of these, one connection's; half of them out of order
  uint32_t scoreboards_max = 1'024;         // connections that recover by SACK at a time; beyond: without SACK
  uint32_t receive_window_bytes = 256 * 1'024;
  uint32_t replies_per_second = 1'000;  // of challenge ACKs, of RSTs, of ICMP each
};

struct NetTimes {
  Duration rto_min = milliseconds(200);
  Duration rto_max = seconds(60);
  Duration delayed_ack = milliseconds(40);   // RFC 9293 MUST-58: below 500 ms
  Duration time_wait = seconds(60);          // 2 MSL
  Duration keepalive_idle = seconds(7'200);  // RFC 1122 section 4.2.3.6
  Duration keepalive_interval = seconds(75);
  uint32_t keepalive_probes = 9;
  uint32_t syn_retries = 5;
  uint32_t retries = 10;              // of data: R2 of RFC 9293 section 3.8.3, about two minutes at least
  Duration stuck_max = seconds(300);  // data waits, and the peer acknowledges none of it, be it that its window is shut
  Duration orphan_max = seconds(60);  // the same, of a connection that its owner has closed; and FIN-WAIT-2 then
};

enum class CongestionKind : uint8_t { CUBIC, RENO };

struct NetConfig {
  NetAddresses addresses;
  NetLimits limits;
  NetTimes times;
  CongestionKind congestion = CongestionKind::CUBIC;
  SipKey secret = {};  // random, drawn at start
};

}  // namespace penstock
