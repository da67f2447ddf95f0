// What follows on what while a path is loaded; see load.h for the picture.
//
// The rule of coherence, in one place. Content counts as whole when
//  (1) fstat before and after the reading agree and the length is exact: nobody began to write meanwhile
//      (the kernel moves the ctime before the bytes);
//  (2) its ctime was older than `settle` at the first fstat, which is longer than any tick of the clock
//      behind time stamps, so that (1) shows, and longer than a write(2) that was under way already;
//  (3) the watch, placed before and asked afterwards, knows of no write that no closing followed.
// (3) is known only of what is watched; the first load of a file, and one that is not to be cached, rest
// on (1) and (2), and on a writer who does not pause for `settle` in the middle.
#include "src/base/assert.h"
#include "src/files/load.h"

#include <algorithm>
#include <cerrno>

namespace penstock {
namespace {

constexpr Duration RETRY = milliseconds(4);
constexpr uint32_t ENDLESS_WRITES = 32;  // more than a handful of truncate(2) in a row
constexpr uint32_t LISTING_SLICE = 512;  // entries written in one turn: some 100 us

LoadKind kind_of_error(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return LoadKind::NOT_FOUND;
    case EACCES:
    case EPERM:
      return LoadKind::FORBIDDEN;
    case ELOOP:
      return LoadKind::LINK_FORBIDDEN;
    case EXDEV:
      return LoadKind::ESCAPES_ROOT;
    case ENXIO:
    case ENODEV:
      return LoadKind::NOT_A_FILE;
    case ENAMETOOLONG:
      return LoadKind::NAME_TOO_LONG;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return LoadKind::BUSY;
    default:
      return LoadKind::IO_ERROR;
  }
}

bool is_gone(int error) { return error == ENOENT || error == ENOTDIR; }

// FILE where every segment may be asked for.
LoadKind check_segments(std::string_view path, bool dotfiles) {
  bool first = true;
  while (!path.empty()) {
    const std::string_view segment = path.substr(0, path.find('/'));
    path.remove_prefix(std::min(path.size(), segment.size() + 1));
    if (segment == "." || segment == "..") return LoadKind::ESCAPES_ROOT;
    if (segment.find('\0') != std::string_view::npos) return LoadKind::NOT_FOUND;
    const bool well_known = first && segment == ".well-known";
    if (!dotfiles && segment.starts_with('.') && !well_known) return LoadKind::HIDDEN;
    first = false;
  }
  return LoadKind::FILE;
}

std::string_view base_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

std::string join(const std::string& directory, std::string_view name) {
  std::string path = directory;
  if (!path.empty()) path += '/';
  path += name;
  return path;
}

FileOp opening(const Load& load, const std::string& path) {
  return {.kind = FileOpKind::OPEN, .symlinks = load.policy->symlinks, .root = load.root, .path = path.c_str()};
}

}  // namespace

// --- what the path is -----------------------------------------------------------------------

void Loader::State::begin(Load& load) {
  load.directory = load.path.empty() || load.path.ends_with('/');
  while (load.path.ends_with('/')) load.path.pop_back();
  const LoadKind allowed = check_segments(load.path, load.policy->dotfiles);
  if (allowed != LoadKind::FILE) return finish(load, allowed);
  load.files[0].path = load.path;
  probe(load);
}

void Loader::State::probe(Load& load) {
  load.phase = LoadPhase::PROBE;
  load.broken = false;
  load.file_count = 1;
  FileOp op = opening(load, load.files[0].path);
  op.tell_directory = !load.admit && load.policy->precompressed != 0;
  submit(load, op, 0);
}

void Loader::State::probed(Load& load, const FileCompletion& completion) {
  LoadFile& file = load.files[0];
  const bool candidate = load.index != UINT8_MAX;
  if (completion.result < 0) {
    const int error = static_cast<int>(-completion.result);
    if (error == EAGAIN) return changing(load, RETRY);
    if (candidate && is_gone(error)) return try_index(load);
    return finish(load, kind_of_error(error), error);
  }
  file.fd = static_cast<int>(completion.result);
  file.info = completion.info;
  if (file.info.type == FileType::DIRECTORY) {
    close(file);
    return candidate ? try_index(load) : directory_found(load);
  }
  if (load.directory && !candidate) return finish(load, LoadKind::NOT_FOUND, ENOTDIR);
  file_found(load, completion.directory);
}

void Loader::State::directory_found(Load& load) {
  if (!load.directory) return finish(load, LoadKind::REDIRECT_SLASH);
  try_index(load);
}

