// Dispatch: one request on its way through a pool: it waits, is inside a worker, is answered.
//
// Owned by the PoolBridge of one reactor. It lives as long as its exchange needs it or the worker has it, whichever is
// longer: when the client goes, `exchange` is null and the worker is told; when the worker has ended the exchange,
// `inside` is false and what is left of the answer waits in `pending` for the client.
#pragma once

#include "pool/queue/pool_queue.h"
#include "src/base/handle.h"
#include "src/base/time.h"
#include "src/base/timer_wheel.h"
#include "src/http/status.h"

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <string_view>

namespace penstock {

class AnswerCopy;
struct FilterCall;
struct Refresh;
class Body;
struct Route;
struct Exchange;
struct PoolLink;
class ReactorPool;

// The cookie with which a pool with balance = sticky finds a client's worker again: its number.
inline constexpr std::string_view STICKY_COOKIE = "penstock_worker";

// How the end of an answer's body shows (RFC 9112 section 6).
enum class AnswerFraming : uint8_t {
  NONE,     // no body: HEAD, 204, 304
  LENGTH,   // Content-Length
  CHUNKED,  // to a client of HTTP/1.1
  CLOSE     // to an older one
};

struct Dispatch;

// Of request_timeout, later of the grace that follows it. The wheel hands the Timer back.
struct DispatchTimer : Timer {
  Dispatch* owner = nullptr;
};

// A piece of an answer, once the application has named a file or a URL: from there on pieces keep their order here.
struct AnswerPart {
  AnswerPart() = default;
  AnswerPart(const AnswerPart&) = delete;
  AnswerPart& operator=(const AnswerPart&) = delete;
  ~AnswerPart();

  bool is_text = true;
  bool opened = false;  // of a file: length is known
  std::string text;     // the bytes; of a file its path below the root of `route`
  const Route* route = nullptr;
  const Body* body = nullptr;  // pinned; null with `opened`: the file is Exchange::stream
  uint64_t offset = 0;         // in the file or body
  uint64_t length = 0;
  uint64_t sent = 0;
};

struct Dispatch : QueueItem {
  Dispatch();
  ~Dispatch();
  Dispatch(const Dispatch&) = delete;
  Dispatch& operator=(const Dispatch&) = delete;

  DispatchTimer timer;
  Exchange* exchange = nullptr;
  ReactorPool* pool = nullptr;
  PoolLink* link = nullptr;    // of the worker that has it, or had it last
  Handle handle;               // in that link, while `inside`
  uint64_t sticky = 0;         // number of the worker that the client's cookie names; 0: none
  uint64_t serial = 0;         // of the request, in the journal
  uint64_t worker = 0;         // number of the one that got it last
  Duration waited;             // in the queue, before that
  uint32_t tries = 0;          // workers that got it
  uint32_t probes = 0;         // interim answers that were sent to see whether its client is still there
  bool of_filter = false;      // a filter answers by itself
  bool inside = false;         // the worker has not ended it
  bool overran = false;        // request_timeout passed while it was inside
  std::string what;            // it asked for, once it has overrun: its record is closed then
  bool cancelled = false;      // and was told that nobody wants it
  bool body_sent = false;      // some of the request's body has gone to a worker: it cannot be sent again
  bool body_whole = false;     // all of it
  bool owes_continue = false;  // the client waits for 100 before it sends the body
  bool end_owed = false;       // of a chunked body: its end was seen, and no chunk of the ring was free
  std::string upload;          // of a chunked body: decoded, and no chunk of the ring was free
  bool whole = false;          // the worker's answer has ended
  bool begun = false;          // its head is composed
  bool refused = false;        // in PoolBridge::refused_: it is answered there, and nowhere else
  bool failed = false;         // it ended without being whole, or its worker was lost: the connection is to be cut
  AnswerFraming framing = AnswerFraming::NONE;
  uint64_t purge_mark = 0;             // CacheTable::purge_mark() before the worker got the request
  uint64_t label_mark = 0;             // and label_mark()
  std::unique_ptr<FilterCall> filter;  // it is a filter that is asked; `exchange` is null once its request has ended
  std::unique_ptr<Refresh> refresh;    // it is a call of our own: `exchange` is null
  std::unique_ptr<AnswerCopy> copy;    // for the response cache, if that may keep the answer
  size_t head_bytes = 0;               // of `pending`: the answer's head, where there was no room for it
  size_t pending_next = 0;             // what is gone of `pending`
  uint64_t left = 0;                   // of the announced length
  std::list<AnswerPart> parts;         // behind `pending`
  std::string pending;  // of the answer, for a client that is slower than the worker; bounded by the link's window

  [[nodiscard]] size_t pending_bytes() const { return pending.size() - pending_next; }
  // So many bytes of it are gone. What a client that never catches up has taken must not stay: moved up when it is
  // half.
  void drop_pending(size_t bytes) {
    pending_next += bytes;
    if (pending_next < pending_bytes()) return;
    pending.erase(0, pending_next);
    pending_next = 0;
  }
};

}  // namespace penstock
