// penstock-worker: the worker role as a program of its own, linked statically. What the one binary of the other roles
// needs of libraries takes the loader longer than the whole sandbox takes to enter; see WorkerProcess::spawn().
#include "src/roles/worker.h"

#include <sys/prctl.h>

int main() {
  ::prctl(PR_SET_NAME, "penstock-worker");
  return penstock::run_worker();
}
