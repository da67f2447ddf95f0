// Transport: the upper seam between connections and whatever moves their bytes (DESIGN.md section 5).
//
// A reactor owns one Transport. The turn is: poll() brings a batch of events, the reactor reacts by
// calling send(), close() …, the next poll() submits all of it at once and waits. Lower floors never
// call back up. Real: transport/uring, transport/epoll; fake: tests/support/sim_transport.
//
// Thread: may be opened by any thread; the thread that calls poll() first owns it from then on and
// is the only one that may touch it (io_uring's single issuer). Only a wake source crosses threads.
// It never parses, never allocates after start on the hot path, and knows no HTTP, no TLS, no limits
// but its own table sizes.
//
// Life of a connection. A Handle is born in an ACCEPTED event, the only one of its connection in that
// batch (so that set_context() is in time for all others), and dies in close() or reset(); using a
// dead handle is a bug (asserted). Between the two:
//  - every RECEIVED event lends one buffer, which release() gives back, in any order, in any later
//    turn, also after the connection died;
//  - at most one send() is outstanding; it ends in exactly one of SENT, FAILED or CLOSED, and until
//    that event is delivered its memory parts must not change and its descriptors must stay open;
//  - PEER_CLOSED is delivered at most once (the peer sent FIN; we may go on sending); no RECEIVED follows;
//  - FAILED is delivered at most once, and after it only close()/reset() may be called on the handle:
//    the connection is dead, nothing is outstanding, its memory parts are free. It is still the
//    caller's until close().
//  - close()/reset() end it at once for the caller: no event bears the handle any more, except that,
//    when they return true, a send was outstanding whose parts the kernel still holds: one CLOSED
//    event with the handle's context follows as soon as it has let go of them, and is the last. When
//    they return false the parts are free now. Nothing may be called on the handle meanwhile.
//
// A batch is handed out whole, so calls and events cross: after close() later events of the same batch
// may still name the handle; the caller recognises them (is_open() is false) and must release() their
// buffers, and only that. A send() made before the FAILED event of the same batch was looked at does
// nothing; that FAILED ends it.
//
// A layer (TLS, HTTP/2) is a Transport on top of another one. What differs above it is what layer() says of a
// connection; it may also report NOTED events, and turns set_layers() and drain() into acts of its protocol. A
// transport that moves plain bytes knows nothing of all this: the defaults are for it.
#pragma once

#include "src/base/assert.h"
#include "src/base/handle.h"
#include "src/base/result.h"
#include "src/base/time.h"
#include "src/transport/http2_options.h"

#include <array>
#include <cerrno>
#include <cstdint>
#include <span>
#include <string_view>

