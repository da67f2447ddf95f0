// Fuzzed by src/config/parse_fuzz.cc
#include "src/config/tree.h"

#include "src/base/assert.h"
#include "src/config/schema.h"
#include "src/config/tree_edit.h"

#include <algorithm>
#include <fmt/format.h>
#include <iterator>

namespace penstock {
namespace {

// Whether `key` is `prefix` or below it.
bool is_below(std::string_view key, std::string_view prefix) {
  if (prefix.ends_with(".*")) prefix.remove_suffix(2);
  if (prefix.ends_with('.')) prefix.remove_suffix(1);
  return prefix.empty() || (key.starts_with(prefix) && (key.size() == prefix.size() || key[prefix.size()] == '.'));
}

// Both lists as a reader of the file meets them; what has no line comes last.
ConfigErrors merge_by_line(ConfigErrors first, ConfigErrors second) {
  std::move(second.begin(), second.end(), std::back_inserter(first));
  std::vector<std::pair<uint32_t, size_t>> order;  // line, place in `first`
  for (size_t i = 0; i < first.size(); ++i) order.emplace_back(first[i].line == 0 ? UINT32_MAX : first[i].line, i);
  std::sort(order.begin(), order.end());
  ConfigErrors out;
  for (const auto& [line, place] : order) out.push_back(std::move(first[place]));
  return out;
}

// What came of the assignments of a text that had these errors of grammar.
template <class Made>
ConfigResult<Made> with_parse_errors(ConfigResult<Made> made, ConfigErrors errors) {
  if (errors.empty()) return made;
  return std::unexpected(made ? std::move(errors) : merge_by_line(std::move(errors), std::move(made.error())));
}

}  // namespace

ConfigResult<Tree> Tree::from(std::span<const Assignment> assignments, uint64_t generation) {
  Editor editor(Tree(), Editor::Mode::WHOLE);
  editor.edit(assignments);
  return editor.finish(generation);
}

ConfigResult<Tree> Tree::from(ParseResult parsed, uint64_t generation) {
  return with_parse_errors(from(parsed.assignments, generation), std::move(parsed.errors));
}

ConfigResult<Tree> Tree::from_text(std::string_view text, std::string_view source, uint64_t generation) {
  return from(parse_text(text, source), generation);
}

ConfigResult<Tree> Tree::apply(std::span<const Assignment> changes, std::optional<uint64_t> if_generation) const {
  if (if_generation && *if_generation != generation()) {
    return std::unexpected(
        ConfigErrors{{{},
                      0,
                      {},
                      fmt::format("expected generation {}, but it is {} now: someone else changed the configuration",
                                  *if_generation, generation())}});
  }
  Editor editor(*this, Editor::Mode::LIVE);
  editor.edit(changes);
  return editor.finish(generation() + 1);
}

ConfigResult<Tree::Replacement> Tree::replace(std::span<const Assignment> assignments) const {
  Editor editor(Tree(), Editor::Mode::WHOLE);
  editor.edit(assignments);
  ConfigErrors notes = editor.hold_boot_keys(*this);
  auto tree = editor.finish(generation() + 1);
  if (!tree) return std::unexpected(std::move(tree.error()));
  return Replacement{std::move(*tree), std::move(notes)};
}

ConfigResult<Tree::Replacement> Tree::replace(ParseResult parsed) const {
  return with_parse_errors(replace(parsed.assignments), std::move(parsed.errors));
}

bool Tree::has_instance(const SettingPath& path) const {
  if (path.setting->scope == SettingScope::ROOT) return true;
  const std::string key = join_key(path);
  const std::string_view prefix = std::string_view(key).substr(
      0, key.size() - path.setting->key.size() - (path.setting->is_map ? path.name.size() + 1 : 0));
  const auto at = values_.lower_bound(prefix);
  return at != values_.end() && at->first.starts_with(prefix);
}

std::optional<std::string> Tree::value_of(const SettingPath& path, std::string_view key) const {
  const auto set = values_.find(key);
  if (set != values_.end()) return set->second.text;
  if (path.setting->is_map || !has_instance(path)) return std::nullopt;
  return canonical_default(*path.setting);
}

Result<std::string> Tree::get(std::string_view key) const {
  const auto path = resolve_key(key);
  if (!path) return fail(fmt::format("{}: {}", key, path.error()));
  auto value = value_of(*path, key);
  if (value) return std::move(*value);
  return fail(fmt::format("{}: not set", key));
}

bool Tree::is_set(std::string_view key) const { return values_.contains(key); }

std::string Tree::origin(std::string_view key) const {
  const auto set = values_.find(key);
  if (set == values_.end()) return {};
  const Value& value = set->second;
  return value.line == 0 ? sources_[value.source] : fmt::format("{}:{}", sources_[value.source], value.line);
}

ConfigError Tree::place(std::string_view key) const {
  const auto set = values_.find(key);
  if (set == values_.end()) return {"", 0, std::string(key), ""};
  return {sources_[set->second.source], set->second.line, std::string(key), ""};
}

void Tree::add_entries(Entries& out, std::string_view prefix, SettingPath path, SettingScope scope) const {
  for (const SettingInfo& setting : schema()) {
    if (setting.scope != scope) continue;
    path.setting = &setting;
    path.name = {};
    std::string key = join_key(path);
    if (!setting.is_map) {
      if (is_below(key, prefix)) out.emplace_back(key, value_of(path, key).value_or(""));
      continue;
    }
    // join_key has left the dot of the empty name: the prefix of all entries.
    for (auto at = values_.lower_bound(key); at != values_.end() && at->first.starts_with(key); ++at) {
      if (is_below(at->first, prefix)) out.emplace_back(at->first, at->second.text);
    }
  }
}

Tree::Entries Tree::entries(std::string_view prefix) const {
  Entries out;
  add_entries(out, prefix, {}, SettingScope::ROOT);
  for (const LogfileSettings& logfile : settings_.logfiles) {
    add_entries(out, prefix, {.instance = logfile.name}, SettingScope::LOGFILE);
  }
  for (const SiteSettings& site : settings_.sites) {
    add_entries(out, prefix, {.instance = site.name}, SettingScope::SITE);
    for (const RouteSettings& route : site.routes) {
      add_entries(out, prefix, {.instance = site.name, .inner = route.name}, SettingScope::ROUTE);
    }
  }
  for (const PoolSettings& pool : settings_.pools) {
    add_entries(out, prefix, {.instance = pool.name}, SettingScope::POOL);
  }
  for (const IdentitySettings& identity : settings_.identities) {
    add_entries(out, prefix, {.instance = identity.name}, SettingScope::IDENTITY);
  }
  return out;
}

std::string Tree::canonical_text() const {
  std::string out;
  for (const auto& [key, value] : values_) {
    out += key;
    out += " = ";
    out += value.text;
    out += '\n';
  }
  return out;
}

std::vector<TreeChange> Tree::changes_since(const Tree& before) const {
  std::vector<TreeChange> out;
  const auto add = [&](const std::string& key) {
    const auto path = resolve_key(key);
    ASSERT(path);
    TreeChange change{key, before.value_of(*path, key), value_of(*path, key)};
    if (change.before != change.after) out.push_back(std::move(change));
  };
  auto old = before.values_.begin();
  auto now = values_.begin();
  while (old != before.values_.end() || now != values_.end()) {
    const bool from_old = now == values_.end() || (old != before.values_.end() && old->first < now->first);
    const bool both = !from_old && old != before.values_.end() && old->first == now->first;
    if (from_old) {
      add((old++)->first);
    } else {
      if (both) ++old;
      add((now++)->first);
    }
  }
  return out;
}

}  // namespace penstock
