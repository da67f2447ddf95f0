// penstock-native APP.so [ARG...]: loads a shared object that was built against pool/sdk and runs it as a worker.
//
// The object finds the functions of penstock_worker.h in this program, which exports them. Exit code: the
// application's; 1 with a line on stderr where it cannot be loaded, 2 for a wrong command line.
#include "pool/sdk/penstock_worker.h"

#include <cstdio>
#include <cstring>
#include <dlfcn.h>

namespace {

using EntryPoint = decltype(&penstock_application);

int refuse(const char* path, const char* why) {
  std::fprintf(stderr, "penstock-native: %s: %s\n", path, why);
  return 1;
}

int load_and_run(int argc, char** argv) {
  // Everything is bound now: an object that lacks a function fails here and not in the middle of a request. It is never
  // unloaded: its threads and exit handlers may outlast its last request.
  void* const object = ::dlopen(argv[0], RTLD_NOW | RTLD_LOCAL);
  if (object == nullptr) return refuse("cannot load", ::dlerror());
  const auto enter = reinterpret_cast<EntryPoint>(::dlsym(object, "penstock_application"));
  if (enter == nullptr) return refuse(argv[0], "defines no penstock_application() (see penstock_worker.h)");
  penstock_callbacks callbacks{};
  void* context = nullptr;
  if (const int code = enter(argc, argv, &callbacks, &context); code != 0) return code;
  const bool filters =
      callbacks.filter_request != nullptr || callbacks.filter_response != nullptr || callbacks.filter_log != nullptr;
  if (callbacks.request == nullptr && !filters) {
    return refuse(argv[0], "its penstock_application() gave no `request` callback");
  }
  return penstock_worker_run(&callbacks, context);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fputs("usage: penstock-native APP.so [ARG...]\n", stderr);
    return 2;
  }
  // dlopen() would look for such a name among the system's libraries.
  if (std::strchr(argv[1], '/') == nullptr) return refuse(argv[1], "write the object's path with a slash");
  return load_and_run(argc - 1, argv + 1);
}