namespace penstock {

// The address of the other (or our own) end. Address bytes and port in network meaning, port in
// host order. IPv4 uses ip[0..3]; an IPv4-mapped IPv6 peer is reported as AF_INET. AF_UNIX has neither.
struct PeerAddress {
  uint8_t family = 0;  // AF_INET, AF_INET6, AF_UNIX; 0: unknown
  uint16_t port = 0;
  uint8_t ip[16] = {};
  bool operator==(const PeerAddress&) const = default;
};

// Peers of one kind: a range of addresses, or all on unix sockets.
struct PeerRange {
  bool unix_peers = false;
  uint8_t bits = 0;                 // of `ip` that count, of 128
  std::array<uint8_t, 16> ip = {};  // IPv4 as ::ffff:a.b.c.d
  [[nodiscard]] bool contains(const PeerAddress& peer) const;
};

enum class TransportEventKind : uint8_t {
  ACCEPTED,     // a new connection `conn` on listener `id`, from `peer`; receiving is on, context is nullptr
  RECEIVED,     // `data`/`size` (never 0) in `buffer`, to be released
  PEER_CLOSED,  // end of what the peer sends
  SENT,         // all bytes of the outstanding send are handed to the kernel; its parts are free
  FAILED,       // reset, broken pipe, time out: see above; `error` is the errno
  CLOSED,       // the parts of a connection that was closed while sending are free
  WOKEN,        // wake source `id` became readable
  NOTED,        // a layer refused something of `peer` on listener `id`: `error` is the Reason (src/http/status.h) that
                // the journal is told, once; no handle, nothing to be done
};

// One line of cache. Fields not named by the kind are zero.
struct TransportEvent {
  Handle conn;
  void* context = nullptr;  // of set_context(), as it stands when the event is handed out
  const char* data = nullptr;
  uint32_t size = 0;
  uint32_t buffer = 0;
  int32_t error = 0;
  uint32_t id = 0;
  TransportEventKind kind = TransportEventKind::WOKEN;
  PeerAddress peer;
};
static_assert(sizeof(TransportEvent) <= 64);

// A piece of what is to be sent: memory when fd < 0, else `size` bytes of the file `fd` from `offset`.
struct SendPart {
  const void* data = nullptr;
  uint64_t size = 0;  // > 0
  int fd = -1;
  // The file may have to be read from a disk: the transport must then keep the reactor from waiting
  // for it. False promises that the pages are resident (a memfd, a file just read).
  bool cold = false;
  // Of memory: sums of its consecutive strides, the last one maybe shorter, for a transport that makes checksums in
  // software (net/net_event.h); valid as long as the memory. Others ignore them.
  uint16_t sum_stride = 0;
  uint64_t offset = 0;
  const uint16_t* sums = nullptr;

  // `count` bytes of it from `from` on. The sums go with it where they are those of its own strides.
  [[nodiscard]] SendPart slice(uint64_t from, uint64_t count) const {
    SendPart out = *this;
    out.size = count;
    if (fd >= 0) {
      out.offset += from;
      return out;
    }
    out.data = static_cast<const char*>(data) + from;
    const bool whole = sums != nullptr && from % sum_stride == 0 && (from + count == size || count % sum_stride == 0);
    out.sums = whole ? sums + from / sum_stride : nullptr;
    out.sum_stride = whole ? sum_stride : uint16_t{0};
    return out;
  }

  static SendPart memory(const void* data, uint64_t size) { return {.data = data, .size = size}; }
  static SendPart file(int fd, uint64_t offset, uint64_t size, bool cold = false) {
    return {.size = size, .fd = fd, .cold = cold, .offset = offset};
  }
};

// What a connection is beyond its bytes. Views are valid as long as the connection is.
struct LayerFacts {
  bool secure = false;  // encrypted, and we have proved who we are
  bool stream = false;  // one stream of an HTTP/2 connection
  Handle carrier;       // of a stream: the connection that carries it; invalid once that is over
  uint8_t http_major = 1;
  std::string_view server_name;         // that the client asked for in its handshake (SNI), in lower case; may be empty
  std::string_view protocol;            // agreed on in the handshake (ALPN): "h2"; may be empty
  uint64_t client_rules = 0;            // for the client's certificate, that of the site of server_name; 0: none
  std::string_view client_subject;      // of the client's certificate (RFC 2253)
  std::string_view client_fingerprint;  // of that certificate: SHA-256 in hexadecimal; empty: it showed none
  int32_t client_refused = 0;           // the Reason for which that certificate is not good enough; 0: none
};

// What the connections of a listener speak.
struct ListenerLayers {
  bool tls = false;
  bool operator==(const ListenerLayers&) const = default;
};

// Named counters, all since start, written by the owning thread only. The list is counters.def.
struct TransportCounters {
#define COUNTER(name, help) uint64_t name = 0;
#include "src/transport/counters.def"
#undef COUNTER
};

struct TransportOptions {
  uint32_t connections_max = 16'384;  // slots; at the limit accepting pauses until one is free; held to RLIMIT_NOFILE
  uint32_t receive_buffers = 1'024;   // power of two, at most 32768
  uint32_t receive_buffer_bytes = 4'096;  // of each
  uint32_t file_turn_bytes = 2'097'152;   // of file parts sent on one connection before others get their turn
};

class Transport {
 public:
  static constexpr size_t SEND_PARTS_MAX = 32;

