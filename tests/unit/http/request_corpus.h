// Requests by the thousand from a seed: what clients send, what attackers send, and both with bytes
// knocked out of place. Used where a property must hold for every input, whatever the answer is.
#pragma once

#include "src/base/prng.h"

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace penstock {

class RequestCorpus {
 public:
  explicit RequestCorpus(uint64_t seed) : prng_(seed) {}

  std::string next() {
    dirty_ = prng_.one_in(2);
    std::string text;
    while (prng_.one_in(8)) text += "\r\n";
    text += pick(METHODS, 5);
    text += pick(SPACES, 1);
    text += target();
    text += pick(SPACES, 1);
    text += pick(VERSIONS, 2);
    text += pick(LINE_ENDS, 1);
    if (!dirty_ || !prng_.one_in(12)) text += "Host: " + std::string(pick(HOSTS, 5)) + std::string(pick(LINE_ENDS, 1));
    for (uint32_t n = prng_.below(8); n > 0; --n) text += field_line();
    text += "\r\n";
    while (prng_.one_in(3)) text += pick(BEHIND, BEHIND.size());
    if (dirty_ && prng_.one_in(2)) mutate(text);
    if (prng_.one_in(6)) text.resize(prng_.below(static_cast<uint32_t>(text.size())));
    return text;
  }

 private:
  // One of the list; of its first `clean` unless this request is a dirty one.
  template <size_t N>
  std::string_view pick(const std::array<std::string_view, N>& from, size_t clean) {
    const bool odd = dirty_ && prng_.one_in(4);
    return from[prng_.below(static_cast<uint32_t>(odd ? N : clean))];
  }

  std::string target() {
    std::string text(pick(TARGETS, 5));
    if (prng_.one_in(3)) text += "/" + std::string(prng_.below(80), 'p');
    if (prng_.one_in(4)) text += "?" + std::string(prng_.below(60), 'q');
    return text;
  }

  std::string field_line() {
    std::string text(pick(NAMES, 12));
    text += pick(COLONS, 4);
    text += pick(VALUES, 8);
    if (prng_.one_in(6)) text += std::string(prng_.below(70), 'v');
    if (prng_.one_in(9)) text += " \t";
    text += pick(LINE_ENDS, 1);
    return text;
  }

  // One to three bytes replaced, removed, put in or doubled.
  void mutate(std::string& text) {
    static constexpr std::string_view BYTES =
        "\r\n\t \0:/?#%,;\x01\x0b\x7f\x80\xff,\"*AZaz09"
        "\0";
    for (uint32_t n = 1 + prng_.below(3); n > 0 && !text.empty(); --n) {
      const size_t at = prng_.below(static_cast<uint32_t>(text.size()));
      const char byte = BYTES[prng_.below(static_cast<uint32_t>(BYTES.size()))];
      switch (prng_.below(5)) {
        case 0:
          text[at] = byte;
          break;
        case 1:
          text.erase(at, 1 + prng_.below(4));
          break;
        case 2:
          text.insert(at, 1, byte);
          break;
        case 3:
          text.insert(at, text.substr(at, prng_.below(40)));
          break;
        default:
          text[at] = static_cast<char>(prng_.next());
          break;
      }
    }
  }

  static constexpr auto METHODS =
      std::to_array<std::string_view>({"GET", "GET", "HEAD", "POST", "BREW", "OPTIONS", "PUT", "CONNECT", "G\x01T",
                                       "PRI", "AVERYLONGMETHODNAMEBEYONDTHELIMITOF32"});
  static constexpr auto SPACES = std::to_array<std::string_view>({" ", "  ", "\t"});
  static constexpr auto TARGETS = std::to_array<std::string_view>(
      {"/", "/index.html", "/a/b/../c", "/a?b", "http://example.org/x", "/a?", "*", "http://example.org", "/%2e%2e/x",
       "https://h:443/?q", "example.org:80", "http://u@h/", "/\x80\xff", "/a#b", "?", "//x", "ftp://h/"});
  static constexpr auto VERSIONS = std::to_array<std::string_view>(
      {"HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/1.9", "HTTP/11", "http/1.1", "HTTP/1.1 "});
  static constexpr auto LINE_ENDS = std::to_array<std::string_view>({"\r\n", "\r\n", "\r\n", "\n", "\r", "\r\r\n"});
  static constexpr auto HOSTS = std::to_array<std::string_view>(
      {"example.org", "example.org:8080", "127.0.0.1:8080", "[::1]:80", "h", "a..b", "", "h:99999",
       "xn--bcher-kva.example", "-", "h/x", "a.very.long.name.of.many.labels.that.goes.on.and.on.example.com"});
  static constexpr auto NAMES = std::to_array<std::string_view>({"Accept",
                                                                 "Accept-Encoding",
                                                                 "accept-encoding",
                                                                 "If-None-Match",
                                                                 "If-Modified-Since",
                                                                 "Range",
                                                                 "Referer",
                                                                 "User-Agent",
                                                                 "X-A",
                                                                 "Cookie",
                                                                 "Upgrade-Insecure-Requests",
                                                                 "Connection",
                                                                 "CONNECTION",
                                                                 "Content-Length",
                                                                 "Content-Length",
                                                                 "Transfer-Encoding",
                                                                 "Expect",
                                                                 "Host",
                                                                 "If-Match",
                                                                 "If-Range",
                                                                 "x",
                                                                 "Upgrade",
                                                                 "Authorization",
                                                                 "TE",
                                                                 "X_Under",
                                                                 "Bad Name",
                                                                 "",
                                                                 "Sec-WebSocket-Version",
                                                                 "Via"});
  static constexpr auto COLONS = std::to_array<std::string_view>({": ", ":", ":\t", ":  ", " :", "", "::"});
  static constexpr auto VALUES = std::to_array<std::string_view>({"",
                                                                  "0",
                                                                  "gzip, deflate, br, zstd",
                                                                  "gzip;q=0.5",
                                                                  "\"abc\"",
                                                                  "Sun, 06 Nov 1994 08:49:37 GMT",
                                                                  "bytes=0-1",
                                                                  "Mozilla/5.0 (X11; Linux x86_64)",
                                                                  "5",
                                                                  "18446744073709551616",
                                                                  "9223372036854775807",
                                                                  "5, 5",
                                                                  "+5",
                                                                  "chunked",
                                                                  "Chunked",
                                                                  "gzip, chunked",
                                                                  "chunked, chunked",
                                                                  "identity",
                                                                  "br",
                                                                  "*",
                                                                  "keep-alive",
                                                                  "close",
                                                                  "Keep-Alive, Upgrade",
                                                                  "100-continue",
                                                                  "200-ok",
                                                                  "W/\"abc\", \"def\"",
                                                                  "a\x80\xff z",
                                                                  "a\x01z"});
  static constexpr auto BEHIND =
      std::to_array<std::string_view>({"GET /next HTTP/1.1\r\n", "5\r\nhello\r\n0\r\n\r\n", "\r\n", "body"});

  bool dirty_ = false;
  Prng prng_;
};

}  // namespace penstock
