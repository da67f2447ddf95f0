#include "tests/unit/sdk/test_application.h"

#include "pool/sdk/penstock_worker.h"
#include "src/base/assert.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <map>
#include <memory>
#include <poll.h>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace penstock {
namespace {

constexpr size_t BIG_BYTES = 5'000'000;
constexpr auto TOO_LONG = [] {
  std::array<char, 129> text{};
  text.fill('t');
  return text;
}();

struct Application {
  std::map<penstock_exchange*, size_t> big;  // bytes written so far
  penstock_exchange* first = nullptr;        // of two that are answered in the other order
  std::vector<std::thread> threads;
  uint64_t cancelled = 0;
  std::string cancelled_why;
  penstock_exchange* paused = nullptr;
  penstock_worker* worker = nullptr;
  std::thread::id main = std::this_thread::get_id();
  std::atomic<bool> helper_leaves = false;
};

std::string_view view(penstock_string text) { return {text.data, text.size}; }
penstock_string text(std::string_view from) { return {from.data(), from.size()}; }

char big_byte(size_t i) { return static_cast<char>('a' + i % 23); }

void answer(penstock_exchange* exchange, std::string_view body, unsigned status = 200) {
  const penstock_header type = {PENSTOCK_TEXT("Content-Type"), PENSTOCK_TEXT("text/plain")};
  penstock_answer(exchange, status, &type, 1, body.data(), body.size());
}

std::string describe(penstock_exchange* exchange) {
  unsigned major = 0;
  unsigned minor = 0;
  penstock_version(exchange, &major, &minor);
  std::string said;
  for (const penstock_string part :
       {penstock_method(exchange), penstock_target(exchange), penstock_path(exchange), penstock_query(exchange),
        penstock_authority(exchange), penstock_route_prefix(exchange), penstock_remote_address(exchange),
        penstock_server_address(exchange), penstock_site(exchange), penstock_header_value(exchange, "accept"),
        penstock_header_at(exchange, 1).name, penstock_header_at(exchange, 1).value}) {
    said.append(view(part)).append("|");
  }
  for (const uint64_t number :
       {uint64_t{penstock_remote_port(exchange)}, uint64_t{penstock_server_port(exchange)},
        static_cast<uint64_t>(penstock_is_secure(exchange)), static_cast<uint64_t>(penstock_has_query(exchange)),
        uint64_t{major}, uint64_t{minor}, penstock_serial(exchange), uint64_t{penstock_header_count(exchange)},
        static_cast<uint64_t>(penstock_header_value(exchange, "none").data == nullptr)}) {
    said.append(std::to_string(number)).append("|");
  }
  return said;
}

void write_big(Application& application, penstock_exchange* exchange) {
  size_t& written = application.big[exchange];
  while (written < BIG_BYTES) {
    char bytes[10'000];
    const size_t size = std::min(sizeof bytes, BIG_BYTES - written);
    for (size_t i = 0; i < size; ++i) bytes[i] = big_byte(written + i);
    const size_t taken = penstock_write(exchange, bytes, size);
    written += taken;
    if (taken < size) return;  // writable() goes on
  }
  application.big.erase(exchange);
  penstock_end(exchange);
}

// Its answer waits for room, and only then its body may come.
void write_before_reading(penstock_exchange* exchange) {
  const std::string bytes(20'000, 'w');
  if (penstock_write(exchange, bytes.data(), bytes.size()) == bytes.size()) penstock_resume(exchange);
}

// A byte in a message of its own, so often that they fill the ring.
void write_drops(Application& application, penstock_exchange* exchange) {
  constexpr size_t DROPS = 1'000;
  size_t& written = application.big[exchange];
  for (; written < DROPS; ++written) {
    if (penstock_write(exchange, "d", 1) == 0) return;  // writable() goes on
  }
  application.big.erase(exchange);
  penstock_end(exchange);
}

void later(penstock_worker* worker, penstock_exchange* exchange, Application& application) {
  application.threads.emplace_back([worker, exchange] {
    penstock_post(
        worker, [](void* argument) { answer(static_cast<penstock_exchange*>(argument), "from a thread"); }, exchange);
  });
}

void help(penstock_worker* worker, penstock_exchange* exchange, Application& application) {
  application.threads.emplace_back([worker, &application] {
    while (!application.helper_leaves && penstock_worker_help(worker) != 0) continue;
  });
  answer(exchange, "a helper");
}

void let_helper_go(penstock_worker* worker, penstock_exchange* exchange, Application& application) {
  application.helper_leaves = true;
  penstock_worker_nudge(worker);
  answer(exchange, "none");
}

void enter(penstock_worker* worker, penstock_exchange* exchange, Application& application) {
  application.threads.emplace_back([worker, exchange] {
    while (penstock_try_enter(worker) == 0) std::this_thread::yield();
    answer(exchange, "from within");
    penstock_leave(worker);
  });
}

void request(penstock_exchange* exchange, void* context) {
  Application& application = *static_cast<Application*>(context);
  const std::string_view path = view(penstock_path(exchange));
  application.worker = penstock_worker_of(exchange);
  if (path == "/hello") return answer(exchange, "hello");
  if (path == "/describe") return answer(exchange, describe(exchange));
  if (path == "/medium") return answer(exchange, std::string(60'000, 'm'));
  if (path == "/large") return answer(exchange, std::string(700'000, 'l'));
  if (path == "/thread") return later(penstock_worker_of(exchange), exchange, application);
  if (path == "/help") return help(penstock_worker_of(exchange), exchange, application);
  if (path == "/help-no-more") return let_helper_go(penstock_worker_of(exchange), exchange, application);
  if (path == "/who") return answer(exchange, std::this_thread::get_id() == application.main ? "main" : "helper");
  if (path == "/enter") return enter(penstock_worker_of(exchange), exchange, application);
  if (path == "/cancelled") return answer(exchange, std::to_string(application.cancelled) + application.cancelled_why);
  if (path == "/largest-head") {  // as much as fits
    const std::string value(PENSTOCK_HEAD_BYTES_MAX - 16 - 18 - 1, 'v');
    const penstock_header fields[] = {{text("n"), text(value)}, {text(""), text("")}};
    ASSERT(penstock_head_fits(fields, 1) == 1 && penstock_head_fits(fields, 2) == 0);
    const penstock_header larger = {text("nn"), text(value)};
    ASSERT(penstock_head_fits(&larger, 1) == 0);
    return penstock_answer(exchange, 200, fields, 1, "", 0);
  }
  if (path == "/most-fields") {
    const std::vector<penstock_header> fields(PENSTOCK_FIELDS_MAX + 1, {text("n"), text("v")});
    ASSERT(penstock_head_fits(fields.data(), PENSTOCK_FIELDS_MAX + 1) == 0);
    return penstock_answer(exchange, 200, fields.data(), PENSTOCK_FIELDS_MAX, "", 0);
  }
  if (path == "/wait") return;  // until it is cancelled
  if (path == "/execute") return penstock_execute(exchange, text("/hello?again"));
  if (path == "/abort") return penstock_abort(exchange);
  if (path == "/first") {
    application.first = exchange;
    return;
  }
  if (path == "/second") {
    answer(exchange, "second");
    return answer(application.first, "first");
  }
  if (path == "/pause") {
    penstock_pause(exchange);
    application.paused = exchange;
  }
  if (path == "/resume") {
    penstock_resume(application.paused);
    return answer(exchange, "resumed");
  }
  if (path == "/parts") {
    penstock_log(exchange, text("a log text"));
    penstock_cache_for(exchange, 1'500);
    penstock_begin(exchange, 203, nullptr, 0, PENSTOCK_UNKNOWN_LENGTH);
    penstock_write_file(exchange, text("a/file"), 3, 4);
    penstock_write_entry(exchange, text("/entry"));
    (void)penstock_write(exchange, "tail", 4);
    return penstock_end(exchange);
  }
  if (path.starts_with("/policy")) {
    constexpr std::string_view LONG(TOO_LONG.data(), TOO_LONG.size());
    const penstock_string vary[] = {PENSTOCK_TEXT("Accept-Language"), PENSTOCK_TEXT("X-Tier")};
    const penstock_string tags[] = {PENSTOCK_TEXT("news"), PENSTOCK_TEXT("a:1")};
    const penstock_string bad[] = {PENSTOCK_TEXT("a,b"), text(LONG)};
    penstock_cache_policy policy = {5'000, 6'000, 7'000, vary, 2, tags, 2};
    if (path == "/policy/never") policy.fresh_ms = 0;
    if (path == "/policy/tags") policy.vary_count = 0;
    if (path == "/policy/bad") policy = {5'000, 0, 0, nullptr, 0, bad, 1};
    if (path == "/policy/long") policy = {5'000, 0, 0, nullptr, 0, bad + 1, 1};
    if (path == "/policy/many") policy.tag_count = PENSTOCK_CACHE_TAGS_MAX + 1;
    const int said = penstock_cache(exchange, &policy);
    if (path == "/policy/again") penstock_cache_for(exchange, 9);
    if (path != "/policy/begun") return answer(exchange, std::to_string(said));
    penstock_begin(exchange, 200, nullptr, 0, 0);
    return penstock_end(exchange);
  }
  if (path == "/big") {
    penstock_begin(exchange, 200, nullptr, 0, BIG_BYTES);
    return write_big(application, exchange);
  }
  if (path == "/drops") {
    penstock_begin(exchange, 200, nullptr, 0, PENSTOCK_UNKNOWN_LENGTH);
    return write_drops(application, exchange);
  }
  if (path == "/echo" || path == "/pause" || path == "/count" || path == "/write-first") {
    penstock_set_data(exchange, std::make_unique<std::string>().release());
    if (path != "/write-first") return;
    penstock_pause(exchange);
    penstock_begin(exchange, 200, nullptr, 0, PENSTOCK_UNKNOWN_LENGTH);
    return write_before_reading(exchange);
  }
  answer(exchange, "not found", 404);
}

void send_body(penstock_exchange* exchange, const char* bytes, size_t size, int last, void*) {
  auto* const kept = static_cast<std::string*>(penstock_data(exchange));
  if (kept == nullptr) return;
  kept->append(bytes, size);
  if (last == 0) return;
  const std::unique_ptr<std::string> owned(kept);
  if (view(penstock_path(exchange)) == "/count") return answer(exchange, std::to_string(kept->size()));
  if (view(penstock_path(exchange)) == "/write-first") return penstock_end(exchange);
  answer(exchange, *kept);
}

void writable(penstock_exchange* exchange, void* context) {
  if (view(penstock_path(exchange)) == "/write-first") return write_before_reading(exchange);
  if (view(penstock_path(exchange)) == "/drops") return write_drops(*static_cast<Application*>(context), exchange);
  write_big(*static_cast<Application*>(context), exchange);
}

void cancelled(penstock_exchange* exchange, penstock_why_cancelled why, void* context) {
  Application& application = *static_cast<Application*>(context);
  ++application.cancelled;
  application.cancelled_why = why == PENSTOCK_WHY_LOST ? " lost" : why == PENSTOCK_WHY_TIMEOUT ? " timeout" : " gone";
  application.big.erase(exchange);
  const std::unique_ptr<std::string> owned(static_cast<std::string*>(penstock_data(exchange)));
}

// As a program with an event loop of its own does it.
int run_in_steps(const penstock_callbacks& callbacks, Application& application) {
  penstock_worker* worker = nullptr;
  if (penstock_worker_open(&callbacks, &application, &worker) != 0) return 1;
  while (penstock_worker_step(worker) != 0) {
    pollfd waits{.fd = penstock_worker_fd(worker), .events = POLLIN, .revents = 0};
    (void)::poll(&waits, 1, -1);
  }
  penstock_worker_close(worker);
  return 0;
}

}  // namespace

int run_test_application(bool in_steps) {
  Application application;
  const penstock_callbacks callbacks{
      .request = request, .body = send_body, .writable = writable, .cancelled = cancelled, .stopping = nullptr};
  if (in_steps) return run_in_steps(callbacks, application);
  const int code = penstock_worker_run(&callbacks, &application);
  for (std::thread& thread : application.threads) thread.join();
  // As a thread does that still works for a request that was cancelled.
  const auto never = [](void*) { std::abort(); };
  if (application.worker != nullptr) penstock_post(application.worker, never, nullptr);
  return code;
}

}  // namespace penstock
