// Invariant: a connection with events in later_ has none below that were handed out since; so the order is kept.
#include "src/transport/proxy_transport.h"

#include "src/base/assert.h"
#include "src/transport/proxy_header.h"

#include <algorithm>
#include <array>
#include <sys/socket.h>

namespace penstock {

bool PeerRange::contains(const PeerAddress& peer) const {
  if (unix_peers || peer.family == AF_UNIX) return unix_peers && peer.family == AF_UNIX;
  std::array<uint8_t, 16> full = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (peer.family == AF_INET) {
    std::copy_n(peer.ip, 4, full.begin() + 12);
  } else if (peer.family == AF_INET6) {
    std::copy_n(peer.ip, 16, full.begin());
  } else {
    return false;
  }
  const size_t whole = bits / 8;
  if (!std::equal(ip.begin(), ip.begin() + whole, full.begin())) return false;
  const auto mask = static_cast<uint8_t>(0xff00 >> bits % 8);
  return bits % 8 == 0 || ((ip[whole] ^ full[whole]) & mask) == 0;
}

void ProxyTransport::set_proxies(std::span<const PeerRange> proxies, Duration patience) {
  proxies_.assign(proxies.begin(), proxies.end());
  patience_ = patience;
}

ProxyTransport::Conn* ProxyTransport::find(Handle conn) {
  if (conn.index >= conns_.size() || conns_[conn.index].handle != conn) return nullptr;
  return &conns_[conn.index];
}

void ProxyTransport::set_context(Handle conn, void* context) {
  if (Conn* const found = find(conn)) found->context = context;
  below_.set_context(conn, context);
}

PeerAddress ProxyTransport::local_address(Handle conn) const {
  const bool told = conn.index < conns_.size() && conns_[conn.index].handle == conn && conns_[conn.index].says_server;
  return told ? conns_[conn.index].server : below_.local_address(conn);
}

size_t ProxyTransport::poll(MonoTime now, MonoTime deadline, std::span<TransportEvent> out) {
  if (proxies_.empty() && waiting_.empty() && later_.empty() && notes_.empty()) [[likely]] {
    return below_.poll(now, deadline, out);
  }
  now_ = now;
  ++turn_;
  size_t count = 0;
  hand_out_later(out, count);
  expire(now);
  if (count < out.size() && later_.empty()) {
    if (count > 0 || !notes_.empty()) deadline = now;
    if (!waiting_.empty()) deadline = std::min(deadline, conns_[waiting_.front().index].until);
    const size_t came = below_.poll(now, deadline, out.subspan(count));
    for (size_t i = 0, at = count; i < came; ++i) {
      TransportEvent event = out[at + i];
      if (translate(event)) out[count++] = event;
    }
  }
  const size_t notes = std::min(notes_.size(), out.size() - count);
  std::copy_n(notes_.begin(), notes, out.begin() + static_cast<ptrdiff_t>(count));
  notes_.erase(notes_.begin(), notes_.begin() + static_cast<ptrdiff_t>(notes));
  return count + notes;
}

// What is of a connection that has been closed meanwhile ends here.
void ProxyTransport::hand_out_later(std::span<TransportEvent> out, size_t& count) {
  size_t taken = 0;
  for (; taken < later_.size() && count < out.size(); ++taken) {
    TransportEvent& event = later_[taken];
    const Conn* const conn = find(event.conn);
    if (conn != nullptr && below_.is_open(event.conn)) {
      event.context = conn->context;
      out[count++] = event;
    } else if (event.kind == TransportEventKind::RECEIVED) {
      below_.release(event.buffer);
    }
  }
  later_.erase(later_.begin(), later_.begin() + static_cast<ptrdiff_t>(taken));
}

// Whether it is one for above, as it is then.
bool ProxyTransport::translate(TransportEvent& event) {
  if (event.kind == TransportEventKind::ACCEPTED) return accept(event);
  if (event.kind == TransportEventKind::WOKEN || event.kind == TransportEventKind::NOTED) return true;
  Conn* const conn = find(event.conn);
  if (conn == nullptr) return true;
  if (conn->waiting) {
    if (event.kind == TransportEventKind::RECEIVED) return read(*conn, event);
    end(*conn, conn->kept.empty() ? 0 : reasons_.invalid);  // it has gone
    return false;
  }
  if (conn->shown != turn_) return true;
  later_.push_back(event);
  return false;
}

bool ProxyTransport::accept(const TransportEvent& event) {
  const bool is_proxy =
      std::ranges::any_of(proxies_, [&event](const PeerRange& range) { return range.contains(event.peer); });
  if (conns_.size() <= event.conn.index) conns_.resize(event.conn.index + 1);
  Conn& conn = conns_[event.conn.index];
  conn = Conn{};
  if (!is_proxy) return true;
  conn.handle = event.conn;
  conn.waiting = true;
  conn.listener = event.id;
  conn.peer = event.peer;
  conn.until = now_ + patience_;
  waiting_.push_back(event.conn);
  return false;
}

bool ProxyTransport::read(Conn& conn, TransportEvent& event) {
  const size_t before = conn.kept.size();
  const std::string_view bytes(event.data, event.size);
  if (before > 0) conn.kept += bytes;
  ProxyHeader header;
  const ProxyState state = parse_proxy_header(before > 0 ? std::string_view(conn.kept) : bytes, header);
  if (state == ProxyState::DONE) {
    const size_t used = header.bytes - before;
    if (used < event.size) {
      event.data += used;
      event.size -= static_cast<uint32_t>(used);
      later_.push_back(event);
    } else {
      below_.release(event.buffer);
    }
    conn.waiting = false;
    conn.shown = turn_;
    std::string().swap(conn.kept);
    conn.server = header.server;
    conn.says_server = header.says;
    event = {.conn = conn.handle,
             .id = conn.listener,
             .kind = TransportEventKind::ACCEPTED,
             .peer = header.says ? header.client : conn.peer};
    return true;
  }
  if (state == ProxyState::NEED_MORE && before == 0) conn.kept = bytes;
  below_.release(event.buffer);
  if (state == ProxyState::BAD) end(conn, reasons_.invalid);
  return false;
}

// One of those that wait.
void ProxyTransport::end(Conn& conn, int32_t reason) {
  if (reason != 0) {
    notes_.push_back({.error = reason, .id = conn.listener, .kind = TransportEventKind::NOTED, .peer = conn.peer});
  }
  const bool lent = below_.reset(conn.handle);
  ASSERT(!lent);  // nothing was sent
  conn = Conn{};
}

void ProxyTransport::expire(MonoTime now) {
  while (!waiting_.empty()) {
    Conn* const conn = find(waiting_.front());
    if (conn != nullptr && conn->waiting) {
      if (conn->until > now) return;
      end(*conn, reasons_.late);
    }
    waiting_.pop_front();
  }
}

}  // namespace penstock
