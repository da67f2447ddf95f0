#include "src/tls/key_store.h"

#include <algorithm>
#include <cstdio>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <sys/stat.h>
#include <unistd.h>
#include <unordered_set>
#include <utility>

namespace penstock {
namespace {

// A file's bytes, wiped at the end.
struct FileBytes {
  std::vector<unsigned char> bytes = std::vector<unsigned char>(KeyStore::FILE_BYTES_MAX + 1);
  size_t size = 0;
  FileBytes() = default;
  FileBytes(const FileBytes&) = delete;
  FileBytes& operator=(const FileBytes&) = delete;
  ~FileBytes() { OPENSSL_cleanse(bytes.data(), bytes.size()); }
};

Status read_key_file(int fd, FileBytes& out) {
  while (out.size < out.bytes.size()) {
    const ssize_t n =
        ::pread(fd, out.bytes.data() + out.size, out.bytes.size() - out.size, static_cast<off_t>(out.size));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("read");
    if (n == 0) return {};
    out.size += static_cast<size_t>(n);
  }
  return fail("it is larger than 64 KiB");
}

// Whom the file's mode lets read or write it beside its owner.
std::string mode_note_of(const struct stat& info) {
  if ((info.st_mode & (S_IRWXG | S_IRWXO)) == 0) return "";
  char text[128];
  const char* who = (info.st_mode & S_IRWXO) != 0 ? "everybody" : "its group";
  std::snprintf(text, sizeof text, "is open to %s (mode %03o); it should be its owner's alone (chmod 600)", who,
                static_cast<unsigned>(info.st_mode & 0777));
  return text;
}

}  // namespace

void KeyStore::set_files(const std::vector<std::string>& files) {
  std::unordered_set<uint64_t> wanted;
  const std::scoped_lock lock(mutex_);
  for (const std::string& file : files) {
    const uint64_t id = key_file_id(file);
    wanted.insert(id);
    entries_[id].file = file;
  }
  std::erase_if(entries_, [&wanted](const auto& entry) { return !wanted.contains(entry.first); });
}

std::expected<const PrivateKey*, KeySigner::Refusal> KeyStore::find(const KeyName& name, bool as_it_lies) {
  const auto it = entries_.find(name.file);
  if (it == entries_.end()) return std::unexpected(Refusal{.status = KeyStatus::UNKNOWN});
  Entry& entry = it->second;
  for (const std::optional<PrivateKey>* key : {&entry.key, &entry.previous}) {
    if (!as_it_lies && *key && (*key)->public_key() == name.public_key) return &**key;
  }
  if (!entry.wanted && (!entry.read || clock_.now() - entry.read_at >= AGAIN_AFTER)) {
    entry.wanted = true;
    wanted_.push_back(name.file);
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = ::write(wanted_fd_, &one, sizeof one);
  }
  if (entry.wanted) return std::unexpected(Refusal{.later = true});
  if (entry.status != KeyStatus::OK) return std::unexpected(Refusal{.status = entry.status, .detail = entry.detail});
  if (as_it_lies && entry.key->public_key() == name.public_key) return &*entry.key;
  return std::unexpected(Refusal{.status = KeyStatus::MISMATCH, .detail = "the file holds " + entry.key->text()});
}

std::expected<size_t, KeySigner::Refusal> KeyStore::answer(const KeyRequest& request, std::span<unsigned char> out) {
  std::unique_lock lock(mutex_);
  const auto key = find(request.key, request.order == KeyOrder::PROBE);
  if (!key) return std::unexpected(key.error());
  if (request.order == KeyOrder::PROBE) return 0;
  auto signing = (*key)->prepare(request);
  if (!signing) return std::unexpected(Refusal{.status = signing.error(), .detail = "the key is " + (*key)->text()});
  lock.unlock();  // the others need not wait for the numbers
  const auto size = signing->finish(request, out);
  if (!size) return std::unexpected(Refusal{.status = size.error()});
  return *size;
}

std::vector<std::string> KeyStore::take_wanted() {
  const std::scoped_lock lock(mutex_);
  std::vector<std::string> files;
  for (const uint64_t id : std::exchange(wanted_, {})) {
    if (const auto it = entries_.find(id); it != entries_.end()) files.push_back(it->second.file);
  }
  return files;
}

std::expected<PrivateKey, KeySigner::Refusal> KeyStore::read_key(int fd, std::string& mode_note) {
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    return std::unexpected(Refusal{.status = KeyStatus::UNREADABLE, .detail = "it is not a regular file"});
  }
  mode_note = mode_note_of(info);
  FileBytes file;
  if (const Status read = read_key_file(fd, file); !read) {
    return std::unexpected(Refusal{.status = KeyStatus::UNREADABLE, .detail = read.error().message});
  }
  auto key = PrivateKey::load({file.bytes.data(), file.size});
  if (!key) return std::unexpected(Refusal{.status = key.error()});
  return std::move(*key);
}

void KeyStore::deliver(const std::string& file, const Result<int>& opened, int kept, std::vector<std::string>& notes) {
  std::string mode_note;
  auto before = kept >= 0 ? read_key(kept, mode_note) : std::expected<PrivateKey, Refusal>(std::unexpected(Refusal{}));
  mode_note.clear();
  auto key = opened ? read_key(*opened, mode_note)
                    : std::expected<PrivateKey, Refusal>(
                          std::unexpected(Refusal{.status = KeyStatus::UNREADABLE, .detail = opened.error().message}));
  const std::scoped_lock lock(mutex_);
  const auto it = entries_.find(key_file_id(file));
  if (it == entries_.end()) return;
  Entry& entry = it->second;
  if (before && !entry.key) entry.key = std::move(*before);
  entry.wanted = false;
  entry.read = true;
  entry.read_at = clock_.now();
  entry.status = key ? KeyStatus::OK : key.error().status;
  entry.detail = key ? "" : key.error().detail;
  std::string note;
  if (!key) {  // what was read before goes on: a file that is being written is no reason to stop
    note = key_status_text(file, entry.status, entry.detail);
  } else {
    if (!mode_note.empty()) note = "key file " + file + " " + mode_note;
    if (!entry.key || entry.key->public_key() != key->public_key()) {
      entry.previous = std::move(entry.key);
      entry.previous_until = entry.read_at + PREVIOUS_STAYS;
      expire_at_ = std::min(expire_at_, entry.previous_until);
      entry.key = std::move(*key);
    }
  }
  if (!note.empty() && note != entry.noted) notes.push_back(note);
  entry.noted = std::move(note);
}

MonoTime KeyStore::expire(MonoTime now) {
  const std::scoped_lock lock(mutex_);
  if (now < expire_at_) return expire_at_;
  MonoTime next = MonoTime::never();
  for (auto& [id, entry] : entries_) {
    if (!entry.previous) continue;
    if (entry.previous_until <= now) {
      entry.previous.reset();
    } else {
      next = std::min(next, entry.previous_until);
    }
  }
  // Never() stays; thousands that were replaced together are not looked at one by one.
  return expire_at_ = std::max(next, now + EXPIRE_EVERY);
}

size_t KeyStore::held() const {
  const std::scoped_lock lock(mutex_);
  size_t count = 0;
  for (const auto& [id, entry] : entries_) count += size_t{entry.key.has_value()} + size_t{entry.previous.has_value()};
  return count;
}

}  // namespace penstock
