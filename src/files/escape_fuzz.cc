// Any bytes as a file name: the listing around it keeps its structure, and the link comes back to the name.
#include "src/base/assert.h"
#include "src/base/bytes.h"
#include "src/files/directory_list.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace penstock {
namespace {

void check_html(std::string_view text) {
  std::string out;
  append_html_escaped(text, out);
  for (const char c : out) ASSERT(c != '<' && c != '>' && c != '"' && c != '\'' && (c < 0 || c >= 0x20));
}

void check_json(std::string_view text) {
  std::string out;
  append_json_escaped(text, out);
  for (size_t i = 0; i < out.size(); ++i) {
    ASSERT(out[i] != '"' && (out[i] < 0 || out[i] >= 0x20));
    if (out[i] != '\\') continue;
    ++i;
    ASSERT(i < out.size() && (out[i] == '"' || out[i] == '\\' || out[i] == 'u'));
  }
}

void check_url(std::string_view text) {
  std::string out;
  append_url_escaped(text, out);
  std::string back;
  for (size_t i = 0; i < out.size(); ++i) {
    if (out[i] != '%') {
      ASSERT(out[i] > ' ' && out[i] < 0x7F && std::string_view("/?#:\"<>").find(out[i]) == std::string_view::npos);
      back += out[i];
      continue;
    }
    ASSERT(i + 2 < out.size());
    back += static_cast<char>(hex_digit(out[i + 1]) << 4 | hex_digit(out[i + 2]));
    i += 2;
  }
  ASSERT(back == text);
}

size_t count(std::string_view text, std::string_view part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

void check_pages(std::string_view name) {
  DirectoryList list;
  list.reset(2, true);
  FileInfo info;
  info.size = name.size();
  info.mtime_ns = static_cast<int64_t>(name.size()) << 50;
  info.type = name.size() % 2 == 0 ? FileType::REGULAR : FileType::DIRECTORY;
  (void)list.add(name.substr(0, 255), info);
  ListingWriter writer;
  std::string html;
  writer.begin(list, "/", ListingFormat::HTML, "");
  while (!writer.write(1, html)) {
  }
  ASSERT(count(html, "<tr>") == 2 && count(html, "<a href=") == 1 && html.ends_with("</html>\n"));
  std::string json;
  writer.begin(list, name, ListingFormat::JSON, "");
  while (!writer.write(1, json)) {
  }
  ASSERT(count(json, "\n{\"name\":\"") == 1 && json.ends_with("}\n]}\n"));
}

}  // namespace
}  // namespace penstock

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  penstock::check_html(text);
  penstock::check_json(text);
  penstock::check_url(text);
  penstock::check_pages(text);
  return 0;
}