// The first, or the next, index document.
void Loader::State::try_index(Load& load) {
  const auto& names = load.policy->index_names;
  load.index = load.index == UINT8_MAX ? uint8_t{0} : static_cast<uint8_t>(load.index + 1);
  if (load.index >= std::min<size_t>(names.size(), INDEX_NAMES_MAX)) {
    load.index = UINT8_MAX;
    return load.policy->listing ? list(load) : finish(load, LoadKind::NO_INDEX);
  }
  load.files[0].path = join(load.path, names[load.index]);
  probe(load);
}

// --- listings -------------------------------------------------------------------------------

void Loader::State::list(Load& load) {
  load.phase = LoadPhase::LIST;
  load.listing = std::make_unique<Listing>();
  load.listing->list.reset(load.policy->listing_entries_max, load.policy->dotfiles, load.policy->decode);
  FileOp op = opening(load, load.path);
  op.kind = FileOpKind::LIST;
  op.list = &load.listing->list;
  submit(load, op, 0);
}

void Loader::State::listed(Load& load, const FileCompletion& completion) {
  if (completion.result < 0) {
    const int error = static_cast<int>(-completion.result);
    return finish(load, kind_of_error(error), error);
  }
  Listing& listing = *load.listing;
  listing.writer.begin(listing.list, load.url_path, load.policy->listing_format, load.policy->listing_footer);
  load.phase = LoadPhase::WRITE_LIST;
  write_listing(load);
}

void Loader::State::write_listing(Load& load) {
  std::string& page = load.listing->page;
  if (!load.listing->writer.write(LISTING_SLICE, page)) return wait(load, Duration{0});
  LoadResult result;
  Body* body = bodies.create(page.size());
  char* into = body == nullptr ? nullptr : body->writable();
  if (into != nullptr) std::copy(page.begin(), page.end(), into);
  if (into == nullptr || !body->seal()) {
    if (body != nullptr) body->unpin();
    return finish(load, LoadKind::BUSY, ENOMEM);
  }
  result.kind = LoadKind::LISTING;
  result.variants[0].body = body;
  result.variant_count = 1;
  result.content_type = listing_content_type(load.policy->listing_format);
  result.verdict = Verdict::LISTING;
  deliver(load, std::move(result));
}

// --- a file: watch, open, read, verify --------------------------------------------------------

void Loader::State::file_found(Load& load, const DirectoryVersion& directory) {
  const LoadPolicy& policy = *load.policy;
  load.content_type = policy.mime == nullptr ? std::string_view() : policy.mime->lookup(base_name(load.files[0].path));
  if (load.content_type.empty() && policy.unknown_type == UnknownTypePolicy::DENY) {
    return finish(load, LoadKind::UNKNOWN_TYPE);
  }
  load.watch_status = WatchStatus::UNSUPPORTED;
  load.writers = {};
  load.siblings = policy.precompressed;
  // What is to be cached depends on each name that could come to be, so each is looked up and watched.
  if (!load.admit && load.siblings != 0) return ask_suffixes(load, directory);
  name_files(load);
  if (load.admit && watch != nullptr && load.files[0].info.size <= policy.entry_bytes_max) {
    close(load.files[0]);  // the name may lead elsewhere once the watch stands
    place_watch(load);
    const bool unsteady = load.watch_status == WatchStatus::CHANGING && now - load.started < policy.write_hold;
    if (unsteady || better_wait(load)) return changing(load, RETRY);
  }
  open_files(load);
}

void Loader::State::open_files(Load& load) {
  load.wall_ns = wall.ns;
  load.phase = LoadPhase::OPEN;
  for (uint32_t i = 0; i < load.file_count; ++i) {
    if (load.files[i].fd < 0) submit(load, opening(load, load.files[i].path), i);
  }
  if (load.pending == 0) all_opened(load);
}

// The entry will depend on the identity, its siblings, and on every index name before this one.
void Loader::State::place_watch(Load& load) {
  std::array<std::string_view, WATCH_NAMES_MAX> names;
  size_t count = 0;
  if (load.index != UINT8_MAX) {
    for (; count < load.index; ++count) names[count] = load.policy->index_names[count];
  }
  const size_t first = count;
  for (uint32_t i = 0; i < load.file_count; ++i) names[count++] = base_name(load.files[i].path);
  const WatchTicket ticket = watch->watch({.root = load.root,
                                           .symlinks = load.policy->symlinks,
                                           .directory = load.directory_name(),
                                           .names = std::span(names).first(count)});
  load.watch_status = ticket.status;
  load.validity = ticket.validity;
  if (ticket.status != WatchStatus::WATCHED) {
    if (ticket.status != WatchStatus::CHANGING) ++counters.unwatchable;
    return;
  }
  for (uint32_t i = 0; i < load.file_count; ++i) load.watched[i] = ticket.files[first + i];
  ask_watch(load);
}

