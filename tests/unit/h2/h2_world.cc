#include "tests/unit/h2/h2_world.h"

#include <algorithm>
#include <cstring>
#include <sys/socket.h>

namespace penstock {
namespace {

constexpr PeerAddress PEER{.family = AF_INET, .port = 40'000, .ip = {127, 0, 0, 1}};

std::vector<nghttp2_nv> name_values(const Fields& fields) {
  std::vector<nghttp2_nv> nvs;
  for (const auto& [name, value] : fields) {
    nvs.push_back({reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
                   reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
                   NGHTTP2_NV_FLAG_NONE});
  }
  return nvs;
}

}  // namespace

struct H2ClientCalls {
  static H2World& world(void* data) { return *static_cast<H2World*>(data); }

  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name, size_t name_size,
                       const uint8_t* value, size_t value_size, uint8_t, void* data) {
    H2World::Reply& reply = world(data).replies_[frame->hd.stream_id];
    const std::string n(reinterpret_cast<const char*>(name), name_size);
    const std::string v(reinterpret_cast<const char*>(value), value_size);
    if (frame->headers.cat == NGHTTP2_HCAT_HEADERS && reply.interim.empty()) {
      reply.trailers.emplace_back(n, v);
    } else if (n == ":status" && v[0] == '1') {
      reply.interim += v + " ";
    } else {
      reply.head.emplace_back(n, v);
    }
    return 0;
  }
  static int on_data(nghttp2_session*, uint8_t, int32_t id, const uint8_t* bytes, size_t size, void* data) {
    world(data).replies_[id].body.append(reinterpret_cast<const char*>(bytes), size);
    return 0;
  }
  static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* data) {
    H2World& w = world(data);
    if (frame->hd.type == NGHTTP2_GOAWAY) w.goaway_ = frame->goaway.error_code;
    if (frame->hd.type == NGHTTP2_DATA) {
      ++w.replies_[frame->hd.stream_id].frames;
      w.data_order_.push_back(frame->hd.stream_id);
    }
    const bool has_end = frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS;
    if (has_end && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
      w.replies_[frame->hd.stream_id].ended = true;
      w.ended_order_.push_back(frame->hd.stream_id);
    }
    return 0;
  }
  static int on_close(nghttp2_session*, int32_t id, uint32_t code, void* data) {
    world(data).replies_[id].closed = true;
    world(data).replies_[id].code = code;
    return 0;
  }
  static ssize_t read(nghttp2_session* session, int32_t id, uint8_t* room, size_t size, uint32_t* flags,
                      nghttp2_data_source*, void* data) {
    H2World& w = world(data);
    auto& [text, at] = w.bodies_[id];
    const size_t bytes = std::min(size, text.size() - at);
    std::memcpy(room, text.data() + at, bytes);
    at += bytes;
    if (at < text.size()) return static_cast<ssize_t>(bytes);
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (!w.trailers_[id].empty()) {
      *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
      const auto nvs = name_values(w.trailers_[id]);
      (void)nghttp2_submit_trailer(session, id, nvs.data(), nvs.size());
    }
    return static_cast<ssize_t>(bytes);
  }
};

H2World::H2World(const Http2Options& options, const SimFaults& faults, uint64_t seed, nghttp2_mem* memory)
    : sim_({.connections_max = CONNECTIONS_MAX, .receive_buffers = 8, .receive_buffer_bytes = 4096}, seed, faults),
      h2_(sim_, CONNECTIONS_MAX, STREAMS_MAX, memory) {
  h2_.set_http2(options);
  (void)h2_.add_listener(-1, 1);
  socket_ = sim_.client_connect(1, PEER);
  nghttp2_session_callbacks* calls = nullptr;
  nghttp2_option* option = nullptr;
  (void)nghttp2_session_callbacks_new(&calls);
  (void)nghttp2_option_new(&option);
  nghttp2_option_set_no_http_messaging(option, 1);
  nghttp2_option_set_max_send_header_block_length(option, 1'000'000);
  nghttp2_session_callbacks_set_on_header_callback(calls, H2ClientCalls::on_header);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(calls, H2ClientCalls::on_data);
  nghttp2_session_callbacks_set_on_frame_recv_callback(calls, H2ClientCalls::on_frame);
  nghttp2_session_callbacks_set_on_stream_close_callback(calls, H2ClientCalls::on_close);
  (void)nghttp2_session_client_new2(&client_, calls, this, option);
  nghttp2_session_callbacks_del(calls);
  nghttp2_option_del(option);
  (void)nghttp2_submit_settings(client_, NGHTTP2_FLAG_NONE, nullptr, 0);
}

H2World::~H2World() { nghttp2_session_del(client_); }

std::string H2World::Reply::field(const std::string& name) const {
  for (const auto& [n, v] : head) {
    if (n == name) return v;
  }
  return "(none)";
}

