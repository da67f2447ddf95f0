// A request that was inside a process, as the records of deaths and alarms tell it. Pure.
#pragma once

#include "pool/sandbox/program_start.h"
#include "src/admin/json.h"
#include "src/base/time.h"
#include "src/log/journal_reader.h"

#include <vector>

namespace penstock {

// Puts the request that a program names as its own before the others. False: none of them is it, or two are.
bool put_first(std::vector<InFlightRequest>& requests, const RequestHint& hint);

// `at`: the moment that the record is of; ages are as they were then.
[[nodiscard]] Json request_json(const InFlightRequest& request, MonoTime at);

}  // namespace penstock
