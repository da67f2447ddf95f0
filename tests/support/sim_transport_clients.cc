// The clients' side of SimTransport, and what it says when all is over.

#include "tests/support/sim_transport.h"

#include <algorithm>
#include <cerrno>

namespace penstock {

uint32_t SimTransport::client_connect(uint32_t listener, const PeerAddress& peer) {
  const auto number = static_cast<uint32_t>(clients_.size());
  Client& client = clients_.emplace_back();
  client.listener = listener;
  client.peer = peer;
  backlog_.push_back(number);
  return number;
}

void SimTransport::client_send(uint32_t number, std::string_view bytes) {
  Client& client = clients_[number];
  const bool can_send = client.state == ClientState::WAITING || client.state == ClientState::OPEN;
  if (!can_send || client.fin_to_server) return;
  // Bytes for a socket that the server has closed are answered by a reset.
  if (client.state == ClientState::OPEN && client.conn == UINT32_MAX) {
    client.state = ClientState::RESET;
    return;
  }
  client.to_server.append(bytes);
}

std::string SimTransport::client_take(uint32_t number, size_t bytes_max) {
  Client& client = clients_[number];
  std::string taken = client.to_client.substr(0, bytes_max);
  client.to_client.erase(0, taken.size());
  return taken;
}

void SimTransport::client_half_close(uint32_t number) { clients_[number].fin_to_server = true; }

void SimTransport::client_reset(uint32_t number) { break_connection(clients_[number], ECONNRESET); }

void SimTransport::break_connection(Client& client, int error) {
  client.state = ClientState::RESET;
  client.to_server.clear();
  client.to_client.clear();
  if (client.conn == UINT32_MAX) return;
  Conn& conn = conns_[client.conn];
  if (conn.failed) return;
  conn.failed = true;
  conn.error = error;
}

SimTransport::ClientState SimTransport::client_state(uint32_t number) const {
  const Client& client = clients_[number];
  const bool finished = client.state == ClientState::OPEN && client.fin_to_client && client.to_client.empty();
  return finished ? ClientState::FINISHED : client.state;
}

size_t SimTransport::client_unread(uint32_t number) const { return clients_[number].to_server.size(); }

Handle SimTransport::client_server_handle(uint32_t number) const {
  const uint32_t conn = clients_[number].conn;
  return conn == UINT32_MAX ? Handle{} : handle_of(conn);
}

bool SimTransport::has_work() const {
  if (!woken_.empty()) return true;
  if (!backlog_.empty() && !accept_paused_ && connection_count() < options_.connections_max) return true;
  return std::ranges::any_of(conns_, [this](const Conn& conn) {
    if (conn.gone) return false;
    if (!conn.live) return true;
    if (conn.failed) return conn.fail_told_turn == 0;
    const Client& client = clients_[conn.client];
    const bool can_receive = conn.receiving && !conn.eof_told && (!client.to_server.empty() || client.fin_to_server);
    const bool can_send =
        conn.sending && (conn.next_part == conn.parts.size() || client.to_client.size() < faults_.socket_bytes_max);
    return can_receive || can_send;
  });
}

void SimTransport::at_end() {
  if (buffers_lent_ != 0) violate(std::to_string(buffers_lent_) + " receive buffers were never released", {});
  for (size_t i = 0; i < conns_.size(); ++i) {
    const Conn& conn = conns_[i];
    if (conn.gone) continue;
    if (conn.sending) check_parts(conn, handle_of(i));
    violate(conn.live ? "a connection was never closed" : "a CLOSED event was never taken", handle_of(i));
  }
}

}  // namespace penstock
