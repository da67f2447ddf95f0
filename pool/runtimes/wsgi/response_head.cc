// What start_response() is given, and what PEP 3333 demands of it.
#include "pool/runtimes/wsgi/call.h"
#include "src/base/bytes.h"

#include <algorithm>
#include <charconv>

namespace penstock {
namespace {

// A native string that can stand in a head: Latin-1, no control characters.
bool take_text(PyObject* object, const char* what, std::string_view& to) {
  if (!PyUnicode_Check(object)) {
    PyErr_Format(PyExc_TypeError, "%s must be str, not %s", what, Py_TYPE(object)->tp_name);
    return false;
  }
  if (PyUnicode_READY(object) != 0) return false;
  if (PyUnicode_KIND(object) != PyUnicode_1BYTE_KIND) {
    PyErr_Format(PyExc_ValueError, "%s has characters beyond Latin-1: %R", what, object);
    return false;
  }
  const auto* const data = static_cast<const char*>(PyUnicode_DATA(object));
  to = {data, static_cast<size_t>(PyUnicode_GET_LENGTH(object))};
  const bool clean =
      std::all_of(to.begin(), to.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x20 && c != 0x7f; });
  if (!clean) PyErr_Format(PyExc_ValueError, "%s has control characters: %R", what, object);
  return clean;
}

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

bool is_hop_by_hop(std::string_view name) {
  static constexpr std::string_view NAMES[] = {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization",
                                               "te",         "trailers",   "transfer-encoding",  "upgrade"};
  return iequals_any(name, NAMES);
}

bool take_length(std::string_view value, PyObject* object, ResponseHead& to) {
  uint64_t length = 0;
  const char* const end = value.data() + value.size();
  const auto [stop, error] = std::from_chars(value.data(), end, length);
  if (error != std::errc() || stop != end || length == PENSTOCK_UNKNOWN_LENGTH) {
    PyErr_Format(PyExc_ValueError, "Content-Length is not a number: %R", object);
    return false;
  }
  if (to.length != PENSTOCK_UNKNOWN_LENGTH && to.length != length) {
    PyErr_SetString(PyExc_ValueError, "Content-Length is given twice");
    return false;
  }
  to.length = length;
  return true;
}

bool take_field(PyObject* field, ResponseHead& to) {
  if (!PyTuple_Check(field) || PyTuple_GET_SIZE(field) != 2) {
    PyErr_Format(PyExc_TypeError, "a response header must be a tuple (name, value), not %R", field);
    return false;
  }
  std::string_view name;
  std::string_view value;
  if (!take_text(PyTuple_GET_ITEM(field, 0), "a header's name", name)) return false;
  if (!take_text(PyTuple_GET_ITEM(field, 1), "a header's value", value)) return false;
  if (!is_token(name)) {
    PyErr_Format(PyExc_ValueError, "not a header's name: %R", PyTuple_GET_ITEM(field, 0));
    return false;
  }
  if (is_hop_by_hop(name)) {
    PyErr_Format(PyExc_ValueError, "an application may not set the hop-by-hop header %R", PyTuple_GET_ITEM(field, 0));
    return false;
  }
  if (iequals(name, "Content-Length")) return take_length(value, PyTuple_GET_ITEM(field, 1), to);
  to.fields.emplace_back(name, value);
  return true;
}

}  // namespace

bool take_status(PyObject* status, ResponseHead& to) {
  std::string_view text;
  if (!take_text(status, "the status", text)) return false;
  const char* const end = text.data() + std::min<size_t>(text.size(), 3);
  const auto [stop, error] = std::from_chars(text.data(), end, to.status);
  if (error != std::errc() || stop != text.data() + 3 || (text.size() > 3 && text[3] != ' ')) {
    PyErr_Format(PyExc_ValueError, "the status must be three digits and a reason: %R", status);
    return false;
  }
  if (to.status >= 200 && to.status <= 599) return true;
  PyErr_Format(PyExc_ValueError, "the status must be from 200 to 599: %R", status);
  return false;
}

bool take_fields(PyObject* list, ResponseHead& to) {
  if (!PyList_Check(list)) {
    PyErr_Format(PyExc_TypeError, "response headers must be a list, not %s", Py_TYPE(list)->tp_name);
    return false;
  }
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); ++i) {
    const PyRef field = PyRef::borrow(PyList_GET_ITEM(list, i));
    if (!take_field(field.get(), to)) return false;
  }
  std::vector<penstock_header> fields;
  for (const auto& [name, value] : to.fields)
    fields.push_back({{name.data(), name.size()}, {value.data(), value.size()}});
  if (penstock_head_fits(fields.data(), fields.size()) == 1) return true;
  PyErr_Format(PyExc_ValueError, "response headers are too many or too long: at most %d, %d bytes in all",
               int{PENSTOCK_FIELDS_MAX}, int{PENSTOCK_HEAD_BYTES_MAX});
  return false;
}

}  // namespace penstock
