// dump_head: everything a RequestHead says, as text in which views are offsets into the input: two
// heads are bit-equal exactly if their dumps are, wherever their buffers lie.
#pragma once

#include "src/http/request_head.h"

#include <cstddef>
#include <string>
#include <string_view>

namespace penstock {

inline std::string dump_view(std::string_view view, std::string_view input) {
  const bool inside = view.data() >= input.data() && view.data() + view.size() <= input.data() + input.size();
  if (view.empty()) return "-";
  if (!inside) return "literal:" + std::string(view);  // "/" and "*" of absolute-form
  return std::to_string(view.data() - input.data()) + "+" + std::to_string(view.size());
}

inline std::string dump_head(const RequestHead& head, std::string_view input) {
  std::string out;
  const auto add = [&out](const char* name, const std::string& value) {
    out += name;
    out += '=';
    out += value;
    out += ' ';
  };
  add("method", std::string(method_name(head.method)));
  add("minor", std::to_string(head.version_minor));
  add("form", std::to_string(static_cast<int>(head.form)));
  add("body", std::to_string(static_cast<int>(head.body)));
  add("bits", std::to_string(head.plain) + std::to_string(head.has_conditional) + std::to_string(head.has_range) +
                  std::to_string(head.keep_alive) + std::to_string(head.expect_continue) + std::to_string(head.https) +
                  std::to_string(head.has_query) + std::to_string(head.accept_simple));
  add("accept", std::to_string(head.accept_mask));
  add("length", std::to_string(head.content_length));
  add("method_text", dump_view(head.method_text, input));
  add("target", dump_view(head.target, input));
  add("path", dump_view(head.path, input));
  add("query", dump_view(head.query, input));
  add("authority", dump_view(head.authority, input));
  add("host", dump_view(head.host_header, input));
  add("present", std::to_string(head.present));
  add("repeated", std::to_string(head.repeated));
  for (size_t i = 0; i < KNOWN_FIELDS; ++i) {
    if (head.has(static_cast<Field>(i))) add("first", std::to_string(i) + "@" + std::to_string(head.first_line[i]));
  }
  for (const HeaderField& field : head.fields()) {
    add("field", dump_view(field.name, input) + ":" + dump_view(field.value, input));
  }
  return out;
}

// What a refused head still says.
inline std::string dump_refused(const RequestHead& head, std::string_view input) {
  std::string out = dump_view(head.method_text, input) + " " + dump_view(head.target, input) + " " +
                    dump_view(head.path, input) + " " + dump_view(head.query, input);
  for (const HeaderField& field : head.fields()) {
    out += " " + dump_view(field.name, input) + ":" + dump_view(field.value, input);
  }
  return out;
}

}  // namespace penstock
