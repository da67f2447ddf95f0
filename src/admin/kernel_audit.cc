// NETLINK_AUDIT by raw sockets. The multicast group and the types of records are stable ABI (linux/audit.h).
#include "src/admin/kernel_audit.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <linux/audit.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <poll.h>
#include <span>
#include <string_view>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

namespace penstock {
namespace {

constexpr int LANDLOCK_ABI_TELLS = 7;  // Linux 6.15
constexpr int PATIENCE_MS = 1000;      // for the kernel's answer, which comes at once
constexpr uint32_t SOCKET_BYTES = 4 << 20;
constexpr size_t AUDIT_BYTES_MAX = 16 * 1024;

// Classic BPF, as setsockopt(2) takes it: load 16 bits, jump where they are equal, return.
struct FilterStep {
  uint16_t code;
  uint8_t if_true, if_false;
  uint32_t value;
};
struct FilterProgram {
  unsigned short steps;
  const FilterStep* code;
};
constexpr uint16_t LOAD_16 = 0x28;
constexpr uint16_t JUMP_IF_EQUAL = 0x15;
constexpr uint16_t RETURN = 0x06;

struct Request {
  nlmsghdr header{};
  audit_status status{};
};

Status send_request(int fd, uint16_t type, const audit_status* status) {
  Request request;
  request.header.nlmsg_len = NLMSG_LENGTH(status != nullptr ? sizeof *status : 0);
  request.header.nlmsg_type = type;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  request.header.nlmsg_seq = 1;
  if (status != nullptr) request.status = *status;
  if (::send(fd, &request, request.header.nlmsg_len, 0) < 0) return fail_errno("ask the kernel's audit");
  return {};
}

// Waits for the answers to a request: an acknowledgement, and with `status` the kernel's state.
Status take_answer(int fd, audit_status* status) {
  bool acknowledged = false;
  bool told = status == nullptr;
  while (!acknowledged || !told) {
    pollfd one{.fd = fd, .events = POLLIN, .revents = 0};
    if (::poll(&one, 1, PATIENCE_MS) <= 0) return fail("the kernel's audit does not answer");
    alignas(nlmsghdr) std::array<char, 1024> bytes;
    const ssize_t size = ::recv(fd, bytes.data(), bytes.size(), 0);
    if (size < static_cast<ssize_t>(sizeof(nlmsghdr))) return fail_errno("hear the kernel's audit");
    nlmsghdr header{};
    std::memcpy(&header, bytes.data(), sizeof header);
    const std::span<const char> body(bytes.data() + NLMSG_HDRLEN, static_cast<size_t>(size) - NLMSG_HDRLEN);
    if (header.nlmsg_type == NLMSG_ERROR) {
      int error = 0;
      if (body.size() < sizeof error) return fail("the kernel's audit answers nonsense");
      std::memcpy(&error, body.data(), sizeof error);
      if (error != 0) return fail_errno("ask the kernel's audit", -error);
      acknowledged = true;
    } else if (header.nlmsg_type == AUDIT_GET && status != nullptr) {
      // An older kernel knows fewer of its words, a newer one more.
      std::memcpy(status, body.data(), std::min(body.size(), sizeof *status));
      told = true;
    }
  }
  return {};
}

Result<UniqueFd> open_socket(int flags) {
  UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | flags, NETLINK_AUDIT));
  if (!fd.valid()) return fail_errno("the kernel has no audit");
  return fd;
}

Status set_enabled(int fd, bool on) {
  audit_status wanted{};
  wanted.mask = AUDIT_STATUS_ENABLED;
  wanted.enabled = on ? 1 : 0;
  if (Status sent = send_request(fd, AUDIT_SET, &wanted); !sent) return sent;
  return take_answer(fd, nullptr);
}

// The log of a machine may be long, and is not for us: the kernel drops all but what may be of a denial.
Status keep_to_our_types(int fd) {
  constexpr uint32_t TYPES[] = {AUDIT_RECORD_LANDLOCK_ACCESS, AUDIT_RECORD_LANDLOCK_DOMAIN, AUDIT_RECORD_SYSCALL,
                                AUDIT_RECORD_END};
  std::array<FilterStep, std::size(TYPES) + 3> code{};
  size_t at = 0;
  code[at++] = {LOAD_16, 0, 0, offsetof(nlmsghdr, nlmsg_type)};  // as big-endian
  for (size_t i = 0; i < std::size(TYPES); ++i) {
    const auto left = static_cast<uint8_t>(std::size(TYPES) - i);
    code[at++] = {JUMP_IF_EQUAL, left, 0, htons(static_cast<uint16_t>(TYPES[i]))};
  }
  code[at++] = {RETURN, 0, 0, 0};
  code[at++] = {RETURN, 0, 0, UINT32_MAX};
  const FilterProgram program{.steps = static_cast<unsigned short>(at), .code = code.data()};
  if (::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0) {
    return fail_errno("choose among the kernel's audit records");
  }
  return {};
}

Result<UniqueFd> open_reader() {
  auto reader = open_socket(SOCK_NONBLOCK);
  if (!reader) return reader;
  if (Status kept = keep_to_our_types(reader->get()); !kept) return std::unexpected(kept.error());
  if (::setsockopt(reader->get(), SOL_SOCKET, SO_RCVBUFFORCE, &SOCKET_BYTES, sizeof SOCKET_BYTES) != 0) {
    (void)::setsockopt(reader->get(), SOL_SOCKET, SO_RCVBUF, &SOCKET_BYTES, sizeof SOCKET_BYTES);
  }
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = 1U << (AUDIT_NLGRP_READLOG - 1);
  if (::bind(reader->get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return fail_errno("read the kernel's audit records");
  }
  return reader;
}

}  // namespace

