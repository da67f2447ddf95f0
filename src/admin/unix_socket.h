// Listening on a unix socket that has a name in the file system or the abstract name space.
//
// Used by the supervisor for server.listen = unix:... and for its control socket. A socket file that a dead process
// left behind is taken away; one that somebody listens on, or a file that is no socket, is never touched.
#pragma once

#include "src/base/result.h"
#include "src/base/unique_fd.h"

#include <string>
#include <sys/types.h>

namespace penstock {

// A listening stream socket, close-on-exec and non-blocking. `name`: an absolute path, or '@' and an abstract name.
// `mode` are the permissions of a socket file. Error.code EADDRINUSE: somebody listens there.
[[nodiscard]] Result<UniqueFd> listen_unix(const std::string& name, mode_t mode, int backlog);

// A connected stream socket, close-on-exec, blocking.
[[nodiscard]] Result<UniqueFd> connect_unix(const std::string& name);

}  // namespace penstock
