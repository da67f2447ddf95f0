#include "src/config/print.h"

#include "src/base/assert.h"
#include "src/config/risk.h"
#include "src/config/text.h"

#include <fmt/format.h>

namespace penstock {
namespace {

// "live" or "boot: reason".
std::string print_apply(const SettingApply& apply) {
  return apply.live ? std::string("live") : fmt::format("boot: {}", apply.boot_reason);
}

std::string print_default(const SettingInfo& setting) { return setting.is_map ? "none" : canonical_default(setting); }

// `source` is where the value was set; empty where it is the default.
void describe(std::string& out, const SettingInfo& setting, const std::string& source) {
  const KeyRisk& risk = risk_of(setting);
  out += fmt::format("# {}\n", setting.help);
  out += fmt::format("#   expects {}\n", setting.expects(setting.range));
  out += fmt::format("#   type {}, range {}, unit {}, default {}, {}\n", setting.type(), print_range(setting),
                     setting.unit, print_default(setting), print_apply(setting.apply));
  out += fmt::format("#   source {}, since {}\n", source.empty() ? "default" : quote_for_message(source), risk.since);
  out += fmt::format("#   {}\n", print_risk(risk));
}

// Text within a cell of a Markdown table.
std::string cell(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '|' || c == '*' || c == '<' || c == '_') out += '\\';
    out += c;
  }
  return out;
}

// "0" or "1: a low one refuses long URLs".
std::string risk_cell(const KeyRisk& risk) {
  const int level = static_cast<int>(risk.risk);
  return risk.why.empty() ? fmt::format("{}", level) : fmt::format("{}: {}", level, risk.why);
}

struct Section {
  std::string_view title;
  std::string_view prefix;  // of the patterns it lists
  std::string_view text;
};

constexpr std::string_view INTRODUCTION = R"(# Configuration reference

*Made from `src/config/schema.def` and `risks.def`; a unit test compares. Change the tables, then run
`ninja -C build config-reference`.*

A configuration is text, one `key = value` a line:

```
# Lines beginning with # are comments; so is what follows a # after a blank.
server.listen = 0.0.0.0:80 [::]:80
cache.size = 2g
site.blog.hosts = blog.example.org *.blog.example.org
site.blog.root = /srv/blog
site.blog.header.X-Frame-Options = DENY
site.blog.route.old.prefix = /old
site.blog.route.old.handler = redirect
site.blog.route.old.to = /archive$path$query
```

- **Sizes** take `k`, `m`, `g` (1024); **times** take `ms`, `s`, `m`, `h`; **switches** are `0` and `1`; **lists** are
  separated by blanks or commas.
- **Quotes** `"…"` keep blanks at the ends, commas in a list, `#` after a blank, and quotes (`\"`, `\\`). `""` is the
  empty text or list. The text is UTF-8 without control characters.
- **`KEY =`** with nothing puts a key back to its default, and removes an entry of a map such as `header.NAME`.
- **`inherit`**, the default where it is allowed, takes the value of the level above.
- **Instances** (`logfile.NAME`, `site.NAME`, `site.NAME.route.NAME`, `pool.NAME`, `identity.NAME`) exist while at least one of their keys
  is set. Names are 1 to 64 letters, digits, `_` and `-`. `site.NAME =` or `site.NAME.* =` removes one with all its keys.
- A key stands once in a file. Unknown keys and wrong values are errors; all errors of a file are reported at once,
  and then nothing of it is applied.
- **Live** keys are changed while the server runs, by `penstock sysctl -w KEY=VALUE…`, `-p FILE` or by saving the file named
  by `run -c`; each change is validated as a whole and becomes a new numbered generation. **Boot** keys keep the value they
  started with: `sysctl -w` refuses to change them, and a saved file's value for them waits for the next restart.
- `penstock sysctl -a` prints every key in this form, so that its output is a configuration; `-a -v` adds what this page says,
  and where each value was set.
- **Risk** is the worst that a careless value can do: 0 nothing, 1 it may refuse or slow requests, 2 it may lose connections,
  records or cached content, 3 it may weaken a protection. **Since** is the release that first had the key.
)";

