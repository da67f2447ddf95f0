// The files of the system that a worker gets beside its own: what loaders, C libraries and interpreters open. All are
// readable by everybody; what is missing on a machine is passed over.
#include "pool/sandbox/worker_steps.h"

namespace penstock {
namespace {

using Access = LandlockRules::Access;

constexpr const char* READ_BY_ALL[] = {
    "/usr",
    "/lib",
    "/lib64",
    "/bin",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/locale.alias",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/python3",
    "/etc/python3.11",
    "/etc/ssl/openssl.cnf",
    "/dev/urandom",
    "/dev/random",
    "/dev/zero",
    "/sys/devices/system/cpu",
};

constexpr const char* WRITTEN_BY_ALL[] = {"/dev/null", "/dev/full"};

// Of interpreters and of the programs that these call.
constexpr const char* READ_BY_PROCESSES[] = {
    "/etc/passwd", "/etc/group", "/etc/alternatives", "/etc/perl",      "/etc/php", "/etc/gitconfig",
    "/etc/ruby",   "/etc/magic", "/etc/inputrc",      "/etc/profile.d", "/etc/lua", "/sbin",
};

constexpr const char* READ_BY_CLIENTS[] = {
    "/etc/resolv.conf", "/etc/hosts",     "/etc/host.conf", "/etc/gai.conf",
    "/etc/services",    "/etc/protocols", "/etc/ssl",       "/etc/ca-certificates",
};

// The kernel executes a program's loader as it does the program.
constexpr const char* LOADERS[] = {"/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1",
                                   "/lib/ld-linux-riscv64-lp64d.so.1", "/lib64/ld64.so.2"};

}  // namespace

LandlockRules worker_landlock(const WorkerSandbox& sandbox) {
  LandlockRules rules;
  const auto grant = [&](const auto& paths, Access access, bool may_be_missing) {
    for (const auto& path : paths) rules.paths.push_back({path, access, may_be_missing});
  };
  grant(sandbox.read_paths, Access::READ, false);
  grant(sandbox.write_paths, Access::ALL_BUT_EXECUTE, false);
  grant(sandbox.execute_paths, Access::EXECUTE, false);
  grant(READ_BY_ALL, Access::READ, true);
  grant(WRITTEN_BY_ALL, Access::WRITE, true);
  grant(LOADERS, Access::EXECUTE, true);
  if ((static_cast<unsigned>(sandbox.syscalls) & static_cast<unsigned>(WorkerSyscalls::PROCESS)) != 0) {
    grant(READ_BY_PROCESSES, Access::READ, true);
  }
  if (sandbox.network == WorkerNetwork::CLIENT) grant(READ_BY_CLIENTS, Access::READ, true);
  if (sandbox.private_tmp) rules.paths.push_back({"/tmp", Access::ALL_BUT_EXECUTE, true});
  if (sandbox.has_namespaces()) rules.paths.push_back({"/proc", Access::READ, true});
  rules.tcp_connect = sandbox.network == WorkerNetwork::CLIENT;
  rules.executes = true;
  return rules;
}

}  // namespace penstock
