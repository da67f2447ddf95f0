// wsgi.file_wrapper: an iterable over blocks of a file-like object; where that is a plain file, its bytes are sent
// without Python (call.cc).
#include "pool/runtimes/wsgi/application.h"

#include <sys/stat.h>

namespace penstock {
namespace {

constexpr Py_ssize_t BLOCK_BYTES = 8'192;

FileWrapperObject* wrapper(PyObject* self) { return reinterpret_cast<FileWrapperObject*>(self); }

PyObject* wrapper_make(PyTypeObject* type, PyObject* arguments, PyObject* names) {
  static char file_name[] = "filelike";
  static char size_name[] = "block_size";
  static char* keywords[] = {file_name, size_name, nullptr};
  PyObject* file = nullptr;
  Py_ssize_t block_bytes = BLOCK_BYTES;
  if (PyArg_ParseTupleAndKeywords(arguments, names, "O|n:FileWrapper", keywords, &file, &block_bytes) == 0) {
    return nullptr;
  }
  PyRef made(type->tp_alloc(type, 0));
  if (!made) return nullptr;
  Py_INCREF(file);
  wrapper(made.get())->file = file;
  wrapper(made.get())->block_bytes = block_bytes > 0 ? block_bytes : BLOCK_BYTES;
  return made.release();
}

PyObject* wrapper_next(PyObject* self) {
  PyRef block(PyObject_CallMethod(wrapper(self)->file, "read", "n", wrapper(self)->block_bytes));
  if (!block) return nullptr;
  const int some = PyObject_IsTrue(block.get());
  return some == 1 ? block.release() : nullptr;  // 0: StopIteration
}

PyObject* wrapper_iter(PyObject* self) {
  Py_INCREF(self);
  return self;
}

PyObject* wrapper_close(PyObject* self, PyObject*) {
  const PyRef close(PyObject_GetAttrString(wrapper(self)->file, "close"));
  if (close) return PyObject_CallNoArgs(close.get());
  if (PyErr_ExceptionMatches(PyExc_AttributeError) == 0) return nullptr;
  PyErr_Clear();
  Py_RETURN_NONE;
}

int wrapper_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(wrapper(self)->file);
  return 0;
}

int wrapper_clear(PyObject* self) {
  Py_CLEAR(wrapper(self)->file);
  return 0;
}

void wrapper_dealloc(PyObject* self) {
  PyObject_GC_UnTrack(self);
  (void)wrapper_clear(self);
  PyTypeObject* const type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

// Where the next byte comes from; false: not to be known.
bool position(PyObject* file, uint64_t& offset) {
  const PyRef told(PyObject_CallMethod(file, "tell", nullptr));
  if (told) offset = PyLong_AsUnsignedLongLong(told.get());
  if (PyErr_Occurred() == nullptr) return true;
  PyErr_Clear();
  return false;
}

}  // namespace

PyRef make_file_wrapper_type() {
  static PyMethodDef methods[] = {{"close", wrapper_close, METH_NOARGS, nullptr}, {nullptr, nullptr, 0, nullptr}};
  PyType_Slot slots[] = {{Py_tp_new, py_slot(wrapper_make)},
                         {Py_tp_dealloc, py_slot(wrapper_dealloc)},
                         {Py_tp_traverse, py_slot(wrapper_traverse)},
                         {Py_tp_clear, py_slot(wrapper_clear)},
                         {Py_tp_iter, py_slot(wrapper_iter)},
                         {Py_tp_iternext, py_slot(wrapper_next)},
                         {Py_tp_methods, methods},
                         {0, nullptr}};
  PyType_Spec spec{"penstock.FileWrapper", sizeof(FileWrapperObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
                   slots};
  return PyRef(PyType_FromSpec(&spec));
}

// Exactly io's own types: a subclass, or a reader over something else, may read other bytes than the descriptor has.
int WsgiApplication::plain_file(PyObject* result, uint64_t& offset) const {
  const auto is = [](PyObject* object, const PyRef& type) {
    return object != nullptr && reinterpret_cast<PyObject*>(Py_TYPE(object)) == type.get();
  };
  if (!is(result, file_wrapper_type_)) return -1;
  PyObject* const file = wrapper(result)->file;
  PyRef raw = PyRef::borrow(file);
  if (is(file, buffered_reader_type_) || is(file, buffered_random_type_)) {
    if (is(file, buffered_random_type_)) (void)PyRef(PyObject_CallMethod(file, "flush", nullptr));
    raw = PyRef(PyObject_GetAttrString(file, "raw"));
  }
  PyErr_Clear();
  if (!is(raw.get(), file_io_type_)) return -1;
  const int fd = PyObject_AsFileDescriptor(raw.get());
  PyErr_Clear();  // closed, or detached: reading it will say so
  struct stat facts {};
  if (fd < 0 || ::fstat(fd, &facts) != 0 || !S_ISREG(facts.st_mode)) return -1;
  return position(file, offset) ? fd : -1;
}

}  // namespace penstock
