// H2Transport: a Transport over a Transport that shows each HTTP/2 stream as a connection with one HTTP/1.1 request.
//
// Connections that do not speak HTTP/2 pass through at the cost of one branch. One that does (the layer below says
// "h2", or it begins with the preface where Http2Options::cleartext allows that) stays a connection above, the
// *carrier*: it is accepted, may be closed, drained, and fails or is closed by the peer; but nothing is received on it.
// Its streams are connections of their own, born in ACCEPTED like any other, with layer().stream and the carrier's
// handle in layer().carrier. On a stream
//  - RECEIVED brings one canonical request, checked (H2RequestHead); its body framed by Content-Length or chunked;
//  - send() takes the HTTP/1.1 answer; its head becomes HEADERS, its body DATA that refers to the sender's memory;
//  - trailers of a request are checked, and go on as those of its chunks, which the parser above treats as over
//    HTTP/1.1: it checks and drops them (RFC 9110 section 6.5.1), as CGI, FastCGI, WSGI and the ring have no place for
//    them;
//  - trailers behind the chunks of an answer become HEADERS behind its DATA;
//  - the end of the request is the end of its message, never PEER_CLOSED, which means that the peer is leaving;
//  - close() behind a whole answer is END_STREAM, else RST_STREAM; FAILED is the peer's RST_STREAM, or the carrier's
//  end;
//  - set_receiving(false) leaves the stream's window shut, and so does a buffer that is not released.
// close() of a carrier says GOAWAY and ends its streams (they fail); drain() says it and lets them finish: once to ask
// for no more, again to refuse more. Then the carrier fails when its last stream is over.
//
// Before HTTP/2 can be spoken (no listener with TLS yet, cleartext off) polls go straight below; from then on a
// connection is looked at as it is accepted, so a live switch holds for connections that come after it.
//
// What is refused is told by NOTED. Owned by a reactor, its thread only. `below` outlives it.
#pragma once

#include "src/http/h2/session.h"
#include "src/transport/transport_layer.h"

#include <array>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace penstock {

class H2Transport final : public TransportLayer {
 public:
  // `connections_max`: of `below`, whose handles have smaller indices. `streams_max`: of all carriers; one more is
  // refused. `memory`: of nghttp2, nullptr is malloc()'s; it outlives this.
  H2Transport(Transport& below, uint32_t connections_max, uint32_t streams_max, nghttp2_mem* memory = nullptr);
  ~H2Transport() override;

  [[nodiscard]] size_t poll(MonoTime now, MonoTime deadline, std::span<TransportEvent> out) override;
  void set_layers(uint32_t id, const ListenerLayers& layers) override {
    wanted_ |= layers.tls;
    below_.set_layers(id, layers);
  }
  void set_http2(const Http2Options& options) override {
    wanted_ |= options.cleartext;
    shared_->options = options;
  }
  [[nodiscard]] bool is_open(Handle conn) const override;
  [[nodiscard]] uint32_t connection_count() const override {
    return below_.connection_count() + shared_->streams.count();
  }
  void set_context(Handle conn, void* context) override;
  void release(uint32_t buffer) override;
  void send(Handle conn, std::span<const SendPart> parts, bool last) override;
  void no_hurry(Handle conn) override;
  [[nodiscard]] uint64_t bytes_sent(Handle conn) const override;
  [[nodiscard]] uint64_t bytes_held(Handle conn) override;
  void set_receiving(Handle conn, bool on) override;
  void shutdown_send(Handle conn) override;
  bool close(Handle conn) override { return end(conn, StreamEnd::CLOSE); }
  bool reset(Handle conn) override { return end(conn, StreamEnd::RESET); }
  bool reset_refused(Handle conn) override { return end(conn, StreamEnd::REFUSE); }
  [[nodiscard]] PeerAddress local_address(Handle conn) const override;
  [[nodiscard]] LayerFacts layer(Handle conn) const override;
  void drain(Handle conn) override;
  [[nodiscard]] const TransportCounters& counters() const override { return below_.counters(); }

