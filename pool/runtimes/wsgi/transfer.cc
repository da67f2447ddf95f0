// Invariants: a transfer is listed with the courier only while it is not gone. mutex_ is taken before the courier's.
// Nothing waits for mutex_ longer than a copy of ANSWER_MAX bytes takes.
#include "pool/runtimes/wsgi/transfer.h"

#include "src/base/assert.h"

#include <algorithm>

namespace penstock {
namespace {

penstock_string string_of(std::string_view from) { return {from.data(), from.size()}; }

// Forgets what was used of a buffer, once that is as much as what is left: so each byte moves once at most.
void drop_front(std::string& buffer, size_t& used) {
  if (used < buffer.size() - used) return;
  buffer.erase(0, used);
  used = 0;
}

}  // namespace

RequestHead::RequestHead(const penstock_exchange* exchange)
    : remote_port(penstock_remote_port(exchange)),
      server_port(penstock_server_port(exchange)),
      secure(penstock_is_secure(exchange) != 0),
      serial(penstock_serial(exchange)),
      body_length(penstock_body_length(exchange)) {
  penstock_version(exchange, &major, &minor);
  const std::pair<std::string_view*, penstock_string> parts[] = {
      {&method, penstock_method(exchange)},
      {&target, penstock_target(exchange)},
      {&path, penstock_path(exchange)},
      {&query, penstock_query(exchange)},
      {&authority, penstock_authority(exchange)},
      {&route_prefix, penstock_route_prefix(exchange)},
      {&remote_address, penstock_remote_address(exchange)},
      {&server_address, penstock_server_address(exchange)},
      {&client_verify, penstock_client_verify(exchange)},
      {&client_subject, penstock_client_subject(exchange)},
      {&client_fingerprint, penstock_client_fingerprint(exchange)}};
  const size_t count = penstock_header_count(exchange);
  size_t bytes = 0;
  for (const auto& [to, from] : parts) bytes += from.size;
  for (size_t i = 0; i < count; ++i) {
    const penstock_header field = penstock_header_at(exchange, i);
    bytes += field.name.size + field.value.size;
  }
  text_.reserve(bytes);  // so that it never moves
  const auto keep = [this](penstock_string from) {
    const size_t at = text_.size();
    text_.append(from.data, from.size);
    return std::string_view(text_).substr(at);
  };
  for (const auto& [to, from] : parts) *to = keep(from);
  fields.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    const penstock_header field = penstock_header_at(exchange, i);
    const std::string_view name = keep(field.name);
    fields.emplace_back(name, keep(field.value));
  }
}

// --- the courier ----------------------------------------------------------------------------

void Courier::poke(penstock_worker* worker, Transfer& transfer) {
  const std::lock_guard lock(mutex_);
  if (transfer.listed_) return;
  transfer.listed_ = true;
  listed_.push_back(&transfer);
  if (std::exchange(posted_, true)) return;
  penstock_post(worker, deliver, this);
}

void Courier::forget(Transfer& transfer) {
  const std::lock_guard lock(mutex_);
  std::erase(listed_, &transfer);
}

void Courier::deliver(void* self) {
  Courier& courier = *static_cast<Courier*>(self);
  std::vector<Transfer*> due;
  {
    const std::lock_guard lock(courier.mutex_);
    due.swap(courier.listed_);
    courier.posted_ = false;
    for (Transfer* transfer : due) transfer->listed_ = false;
  }
  for (Transfer* transfer : due) {
    serve(*transfer);
  }
}

// One that is over may be listed again, by the thread that finished it meanwhile.
void Courier::serve(Transfer& transfer) {
  if (!transfer.serve()) return;
  transfer.courier_.forget(transfer);
  const std::unique_ptr<Transfer> done(&transfer);
}

// --- the worker's thread --------------------------------------------------------------------

Transfer::Transfer(penstock_exchange* exchange, Courier& courier)
    : head(exchange),
      courier_(courier),
      worker_(penstock_worker_of(exchange)),
      head_only_(head.method == "HEAD"),
      exchange_(exchange),
      body_whole_(head.body_length == 0) {}

void Transfer::body_came(std::string_view bytes, bool last) {
  const std::lock_guard lock(mutex_);
  body_whole_ = body_whole_ || last;
  if (body_closed_) return;  // nobody reads it any more
  drop_front(body_, body_at_);
  body_.append(bytes);
  if (body_.size() - body_at_ >= BODY_MAX && !last) {
    penstock_pause(exchange_);
    paused_ = true;
  }
  changed_.notify_all();
}

// The common answer: all of it is here, and leaves in one descriptor.
bool Transfer::answer_at_once(const std::vector<penstock_header>& fields) {
  const bool announces = response_.length == answer_.size() || response_.length == PENSTOCK_UNKNOWN_LENGTH;
  if (!finished_ || ending_ != Ending::WHOLE || head_only_ || !announces) return false;
  if (response_.status == 204 || response_.status == 304) return false;  // these have no length of their own
  penstock_answer(exchange_, response_.status, fields.data(), fields.size(), answer_.data(), answer_.size());
  exchange_ = nullptr;
  return true;
}

