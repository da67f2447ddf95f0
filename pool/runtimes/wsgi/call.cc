// Invariant: what is waited for is waited for without the interpreter's lock; `transfer_` lives until run() has ended
// and nobody waits in it.
#include "pool/runtimes/wsgi/call.h"

#include <algorithm>
#include <cerrno>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace penstock {
namespace {

constexpr size_t FILE_BLOCK_BYTES = 64 * 1'024;
constexpr size_t LOG_BYTES_MAX = 8 * 1'024;
constexpr std::string_view SORRY = "Internal Server Error\n";

WsgiCall* call_of_input(PyObject* input, const char* what) {
  WsgiCall* const call = reinterpret_cast<InputObject*>(input)->call;
  if (call == nullptr) PyErr_Format(PyExc_ValueError, "%s is called after the end of its request", what);
  return call;
}

PyObject* call_start_response(PyObject* input, PyObject* arguments, PyObject* names) {
  WsgiCall* const call = call_of_input(input, "start_response()");
  return call == nullptr ? nullptr : call->start_response(input, arguments, names);
}

PyObject* call_write(PyObject* input, PyObject* bytes) {
  WsgiCall* const call = call_of_input(input, "write()");
  if (call == nullptr || !call->write(bytes)) return nullptr;
  Py_RETURN_NONE;
}

PyMethodDef START_RESPONSE = {"start_response", reinterpret_cast<PyCFunction>(py_slot(call_start_response)),
                              METH_VARARGS | METH_KEYWORDS, nullptr};
PyMethodDef WRITE = {"write", call_write, METH_O, nullptr};

bool is_gone() {
  PyErr_SetString(PyExc_ConnectionResetError, "the client has gone");
  return false;
}

bool take_bytes(PyObject* object, std::string_view& to) {
  if (!PyBytes_Check(object)) {
    PyErr_Format(PyExc_TypeError, "an application gives bytes, not %s", Py_TYPE(object)->tp_name);
    return false;
  }
  to = {PyBytes_AS_STRING(object), static_cast<size_t>(PyBytes_GET_SIZE(object))};
  return true;
}

}  // namespace

WsgiCall::WsgiCall(WsgiApplication& application, std::unique_ptr<Transfer> transfer)
    : application_(application), transfer_(std::move(transfer)), head_only_(transfer_->head.method == "HEAD") {}

void WsgiCall::run() {
  if (transfer_->gone()) return;  // nobody waits for it any more
  const PyRef input = application_.make_input(this);
  {
    const PyRef errors = application_.make_errors();
    const PyRef start(input ? PyCFunction_New(&START_RESPONSE, input.get()) : nullptr);
    const PyRef environ =
        errors && start ? application_.make_environ(transfer_->head, input.get(), errors.get()) : PyRef();
    PyRef result;
    if (environ) {
      PyObject* const arguments[] = {environ.get(), start.get()};
      result.reset(PyObject_Vectorcall(application_.callable(), arguments, 2, nullptr));
    }
    if (!result || !deliver(result.get())) fail();
    if (result) close(result.get());
  }
  if (input) detach(input.get());
  Transfer::finish(std::move(transfer_), failed_ ? Transfer::Ending::CUT : Transfer::Ending::WHOLE);
}

// The application may keep what it was given, and have threads that use it still.
void WsgiCall::detach(PyObject* input) {
  reinterpret_cast<InputObject*>(input)->call = nullptr;
  transfer_->close_body();
  while (waiting_ > 0) {
    const GilRelease they_come_back;
    std::this_thread::yield();
  }
}

bool WsgiCall::read(std::string& to, size_t most, bool line) {
  bool complete = false;
  if (!transfer_->read(to, most, line, false, complete)) return is_gone();
  if (complete) return true;
  bool whole = false;
  ++waiting_;
  {
    const GilRelease others_go_on;
    whole = transfer_->read(to, most - to.size(), line, true, complete);
  }
  --waiting_;
  return whole ? true : is_gone();
}

