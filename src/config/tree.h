// Tree: one generation of the configuration, valid as a whole. What sysctl shows and changes.
//
// A Tree is a value: it is made by validating assignments and never changes; a change makes another Tree, or errors and
// nothing else. Between processes it travels as canonical_text(). Owned by the supervisor's control loop (the
// truth) and by the server's control thread (its copy). Not for the hot path. No I/O, no clock.
#pragma once

#include "src/config/error.h"
#include "src/config/parse.h"
#include "src/config/schema.h"
#include "src/config/settings.h"

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace penstock {

// A key whose canonical text differs between two trees; nothing where it is not set and has no default.
struct TreeChange {
  std::string key;
  std::optional<std::string> before;
  std::optional<std::string> after;

  bool operator==(const TreeChange&) const = default;
};

class Tree {
 public:
  // The defaults: no site, generation 0.
  Tree() = default;

  // A whole configuration. Later sources override earlier ones (file, then --set); within one source a key
  // may stand once. Errors: every assignment that is wrong, then every cross check that fails.
  static ConfigResult<Tree> from(std::span<const Assignment> assignments, uint64_t generation = 1);
  // The same of a file as it was parsed (and what was appended to its assignments): its errors of grammar come in one
  // list with the rest, in the order of its lines.
  static ConfigResult<Tree> from(ParseResult parsed, uint64_t generation = 1);
  // The same of one text.
  static ConfigResult<Tree> from_text(std::string_view text, std::string_view source, uint64_t generation = 1);

  // This tree with `changes` on top (sysctl -w, -p), as generation()+1.
  //   KEY =            back to its default; of a map's entry: removes it
  //   site.NAME =      (or site.NAME.* =) removes the instance with all its keys; logfile, route, pool, identity
  //   likewise.
  //                    Removals of instances come first, so one transaction can replace an instance.
  // A boot key may be named only with the value it has. `if_generation` given and not generation(): refused,
  // so that no one overwrites a change that he has not seen.
  [[nodiscard]] ConfigResult<Tree> apply(std::span<const Assignment> changes,
                                         std::optional<uint64_t> if_generation = std::nullopt) const;

  struct Replacement;
  // A whole new configuration in place of this one (the watched file was saved), as generation()+1. Boot keys keep
  // the value they run with; each that the file wants otherwise is a note, not an error.
  [[nodiscard]] ConfigResult<Replacement> replace(std::span<const Assignment> assignments) const;
  [[nodiscard]] ConfigResult<Replacement> replace(ParseResult parsed) const;

  [[nodiscard]] uint64_t generation() const { return settings_.generation; }
  [[nodiscard]] const Settings& settings() const { return settings_; }

  // The canonical text of a key's value: set, or else its default. Error: unknown key, unknown instance,
  // absent entry of a map; a sentence.
  [[nodiscard]] Result<std::string> get(std::string_view key) const;
  // Whether the key is set, not merely its default.
  [[nodiscard]] bool is_set(std::string_view key) const;
  // "site.conf:12", "-w", or empty where the key is not set.
  [[nodiscard]] std::string origin(std::string_view key) const;
  // An error that points at it, for who finds fault with its value. REQUIRES: is_set(key), else it has no place.
  [[nodiscard]] ConfigError place(std::string_view key) const;

  // Every key that has a value, defaults included, with its canonical text; in the order of the schema, instances by
  // name. `prefix` keeps the keys equal to it or below it ("cache", "site.blog"); empty keeps all.
  using Entries = std::vector<std::pair<std::string, std::string>>;
  [[nodiscard]] Entries entries(std::string_view prefix = {}) const;

  // The keys that are set, one `key = value` a line, sorted. from_text(canonical_text()) has equal text and
  // settings. Two trees are the same configuration iff their canonical texts are equal.
  [[nodiscard]] std::string canonical_text() const;

  // What differs from `before` to this one, defaults included, by key.
  [[nodiscard]] std::vector<TreeChange> changes_since(const Tree& before) const;

 private:
  struct Value {
    std::string text;     // canonical
    uint32_t source = 0;  // index into sources_
    uint32_t line = 0;
  };
  class Editor;  // tree_edit.h

  // Whether any key of the path's instance is set; true for root.
  [[nodiscard]] bool has_instance(const SettingPath& path) const;
  // What the key has: set or default; nothing for absent instances and map entries.
  [[nodiscard]] std::optional<std::string> value_of(const SettingPath& path, std::string_view key) const;
  void add_entries(Entries& out, std::string_view prefix, SettingPath path, SettingScope scope) const;

  std::map<std::string, Value, std::less<>> values_;  // by key; only what is set
  std::vector<std::string> sources_;
  Settings settings_;
};

struct Tree::Replacement {
  Tree tree;
  ConfigErrors notes;  // boot keys whose new value waits for a restart
};

}  // namespace penstock
