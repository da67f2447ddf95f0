// WsgiApplication: the application, and what all calls of it share: types of ours, keys and constants of its environ.
// Made and ended with the interpreter's lock held; used so by any thread.
#pragma once

#include "pool/runtimes/wsgi/python.h"
#include "pool/runtimes/wsgi/transfer.h"
#include "src/base/result.h"

#include <functional>
#include <map>
#include <string>
#include <string_view>

namespace penstock {

class WsgiCall;

// wsgi.input: read, readline, readlines, iteration; and what start_response and write() are bound to.
struct InputObject {
  PyObject_HEAD WsgiCall* call;  // nullptr: the request is over
};

// What wsgi.file_wrapper makes: blocks of a file-like object.
struct FileWrapperObject {
  PyObject_HEAD PyObject* file;
  Py_ssize_t block_bytes;
};

class WsgiApplication {
 public:
  // `callable`: the application. Error: memory, as a rule.
  [[nodiscard]] static Result<WsgiApplication> create(PyRef callable, bool multithread);

  // Each gives a new object, or none and sets Python's exception.
  [[nodiscard]] PyRef make_input(WsgiCall* call) const;
  [[nodiscard]] PyRef make_errors() const;
  [[nodiscard]] PyRef make_environ(const RequestHead& head, PyObject* input, PyObject* errors);

  [[nodiscard]] PyObject* callable() const { return callable_.get(); }
  // The file below a file wrapper where its bytes are those of a descriptor, from `offset` on; -1: read it as it is.
  [[nodiscard]] int plain_file(PyObject* result, uint64_t& offset) const;

 private:
  WsgiApplication() = default;
  [[nodiscard]] PyObject* field_key(std::string_view name);  // borrowed; nullptr: not to be given, or an exception

  PyRef callable_;
  PyRef input_type_;
  PyRef errors_type_;
  PyRef file_wrapper_type_;
  PyRef buffered_reader_type_;
  PyRef buffered_random_type_;
  PyRef file_io_type_;
  PyRef constants_;  // a dict: what every environ begins with
  std::map<std::string, PyRef, std::less<>> keys_;
  std::map<std::string, PyRef, std::less<>> field_keys_;  // by the field's name as it came
};

// The types; new references, or none and an exception.
[[nodiscard]] PyRef make_input_type();
[[nodiscard]] PyRef make_errors_type();
[[nodiscard]] PyRef make_file_wrapper_type();

}  // namespace penstock
