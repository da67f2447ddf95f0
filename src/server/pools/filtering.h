// Filtering: what filters have to do with one exchange. Owned by the exchange; made when it comes to a route that has
// some. The calls themselves are the PoolBridge's (pool_bridge_filters.cc, pool_bridge_filter_answers.cc; the README of
// this folder is the design).
#pragma once

#include "pool/ring/server_link.h"
#include "src/http/status.h"
#include "src/log/journal.h"
#include "src/server/exchange.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

struct SharedPool;

struct FilterPool {
  SharedPool* pool = nullptr;
  bool wants_response = false;
  bool wants_log = false;
};

struct AnswerField {
  std::string name;
  std::string value;
};

// An application's answer that waits for its filters: all that the worker has said of it, in its order. Bounded by the
// link's window and by `PIECES_MAX`.
struct HeldAnswer {
  static constexpr size_t PIECES_MAX = 1024;
  struct Piece {
    LinkEvent::Kind kind = LinkEvent::Kind::DATA;
    std::string text;
    uint64_t offset = 0;
    uint64_t length = 0;
  };

  explicit HeldAnswer(const LinkEvent& head);
  // As it came; views of what is held here, valid as long as this is.
  [[nodiscard]] LinkEvent head();
  // False: too many.
  [[nodiscard]] bool add(const LinkEvent& event);
  [[nodiscard]] const std::vector<Piece>& pieces() const { return pieces_; }

 private:
  LinkEvent head_;  // its views are set by head()
  std::vector<AnswerField> fields_;
  std::vector<LinkField> field_views_;
  std::vector<std::string> vary_;
  std::vector<std::string> tags_;
  LinkPolicy policy_;
  bool has_policy_ = false;
  std::string body_;
  std::vector<Piece> pieces_;
};

struct Filtering {
  std::vector<FilterPool> pools;  // each once, in the order in which they see the request
  size_t asked = 0;               // of these: those that have let it pass
  StepResult found{};             // by the route: how it goes on once all have
  bool for_one = false;           // the request's fields are not the client's, or a filter answers: nobody shares that
  bool over = false;              // one has failed: no other is asked, but for the log
  bool answering = false;         // there is an answer: status and fields are of it
  bool changed = false;           // by a filter
  bool released = false;          // `held` goes out
  size_t left = 0;                // of the answer: pools before this one are still to be asked, from the last on
  uint16_t status = 0;
  std::vector<AnswerField> fields;   // but for the front end's own (is_front_end_field)
  std::unique_ptr<HeldAnswer> held;  // of an application
  Dispatch* call = nullptr;          // under way
  std::string log;                   // what they said for the record

  [[nodiscard]] bool wants_response() const;
  // What was known of the answer is of none any more.
  void forget_answer();
};

// The record of a request that has ended otherwise: it is closed once the filters that want to see it have.
struct FilterRecord {
  JournalSlot slot;
  MonoTime moment;  // at which it ended
  Outcome outcome;  // its views are those of the strings below
  std::string site;
  std::string user;
  std::string client_subject;
  std::string client_fingerprint;
  std::string log;
  std::vector<SharedPool*> pools;
  size_t next = 0;

  void keep(const Outcome& of);
  [[nodiscard]] const Outcome& made();
};

// A filter that is asked: its message is written before it is known which worker gets it.
struct FilterCall {
  penstock_to_worker kind = PENSTOCK_FILTER_REQUEST;
  uint16_t status = 0;
  uint64_t length = 0;
  uint64_t offset = 0;
  std::string message;  // the request's head, filled up to head_bytes, then the answer's
  uint32_t head_bytes = 0;
  std::string what;                      // "GET /a", for the operator
  uint64_t client = 0;                   // QueueItem::client
  std::unique_ptr<FilterRecord> record;  // of FILTER_LOG
};

// What filters say of a request for its record: one more word of theirs, or of one that failed.
void add_note(std::string& log, std::string_view text);
void note_failure(std::string& log, std::string_view pool, Reason reason);

// --- pure -----------------------------------------------------------------------------------

// Whether all of it can stand in the lines of a head, and ends none.
[[nodiscard]] bool may_be_written(const LinkVerdict& verdict);
// A request head as HTTP/1.1 writes it, with the fields that `edits` change and `target` (unless empty) in its place;
// to be parsed like one that a client has sent. Host, and what frames the message, stays as it is. REQUIRES:
// may_be_written() of these.
[[nodiscard]] std::string write_filtered_request(const RequestHead& head, std::string_view target,
                                                 std::span<const LinkEdit> edits);
// Makes the edits, but for those of the front end's own fields.
void edit_fields(std::vector<AnswerField>& fields, std::span<const LinkEdit> edits);
// Status and fields of a head of our own making; the front end's own are left out.
void read_answer_head(std::string_view head, uint16_t& status, std::vector<AnswerField>& fields);
// That head with another status and other fields: the front end's own stay. Empty: a field is none of HTTP.
[[nodiscard]] std::string write_filtered_head(std::string_view head, uint16_t status,
                                              std::span<const AnswerField> fields, int64_t unix_seconds,
                                              ServerHeaderMode server);
// Behind a request's head: the head of an answer as a worker reads it. False: too much.
[[nodiscard]] bool append_answer_block(std::string& message, std::span<const AnswerField> fields);

}  // namespace penstock
