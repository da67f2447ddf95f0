#include "pool/runtimes/wsgi/python.h"

#include <cerrno>
#include <unistd.h>

namespace penstock {
namespace {

std::string utf8(PyObject* text) {
  const PyRef bytes(text == nullptr ? nullptr : PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace"));
  if (!bytes) return {};
  return {PyBytes_AS_STRING(bytes.get()), static_cast<size_t>(PyBytes_GET_SIZE(bytes.get()))};
}

std::string format_exception(PyObject* type, PyObject* value, PyObject* traceback) {
  const PyRef module(PyImport_ImportModule("traceback"));
  if (!module) return {};
  const PyRef lines(PyObject_CallMethod(module.get(), "format_exception", "OOO", type,
                                        value == nullptr ? Py_None : value,
                                        traceback == nullptr ? Py_None : traceback));
  const PyRef empty(PyUnicode_FromString(""));
  if (!lines || !empty) return {};
  return utf8(PyRef(PyUnicode_Join(empty.get(), lines.get())).get());
}

}  // namespace

std::string take_exception() {
  PyObject* type = nullptr;
  PyObject* value = nullptr;
  PyObject* traceback = nullptr;
  PyErr_Fetch(&type, &value, &traceback);
  if (type == nullptr) return "no exception";
  PyErr_NormalizeException(&type, &value, &traceback);
  const PyRef owned[] = {PyRef(type), PyRef(value), PyRef(traceback)};
  std::string text = format_exception(type, value, traceback);
  PyErr_Clear();  // one in the making of the text
  if (text.empty()) text = utf8(PyRef(PyObject_Repr(type)).get()) + " (its traceback cannot be shown)\n";
  PyErr_Clear();
  return text;
}

void write_stderr(std::string_view text) {
  const GilRelease others_go_on;
  while (!text.empty()) {
    const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
    if (written < 0 && errno != EINTR) return;  // nobody listens; there is no other place to say it
    if (written > 0) text.remove_prefix(static_cast<size_t>(written));
  }
}

}  // namespace penstock
