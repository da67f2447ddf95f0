#include "pool/runtimes/wsgi/asgi.h"

#include <string>

namespace penstock {
namespace {

constexpr char SOURCE[] =
#include "pool/runtimes/wsgi/asgi_source.h"
    ;

bool is_coroutine_function(PyObject* callable) {
  if (PyMethod_Check(callable)) callable = PyMethod_Function(callable);
  if (!PyFunction_Check(callable)) return false;
  return (reinterpret_cast<PyCodeObject*>(PyFunction_GetCode(callable))->co_flags & CO_COROUTINE) != 0;
}

}  // namespace

bool speaks_asgi(const PyRef& application) {
  if (is_coroutine_function(application.get())) return true;
  const PyRef call(PyObject_GetAttrString(reinterpret_cast<PyObject*>(Py_TYPE(application.get())), "__call__"));
  if (!call) PyErr_Clear();
  return call && is_coroutine_function(call.get());
}

Result<PyRef> adapt_asgi(const PyRef& application) {
  const PyRef code(Py_CompileString(SOURCE, "<penstock>/asgi.py", Py_file_input));
  PyObject* const compiled = code.get();
  const PyRef module(code ? PyImport_ExecCodeModule("penstock_asgi", compiled) : nullptr);
  if (!module) return fail("the adapter for ASGI cannot be loaded:\n" + take_exception());
  PyRef adapter(PyObject_CallMethod(module.get(), "Adapter", "O", application.get()));
  if (!adapter) return fail("the ASGI application cannot be started:\n" + take_exception());
  return adapter;
}

}  // namespace penstock
