// same_head: whether two RequestHeads say the same, views compared by where they stand in their inputs.
// For tests and fuzzers, which hold one way of parsing to another; the server has no use for it.
#pragma once

#include "src/http/request_head.h"

#include <cstddef>
#include <string_view>

namespace penstock {

inline bool same_view(std::string_view a, std::string_view a_input, std::string_view b, std::string_view b_input) {
  if (a.size() != b.size()) return false;
  if (a.empty()) return true;
  const auto inside = [](std::string_view view, std::string_view input) {
    return view.data() >= input.data() && view.data() + view.size() <= input.data() + input.size();
  };
  if (inside(a, a_input) != inside(b, b_input)) return false;
  if (!inside(a, a_input)) return a == b;  // a literal: "/" or "*"
  return a.data() - a_input.data() == b.data() - b_input.data();
}

// What is promised of a refused head: what had been read of it.
inline bool same_refused(const RequestHead& a, std::string_view a_input, const RequestHead& b,
                         std::string_view b_input) {
  const auto same = [&](std::string_view x, std::string_view y) { return same_view(x, a_input, y, b_input); };
  if (!same(a.method_text, b.method_text) || !same(a.target, b.target) || !same(a.path, b.path) ||
      !same(a.query, b.query) || a.field_count != b.field_count) {
    return false;
  }
  for (size_t i = 0; i < a.field_count; ++i) {
    if (!same(a.lines[i].name, b.lines[i].name) || !same(a.lines[i].value, b.lines[i].value)) return false;
  }
  return true;
}

inline bool same_head(const RequestHead& a, std::string_view a_input, const RequestHead& b, std::string_view b_input) {
  const auto same = [&](std::string_view x, std::string_view y) { return same_view(x, a_input, y, b_input); };
  const bool scalars = a.method == b.method && a.version_minor == b.version_minor && a.form == b.form &&
                       a.body == b.body && a.plain == b.plain && a.has_conditional == b.has_conditional &&
                       a.has_range == b.has_range && a.keep_alive == b.keep_alive &&
                       a.expect_continue == b.expect_continue && a.https == b.https && a.has_query == b.has_query &&
                       a.accept_simple == b.accept_simple && a.accept_mask == b.accept_mask &&
                       a.content_length == b.content_length && a.present == b.present && a.repeated == b.repeated;
  if (!scalars || !same(a.authority, b.authority) || !same(a.host_header, b.host_header)) return false;
  for (size_t i = 0; i < KNOWN_FIELDS; ++i) {
    if (a.has(static_cast<Field>(i)) && a.first_line[i] != b.first_line[i]) return false;
  }
  return same_refused(a, a_input, b, b_input);
}

}  // namespace penstock
