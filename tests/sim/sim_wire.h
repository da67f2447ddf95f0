// SimWire: how a client of the simulator is spoken to: plainly, over TLS, over HTTP/2, over both.
//
// Above it are always the bytes of HTTP/1.1, so that the clients and their reference model are the same for all. Over
// HTTP/2 each request becomes a stream, and the answers come in the order of the requests.
#pragma once

#include "tests/support/sim_transport.h"

#include <memory>
#include <string>
#include <string_view>

namespace penstock {

enum class SimProtocol : uint8_t { PLAIN, TLS, H2, H2_TLS };
[[nodiscard]] constexpr bool is_over_tls(SimProtocol protocol) {
  return protocol == SimProtocol::TLS || protocol == SimProtocol::H2_TLS;
}
[[nodiscard]] constexpr bool is_over_h2(SimProtocol protocol) {
  return protocol == SimProtocol::H2 || protocol == SimProtocol::H2_TLS;
}

class SimWire {
 public:
  using State = SimTransport::ClientState;

  SimWire() = default;
  SimWire(const SimWire&) = delete;
  SimWire& operator=(const SimWire&) = delete;
  virtual ~SimWire() = default;

  virtual void send(std::string_view bytes) = 0;
  // What has come of answers; at most about `bytes_max` are taken out of the socket.
  [[nodiscard]] virtual std::string take(size_t bytes_max) = 0;
  virtual void half_close() = 0;
  virtual void reset() = 0;
  [[nodiscard]] virtual State state() = 0;
  // A breach of the protocol by the server; empty: none.
  [[nodiscard]] virtual std::string fault() const { return ""; }
};

// A new connection.
[[nodiscard]] std::unique_ptr<SimWire> make_sim_wire(SimProtocol protocol, SimTransport& transport, uint32_t listener,
                                                     const PeerAddress& peer);
// The same over what `below` carries.
[[nodiscard]] std::unique_ptr<SimWire> make_sim_h2_wire(std::unique_ptr<SimWire> below);

}  // namespace penstock
