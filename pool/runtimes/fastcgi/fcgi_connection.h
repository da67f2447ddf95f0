// FcgiConnection: a connection to the application, and the requests on it: one at a time, or several where the
// application multiplexes.
//
// Both directions are held back: bodies while the application does not read, the application while a client does not
// (with several requests on the connection one slow client holds the others, FastCGI has nothing against that). What
// the application sends is not trusted: another version, an unknown request or type ends the connection with a reason.
#pragma once

#include "pool/runtimes/fastcgi/fastcgi_settings.h"
#include "pool/runtimes/fastcgi/fcgi_record.h"
#include "pool/runtimes/fastcgi/fcgi_request.h"
#include "pool/runtimes/gateway/runtime_loop.h"
#include "src/base/result.h"
#include "src/base/unique_fd.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace penstock {

class FcgiConnection {
 public:
  enum class End : uint8_t { COMPLETE, CANNOT_MULTIPLEX, OVERLOADED, UNKNOWN_ROLE };  // section 5.5
  // Called from the loop. After `lost` nothing is called any more; the requests are still in requests().
  struct Host {
    RuntimeLoop& loop;
    // The application has ended the request, which is not on the connection any more.
    std::function<void(FcgiConnection&, FcgiRequest&, End, uint32_t status)> ended;
    std::function<void(FcgiConnection&, const std::string& why)> lost;
    std::function<void(FcgiConnection&, FcgiRequest&)> heard;  // some output was fed to its answer
    std::function<void(FcgiConnection&, const FcgiPairs&)> values;
  };

  // Begins to connect. Error: at once refused; code EAGAIN: the application's queue is full.
  [[nodiscard]] static Result<std::unique_ptr<FcgiConnection>> open(Host& host, const FcgiAddress& address);
  FcgiConnection(const FcgiConnection&) = delete;
  FcgiConnection& operator=(const FcgiConnection&) = delete;
  ~FcgiConnection();

  void ask_values();
  void begin(FcgiRequest& request);
  void send_body(FcgiRequest& request, std::string_view bytes, bool last);
  void abort(FcgiRequest& request);
  // Lets go of it: what the application still says of it is dropped.
  void forget(FcgiRequest& request);
  // A request's answer takes more: goes on where it stopped.
  void resume();

  [[nodiscard]] const std::map<uint16_t, FcgiRequest*>& requests() const { return requests_; }
  [[nodiscard]] bool used() const { return used_; }  // it has served a request
  // Somebody waits on it since `before`, and nothing has ever come.
  [[nodiscard]] bool silent_since(MonoTime before) const {
    return !heard_ && !requests_.empty() && asked_at_ <= before;
  }
  [[nodiscard]] bool reusable() const { return reusable_; }  // for requests to come
  void retire() { reusable_ = false; }
  RuntimeLoop::Timer idle;  // the client's
  MonoTime idle_since;

 private:
  FcgiConnection(Host& host, UniqueFd socket, const FcgiAddress& address);
  void ready(uint32_t events);
  void read();
  void process();
  void show_held();
  [[nodiscard]] bool take(const FcgiPiece& piece);
  static void hear_errors(FcgiRequest& request, std::string_view text);
  [[nodiscard]] bool take_management(const FcgiPiece& piece);
  [[nodiscard]] bool stalled() const;
  void send_soon();
  void flush();
  void watch_again();
  void lose(const std::string& why);
  [[nodiscard]] bool refuse(const std::string& why);  // false

  Host& host_;
  UniqueFd socket_;
  std::string address_;
  RuntimeLoop::Watch watch_ = 0;
  FcgiReader reader_;
  uint16_t last_id_ = 0;
  std::map<uint16_t, FcgiRequest*> requests_;  // null: forgotten, and the application does not know
  std::string out_;
  size_t out_at_ = 0;
  std::unique_ptr<char[]> in_;  // one read; understood up to in_at_
  size_t in_at_ = 0;
  size_t in_end_ = 0;
  std::string control_;  // content of an END_REQUEST or GET_VALUES_RESULT
  MonoTime asked_at_;    // when the first request was begun
  bool connected_ = false;
  bool used_ = false;
  bool heard_ = false;
  bool reusable_ = true;
  bool lost_ = false;
  bool sends_soon_ = false;
  bool asked_ = false;
  FcgiRequest* feeding_ = nullptr;  // whose answer took less than it was given
  FcgiRequest* holding_ = nullptr;  // within process(): whose answer may be whole by the end of it
};

}  // namespace penstock
