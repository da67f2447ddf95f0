// The environ of a call (PEP 3333, RFC 3875 section 4.1).
//
// Strings are bytes as Latin-1 text. Fields that a client could use to pass for something else are left out: names with
// '_' (X_Forwarded_For would be X-Forwarded-For's twin) and Proxy (which would be HTTP_PROXY).
#include "pool/runtimes/wsgi/application.h"
#include "src/base/version.h"

#include <algorithm>
#include <cctype>

namespace penstock {
namespace {

constexpr size_t FIELD_KEYS_MAX = 512;  // clients choose the names

PyRef latin1(std::string_view bytes) {
  return PyRef(PyUnicode_DecodeLatin1(bytes.data(), static_cast<Py_ssize_t>(bytes.size()), nullptr));
}

bool equal_names(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
           return std::tolower(static_cast<unsigned char>(x)) == std::tolower(static_cast<unsigned char>(y));
         });
}

// A dict that is filled until the first failure.
class Filler {
 public:
  explicit Filler(PyObject* dict) : dict_(dict) {}
  void set(PyObject* key, const PyRef& value) {
    ok_ = ok_ && key != nullptr && value && PyDict_SetItem(dict_, key, value.get()) == 0;
  }
  void set(const char* key, const PyRef& value) {
    ok_ = ok_ && value && PyDict_SetItemString(dict_, key, value.get()) == 0;
  }
  // A field that came before: the two are one list.
  void add(PyObject* key, std::string_view value, bool cookie) {
    if (!ok_) return;
    PyObject* const before = PyDict_GetItemWithError(dict_, key);
    if (before == nullptr) {
      ok_ = PyErr_Occurred() == nullptr;
      return set(key, latin1(value));
    }
    const PyRef now = latin1(value);
    set(key, PyRef(now ? PyUnicode_FromFormat("%U%s%U", before, cookie ? "; " : ", ", now.get()) : nullptr));
  }
  [[nodiscard]] bool ok() const { return ok_; }

 private:
  PyObject* dict_;
  bool ok_ = true;
};

// The prefix is of whole segments, as routes are; a path that is not below it belongs to the application as it is.
std::string_view script_name(const RequestHead& head) {
  std::string_view prefix = head.route_prefix;
  if (prefix.ends_with('/')) prefix.remove_suffix(1);
  if (!head.path.starts_with(prefix)) return {};
  const std::string_view rest = head.path.substr(prefix.size());
  return rest.empty() || rest.front() == '/' ? prefix : std::string_view();
}

std::string_view host_of(std::string_view authority) {
  if (authority.starts_with('[')) return authority.substr(0, authority.find(']') + 1);
  return authority.substr(0, authority.find(':'));
}

std::string port_of(const RequestHead& head) {
  if (head.server_port != 0) return std::to_string(head.server_port);
  return head.secure ? "443" : "80";  // a unix socket
}

void set_constants(Filler& to, bool multithread) {
  to.set("GATEWAY_INTERFACE", latin1("CGI/1.1"));
  to.set("SERVER_SOFTWARE", latin1("penstock/" + std::string(version())));
  to.set("wsgi.version", PyRef(Py_BuildValue("(ii)", 1, 0)));
  to.set("wsgi.multithread", PyRef(PyBool_FromLong(multithread ? 1 : 0)));
  to.set("wsgi.multiprocess", PyRef(PyBool_FromLong(1)));  // also with one worker: while it is being recycled
  to.set("wsgi.run_once", PyRef(PyBool_FromLong(0)));
  to.set("wsgi.input_terminated", PyRef(PyBool_FromLong(1)));  // its end is the body's, announced or not
}

}  // namespace

