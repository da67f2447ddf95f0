// PoolBridge: what stands between the exchanges of one reactor and the workers of all pools.
//
// Down: an exchange is put into its pool's queue, and goes into the ring of a worker that has a place for it; its body
// follows as the worker reads. Up: what workers say is taken once a turn, checked by the link (pool/ring), and becomes
// bytes for the client. One owner: the reactor, on its thread. Other reactors are met only in SharedPool and
// PoolWorker.
//
// Each request that enters leaves by exactly one of: an answer to its client; 503 (queue full, waited too long, out of
// service); 502 (its worker was lost, lied, gave up, or took too long); a connection that is cut because its head had
// gone out already; or silence, because the client has gone.
//
// A link that has nothing under way sleeps: it costs a turn nothing until its doorbell rings.
#pragma once

#include "cache/fill.h"
#include "cache/pass_list.h"
#include "pool/queue/worker_choice.h"
#include "pool/ring/server_link.h"
#include "src/server/core.h"
#include "src/server/pools/dispatch.h"
#include "src/server/pools/pool_reports.h"
#include "src/server/pools/shared_pool.h"
#include "src/server/walk.h"

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace penstock {

// The requests that a new worker must answer before it gets those of clients, one after the other. They are asked over
// the link of the reactor that was the last to see the worker ready; no client and no record belongs to them.
struct WarmUp {
  std::vector<std::string> urls;  // as pool.NAME.warmup has them
  size_t next = 0;                // the one under way
  Handle exchange;                // of it
  uint16_t status = 0;            // of its answer; 0: not yet
};

// The link to one worker process, and the requests that it has of this reactor.
struct PoolLink {
  PoolLink(PoolWorker& its_worker, ReactorPool& its_pool, const ChannelMemory& memory, const LinkLimits& limits)
      : worker(its_worker), pool(its_pool), link(memory, its_worker.epoch, limits), inside(memory.exchanges_max) {}

  // It lied, and nobody heard of it yet.
  [[nodiscard]] bool must_be_told() const { return link.violation() != LinkViolation::NONE && !broken; }

  PoolWorker& worker;
  ReactorPool& pool;
  ServerLink link;
  std::vector<Dispatch*> inside;    // by slot of the link
  std::vector<Handle> cramped;      // dispatches with body for which no chunk was free, whoever held them
  std::unique_ptr<WarmUp> warm_up;  // while it goes on over this link
  bool active = false;              // in PoolBridge::active_
  bool retired = false;
  bool stop_owed = false;  // its ring was full when it had to be told
  bool idle_told = false;
  bool broken = false;     // gets nothing more, its end is due
  bool suspended = false;  // no pings
  bool ping_out = false;
  MonoTime ping_sent;
};

// One pool as this reactor sees it.
class ReactorPool {
 public:
  ReactorPool(SharedPool& its_shared, QueueTurns& turns) : shared(its_shared), queue(its_shared.bound, turns) {}

  SharedPool& shared;
  PoolQueue queue;
  std::vector<PoolLink*> links;
  uint32_t chosen_last = 0;  // place in `links`
  uint32_t own_turns = 0;    // places handed to own requests while others waited
  MonoTime own_since;        // and since when
  MonoTime need_next;        // when the supervisor is to be told again that requests wait
  bool listed = false;       // in PoolBridge::waiting_
};

// What becomes of a head that filters are to see before it is sent.
enum class HeadFate : uint8_t {
  AS_IT_IS,
  CHANGED,
  WAITS,   // park: Deliver is called again
  REFUSED  // a filter has failed: deliver that
};

class PoolBridge {
 public:
  explicit PoolBridge(Core& core);
  PoolBridge(const PoolBridge&) = delete;
  PoolBridge& operator=(const PoolBridge&) = delete;
  ~PoolBridge();

  // Registers the doorbells with the transport. Once, on the reactor's thread, before the first turn.
  [[nodiscard]] Status start(uint32_t wake_id);

  // --- for the steps of an exchange
  // Queues it, or says why not. PARKED: it goes on at Deliver.
  [[nodiscard]] StepResult dispatch(Exchange& ex);
  // As much of the answer as there is room for. REQUIRES: ex.dispatch != nullptr.
  [[nodiscard]] StepResult deliver(Exchange& ex);
  // Its connection has ended. REQUIRES: ex.dispatch != nullptr.
  void leave(Exchange& ex);
  // Its connection has room again for what is sent. REQUIRES: ex.dispatch != nullptr.
  void sent(Exchange& ex);
  // The client will send nothing more: it has gone if its request still waits for a worker (who closes a connection
  // and who shuts one half of it look the same), or if the body is not whole. REQUIRES: ex.dispatch != nullptr.
  [[nodiscard]] bool may_leave(const Exchange& ex) const;
  // Bytes of the connection behind the head; how many of them were used. REQUIRES: ex.dispatch != nullptr.
  [[nodiscard]] size_t take_body(Exchange& ex, std::string_view bytes);

  // It was answered with an entry whose lifetime is over: has a new one fetched, once.
  void refresh(const Exchange& ex);
  // Whether the entry, of its URL, is also one for its request fields.
  [[nodiscard]] bool answers(const Exchange& ex, const Entry& entry) const;

  // Its route has filters, and has `found`: the first of them is asked (PARKED), or how it goes on.
  [[nodiscard]] StepResult filter_request(Exchange& ex, StepResult found);
  // Before a head of our own making is sent. CHANGED: into `changed`. REQUIRES: ex.filtered.
  [[nodiscard]] HeadFate filter_head(Exchange& ex, std::string_view head, std::string& changed);
  // The exchange ends: true if its record is closed later, when filters have seen it. REQUIRES: ex.filtered.
  [[nodiscard]] bool filter_record(Exchange& ex, const Outcome& outcome, MonoTime moment);
  // No filter is to say anything more of it, but for its record. REQUIRES: ex.filtered.
  void leave_filters(Exchange& ex);
  // Records wait for filters; they are closed as they are.
  [[nodiscard]] bool owes_records();
  void end_records();

  // The loader has read a file that the application named. Consumes the result. REQUIRES: ex.dispatch != nullptr.
  void file_loaded(Exchange& ex, LoadResult& result);

  // --- for the reactor
  void obey(const ReactorMessage& message);
  void doorbell() { bells_rang_ = true; }  // the wake source fired
  // Takes what workers said, looks at the timers, shows workers what there is for them.
  void turn();
  // A worker has something to say: asks nobody, wakes nobody.
  [[nodiscard]] bool hears() const;
  // A worker has requests of this reactor inside.
  [[nodiscard]] bool awaits() const;
  // Before the reactor waits; false: there is something to do. After either: awake().
  [[nodiscard]] bool may_wait();
  void awake();
  [[nodiscard]] MonoTime next_due() const;
  [[nodiscard]] uint32_t count() const { return dispatches_.count(); }

 private:
  [[nodiscard]] ReactorPool& pool_of(SharedPool& shared);
  [[nodiscard]] const PoolSettings* settings_of(const ReactorPool& pool) const;

  // links and turns: pool_bridge.cc
  void add(PoolWorker& worker);
  void remove(PoolLink& link);
  [[nodiscard]] PoolLink* find(const PoolWorker& worker);
  void activate(PoolLink& link);
  void listen();
  void look_at_bells();
  void flush(PoolLink& link);
  void list_waiting(ReactorPool& pool);
  void look_at_waiting();
  void ping_all();
  void ping(PoolLink& link, const PoolSettings& settings);
  void probe_clients(const PoolLink& link);
  void report(PoolReport::Kind kind, PoolLink& link, std::string text);
  void count_served(PoolLink& link);
  void report_broken(PoolLink& link);
  void look_idle(PoolLink& link);

  // requests down: pool_bridge_down.cc
  [[nodiscard]] static uint64_t queue_key_of(const Exchange& ex);
  void enqueued(Dispatch& d, ReactorPool& pool, const PoolSettings& settings);
  [[nodiscard]] StepResult refuse(Exchange& ex, Reason reason, QueueFullSetting how = QueueFullSetting::ANSWER);
  void leave_queue(ReactorPool& pool);  // one of its requests waits no more
  void hand_out(ReactorPool& pool);
  void hand_out_sticky(ReactorPool& pool, const PoolSettings& settings);
  [[nodiscard]] PoolLink* take_place(ReactorPool& pool, const PoolSettings& settings, uint64_t sticky);
  void hand_to(ReactorPool& pool, PoolLink& link, Dispatch& d);
  void enter_worker(PoolLink& link, Dispatch& d, const RequestFrame& frame);
  void hand_on(ReactorPool& pool);
  void carry_bodies();
  void offer_continue(Dispatch& d);
  [[nodiscard]] size_t take_plain(Dispatch& d, Connection& c, std::string_view bytes);
  [[nodiscard]] size_t take_chunked(Exchange& ex, Dispatch& d, std::string_view bytes);
  [[nodiscard]] size_t refuse_body(Exchange& ex, Dispatch& d, Reason reason, std::string_view bytes);
  void refuse_later(Dispatch& d, Reason reason);
  void answer_refused();

  // answers up, and ends: pool_bridge_up.cc
  bool take_events(PoolLink& link, uint32_t most);  // whether there were any
  void take_event(PoolLink& link, const LinkEvent& event);
  void take_head(Dispatch& d, const LinkEvent& event);
  void take_data(Dispatch& d, std::string_view bytes);
  // the response cache: pool_bridge_cache.cc
  [[nodiscard]] static Exchange& exchange_of(Dispatch& d);  // REQUIRES: it has one, or is a refresh
  [[nodiscard]] FillKey fill_key(const Exchange& ex) const;
  [[nodiscard]] StepResult look_again(Exchange& ex);
  [[nodiscard]] StepResult join_others(Exchange& ex);
  void begin_copy(Dispatch& d, Exchange& ex, const LinkEvent& event, uint64_t length);
  void invalidate(Exchange& ex, const LinkEvent& event);
  void give_up_copy(Dispatch& d, Exchange& ex);
  void keep_copy(Dispatch& d);
  [[nodiscard]] bool use_stale(Exchange& ex);
  [[nodiscard]] bool replace_error(Dispatch& d, const LinkEvent& event);
  [[nodiscard]] bool queue_refresh(std::unique_ptr<Refresh>& refresh);
  void take_refreshed(Dispatch& d, const LinkEvent& event);
  void close_refresh(Refresh& refresh, Reason reason);

  [[nodiscard]] size_t put_data(Exchange& ex, Dispatch& d, std::string_view bytes);
  // pieces that are named: pool_bridge_parts.cc
  enum class Put : uint8_t { ALL, NO_ROOM, WAITS };
  void take_part(Dispatch& d, const LinkEvent& event);
  [[nodiscard]] bool load_part(Exchange& ex, const AnswerPart& part);
  void open_body(Dispatch& d, AnswerPart& part, const Body* pinned);
  void open_part(Dispatch& d, AnswerPart& part, uint64_t size);
  void fail_part(Dispatch& d);
  [[nodiscard]] Put put_parts(Exchange& ex, Dispatch& d);
  [[nodiscard]] bool put_window(Exchange& ex, Dispatch& d, AnswerPart& part);
  void grant(Dispatch& d, size_t bytes);

  // filters and requests: pool_bridge_filters.cc
  [[nodiscard]] static bool is_for_one(const Exchange& ex);  // nobody else may share its answer
  [[nodiscard]] StepResult ask_about_request(Exchange& ex);
  [[nodiscard]] std::unique_ptr<FilterCall> make_call(const Exchange& ex, penstock_to_worker kind,
                                                      const SharedPool* pool);
  [[nodiscard]] Reason call_filter(SharedPool& shared, std::unique_ptr<FilterCall>& call, Exchange* ex);
  [[nodiscard]] static JournalSlot slot_of_filter(const Dispatch& d);
  void hand_filter_to(PoolLink& link, Dispatch& d);
  [[nodiscard]] bool take_filtered(PoolLink& link, Dispatch& d, const LinkEvent& event);
  void take_own_answer(Dispatch& d);
  void take_verdict(Dispatch& d, const LinkEvent& event);
  [[nodiscard]] bool change_request(Exchange& ex, const LinkVerdict& verdict);
  void go_on_filtered(Exchange& ex, StepResult found);
  StepResult refuse_filtered(Exchange& ex, std::string_view pool, Reason reason);
  void fail_filter(Dispatch& d, Reason why);
  void lose_filter(Dispatch& d, Reason reason, bool harmful);
  // filters and answers, and records: pool_bridge_filter_answers.cc
  [[nodiscard]] StepResult ask_about_answer(Exchange& ex);
  void take_answer_verdict(Exchange& ex, const std::string& pool, const LinkEvent& event);
  // What the client sees of an answer's head; the cache keeps it as it came, and filters see it each time.
  struct ShownHead {
    uint16_t status = 0;
    std::span<const LinkField> fields;
    bool changed = false;
  };
  [[nodiscard]] static ShownHead shown_head(const Exchange& ex, const LinkEvent& event, std::vector<LinkField>& room);
  [[nodiscard]] bool hold_answer_head(Exchange& ex, const LinkEvent& event);
  void hold_piece(Dispatch& d, const LinkEvent& event);
  void release_answer(Exchange& ex);
  void fail_held(Exchange& ex, std::string_view pool, Reason reason);
  void drop_held(Exchange& ex);
  void ask_about_record(std::unique_ptr<FilterCall> call);
  void take_record_verdict(Dispatch& d, const LinkEvent& event);
  void fail_record(std::unique_ptr<FilterCall> call, std::string_view pool, Reason reason);

  // before a worker gets requests: pool_bridge_warm_up.cc
  void take_ready(PoolLink& link);
  void warm_next(PoolLink& link);
  void take_warm_up(PoolLink& link, const LinkEvent& event);
  void fail_warm_up(PoolLink& link, const std::string& how);

  void execute(PoolLink& link, Dispatch& d, std::string_view target);
  void end_inside(PoolLink& link, Dispatch& d);
  void make_room(PoolLink& link);
  void go_on(Exchange& ex);
  void give_up(Dispatch& d, Reason reason, bool ended);
  void answer(Dispatch& d, Reason reason);
  void cut(Dispatch& d, Reason reason);
  void detach(Dispatch& d);
  void let_go(Dispatch& d);
  void put_back(Dispatch& d);
  void release(Dispatch& d);
  void cancel(Dispatch& d, penstock_cancel_reason reason);
  void lose(Dispatch& d, Reason reason);
  void lose_all(PoolLink& link, Reason reason);
  [[nodiscard]] static std::string overrun_requests(const PoolLink& link);
  void expire(Dispatch& d);

  Core& core_;
  TimerWheel wheel_;
  QueueTurns turns_;
  FixedPool<Dispatch> dispatches_;
  UniqueFd bells_;                                   // epoll of the workers' doorbells
  std::vector<std::unique_ptr<ReactorPool>> pools_;  // by SharedPool::number; null until used here
  std::vector<std::unique_ptr<PoolLink>> links_;
  std::vector<PoolLink*> active_;
  std::vector<ReactorPool*> waiting_;               // with requests queued here
  std::vector<Handle> body_due_;                    // dispatches whose client's bytes can go on
  std::vector<std::pair<Handle, Reason>> refused_;  // to be answered at the end of the turn
  std::vector<WorkerLoad> loads_;                   // scratch of hand_out()
  MonoTime pings_next_;
  bool bells_rang_ = false;  // in this turn
  bool bells_owed_ = false;  // whose they were was not asked yet
  PassList pass_{1024};
};

}  // namespace penstock
