#include "src/http/status.h"

#include <algorithm>
#include <iterator>

namespace penstock {
namespace {

// A (status, sub-status) pair names one cause, so that a log line can be traced back to one row.
consteval bool reasons_are_unique() {
  for (size_t i = 0; i < REASONS.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (REASONS[i].status == REASONS[j].status && REASONS[i].sub_status == REASONS[j].sub_status) return false;
    }
  }
  return true;
}
static_assert(reasons_are_unique());

struct Phrase {
  uint16_t status;
  std::string_view text;
};

// The registry of RFC 9110 section 16.2.1 (IANA, HTTP Status Codes), in order, and RFC 2324's joke, whose number RFC
// 9110 keeps for it.
constexpr Phrase PHRASES[] = {
    {100, "Continue"},
    {101, "Switching Protocols"},
    {102, "Processing"},
    {103, "Early Hints"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {203, "Non-Authoritative Information"},
    {204, "No Content"},
    {205, "Reset Content"},
    {206, "Partial Content"},
    {207, "Multi-Status"},
    {208, "Already Reported"},
    {226, "IM Used"},
    {300, "Multiple Choices"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {305, "Use Proxy"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {402, "Payment Required"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {407, "Proxy Authentication Required"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {418, "I'm a Teapot"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {423, "Locked"},
    {424, "Failed Dependency"},
    {425, "Too Early"},
    {426, "Upgrade Required"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {451, "Unavailable For Legal Reasons"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {506, "Variant Also Negotiates"},
    {507, "Insufficient Storage"},
    {508, "Loop Detected"},
    {510, "Not Extended"},
    {511, "Network Authentication Required"},
};
static_assert(std::ranges::is_sorted(PHRASES, {}, &Phrase::status));

}  // namespace

std::string_view status_phrase(uint16_t status) {
  const auto* found = std::ranges::lower_bound(PHRASES, status, {}, &Phrase::status);
  return found != std::end(PHRASES) && found->status == status ? found->text : std::string_view{};
}

}  // namespace penstock
