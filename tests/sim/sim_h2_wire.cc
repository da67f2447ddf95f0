// HTTP/1.1 in and out, HTTP/2 on the wire: what a client's library does, and no more.
#include "src/base/assert.h"
#include "src/base/bytes.h"
#include "tests/sim/sim_wire.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <nghttp2/nghttp2.h>
#include <vector>

namespace penstock {
namespace {

class H2Wire final : public SimWire {
 public:
  explicit H2Wire(std::unique_ptr<SimWire> below) : below_(std::move(below)) {
    nghttp2_session_callbacks* calls = nullptr;
    ASSERT(nghttp2_session_callbacks_new(&calls) == 0);
    nghttp2_session_callbacks_set_on_header_callback(calls, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(calls, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(calls, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(calls, on_close);
    ASSERT(nghttp2_session_client_new(&session_, calls, this) == 0);
    nghttp2_session_callbacks_del(calls);
    ASSERT(nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, nullptr, 0) == 0);
  }
  ~H2Wire() override { nghttp2_session_del(session_); }

  void send(std::string_view bytes) override {
    asked_ += bytes;
    while (take_request()) {
    }
    pump();
  }
  std::string take(size_t bytes_max) override {
    const std::string got = below_->take(bytes_max);
    if (!got.empty() && !broken_) {
      broken_ = nghttp2_session_mem_recv(session_, reinterpret_cast<const uint8_t*>(got.data()), got.size()) < 0;
    }
    pump();
    std::string answers;
    while (!order_.empty() && replies_[order_.front()].ended) {
      Reply& reply = replies_[order_.front()];
      answers += "HTTP/1.1 " + reply.status + " \r\n" + reply.fields + (reply.last ? "Connection: close\r\n" : "") +
                 "\r\n" + reply.body;
      if (reply.last) closes_ = true;
      replies_.erase(order_.front());
      order_.pop_front();
    }
    pump();
    return answers;
  }
  void half_close() override {
    closes_ = true;
    pump();
  }
  void reset() override { below_->reset(); }
  State state() override { return cut_ ? State::RESET : below_->state(); }
  std::string fault() const override {
    if (broken_) return "HTTP/2 broke";
    return below_->fault();
  }

 private:
  struct Reply {
    std::string status;
    std::string fields;
    std::string body;
    bool ended = false;
    bool last = false;  // its request said that it is
  };

  static H2Wire& self(void* data) { return *static_cast<H2Wire*>(data); }
  static std::string text(const uint8_t* bytes, size_t size) { return {reinterpret_cast<const char*>(bytes), size}; }

  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name, size_t name_size,
                       const uint8_t* value, size_t value_size, uint8_t, void* data) {
    Reply& reply = self(data).replies_[frame->hd.stream_id];
    const std::string n = text(name, name_size);
    if (n == ":status") {
      reply.status = text(value, value_size);
    } else {
      reply.fields += n + ": " + text(value, value_size) + "\r\n";
    }
    return 0;
  }
  static int on_data(nghttp2_session*, uint8_t, int32_t id, const uint8_t* bytes, size_t size, void* data) {
    self(data).replies_[id].body += text(bytes, size);
    return 0;
  }
  static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* data) {
    const bool may_end = frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS;
    if (may_end && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
      self(data).replies_[frame->hd.stream_id].ended = true;
    return 0;
  }
  // A stream that ends before its answer did is to its client what a reset connection is.
  static int on_close(nghttp2_session*, int32_t id, uint32_t, void* data) {
    H2Wire& wire = self(data);
    const auto found = wire.replies_.find(id);
    if (found != wire.replies_.end() && !found->second.ended) wire.cut_ = true;
    return 0;
  }
  static ssize_t read_body(nghttp2_session*, int32_t, uint8_t* room, size_t size, uint32_t* flags,
                           nghttp2_data_source* source, void*) {
    auto& body = *static_cast<std::string*>(source->ptr);
    const size_t bytes = std::min(size, body.size());
    std::memcpy(room, body.data(), bytes);
    body.erase(0, bytes);
    if (body.empty()) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(bytes);
  }

  // One whole request from the front of asked_, as a stream.
  bool take_request() {
    const size_t head_end = asked_.find("\r\n\r\n");
    if (head_end == std::string::npos) return false;
    std::vector<std::pair<std::string, std::string>> fields;
    const std::string line = asked_.substr(0, asked_.find("\r\n"));
    const size_t space = line.find(' ');
    fields.emplace_back(":method", line.substr(0, space));
    fields.emplace_back(":scheme", "http");
    fields.emplace_back(":path", line.substr(space + 1, line.rfind(' ') - space - 1));
    size_t body_bytes = 0;
    bool chunked = false;
    bool last = false;
    for (size_t at = line.size() + 2; at < head_end + 2; at = asked_.find("\r\n", at) + 2) {
      const size_t colon = asked_.find(':', at);
      const std::string value(
          trim_ows(std::string_view(asked_).substr(colon + 1, asked_.find("\r\n", at) - colon - 1)));
      std::string name = asked_.substr(at, colon - at);
      std::transform(name.begin(), name.end(), name.begin(), ascii_lower);
      if (name == "content-length") body_bytes = parse_decimal(value).value_or(0);
      if (name == "connection") {
        last = true;
      } else if (name == "transfer-encoding") {
        chunked = true;
      } else {
        fields.emplace_back(name == "host" ? ":authority" : name, value);
      }
    }
    std::string body;
    size_t used = head_end + 4;
    if (chunked) {
      const size_t end = asked_.find("0\r\n\r\n", used);
      if (end == std::string::npos) return false;
      body = asked_.substr(used + 3, end - used - 5);  // of one chunk of less than sixteen bytes
      used = end + 5;
    } else {
      if (asked_.size() < used + body_bytes) return false;
      body = asked_.substr(used, body_bytes);
      used += body_bytes;
    }
    asked_.erase(0, used);
    submit(fields, body, last);
    return true;
  }

  void submit(const std::vector<std::pair<std::string, std::string>>& fields, const std::string& body, bool last) {
    std::vector<nghttp2_nv> nvs;
    for (const bool pseudo : {true, false}) {
      for (const auto& [name, value] : fields) {
        if (name.starts_with(':') != pseudo) continue;
        nvs.push_back({reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
                       reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
                       NGHTTP2_NV_FLAG_NONE});
      }
    }
    nghttp2_data_provider provider{};
    if (!body.empty()) {
      bodies_.push_back(std::make_unique<std::string>(body));
      provider = {.source = {.ptr = bodies_.back().get()}, .read_callback = read_body};
    }
    const int32_t id =
        nghttp2_submit_request(session_, nullptr, nvs.data(), nvs.size(), body.empty() ? nullptr : &provider, nullptr);
    if (id < 0) {
      cut_ = true;  // the server has said GOAWAY
      return;
    }
    replies_[id].last = last;
    order_.push_back(id);
  }

  void pump() {
    if (broken_) return;
    if (closes_ && order_.empty() && !said_goodbye_) {
      (void)nghttp2_session_terminate_session(session_, NGHTTP2_NO_ERROR);
      said_goodbye_ = true;
    }
    const uint8_t* bytes = nullptr;
    for (ssize_t size = 0; (size = nghttp2_session_mem_send(session_, &bytes)) > 0;) {
      below_->send({reinterpret_cast<const char*>(bytes), static_cast<size_t>(size)});
    }
    if (said_goodbye_ && !half_closed_) {
      below_->half_close();
      half_closed_ = true;
    }
    if (cut_) below_->reset();
  }

  std::unique_ptr<SimWire> below_;
  nghttp2_session* session_ = nullptr;
  std::string asked_;
  std::map<int32_t, Reply> replies_;
  std::deque<int32_t> order_;
  std::vector<std::unique_ptr<std::string>> bodies_;
  bool broken_ = false;
  bool cut_ = false;
  bool closes_ = false;
  bool said_goodbye_ = false;
  bool half_closed_ = false;
};

}  // namespace

std::unique_ptr<SimWire> make_sim_h2_wire(std::unique_ptr<SimWire> below) {
  return std::make_unique<H2Wire>(std::move(below));
}

}  // namespace penstock