// --- events ---------------------------------------------------------------------------------------

void AuditEvents::take(AuditRecord record, MonoTime now) {
  switch (record.type) {
    case AUDIT_RECORD_LANDLOCK_ACCESS: {
      if (waiting_.size() >= WAITING_MAX) waiting_[waiting_.size() - WAITING_MAX].until = now;
      Waiting one{.serial = record.serial, .domain = record.domain, .until = now + HOLD, .denial = {}};
      one.denial.when = {record.unix_ms * 1'000'000};
      one.denial.denied = std::move(record.denied);
      one.denial.object = std::move(record.object);
      if (const auto known = domains_.find(record.domain); known != domains_.end()) {
        one.denial.domain_pid = known->second;
      }
      waiting_.push_back(std::move(one));
      return;
    }
    case AUDIT_RECORD_LANDLOCK_DOMAIN:
      if (record.gone) {
        domains_.erase(record.domain);
        return;
      }
      domains_[record.domain] = record.pid;
      if (domains_.size() > DOMAINS_MAX) domains_.erase(domains_.begin());
      for (Waiting& one : waiting_) {
        if (one.domain == record.domain) one.denial.domain_pid = record.pid;
      }
      return;
    case AUDIT_RECORD_SYSCALL:
    case AUDIT_RECORD_END:
      for (Waiting& one : waiting_) {
        if (one.serial != record.serial) continue;
        one.until = now;
        if (record.type == AUDIT_RECORD_END) continue;
        one.denial.pid = record.pid;
        one.denial.uid = record.uid;
      }
      return;
    default:
      return;
  }
}

std::optional<AccessDenial> AuditEvents::next(MonoTime now) {
  const auto due = std::ranges::find_if(waiting_, [now](const Waiting& one) { return one.until <= now; });
  if (due == waiting_.end()) return std::nullopt;
  AccessDenial denial = std::move(due->denial);
  waiting_.erase(due);
  return denial;
}

MonoTime AuditEvents::next_deadline() const {
  MonoTime next = MonoTime::never();
  for (const Waiting& one : waiting_) next = std::min(next, one.until);
  return next;
}

// --- the log --------------------------------------------------------------------------------------

Result<KernelAudit> KernelAudit::open(bool enable) {
  constexpr int VERSION = 1;  // LANDLOCK_CREATE_RULESET_VERSION
  const long abi = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, VERSION);
  if (abi < LANDLOCK_ABI_TELLS) {
    return fail("the kernel's Landlock (ABI " + std::to_string(std::max(abi, 0L)) + ") does not tell what it denies, " +
                std::to_string(LANDLOCK_ABI_TELLS) + " does");
  }
  auto control = open_socket(0);
  if (!control) return std::unexpected(control.error());
  audit_status status{};
  Status asked = send_request(control->get(), AUDIT_GET, nullptr);
  if (asked) asked = take_answer(control->get(), &status);
  const bool unknown = !asked && !enable && asked.error().code == EPERM;  // without CAP_AUDIT_CONTROL
  if (!asked && !unknown) return std::unexpected(asked.error());
  auto reader = open_reader();
  if (!reader) return std::unexpected(reader.error());
  KernelAudit audit;
  audit.reader_ = std::move(*reader);
  if (unknown) {
    audit.silent_ = "whether the kernel's audit log is on is not told without CAP_AUDIT_CONTROL";
  } else if (status.enabled == 0 && !enable) {
    audit.silent_ = "the kernel's audit log is off; alarm.audit = enable turns it on";
  }
  if (status.enabled != 0 || !enable) return audit;
  if (Status on = set_enabled(control->get(), true); !on) return std::unexpected(on.error());
  audit.control_ = std::move(*control);
  return audit;
}

KernelAudit::~KernelAudit() {
  if (!control_.valid()) return;
  // Not where auditd has come meanwhile.
  audit_status status{};
  if (!send_request(control_.get(), AUDIT_GET, nullptr) || !take_answer(control_.get(), &status)) return;
  if (status.pid == 0) (void)set_enabled(control_.get(), false);
}

bool KernelAudit::read(MonoTime now) {
  alignas(nlmsghdr) std::array<char, AUDIT_BYTES_MAX> bytes;
  for (int i = 0; i < RECORDS_AT_ONCE; ++i) {
    sockaddr_nl from{};
    socklen_t from_bytes = sizeof from;
    const ssize_t size =
        ::recvfrom(reader_.get(), bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(&from), &from_bytes);
    if (size < 0 && errno == ENOBUFS) {
      ++lost_;
      continue;
    }
    if (size < 0) return true;
    nlmsghdr header{};
    if (static_cast<size_t>(size) < NLMSG_HDRLEN || from.nl_pid != 0) continue;
    std::memcpy(&header, bytes.data(), sizeof header);
    // nlmsg_len of these is not to be relied on: kernels have counted the header in, and not.
    const std::string_view text(bytes.data() + NLMSG_HDRLEN, static_cast<size_t>(size) - NLMSG_HDRLEN);
    if (auto record = parse_audit_record(header.nlmsg_type, text)) events_.take(std::move(*record), now);
    silent_.clear();  // somebody has turned it on
  }
  return false;
}

}  // namespace penstock
