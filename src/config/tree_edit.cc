#include "src/config/tree_edit.h"

#include "src/base/assert.h"
#include "src/config/checks.h"
#include "src/config/settings_build.h"
#include "src/config/text.h"

#include <algorithm>
#include <fmt/format.h>
#include <unordered_set>

namespace penstock {
namespace {

// What a wrong assignment casts doubt on: "site.blog." of "site.blog.rooot", outside instances the key itself.
std::string doubt_of(std::string_view key) {
  const size_t first = key.find('.');
  const std::string_view head = key.substr(0, first);
  const bool instance = head == "logfile" || head == "site" || head == "pool" || head == "identity";
  if (first == std::string_view::npos || !instance) return std::string(key);
  const size_t second = std::min(key.find('.', first + 1), key.size());
  return std::string(key.substr(0, second)) + ".";
}

template <class Named>
void sort_by_name(std::vector<Named>& list) {
  std::sort(list.begin(), list.end(), [](const Named& a, const Named& b) { return a.name < b.name; });
}

// The last of `list` if it has that name (keys of an instance come together), else a new one like `prototype`.
template <class Named>
Named& last_named(std::vector<Named>& list, std::string_view name, const Named& prototype) {
  if (list.empty() || list.back().name != name) {
    list.push_back(prototype);
    list.back().name = name;
  }
  return list.back();
}

}  // namespace

// Not the settings: finish() builds them anew.
Tree::Editor::Editor(const Tree& base, Mode mode) : mode_(mode) {
  tree_.values_ = base.values_;
  tree_.sources_ = base.sources_;
}

void Tree::Editor::edit(std::span<const Assignment> assignments) {
  while (!assignments.empty() && !full()) {
    size_t count = 1;
    while (count < assignments.size() && assignments[count].source == assignments[0].source) ++count;
    edit_source(assignments.first(count));
    assignments = assignments.subspan(count);
  }
}

void Tree::Editor::edit_source(std::span<const Assignment> assignments) {
  std::unordered_set<std::string_view> seen;
  std::vector<const Assignment*> values;
  for (const Assignment& assignment : assignments) {
    if (full()) return;
    if (!seen.insert(assignment.key).second) {
      add_error(assignment, "expected each key once in a change");
    } else if (const auto prefix = instance_prefix(assignment.key)) {
      remove_instance(assignment, *prefix);
    } else {
      values.push_back(&assignment);
    }
  }
  for (const Assignment* assignment : values) {
    if (full()) return;
    assign(*assignment);
  }
}

void Tree::Editor::remove_instance(const Assignment& assignment, const std::string& prefix) {
  if (!assignment.value.empty()) {
    return add_error(assignment, "expected no value (this key removes the whole instance) or one more part to the key");
  }
  const auto first = tree_.values_.lower_bound(prefix);
  auto last = first;
  while (last != tree_.values_.end() && last->first.starts_with(prefix)) ++last;
  if (first == last) return add_error(assignment, "expected something to remove; there is none of that name");
  tree_.values_.erase(first, last);
}

void Tree::Editor::assign(const Assignment& assignment) {
  const auto path = resolve_key(assignment.key);
  if (!path) return add_error(assignment, path.error());
  if (assignment.value.empty()) return reset(assignment, *path);
  // From a command line or the control socket, unlike a file's, the value was not looked at yet.
  if (!is_clean_text(assignment.value, true)) {
    return add_error(assignment,
                     "expected UTF-8 text without control characters, got " + quote_for_message(assignment.value));
  }
  const SettingInfo& setting = *path->setting;
  auto text = setting.canonical(assignment.value, setting.range);
  if (!text) {
    return add_error(assignment, fmt::format("expected {}, got {}", text.error(), quote_for_message(assignment.value)));
  }
  if (!is_clean_text(*text, false)) {
    return add_error(assignment, "expected no tab inside quotes, got " + quote_for_message(assignment.value));
  }
  if (!boot_allows(assignment, *path, *text)) return;
  tree_.values_[assignment.key] = Value{std::move(*text), source_index(assignment.source), assignment.line};
}

void Tree::Editor::reset(const Assignment& assignment, const SettingPath& path) {
  if (!path.setting->is_map && !boot_allows(assignment, path, canonical_default(*path.setting))) return;
  const bool removed = tree_.values_.erase(assignment.key) > 0;
  // An instance lives by its keys: in a file `site.blog.charset =` says as little as no line at all.
  if (!removed && path.setting->is_map && mode_ == Mode::LIVE) {
    add_error(assignment, "expected something to remove; there is none of that name");
  }
}

bool Tree::Editor::boot_allows(const Assignment& assignment, const SettingPath& path, std::string_view wanted) {
  if (mode_ == Mode::WHOLE || path.setting->apply.live) return true;
  const auto set = tree_.values_.find(assignment.key);
  const std::string running = set == tree_.values_.end() ? canonical_default(*path.setting) : set->second.text;
  if (running == wanted) return true;
  add_error(assignment, fmt::format("expected {}, the value it runs with, got {}: it takes effect at a restart only, "
                                    "because {}; set it in the config file and restart",
                                    running, quote_for_message(wanted), path.setting->apply.boot_reason));
  return false;
}

ConfigErrors Tree::Editor::hold_boot_keys(const Tree& running) {
  ConfigErrors notes;
  for (const SettingInfo& setting : schema()) {
    if (setting.apply.live) continue;
    const std::string key(setting.key);
    const auto ours = tree_.values_.find(key);
    const auto theirs = running.values_.find(key);
    const std::string wanted = ours == tree_.values_.end() ? canonical_default(setting) : ours->second.text;
    const std::string held = theirs == running.values_.end() ? canonical_default(setting) : theirs->second.text;
    if (wanted == held) continue;
    const bool placed = ours != tree_.values_.end();
    notes.push_back({placed ? tree_.sources_[ours->second.source] : std::string(), placed ? ours->second.line : 0, key,
                     fmt::format("takes effect at a restart ({} until then, {} after), because {}", held, wanted,
                                 setting.apply.boot_reason)});
    if (theirs == running.values_.end()) {
      tree_.values_.erase(key);
    } else {
      const uint32_t source = source_index(running.sources_[theirs->second.source]);
      tree_.values_[key] = Value{held, source, theirs->second.line};
    }
  }
  return notes;
}

ConfigResult<Tree> Tree::Editor::finish(uint64_t generation) {
  build_settings();
  add_failures();
  if (full()) errors_.push_back({{}, 0, {}, "expected fewer errors: what follows was not looked at"});
  if (!errors_.empty()) return std::unexpected(std::move(errors_));
  tree_.settings_.generation = generation;
  drop_unused_sources();
  return std::move(tree_);
}

void Tree::Editor::add_failures() {
  for (CheckFailure& failure : cross_check(tree_.settings_)) {
    if (full()) return;
    const bool follows = std::any_of(failure.rests_on.begin(), failure.rests_on.end(),
                                     [&](const std::string& what) { return poisoned_.contains(what); });
    if (follows) continue;
    ConfigError error{{}, 0, failure.key, std::move(failure.message)};
    if (const auto set = tree_.values_.find(failure.key); set != tree_.values_.end()) {
      error.source = tree_.sources_[set->second.source];
      error.line = set->second.line;
    }
    errors_.push_back(std::move(error));
  }
}

void Tree::Editor::add_error(const Assignment& assignment, std::string message) {
  poisoned_.insert(doubt_of(assignment.key));
  errors_.push_back({assignment.source, assignment.line, assignment.key, std::move(message)});
}

void Tree::Editor::build_settings() {
  const LogfileSettings logfile_prototype;
  const SiteSettings site_prototype;
  const RouteSettings route_prototype;
  const PoolSettings pool_prototype;
  const IdentitySettings identity_prototype;
  Settings built;
  SettingTarget target;
  target.root = &built;
  for (const auto& [key, value] : tree_.values_) {
    const auto path = resolve_key(key);
    ASSERT(path);
    const SettingScope scope = path->setting->scope;
    if (scope == SettingScope::LOGFILE) {
      target.logfile = &last_named(built.logfiles, path->instance, logfile_prototype);
    }
    if (scope == SettingScope::SITE || scope == SettingScope::ROUTE) {
      target.site = &last_named(built.sites, path->instance, site_prototype);
    }
    if (scope == SettingScope::ROUTE) target.route = &last_named(target.site->routes, path->inner, route_prototype);
    if (scope == SettingScope::POOL) target.pool = &last_named(built.pools, path->instance, pool_prototype);
    if (scope == SettingScope::IDENTITY) {
      target.identity = &last_named(built.identities, path->instance, identity_prototype);
    }
    assign_setting(target, *path->setting, path->name, value.text);
  }
  sort_by_name(built.logfiles);
  sort_by_name(built.sites);
  for (SiteSettings& site : built.sites) sort_by_name(site.routes);
  sort_by_name(built.pools);
  sort_by_name(built.identities);
  tree_.settings_ = std::move(built);
}

uint32_t Tree::Editor::source_index(const std::string& source) {
  const auto at = std::find(tree_.sources_.begin(), tree_.sources_.end(), source);
  if (at == tree_.sources_.end()) {
    tree_.sources_.push_back(source);
    return static_cast<uint32_t>(tree_.sources_.size() - 1);
  }
  return static_cast<uint32_t>(at - tree_.sources_.begin());
}

// A tree changed a million times from different files does not remember their names.
void Tree::Editor::drop_unused_sources() {
  std::vector<uint32_t> renamed(tree_.sources_.size(), UINT32_MAX);
  std::vector<std::string> kept;
  for (auto& [key, value] : tree_.values_) {
    if (renamed[value.source] == UINT32_MAX) {
      renamed[value.source] = static_cast<uint32_t>(kept.size());
      kept.push_back(tree_.sources_[value.source]);
    }
    value.source = renamed[value.source];
  }
  tree_.sources_ = std::move(kept);
}

}  // namespace penstock