PyObject* WsgiCall::start_response(PyObject* input, PyObject* arguments, PyObject* names) {
  static char status_name[] = "status";
  static char fields_name[] = "response_headers";
  static char exception_name[] = "exc_info";
  static char* keywords[] = {status_name, fields_name, exception_name, nullptr};
  PyObject* status = nullptr;
  PyObject* fields = nullptr;
  PyObject* exception = nullptr;
  if (PyArg_ParseTupleAndKeywords(arguments, names, "OO|O:start_response", keywords, &status, &fields, &exception) ==
      0) {
    return nullptr;
  }
  const bool has_exception = exception != nullptr && exception != Py_None;
  if (has_exception && (!PyTuple_Check(exception) || PyTuple_GET_SIZE(exception) != 3)) {
    return PyErr_Format(PyExc_TypeError, "exc_info must be what sys.exc_info() gives");
  }
  if (sent_ && has_exception) {  // too late for another answer
    PyObject* const* const parts = &PyTuple_GET_ITEM(exception, 0);
    PyErr_Restore(PyRef::borrow(parts[0]).release(), PyRef::borrow(parts[1]).release(),
                  parts[2] == Py_None ? nullptr : PyRef::borrow(parts[2]).release());
    return nullptr;
  }
  if (started_ && !has_exception) {
    return PyErr_Format(PyExc_AssertionError, "start_response() is called again, without exc_info");
  }
  ResponseHead head;
  if (!take_status(status, head) || !take_fields(fields, head)) return nullptr;
  response_ = std::move(head);
  started_ = true;
  return PyCFunction_New(&WRITE, input);
}

bool WsgiCall::no_body() const { return head_only_ || response_.status == 204 || response_.status == 304; }

bool WsgiCall::send_head() {
  if (sent_) return true;
  if (!started_) {
    PyErr_SetString(PyExc_AssertionError, "the application has not called start_response()");
    return false;
  }
  sent_ = true;
  transfer_->begin(response_);
  return true;
}

bool WsgiCall::send(std::string_view bytes, bool show) {
  if (!send_head()) return false;
  const bool too_many =
      response_.length != PENSTOCK_UNKNOWN_LENGTH && !no_body() && bytes.size() > response_.length - body_bytes_;
  if (too_many) bytes = bytes.substr(0, response_.length - body_bytes_);
  body_bytes_ += bytes.size();
  if (!no_body()) {
    const size_t taken = transfer_->write(bytes, false, show);
    if (taken < bytes.size()) {
      ++waiting_;
      size_t rest = 0;
      {
        const GilRelease others_go_on;
        rest = transfer_->write(bytes.substr(taken), true);
      }
      --waiting_;
      if (taken + rest < bytes.size()) return is_gone();
    }
  }
  if (too_many) {
    PyErr_Format(PyExc_ValueError, "the application gives more than the %llu bytes that its Content-Length says",
                 static_cast<unsigned long long>(response_.length));
  }
  return !too_many;
}

bool WsgiCall::write(PyObject* object) {
  std::string_view bytes;
  return take_bytes(object, bytes) && send(bytes);
}

// --- the result -----------------------------------------------------------------------------

bool WsgiCall::deliver(PyObject* result) {
  if (PyList_CheckExact(result) || PyTuple_CheckExact(result)) return deliver_list(result);
  uint64_t offset = 0;
  if (const int fd = application_.plain_file(result, offset); fd >= 0) return deliver_file(fd, offset);
  const PyRef iterator(PyObject_GetIter(result));
  if (!iterator) return false;
  while (const PyRef block = PyRef(PyIter_Next(iterator.get()))) {
    std::string_view bytes;
    if (!take_bytes(block.get(), bytes)) return false;
    if (!bytes.empty() && !send(bytes)) return false;
    if (transfer_->gone()) return is_gone();  // also one that gives only empty blocks ends
  }
  return PyErr_Occurred() == nullptr && complete();
}

