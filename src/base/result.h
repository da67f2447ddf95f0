// Result<T>: the answer to an expected failure (a disk, a peer, a limit, a refused system call).
//
// Our code throws nothing. A function that can fail returns Result<T>; [[nodiscard]] makes the
// caller look. The message is a whole sentence fit for an operator, without a trailing newline.
#pragma once

#include <cerrno>
#include <expected>
#include <string>
#include <utility>

namespace penstock {

struct Error {
  int code = 0;         // errno of the failed call, or 0 where none applies
  std::string message;  // what was tried and why it failed: "open /x: No such file or directory"
};

template <typename T>
using Result = std::expected<T, Error>;
using Status = std::expected<void, Error>;

// An error of our own making, without an errno.
[[nodiscard]] inline std::unexpected<Error> fail(std::string message, int code = 0) {
  return std::unexpected(Error{code, std::move(message)});
}

// "what: strerror(code)"; `code` defaults to the errno of the call that just failed.
[[nodiscard]] std::unexpected<Error> fail_errno(const std::string& what, int code = errno);

}  // namespace penstock
