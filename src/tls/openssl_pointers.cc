#include "src/tls/openssl_pointers.h"

#include <openssl/err.h>

namespace penstock {

std::string take_openssl_error() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  if (code == 0) return "";
  const char* const text = ERR_reason_error_string(code);
  return text != nullptr ? text : "error " + std::to_string(code);
}

}  // namespace penstock
