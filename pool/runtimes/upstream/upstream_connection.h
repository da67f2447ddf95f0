// UpstreamConnection: a connection to the application, and the requests on it: one at a time, or several where the
// protocol multiplexes. What is the same whatever protocol is spoken; what is not is a subclass's: FcgiConnection,
// StreamConnection.
//
// Both directions are held back: bodies while the application does not read, the application while a client does not
// (with several requests on the connection one slow client holds the others, FastCGI has nothing against that). What
// the application sends is not trusted: what its protocol does not allow ends the connection with a reason.
#pragma once

#include "pool/runtimes/gateway/runtime_loop.h"
#include "pool/runtimes/upstream/upstream_request.h"
#include "pool/runtimes/upstream/upstream_settings.h"
#include "src/base/result.h"
#include "src/base/unique_fd.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace penstock {

class UpstreamConnection {
 public:
  enum class End : uint8_t { COMPLETE, CANNOT_MULTIPLEX, OVERLOADED, UNKNOWN_ROLE };  // FastCGI 1.0 section 5.5
  // Called from the loop. After `lost` nothing is called any more; the requests are still in requests().
  struct Host {
    RuntimeLoop& loop;
    // The application has ended the request, which is not on the connection any more.
    std::function<void(UpstreamConnection&, UpstreamRequest&, End, uint32_t status)> ended;
    std::function<void(UpstreamConnection&, const std::string& why)> lost;
    std::function<void(UpstreamConnection&, UpstreamRequest&)> heard;        // some output was fed to its answer
    std::function<void(UpstreamConnection&, size_t requests_max)> capacity;  // the answer to ask_capacity()
  };

  UpstreamConnection(const UpstreamConnection&) = delete;
  UpstreamConnection& operator=(const UpstreamConnection&) = delete;
  virtual ~UpstreamConnection();

  // Begins to connect; before all else. Error: at once refused; code EAGAIN: the application's queue is full.
  [[nodiscard]] Status open();
  virtual void ask_capacity() {}  // how many requests it takes at a time
  virtual void begin(UpstreamRequest& request) = 0;
  virtual void send_body(UpstreamRequest& request, std::string_view bytes, bool last) = 0;
  virtual void abort(UpstreamRequest& request) = 0;
  // Lets go of it: what the application still says of it is dropped.
  void forget(UpstreamRequest& request);
  // A request's answer takes more: goes on where it stopped.
  void resume();

  // By number; null: forgotten, and the application does not know.
  [[nodiscard]] const std::map<uint16_t, UpstreamRequest*>& requests() const { return requests_; }
  [[nodiscard]] bool used() const { return used_; }  // it has served a request
  // Somebody waits on it since `before`, and nothing has ever come.
  [[nodiscard]] bool silent_since(MonoTime before) const {
    return !heard_ && !requests_.empty() && asked_at_ <= before;
  }
  [[nodiscard]] bool reusable() const { return reusable_; }  // for requests to come
  void retire() { reusable_ = false; }
  RuntimeLoop::Timer idle;  // the client's
  MonoTime idle_since;

 protected:
  UpstreamConnection(Host& host, const UpstreamAddress& address) : host_(host), address_(address) {}
  // Understands what of input() has come, by took(), up to its end or until lost() or stalled().
  virtual void understand() = 0;
  // The application has closed its side: nothing more will come.
  virtual void closed() { lose("closed its connection in the middle of a request"); }

  [[nodiscard]] Host& host() { return host_; }
  [[nodiscard]] std::string_view input() const { return {in_.get() + in_at_, in_end_ - in_at_}; }
  void took(size_t bytes) { in_at_ += bytes; }
  [[nodiscard]] bool stalled() const { return feeding_ != nullptr; }  // until resume()
  [[nodiscard]] bool goes_on() const { return !lost_ && !stalled() && in_at_ < in_end_; }
  [[nodiscard]] bool lost() const { return lost_; }
  [[nodiscard]] std::string& output() { return out_; }  // and then send_soon()
  void send_soon();
  void send_no_more();  // closes this side, for the application to see
  // The request enters with that number, or leaves: then the application has ended it.
  void enter(uint16_t number, UpstreamRequest& request);
  void leave(uint16_t number);
  // More of its output, which holds what may be whole in a moment.
  void feed(UpstreamRequest& request, std::string_view output);
  void hear() { heard_ = true; }
  // Body was put into output(): where that is much, the rest is held back.
  void hold_back(UpstreamRequest& request);
  void lose(const std::string& why);
  [[nodiscard]] bool refuse(const std::string& why);  // false

 private:
  void ready(uint32_t events);
  void read();
  void process();
  void show_held();
  void flush();
  void watch_again();

  Host& host_;
  const UpstreamAddress& address_;
  UniqueFd socket_;
  RuntimeLoop::Watch watch_ = 0;
  std::map<uint16_t, UpstreamRequest*> requests_;
  std::string out_;
  size_t out_at_ = 0;
  std::unique_ptr<char[]> in_;  // one read; understood up to in_at_
  size_t in_at_ = 0;
  size_t in_end_ = 0;
  MonoTime asked_at_;  // when the first request was begun
  bool connected_ = false;
  bool used_ = false;
  bool heard_ = false;
  bool reusable_ = true;
  bool lost_ = false;
  bool sends_soon_ = false;
  UpstreamRequest* feeding_ = nullptr;  // whose answer took less than it was given
  UpstreamRequest* holding_ = nullptr;  // within process(): whose answer may be whole by the end of it
};

}  // namespace penstock
