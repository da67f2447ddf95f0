// What a worker may name to the response cache: request fields that select an answer, and tags. Pure; both ends ask.
#pragma once

#include "pool/abi/worker_abi.h"

#include <algorithm>
#include <string_view>

namespace penstock {

// A field name (RFC 9110 section 5.6.2: a token) of at most PENSTOCK_POLICY_VARY_BYTES.
[[nodiscard]] inline bool is_vary_name(std::string_view name) {
  constexpr std::string_view MARKS = "!#$%&'*+-.^_`|~";
  return !name.empty() && name.size() <= PENSTOCK_POLICY_VARY_BYTES && name != "*" &&
         std::ranges::all_of(name, [MARKS](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                  MARKS.find(c) != std::string_view::npos;
         });
}

// Visible ASCII without a comma, at most PENSTOCK_POLICY_TAG_BYTES.
[[nodiscard]] inline bool is_cache_tag(std::string_view tag) {
  return !tag.empty() && tag.size() <= PENSTOCK_POLICY_TAG_BYTES &&
         std::ranges::all_of(tag, [](char c) { return c > ' ' && c < 0x7f && c != ','; });
}

}  // namespace penstock
