// Exchange: one request on its walk Lookup, Route, Fill, Deliver.
//
// Begins when a head is complete, ends when its answer is with the transport and its journal record
// is closed. One thread. On a hot hit it lives for the length of one function call, always in the same
// memory (Core::spare); only an exchange that must wait (parks) copies its head.
#pragma once

#include "cache/body.h"
#include "cache/entry.h"
#include "cache/verdict.h"
#include "src/base/handle.h"
#include "src/base/time.h"
#include "src/base/unique_fd.h"
#include "src/files/loader.h"
#include "src/http/range.h"
#include "src/http/request_head.h"
#include "src/http/status.h"
#include "src/log/journal.h"
#include "src/route/route_table.h"
#include "src/server/snapshot.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

struct Connection;
struct Dispatch;
struct Filtering;

enum class Step : uint8_t { LOOKUP, ROUTE, FILL, DELIVER, DISPATCH };

// What a step says to the walk.
enum class StepResult : uint8_t {
  NEXT,      // on to the following step
  FILL,      // a file must be read (again): an error page
  DISPATCH,  // an application answers
  DELIVER,   // the answer is known: straight to Deliver
  PARKED,    // waits; somebody will call resume with the step to go on at
  DONE       // finished: the exchange has been given back
};

// A piece of a body that is too long for one Outgoing: a range of the entry, of an open file, or text.
struct AnswerPiece {
  enum class Kind : uint8_t { TEXT, BODY, FILE } kind = Kind::TEXT;
  uint64_t offset = 0;  // in the body or file, or in Exchange::segment_text
  uint64_t size = 0;
};

// All but the head and the strings: set back by one assignment for the next request.
struct ExchangeFacts {
  Connection* connection = nullptr;  // nullptr once the connection has ended under a fill it leads
  const Snapshot* config = nullptr;
  const Site* site = nullptr;
  const Route* route = nullptr;
  const Route* refused_by = nullptr;  // `route` before an error page took its place
  const Entry* entry = nullptr;       // lent until the end of the turn, or pinned
  uint64_t key_hash = 0;
  JournalSlot slot;
  Reason reason = Reason::NONE;  // what is answered; NONE while it is not known
  bool page = false;             // `entry` is, or will be, the error page of `reason`
  bool page_tried = false;
  bool waits_send = false;  // Deliver goes on at SENT
  Verdict verdict = Verdict::MISS_FIRST;
  bool entry_pinned = false;
  bool config_pinned = false;  // parked: the snapshot must stay
  bool keep_alive = true;
  bool lingers = false;           // close, but let the peer see the answer first
  bool body_done = false;         // the request's body was read already
  bool held = false;              // parked until its body is known to be well framed (request_body.h)
  Step held_for = Step::DELIVER;  // where it goes on then
  bool refused = false;           // the head is no good: only its method may be looked at
  bool unanswered = false;        // reset in place of the answer that `reason` names
  bool http_1_0 = false;
  bool http_2 = false;     // it came on a stream
  bool secure = false;     // it came over TLS
  bool to_https = false;   // it is sent to the same URL over TLS
  bool proxied = false;    // `client` says who sent it, and not the connection
  bool certified = false;  // the client has shown a certificate that the site takes
  bool looked_up = false;  // the cache was asked
  bool alone = false;      // fills for itself only: waiting for another's fill gave no entry
  bool composed = false;   // the head is out; what is left are segments
  bool admitted = false;   // the cache wants it
  bool loading = false;    // the loader works for it
  bool outlived = false;   // an entry of its key was found whose lifetime was over
  bool rejoined = false;   // the answer that it waited for was for other request fields than its own
  Handle fill;             // of the FillTable: led (leads_fill) or waited for
  bool leads_fill = false;
  bool waits_fill = false;
  std::string_view raw_head;  // of the turn in which the head was complete
  uint32_t head_bytes_in = 0;
  uint64_t body_bytes_in = 0;  // that an application was given, as they came
  uint64_t head_bytes_out = 0;
  uint64_t body_bytes_out = 0;
  uint64_t bytes_waited = 0;  // bytes out when it began to wait for SENT; 0: it waits for something else, or not at all
  Coding coding = Coding::IDENTITY;
  int stream = -1;          // of a file that is streamed; given back to the FileReader
  uint64_t purge_mark = 0;  // CacheTable::purge_mark() before the load began
  FileInfo stream_info;
  int64_t stream_modified_s = 0;  // Unix seconds: of the original, whichever coding of it is streamed
  bool stream_varies = false;     // it comes, or may come later, in other codings
  std::string_view content_type;  // of a streamed file
  const Body* body = nullptr;     // of the variant that is sent; held by `entry`
  size_t segment_next = 0;
  Dispatch* dispatch = nullptr;  // of the PoolBridge, while an application is at work on it
  uint16_t app_status = 0;       // what the application answered; 0: the answer is ours
  uint16_t route_status = 0;     // what the route answers, where `reason` is STATUS_ROUTE
  bool forwarded = false;        // the connection reads the request's body for an application
  bool filtered = false;         // `filters` is there
  uint64_t purge = 0;            // number of the purge whose count it waits for; 0: it does not
  uint8_t executed = 0;          // URLs that stood in for this one
};

struct Exchange : ExchangeFacts {
  Exchange();
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  // Ready for the next request. The head is not cleared: the parser fills it.
  void reset() {
    static const ExchangeFacts fresh;
    static_cast<ExchangeFacts&>(*this) = fresh;
    if (!cold_used) return;
    cold_used = false;
    kept_head.clear();
    path.clear();
    location.clear();
    instead.clear();
    cache_target.clear();
    segments.clear();
    segment_text.clear();
    text.clear();
    if (filters != nullptr) end_filters();
  }
  void end_filters();

  // Cold part.
  bool cold_used = false;  // some of what follows was touched
  std::string kept_head;   // the head's bytes once parked; `head` then points into it
  std::string path;        // canonical; of an error page while that is loaded
  std::string location;    // of a redirect, or of an error page that is elsewhere
  std::string instead;     // target of the URL that stands in for the requested one; `head` then points into it
  std::vector<AnswerPiece> segments;
  std::string segment_text;
  std::string text;          // JSON in place of the page that tells of `reason`
  std::string cache_target;  // of the key of its answer, where that varies by request fields; key_hash is of that key

  std::unique_ptr<Filtering> filters;  // of a route that has some

  RequestHead head;
  JournalAddress client;  // where `proxied`

  // Of an answer of ours.
  [[nodiscard]] uint16_t status() const {
    return reason == Reason::STATUS_ROUTE ? route_status : reason_status(reason);
  }

  // It is refused, and its error page is at another URL, which is `location`.
  [[nodiscard]] bool page_elsewhere() const { return page_tried && !location.empty(); }

  // The key under which an application's answer to it lies, as far as is known.
  [[nodiscard]] KeyView cache_key() const {
    return {.secure = secure, .host = head.authority, .target = cache_target.empty() ? head.target : cache_target};
  }
};

}  // namespace penstock
