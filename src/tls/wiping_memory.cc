#include "src/tls/wiping_memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <malloc.h>
#include <openssl/crypto.h>

namespace penstock {
namespace {

void* wiping_malloc(size_t size, const char*, int) { return std::malloc(size); }

void give_back(void* memory, const char*, int) {
  if (memory == nullptr) return;
  ::explicit_bzero(memory, ::malloc_usable_size(memory));
  std::free(memory);
}

// A plain realloc may leave a copy behind.
void* resize(void* memory, size_t size, const char* file, int line) {
  if (size == 0) {
    give_back(memory, file, line);
    return nullptr;
  }
  void* larger = std::malloc(size);
  if (larger == nullptr || memory == nullptr) return larger;
  std::memcpy(larger, memory, std::min(size, ::malloc_usable_size(memory)));
  give_back(memory, file, line);
  return larger;
}

}  // namespace

Status start_wiping_openssl() {
  if (CRYPTO_set_mem_functions(&wiping_malloc, &resize, &give_back) != 1) {
    return fail("OpenSSL has allocated memory too early: it could not be wiped");
  }
  if (OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, nullptr) != 1) return fail("OpenSSL cannot be started");
  return {};
}

}  // namespace penstock