constexpr Section SECTIONS[] = {
    {"server", "server.", ""},
    {"dpdk", "dpdk.",
     "The port past the kernel, which `server.transport = dpdk` drives. A change of its live keys gives it to another "
     "server. Over net_af_packet without huge pages this one opens it beside the old one, and nobody waits where its "
     "interface, addresses and MTU stay; else the old one first finishes what is open, as at a stop, and new "
     "connections wait until the new one is there."},
    {"limits", "limits.", "What one request, connection or client may take. Beyond it the answer names the limit."},
    {"http2", "http2.", "HTTP/2, and what one connection of it may take."},
    {"decode", "decode.",
     "What is accepted in request paths beyond plain UTF-8, each path being decoded exactly once."},
    {"cache", "cache.", ""},
    {"send", "send.", ""},
    {"compress", "compress.", ""},
    {"tls", "tls.", ""},
    {"log", "log.", "An access log is written once `log.access.path` is set."},
    {"logfile", "logfile.NAME.",
     "Further logs beside `log.access`: each takes the records for which all its conditions hold, in its own format. "
     "Each goes its\nown way: where one cannot be written it gives up its oldest records, counted in it, and the "
     "others go on."},
    {"mime", "mime.", ""},
    {"site", "site.NAME.", "A site answers its hosts. It needs `root`, unless a route with prefix `/` needs no files."},
    {"route", "site.NAME.route.NAME.", "A route takes the paths of its site that begin with its prefix."},
    {"pool", "pool.NAME.", "Application pools: programs in processes of their own that answer the requests of routes."},
    {"alarm", "alarm.",
     "An alarm is what a worker tries and must not: to start a program that is not on its list, or a forbidden call."},
    {"identity", "identity.NAME.",
     "What the workers of a pool may do. A pool that names none has an identity of its own with these defaults."},
};

bool belongs(const SettingInfo& setting, const Section& section) {
  const bool route_section = section.prefix == "site.NAME.route.NAME.";
  if ((setting.scope == SettingScope::ROUTE) != route_section) return false;
  return setting.pattern.starts_with(section.prefix);
}

}  // namespace

std::string print_range(const SettingInfo& setting) {
  if (setting.range.max == 0) return "the choices";
  const std::string type = setting.type();
  const auto unit = [&](uint64_t value) {
    return type == "size" ? ConfigSize::print(value) : ConfigTime::print(milliseconds(static_cast<int64_t>(value)));
  };
  if (type == "size" || type == "time")
    return fmt::format("{} to {}", unit(setting.range.min), unit(setting.range.max));
  if (type == "switch" || type == "number" || type == "power of two") {
    return fmt::format("{} to {}", setting.range.min, setting.range.max);
  }
  const bool list = type == "list" || type == "CPU list";
  return fmt::format("{} to {} {}", setting.range.min, setting.range.max, list ? "items" : "bytes");
}

std::string print_tree(const Tree& tree, PrintDetail detail, std::string_view prefix) {
  std::string out;
  for (const auto& [key, value] : tree.entries(prefix)) {
    if (detail == PrintDetail::DESCRIBED) {
      const auto path = resolve_key(key);
      ASSERT(path);
      if (!out.empty()) out += '\n';
      describe(out, *path->setting, tree.origin(key));
    }
    out += fmt::format("{} = {}\n", key, value);
  }
  return out;
}

std::string reference_markdown() {
  std::string out(INTRODUCTION);
  for (const Section& section : SECTIONS) {
    out += fmt::format("\n## {}\n\n", section.title);
    if (!section.text.empty()) out += fmt::format("{}\n\n", section.text);
    out += "| key | what it is | expects | default | unit | takes effect | risk | since |\n";
    out += "|---|---|---|---|---|---|---|---|\n";
    for (const SettingInfo& setting : schema()) {
      if (!belongs(setting, section)) continue;
      const KeyRisk& risk = risk_of(setting);
      out += fmt::format("| `{}` | {} | {} | `{}` | {} | {} | {} | {} |\n", setting.pattern, cell(setting.help),
                         cell(setting.expects(setting.range)), print_default(setting), setting.unit,
                         cell(print_apply(setting.apply)), cell(risk_cell(risk)), risk.since);
    }
  }
  return out;
}

}  // namespace penstock