void Loader::State::ask_watch(Load& load) {
  if (load.watch_status == WatchStatus::WATCHED) load.writers = watch->write_state(load.validity);
}

Writing Loader::State::writing(const Load& load) const {
  const Duration hold = load.policy->write_hold;
  const WriteState& seen = load.writers;
  if (seen.since == MonoTime{} || now - seen.last >= hold) return Writing::NO;
  if (now - seen.since >= hold && seen.writes >= ENDLESS_WRITES) return Writing::ENDLESS;
  return now - seen.last >= hold / 4 ? Writing::PAUSED : Writing::NOW;
}

// Whether a whole file, or another one, may be had by trying again. What was replaced is never answered with, however
// long it took: who asked meanwhile would get what was gone when he asked.
bool Loader::State::better_wait(const Load& load) const {
  if (load.watch_status != WatchStatus::WATCHED) return false;
  const Writing seen = writing(load);
  if (seen == Writing::NO) return !load.writers.current;
  return seen == Writing::NOW && now - load.started < load.policy->write_hold;
}

void Loader::State::opened(Load& load, uint32_t i, const FileCompletion& completion) {
  LoadFile& file = load.files[i];
  if (completion.result >= 0) {
    file.fd = static_cast<int>(completion.result);
    file.info = completion.info;
    if (file.info.type != FileType::REGULAR) close(file);
  }
  if (load.pending == 0) all_opened(load);
}

bool Loader::State::watch_agrees(const Load& load) const {
  for (uint32_t i = 0; i < load.file_count; ++i) {
    const LoadFile& file = load.files[i];
    if (file.fd >= 0 && file.info.id != load.watched[i]) return false;
  }
  return true;
}

// How long until `file` may be taken for whole, as far as time can tell; 0: it may.
Duration Loader::State::unsettled(const Load& load, const LoadFile& file) const {
  const Duration age{load.wall_ns - file.info.ctime_ns};
  Duration needed = load.policy->settle;
  // Empty and new: most likely opened with O_TRUNC a moment ago by somebody who is about to write.
  if (file.info.size == 0) needed = std::max(needed, load.policy->write_hold);
  // A ctime far in the future is that of a clock that was set back: no younger than any other.
  if (age >= needed || age < Duration{0} - load.policy->write_hold) return {0};
  return needed - std::max(age, Duration{0});
}

void Loader::State::all_opened(Load& load) {
  if (load.files[0].fd < 0) return changing(load, {0});  // it was there a moment ago: look again
  if (load.watch_status == WatchStatus::WATCHED && !watch_agrees(load)) return changing(load, {0});
  drop_useless_siblings(load);
  const bool streams = must_stream(load);
  Duration pause{0};
  for (uint32_t i = 0; i < load.file_count; ++i) pause = std::max(pause, unsettled(load, load.files[i]));
  const Duration waited = now - load.started;
  // A stream is compared with its first fstat until its end; it need not wait for more than a pause in writing.
  const Duration patience = streams ? load.policy->settle * 2 : load.policy->write_hold;
  if (pause > Duration{0} && waited < patience && writing(load) != Writing::ENDLESS) {
    return changing(load, std::min(pause, load.policy->settle));
  }
  if (streams) {
    const bool large = load.files[0].info.size > load.policy->entry_bytes_max;
    return stream(load, large ? Verdict::TOO_LARGE : Verdict::STREAMED);
  }
  read_all(load);
}

bool Loader::State::must_stream(const Load& load) const {
  const uint64_t size = load.files[0].info.size;
  return size > load.policy->entry_bytes_max || (!load.admit && size >= load.policy->sendfile_bytes_min);
}

void Loader::State::stream(Load& load, Verdict verdict) {
  LoadResult result;
  result.kind = LoadKind::STREAM;
  result.content_type = load.content_type;
  result.verdict = verdict;
  for (uint32_t i = 0; i < load.file_count; ++i) {
    LoadFile& file = load.files[i];
    result.variants[i] = {.coding = file.coding, .fd = std::exchange(file.fd, -1), .info = file.info};
  }
  result.variant_count = load.file_count;
  deliver(load, std::move(result));
}

