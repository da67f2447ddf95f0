// penstock-upstream: an application that speaks FastCGI, SCGI, uwsgi or HTTP/1.1 as that of a pool.
// pool/runtimes/README.md says what it does.
#include "pool/runtimes/upstream/application_process.h"
#include "pool/runtimes/upstream/upstream_client.h"
#include "pool/runtimes/upstream/upstream_settings.h"
#include "pool/sdk/penstock_worker.h"

#include <csignal>
#include <cstdio>
#include <memory>

namespace penstock {
namespace {

constexpr const char* USAGE =
    "usage: penstock-upstream [--protocol fastcgi|scgi|uwsgi|http] (--connect unix:/PATH|HOST:PORT | --start COMMAND)\n"
    "                        [--root DIR [--index NAME]] [--split-path-info EXT] [--connections N] [--env NAME]... "
    "[--pass-authorization]\n";

// An application whose processes are all busy has requests waiting for them anyway, so that its answers may wait for
// one another; where they share a core with us, each would else cost a change of processes to and fro.
constexpr Duration GATHER_TIME = microseconds(70);

UpstreamRequest& request_in(penstock_exchange* exchange) {
  return *static_cast<UpstreamRequest*>(penstock_data(exchange));
}

penstock_callbacks callbacks() {
  penstock_callbacks all{};
  all.request = [](penstock_exchange* exchange, void* context) {
    static_cast<UpstreamClient*>(context)->request(exchange);
  };
  all.body = [](penstock_exchange* exchange, const char* bytes, size_t size, int last, void*) {
    UpstreamClient::body(request_in(exchange), {bytes, size}, last != 0);
  };
  all.writable = [](penstock_exchange* exchange, void* context) {
    static_cast<UpstreamClient*>(context)->writable(request_in(exchange));
  };
  all.cancelled = [](penstock_exchange* exchange, penstock_why_cancelled why, void* context) {
    static_cast<UpstreamClient*>(context)->cancelled(request_in(exchange), why == PENSTOCK_WHY_TIMEOUT);
  };
  return all;
}

int complain(const Error& error, int code) {
  std::fprintf(stderr, "penstock-upstream: %s\n", error.message.c_str());
  return code;
}

int run(const UpstreamSettings& settings) {
  ::signal(SIGPIPE, SIG_IGN);
  const auto loop = RuntimeLoop::make(!settings.start.empty());
  if (!loop) return complain(loop.error(), 1);
  ErrorOutput errors(2);
  std::unique_ptr<ApplicationProcess> application;
  if (!settings.start.empty()) {
    auto started = ApplicationProcess::start(settings, **loop, errors);
    if (!started) return complain(started.error(), 1);
    application = std::move(*started);
  }
  UpstreamClient client(settings, application ? application->address() : *settings.connect, **loop, errors);
  (*loop)->gather(GATHER_TIME, [&client] { return client.is_full(); });
  const penstock_callbacks all = callbacks();
  penstock_worker* worker = nullptr;
  if (penstock_worker_open(&all, &client, &worker) != 0) return 1;
  const bool drained = (*loop)->run(worker);
  penstock_worker_close(worker);
  return drained ? 0 : 128 + SIGTERM;
}

}  // namespace
}  // namespace penstock

int main(int argc, char** argv) {
  const auto settings =
      penstock::read_upstream_settings(std::span<char* const>(argv + 1, static_cast<size_t>(argc - 1)));
  if (!settings) {
    penstock::complain(settings.error(), 2);
    std::fputs(penstock::USAGE, stderr);
    return 2;
  }
  return penstock::run(*settings);
}
