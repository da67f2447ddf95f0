// Why nothing is missed: a directory is watched before a name is looked up in it, and the file before
// it is read; so whatever is exchanged after the watch of its directory stood sends an event there,
// and whatever was exchanged before is what the look-up finds. An event that comes while a request
// is still being placed marks it bumped, and placing starts over.
//
// Locks: `placing` (one walk at a time, because of fchdir) before `mutex` (the tables). The system
// calls that add and remove inotify watches are made under `mutex`, so that no event of a new watch
// is read before its node is in the table, and no removal hits a watch that somebody just took up.
#include "src/files/inotify_watch.h"

#include "src/base/assert.h"
#include "src/base/unique_fd.h"
#include "src/files/path_walk.h"
#include "src/files/watch_table.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <mutex>
#include <poll.h>
#include <string>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <vector>

namespace penstock {
namespace {

// IN_MODIFY and IN_CLOSE_WRITE tell whether a file that is not watched itself yet is being written.
constexpr uint32_t DIRECTORY_MASK =
    IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB | IN_MODIFY | IN_CLOSE_WRITE | IN_ONLYDIR;
// Not IN_OPEN: it does not tell writers from readers, equal events merge, and our own readings would cause most.
constexpr uint32_t FILE_MASK = IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE | IN_DONT_FOLLOW;
constexpr size_t EVENT_BYTES = 64 * 1024;
constexpr int READS_MAX = 64;   // of EVENT_BYTES each, in one round
constexpr int PLACE_TRIES = 3;  // when the path changes while it is walked
constexpr int ROOM_TRIES = 64;  // watches dropped at once when the kernel's bound is met

// The layout of sched_setattr(2)'s argument (SCHED_ATTR_SIZE_VER0).
struct SchedAttr {
  uint32_t size, policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime_ns, deadline_ns, period_ns;
};

// A slice of 0.1 ms (the least the kernel takes) instead of some 3 ms: the scheduler then lets this
// thread in front of busy reactors as soon as it wakes, without giving it more time in all (Linux
// 6.12; older kernels ignore it). Refusal changes nothing but the delay.
void ask_for_short_slices() {
  SchedAttr attr{};
  attr.size = sizeof attr;
  attr.runtime_ns = 100'000;
  (void)::syscall(SYS_sched_setattr, 0, &attr, 0U);
}

std::string key_of(const FileId& root, const WatchRequest& request) {
  std::string key(reinterpret_cast<const char*>(&root), sizeof root);
  key += static_cast<char>(request.symlinks);
  key += request.directory;
  for (const std::string_view name : request.names) {
    key += '\0';
    key += name;
  }
  return key;
}

}  // namespace

struct InotifyWatch::State {
  State(ValidityTable& cells, Clock& clock_in, const WatchOptions& options_in, UniqueFd inotify_in, UniqueFd home_in)
      : inotify(std::move(inotify_in)),
        home(std::move(home_in)),
        clock(clock_in),
        options(options_in),
        table(cells),
        events(EVENT_BYTES) {}

  // All below: under `mutex`.
  size_t drain();
  void handle(const inotify_event& event, MonoTime now);
  void remove(uint32_t watch);
  void unwatch(const std::vector<int>& orphans);
  bool make_room(uint32_t keep, MonoTime now);
  int add(const char* name, uint32_t mask, uint32_t keep);
  bool answer(const std::string& key, WatchTicket& ticket) const;
  uint32_t find_or_add(const std::string& key);

