// Invariants: a request waits (in waiting_), is on a connection, or has all that the application had to say and waits
// for its client; it is dropped when its answer is over and it is neither waiting nor on a connection.
#include "pool/runtimes/upstream/upstream_client.h"

#include "pool/runtimes/upstream/fcgi_connection.h"
#include "pool/runtimes/upstream/request_message.h"
#include "pool/runtimes/upstream/stream_connection.h"
#include "src/base/assert.h"

#include <algorithm>
#include <cerrno>

namespace penstock {
namespace {

constexpr Duration IDLE_MAX = seconds(2);
constexpr Duration IDLE_LOOK = milliseconds(100);
constexpr Duration STARVED_AFTER = milliseconds(100);
constexpr Duration SETTLE_STEP = seconds(1);
constexpr Duration OVERRUN_STEP = milliseconds(50);
constexpr Duration ASK_WAIT = seconds(1);
constexpr Duration FULL_WAIT = milliseconds(20);

bool is_idempotent(std::string_view method) {
  constexpr std::string_view METHODS[] = {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"};
  return std::ranges::find(METHODS, method) != std::end(METHODS);
}

const char* name_of(UpstreamProtocol protocol) {
  switch (protocol) {
    case UpstreamProtocol::FASTCGI:
      return "the FastCGI application";
    case UpstreamProtocol::SCGI:
      return "the SCGI application";
    case UpstreamProtocol::UWSGI:
      return "the uwsgi application";
    case UpstreamProtocol::HTTP:
      return "the HTTP application";
  }
  return "the application";
}

}  // namespace

UpstreamClient::UpstreamClient(const UpstreamSettings& settings, const UpstreamAddress& address, RuntimeLoop& loop,
                               ErrorOutput& errors)
    : settings_(settings),
      address_(address),
      loop_(loop),
      errors_(errors),
      host_{.loop = loop,
            .ended = [this](UpstreamConnection& c, UpstreamRequest& r, UpstreamConnection::End how,
                            uint32_t status) { ended(c, r, how, status); },
            .lost = [this](UpstreamConnection& c, const std::string& why) { lost(c, why); },
            .heard =
                [this](UpstreamConnection&, UpstreamRequest& r) {
                  if (!r.answer.open()) settle(r);
                },
            .capacity =
                [this](UpstreamConnection& c, size_t requests_max) {
                  per_connection_ = std::clamp<size_t>(requests_max, 1, REQUESTS_MAX);
                  bury(c);
                  serve_waiting();
                }} {}

UpstreamClient::~UpstreamClient() {
  for (const auto& [key, request] : requests_) loop_.cancel(request->timer);
  for (const auto& connection : connections_) loop_.cancel(connection->idle);
  loop_.cancel(asking_timer_);
  loop_.cancel(full_timer_);
}

// --- requests -----------------------------------------------------------------------------------

void UpstreamClient::request(penstock_exchange* exchange) {
  const GatewayRequest asked = request_of(exchange);
  auto made = std::make_unique<UpstreamRequest>(exchange, name_of(settings_.protocol), errors_);
  UpstreamRequest& request = *made;
  const ScriptCall call = map_script(settings_, asked);
  if (call.refusal == 301) {
    const penstock_header fields[] = {{PENSTOCK_TEXT("Location"), {call.location.data(), call.location.size()}}};
    return penstock_answer(exchange, 301, fields, 1, "", 0);
  }
  if (call.refusal != 0) return request.answer.refuse(call.refusal, {});
  const Refusal refusal = write(asked, call.mapping, request);
  if (refusal.status != 0) return request.answer.refuse(refusal.status, refusal.why);
  request.body_follows = asked.body_length != 0;
  request.idempotent = is_idempotent(asked.method);
  requests_.emplace(&request, std::move(made));
  penstock_set_data(exchange, &request);
  if (request.body_follows) {
    penstock_pause(exchange);
    request.paused = true;
  }
  waiting_.push_back(&request);
  serve_waiting();
}

UpstreamClient::Refusal UpstreamClient::write(const GatewayRequest& asked, const ScriptMapping& mapping,
                                              UpstreamRequest& to) const {
  to.answers_head = asked.method == "HEAD";
  if (settings_.protocol == UpstreamProtocol::HTTP) {
    to.chunks_body = asked.body_length == PENSTOCK_UNKNOWN_LENGTH;
    if (!put_http_request(to.opening, asked)) return {400, "would get a control character in a field"};
    return {};
  }
  for (const auto& [name, value] : settings_.environment) to.variables.set(name, value);
  set_request_variables(asked, mapping, settings_.variables, to.variables);
  if (!to.variables.fits()) return {431, "would get more than 128 KiB of parameters"};
  if (settings_.protocol == UpstreamProtocol::FASTCGI) return {};
  // A body has the length that was announced, in both protocols; the end of a connection is none.
  if (asked.body_length == PENSTOCK_UNKNOWN_LENGTH) return {411, "cannot be told of a body without a length"};
  if (settings_.protocol == UpstreamProtocol::SCGI) {
    put_scgi_request(to.opening, to.variables);
  } else if (!put_uwsgi_request(to.opening, to.variables)) {
    return {431, "would get more than 64 KiB of parameters"};
  }
  return {};
}

void UpstreamClient::serve_waiting() {
  if (full_timer_.serial != 0) return;
  while (!waiting_.empty()) {
    UpstreamRequest& request = *waiting_.front();
    UpstreamConnection* connection = pick(request.retried);
    if (connection == nullptr) {
      if (request.retried) close_one_idle();
      if (connections_.size() >= settings_.connections) return;
      const auto opened = open();
      if (!opened && opened.error().code == EAGAIN) {  // its queue is full
        full_timer_ = loop_.after(FULL_WAIT, [this] {
          full_timer_ = {};
          serve_waiting();
        });
        return;
      }
      waiting_.pop_front();
      if (!opened) {
        request.answer.fail("cannot be reached: " + opened.error().message);
        drop_if_done(request);
        continue;
      }
      connection = *opened;
    } else {
      waiting_.pop_front();
    }
    loop_.cancel(connection->idle);
    connection->begin(request);
    if (request.paused) penstock_resume(request.answer.exchange());
    request.paused = false;
    ask_once();
  }
}

void UpstreamClient::body(UpstreamRequest& request, std::string_view bytes, bool last) {
  // Where the application has ended the request already, its client is only waiting for the rest of the answer.
  if (request.connection != nullptr) request.connection->send_body(request, bytes, last);
}

void UpstreamClient::writable(UpstreamRequest& request) {
  request.answer.writable();
  if (!request.answer.is_full() && request.connection != nullptr) request.connection->resume();
  if (!request.answer.open()) settle(request);
}

void UpstreamClient::cancelled(UpstreamRequest& request, bool overran) {
  request.answer.cancelled();
  std::erase(waiting_, &request);
  if (request.connection == nullptr) return drop_if_done(request);
  request.connection->abort(request);
  request.connection->resume();
  if (request.connection == nullptr) return drop_if_done(request);  // it had said all, and was only held back
  loop_.cancel(request.timer);
  if (overran && !settings_.start.empty()) {
    request.timer = loop_.after(OVERRUN_STEP, [this, &request] { end_worker(request); });
  } else {
    request.timer = loop_.after(SETTLE_STEP, [this, &request] { abandon(request); });
  }
}

void UpstreamClient::end_worker(UpstreamRequest& request) {
  request.timer = {};
  if (request.connection == nullptr) return drop_if_done(request);
  errors_.line("penstock-upstream: ", "the application goes on with a request that took too long; this worker ends");
  ::_exit(PENSTOCK_EXIT_OVERRUN);  // the supervisor ends what it started
}

void UpstreamClient::settle(UpstreamRequest& request) {
  if (request.connection == nullptr) return drop_if_done(request);
  if (request.timer.serial != 0) return;
  request.timer = loop_.after(SETTLE_STEP, [this, &request] {
    request.timer = {};
    if (request.connection == nullptr) return;
    request.connection->abort(request);
    request.timer = loop_.after(SETTLE_STEP, [this, &request] { abandon(request); });
  });
}

void UpstreamClient::abandon(UpstreamRequest& request) {
  request.timer = {};
  UpstreamConnection* const connection = request.connection;
  if (connection != nullptr) {
    connection->forget(request);
    keep_or_close(*connection);
  }
  drop_if_done(request);
  serve_waiting();
}

void UpstreamClient::drop_if_done(UpstreamRequest& request) {
  if (request.answer.open() || request.connection != nullptr) return;
  const auto found = requests_.find(&request);
  if (found == requests_.end()) return;
  loop_.cancel(request.timer);
  buried_requests_.push_back(std::move(found->second));
  requests_.erase(found);
  at_end();
}

// --- connections --------------------------------------------------------------------------------

UpstreamConnection* UpstreamClient::pick(bool fresh) {
  if (fresh) return nullptr;
  UpstreamConnection* best = nullptr;  // the fullest that has room: others may be closed then
  for (const auto& connection : connections_) {
    if (connection.get() == asking_ || !connection->reusable()) continue;
    if (connection->requests().size() >= per_connection_) continue;
    if (best == nullptr || connection->requests().size() > best->requests().size()) best = connection.get();
  }
  return best;
}

void UpstreamClient::close_one_idle() {
  const auto idle =
      std::ranges::find_if(connections_, [](const auto& connection) { return connection->idle.serial != 0; });
  if (idle != connections_.end() && connections_.size() >= settings_.connections) bury(**idle);
}

std::unique_ptr<UpstreamConnection> UpstreamClient::make() {
  if (settings_.protocol == UpstreamProtocol::FASTCGI) return std::make_unique<FcgiConnection>(host_, address_);
  const bool http = settings_.protocol == UpstreamProtocol::HTTP;
  return std::make_unique<StreamConnection>(host_, address_,
                                            http ? ResponseReader::Grammar::HTTP : ResponseReader::Grammar::CGI);
}

Result<UpstreamConnection*> UpstreamClient::open() {
  auto made = make();
  if (const Status opened = made->open(); !opened) return std::unexpected(opened.error());
  connections_.push_back(std::move(made));
  return connections_.back().get();
}

// On a connection of its own, which an application may close instead of an answer, as PHP does.
void UpstreamClient::ask_once() {
  if (settings_.protocol != UpstreamProtocol::FASTCGI || std::exchange(asked_, true)) return;
  const auto opened = open();
  if (!opened) return;
  asking_ = *opened;
  asking_->ask_capacity();
  asking_timer_ = loop_.after(ASK_WAIT, [this] {
    if (asking_ != nullptr) bury(*asking_);
    serve_waiting();
  });
}

void UpstreamClient::ended(UpstreamConnection& connection, UpstreamRequest& request, UpstreamConnection::End how,
                           uint32_t status) {
  loop_.cancel(request.timer);
  switch (how) {
    case UpstreamConnection::End::COMPLETE:
      if (status != 0 && !request.answer.begun()) {
        request.answer.fail("ended with status " + std::to_string(static_cast<int32_t>(status)) +
                            " before its head was whole");
      }
      request.answer.finish();
      break;
    case UpstreamConnection::End::CANNOT_MULTIPLEX:
      per_connection_ = 1;
      if (!request.body_follows && !request.retried && request.answer.open() && !request.answer.begun()) {
        ask_again(request);
      } else {
        request.answer.fail("does not multiplex, although it said so");
      }
      break;
    case UpstreamConnection::End::OVERLOADED:
      request.answer.begun() ? request.answer.fail("is overloaded") : request.answer.refuse(503, "is overloaded");
      break;
    case UpstreamConnection::End::UNKNOWN_ROLE:
      request.answer.fail("is no responder");
      break;
  }
  keep_or_close(connection);
  drop_if_done(request);
  serve_waiting();
}

void UpstreamClient::ask_again(UpstreamRequest& request) {
  request.retried = true;
  request.connection = nullptr;
  request.heard = false;
  waiting_.push_front(&request);
}

void UpstreamClient::lost(UpstreamConnection& connection, const std::string& why) {
  const bool kept = connection.used();
  const std::map<uint16_t, UpstreamRequest*> inside = connection.requests();
  for (const auto& [id, request] : inside) {
    if (request == nullptr) continue;
    request->connection = nullptr;
    loop_.cancel(request->timer);
    request->lines.finish();
    if (kept && !request->heard && !request->retried && request->idempotent && !request->body_follows &&
        request->answer.open()) {
      ask_again(*request);
      continue;
    }
    request->answer.fail(why);
    drop_if_done(*request);
  }
  bury(connection);
  serve_waiting();
}

void UpstreamClient::keep_or_close(UpstreamConnection& connection) {
  const bool empty =
      std::ranges::all_of(connection.requests(), [](const auto& entry) { return entry.second == nullptr; });
  if (!empty) return;
  if (!connection.reusable() || somebody_starves()) return bury(connection);
  connection.idle_since = loop_.now();
  look_at_idle(connection);
}

void UpstreamClient::look_at_idle(UpstreamConnection& connection) {
  loop_.cancel(connection.idle);
  connection.idle = loop_.after(IDLE_LOOK, [this, &connection] {
    connection.idle = {};
    if (loop_.now() - connection.idle_since >= IDLE_MAX || somebody_starves()) {
      bury(connection);
      return serve_waiting();
    }
    look_at_idle(connection);
  });
}

// A new connection that nobody has answered may be one that nobody has accepted, because kept ones take up the
// processes of the application. To close one for nothing costs little;
// before it has waited for a while, though, it costs each of them.
bool UpstreamClient::somebody_starves() const {
  const MonoTime before = loop_.now() - STARVED_AFTER;
  return std::ranges::any_of(connections_, [this, before](const auto& connection) {
    return connection.get() != asking_ && connection->silent_since(before);
  });
}

void UpstreamClient::bury(UpstreamConnection& connection) {
  const auto found = std::ranges::find(connections_, &connection, &std::unique_ptr<UpstreamConnection>::get);
  if (found == connections_.end()) return;
  loop_.cancel(connection.idle);
  connection.retire();
  if (asking_ == &connection) {
    asking_ = nullptr;
    loop_.cancel(asking_timer_);
  }
  buried_connections_.push_back(std::move(*found));
  connections_.erase(found);
  at_end();
}

void UpstreamClient::at_end() {
  if (std::exchange(at_end_, true)) return;
  loop_.at_end_of_turn(this, [this] {
    at_end_ = false;
    buried_requests_.clear();
    buried_connections_.clear();
  });
}

}  // namespace penstock
