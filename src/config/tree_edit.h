// Tree::Editor: makes the next tree out of one and a list of assignments. Private to src/config.
//
// Invariants: the tree it started from is never touched; finish() gives a tree only if nothing at all was wrong.
#pragma once

#include "src/config/schema.h"
#include "src/config/tree.h"

#include <set>
#include <span>
#include <string>
#include <string_view>

namespace penstock {

class Tree::Editor {
 public:
  // LIVE: the tree runs, so boot keys must keep their values. WHOLE: they may be set.
  enum class Mode { WHOLE, LIVE };

  Editor(const Tree& base, Mode mode);

  // The assignments, source by source in their order. Wrong ones are remembered, right ones taken.
  void edit(std::span<const Assignment> assignments);

  // Gives every boot key the value that `running` has; a note for each that was wanted otherwise.
  ConfigErrors hold_boot_keys(const Tree& running);

  // Builds the settings, runs the cross checks.
  ConfigResult<Tree> finish(uint64_t generation);

 private:
  // Each error costs a guess at what was meant, so their number bounds the work.
  [[nodiscard]] bool full() const { return errors_.size() >= CONFIG_ERRORS_MAX; }
  void edit_source(std::span<const Assignment> assignments);
  void remove_instance(const Assignment& assignment, const std::string& prefix);
  void assign(const Assignment& assignment);
  void reset(const Assignment& assignment, const SettingPath& path);
  [[nodiscard]] bool boot_allows(const Assignment& assignment, const SettingPath& path, std::string_view wanted);
  void add_error(const Assignment& assignment, std::string message);
  void add_failures();
  void build_settings();
  uint32_t source_index(const std::string& source);
  void drop_unused_sources();

  const Mode mode_;
  Tree tree_;
  std::set<std::string, std::less<>> poisoned_;  // instances ("site.blog.") and root keys with a wrong assignment
  ConfigErrors errors_;
};

}  // namespace penstock
