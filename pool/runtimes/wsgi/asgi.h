// ASGI applications: asgi.py, which is in this program, makes a WSGI one of them. The interpreter's lock is held.
#pragma once

#include "pool/runtimes/wsgi/python.h"
#include "src/base/result.h"

namespace penstock {

// Whether it is a coroutine function, or an object whose __call__ is one: no WSGI application is.
[[nodiscard]] bool speaks_asgi(const PyRef& application);

// Starts the application (its lifespan). Error: why it could not be.
[[nodiscard]] Result<PyRef> adapt_asgi(const PyRef& application);

}  // namespace penstock
