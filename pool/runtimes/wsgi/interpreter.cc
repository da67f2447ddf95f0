#include "pool/runtimes/wsgi/interpreter.h"

#include "pool/runtimes/wsgi/application.h"

#include <cstdlib>
#include <sys/stat.h>
#include <unistd.h>

namespace penstock {
namespace {

constexpr const char* VERSIONED = "python" Py_STRINGIFY(PY_MAJOR_VERSION) "." Py_STRINGIFY(PY_MINOR_VERSION);

bool is_virtual_environment(const std::string& folder) { return ::access((folder + "/pyvenv.cfg").c_str(), R_OK) == 0; }

Status said(const PyStatus& status, const char* doing) {
  if (PyStatus_Exception(status) == 0) return {};
  return fail(std::string(doing) + ": " + (status.err_msg != nullptr ? status.err_msg : "failed"));
}

// `program`: where Python would be; it finds its library from there, and the virtual environment.
Status initialize(PyConfig& config, const std::string& program, const std::string& name) {
  config.isolated = 0;
  config.use_environment = 1;
  config.user_site_directory = 0;
  config.safe_path = 1;
  config.install_signal_handlers = 0;
  config.write_bytecode = 0;  // the application's folder is not the worker's to write
  config.parse_argv = 0;
  PyStatus status = PyConfig_SetBytesString(&config, &config.program_name, program.c_str());
  if (PyStatus_Exception(status) == 0) status = PyConfig_SetBytesString(&config, &config.executable, program.c_str());
  char* argv[] = {const_cast<char*>(name.c_str())};
  if (PyStatus_Exception(status) == 0) status = PyConfig_SetBytesArgv(&config, 1, argv);
  if (PyStatus_Exception(status) == 0) status = Py_InitializeFromConfig(&config);
  return said(status, "Python does not start");
}

Status prepare_paths(const std::string& directory) {
  PyObject* const path = PySys_GetObject("path");  // borrowed
  const PyRef first(PyUnicode_DecodeFSDefault(directory.c_str()));
  if (path == nullptr || !first || PyList_Insert(path, 0, first.get()) != 0) return fail(take_exception());
  // Into a pipe, which is the pool's log: lines, so that those of threads do not mix, and at once.
  if (PyRun_SimpleString("import sys\n"
                         "for stream in sys.stdout, sys.stderr:\n"
                         "    stream.reconfigure(line_buffering=True, errors='backslashreplace')\n"
                         "del stream") != 0) {
    return fail("sys.stdout cannot be prepared");
  }
  return {};
}

// In a pool the worker is there already, and its sandbox knows no chdir.
Status enter(const std::string& directory) {
  struct stat there {};
  struct stat here {};
  if (::stat(directory.c_str(), &there) != 0) return fail_errno("--directory " + directory);
  if (::stat(".", &here) == 0 && here.st_dev == there.st_dev && here.st_ino == there.st_ino) return {};
  if (::chdir(directory.c_str()) != 0) return fail_errno("--directory " + directory);
  return {};
}

Result<std::string> working_directory(const std::string& directory) {
  if (!directory.empty()) {
    if (const Status entered = enter(directory); !entered) return std::unexpected(entered.error());
  }
  std::string here(4'096, '\0');
  if (::getcwd(here.data(), here.size()) == nullptr) return fail_errno("the working directory");
  here.resize(here.find('\0'));
  return here;
}

}  // namespace

Result<std::string> find_virtual_environment(const WsgiOptions& options) {
  std::string folder;
  if (const char* const value = std::getenv("VIRTUAL_ENV")) folder = value;
  if (!folder.empty() && !is_virtual_environment(folder)) {
    return fail("VIRTUAL_ENV is no virtual environment: " + folder + "/pyvenv.cfg cannot be read");
  }
  const std::string base = options.directory.empty() ? "." : options.directory;
  for (const char* name : {"/venv", "/.venv"}) {
    if (folder.empty() && is_virtual_environment(base + name)) folder = base + name;
  }
  if (folder.empty()) return folder;
  if (::access((folder + "/lib/" + VERSIONED + "/site-packages").c_str(), F_OK) != 0) {
    return fail("the virtual environment " + folder + " is not for " + VERSIONED + ", which is built in");
  }
  return folder;
}

Status start_interpreter(const WsgiOptions& options) {
  const Result<std::string> virtual_environment = find_virtual_environment(options);
  if (!virtual_environment) return std::unexpected(virtual_environment.error());
  std::string program = PENSTOCK_PYTHON;
  if (!virtual_environment->empty()) {
    // An absolute path, since the working directory changes.
    char* const absolute = ::realpath(virtual_environment->c_str(), nullptr);
    program = std::string(absolute != nullptr ? absolute : virtual_environment->c_str()) + "/bin/python3";
    std::free(absolute);
  }
  const Result<std::string> directory = working_directory(options.directory);
  if (!directory) return std::unexpected(directory.error());

  PyPreConfig before;
  PyPreConfig_InitPythonConfig(&before);
  before.utf8_mode = 1;
  before.configure_locale = 1;
  before.parse_argv = 0;
  if (const Status done = said(Py_PreInitialize(&before), "Python does not start"); !done) return done;
  PyConfig config;
  PyConfig_InitPythonConfig(&config);
  const Status started = initialize(config, program, options.module);
  PyConfig_Clear(&config);
  if (!started) return started;
  return prepare_paths(*directory);
}

Result<PyRef> load_application(const WsgiOptions& options) {
  PyRef found(PyImport_ImportModule(options.module.c_str()));
  if (!found) return fail("--app " + options.module + " cannot be imported:\n" + take_exception());
  for (std::string_view rest = options.callable; !rest.empty();) {
    const std::string name(rest.substr(0, rest.find('.')));
    rest.remove_prefix(std::min(name.size() + 1, rest.size()));
    found.reset(PyObject_GetAttrString(found.get(), name.c_str()));
    if (!found) return fail("--app " + options.module + " has no " + options.callable + ":\n" + take_exception());
  }
  if (PyCallable_Check(found.get()) == 0) {
    return fail("--app " + options.module + ":" + options.callable + " cannot be called: it is a " +
                Py_TYPE(found.get())->tp_name);
  }
  return found;
}

void end_interpreter() { (void)Py_FinalizeEx(); }

}  // namespace penstock
