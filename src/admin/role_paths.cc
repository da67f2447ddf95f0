#include "src/admin/role_paths.h"

#include "pool/sandbox/sandbox.h"

#include <algorithm>

namespace penstock {
namespace {

// Sorted, each once, and without those that lie beneath another.
std::vector<std::string> reduced(std::vector<std::string> paths) {
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> out;
  for (std::string& path : paths) {
    if (!path.empty() && !landlock_covers(out, path)) out.push_back(std::move(path));
  }
  return out;
}

}  // namespace

std::vector<std::string> server_read_paths(const Settings& settings) {
  std::vector<std::string> paths;
  for (const SiteSettings& site : settings.sites) {
    paths.push_back(site.root);
    for (const RouteSettings& route : site.routes) paths.push_back(route.root);
  }
  return reduced(std::move(paths));
}

std::vector<std::string> key_files(const Settings& settings) {
  std::vector<std::string> files;
  for (const SiteSettings& site : settings.sites) files.insert(files.end(), site.tls_key.begin(), site.tls_key.end());
  std::sort(files.begin(), files.end());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  return files;
}

std::vector<std::string> logd_write_paths(const Settings& settings) {
  std::vector<std::string> folders;
  const auto add = [&folders](LogFormatSetting format, const std::string& path) {
    if (format == LogFormatSetting::NONE || path.empty()) return;
    const size_t slash = path.rfind('/');
    folders.push_back(slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash));
  };
  add(settings.log_access_format, settings.log_access_path);
  for (const LogfileSettings& file : settings.logfiles) add(file.format, file.path);
  return reduced(std::move(folders));
}

bool paths_covered(const std::vector<std::string>& have, const std::vector<std::string>& wanted) {
  return std::all_of(wanted.begin(), wanted.end(),
                     [&have](const std::string& path) { return landlock_covers(have, path); });
}

}  // namespace penstock