  virtual ~Transport() = default;

  // "uring", "epoll", "sim".
  [[nodiscard]] virtual const char* name() const = 0;

  // Submits everything queued since the last call, waits until there is an event or `deadline` has
  // passed, and writes up to out.size() events; returns how many. Never waits while events are left
  // over from before. `now` is the caller's reading of the clock for this turn; a deadline that is
  // not after `now` means "do not wait". May return 0 early (a signal).
  // Order: of one connection, in the order in which they happened; between connections, none.
  [[nodiscard]] virtual size_t poll(MonoTime now, MonoTime deadline, std::span<TransportEvent> out) = 0;

  // Whether poll() has something to hand over or to submit, as far as that is known without asking the kernel: for who
  // looks elsewhere before it sleeps. A transport that cannot say it says false.
  [[nodiscard]] virtual bool sees_work() const { return false; }

  // Any listening stream socket (TCP over IPv4 or IPv6, MPTCP, unix). The caller keeps `fd` open
  // until remove_listener(). REQUIRES: `id` is not in use.
  // Makes it non-blocking and sets TCP_NODELAY on it, which accepted connections inherit.
  [[nodiscard]] virtual Status add_listener(int fd, uint32_t id) = 0;
  // Stops accepting from it. ACCEPTED events already under way may still be delivered with this id,
  // at most until the second poll() from here; `fd` may be closed by the caller at once.
  virtual void remove_listener(uint32_t id) = 0;
  // What is spoken on listener `id`, from its next connection on. Before add_listener(), or later.
  virtual void set_layers(uint32_t id, const ListenerLayers& layers) {
    (void)id;
    (void)layers;
  }
  // What HTTP/2 is held to, on every listener, from now on. A transport that does not speak it ignores it.
  virtual void set_http2(const Http2Options& options) { (void)options; }
  // Whose connections begin with a header of the PROXY protocol, and how long it may take to come; from the next
  // connection on. A transport that does not read it ignores it.
  virtual void set_proxies(std::span<const PeerRange> proxies, Duration patience) {
    (void)proxies;
    (void)patience;
  }
  // Stops (true) or resumes accepting on all listeners, over and above the transport's own limit;
  // connections wait in the kernel's backlog. ACCEPTED events under way may still arrive.
  virtual void pause_accept(bool paused) = 0;
  // From here on memory sends of at least this many bytes go without a copy; 0, as at first: none. A transport that
  // always copies ignores it.
  virtual void set_zerocopy_min(uint32_t bytes) = 0;

  // Whether local_address() is to be exact for connections, from the next one on, that come in on a wildcard; that may
  // cost system calls for each of them. At first it is not.
  virtual void set_exact_local(bool exact) { (void)exact; }

  // poll() returns with WOKEN{id} each time `fd` becomes readable (edge-triggered: every write to an
  // eventfd is an edge, so an eventfd never has to be read; other kinds must be read until empty).
  // The caller keeps it open as long as the transport lives.
  [[nodiscard]] virtual Status add_wake_source(int fd, uint32_t id) = 0;

  // True from ACCEPTED until close()/reset().
  [[nodiscard]] virtual bool is_open(Handle conn) const = 0;
  // Connections that are open or not yet wholly gone (a CLOSED event, a kernel operation is due).
  [[nodiscard]] virtual uint32_t connection_count() const = 0;

  // ACCEPTED may still come, or somebody is yet to hear of an end, though no listener is left: who leaves waits for it,
  // a few seconds at most.
  [[nodiscard]] virtual bool has_unsettled() const { return false; }

  // REQUIRES for all below that take `conn`: is_open(conn).

  // What later events of this connection carry.
  virtual void set_context(Handle conn, void* context) = 0;

  // Gives the buffer of a RECEIVED event back. REQUIRES: each buffer once.
  virtual void release(uint32_t buffer) = 0;

