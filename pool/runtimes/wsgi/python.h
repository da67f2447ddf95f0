// CPython's headers, and the little that makes them safe to use: owned references, the interpreter's
// lock, and exceptions as text.
// To be included first in a file that uses them.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string>
#include <string_view>
#include <utility>

namespace penstock {

// An owned reference, or none. Every use needs the interpreter's lock, the end of its life, too.
class PyRef {
 public:
  PyRef() = default;
  explicit PyRef(PyObject* owned) : object_(owned) {}
  static PyRef borrow(PyObject* borrowed) {
    Py_XINCREF(borrowed);
    return PyRef(borrowed);
  }
  PyRef(PyRef&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  PyRef& operator=(PyRef&& other) noexcept {
    if (this != &other) reset(std::exchange(other.object_, nullptr));
    return *this;
  }
  PyRef(const PyRef&) = delete;
  PyRef& operator=(const PyRef&) = delete;
  ~PyRef() { reset(); }

  [[nodiscard]] PyObject* get() const { return object_; }
  [[nodiscard]] PyObject* release() { return std::exchange(object_, nullptr); }
  void reset(PyObject* owned = nullptr) {
    PyObject* const old = std::exchange(object_, owned);
    Py_XDECREF(old);
  }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  PyObject* object_ = nullptr;
};

// The lock is not held while this lives.
class GilRelease {
 public:
  GilRelease() : state_(PyEval_SaveThread()) {}
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;
  ~GilRelease() { PyEval_RestoreThread(state_); }

 private:
  PyThreadState* state_;
};

// The lock is held while this lives. For a thread that has no state of the interpreter's yet, or does not hold it.
class GilHold {
 public:
  GilHold() : state_(PyGILState_Ensure()) {}
  GilHold(const GilHold&) = delete;
  GilHold& operator=(const GilHold&) = delete;
  ~GilHold() { PyGILState_Release(state_); }

 private:
  PyGILState_STATE state_;
};

template <typename Function>
void* py_slot(Function* function) {
  return reinterpret_cast<void*>(function);
}

// The exception that is set, as Python prints it, and clears it.
[[nodiscard]] std::string take_exception();
// All of it to stderr, the lock released meanwhile.
void write_stderr(std::string_view text);

}  // namespace penstock
