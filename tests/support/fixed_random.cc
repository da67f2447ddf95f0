// A provider with one algorithm, a random generator that is none, taken for all of OpenSSL's.
#include "tests/support/fixed_random.h"

#include "src/base/assert.h"

#include <algorithm>
#include <cstring>
#include <openssl/core.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <openssl/rand.h>

namespace penstock::test {
namespace {

uint64_t state = 1;

uint64_t next_word() {  // splitmix64
  uint64_t x = state += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

void* make_context(void*, void*, const OSSL_DISPATCH*) { return &state; }
void free_context(void*) {}
int instantiate(void*, unsigned, int, const unsigned char*, size_t, const OSSL_PARAM*) { return 1; }
int uninstantiate(void*) { return 1; }
int generate(void*, unsigned char* out, size_t size, unsigned, int, const unsigned char*, size_t) {
  while (size > 0) {
    const uint64_t word = next_word();
    const size_t now = std::min(size, sizeof word);
    std::memcpy(out, &word, now);
    out += now;
    size -= now;
  }
  return 1;
}
int enable_locking(void*) { return 1; }
int get_parameters(void*, OSSL_PARAM* parameters) {
  OSSL_PARAM* one = OSSL_PARAM_locate(parameters, OSSL_RAND_PARAM_STATE);
  if (one != nullptr && OSSL_PARAM_set_int(one, EVP_RAND_STATE_READY) != 1) return 0;
  one = OSSL_PARAM_locate(parameters, OSSL_RAND_PARAM_STRENGTH);
  if (one != nullptr && OSSL_PARAM_set_uint(one, 256) != 1) return 0;
  one = OSSL_PARAM_locate(parameters, OSSL_RAND_PARAM_MAX_REQUEST);
  return one == nullptr || OSSL_PARAM_set_size_t(one, INT32_MAX) == 1 ? 1 : 0;
}
const OSSL_PARAM* known_parameters(void*, void*) {
  static const OSSL_PARAM LIST[] = {
      OSSL_PARAM_DEFN(OSSL_RAND_PARAM_STATE, OSSL_PARAM_INTEGER, nullptr, sizeof(int)),
      OSSL_PARAM_DEFN(OSSL_RAND_PARAM_STRENGTH, OSSL_PARAM_UNSIGNED_INTEGER, nullptr, sizeof(unsigned)),
      OSSL_PARAM_DEFN(OSSL_RAND_PARAM_MAX_REQUEST, OSSL_PARAM_UNSIGNED_INTEGER, nullptr, sizeof(size_t)),
      OSSL_PARAM_END};
  return LIST;
}

template <typename F>
OSSL_DISPATCH entry(int id, F* function) {
  return {id, reinterpret_cast<void (*)()>(function)};
}

const OSSL_ALGORITHM* algorithms(void*, int operation, int*) {
  static const OSSL_DISPATCH FUNCTIONS[] = {entry(OSSL_FUNC_RAND_NEWCTX, make_context),
                                            entry(OSSL_FUNC_RAND_FREECTX, free_context),
                                            entry(OSSL_FUNC_RAND_INSTANTIATE, instantiate),
                                            entry(OSSL_FUNC_RAND_UNINSTANTIATE, uninstantiate),
                                            entry(OSSL_FUNC_RAND_GENERATE, generate),
                                            entry(OSSL_FUNC_RAND_ENABLE_LOCKING, enable_locking),
                                            entry(OSSL_FUNC_RAND_GETTABLE_CTX_PARAMS, known_parameters),
                                            entry(OSSL_FUNC_RAND_GET_CTX_PARAMS, get_parameters),
                                            {0, nullptr}};
  static const OSSL_ALGORITHM LIST[] = {{"FIXED", "provider=fixed", FUNCTIONS, "no randomness at all"},
                                        {nullptr, nullptr, nullptr, nullptr}};
  return operation == OSSL_OP_RAND ? LIST : nullptr;
}

int begin_provider(const OSSL_CORE_HANDLE*, const OSSL_DISPATCH*, const OSSL_DISPATCH** out, void** context) {
  static const OSSL_DISPATCH FUNCTIONS[] = {entry(OSSL_FUNC_PROVIDER_QUERY_OPERATION, algorithms), {0, nullptr}};
  *out = FUNCTIONS;
  *context = &state;
  return 1;
}

}  // namespace

void fix_openssl_random() {
  ASSERT(OSSL_PROVIDER_add_builtin(nullptr, "fixed", begin_provider) == 1);
  ASSERT(RAND_set_DRBG_type(nullptr, "FIXED", "provider=fixed", nullptr, nullptr) == 1);
  // Held to the end of the process.
  static const OSSL_PROVIDER* const FIXED = OSSL_PROVIDER_load(nullptr, "fixed");
  static const OSSL_PROVIDER* const REST = OSSL_PROVIDER_load(nullptr, "default");
  ASSERT(FIXED != nullptr && REST != nullptr);
}

void set_openssl_random(uint64_t seed) { state = seed; }

}  // namespace penstock::test
