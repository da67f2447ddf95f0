#include "src/http/method.h"

#include <array>
#include <cstddef>

namespace penstock {
namespace {

constexpr std::array<std::string_view, 10> METHOD_NAMES = {"GET",    "HEAD",  "OPTIONS", "POST",    "PUT",
                                                           "DELETE", "PATCH", "TRACE",   "CONNECT", "OTHER"};

}  // namespace

Method method_from_text(std::string_view text) {
  for (size_t i = 0; i + 1 < METHOD_NAMES.size(); ++i) {
    if (text == METHOD_NAMES[i]) return static_cast<Method>(i);
  }
  return Method::OTHER;
}

std::string_view method_name(Method method) { return METHOD_NAMES[static_cast<size_t>(method)]; }

}  // namespace penstock
