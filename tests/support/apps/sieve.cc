// A filter, and an application behind filters, for tests. Its name is its first word in pool.NAME.app.
//
// A request tells it what to do by its query: NAME=what for this filter at the request, and NAME.answer= and NAME.log=
// at the later moments. Without that it lets pass: adds its name to the field X-Order of the request, sets X-Seen of
// the answer, and says for the log who it is, the status, and the bytes of the body.
#include "pool/sdk/penstock_worker.hpp"

#include <csignal>
#include <cstdlib>
#include <string>
#include <string_view>
#include <unistd.h>

namespace {

using penstock::sdk::Exchange;

struct Sieve : penstock::sdk::Filter {
  std::string name;
  int calls = 0;

  // What the query says behind "NAME=" or "NAME.moment=".
  [[nodiscard]] std::string_view told(const Exchange& exchange, std::string_view moment) const {
    std::string_view rest = exchange.query();
    const std::string key = name + std::string(moment) + "=";
    while (!rest.empty()) {
      const std::string_view one = rest.substr(0, rest.find('&'));
      rest = one.size() == rest.size() ? std::string_view{} : rest.substr(one.size() + 1);
      if (one.substr(0, key.size()) == key) return one.substr(key.size());
    }
    return {};
  }

  // Ends the exchange, or the process. False: nothing of the kind was asked for.
  static bool fails(const Exchange& exchange, std::string_view what) {
    if (what == "crash") std::abort();
    if (what == "hang") {
      while (true) ::pause();
    }
    if (what == "silent") return true;  // and never says a word
    if (what == "refuse") {
      exchange.abort();
      return true;
    }
    return false;
  }

  void filter_request(Exchange exchange) override {
    const std::string_view what = told(exchange, "");
    if (fails(exchange, what)) return;
    if (what == "deny") {
      return exchange.answer(403, {{"X-Denied", name}, {"Cache-Control", "max-age=60"}}, "denied by " + name);
    }
    if (what.substr(0, 3) == "to:") {
      (void)exchange.set_target(what.substr(3));
      return exchange.pass();
    }
    if (what != "same") {
      const std::string_view before = exchange.value_of("X-Order");
      (void)exchange.set("X-Order", std::string(before) + name);
    }
    if (what == "frame") {
      for (const char* field : {"Host", "Content-Length", "Connection", "Transfer-Encoding"}) {
        (void)exchange.set(field, "evil");
      }
    }
    exchange.pass();
  }

  void filter_response(Exchange exchange) override {
    const std::string_view what = told(exchange, ".answer");
    if (fails(exchange, what)) return;
    if (what == "418") exchange.set_status(418);
    if (what == "204") exchange.set_status(204);  // no body may become of one
    if (what == "frame") {
      for (const char* field : {"Content-Length", "Transfer-Encoding", "Connection", "Date"}) {
        (void)exchange.set(field, "7");
      }
    }
    (void)exchange.set("X-Seen", std::string(exchange.response_value_of("X-Seen")) + name);
    (void)exchange.remove("X-Powered-By");
    exchange.pass();
  }

  void filter_log(Exchange exchange) override {
    if (fails(exchange, told(exchange, ".log"))) return;
    (void)exchange.note(name + "=" + std::to_string(exchange.response_status()) + "/" +
                        std::to_string(exchange.response_body_bytes()));
    exchange.pass();
  }

  // As the application behind.
  void request(const Exchange& exchange) {
    const std::string body = std::to_string(++calls) + " " + std::string(exchange.target()) +
                             " order=" + std::string(exchange.value_of("X-Order")) + "\n";
    const std::string kept = exchange.path().find("/kept") != std::string_view::npos ? "max-age=60" : "no-store";
    exchange.answer(200, {{"X-Powered-By", "sieve"}, {"Cache-Control", kept}}, body);
  }
};

}  // namespace

int main(int argc, char** argv) {
  static Sieve sieve;
  if (argc > 1) sieve.name = argv[1];
  penstock_callbacks callbacks = penstock::sdk::filter_callbacks();
  callbacks.request = [](penstock_exchange* exchange, void* context) {
    static_cast<Sieve*>(static_cast<penstock::sdk::Filter*>(context))->request(Exchange(exchange));
  };
  return penstock_worker_run(&callbacks, static_cast<penstock::sdk::Filter*>(&sieve));
}
