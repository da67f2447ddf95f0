// wsgi.input: the request's body as a file.
#include "pool/runtimes/wsgi/call.h"

namespace penstock {
namespace {

WsgiCall* call_behind(PyObject* self) {
  WsgiCall* const call = reinterpret_cast<InputObject*>(self)->call;
  if (call == nullptr) PyErr_SetString(PyExc_ValueError, "wsgi.input is used after the end of its request");
  return call;
}

PyObject* read(PyObject* self, Py_ssize_t most, bool line) {
  WsgiCall* const call = call_behind(self);
  if (call == nullptr) return nullptr;
  std::string bytes;
  if (!call->read(bytes, most < 0 ? SIZE_MAX : static_cast<size_t>(most), line)) return nullptr;
  return PyBytes_FromStringAndSize(bytes.data(), static_cast<Py_ssize_t>(bytes.size()));
}

// An optional number of bytes, where None stands for all.
bool take_size(PyObject* const* arguments, Py_ssize_t count, Py_ssize_t& size) {
  size = -1;
  if (count > 1) {
    PyErr_Format(PyExc_TypeError, "at most one argument, not %zd", count);
    return false;
  }
  if (count == 0 || arguments[0] == Py_None) return true;
  size = PyNumber_AsSsize_t(arguments[0], PyExc_OverflowError);
  return size != -1 || PyErr_Occurred() == nullptr;
}

PyObject* input_read(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  Py_ssize_t size = -1;
  return take_size(arguments, count, size) ? read(self, size, false) : nullptr;
}

PyObject* input_readline(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  Py_ssize_t size = -1;
  return take_size(arguments, count, size) ? read(self, size, true) : nullptr;
}

PyObject* input_next(PyObject* self) {
  PyRef line(read(self, -1, true));
  if (!line || PyBytes_GET_SIZE(line.get()) > 0) return line.release();
  return nullptr;  // StopIteration
}

// `hint`: no line more once so many bytes have come.
PyObject* input_readlines(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  Py_ssize_t hint = -1;
  if (!take_size(arguments, count, hint)) return nullptr;
  PyRef lines(PyList_New(0));
  if (!lines) return nullptr;
  for (Py_ssize_t bytes = 0; hint <= 0 || bytes < hint;) {
    const PyRef line(read(self, -1, true));
    if (!line) return nullptr;
    if (PyBytes_GET_SIZE(line.get()) == 0) break;
    bytes += PyBytes_GET_SIZE(line.get());
    if (PyList_Append(lines.get(), line.get()) != 0) return nullptr;
  }
  return lines.release();
}

PyObject* input_iter(PyObject* self) {
  Py_INCREF(self);
  return self;
}

void input_dealloc(PyObject* self) {
  PyTypeObject* const type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

}  // namespace

PyRef make_input_type() {
  static PyMethodDef methods[] = {
      {"read", reinterpret_cast<PyCFunction>(py_slot(input_read)), METH_FASTCALL, nullptr},
      {"readline", reinterpret_cast<PyCFunction>(py_slot(input_readline)), METH_FASTCALL, nullptr},
      {"readlines", reinterpret_cast<PyCFunction>(py_slot(input_readlines)), METH_FASTCALL, nullptr},
      {nullptr, nullptr, 0, nullptr}};
  PyType_Slot slots[] = {{Py_tp_dealloc, py_slot(input_dealloc)},
                         {Py_tp_iter, py_slot(input_iter)},
                         {Py_tp_iternext, py_slot(input_next)},
                         {Py_tp_methods, methods},
                         {0, nullptr}};
  PyType_Spec spec{"penstock.Input", sizeof(InputObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                   slots};
  return PyRef(PyType_FromSpec(&spec));
}

PyRef WsgiApplication::make_input(WsgiCall* call) const {
  PyTypeObject* const type = reinterpret_cast<PyTypeObject*>(input_type_.get());
  PyRef made(type->tp_alloc(type, 0));
  if (made) reinterpret_cast<InputObject*>(made.get())->call = call;
  return made;
}

}  // namespace penstock
