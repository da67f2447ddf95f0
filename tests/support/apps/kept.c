/* An application for tests of the response cache: it counts its calls, and each answer says which one it is.
 *
 *   …/kept/NAME    fresh for a minute, with graces of a minute; depends on X-Tier; tags "all" and NAME
 *   …/plain/NAME   fresh for a minute, and nothing more is said
 *   …/short/NAME   fresh for 100 ms, with graces of ten minutes
 *   …/slow/NAME    the same as kept, after 300 ms
 *   …/broken/NAME  its first call like short, every other one 503
 *   …/tags/NAME    one tag more than may be
 * A POST of any path answers 200. */
#include "pool/sdk/penstock_worker.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static unsigned calls;

static int has(penstock_string path, const char* part) {
  const size_t size = strlen(part);
  for (size_t i = 0; i + size <= path.size; ++i) {
    if (memcmp(path.data + i, part, size) == 0) return 1;
  }
  return 0;
}

static penstock_string name_of(penstock_string path) {
  size_t at = path.size;
  while (at > 0 && path.data[at - 1] != '/') --at;
  const penstock_string name = {path.data + at, path.size - at};
  return name;
}

static void request(penstock_exchange* exchange, void* context) {
  const penstock_string path = penstock_path(exchange);
  const penstock_string tier = penstock_header_value(exchange, "X-Tier");
  const penstock_string vary[] = {PENSTOCK_TEXT("X-Tier")};
  penstock_string tags[PENSTOCK_CACHE_TAGS_MAX + 1];
  penstock_cache_policy policy = {60000, 60000, 60000, vary, 1, tags, 2};
  unsigned status = 200;
  char text[256];
  (void)context;
  ++calls;
  for (size_t i = 0; i < PENSTOCK_CACHE_TAGS_MAX + 1; ++i) tags[i] = name_of(path);
  tags[0].data = "all";
  tags[0].size = 3;
  if (has(path, "/short/") || has(path, "/broken/")) {
    policy.fresh_ms = 100;
    policy.revalidate_ms = has(path, "/short/") ? 600000 : 0;
    policy.error_ms = 600000;
    policy.vary_count = 0;
  }
  if (has(path, "/broken/") && calls > 1) status = 503;
  if (has(path, "/tags/")) policy.tag_count = PENSTOCK_CACHE_TAGS_MAX + 1;
  if (has(path, "/slow/")) {
    const struct timespec span = {0, 300000000};
    nanosleep(&span, 0);
  }
  if (has(path, "/plain/")) {
    penstock_cache_for(exchange, 60000);
  } else {
    (void)penstock_cache(exchange, &policy);
  }
  const int size = snprintf(text, sizeof text, "call %u for %.*s\n", calls, (int)tier.size, tier.data ? tier.data : "");
  penstock_answer(exchange, status, 0, 0, text, (size_t)size);
}

int main(void) {
  const penstock_callbacks callbacks = {.request = request};
  return penstock_worker_run(&callbacks, 0);
}