 private:
  // What was received below, lent until it is used up.
  struct Input {
    std::string_view bytes;
    uint32_t buffer;
  };
  // A connection below that speaks HTTP/2.
  struct Carrier {
    Handle handle;
    LayerFacts facts;  // of the connection below; the client's certificate apart, which is judged anew each time
    std::unique_ptr<H2Session> session;
    H2Batch* batch = nullptr;  // with `below`
    void* context = nullptr;
    std::vector<Input> inputs;  // that the session could not use up yet
    bool upper_open = true;
    bool below_open = true;
    bool below_failed = false;
    bool reading = true;
    bool dirty = false;   // in dirty_
    bool listed = false;  // in telling_
    bool failed = false;  // FAILED is to be told above
    bool failed_told = false;
    bool peer_closed = false;  // its FIN has come
    bool peer_left = false;    // … and all that was before it is used up
    bool peer_closed_told = false;
    bool sent = false;       // SENT is to be told above: of a refusal that we put into our own words
    bool lingering = false;  // all is said; waits for the peer to leave
    bool ending = false;     // in ending_
    bool waiting = false;    // in waiting_
    MonoTime due;            // of `ending`
  };
  enum class Mode : uint8_t { PASS, SNIFF, CARRIER };
  struct Link {
    Mode mode = Mode::PASS;
    uint8_t held = 0;  // bytes of the preface that have come
    uint32_t listener = 0;
    PeerAddress peer;
    Carrier* carrier = nullptr;
  };

  [[nodiscard]] bool is_stream(Handle conn) const { return conn.index >= stream_base_; }
  [[nodiscard]] H2Stream& stream(Handle conn) const;
  [[nodiscard]] Handle handle_of(const H2Stream& stream) const;
  [[nodiscard]] Carrier* carrier_of(Handle conn) const;
  Link& link_of(Handle conn);

  // From below.
  [[nodiscard]] size_t take(const TransportEvent& event, std::span<TransportEvent> out);
  [[nodiscard]] bool accepted(const TransportEvent& event);
  [[nodiscard]] size_t sniff(Link& link, const TransportEvent& event, std::span<TransportEvent> out);
  [[nodiscard]] size_t fail_first(Link& link, const TransportEvent& event, std::span<TransportEvent> out);
  [[nodiscard]] bool make_carrier(Link& link, Handle handle);
  void carrier_event(Carrier& carrier, const TransportEvent& event);
  void receive(Carrier& carrier, Input input);
  [[nodiscard]] bool use(Carrier& carrier, Input& input);
  void receive_waiting();
  void drop_inputs(Carrier& carrier);
  void peer_left(Carrier& carrier);
  void batch_over(Carrier& carrier, bool sent);

  // To below.
  void mark_dirty(Carrier& carrier);
  void send_held();
  [[nodiscard]] MonoTime next_held() const;
  void pump_all();
  void pump(Carrier& carrier);
  void regulate_reading(Carrier& carrier);
  void say_no_more(Carrier& carrier);
  void linger(Carrier& carrier);
  void end_later(Carrier& carrier, MonoTime due);
  void end_below(Carrier& carrier, bool reset);
  void give(Carrier& carrier);
  void take_endings();
  [[nodiscard]] MonoTime next_ending() const;

  // To above.
  void tell(Carrier& carrier);
  [[nodiscard]] bool has_news() const;
  [[nodiscard]] size_t emit(std::span<TransportEvent> out);
  [[nodiscard]] size_t emit_carriers(std::span<TransportEvent> out);
  [[nodiscard]] bool step(H2Stream& stream, std::span<TransportEvent> out, size_t& count);
  bool end(Handle conn, StreamEnd how);
  [[nodiscard]] bool end_carrier(Carrier& carrier, bool reset);

  const uint32_t stream_base_;
  std::unique_ptr<H2Shared> shared_;
  FixedPool<Carrier> carriers_;
  std::vector<Link> links_;        // by index of `below`
  std::vector<Carrier*> dirty_;    // may have frames to send
  std::vector<Carrier*> telling_;  // have something to tell above
  std::vector<Carrier*> ending_;
  std::vector<Carrier*> waiting_;  // have inputs for this turn
  bool wanted_ = false;            // HTTP/2 could be spoken at some time
  uint64_t turn_ = 0;
  bool emitted_alone_ = false;  // the last poll() told of streams only and did not ask below
  std::array<TransportEvent, 128> from_below_;
};

}  // namespace penstock
