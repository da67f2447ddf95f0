#include "src/base/result.h"

#include <system_error>

namespace penstock {

std::unexpected<Error> fail_errno(const std::string& what, int code) {
  // std::generic_category is thread-safe where strerror is not.
  return std::unexpected(Error{code, what + ": " + std::generic_category().message(code)});
}

}  // namespace penstock
