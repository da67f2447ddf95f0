// SendJob: a send of several parts or of files on its way into a socket; shared by the kernel transports.
//
// Owned by the transport, taken from its pool for the duration of one send (never for the fast path,
// a single memory part). Never blocks: the socket is non-blocking, and file pages that are not
// resident are reported as COLD instead of being waited for.
#pragma once

#include "src/base/inplace_vector.h"
#include "src/base/unique_fd.h"
#include "src/transport/transport.h"

#include <span>
#include <sys/socket.h>
#include <sys/uio.h>

namespace penstock {

// sendfile(2) and splice(2) have no MSG_NOSIGNAL: on a connection that the peer has reset they raise SIGPIPE. Where
// the process has left that signal to kill it, it is ignored from here on.
void ignore_broken_pipe_signal();

class SendJob {
 public:
  enum class Result : uint8_t {
    DONE,         // every byte is in the socket
    FULL,         // the socket takes no more for now
    SHARE_SPENT,  // `budget` is used up
    COLD,         // the next bytes must come from a disk
    ERROR,        // see error(): ENODATA when a file is shorter than its part said
  };
  // A window of a cold file is looked at, or read, at a time.
  static constexpr uint32_t COLD_WINDOW_BYTES = 256 * 1'024;

  SendJob(std::span<const SendPart> parts, bool more);
  SendJob(const SendJob&) = delete;
  SendJob& operator=(const SendJob&) = delete;

  // All of it is one record of TLS of this type, which the kernel seals; of application data where nothing is said.
  // REQUIRES: a single memory part.
  void set_record_type(uint8_t type) { record_type_ = type; }
  [[nodiscard]] bool has_files() const { return has_files_; }
  [[nodiscard]] bool done() const { return next_ == parts_.size(); }
  [[nodiscard]] int error() const { return error_; }
  [[nodiscard]] uint64_t bytes_left() const;

  // For a job without files: all that is left, as a message that stays valid until the next call.
  [[nodiscard]] msghdr* message();
  [[nodiscard]] int message_flags() const { return MSG_NOSIGNAL | (more_ ? MSG_MORE : 0); }
  // `bytes` of what is left are in the socket.
  void consume(uint64_t bytes);

  // Moves bytes into the non-blocking socket `fd` by sendmsg(2) and sendfile(2), at most about
  // `budget` of them, and counts them in `sent` and `counters`.
  [[nodiscard]] Result push(int fd, uint64_t budget, uint64_t& sent, TransportCounters& counters);

  // The answer to COLD. Either let a worker splice cold_bytes() of cold_fd() from cold_offset() into
  // pipe_in() and report with filled(); or have the kernel read ahead, try again later, and at last
  // force() the part, which may then wait for the disk.
  [[nodiscard]] Status open_pipe();
  [[nodiscard]] int pipe_in() const { return pipe_in_.get(); }
  [[nodiscard]] int cold_fd() const { return parts_[next_].fd; }
  [[nodiscard]] uint64_t cold_offset() const { return parts_[next_].offset + part_sent_; }
  [[nodiscard]] uint32_t cold_bytes() const;
  void filled(uint32_t bytes) { pipe_bytes_ = bytes; }
  void force() { forced_until_ = cold_offset() + cold_bytes(); }

 private:
  [[nodiscard]] int64_t push_memory(int fd, TransportCounters& counters);
  [[nodiscard]] int64_t push_file(int fd, uint64_t budget, TransportCounters& counters);
  [[nodiscard]] int64_t push_pipe(int fd, TransportCounters& counters);
  [[nodiscard]] bool is_cold();
  [[nodiscard]] size_t fill_vectors();

  InplaceVector<SendPart, Transport::SEND_PARTS_MAX> parts_;
  iovec vectors_[Transport::SEND_PARTS_MAX];
  msghdr message_;
  alignas(cmsghdr) char control_[CMSG_SPACE(1)];
  uint8_t record_type_ = 0;
  uint32_t next_ = 0;       // the first part not wholly sent
  uint64_t part_sent_ = 0;  // bytes of it that were
  uint64_t asked_ = 0;      // bytes of the last attempt
  bool has_files_ = false;
  bool more_ = false;
  int error_ = 0;
  uint64_t warm_until_ = 0;    // file offset up to which the current part was seen resident
  uint64_t forced_until_ = 0;  // … or is to be sent whatever it takes
  uint64_t pipe_bytes_ = 0;    // in the pipe, not yet in the socket
  UniqueFd pipe_in_;
  UniqueFd pipe_out_;
};

}  // namespace penstock
