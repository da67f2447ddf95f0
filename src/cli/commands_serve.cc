#include "src/cli/commands.h"
#include "src/config/tree.h"
#include "src/config/types.h"
#include "src/roles/machine_errors.h"

#include <climits>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <unistd.h>

namespace penstock {
namespace {

int report(const ConfigErrors& errors) {
  if (errors.empty()) return CLI_OK;
  std::string text = to_text(errors);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return cli_fail(text, CLI_USAGE);
}

}  // namespace

int overlay_options(const std::vector<std::string>& set, SupervisorOptions& options) {
  ConfigErrors errors;
  for (const std::string& text : set) {
    auto assignment = parse_assignment(text, "--set");
    if (assignment) {
      // A later --set of the same key wins, as a shell user expects.
      std::erase_if(options.overlay,
                    [&](const Assignment& other) { return other.source == "--set" && other.key == assignment->key; });
      options.overlay.push_back(std::move(*assignment));
    } else {
      errors.insert(errors.end(), assignment.error().begin(), assignment.error().end());
    }
  }
  return report(errors);
}

int serve_options(const ServeArguments& arguments, SupervisorOptions& options) {
  std::error_code error;
  const std::filesystem::path dir = std::filesystem::canonical(arguments.dir, error);
  if (error) return cli_fail(arguments.dir + ": " + error.message(), CLI_USAGE);
  if (!std::filesystem::is_directory(dir, error)) return cli_fail(arguments.dir + " is not a directory", CLI_USAGE);
  const std::string source = "serve";
  options.serving = arguments.dir;
  options.overlay.push_back({"site.default.hosts", "*", source, 0});
  options.overlay.push_back({"site.default.root", quote(dir.string()), source, 0});
  options.overlay.push_back({"site.default.listing", "1", source, 0});
  if (!arguments.listen.empty()) {
    std::string list;
    for (const std::string& address : arguments.listen) list += (list.empty() ? "" : " ") + quote_item(address);
    options.overlay.push_back({"server.listen", list, "--listen", 0});
  }
  return overlay_options(arguments.set, options);
}

int command_check(const std::string& file) {
  const auto text = read_config_file(file);
  if (!text) return cli_fail(text.error().message, CLI_USAGE);
  const auto tree = Tree::from_text(*text, file);
  if (!tree) return report(tree.error());
  const bool changes_users = ::geteuid() == 0;  // who else runs penstock keeps his own user
  if (const ConfigErrors errors = machine_errors(*tree, nullptr, changes_users); !errors.empty()) return report(errors);
  cli_print(file + ": ok\n");
  return CLI_OK;
}

}  // namespace penstock