  const UniqueFd inotify;
  const UniqueFd home;  // the current directory outside watch()
  Clock& clock;
  std::mutex placing;
  std::mutex mutex;
  const WatchOptions options;
  WatchTable table;
  std::vector<char> events;
  WatchCounters counted;
};

size_t InotifyWatch::State::drain() {
  size_t count = 0;
  for (int i = 0; i < READS_MAX; ++i) {
    const ssize_t size = ::read(inotify.get(), events.data(), events.size());
    if (size <= 0) break;  // EAGAIN: all taken in
    const MonoTime now = clock.now();
    for (size_t at = 0; at + sizeof(inotify_event) <= static_cast<size_t>(size);) {
      // The kernel aligns events to their own alignment within the buffer (inotify(7)).
      const auto* event = reinterpret_cast<const inotify_event*>(events.data() + at);
      handle(*event, now);
      at += sizeof(inotify_event) + event->len;
      ++count;
    }
    if (static_cast<size_t>(size) + sizeof(inotify_event) + NAME_MAX + 1 < events.size()) break;  // queue was emptied
  }
  counted.events += count;
  return count;
}

void InotifyWatch::State::handle(const inotify_event& event, MonoTime now) {
  if ((event.mask & IN_Q_OVERFLOW) != 0) {
    ++counted.overflows;
    table.bump_all();
    return;
  }
  if ((event.mask & (IN_IGNORED | IN_UNMOUNT)) != 0) {
    table.node_gone(event.wd);
    return;
  }
  if (event.len > 0) {
    const std::string_view name(event.name);
    table.name_changed(event.wd, name);
    if ((event.mask & (IN_CREATE | IN_MODIFY)) != 0) {
      if ((event.mask & IN_ISDIR) == 0) table.name_unfinished(event.wd, name);
    } else if ((event.mask & IN_ATTRIB) == 0) {
      table.name_finished(event.wd, name);
    }
    return;
  }
  if ((event.mask & IN_MODIFY) != 0) table.modified(event.wd, now);
  if ((event.mask & IN_CLOSE_WRITE) != 0) table.closed(event.wd);
  if ((event.mask & IN_ATTRIB) != 0) table.node_changed(event.wd);
}

void InotifyWatch::State::unwatch(const std::vector<int>& orphans) {
  // EINVAL: the kernel dropped it before, with its inode.
  for (const int wd : orphans) (void)::inotify_rm_watch(inotify.get(), wd);
}

void InotifyWatch::State::remove(uint32_t watch) {
  std::vector<int> orphans;
  table.remove(watch, orphans);
  unwatch(orphans);
}

bool InotifyWatch::State::make_room(uint32_t keep, MonoTime now) {
  const uint32_t victim = table.victim(now - options.reuse_after, keep);
  if (victim == WatchTable::NONE) return false;
  remove(victim);
  ++counted.dropped;
  return true;
}

// inotify_add_watch in the current directory: the wd or -errno.
int InotifyWatch::State::add(const char* name, uint32_t mask, uint32_t keep) {
  for (int i = 0; i < ROOM_TRIES; ++i) {
    const int wd = ::inotify_add_watch(inotify.get(), name, mask);
    if (wd >= 0) return wd;
    if (errno != ENOSPC || !make_room(keep, clock.now())) return -errno;
  }
  return -ENOSPC;
}

// The ticket of a request whose watch stands and was not bumped since.
bool InotifyWatch::State::answer(const std::string& key, WatchTicket& ticket) const {
  const uint32_t watch = table.find(key);
  if (watch == WatchTable::NONE || table.bumped(watch) || table.placing(watch)) return false;
  const std::vector<FileId>& files = table.files(watch);
  std::copy(files.begin(), files.end(), ticket.files.begin());
  ticket.validity = table.validity(watch);
  ticket.status = WatchStatus::WATCHED;
  return true;
}

uint32_t InotifyWatch::State::find_or_add(const std::string& key) {
  const uint32_t known = table.find(key);
  if (known != WatchTable::NONE) return known;
  const MonoTime now = clock.now();
  while (table.watch_count() >= options.files_max) {
    if (!make_room(WatchTable::NONE, now)) return WatchTable::NONE;
  }
  const uint32_t added = table.add(key, now);
  if (added != WatchTable::NONE || !make_room(WatchTable::NONE, now)) return added;
  return table.add(key, now);  // a cell was freed
}

namespace {

// A name that is not there, or that the policy does not follow, is an answer like any other: the
// entry depends on it staying so.
bool is_absent(int error) {
  return error == ENOENT || error == ENOTDIR || error == ELOOP || error == EXDEV || error == EACCES ||
         error == ENAMETOOLONG;
}

// Places the watches of one request. Lives while `placing` is held.
class Placement final : public WalkVisitor {
 public:
  Placement(InotifyWatch::State& state, const WatchRequest& request, uint32_t watch)
      : state_(state), request_(request), watch_(watch) {}

  // 0, or the errno that stopped it.
  int run(std::span<FileId> files) {
    const UniqueFd dir(walk_beneath(request_.root, request_.directory,
                                    {.symlinks = request_.symlinks, .flags = O_PATH | O_CLOEXEC, .visitor = this}));
    if (!dir.valid()) return refused_ != 0 ? refused_ : ENOENT;
    for (size_t i = 0; i < request_.names.size(); ++i) {
      const int error = place_name(dir.get(), std::string(request_.names[i]), files[i]);
      if (refused_ != 0) return refused_;
      if (error != 0 && !is_absent(error)) return error;
    }
    return 0;
  }

