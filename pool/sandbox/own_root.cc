// The root of a worker in tier ns: a small file system in memory, with what Landlock will grant bound into it at the
// paths that it has outside. So paths of the configuration mean the same inside, and in the supervisor, which judges
// the programs that the worker starts (program_start.h).
//
// Invariants: no symbolic link is ever followed in the new root while it is made, because it would lead out of it: what
// is bound has none in its path. A path that leads over links outside is one link inside, to where they lead. All that
// is not writable becomes read only before the first writable path is bound over it.
#include "pool/sandbox/worker_steps.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <system_error>
#include <unistd.h>

namespace penstock {
namespace {

// Where the root is made. It is on every machine, nothing of it is ever granted, and its own /proc comes afterwards.
constexpr const char* BUILDING_SITE = "/proc";

struct Place {
  std::string path;
  std::string source;  // the real path
  bool writable;
  [[nodiscard]] bool is_link() const { return path != source; }
};

using Places = std::vector<Place>;

void add_places(const std::string& path, bool writable, Places& places) {
  char real[PATH_MAX];
  if (::realpath(path.c_str(), real) == nullptr) return;  // Landlock will say that it is missing
  places.push_back({real, real, writable});
  if (path != real) places.push_back({path, real, writable});
}

bool is_written(LandlockRules::Access access) {
  return access == LandlockRules::Access::WRITE || access == LandlockRules::Access::ALL_BUT_EXECUTE;
}

Places places_of(const WorkerSandbox& sandbox) {
  Places places;
  for (const LandlockRules::Path& rule : worker_landlock(sandbox).paths) {
    if (rule.path == BUILDING_SITE || (sandbox.private_tmp && rule.path == "/tmp")) continue;
    add_places(rule.path, is_written(rule.access), places);
  }
  for (const std::string& path : sandbox.seen_paths) add_places(path, false, places);
  std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) { return a.path < b.path; });
  return places;
}

Status make_directories_above(const std::string& path) {
  for (size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1)) {
    if (::mkdir(path.substr(0, at).c_str(), 0755) != 0 && errno != EEXIST) return fail_errno("sandbox: make " + path);
  }
  return {};
}

// A directory, a file to bind over, or the link. What stands already, in memory or in what was bound, is left as it is.
Status make_place(const Place& place) {
  const std::string path = BUILDING_SITE + place.path;
  struct stat info {};
  if (::stat(place.source.c_str(), &info) != 0) return fail_errno("sandbox: look at " + place.source);
  if (Status ok = make_directories_above(path); !ok) return ok;
  int rc = 0;
  if (place.is_link()) {
    rc = ::symlink(place.source.c_str(), path.c_str());
  } else if (S_ISDIR(info.st_mode)) {
    rc = ::mkdir(path.c_str(), 0755);
  } else {
    rc = ::mknod(path.c_str(), S_IFREG | 0444, 0);
  }
  if (rc != 0 && errno != EEXIST) return fail_errno("sandbox: make " + path);
  return {};
}

Status bind(const Place& place) {
  const std::string target = BUILDING_SITE + place.path;
  if (::mount(place.source.c_str(), target.c_str(), nullptr, MS_BIND | MS_REC, nullptr) == 0) return {};
  return fail_errno("sandbox: bind " + place.source);
}

// Places in the order of their paths, so that those above come first. Read-only ones and links at once, each once; of
// the writable ones only where they will be.
Status bind_all(const Places& places, std::vector<std::string>& bound, std::string& weaker) {
  std::vector<std::string> writable;
  for (const Place& place : places) {
    if (place.writable && !place.is_link() && !landlock_covers(writable, place.path)) writable.push_back(place.path);
  }
  std::vector<const Place*> last;
  Status ok;
  for (const Place& place : places) {
    if (!ok) return ok;
    const bool is_first = !landlock_covers(bound, place.path);
    if (std::find(writable.begin(), writable.end(), place.path) != writable.end()) {
      if (is_first) ok = make_place(place);
      if (last.empty() || last.back()->path != place.path) last.push_back(&place);
    } else if (is_first && !landlock_covers(writable, place.path)) {
      ok = make_place(place);
      if (ok && !place.is_link()) ok = bind(place);
      bound.push_back(place.path);
    }
  }
  mount_attr closed{};
  closed.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID;
  if (ok && ::mount_setattr(AT_FDCWD, BUILDING_SITE, AT_RECURSIVE, &closed, sizeof closed) != 0) {
    weaker = std::generic_category().message(errno);  // before Linux 5.12
  }
  for (const Place* place : last) {
    if (ok) ok = bind(*place);
    bound.push_back(place->path);
  }
  return ok;
}

Status enter_building_site() {
  if (::chdir(BUILDING_SITE) != 0) return fail_errno("sandbox: enter the new root");
  if (::syscall(SYS_pivot_root, ".", ".") != 0) return fail_errno("sandbox: pivot_root");
  if (::umount2(".", MNT_DETACH) != 0) return fail_errno("sandbox: leave the old root");
  if (::chdir("/") != 0) return fail_errno("sandbox: enter the new root");
  return {};
}

}  // namespace

Status enter_own_root(const WorkerSandbox& sandbox, std::vector<SandboxStep>& steps) {
  const Places places = places_of(sandbox);
  if (std::any_of(places.begin(), places.end(), [](const Place& place) { return place.path == "/"; })) {
    steps.push_back({"root", false, "the machine's, because its identity may use all beneath /"});
    return {};
  }
  if (::mount("none", BUILDING_SITE, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=256k,nr_inodes=4k,mode=755") !=
      0) {
    return fail_errno("sandbox: mount the new root");
  }
  const mode_t mask = ::umask(022);
  Status ok = make_directories_above(std::string(BUILDING_SITE) + "/proc/");
  if (ok) ok = make_directories_above(std::string(BUILDING_SITE) + "/tmp/");
  std::vector<std::string> bound;
  std::string weaker;
  if (ok) ok = bind_all(places, bound, weaker);
  ::umask(mask);
  if (ok) ok = enter_building_site();
  if (!ok) return ok;
  const std::string text = "its own, with " + std::to_string(bound.size()) + " files and directories of the machine";
  steps.push_back({"root", weaker.empty(), weaker.empty() ? text : text + ", which are not read only: " + weaker});
  return {};
}

}  // namespace penstock
