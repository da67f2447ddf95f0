// Interpreter: CPython in this process, from its start to its end. One per process; the main thread's.
//
// Isolated as far as an application allows: no user's site-packages, no sys.path but the library's, the virtual
// environment's and the application's directory, no signal handlers, UTF-8 whatever the locale, nothing compiled is
// written. Variables that begin with PYTHON are heard, since the environment is what the configuration says.
#pragma once

#include "pool/runtimes/wsgi/options.h"
#include "pool/runtimes/wsgi/python.h"
#include "src/base/result.h"

#include <string>

namespace penstock {

// The virtual environment: VIRTUAL_ENV, or DIR/venv or DIR/.venv where that is one; else empty. Error: one
// was named and is none, or is for another version of Python.
[[nodiscard]] Result<std::string> find_virtual_environment(const WsgiOptions& options);

// Starts it; the lock is then held. Error: a sentence.
[[nodiscard]] Status start_interpreter(const WsgiOptions& options);
// Imports the module and finds the callable. Error: the traceback, or what is wrong with it.
[[nodiscard]] Result<PyRef> load_application(const WsgiOptions& options);
// Joins threads of the application's own, runs what it registered with atexit. REQUIRES: the lock is held, and no PyRef
// lives on.
void end_interpreter();

}  // namespace penstock
