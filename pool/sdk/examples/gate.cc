// A filter for penstock-native, in front of files or an application: keeps a path to itself, renames what answers, and
// tells the log how long the answer was.
//
//     pool.gate.runtime = native
//     pool.gate.app = /srv/app/gate.so
//     site.main.route.docs.filters = gate
#include "pool/sdk/penstock_worker.hpp"

#include <string>

namespace {

struct Gate : penstock::sdk::Filter {
  void filter_request(penstock::sdk::Exchange exchange) override {
    if (exchange.path().find("/private/") != std::string_view::npos) {
      return exchange.answer(403, {{"Content-Type", "text/plain"}}, "not for you\n");
    }
    (void)exchange.set("X-Gate", "passed");  // for the application behind it
    exchange.pass();
  }
  void filter_response(penstock::sdk::Exchange exchange) override {
    (void)exchange.set("X-Content-Type-Options", "nosniff");
    (void)exchange.remove("X-Powered-By");
    exchange.pass();
  }
  void filter_log(penstock::sdk::Exchange exchange) override {
    (void)exchange.note("gate=" + std::to_string(exchange.response_body_bytes()));
    exchange.pass();
  }
};

}  // namespace

PENSTOCK_FILTER(Gate)