  int before_lookup(int dir_fd, std::string_view name) override {
    if (::fchdir(dir_fd) != 0) return refuse(errno);
    const std::lock_guard lock(state_.mutex);
    const int wd = state_.add(".", DIRECTORY_MASK, watch_);
    if (wd < 0) return refuse(-wd);
    state_.table.depend_on_name(watch_, wd, name);
    dir_wd_ = wd;
    return 0;
  }

  int reached(int dir_fd, const char* name, int fd) override {
    FileInfo info;
    if (const int error = read_file_info(fd, info)) return refuse(error);
    reached_ = info.id;
    if (info.type != FileType::REGULAR) return 0;  // what lies in a directory is no content of this entry
    if (changes_unseen(fd)) return refuse(EOPNOTSUPP);
    if (::fchdir(dir_fd) != 0) return refuse(errno);
    const std::lock_guard lock(state_.mutex);
    const int wd = state_.add(name, FILE_MASK, watch_);
    if (wd == -ENOENT || wd == -EACCES) {  // removed just now, or not readable: the directory's events tell of both
      reached_ = {};
      return -wd;
    }
    if (wd < 0) return refuse(-wd);
    state_.table.depend_on_file(watch_, wd);
    // What the directory told until now: whoever closed the file before its watch stood is in it; whoever
    // closes it from here on is seen at the file. A second name (link(2)) is made whole, and never closed.
    (void)state_.drain();
    if (state_.table.take_unfinished(dir_wd_, name) && info.links == 1) {
      state_.table.found_unfinished(wd, state_.clock.now());
    }
    return 0;
  }

 private:
  int refuse(int error) {
    refused_ = error;
    return error;
  }

