// What the HTTP floor costs a request: parse, canonicalise, negotiate, compose. The plain twin stands beside the
// SIMD one, and a head fed byte by byte beside a whole one, so that ratios can be read off one run.

#include "src/http/accept_encoding.h"
#include "src/http/chunked.h"
#include "src/http/conditional.h"
#include "src/http/date.h"
#include "src/http/host.h"
#include "src/http/range.h"
#include "src/http/request_parser.h"
#include "src/http/response_head.h"
#include "src/http/target.h"

#include <benchmark/benchmark.h>
#include <memory>
#include <string>

namespace penstock {
namespace {

constexpr std::string_view WRK = "GET /index.html HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";
constexpr std::string_view CURL =
    "GET /index.html HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n";
constexpr std::string_view BROWSER =
    "GET /static/app/main.css?v=20240611 HTTP/1.1\r\n"
    "Host: www.example.org\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    "Accept: text/css,*/*;q=0.1\r\n"
    "Accept-Language: en-US,en;q=0.5\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Connection: keep-alive\r\n"
    "Referer: https://www.example.org/index.html\r\n"
    "Sec-Fetch-Dest: style\r\n"
    "Sec-Fetch-Mode: no-cors\r\n"
    "Sec-Fetch-Site: same-origin\r\n"
    "If-None-Match: \"66681b2c-1f40\"\r\n"
    "Priority: u=2\r\n"
    "\r\n";

// 16 KiB in a hundred field lines.
std::string long_head() {
  std::string text = "GET / HTTP/1.1\r\nHost: h\r\n";
  while (text.size() < 16384 - 168) text += "X-Field: " + std::string(151, 'v') + "\r\n";
  text += "X-Last: " + std::string(16384 - text.size() - 12, 'v') + "\r\n\r\n";
  return text;
}

struct Simd {
  static ParseState parse(RequestParser& parser, std::string_view bytes, const ParseLimits& limits, RequestHead& out) {
    return parser.parse(bytes, limits, out);
  }
};
struct Plain {
  static ParseState parse(RequestParser& parser, std::string_view bytes, const ParseLimits& limits, RequestHead& out) {
    return parser.parse_plain(bytes, limits, out);
  }
};

template <typename How>
void parse_whole(benchmark::State& state, std::string_view text, How /*how*/) {
  const ParseLimits limits{.fields = FIELDS_MAX};
  const auto head = std::make_unique<RequestHead>();
  for (auto _ : state) {
    RequestParser parser;
    benchmark::DoNotOptimize(text);
    if (How::parse(parser, text, limits, *head) != ParseState::COMPLETE) state.SkipWithError("not complete");
    benchmark::DoNotOptimize(head->plain);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(text.size()));
}

template <typename How>
void parse_bytewise(benchmark::State& state, std::string_view text, How /*how*/) {
  const ParseLimits limits{.fields = FIELDS_MAX};
  const auto head = std::make_unique<RequestHead>();
  for (auto _ : state) {
    RequestParser parser;
    ParseState last = ParseState::NEED_MORE;
    for (size_t size = 1; size <= text.size(); ++size) {
      benchmark::DoNotOptimize(size);
      last = How::parse(parser, text.substr(0, size), limits, *head);
    }
    if (last != ParseState::COMPLETE) state.SkipWithError("not complete");
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(text.size()));
}

const std::string LONG = long_head();
BENCHMARK_CAPTURE(parse_whole, wrk, WRK, Simd{});
BENCHMARK_CAPTURE(parse_whole, wrk_plain, WRK, Plain{});
BENCHMARK_CAPTURE(parse_whole, curl, CURL, Simd{});
BENCHMARK_CAPTURE(parse_whole, curl_plain, CURL, Plain{});
BENCHMARK_CAPTURE(parse_whole, browser, BROWSER, Simd{});
BENCHMARK_CAPTURE(parse_whole, browser_plain, BROWSER, Plain{});
BENCHMARK_CAPTURE(parse_whole, long_16k, LONG, Simd{});
BENCHMARK_CAPTURE(parse_whole, long_16k_plain, LONG, Plain{});
BENCHMARK_CAPTURE(parse_bytewise, long_16k, LONG, Simd{});
BENCHMARK_CAPTURE(parse_bytewise, long_16k_plain, LONG, Plain{});

void canonicalise_path(benchmark::State& state, std::string_view path) {
  char out[4096];
  const DecodeRules rules;
  for (auto _ : state) {
    benchmark::DoNotOptimize(path);
    benchmark::DoNotOptimize(canonicalise(path, rules, out));
  }
}
BENCHMARK_CAPTURE(canonicalise_path, short_plain, "/index.html");
BENCHMARK_CAPTURE(canonicalise_path, long_plain, "/usr/share/doc/libstdc++-12-dev/html/manual/abi.html");
BENCHMARK_CAPTURE(canonicalise_path, escaped, "/a%20b/%C3%BCber/../caf%C3%A9/x.html");

void check_host(benchmark::State& state, std::string_view host) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(host);
    benchmark::DoNotOptimize(host_is_valid(host));
  }
}
BENCHMARK_CAPTURE(check_host, name, "www.example.org");
BENCHMARK_CAPTURE(check_host, ipv4_port, "127.0.0.1:8080");

