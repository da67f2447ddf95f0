// ProxyTransport: the PROXY protocol over another Transport. A connection from an address that set_proxies() names
// begins with a header (proxy_header.h) and appears above when that has come, with the address of the client that it
// tells; all others pass through as they are, whatever they begin with. Below TLS and HTTP/2.
//
// A header that is malformed, cut off, or late ends its connection, with one NOTED. A connection that is closed
// without a byte is somebody who looks whether we are there, and is not told.
//
// Until an address is named it costs one branch a turn.
#pragma once

#include "src/transport/transport_layer.h"

#include <deque>
#include <span>
#include <string>
#include <vector>

namespace penstock {

class ProxyTransport final : public TransportLayer {
 public:
  // The Reasons of NOTED.
  struct Reasons {
    int32_t invalid = 0;
    int32_t late = 0;
  };
  ProxyTransport(Transport& below, Reasons reasons) : TransportLayer(below), reasons_(reasons) {}

  [[nodiscard]] size_t poll(MonoTime now, MonoTime deadline, std::span<TransportEvent> out) override;
  void set_proxies(std::span<const PeerRange> proxies, Duration patience) override;
  void set_layers(uint32_t id, const ListenerLayers& layers) override { below_.set_layers(id, layers); }
  [[nodiscard]] bool is_open(Handle conn) const override { return below_.is_open(conn); }
  [[nodiscard]] uint32_t connection_count() const override { return below_.connection_count(); }
  void set_context(Handle conn, void* context) override;
  void release(uint32_t buffer) override { below_.release(buffer); }
  void send(Handle conn, std::span<const SendPart> parts, bool last) override { below_.send(conn, parts, last); }
  [[nodiscard]] uint64_t bytes_sent(Handle conn) const override { return below_.bytes_sent(conn); }
  void set_receiving(Handle conn, bool on) override { below_.set_receiving(conn, on); }
  void shutdown_send(Handle conn) override { below_.shutdown_send(conn); }
  bool close(Handle conn) override { return below_.close(conn); }
  bool reset(Handle conn) override { return below_.reset(conn); }
  [[nodiscard]] PeerAddress local_address(Handle conn) const override;
  [[nodiscard]] LayerFacts layer(Handle conn) const override { return below_.layer(conn); }
  void drain(Handle conn) override { below_.drain(conn); }
  [[nodiscard]] int take_key(Handle conn, std::span<const char> key) override { return below_.take_key(conn, key); }
  void send_record(Handle conn, uint8_t type, std::span<const char> bytes) override {
    below_.send_record(conn, type, bytes);
  }
  [[nodiscard]] const TransportCounters& counters() const override { return below_.counters(); }

 private:
  struct Conn {  // one that begins with a header
    Handle handle;
    bool waiting = false;  // for all of it
    uint32_t listener = 0;
    uint64_t shown = 0;  // turn in which it appeared above
    MonoTime until;
    std::string kept;  // of the header so far
    PeerAddress peer;
    PeerAddress server;
    bool says_server = false;
    void* context = nullptr;
  };

  [[nodiscard]] Conn* find(Handle conn);
  [[nodiscard]] bool translate(TransportEvent& event);
  [[nodiscard]] bool accept(const TransportEvent& event);
  [[nodiscard]] bool read(Conn& conn, TransportEvent& event);
  void end(Conn& conn, int32_t reason);
  void hand_out_later(std::span<TransportEvent> out, size_t& count);
  void expire(MonoTime now);

  const Reasons reasons_;
  std::vector<PeerRange> proxies_;
  Duration patience_;
  MonoTime now_;
  uint64_t turn_ = 0;
  std::vector<Conn> conns_;            // by index of the handle
  std::deque<Handle> waiting_;         // in the order in which they were accepted; some have gone since
  std::vector<TransportEvent> later_;  // of connections that appeared in this turn: ACCEPTED is to be alone in it
  std::vector<TransportEvent> notes_;
};

}  // namespace penstock
