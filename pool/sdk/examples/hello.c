/* The smallest worker: the same answer to every request. */
#include "pool/sdk/penstock_worker.h"

static void hello(penstock_exchange* exchange, void* context) {
  const penstock_header type = {PENSTOCK_TEXT("Content-Type"), PENSTOCK_TEXT("text/plain")};
  (void)context;
  penstock_answer(exchange, 200, &type, 1, "hello\n", 6);
}

int main(void) {
  const penstock_callbacks callbacks = {.request = hello};
  return penstock_worker_run(&callbacks, 0);
}
