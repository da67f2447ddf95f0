// `penstock features`: what was built in, and what this machine lets it use.
#include "pool/sandbox/sandbox.h"
#include "src/base/unique_fd.h"
#include "src/base/version.h"
#include "src/cli/commands.h"
#include "src/cli/render.h"
#include "src/tls/handshake_offer.h"

#ifdef PENSTOCK_DPDK
#include "src/transport/dpdk/dpdk_eal.h"
#endif

#include <cerrno>
#include <string>
#include <sys/syscall.h>
#include <unistd.h>

namespace penstock {
namespace {

struct Feature {
  std::string name;
  bool available = false;
  std::string detail;
};

// A ring of one entry, closed at once: the only honest way to know.
Feature probe_uring() {
  alignas(8) unsigned char params[120] = {};  // struct io_uring_params; liburing's home is src/uring
  const UniqueFd ring(static_cast<int>(::syscall(SYS_io_uring_setup, 1, params)));
  if (ring.valid()) return {"io_uring", true, "this user may make rings"};
  if (errno == EPERM) return {"io_uring", false, "forbidden here (kernel.io_uring_disabled or seccomp); epoll is used"};
  if (errno == ENOSYS) return {"io_uring", false, "not in this kernel, or hidden by a container; epoll is used"};
  return {"io_uring", false, fail_errno("io_uring_setup").error().message + "; epoll is used"};
}

Feature probe_landlock() {
  const int abi = landlock_abi();
  if (abi == 0) return {"landlock", false, "not in this kernel, or not in its lsm= list"};
  std::string detail = "ABI " + std::to_string(abi);
  if (abi < 4) detail += "; no TCP rules (4)";
  if (abi < 6) detail += "; no scopes (6)";
  return {"landlock", true, detail};
}

Feature wsgi() {
#ifdef PENSTOCK_WSGI_PYTHON
  return {"wsgi", true, "Python " PENSTOCK_WSGI_PYTHON " (penstock-wsgi)"};
#else
  return {"wsgi", false, "not in this build: without the library of Python, or -Dwsgi=disabled"};
#endif
}

Feature dpdk() {
#ifdef PENSTOCK_DPDK
  return {"dpdk", true,
          std::string(dpdk_version()) + ": server.transport = dpdk past the kernel, over a port of dpdk.device"};
#else
  return {"dpdk", false, "not in this build: without DPDK's libraries, or -Ddpdk=disabled"};
#endif
}

Feature mimalloc() {
#ifdef PENSTOCK_MIMALLOC
  return {"mimalloc", true, "the allocator of every role"};
#else
  return {"mimalloc", false, "not in this build: without the library, or -Dmimalloc=disabled; the C library's is used"};
#endif
}

Feature http2() {
#ifdef PENSTOCK_HTTP2
  return {"http/2", true, "over TLS by ALPN, and in cleartext by prior knowledge (http2.cleartext)"};
#else
  return {"http/2", false, "not in this build: without nghttp2, or -Dhttp2=disabled"};
#endif
}

Feature tls() {
  return {"tls", true,
          openssl_name() +
              ": 1.2 and 1.3 on server.listen_tls; private keys in a process of their own; tls.groups of " +
              known_groups() + "; tls.certificate_compression: " + known_compressions()};
}

std::vector<Feature> features() {
  return {
      {"static sites", true, "files, listings, redirects, response cache"},
      {"gzip, br, zstd", true, "precompressed siblings and built variants"},
      probe_uring(),
      {"epoll", true, "takes over where io_uring is refused"},
      probe_landlock(),
      dpdk(),
      http2(),
      wsgi(),
      mimalloc(),
      {"pools", true, "workers behind rings of shared memory, each pool in a sandbox of its own"},
      tls(),
  };
}

}  // namespace

int command_features(bool json) {
  Json list = Json::array();
  std::vector<std::vector<std::string>> rows;
  for (const Feature& feature : features()) {
    list.push_back({{"name", feature.name}, {"available", feature.available}, {"detail", feature.detail}});
    rows.push_back({feature.available ? "+" : "-", feature.name, feature.detail});
  }
  if (json) {
    cli_print(json_line({{"version", version()}, {"features", list}}) + "\n");
  } else {
    cli_print("penstock " + std::string(version()) + "\n" + render_table(rows));
  }
  return CLI_OK;
}

}  // namespace penstock
