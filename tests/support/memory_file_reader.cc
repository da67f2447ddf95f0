#include "tests/support/memory_file_reader.h"

#include "src/base/assert.h"
#include "src/base/coding.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace penstock {
namespace {

std::string parent_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

void fill(MemoryTree::Node& node, std::string_view bytes, WallTime now) {
  ASSERT(::ftruncate(node.bytes.get(), 0) == 0);
  ASSERT(::pwrite(node.bytes.get(), bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  node.info.size = bytes.size();
  node.info.mtime_ns = node.info.ctime_ns = now.ns;
}

}  // namespace

MemoryTree::MemoryTree() {
  Node& root = all_.emplace_back();
  root.info = {.id = {1, ++inodes_}, .mode = 0755, .type = FileType::DIRECTORY};
  nodes_.emplace("", &root);
}

void MemoryTree::make_parents(const std::string& path, WallTime now) {
  const std::string parent = parent_of(path);
  if (nodes_.contains(parent)) return;
  make_parents(parent, now);
  Node& node = all_.emplace_back();
  node.info = {.id = {1, ++inodes_}, .mtime_ns = now.ns, .ctime_ns = now.ns, .mode = 0755, .type = FileType::DIRECTORY};
  nodes_.emplace(parent, &node);
}

void MemoryTree::put(const std::string& path, std::string_view bytes, WallTime now) {
  make_parents(path, now);
  Node& node = all_.emplace_back();
  node.bytes.reset(::memfd_create("sim", MFD_CLOEXEC));
  ASSERT(node.bytes.valid());
  node.info = {.id = {1, ++inodes_}, .mode = 0644, .type = FileType::REGULAR};
  fill(node, bytes, now);
  nodes_.insert_or_assign(path, &node);
  touch_directory(path, now.ns);
  if (changed) changed(path);
}

void MemoryTree::rewrite(const std::string& path, std::string_view bytes, WallTime now) {
  fill(*nodes_.at(path), bytes, now);
  if (changed) changed(path);
}

void MemoryTree::remove(const std::string& path) {
  nodes_.erase(path);
  touch_directory(path, 0);
  if (changed) changed(path);
}

// Two changes are never told by the same time stamp.
void MemoryTree::touch_directory(const std::string& path, int64_t now_ns) {
  FileInfo& info = nodes_.at(parent_of(path))->info;
  info.ctime_ns = std::max(info.ctime_ns + 1, now_ns);
}

DirectoryVersion MemoryTree::version_of(const std::string& directory) const {
  const Node* const node = find(directory);
  return node == nullptr ? DirectoryVersion{} : DirectoryVersion{node->info.id, node->info.ctime_ns};
}

MemoryTree::Node* MemoryTree::find(std::string_view path) const {
  const auto found = nodes_.find(path);
  return found == nodes_.end() ? nullptr : found->second;
}

MemoryFileReader::~MemoryFileReader() {
  for (const auto& [fd, node] : open_) ::close(fd);
}

bool MemoryFileReader::submit(const FileOp& op, uint64_t token) {
  waiting_.push_back({op, token});
  return true;
}

size_t MemoryFileReader::poll(std::span<FileCompletion> out) {
  size_t count = 0;
  std::vector<Waiting> now;
  now.swap(waiting_);
  for (const Waiting& waiting : now) {
    if (count == out.size() || (faults_.late != 0 && prng_.one_in(faults_.late))) {
      waiting_.push_back(waiting);
    } else {
      out[count++] = carry_out(waiting.op, waiting.token);
    }
  }
  return count;
}

FileCompletion MemoryFileReader::carry_out(const FileOp& op, uint64_t token) {
  FileCompletion done{.token = token};
  if (faults_.io_error != 0 && prng_.one_in(faults_.io_error)) {
    ++errors_made_;
    done.result = -EIO;
    return done;
  }
  switch (op.kind) {
    case FileOpKind::OPEN:
      return open(op, token);
    case FileOpKind::READ: {
      size_t size = op.into.size();
      if (size > 1 && faults_.short_read != 0 && prng_.one_in(faults_.short_read)) {
        size = 1 + prng_.below(static_cast<uint32_t>(size));
      }
      done.result = ::pread(op.fd, op.into.data(), size, static_cast<off_t>(op.offset));
      return done;
    }
    case FileOpKind::LIST:
      list(op);
      return done;
    case FileOpKind::SUFFIXES:
      done.directory = tree_.version_of(op.path);
      done.result = done.directory.id.ino == 0 ? -ENOENT : suffixes(op.path);
      return done;
  }
  return done;
}

FileCompletion MemoryFileReader::open(const FileOp& op, uint64_t token) {
  FileCompletion done{.token = token};
  if (op.tell_directory) done.directory = tree_.version_of(parent_of(op.path));
  MemoryTree::Node* const node = tree_.find(op.path);
  if (node == nullptr) {
    done.result = -ENOENT;
    return done;
  }
  const int fd = node->bytes.valid() ? ::fcntl(node->bytes.get(), F_DUPFD_CLOEXEC, 0)
                                     : ::memfd_create("sim-directory", MFD_CLOEXEC);
  ASSERT(fd >= 0);
  open_.emplace(fd, node);
  done.result = fd;
  done.info = node->info;
  return done;
}

int64_t MemoryFileReader::suffixes(const std::string& directory) const {
  uint8_t bits = 0;
  for (const auto& [path, node] : tree_.nodes()) {
    if (parent_of(path) != directory) continue;
    for (const Coding coding : {Coding::GZIP, Coding::BR, Coding::ZSTD}) {
      if (path.ends_with(coding_suffix(coding))) bits |= coding_bit(coding);
    }
  }
  return bits;
}

void MemoryFileReader::list(const FileOp& op) const {
  const std::string prefix = *op.path == '\0' ? "" : std::string(op.path) + "/";
  for (const auto& [path, node] : tree_.nodes()) {
    if (path.empty() || !path.starts_with(prefix)) continue;
    const std::string_view name = std::string_view(path).substr(prefix.size());
    if (name.empty() || name.find('/') != std::string_view::npos) continue;
    (void)op.list->add(name, node->info);
  }
  op.list->sort();
}

int MemoryFileReader::stat(int fd, FileInfo& info) {
  const auto found = open_.find(fd);
  if (found == open_.end()) return EBADF;
  info = found->second->info;
  return 0;
}

void MemoryFileReader::close(int fd) {
  ASSERT(open_.erase(fd) == 1);
  ::close(fd);
}

WatchTicket MemoryWatch::watch(const WatchRequest& request) {
  WatchTicket ticket;
  const std::string directory(request.directory);
  std::string key = directory;
  for (const std::string_view name : request.names) key.append("\n").append(name);
  auto [entry, made] = by_path_.try_emplace(key, 0);
  if (made) entry->second = cells_.allocate().cell;
  if (entry->second == 0) {
    ticket.status = WatchStatus::LIMIT;
    return ticket;
  }
  ticket.status = WatchStatus::WATCHED;
  ticket.validity = cells_.current(entry->second);
  for (size_t i = 0; i < request.names.size(); ++i) {
    const std::string path =
        directory.empty() ? std::string(request.names[i]) : directory + "/" + std::string(request.names[i]);
    if (const auto node = tree_.find(path)) ticket.files[i] = node->info.id;
  }
  return ticket;
}

void MemoryWatch::touch(const std::string& path) {
  // By directory: a change of one name makes its neighbours stale too, which is never wrong.
  const std::string directory = parent_of(path);
  for (const auto& [key, cell] : by_path_) {
    if (key.substr(0, key.find('\n')) == directory) cells_.bump(cell);
  }
}

}  // namespace penstock
