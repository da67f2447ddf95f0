// Any text: parsed, checked, printed, and what it printed parsed again must be the same configuration.
#include "src/base/assert.h"
#include "src/config/history.h"
#include "src/config/print.h"

#include <cstdint>
#include <string_view>

namespace penstock {
namespace {

// The text that travels between processes.
void check_canonical(const Tree& tree) {
  const std::string text = tree.canonical_text();
  const auto again = Tree::from_text(text, "canonical", tree.generation());
  ASSERT(again.has_value());
  ASSERT(again->canonical_text() == text);
  ASSERT(again->changes_since(tree).empty());
}

// The text that people read and load again.
void check_printed(const Tree& tree) {
  const std::string printed = print_tree(tree, PrintDetail::VALUES);
  const auto loaded = Tree::from_text(printed, "printed");
  ASSERT(loaded.has_value());
  ASSERT(print_tree(*loaded, PrintDetail::VALUES) == printed);
}

// Whatever errors say must be printable on one line.
void check_errors(const ConfigErrors& errors) {
  ASSERT(!errors.empty() && errors.size() <= 2 * (CONFIG_ERRORS_MAX + 1));
  for (const ConfigError& error : errors) {
    for (const char c : to_text(error)) ASSERT(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
  }
}

void check(std::string_view text) {
  const auto tree = Tree::from_text(text, "fuzz");
  if (tree) {
    check_canonical(*tree);
    check_printed(*tree);
  } else {
    check_errors(tree.error());
    constexpr size_t WORTH_MAX = 8;  // guesses at unknown keys are slow, and another set of them finds nothing
    if (tree.error().size() > WORTH_MAX) return;
  }
  // The same as changes of a running tree, which must not move whatever comes.
  const auto base =
      Tree::from_text("server.default_site = a\nsite.a.root = /a\npool.p.app = x\nserver.reactors = 2\n", "base");
  ASSERT(base.has_value());
  const std::string before = base->canonical_text();
  const ParseResult parsed = parse_text(text, "fuzz");
  if (const auto next = base->apply(parsed.assignments)) {
    check_canonical(*next);
    ASSERT(next->get("server.reactors") == "2");
  } else {
    check_errors(next.error());
  }
  if (const auto next = base->replace(parsed.assignments)) {
    check_canonical(next->tree);
    ASSERT(next->tree.get("server.reactors") == "2");
  }
  ASSERT(base->canonical_text() == before);
  static_cast<void>(parse_assignment(text, "-w"));
}

}  // namespace
}  // namespace penstock

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  penstock::check({reinterpret_cast<const char*>(data), size});
  return 0;
}
