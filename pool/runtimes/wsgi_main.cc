// penstock-wsgi: the runtime of Python applications (PEP 3333), with CPython inside.
//
// The main thread has the rings, and whoever has them never waits for the interpreter's lock: a worker whose
// application computes, or hangs, still answers pings and takes cancellations. The application runs in threads
// (request_threads.h).
#include "pool/runtimes/wsgi/application.h"
#include "pool/runtimes/wsgi/asgi.h"
#include "pool/runtimes/wsgi/interpreter.h"
#include "pool/runtimes/wsgi/options.h"
#include "pool/runtimes/wsgi/request_threads.h"
#include "pool/sdk/penstock_worker.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

namespace penstock {
namespace {

struct Rings {
  Courier courier;
  RequestThreads threads;
};

Transfer* transfer_of(penstock_exchange* exchange) { return static_cast<Transfer*>(penstock_data(exchange)); }

void request(penstock_exchange* exchange, void* context) {
  Rings& rings = *static_cast<Rings*>(context);
  auto transfer = std::make_unique<Transfer>(exchange, rings.courier);
  penstock_set_data(exchange, transfer.get());
  rings.threads.push(penstock_worker_of(exchange), std::move(transfer));
}

void body(penstock_exchange* exchange, const char* bytes, size_t size, int last, void*) {
  transfer_of(exchange)->body_came({bytes, size}, last != 0);
}

void writable(penstock_exchange* exchange, void*) { Courier::serve(*transfer_of(exchange)); }

void cancelled(penstock_exchange* exchange, penstock_why_cancelled why, void* context) {
  Transfer* const transfer = transfer_of(exchange);
  const bool interrupt = why == PENSTOCK_WHY_TIMEOUT || why == PENSTOCK_WHY_STOPPING;
  const std::unique_ptr<Transfer> never_called = static_cast<Rings*>(context)->threads.cancel(*transfer, interrupt);
  if (transfer->cancel()) const std::unique_ptr<Transfer> done(transfer);
}

int complain(const Error& error) {
  std::fprintf(stderr, "penstock-wsgi: %s\n", error.message.c_str());
  return 1;
}

// With the interpreter's lock. `worker`: the variable that the SDK wants, hidden from the application.
int serve(const WsgiOptions& options, const std::string& worker) {
  Result<PyRef> callable = load_application(options);
  if (callable && speaks_asgi(*callable)) callable = adapt_asgi(*callable);
  if (!callable) return complain(callable.error());
  Result<WsgiApplication> application = WsgiApplication::create(std::move(*callable), options.threads > 1);
  if (!application) return complain(application.error());
  const GilRelease threads_take_it;
  Rings rings{.courier = {}, .threads = {*application, options.threads, options.hanging_after}};
  if (!worker.empty()) ::setenv(PENSTOCK_WORKER_VARIABLE, worker.c_str(), 1);  // which the SDK takes away again
  const penstock_callbacks callbacks{
      .request = request, .body = body, .writable = writable, .cancelled = cancelled, .stopping = nullptr};
  const int code = penstock_worker_run(&callbacks, &rings);
  rings.threads.stop();
  return code;
}

}  // namespace
}  // namespace penstock

int main(int count, char** words) {
  using namespace penstock;
  const Result<WsgiOptions> options = read_wsgi_options({words + 1, words + count});
  if (!options) {
    (void)complain(options.error());
    return 2;
  }
  (void)std::signal(SIGPIPE, SIG_IGN);
  const char* const variable = std::getenv(PENSTOCK_WORKER_VARIABLE);
  const std::string worker = variable == nullptr ? "" : variable;
  ::unsetenv(PENSTOCK_WORKER_VARIABLE);
  if (const Status started = start_interpreter(*options); !started) return complain(started.error());
  const int code = serve(*options, worker);
  end_interpreter();
  return code;
}
