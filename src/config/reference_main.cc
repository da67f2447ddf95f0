// Prints the reference page: `ninja -C build config-reference` writes it to src/CONFIG.md.
#include "src/config/print.h"

#include <unistd.h>

int main() {
  const std::string page = penstock::reference_markdown();
  for (size_t at = 0; at < page.size();) {
    const ssize_t wrote = ::write(STDOUT_FILENO, page.data() + at, page.size() - at);
    if (wrote <= 0) return 1;
    at += static_cast<size_t>(wrote);
  }
  return 0;
}
