// wsgi.errors: text to stderr, in whole lines, so that those of requests side by side do not mix. And exceptions as
// text.
#include "pool/runtimes/wsgi/application.h"

#include <memory>

namespace penstock {
namespace {

constexpr size_t LINE_MAX_BYTES = 64 * 1'024;  // a longer one goes out in parts

struct ErrorsObject {
  PyObject_HEAD std::string* line;  // what is not a whole line yet
};

std::string& line_of(PyObject* self) { return *reinterpret_cast<ErrorsObject*>(self)->line; }

void flush(PyObject* self) {
  const std::string text = std::exchange(line_of(self), {});  // another thread may write meanwhile
  if (!text.empty()) write_stderr(text);
}

PyObject* errors_write(PyObject* self, PyObject* text) {
  if (!PyUnicode_Check(text)) {
    return PyErr_Format(PyExc_TypeError, "wsgi.errors takes str, not %s", Py_TYPE(text)->tp_name);
  }
  const PyRef bytes(PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace"));
  if (!bytes) return nullptr;
  std::string& line = line_of(self);
  line.append(PyBytes_AS_STRING(bytes.get()), static_cast<size_t>(PyBytes_GET_SIZE(bytes.get())));
  const size_t whole = line.size() > LINE_MAX_BYTES ? line.size() : line.rfind('\n') + 1;
  const std::string out = line.substr(0, whole);
  line.erase(0, whole);
  if (!out.empty()) write_stderr(out);
  return PyLong_FromSsize_t(PyUnicode_GET_LENGTH(text));
}

PyObject* errors_writelines(PyObject* self, PyObject* lines) {
  const PyRef iterator(PyObject_GetIter(lines));
  if (!iterator) return nullptr;
  while (const PyRef line = PyRef(PyIter_Next(iterator.get()))) {
    if (!PyRef(errors_write(self, line.get()))) return nullptr;
  }
  if (PyErr_Occurred() != nullptr) return nullptr;
  Py_RETURN_NONE;
}

PyObject* errors_flush(PyObject* self, PyObject*) {
  flush(self);
  Py_RETURN_NONE;
}

void errors_dealloc(PyObject* self) {
  {
    const std::unique_ptr<std::string> line(reinterpret_cast<ErrorsObject*>(self)->line);
    if (line != nullptr && !line->empty()) write_stderr(*line + "\n");
  }
  PyTypeObject* const type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

}  // namespace

PyRef make_errors_type() {
  static PyMethodDef methods[] = {{"write", errors_write, METH_O, nullptr},
                                  {"writelines", errors_writelines, METH_O, nullptr},
                                  {"flush", errors_flush, METH_NOARGS, nullptr},
                                  {nullptr, nullptr, 0, nullptr}};
  PyType_Slot slots[] = {{Py_tp_dealloc, py_slot(errors_dealloc)}, {Py_tp_methods, methods}, {0, nullptr}};
  PyType_Spec spec{"penstock.Errors", sizeof(ErrorsObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                   slots};
  return PyRef(PyType_FromSpec(&spec));
}

PyRef WsgiApplication::make_errors() const {
  PyTypeObject* const type = reinterpret_cast<PyTypeObject*>(errors_type_.get());
  PyRef made(type->tp_alloc(type, 0));
  if (made) reinterpret_cast<ErrorsObject*>(made.get())->line = std::make_unique<std::string>().release();
  return made;
}

}  // namespace penstock
