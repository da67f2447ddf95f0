#include "src/cli/render.h"

#include "src/admin/operator_log.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace penstock {
namespace {

constexpr size_t CELL_BYTES_MAX = 512;

bool is_numeric(const std::string& cell) {
  return !cell.empty() && cell.find_first_not_of("0123456789.,+-%") == std::string::npos;
}

// A table of an array of objects: the members of the first are the columns.
std::string render_rows(const Json& array) {
  std::vector<std::vector<std::string>> rows;
  std::vector<std::string> names;
  for (const auto& [name, value] : array.front().items()) {
    if (!value.is_structured()) names.push_back(name);
  }
  rows.push_back(names);
  for (const Json& item : array) {
    if (!item.is_object()) continue;
    std::vector<std::string> cells;
    for (const std::string& name : names) cells.push_back(item.contains(name) ? render_scalar(item[name]) : "-");
    rows.push_back(std::move(cells));
  }
  return render_table(rows);
}

}  // namespace

std::string render_sandbox(const Json& steps) {
  std::string out;
  for (const Json& step : steps) {
    out += fmt::format("  {} {:<19} {}\n", json_flag(step, "holds") ? "+" : "-",
                       render_scalar(step.value("name", Json())), render_scalar(step.value("detail", Json())));
  }
  return out;
}

std::string render_scalar(const Json& value) {
  if (value.is_null()) return "-";
  if (value.is_string()) return escape_line(value.get_ref<const std::string&>(), CELL_BYTES_MAX);
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_number_float()) return fmt::format("{:.3f}", value.get<double>());
  return json_line(value);
}

std::string render_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string gap = i == 0 ? "" : "  ";
      line += gap + (is_numeric(row[i]) ? fmt::format("{:>{}}", row[i], widths[i])
                                        : fmt::format("{:<{}}", row[i], widths[i]));
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

std::string render_object(const Json& object) {
  std::string out;
  std::vector<std::vector<std::string>> lines;
  for (const auto& [name, value] : object.items()) {
    if (!value.is_structured()) lines.push_back({name, render_scalar(value)});
  }
  size_t width = 0;
  for (const auto& line : lines) width = std::max(width, line[0].size());
  for (const auto& line : lines) out += fmt::format("{:<{}}  {}\n", line[0], width, line[1]);
  for (const auto& [name, value] : object.items()) {
    if (value.is_object() && !value.empty()) out += "\n" + name + ":\n" + render_object(value);
    if (!value.is_array() || value.empty()) continue;
    out += "\n" + name + ":\n";
    if (value.front().is_object()) {
      out += render_rows(value);
    } else {
      for (const Json& item : value) out += "  " + render_scalar(item) + "\n";
    }
  }
  return out;
}

std::string render_bytes(double bytes) {
  constexpr const char* UNITS[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < std::size(UNITS)) {
    bytes /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, UNITS[unit]);
}

std::string render_count(double count) {
  if (count >= 1e6) return fmt::format("{:.2f} M", count / 1e6);
  if (count >= 1e4) return fmt::format("{:.1f} k", count / 1e3);
  return fmt::format("{:.0f}", count);
}

std::string render_micros(uint64_t us) {
  if (us < 1000) return fmt::format("{} us", us);
  if (us < 1'000'000) return fmt::format("{:.1f} ms", static_cast<double>(us) / 1e3);
  const uint64_t seconds = us / 1'000'000;
  if (seconds < 120) return fmt::format("{:.1f} s", static_cast<double>(us) / 1e6);
  if (seconds < 7200) return fmt::format("{} min {} s", seconds / 60, seconds % 60);
  return fmt::format("{} h {} min", seconds / 3600, seconds / 60 % 60);
}

}  // namespace penstock