// All of it is here, so that its length is known, and it can go out in one, as far as it fits.
bool WsgiCall::deliver_list(PyObject* list) {
  const Py_ssize_t count = PySequence_Fast_GET_SIZE(list);
  std::string_view bytes;
  uint64_t all = 0;
  for (Py_ssize_t i = 0; i < count; ++i) {
    if (!take_bytes(PySequence_Fast_GET_ITEM(list, i), bytes)) return false;
    all += bytes.size();
  }
  if (!sent_ && response_.length == PENSTOCK_UNKNOWN_LENGTH) response_.length = all;
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(list); ++i) {
    const PyRef block = PyRef::borrow(PySequence_Fast_GET_ITEM(list, i));  // while others may change the list
    if (!take_bytes(block.get(), bytes)) return false;
    if (!bytes.empty() && !send(bytes, all > Transfer::ANSWER_MAX)) return false;
  }
  return complete();
}

bool WsgiCall::deliver_file(int fd, uint64_t offset) {
  struct stat facts {};
  if (::fstat(fd, &facts) != 0) return PyErr_SetFromErrno(PyExc_OSError) != nullptr;
  const auto end = static_cast<uint64_t>(facts.st_size);
  uint64_t left = end - std::min(end, offset);
  if (!sent_ && response_.length == PENSTOCK_UNKNOWN_LENGTH) response_.length = left;
  if (response_.length != PENSTOCK_UNKNOWN_LENGTH) left = std::min(left, response_.length - body_bytes_);
  if (no_body()) left = 0;
  std::string block(static_cast<size_t>(std::min<uint64_t>(left, FILE_BLOCK_BYTES)), '\0');
  while (left > 0) {
    ssize_t got = 0;
    {
      const GilRelease others_go_on;
      got = ::pread(fd, block.data(), static_cast<size_t>(std::min<uint64_t>(left, block.size())),
                    static_cast<off_t>(offset));
    }
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return PyErr_SetFromErrno(PyExc_OSError) != nullptr;
    if (got == 0) break;  // it has become shorter
    if (!send(std::string_view(block).substr(0, static_cast<size_t>(got)))) return false;
    offset += static_cast<uint64_t>(got);
    left -= static_cast<uint64_t>(got);
  }
  return complete();
}

// Nothing more comes: is it what was announced?
bool WsgiCall::complete() {
  if (!started_) return send_head();
  if (no_body()) return send_head();
  if (!sent_ && response_.length == PENSTOCK_UNKNOWN_LENGTH) response_.length = 0;
  if (response_.length == PENSTOCK_UNKNOWN_LENGTH || body_bytes_ == response_.length) return send_head();
  PyErr_Format(PyExc_ValueError, "the application gives %llu of the %llu bytes that its Content-Length says",
               static_cast<unsigned long long>(body_bytes_), static_cast<unsigned long long>(response_.length));
  return false;
}

void WsgiCall::close(PyObject* result) {
  const PyRef close(PyObject_GetAttrString(result, "close"));
  if (!close) return PyErr_Clear();
  if (!PyRef(PyObject_CallNoArgs(close.get()))) report("in close()");
}

// --- failures -------------------------------------------------------------------------------

void WsgiCall::report(std::string_view what) {
  if (transfer_->gone() && PyErr_ExceptionMatches(PyExc_ConnectionResetError) != 0) return PyErr_Clear();
  std::string text = "penstock-wsgi: " + std::string(transfer_->head.method) + " " +
                     std::string(transfer_->head.target) + " " + std::string(what) + ":\n" + take_exception();
  write_stderr(text);
  // The end of a traceback says most.
  transfer_->log(std::string_view(text).substr(text.size() - std::min(text.size(), LOG_BYTES_MAX)));
}

void WsgiCall::fail() {
  report("failed");
  if (sent_) {
    failed_ = response_.length == PENSTOCK_UNKNOWN_LENGTH || body_bytes_ < response_.length || head_only_;
    return;
  }
  response_ = ResponseHead{.status = 500, .fields = {{"Content-Type", "text/plain"}}, .length = SORRY.size()};
  started_ = true;
  body_bytes_ = 0;
  if (!send(SORRY)) PyErr_Clear();
}

}  // namespace penstock