void negotiate(benchmark::State& state, std::string_view value) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(value);
    benchmark::DoNotOptimize(choose_coding(parse_accept_encoding(value), ACCEPT_BR | ACCEPT_GZIP));
  }
}
BENCHMARK_CAPTURE(negotiate, weights, "gzip;q=1.0, br;q=0.8, *;q=0.1");

void write_date(benchmark::State& state) {
  char out[HTTP_DATE_BYTES];
  int64_t now = 1'700'000'000;
  for (auto _ : state) {
    write_http_date(++now, out);
    benchmark::DoNotOptimize(out);
  }
}
BENCHMARK(write_date);

void read_date(benchmark::State& state) {
  std::string_view text = "Sun, 06 Nov 1994 08:49:37 GMT";
  for (auto _ : state) {
    benchmark::DoNotOptimize(text);
    benchmark::DoNotOptimize(parse_http_date(text, 1'700'000'000));
  }
}
BENCHMARK(read_date);

void evaluate_304(benchmark::State& state) {
  const auto head = std::make_unique<RequestHead>();
  RequestParser parser;
  if (parser.parse(BROWSER, {}, *head) != ParseState::COMPLETE) state.SkipWithError("not complete");
  const Validators validators{.etag = "\"66681b2c-1f40\"", .last_modified = 1'700'000'000};
  for (auto _ : state) benchmark::DoNotOptimize(evaluate_conditional(*head, validators, 1'700'000'100));
}
BENCHMARK(evaluate_304);

void read_range(benchmark::State& state) {
  ByteRange ranges[16];
  std::string_view value = "bytes=0-499,1000-1499,-200";
  for (auto _ : state) {
    benchmark::DoNotOptimize(value);
    benchmark::DoNotOptimize(parse_range(value, 100'000, 16, ranges));
  }
}
BENCHMARK(read_range);

void compose_head(benchmark::State& state) {
  char out[1024];
  for (auto _ : state) {
    ResponseHeadWriter head(out, 200, 1'700'000'000, ServerHeaderMode::PRODUCT);
    head.field("Content-Type", "text/html; charset=utf-8");
    head.field("Content-Length", uint64_t{1024});
    head.field("ETag", "\"66681b2c-1f40\"");
    head.field_date("Last-Modified", 1'690'000'000);
    benchmark::DoNotOptimize(head.finish());
  }
}
BENCHMARK(compose_head);

void decode_chunks(benchmark::State& state) {
  std::string body;
  for (int i = 0; i < 16; ++i) body += "1000\r\n" + std::string(4096, 'd') + "\r\n";
  body += "0\r\n\r\n";
  for (auto _ : state) {
    ChunkDecoder decoder;
    std::string_view rest = body;
    ChunkStep step{};
    do {
      step = decoder.next(rest);
      rest.remove_prefix(step.consumed);
    } while (step.state == ChunkState::DATA);
    benchmark::DoNotOptimize(step.state);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(body.size()));
}
BENCHMARK(decode_chunks);

}  // namespace
}  // namespace penstock

BENCHMARK_MAIN();
