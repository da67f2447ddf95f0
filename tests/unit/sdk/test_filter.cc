// The filter that the SDK's tests talk to: each path is one way to use it.
#include "pool/sdk/penstock_worker.hpp"
#include "src/base/assert.h"
#include "tests/unit/sdk/test_application.h"

#include <cerrno>
#include <string>

namespace penstock {
namespace {

using sdk::Exchange;

// Everything that is refused, and leaves no trace in the verdict.
void try_what_may_not_be(const Exchange& exchange) {
  ASSERT(exchange.set("", "v") == -EINVAL && exchange.set("a b", "v") == -EINVAL && exchange.set("a:", "v") == -EINVAL);
  ASSERT(exchange.add("a", "v\r\nb: c") == -EINVAL && exchange.add("a", std::string_view("\0", 1)) == -EINVAL);
  ASSERT(exchange.add("a", " v") == -EINVAL && exchange.remove("\n") == -EINVAL);
  ASSERT(exchange.set("a", std::string(PENSTOCK_HEAD_BYTES_MAX, 'x')) == -E2BIG);
  ASSERT(exchange.note("a\nb") == -EINVAL);
  ASSERT(exchange.set_target("x") == -EINVAL && exchange.set_target("/ x") == -EINVAL);
  ASSERT(exchange.set_target("/" + std::string(PENSTOCK_HEAD_BYTES_MAX, 'x')) == -E2BIG);
}

struct Filter : sdk::Filter {
  void filter_request(Exchange exchange) override {
    const std::string_view path = exchange.path();
    if (path == "/answer") return exchange.answer(403, {{"A", "b"}}, "not you");
    if (path == "/refuse") return exchange.abort();
    if (path == "/wrong") try_what_may_not_be(exchange);
    if (path == "/many") {
      for (int i = 0; i < PENSTOCK_FIELDS_MAX; ++i) ASSERT(exchange.add("a", "") == 0);
      ASSERT(exchange.add("a", "") == -E2BIG);
    }
    if (path == "/later") return exchange.worker().post([exchange] { exchange.pass(); });
    if (path == "/change") {
      ASSERT(exchange.set("A", "1") == 0 && exchange.add("B", "2") == 0 && exchange.remove("C") == 0);
      ASSERT(exchange.set_target("/other?q") == 0 && exchange.note("x=1") == 0 && exchange.note("y=2") == 0);
    }
    exchange.pass();
  }
  void filter_response(Exchange exchange) override {
    ASSERT(exchange.response_field_count() == 2 && exchange.response_field(1).name == "Two");
    (void)exchange.set("X", std::to_string(exchange.response_status()) +
                                std::string(exchange.response_value_of("one")) + std::string(exchange.value_of("x")));
    ASSERT(exchange.response_value_of("three").data() == nullptr);
    exchange.set_status(404);
    exchange.pass();
  }
  void filter_log(Exchange exchange) override {
    (void)exchange.note(std::to_string(exchange.response_status()) + " " +
                        std::to_string(exchange.response_body_bytes()) + " " +
                        std::to_string(exchange.request_time_us()));
    exchange.pass();
  }
};

}  // namespace

int run_test_filter(int hooks) {
  Filter filter;
  penstock_callbacks all = sdk::filter_callbacks();
  if ((hooks & HOOK_REQUEST) == 0) all.filter_request = nullptr;
  if ((hooks & HOOK_RESPONSE) == 0) all.filter_response = nullptr;
  if ((hooks & HOOK_LOG) == 0) all.filter_log = nullptr;
  return penstock_worker_run(&all, &filter);
}

}  // namespace penstock
