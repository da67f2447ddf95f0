// Which precompressed siblings of a file there may be, and which count. Invariant: `siblings` lacks a coding only where
// the directory, in a version that was seen after the load began, has no name that ends in its suffix.
#include "src/files/load.h"

#include <utility>

namespace penstock {

void Loader::State::ask_suffixes(Load& load, const DirectoryVersion& directory) {
  // A young time stamp could be that of the next change as well.
  const bool known = directory.id.ino != 0 && Duration{wall.ns - directory.ctime_ns} >= load.policy->settle;
  if (known) {
    const SuffixIndex::Answer answer = suffixes.ask(directory);
    load.siblings &= answer.possible;
    if (answer.scan) {
      load.phase = LoadPhase::SUFFIXES;
      load.suffix_directory = load.directory_name();
      return submit(load,
                    {.kind = FileOpKind::SUFFIXES,
                     .symlinks = load.policy->symlinks,
                     .root = load.root,
                     .path = load.suffix_directory.c_str()},
                    0);
    }
  }
  name_files(load);
  open_files(load);
}

void Loader::State::suffixes_read(Load& load, const FileCompletion& completion) {
  if (completion.result >= 0 && completion.directory.id.ino != 0) {
    const auto present = static_cast<uint8_t>(completion.result);
    suffixes.learn(completion.directory, present);
    load.siblings &= present;
  }
  name_files(load);
  open_files(load);
}

// The identity and the siblings that the policy asks for and that may be there.
void Loader::State::name_files(Load& load) {
  load.file_count = 1;
  for (const Coding coding : {Coding::BR, Coding::GZIP, Coding::ZSTD}) {
    if ((load.siblings & coding_bit(coding)) == 0) continue;
    LoadFile& file = load.files[load.file_count++];
    file.coding = coding;
    file.path = load.files[0].path;
    file.path += coding_suffix(coding);
  }
}

// A sibling counts if it was not made before its original was last changed, and saves something.
void Loader::State::drop_useless_siblings(Load& load) {
  const FileInfo& identity = load.files[0].info;
  uint32_t kept = 1;
  for (uint32_t i = 1; i < load.file_count; ++i) {
    LoadFile& file = load.files[i];
    if (file.fd < 0) continue;
    const bool old = file.info.mtime_ns < identity.mtime_ns;
    if (old) ++counters.siblings_old;
    if (old || file.info.size >= identity.size) {
      close(file);
      continue;
    }
    if (i != kept) std::swap(load.files[kept], file);
    ++kept;
  }
  load.file_count = kept;
}

}  // namespace penstock
