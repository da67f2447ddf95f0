// Transfer: one request and its answer on their way between the worker's thread, which alone may use the SDK, and the
// thread that calls the application. No Python here: nobody waits with the interpreter's lock held. The worker's thread
// is whichever has that part for now (request_threads.h): the main one, one that waits beside it, or one that enters
// where it sleeps.
//
// Down: what comes of the body is kept up to BODY_MAX, then the client is held back until the application has read.
// Up: what the application gives is kept up to ANSWER_MAX, then its thread waits until the client has read.
//
// Owner: the thread that calls the application, from the queue on; with finish() it becomes the worker's thread, which
// frees it when all of it is out. A transfer whose exchange has been cancelled is `gone`: the worker's thread has
// forgotten it, and who holds it frees it.
#pragma once

#include "pool/sdk/penstock_worker.h"

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace penstock {

// A request's head, copied: the original goes away with the exchange, which may be at any time.
struct RequestHead {
  explicit RequestHead(const penstock_exchange* exchange);
  RequestHead(const RequestHead&) = delete;
  RequestHead& operator=(const RequestHead&) = delete;

  std::string_view method, target, path, query, authority, route_prefix, remote_address, server_address;
  std::string_view client_verify, client_subject, client_fingerprint;  // of its certificate
  std::vector<std::pair<std::string_view, std::string_view>> fields;
  uint16_t remote_port = 0;
  uint16_t server_port = 0;
  bool secure = false;
  unsigned major = 0;
  unsigned minor = 0;
  uint64_t serial = 0;
  uint64_t body_length = 0;  // or PENSTOCK_UNKNOWN_LENGTH

 private:
  std::string text_;  // what the views show
};

struct ResponseHead {
  unsigned status = 500;
  std::vector<std::pair<std::string, std::string>> fields;
  uint64_t length = PENSTOCK_UNKNOWN_LENGTH;
};

class Transfer;

// Brings transfers with something to do to the worker's thread; one post() for all that wait.
class Courier {
 public:
  Courier() = default;
  Courier(const Courier&) = delete;
  Courier& operator=(const Courier&) = delete;

  void poke(penstock_worker* worker, Transfer& transfer);  // any thread; REQUIRES: the transfer is not listed
  // The worker's thread:
  void forget(Transfer& transfer);
  static void serve(Transfer& transfer);  // which is freed where it is over

 private:
  static void deliver(void* self);
  std::mutex mutex_;
  std::vector<Transfer*> listed_;
  bool posted_ = false;
};

class Transfer {
 public:
  static constexpr size_t BODY_MAX = 128 * 1'024;
  static constexpr size_t ANSWER_MAX = 128 * 1'024;

  Transfer(penstock_exchange* exchange, Courier& courier);
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  // --- the worker's thread ---
  void body_came(std::string_view bytes, bool last);
  // The exchange has gone. True: finish() was called before: to be freed.
  [[nodiscard]] bool cancel();

  // --- the thread that calls the application ---
  const RequestHead head;
  [[nodiscard]] bool gone();
  // Appends to `to` until `most` bytes, the end of the body or, with `line`, a '\n'. Waits where `wait`; else stops
  // where it would have to, and says false in `complete`. False: gone, or closed.
  [[nodiscard]] bool read(std::string& to, size_t most, bool line, bool wait, bool& complete);
  // No more reading: who waits in read() returns.
  void close_body();
  // Before the first write().
  void begin(ResponseHead response);
  // How much was taken: all, where `wait`; less without it, or where it is gone. `show`: now, not with what follows.
  [[nodiscard]] size_t write(std::string_view bytes, bool wait, bool show = true);
  void log(std::string_view text);
  enum class Ending : uint8_t { WHOLE, CUT };
  static void finish(std::unique_ptr<Transfer> self, Ending ending);

 private:
  friend class Courier;
  void poke();  // REQUIRES: mutex_ held
  [[nodiscard]] bool hand_over(Ending ending, bool pokes);
  // Gives the SDK what there is to give. True: all of it is out.
  [[nodiscard]] bool serve();
  [[nodiscard]] bool answer_at_once(const std::vector<penstock_header>& fields);
  void send_head();

  Courier& courier_;
  penstock_worker* const worker_;
  const bool head_only_;

  std::mutex mutex_;  // guards all below; held for copies, never for waiting
  std::condition_variable changed_;
  penstock_exchange* exchange_;  // nullptr: over, or gone
  bool listed_ = false;          // with the courier; guarded by the courier's mutex
  bool gone_ = false;

  std::string body_;
  size_t body_at_ = 0;  // of body_: read so far
  bool body_whole_ = false;
  bool body_closed_ = false;
  bool paused_ = false;
  bool wants_resume_ = false;

  ResponseHead response_;
  bool has_response_ = false;
  bool begun_ = false;  // the SDK has the head
  std::string answer_;
  size_t answer_at_ = 0;  // of answer_: sent so far
  bool blocked_ = false;  // the SDK will say when there is room
  std::string log_;
  bool finished_ = false;
  Ending ending_ = Ending::WHOLE;
};

}  // namespace penstock
