#include "src/admin/program_path.h"

#include <climits>
#include <cstdlib>
#include <unistd.h>

namespace penstock {

Result<std::string> program_path(const std::string& executable, std::string_view name) {
  char real[PATH_MAX];
  if (::realpath(executable.c_str(), real) == nullptr) return fail_errno("find the program " + executable);
  std::string directory = real;
  directory.resize(directory.rfind('/'));
  const std::string kind(name.substr(name.rfind('-') + 1));  // "cgi" of "penstock-cgi"
  for (const std::string& place :
       {std::string("/pool/runtimes/"), "/pool/runtimes/" + kind + "/", std::string("/pool/sandbox/"),
        std::string("/src/roles/"), std::string("/../libexec/penstock/")}) {
    const std::string path = directory + place + std::string(name);
    if (::access(path.c_str(), X_OK) == 0 && ::realpath(path.c_str(), real) != nullptr) return std::string(real);
  }
  return fail("the program " + std::string(name) + " is neither in " + directory + "/pool nor in " + directory +
                  "/../libexec/penstock",
              ENOENT);
}

}  // namespace penstock
