// WsgiProcess: penstock-wsgi in a process of its own, with an application of wsgi_apps.py.
#pragma once

#include "tests/unit/sdk/worker_process.h"

#include <fstream>
#include <string>
#include <vector>

// Paths that the build gives; whoever looks at this header alone has neither.
#ifndef PENSTOCK_WSGI
#define PENSTOCK_WSGI ""
#define PENSTOCK_WSGI_APPS ""
#endif

namespace penstock {

// For AddressSanitizer: Python leaks, memory that is kept from use counts as used, and stderr is for what Python says.
inline std::vector<std::pair<std::string, std::string>> sanitizer_options() {
  const char* const own = std::getenv("ASAN_OPTIONS");
  return {{"ASAN_OPTIONS", (own == nullptr ? std::string() : std::string(own) + ":") +
                               "symbolize=0:quarantine_size_mb=1:thread_local_quarantine_size_kb=64"},
          {"LSAN_OPTIONS", "suppressions=" PENSTOCK_WSGI_APPS "/python_leaks.supp:print_suppressions=0"}};
}

class WsgiProcess : public WorkerProcess {
 protected:
  WsgiProcess() {
    program = PENSTOCK_WSGI;
    environment = sanitizer_options();
    arguments = {"--app", "wsgi_apps:application", "--directory", PENSTOCK_WSGI_APPS, "--threads", "4"};
    collect_complaints();
  }
  void TearDown() override {
    if (HasFailure() && child_ > 0) ::kill(child_, SIGKILL);  // its threads may never come back
    WorkerProcess::TearDown();
    if (HasFailure()) ADD_FAILURE() << "it has said: " << complaints();
  }
  std::string send(const Asked& asked, std::string_view body = {}) {
    (void)ask(asked, body);
    const uint64_t number = serial;
    EXPECT_TRUE(until([&] { return answers[number].ended; })) << asked.path << complaints();
    return answers[number].body;
  }
  // Of a JSON object with strings, as json.dumps() writes it.
  static std::string answer_field(const std::string& json, const std::string& name) {
    const std::string before = "\"" + name + "\": \"";
    const size_t at = json.find(before);
    if (at == std::string::npos) return "(none)";
    return json.substr(at + before.size(), json.find('"', at + before.size()) - at - before.size());
  }
  // The most memory it has had, in bytes.
  [[nodiscard]] uint64_t memory_peak() const {
    std::ifstream status("/proc/" + std::to_string(child_) + "/status");
    for (std::string word; status >> word;) {
      uint64_t kilobytes = 0;
      if (word == "VmHWM:" && status >> kilobytes) return kilobytes * 1'024;
    }
    return 0;
  }
};

}  // namespace penstock