void Loader::State::read_all(Load& load) {
  for (uint32_t i = 0; i < load.file_count; ++i) {
    LoadFile& file = load.files[i];
    file.filled = 0;
    file.body = bodies.create(file.info.size);
    file.into = file.body == nullptr ? nullptr : file.body->writable();
    if (file.into != nullptr) continue;
    // No memory: the file itself is as good, only slower.
    for (LoadFile& other : load.files) {
      if (other.body != nullptr) std::exchange(other.body, nullptr)->unpin();
    }
    return stream(load, Verdict::CACHE_FULL);
  }
  load.phase = LoadPhase::READ;
  for (uint32_t i = 0; i < load.file_count; ++i) {
    if (load.files[i].info.size > 0) read_more(load, i);
  }
  if (load.pending == 0) verify(load);  // all empty
}

void Loader::State::read_more(Load& load, uint32_t i) {
  LoadFile& file = load.files[i];
  submit(load,
         {.kind = FileOpKind::READ,
          .fd = file.fd,
          .offset = file.filled,
          .into = {file.into + file.filled, file.info.size - file.filled}},
         i);
}

void Loader::State::was_read(Load& load, uint32_t i, const FileCompletion& completion) {
  LoadFile& file = load.files[i];
  if (completion.result > 0) {
    ASSERT(static_cast<uint64_t>(completion.result) <= file.info.size - file.filled);
    file.filled += static_cast<uint64_t>(completion.result);
    counters.bytes_read += static_cast<uint64_t>(completion.result);
    if (file.filled < file.info.size && !load.broken) return read_more(load, i);
  } else if (completion.result < 0 && !load.broken) {
    load.broken = true;
    load.error = static_cast<int>(-completion.result);
  }
  if (load.pending > 0) return;
  if (load.error != 0) return finish(load, kind_of_error(load.error), load.error);
  verify(load);
}

void Loader::State::verify(Load& load) {
  const bool grows = writing(load) == Writing::ENDLESS;
  ask_watch(load);
  bool same = true;
  bool young = false;
  for (uint32_t i = 0; i < load.file_count; ++i) {
    const LoadFile& file = load.files[i];
    FileInfo after;
    const bool read = reader.stat(file.fd, after) == 0;
    const bool exact = file.filled == file.info.size;
    // A log file grows all the time: what was there at the first look is whole.
    const bool grew = grows && read && after.size >= file.info.size;
    same = same && read && exact && (same_version(file.info, after) || grew);
    young = young || unsettled(load, file) > Duration{0};
  }
  if (!same || better_wait(load)) return changing(load, RETRY);
  const bool watched = load.watch_status == WatchStatus::WATCHED;
  deliver_file(load, !young && !(watched && (!load.writers.current || writing(load) != Writing::NO)));
}

void Loader::State::deliver_file(Load& load, bool settled) {
  LoadResult result;
  result.kind = LoadKind::FILE;
  result.content_type = load.content_type;
  for (uint32_t i = 0; i < load.file_count; ++i) {
    LoadFile& file = load.files[i];
    if (!file.body->seal()) {
      result.discard(reader);
      return finish(load, LoadKind::BUSY, ENOMEM);
    }
    result.variants[i] = {.coding = file.coding, .body = std::exchange(file.body, nullptr), .info = file.info};
    result.variant_count = i + 1;
  }
  if (!settled) {
    ++counters.changing;
    result.verdict = Verdict::FILE_CHANGING;
  } else if (!load.admit) {
    result.verdict = Verdict::MISS_FIRST;
  } else if (load.watch_status != WatchStatus::WATCHED) {
    result.verdict = Verdict::UNWATCHABLE;
  } else {
    result.cacheable = true;
    result.validity = load.validity;
  }
  deliver(load, std::move(result));
}

// This try found the file changing: once more after `pause`, but not for ever.
void Loader::State::changing(Load& load, Duration pause) {
  ASSERT(load.pending == 0);
  release_files(load);
  ++counters.retried;
  ++load.retries;
  if (now - load.started >= load.policy->write_hold * 2) return finish(load, LoadKind::CHANGED, EAGAIN);
  load.phase = LoadPhase::WAIT;
  load.index = UINT8_MAX;
  load.files[0].path = load.path;
  // The first retry follows at once where nothing has to be waited for.
  wait(load, pause > Duration{0} ? pause : load.retries > 1 ? RETRY : Duration{0});
}

}  // namespace penstock
