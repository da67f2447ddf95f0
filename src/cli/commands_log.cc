// `penstock log convert`: binary access logs to lines, on stdout. Needs no running instance.
#include "src/base/clock.h"
#include "src/base/unique_fd.h"
#include "src/cli/commands.h"
#include "src/config/types.h"
#include "src/log/drain/binary_reader.h"
#include "src/log/drain/convert.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace penstock {
namespace {

// A file mapped for reading. A log that shrinks while it is read would be SIGBUS: rotated files do not.
class MappedFile {
 public:
  [[nodiscard]] static Result<MappedFile> open(const std::string& path) {
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat st {};
    if (!fd.valid() || ::fstat(fd.get(), &st) != 0) return fail_errno(path);
    if (!S_ISREG(st.st_mode)) return fail(path + " is not a regular file");
    MappedFile file;
    file.bytes_ = static_cast<size_t>(st.st_size);
    if (file.bytes_ == 0) return file;
    void* at = ::mmap(nullptr, file.bytes_, PROT_READ, MAP_PRIVATE, fd.get(), 0);
    if (at == MAP_FAILED) return fail_errno("map " + path);
    file.at_ = at;
    return file;
  }
  MappedFile(MappedFile&& other) noexcept
      : at_(std::exchange(other.at_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  MappedFile& operator=(MappedFile&&) = delete;
  ~MappedFile() {
    if (at_ != nullptr) ::munmap(at_, bytes_);
  }
  [[nodiscard]] std::string_view view() const { return {static_cast<const char*>(at_), bytes_}; }

 private:
  MappedFile() = default;
  void* at_ = nullptr;
  size_t bytes_ = 0;
};

Status write_lines(std::string_view lines) {
  while (!lines.empty()) {
    const ssize_t n = ::write(STDOUT_FILENO, lines.data(), lines.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("write");
    lines.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

LogOrder order_named(const std::string& name) {
  if (name == "start") return LogOrder::START;
  return name == "finish" ? LogOrder::FINISH : LogOrder::FILE;
}

}  // namespace

int command_log_convert(const LogConvertArguments& arguments) {
  ConvertOptions options;
  options.line.format = ConfigEnum<LogFormat>::parse(arguments.to, {}).value_or(LogFormat::W3C);
  options.line.fields = default_log_fields();
  options.line.utc = !arguments.local_time;
  options.order = order_named(arguments.by);
  if (!arguments.fields.empty()) {
    auto fields = log_fields(arguments.fields);
    if (!fields) return cli_fail(fields.error().message, CLI_USAGE);
    options.line.fields = std::move(*fields);
  }
  std::vector<MappedFile> files;
  std::vector<std::string_view> views;
  for (const std::string& path : arguments.files) {
    auto file = MappedFile::open(path);
    if (!file) return cli_fail(file.error().message);
    if (auto log = BinaryReader::open(file->view()); !log) return cli_fail(path + ": " + log.error().message);
    views.push_back(file->view());
    files.push_back(std::move(*file));
  }
  RealClock clock;
  const auto report = convert_binary_logs(views, clock.wall(), options, &write_lines);
  if (!report) return report.error().code == EPIPE ? CLI_OK : cli_fail(report.error().message);
  if (report->dropped > 0)
    cli_fail(std::to_string(report->dropped) + " records were never written: the disk was too slow");
  if (report->skipped_bytes > 0) {
    return cli_fail(std::to_string(report->skipped_bytes) + " damaged bytes and " +
                    std::to_string(report->skipped_records) + " records behind them were skipped");
  }
  return CLI_OK;
}

}  // namespace penstock
