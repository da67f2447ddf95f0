#include "pool/runtimes/cgi/cgi_settings.h"

#include "pool/runtimes/gateway/options.h"

#include <fcntl.h>
#include <unistd.h>

namespace penstock {
namespace {

Status take_processor(CgiSettings& settings, std::string_view value) {
  const size_t equals = value.find('=');
  const std::string extension(value.substr(0, equals));
  if (equals == std::string_view::npos || extension.empty() || extension.find_first_of("./") != std::string::npos) {
    return fail("'" + std::string(value) + "' is not EXT=PROGRAM, with EXT as in \"php\"");
  }
  auto program = option_program(value.substr(equals + 1));
  if (!program) return std::unexpected(program.error());
  if (!settings.processors.emplace(extension, std::move(*program)).second) {
    return fail("." + extension + " has a program already");
  }
  return {};
}

Status take_root(CgiSettings& settings, std::string_view value) {
  auto root = option_directory(value);
  if (!root) return std::unexpected(root.error());
  auto tree = ScriptTree::open(*root);
  if (!tree) return std::unexpected(tree.error());
  settings.tree = std::move(*tree);
  return {};
}

template <typename T>
Status store(T& to, Result<T> value) {
  if (!value) return std::unexpected(value.error());
  to = std::move(*value);
  return {};
}

std::string directory_of(const std::string& path) { return path.substr(0, std::max<size_t>(path.rfind('/'), 1)); }

CgiCall refuse(unsigned status, std::string why = {}) { return {.refusal = status, .why = std::move(why)}; }

CgiCall call_program(const CgiSettings& settings, const SplitPath& split) {
  CgiCall call;
  call.program = settings.program;
  call.words = {settings.program};
  call.directory = directory_of(settings.program);
  call.mapping = {.script_name = std::string(split.prefix),
                  .path_info = std::string(split.below),
                  .script_filename = settings.program,
                  .document_root = settings.tree ? settings.tree->root() : std::string(),
                  .translates_path = true};
  return call;
}

}  // namespace

Result<CgiSettings> read_cgi_settings(std::span<char* const> words) {
  CgiSettings settings;
  const RuntimeOption options[] = {
      {"--root", true, [&](std::string_view value) { return take_root(settings, value); }},
      {"--interpreter", true, [&](std::string_view value) { return take_processor(settings, value); }},
      {"--program", true, [&](std::string_view value) { return store(settings.program, option_program(value)); }},
      {"--executables", false,
       [&](std::string_view) {
         settings.executables = true;
         return Status{};
       }},
      authorization_option(settings.variables.passes_authorization),
      {"--concurrency", true,
       [&](std::string_view value) { return store(settings.concurrency, option_number(value, 1, 1'024)); }},
      {"--cpu-seconds", true,
       [&](std::string_view value) { return store(settings.cpu_seconds, option_number(value, 1, 86'400)); }},
      environment_option(settings.environment),
  };
  if (const Status read = read_options(words, options); !read) return std::unexpected(read.error());
  if (!settings.tree && settings.program.empty()) return fail("one of --root and --program is needed");
  if (!settings.program.empty() && (settings.executables || !settings.processors.empty())) {
    return fail("--program answers for every path: --interpreter and --executables do not go with it");
  }
  // A directory for which nothing is listed is one of programs.
  if (settings.processors.empty()) settings.executables = true;
  return settings;
}

CgiCall choose_program(const CgiSettings& settings, const GatewayRequest& request) {
  const SplitPath split = split_route(request.path, request.route_prefix);
  if (!settings.program.empty()) return call_program(settings, split);
  const std::optional<FoundScript> script = settings.tree->find(split.below);
  if (!script) return refuse(404);
  const std::string file = settings.tree->root() + script->below_root;
  if (script->name().starts_with("nph-")) return refuse(501, "is asked for " + file + ": NPH scripts do not run here");
  CgiCall call;
  if (const auto processor = settings.processors.find(script->extension()); processor != settings.processors.end()) {
    call.program = processor->second;
    call.words = {processor->second, file};
  } else if (!settings.executables) {
    return refuse(403, "is asked for " + file + ": no program is listed for its extension");
  } else if (::faccessat(AT_FDCWD, file.c_str(), X_OK, AT_EACCESS) != 0) {
    return refuse(403, "is asked for " + file + ": it is not executable");
  } else {
    call.program = file;
    call.words = {file};
  }
  call.directory = directory_of(file);
  call.mapping = {.script_name = std::string(split.prefix) + script->below_root,
                  .path_info = script->path_info,
                  .script_filename = file,
                  .document_root = settings.tree->root(),
                  .translates_path = call.words.size() == 1};
  return call;
}

}  // namespace penstock