  // Sends all parts in order. `last`: nothing but close() or reset() is called on this connection any more, the
  // first of them as soon as this is SENT at the latest. So the last bytes may wait for the FIN and take it along
  // (MSG_MORE).
  // The array `parts` is copied; what it points at is not.
  // REQUIRES: no send outstanding, no FAILED delivered, no shutdown_send() before,
  // 1 ≤ parts.size() ≤ SEND_PARTS_MAX. The single memory part is the fast path.
  virtual void send(Handle conn, std::span<const SendPart> parts, bool last) = 0;
  // Said right before send(): nothing is to be done when it ends but to let go of the parts, so its SENT may come with
  // the next event, or a few milliseconds late. Saves a wake-up for each answer that is small enough to be sent at
  // once. Of a `last` send: the transport may close the connection by itself, behind the last of its bytes; close() or
  // reset() is due all the same.
  virtual void no_hurry(Handle conn) { (void)conn; }
  void send_bytes(Handle conn, const void* data, uint64_t size) {
    const SendPart part = SendPart::memory(data, size);
    send(conn, {&part, 1}, false);
  }
  // Bytes handed to the kernel on this connection since it was accepted, those of the outstanding
  // send included as far as they are known: for min-send-rate.
  [[nodiscard]] virtual uint64_t bytes_sent(Handle conn) const = 0;
  // How many of them the kernel still holds because the peer has not taken them. A system call; 0 where it is not
  // known.
  [[nodiscard]] virtual uint64_t bytes_held(Handle) { return 0; }

  // Back-pressure: with false no further bytes are read; RECEIVED events in flight may still arrive.
  virtual void set_receiving(Handle conn, bool on) = 0;

  // Sends FIN after all that was sent; receiving goes on. For lingering close.
  // REQUIRES: no send outstanding.
  virtual void shutdown_send(Handle conn) = 0;

  // Ends the connection; what was handed to the kernel is still delivered (close(2)). An outstanding
  // send is cut off where it is. Returns true when a CLOSED event will follow (see above).
  virtual bool close(Handle conn) = 0;
  // The same with RST: peer and kernel drop what was under way.
  virtual bool reset(Handle conn) = 0;
  // reset() of a connection whose last request nobody has worked on: a protocol that can say so tells the peer, who may
  // send it again (RFC 9113 section 8.7).
  virtual bool reset_refused(Handle conn) { return reset(conn); }

  // The address that the client connected to. Where the listener is bound to a wildcard and set_exact_local(true) was
  // not said, that wildcard and the port.
  [[nodiscard]] virtual PeerAddress local_address(Handle conn) const = 0;

  // TLS made below, by a kernel that can (kTLS): what is sent on `conn` from here on goes out in records that are
  // sealed with `key`, a tls_crypto_info of <linux/tls.h> and what belongs to it; what is received stays as it comes.
  // Called again it is the next key. 0: so it is. Else an errno, and nothing has changed: ENOSYS where the transport
  // cannot; EIO where nobody can tell, and only close() and reset() may follow. REQUIRES: no send outstanding; all that
  // was to go before has been SENT.
  [[nodiscard]] virtual int take_key(Handle conn, std::span<const char> key) {
    (void)conn;
    (void)key;
    return ENOSYS;
  }
  // Like send(), of one record that is not application data but of `type` (RFC 8446 section 5.1).
  // REQUIRES: take_key() has taken one. At most 16 KiB.
  virtual void send_record(Handle conn, uint8_t type, std::span<const char> bytes) {
    (void)conn;
    (void)type;
    (void)bytes;
    ASSERT(false);
  }

  // Does not change between ACCEPTED and close(), but for client_refused, which is by the rules in force now.
  [[nodiscard]] virtual LayerFacts layer(Handle conn) const {
    (void)conn;
    return {};
  }

  // The caller takes no new request on this connection: who speaks a protocol that can say so tells the peer.
  virtual void drain(Handle conn) { (void)conn; }

  [[nodiscard]] virtual const TransportCounters& counters() const = 0;
};

}  // namespace penstock