void Transfer::send_head() {
  std::vector<penstock_header> fields;
  fields.reserve(response_.fields.size());
  for (const auto& [name, value] : response_.fields) fields.push_back({string_of(name), string_of(value)});
  if (answer_at_once(fields)) return;
  penstock_begin(exchange_, response_.status, fields.data(), fields.size(), response_.length);
  begun_ = true;
}

bool Transfer::serve() {
  const std::lock_guard lock(mutex_);
  ASSERT(exchange_ != nullptr);
  if (!log_.empty()) penstock_log(exchange_, string_of(log_));
  log_.clear();
  if (has_response_ && !begun_) {
    send_head();
    if (exchange_ == nullptr) return true;
  }
  if (begun_ && answer_at_ < answer_.size()) {
    answer_at_ += penstock_write(exchange_, answer_.data() + answer_at_, answer_.size() - answer_at_);
    blocked_ = answer_at_ < answer_.size();
    if (!blocked_) {
      answer_.clear();
      answer_at_ = 0;
    }
    changed_.notify_all();
  }
  if (finished_ && ending_ == Ending::CUT) {  // behind what it had written, as far as there is room for that
    penstock_abort(exchange_);
    exchange_ = nullptr;
    return true;
  }
  if (finished_ && begun_ && answer_.empty()) {
    penstock_end(exchange_);
    exchange_ = nullptr;
    return true;
  }
  if (wants_resume_) {
    wants_resume_ = paused_ = false;
    penstock_resume(exchange_);
  }
  return false;
}

bool Transfer::cancel() {
  const std::lock_guard lock(mutex_);
  gone_ = true;
  exchange_ = nullptr;
  changed_.notify_all();
  courier_.forget(*this);
  return finished_;
}

// --- the thread that calls the application --------------------------------------------------

void Transfer::poke() {
  if (!gone_) courier_.poke(worker_, *this);
}

bool Transfer::gone() {
  const std::lock_guard lock(mutex_);
  return gone_;
}

bool Transfer::read(std::string& to, size_t most, bool line, bool wait, bool& complete) {
  std::unique_lock lock(mutex_);
  complete = true;
  while (most > 0) {
    if (gone_ || body_closed_) return false;
    std::string_view here = std::string_view(body_).substr(body_at_, most);
    const size_t newline = line ? here.find('\n') : std::string_view::npos;
    here = here.substr(0, newline == std::string_view::npos ? newline : newline + 1);
    to.append(here);
    most -= here.size();
    body_at_ += here.size();
    if (paused_ && !wants_resume_ && body_.size() - body_at_ <= BODY_MAX / 2) {
      wants_resume_ = true;
      poke();
    }
    if (newline != std::string_view::npos) return true;
    if (body_at_ < body_.size()) continue;
    if (body_whole_ || most == 0) return true;
    if (!wait) {
      complete = false;
      return true;
    }
    changed_.wait(lock);
  }
  return true;
}

void Transfer::close_body() {
  const std::lock_guard lock(mutex_);
  body_closed_ = true;
  body_.clear();
  body_at_ = 0;
  if (paused_ && !wants_resume_ && !gone_) {
    wants_resume_ = true;
    poke();
  }
  changed_.notify_all();
}

void Transfer::begin(ResponseHead response) {
  const std::lock_guard lock(mutex_);
  response_ = std::move(response);
  has_response_ = true;
}

size_t Transfer::write(std::string_view bytes, bool wait, bool show) {
  std::unique_lock lock(mutex_);
  size_t taken = 0;
  while (!gone_) {
    const size_t kept = answer_.size() - answer_at_;
    const size_t piece = std::min(bytes.size() - taken, ANSWER_MAX - std::min(kept, ANSWER_MAX));
    drop_front(answer_, answer_at_);
    answer_.append(bytes.substr(taken, piece));
    taken += piece;
    if (!blocked_ && show) poke();
    if (taken == bytes.size() || !wait) break;
    changed_.wait(lock);
  }
  return taken;
}

void Transfer::log(std::string_view text) {
  const std::lock_guard lock(mutex_);
  log_.append(text);
}

// Where the worker's thread sleeps it is let sleep: the answer goes into the rings from here.
void Transfer::finish(std::unique_ptr<Transfer> self, Ending ending) {
  Transfer* const transfer = self.get();
  penstock_worker* const worker = transfer->worker_;
  const bool entered = penstock_try_enter(worker) != 0;
  if (transfer->hand_over(ending, !entered)) (void)self.release();  // the worker's thread's from here
  if (!entered) return;
  if (self == nullptr) Courier::serve(*transfer);
  penstock_leave(worker);
}

// False: nobody is there to take it.
bool Transfer::hand_over(Ending ending, bool pokes) {
  const std::lock_guard lock(mutex_);
  if (gone_) return false;
  finished_ = true;
  ending_ = ending;
  if (pokes) poke();
  return true;
}

}  // namespace penstock