int32_t H2World::request(const Fields& fields, const std::string* body, const Fields& trailers) {
  const auto nvs = name_values(fields);
  const nghttp2_data_provider provider{.source = {.fd = 0}, .read_callback = H2ClientCalls::read};
  const int32_t id =
      nghttp2_submit_request(client_, nullptr, nvs.data(), nvs.size(), body != nullptr ? &provider : nullptr, nullptr);
  if (body != nullptr) bodies_[id] = {*body, 0};
  trailers_[id] = trailers;
  return id;
}

std::string H2World::frame(uint8_t type, uint8_t flags, int32_t stream, std::string_view payload) const {
  std::string text(9, '\0');
  text[0] = static_cast<char>(payload.size() >> 16);
  text[1] = static_cast<char>(payload.size() >> 8);
  text[2] = static_cast<char>(payload.size());
  text[3] = static_cast<char>(type);
  text[4] = static_cast<char>(flags);
  for (int i = 0; i < 4; ++i) text[5 + static_cast<size_t>(i)] = static_cast<char>(stream >> (24 - 8 * i));
  return text.append(payload);
}

H2World::Conn* H2World::find(Handle handle) {
  if (carrier_.handle == handle) return &carrier_;
  const auto found = std::ranges::find(streams_, handle, &Conn::handle);
  return found == streams_.end() ? nullptr : &*found;
}

void H2World::take(const TransportEvent& event) {
  if (event.kind == TransportEventKind::NOTED) return noted_.push_back(static_cast<Reason>(event.error));
  if (event.kind == TransportEventKind::ACCEPTED) {
    const bool is_stream = h2_.layer(event.conn).stream;
    if (is_stream) {
      streams_.push_back({.handle = event.conn, .stream = true});
    } else {
      carrier_.handle = event.conn;
    }
    h2_.set_context(event.conn, this);
    return;
  }
  if (event.kind == TransportEventKind::CLOSED) {
    --closed_owed_;
    return;
  }
  Conn* conn = h2_.is_open(event.conn) ? find(event.conn) : nullptr;
  if (event.kind == TransportEventKind::RECEIVED) {
    if (conn != nullptr) conn->received.append(event.data, event.size);
    if (conn != nullptr && keep_buffers) {
      conn->kept.push_back(event.buffer);
    } else {
      h2_.release(event.buffer);
    }
    return;
  }
  if (conn == nullptr) return;
  if (event.kind == TransportEventKind::PEER_CLOSED) conn->peer_closed = true;
  if (event.kind == TransportEventKind::FAILED) conn->failed = true;
  if (event.kind != TransportEventKind::SENT) return;
  ++conn->sent;
  const auto n = static_cast<size_t>(conn - streams_.data());
  if (conn != &carrier_ && std::erase(close_when_sent_, n) > 0) close(*conn);
}

void H2World::answer(size_t n, const std::string& text, bool close) {
  texts_.push_back(std::make_unique<std::string>(text));
  if (close) close_when_sent_.push_back(n);
  h2_.send_bytes(stream(n).handle, texts_.back()->data(), texts_.back()->size());
}

void H2World::close(Conn& conn, bool reset) {
  for (const uint32_t buffer : conn.kept) h2_.release(buffer);
  conn.kept.clear();
  if (!h2_.is_open(conn.handle)) return;
  if (reset ? h2_.reset(conn.handle) : h2_.close(conn.handle)) ++closed_owed_;
}

void H2World::refuse(Conn& conn) {
  if (h2_.reset_refused(conn.handle)) ++closed_owed_;
}

void H2World::pump_client() {
  const uint8_t* data = nullptr;
  for (ssize_t size = 0; (size = nghttp2_session_mem_send(client_, &data)) > 0;) {
    to_server_.append(reinterpret_cast<const char*>(data), static_cast<size_t>(size));
  }
}

void H2World::flush_client() {
  pump_client();
  sim_.client_send(socket_, to_server_);
  to_server_.clear();
}

void H2World::turn(int count) {
  for (int i = 0; i < count; ++i) {
    pump_client();
    const size_t now = std::min(piece, to_server_.size());
    sim_.client_send(socket_, std::string_view(to_server_).substr(0, now));
    to_server_.erase(0, now);
    std::array<TransportEvent, 64> events;
    const size_t came = h2_.poll(now_, now_, events);
    for (size_t e = 0; e < came; ++e) take(events[e]);
    if (!client_reads) continue;
    const std::string text = sim_.client_take(socket_);
    (void)nghttp2_session_mem_recv(client_, reinterpret_cast<const uint8_t*>(text.data()), text.size());
    if (!to_server_.empty()) --i;
  }
}

std::vector<std::string> H2World::faults_at_end() {
  for (Conn& conn : streams_) close(conn);
  close(carrier_);
  client_reads = true;
  sim_.stop_faults();
  for (int i = 0; i < 8; ++i) {
    turn(8);
    advance(seconds(1));
  }
  std::vector<std::string> faults = sim_.violations();
  if (h2_.connection_count() != 0) faults.push_back("connections left: " + std::to_string(h2_.connection_count()));
  if (sim_.buffers_lent() != 0) faults.emplace_back("buffers left");
  if (closed_owed_ != 0) faults.emplace_back("CLOSED is owed");
  return faults;
}

}  // namespace penstock
