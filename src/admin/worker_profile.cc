#include "src/admin/worker_profile.h"

#include "pool/sandbox/identity.h"
#include "src/admin/program_path.h"
#include "src/base/bytes.h"
#include "src/base/words.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <unistd.h>
#include <unordered_set>

namespace penstock {
namespace {

constexpr uint64_t CONNECTIONS_MAX = 500;  // of penstock-upstream

uint64_t fnv1a(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

// No name of a pool or an identity has a blank.
std::string pool_key(std::string_view pool) { return fmt::format("pool {}", pool); }
std::string identity_key(std::string_view identity) { return fmt::format("identity {}", identity); }

const IdentitySettings* find_identity(const Settings& settings, std::string_view name) {
  for (const IdentitySettings& identity : settings.identities) {
    if (identity.name == name) return &identity;
  }
  return nullptr;
}

bool is_tcp_address(std::string_view text) {
  const size_t colon = text.rfind(':');
  return colon != std::string_view::npos && colon > 0 && parse_decimal(text.substr(colon + 1)) &&
         text.find_first_of(" /") == std::string_view::npos;
}

void need(WorkerSandbox& sandbox, WorkerSyscalls syscalls, WorkerNetwork network) {
  const auto bits = static_cast<unsigned>(sandbox.syscalls) | static_cast<unsigned>(syscalls);
  sandbox.syscalls = static_cast<WorkerSyscalls>(bits);
  sandbox.network = std::max(sandbox.network, network);
  if (sandbox.network != WorkerNetwork::NONE) {
    sandbox.syscalls = static_cast<WorkerSyscalls>(bits | static_cast<unsigned>(WorkerSyscalls::NETWORK));
  }
}

// Fills in the command line of one runtime, and what it needs beyond every worker.
class Maker {
 public:
  Maker(const PoolSettings& pool, const IdentitySettings& identity, const std::string& runtime, WorkerProfile& profile)
      : pool_(pool), identity_(identity), runtime_(runtime), profile_(profile) {}

  Status run() {
    if (!runtime_.empty()) {
      command().push_back(runtime_);
      sandbox().execute_paths.push_back(runtime_);
    }
    switch (pool_.runtime) {
      case RuntimeSetting::NATIVE:
      case RuntimeSetting::EXTERNAL:
        return program();
      case RuntimeSetting::CGI:
        cgi();
        return {};
      case RuntimeSetting::FASTCGI:
        return upstream("fastcgi");
      case RuntimeSetting::SCGI:
        return upstream("scgi");
      case RuntimeSetting::UWSGI:
        return upstream("uwsgi");
      case RuntimeSetting::HTTP:
        return upstream("http");
      case RuntimeSetting::WSGI:
        return wsgi();
    }
    return {};
  }

 private:
  std::vector<std::string>& command() { return profile_.command; }
  WorkerSandbox& sandbox() { return profile_.sandbox; }
  void add(std::initializer_list<std::string> words) { command().insert(command().end(), words); }
  // Names alone: the values are in the environment, and a command line is for everyone to read.
  void add_variables() {
    for (const NamedValue& variable : identity_.environment) add({"--env", variable.name});
    for (const NamedValue& variable : pool_.environment) {
      const bool twice = std::any_of(identity_.environment.begin(), identity_.environment.end(),
                                     [&](const NamedValue& other) { return other.name == variable.name; });
      if (!twice) add({"--env", variable.name});
    }
    if (pool_.pass_authorization) add({"--pass-authorization"});
  }

  Status program() {
    auto words = split_command(pool_.app);
    if (!words) return fail(fmt::format("pool.{}.app: {}", pool_.name, words.error().message));
    if (!words->front().starts_with('/')) {
      return fail(fmt::format("pool.{}.app: expected an absolute path, got {}", pool_.name, words->front()));
    }
    sandbox().read_paths.push_back(words->front());
    if (pool_.runtime == RuntimeSetting::EXTERNAL) sandbox().execute_paths.push_back(words->front());
    command().insert(command().end(), words->begin(), words->end());
    return {};
  }

  void cgi() {
    need(sandbox(), WorkerSyscalls::PROCESS, WorkerNetwork::NONE);
    sandbox().read_paths.push_back(pool_.app);
    sandbox().execute_paths.push_back(pool_.app);
    if (pool_.app.ends_with('/')) {
      add({"--root", pool_.app});
    } else {
      if (!pool_.directory.empty()) add({"--root", pool_.directory});
      add({"--program", pool_.app});
    }
    for (const NamedValue& interpreter : pool_.interpreters) {
      add({"--interpreter", interpreter.name + "=" + interpreter.value});
      sandbox().execute_paths.push_back(interpreter.value);
    }
    add({"--concurrency", std::to_string(pool_.concurrency)});
    if (pool_.program_cpu_max != 0) add({"--cpu-seconds", std::to_string(pool_.program_cpu_max)});
    add_variables();
  }

  Status upstream(const char* protocol) {
    add({"--protocol", protocol});
    const bool is_unix = pool_.app.starts_with("unix:");
    if (is_unix || is_tcp_address(pool_.app)) {
      need(sandbox(), WorkerSyscalls::NETWORK, is_unix ? WorkerNetwork::UNIX : WorkerNetwork::CLIENT);
      if (is_unix) sandbox().seen_paths.push_back(std::filesystem::path(pool_.app.substr(5)).parent_path());
      add({"--connect", pool_.app});
    } else {
      const auto words = split_command(pool_.app);
      if (!words) return fail(fmt::format("pool.{}.app: {}", pool_.name, words.error().message));
      if (!words->front().starts_with('/')) {
        return fail(fmt::format("pool.{}.app: expected unix:PATH, HOST:PORT or a command with an absolute path, got {}",
                                pool_.name, words->front()));
      }
      need(sandbox(), WorkerSyscalls::FULL, WorkerNetwork::UNIX);
      sandbox().read_paths.push_back(words->front());
      sandbox().execute_paths.push_back(words->front());
      add({"--start", pool_.app});
    }
    const bool scripts = pool_.runtime == RuntimeSetting::FASTCGI;
    if (scripts && !pool_.directory.empty()) add({"--root", pool_.directory});
    const uint64_t connections =
        pool_.connections != 0 ? pool_.connections : std::min<uint64_t>(pool_.concurrency, CONNECTIONS_MAX);
    add({"--connections", std::to_string(connections)});
    add_variables();
    return {};
  }

  Status wsgi() {
    const size_t colon = pool_.app.find(':');
    if (colon == std::string::npos || colon == 0 || colon + 1 == pool_.app.size()) {
      return fail(fmt::format("pool.{}.app: expected module:callable, got {}", pool_.name, pool_.app));
    }
    add({"--app", pool_.app});
    if (!pool_.directory.empty()) add({"--directory", pool_.directory});
    add({"--threads", std::to_string(pool_.concurrency)});
    return {};
  }

  const PoolSettings& pool_;
  const IdentitySettings& identity_;
  const std::string& runtime_;
  WorkerProfile& profile_;
};

std::vector<std::string> make_environment(const PoolSettings& pool, const IdentitySettings& identity) {
  const std::string home = pool.state.empty() ? "/" : pool.state;
  std::vector<NamedValue> variables = {{"PATH", "/usr/local/bin:/usr/bin:/bin"}, {"LANG", "C.UTF-8"}, {"HOME", home}};
  if (!identity.private_tmp && !pool.state.empty()) variables.push_back({"TMPDIR", pool.state});
  for (const auto* source : {&identity.environment, &pool.environment}) {
    for (const NamedValue& variable : *source) {
      std::erase_if(variables, [&](const NamedValue& other) { return other.name == variable.name; });
      variables.push_back(variable);
    }
  }
  std::vector<std::string> out;
  for (const NamedValue& variable : variables) out.push_back(variable.name + "=" + variable.value);
  return out;
}

}  // namespace

PoolIds::PoolIds(const Settings& settings) {
  std::vector<std::string> names;
  for (const PoolSettings& pool : settings.pools) {
    if (pool.identity.empty()) names.push_back(pool_key(pool.name));
  }
  for (const IdentitySettings& identity : settings.identities) {
    if (identity.user == "auto") names.push_back(identity_key(identity.name));
  }
  std::sort(names.begin(), names.end());
  const std::vector<uid_t> ids = assign(names, POOL_IDS_FIRST, POOL_IDS_COUNT);
  for (size_t i = 0; i < names.size(); ++i) ids_.emplace(names[i], ids[i]);
}

std::vector<uid_t> PoolIds::assign(const std::vector<std::string>& names, uid_t first, uid_t count) {
  std::vector<uid_t> ids;
  std::unordered_set<uid_t> taken;
  for (const std::string& name : names) {
    auto offset = static_cast<uid_t>(fnv1a(name) % count);
    while (!taken.insert(offset).second) offset = (offset + 1) % count;
    ids.push_back(first + offset);
  }
  return ids;
}

uid_t PoolIds::of(std::string_view name) const {
  const auto at = ids_.find(std::string(name));
  // A pool that the settings do not have: its number all the same, without a look at the others.
  return at != ids_.end() ? at->second : POOL_IDS_FIRST + static_cast<uid_t>(fnv1a(name) % POOL_IDS_COUNT);
}

uid_t PoolIds::of_pool(std::string_view pool) const { return of(pool_key(pool)); }
uid_t PoolIds::of_identity(std::string_view identity) const { return of(identity_key(identity)); }

Result<WorkerIdentity> worker_identity(const Settings& settings, const PoolSettings& pool, const PoolIds& ids,
                                       bool as_root) {
  if (!as_root) return WorkerIdentity{{}, {}, fmt::format("uid {} (the caller's)", ::geteuid())};
  const IdentitySettings* const named = find_identity(settings, pool.identity);
  WorkerIdentity out;
  if (named == nullptr || named->user == "auto") {
    const uid_t id = named == nullptr ? ids.of_pool(pool.name) : ids.of_identity(named->name);
    out.ids = SandboxIdentity{id, id};
    out.name = named == nullptr ? fmt::format("uid {} (of pool {})", id, pool.name)
                                : fmt::format("uid {} (of identity {})", id, named->name);
  } else {
    auto user = resolve_identity(named->user, "worker");
    if (!user) return fail(fmt::format("identity.{}.user: {}", named->name, user.error().message));
    out.ids = user->ids;
    out.name = user->name;
  }
  if (named == nullptr) return out;
  if (named->group != "auto") {
    const auto group = resolve_group(named->group);
    if (!group) return fail(fmt::format("identity.{}.group: {}", named->name, group.error().message));
    out.ids->gid = *group;
  }
  for (const std::string& name : named->groups) {
    const auto group = resolve_group(name);
    if (!group) return fail(fmt::format("identity.{}.groups: {}", named->name, group.error().message));
    out.groups.push_back(*group);
  }
  return out;
}

std::string_view runtime_program(RuntimeSetting runtime) {
  switch (runtime) {
    case RuntimeSetting::NATIVE:
      return "penstock-native";
    case RuntimeSetting::EXTERNAL:
      return "";
    case RuntimeSetting::CGI:
      return "penstock-cgi";
    case RuntimeSetting::FASTCGI:
    case RuntimeSetting::SCGI:
    case RuntimeSetting::UWSGI:
    case RuntimeSetting::HTTP:
      return "penstock-upstream";
    case RuntimeSetting::WSGI:
      return "penstock-wsgi";
  }
  return "";
}

Result<WorkerProfile> worker_profile(const Settings& settings, const PoolSettings& pool, const WorkerIdentity& identity,
                                     const std::string& runtime) {
  const IdentitySettings* const named = find_identity(settings, pool.identity);
  const IdentitySettings unnamed;
  const IdentitySettings& from = named != nullptr ? *named : unnamed;

  WorkerProfile profile;
  profile.identity = identity.name;
  profile.directory = pool.directory.empty() ? "/" : pool.directory;
  profile.state = pool.state;
  profile.environment = make_environment(pool, from);

  WorkerSandbox& sandbox = profile.sandbox;
  sandbox.identity = identity.ids;
  sandbox.groups = identity.groups;
  sandbox.read_paths = from.read;
  sandbox.write_paths = from.write;
  sandbox.execute_paths = from.execute;
  if (!pool.directory.empty()) sandbox.read_paths.push_back(pool.directory);
  if (!pool.state.empty()) sandbox.write_paths.push_back(pool.state);
  sandbox.tier = static_cast<WorkerTier>(pool.sandbox_tier);
  sandbox.private_tmp = from.private_tmp;
  sandbox.limits = {.files = from.files_max,
                    .processes = from.processes_max,
                    .address_space = from.address_space_max,
                    .core = from.core_max};
  sandbox.cpus = pool.cpus;
  need(sandbox, static_cast<WorkerSyscalls>(from.syscalls), static_cast<WorkerNetwork>(from.network));
  if (Status made = Maker(pool, from, runtime, profile).run(); !made) return std::unexpected(made.error());

  for (const auto* paths : {&sandbox.read_paths, &sandbox.write_paths, &sandbox.execute_paths}) {
    const bool hidden = std::any_of(paths->begin(), paths->end(),
                                    [](const std::string& path) { return (path + "/").starts_with("/tmp/"); });
    if (hidden && sandbox.private_tmp) {
      return fail(fmt::format("pool.{}: the private /tmp of its identity would hide the application", pool.name));
    }
  }
  return profile;
}

Result<WorkerProfile> find_worker_profile(const Settings& settings, const PoolSettings& pool, const PoolIds& ids,
                                          bool as_root, const std::string& executable) {
  const auto identity = worker_identity(settings, pool, ids, as_root);
  if (!identity) return std::unexpected(identity.error());
  std::string runtime;
  if (const std::string_view name = runtime_program(pool.runtime); !name.empty()) {
    auto path = program_path(executable, name);
    if (!path) return std::unexpected(path.error());
    runtime = std::move(*path);
  }
  return worker_profile(settings, pool, *identity, runtime);
}

Result<std::vector<std::string>> split_command(std::string_view text) {
  auto words = split_words(text);
  if (words && (words->empty() || words->front().empty())) return fail("no program is named");
  return words;
}

}  // namespace penstock