Result<WsgiApplication> WsgiApplication::create(PyRef callable, bool multithread) {
  WsgiApplication made;
  made.callable_ = std::move(callable);
  made.input_type_ = make_input_type();
  made.errors_type_ = make_errors_type();
  made.file_wrapper_type_ = make_file_wrapper_type();
  made.constants_ = PyRef(PyDict_New());
  if (!made.input_type_ || !made.errors_type_ || !made.file_wrapper_type_ || !made.constants_) {
    return fail(take_exception());
  }
  const PyRef io(PyImport_ImportModule("io"));
  if (!io) return fail(take_exception());
  made.buffered_reader_type_ = PyRef(PyObject_GetAttrString(io.get(), "BufferedReader"));
  made.buffered_random_type_ = PyRef(PyObject_GetAttrString(io.get(), "BufferedRandom"));
  made.file_io_type_ = PyRef(PyObject_GetAttrString(io.get(), "FileIO"));
  Filler constants(made.constants_.get());
  set_constants(constants, multithread);
  constants.set("wsgi.file_wrapper", PyRef::borrow(made.file_wrapper_type_.get()));
  for (const char* key : {"REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "REQUEST_URI",
                          "SERVER_PROTOCOL", "SERVER_NAME", "SERVER_PORT", "REMOTE_ADDR", "REMOTE_PORT", "CONTENT_TYPE",
                          "CONTENT_LENGTH", "HTTP_HOST", "HTTPS", "wsgi.input", "wsgi.errors", "wsgi.url_scheme"}) {
    made.keys_.emplace(key, PyRef(PyUnicode_InternFromString(key)));
  }
  if (!constants.ok() || PyErr_Occurred() != nullptr) return fail(take_exception());
  return made;
}

PyObject* WsgiApplication::field_key(std::string_view name) {
  if (const auto known = field_keys_.find(name); known != field_keys_.end()) return known->second.get();
  if (name.find('_') != std::string_view::npos || equal_names(name, "Proxy")) return nullptr;
  std::string key;
  if (!equal_names(name, "Content-Type") && !equal_names(name, "Content-Length")) key = "HTTP_";
  for (const char c : name) key += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  if (field_keys_.size() >= FIELD_KEYS_MAX) field_keys_.clear();
  return field_keys_.emplace(name, latin1(key)).first->second.get();
}

PyRef WsgiApplication::make_environ(const RequestHead& head, PyObject* input, PyObject* errors) {
  PyRef environ(PyDict_Copy(constants_.get()));
  if (!environ) return {};
  Filler to(environ.get());
  const auto key = [this](const char* name) { return keys_.find(name)->second.get(); };
  const std::string_view script = script_name(head);
  to.set(key("REQUEST_METHOD"), latin1(head.method));
  to.set(key("SCRIPT_NAME"), latin1(script));
  to.set(key("PATH_INFO"), latin1(head.path.substr(script.size())));
  to.set(key("QUERY_STRING"), latin1(head.query));
  to.set(key("REQUEST_URI"), latin1(head.target));
  to.set(key("SERVER_PROTOCOL"), latin1("HTTP/" + std::to_string(head.major) + "." + std::to_string(head.minor)));
  to.set(key("SERVER_NAME"), latin1(head.authority.empty() ? head.server_address : host_of(head.authority)));
  to.set(key("SERVER_PORT"), latin1(port_of(head)));
  to.set(key("REMOTE_ADDR"), latin1(head.remote_address));
  if (head.remote_port != 0) to.set(key("REMOTE_PORT"), latin1(std::to_string(head.remote_port)));
  if (head.secure) to.set(key("HTTPS"), latin1("on"));
  if (!head.client_verify.empty()) to.set("SSL_CLIENT_VERIFY", latin1(head.client_verify));
  if (!head.client_fingerprint.empty()) {
    to.set("SSL_CLIENT_S_DN", latin1(head.client_subject));
    to.set("SSL_CLIENT_FINGERPRINT", latin1(head.client_fingerprint));
  }
  to.set(key("wsgi.url_scheme"), latin1(head.secure ? "https" : "http"));
  to.set(key("wsgi.input"), PyRef::borrow(input));
  to.set(key("wsgi.errors"), PyRef::borrow(errors));
  if (!head.authority.empty()) to.set(key("HTTP_HOST"), latin1(head.authority));
  bool says_length = false;
  for (const auto& [name, value] : head.fields) {
    const bool is_length = equal_names(name, "Content-Length");
    says_length = says_length || is_length;
    if (is_length || (equal_names(name, "Host") && !head.authority.empty())) continue;
    PyObject* const field = field_key(name);
    if (field == nullptr && PyErr_Occurred() != nullptr) return {};
    if (field != nullptr) to.add(field, value, equal_names(name, "Cookie"));
  }
  // As the server counts it: a field that came with a chunked body says nothing.
  if (head.body_length != PENSTOCK_UNKNOWN_LENGTH && (says_length || head.body_length > 0)) {
    to.set(key("CONTENT_LENGTH"), latin1(std::to_string(head.body_length)));
  }
  if (!to.ok()) return {};
  return environ;
}

}  // namespace penstock
