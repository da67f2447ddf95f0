// Cross checks: what no single value can be blamed for. Pure.
#pragma once

#include "src/config/settings.h"

#include <string>
#include <vector>

namespace penstock {

struct CheckFailure {
  std::string key;      // where to look
  std::string message;  // "expected …"
  // What it rests on: instances ("site.blog.") and root keys. If one of them has a wrong assignment, the failure may
  // only follow from that one and is not reported.
  std::vector<std::string> rests_on;
};

// Every check that fails; empty if the configuration holds together.
std::vector<CheckFailure> cross_check(const Settings& settings);

}  // namespace penstock
