// edit_head: a stored response head with some lines changed: a 206 or an error page made from a 200,
// a compressed variant from its identity. Cold path; pure; it allocates.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace penstock {

struct HeadEdit {
  using Lines = std::vector<std::pair<std::string_view, std::string>>;
  uint16_t status = 0;                   // 0: keep the status line
  Lines replace;                         // new values of fields that are there; dropped where they are not
  std::vector<std::string_view> remove;  // names
  Lines add;                             // behind all others
};

// REQUIRES: `head` is a head of our own making (complete, CRLF).
[[nodiscard]] std::string edit_head(std::string_view head, const HeadEdit& edit);

}  // namespace penstock