  // One name in the request's directory, which `dir_fd` is.
  int place_name(int dir_fd, const std::string& name, FileId& id) {
    id = {};
    reached_ = {};
    if (const int error = before_lookup(dir_fd, name)) return error;
    const int opened = open_beneath(dir_fd, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
    if (opened < 0) return -opened;
    const UniqueFd fd(opened);
    FileInfo info;
    if (const int error = read_file_info(fd.get(), info)) return error;
    int error = 0;
    if (info.type != FileType::SYMLINK) {
      error = reached(dir_fd, name.c_str(), fd.get());
    } else if (request_.symlinks != SymlinkPolicy::NONE) {
      error = follow(name);
    }
    if (error == 0) id = reached_;
    return error;
  }

  // A name that is a symbolic link: the whole way again, with a watch at every step.
  int follow(const std::string& name) {
    std::string path(request_.directory);
    if (!path.empty()) path += '/';
    path += name;
    const int fd = walk_beneath(request_.root, path,
                                {.symlinks = request_.symlinks, .flags = O_PATH | O_CLOEXEC, .visitor = this});
    if (fd < 0) return -fd;
    ::close(fd);
    return 0;
  }

  InotifyWatch::State& state_;
  const WatchRequest& request_;
  const uint32_t watch_;
  int dir_wd_ = -1;  // of the last look-up
  int refused_ = 0;  // a watch could not be placed: the request cannot be watched
  FileId reached_;
};

void place(InotifyWatch::State& state, const WatchRequest& request, uint32_t watch, WatchTicket& ticket) {
  const std::span<FileId> files = std::span(ticket.files).first(request.names.size());
  for (int i = 0; i < PLACE_TRIES; ++i) {
    {
      const std::lock_guard lock(state.mutex);
      state.table.begin_placing(watch);
    }
    const int error = Placement(state, request, watch).run(files);
    if (error != 0) {
      ticket.status = error == ENOSPC ? WatchStatus::LIMIT : WatchStatus::UNSUPPORTED;
      return;
    }
    const std::lock_guard lock(state.mutex);
    const bool changed = state.table.bumped(watch);  // while it was walked
    if (changed && i + 1 < PLACE_TRIES) continue;
    std::vector<int> orphans;
    state.table.end_placing(watch, state.clock.now(), files, orphans);
    state.unwatch(orphans);
    // Kept all the same: what it hears of writers until it is asked for again is worth knowing.
    ticket.status = changed ? WatchStatus::CHANGING : WatchStatus::WATCHED;
    // In one critical section with the look at bumped(): the value given out must be the one that the
    // next event bumps.
    if (!changed) ticket.validity = state.table.validity(watch);
    return;
  }
}

}  // namespace

Result<std::unique_ptr<InotifyWatch>> InotifyWatch::create(ValidityTable& cells, Clock& clock,
                                                           const WatchOptions& options) {
  UniqueFd fd(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!fd.valid()) return fail_errno("inotify_init1");
  UniqueFd home(::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!home.valid()) return fail_errno("open the current directory");
  auto state = std::make_unique<State>(cells, clock, options, std::move(fd), std::move(home));
  // Not make_unique: the constructor is private.
  return std::unique_ptr<InotifyWatch>(new (std::nothrow) InotifyWatch(std::move(state)));
}

InotifyWatch::InotifyWatch(std::unique_ptr<State> state) : state_(std::move(state)) {}
InotifyWatch::~InotifyWatch() = default;

WatchTicket InotifyWatch::watch(const WatchRequest& request) {
  ASSERT(request.names.size() <= WATCH_NAMES_MAX);
  State& state = *state_;
  WatchTicket ticket;
  FileInfo root;
  if (read_file_info(request.root.fd, root) != 0) return ticket;
  const std::string key = key_of(root.id, request);
  {
    const std::lock_guard lock(state.mutex);
    (void)state.drain();
    if (state.answer(key, ticket)) return ticket;
  }
  const std::lock_guard one_walk(state.placing);
  uint32_t watch = WatchTable::NONE;
  {
    const std::lock_guard lock(state.mutex);
    if (state.answer(key, ticket)) return ticket;  // another reactor was first
    watch = state.find_or_add(key);
    if (watch == WatchTable::NONE) {
      ++state.counted.refused;
      ticket.status = WatchStatus::LIMIT;
      return ticket;
    }
  }
  place(state, request, watch, ticket);
  (void)!::fchdir(state.home.get());
  if (ticket.status == WatchStatus::LIMIT || ticket.status == WatchStatus::UNSUPPORTED) {
    const std::lock_guard lock(state.mutex);
    ++state.counted.refused;
    state.remove(watch);
  }
  return ticket;
}

WriteState InotifyWatch::write_state(Validity validity) {
  State& state = *state_;
  const std::lock_guard lock(state.mutex);
  (void)state.drain();
  const uint32_t watch = state.table.find(validity);
  if (watch == WatchTable::NONE) return {};
  WriteState now = state.table.write_state(watch);
  now.current = now.current && state.table.validity(watch) == validity;
  return now;
}

void InotifyWatch::forget(Validity validity) {
  const std::lock_guard lock(state_->mutex);
  const uint32_t watch = state_->table.find(validity);
  // Not removed: its knowledge of writers helps the next load; room is made when it is needed.
  if (watch != WatchTable::NONE) state_->table.bump(watch);
}

size_t InotifyWatch::turn(Duration wait, int stop_fd) {
  State& state = *state_;
  const timespec timeout{.tv_sec = wait.ns / 1'000'000'000, .tv_nsec = wait.ns % 1'000'000'000};
  pollfd fds[2] = {{.fd = state.inotify.get(), .events = POLLIN, .revents = 0},
                   {.fd = stop_fd, .events = POLLIN, .revents = 0}};
  (void)::ppoll(fds, stop_fd >= 0 ? 2 : 1, &timeout, nullptr);
  const std::lock_guard lock(state.mutex);
  return state.drain();
}

void InotifyWatch::run(int stop_fd) {
  ask_for_short_slices();
  pollfd stop{.fd = stop_fd, .events = POLLIN, .revents = 0};
  while (::poll(&stop, 1, 0) <= 0) (void)turn(seconds(10), stop_fd);
}

void InotifyWatch::bump_all() {
  const std::lock_guard lock(state_->mutex);
  state_->table.bump_all();
}

WatchCounters InotifyWatch::counters() const {
  const std::lock_guard lock(state_->mutex);
  WatchCounters counters = state_->counted;
  counters.watched = state_->table.watch_count();
  counters.inotify_watches = state_->table.node_count();
  counters.bumps = state_->table.bumps();
  return counters;
}

}  // namespace penstock
