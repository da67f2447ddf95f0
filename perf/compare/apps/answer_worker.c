/* 112 bytes from a worker of a pool. At …/hang it stops for ever in the middle of a request, as a sick application. */
#include "pool/sdk/penstock_worker.h"

#include <poll.h>
#include <string.h>

static const char ANSWER[] =
    "112 bytes of an answer, which is what every server here sends: a worker, a program behind nginx, and a file too\n";

static void answer(penstock_exchange* exchange, void* context) {
  const penstock_header type = {PENSTOCK_TEXT("Content-Type"), PENSTOCK_TEXT("text/plain")};
  const penstock_string path = penstock_path(exchange);
  (void)context;
  while (path.size >= 5 && memcmp(path.data + path.size - 5, "/hang", 5) == 0) (void)poll(0, 0, -1);
  penstock_answer(exchange, 200, &type, 1, ANSWER, sizeof ANSWER - 1);
}

int main(void) {
  const penstock_callbacks callbacks = {.request = answer};
  return penstock_worker_run(&callbacks, 0);
}
