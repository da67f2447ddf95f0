// WsgiCall: one call of the application for one request, on the thread that makes it, with the interpreter's lock held
// but where it waits for the client.
//
// What becomes of the answer. Nothing sent yet and an exception: 500, the traceback on stderr and in the log record.
// Something sent: the answer is cut off. The same where the application gives fewer bytes than it announced; what it
// gives beyond that is not sent. close() of what it returned is called whatever happened.
#pragma once

#include "pool/runtimes/wsgi/application.h"
#include "pool/runtimes/wsgi/transfer.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace penstock {

class WsgiCall {
 public:
  WsgiCall(WsgiApplication& application, std::unique_ptr<Transfer> transfer);
  WsgiCall(const WsgiCall&) = delete;
  WsgiCall& operator=(const WsgiCall&) = delete;

  void run();

  // What the application calls. Each gives false, or no object, and sets an exception.
  [[nodiscard]] bool read(std::string& to, size_t most, bool line);
  [[nodiscard]] PyObject* start_response(PyObject* input, PyObject* arguments, PyObject* names);
  [[nodiscard]] bool write(PyObject* bytes);

 private:
  [[nodiscard]] bool deliver(PyObject* result);
  [[nodiscard]] bool deliver_list(PyObject* list);
  [[nodiscard]] bool deliver_file(int fd, uint64_t offset);
  [[nodiscard]] bool send(std::string_view bytes, bool show = true);
  [[nodiscard]] bool send_head();
  [[nodiscard]] bool complete();
  [[nodiscard]] bool no_body() const;
  void close(PyObject* result);
  void fail();
  void report(std::string_view what);
  void detach(PyObject* input);

  WsgiApplication& application_;
  std::unique_ptr<Transfer> transfer_;
  ResponseHead response_;
  const bool head_only_;
  bool started_ = false;     // start_response() was called
  bool sent_ = false;        // the head is on its way, and cannot be changed
  bool failed_ = false;      // the answer cannot be finished as a whole
  uint64_t body_bytes_ = 0;  // of the answer's, so far
  uint32_t waiting_ = 0;     // threads of the application's that wait for the client in here, without the lock
};

// The head of an answer out of what start_response() got. False: an exception is set.
[[nodiscard]] bool take_status(PyObject* status, ResponseHead& to);
[[nodiscard]] bool take_fields(PyObject* list, ResponseHead& to);

}  // namespace penstock
