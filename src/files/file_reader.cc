#include "src/files/file_reader.h"

#include "src/files/thread_file_reader.h"

namespace penstock {

std::unique_ptr<FileReader> make_file_reader(FileWorker& worker, Status* why) {
  if (why != nullptr) *why = {};
  return std::make_unique<ThreadFileReader>(worker);
}

}  // namespace penstock
