// The pages of a directory. HTML: one self-contained page without script; JSON: one object
// {"path", "truncated", "entries": [{"name", "type", "size", "mtime"}]}, mtime as RFC 3339 in UTC.
#include "src/base/bytes.h"
#include "src/files/directory_list.h"

#include <ctime>

namespace penstock {
namespace {

constexpr std::string_view STYLE =
    "<style>body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}td,th{padding:.15rem .6rem;text-align:left;border-bottom:1px solid "
    "#8883}"
    "td:nth-child(2),th:nth-child(2){text-align:right}td:nth-child(n+2){white-space:nowrap;font-variant-numeric:"
    "tabular-nums}"
    "a{text-decoration:none}@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}a{color:#8bf}}</style>";

void append_decimal(uint64_t value, std::string& out) {
  char digits[20];
  out.append(digits, write_decimal(digits, value));
}

void append_two(int value, std::string& out) {
  out += static_cast<char>('0' + value / 10 % 10);
  out += static_cast<char>('0' + value % 10);
}

// "2026-11-22T03:05:00Z", or with a space and without zone for people.
void append_time(int64_t mtime_ns, bool rfc3339, std::string& out) {
  const auto seconds = static_cast<time_t>(mtime_ns / 1'000'000'000 - (mtime_ns % 1'000'000'000 < 0 ? 1 : 0));
  tm t{};
  if (::gmtime_r(&seconds, &t) == nullptr || t.tm_year + 1900 < 0 || t.tm_year + 1900 > 9999) {
    // A time stamp that no calendar of four digits holds; RFC 3339 has no other way to say so.
    out += rfc3339 ? "1970-01-01T00:00:00Z" : "-";
    return;
  }
  append_two((t.tm_year + 1900) / 100, out);
  append_two((t.tm_year + 1900) % 100, out);
  out += '-';
  append_two(t.tm_mon + 1, out);
  out += '-';
  append_two(t.tm_mday, out);
  out += rfc3339 ? 'T' : ' ';
  append_two(t.tm_hour, out);
  out += ':';
  append_two(t.tm_min, out);
  if (!rfc3339) return;
  out += ':';
  append_two(t.tm_sec, out);
  out += 'Z';
}

}  // namespace

std::string_view listing_content_type(ListingFormat format) {
  return format == ListingFormat::HTML ? "text/html; charset=utf-8" : "application/json";
}

void ListingWriter::begin(const DirectoryList& list, std::string_view url_path, ListingFormat format,
                          std::string_view footer) {
  list_ = &list;
  url_path_ = url_path;
  footer_ = footer;
  format_ = format;
  next_ = 0;
  head_written_ = false;
}

bool ListingWriter::write(uint32_t entries, std::string& out) {
  if (!head_written_) write_head(out);
  head_written_ = true;
  const auto& all = list_->entries();
  for (; entries > 0 && next_ < all.size(); --entries, ++next_) write_entry(all[next_], out);
  if (next_ < all.size()) return false;
  write_tail(out);
  return true;
}

void ListingWriter::write_head(std::string& out) {
  if (format_ == ListingFormat::JSON) {
    out += "{\"path\":\"";
    append_json_escaped(url_path_, out);
    out += "\",\"truncated\":";
    out += list_->truncated() ? "true" : "false";
    out += ",\"entries\":[";
    return;
  }
  out +=
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width\"><title>Index of ";
  append_html_escaped(url_path_, out);
  out += "</title>";
  out += STYLE;
  out += "</head>\n<body><h1>Index of ";
  append_html_escaped(url_path_, out);
  out += "</h1>\n<table>\n<tr><th>Name</th><th>Size</th><th>Modified (UTC)</th></tr>\n";
  if (url_path_ != "/") out += "<tr><td><a href=\"../\">../</a></td><td>-</td><td>-</td></tr>\n";
}

void ListingWriter::write_entry(const DirectoryList::Entry& entry, std::string& out) {
  const std::string_view name = list_->name(entry);
  if (format_ == ListingFormat::JSON) {
    if (next_ > 0) out += ',';
    out += "\n{\"name\":\"";
    append_json_escaped(name, out);
    out += entry.directory ? "\",\"type\":\"directory\",\"mtime\":\"" : "\",\"type\":\"file\",\"mtime\":\"";
    append_time(entry.mtime_ns, true, out);
    out += '"';
    if (!entry.directory) {
      out += ",\"size\":";
      append_decimal(entry.size, out);
    }
    out += '}';
    return;
  }
  // "./" keeps a name with a colon from being read as a scheme.
  out += "<tr><td><a href=\"./";
  append_url_escaped(name, out);
  if (entry.directory) out += '/';
  out += "\">";
  append_html_escaped(name, out);
  if (entry.directory) out += '/';
  out += "</a></td><td>";
  if (entry.directory) {
    out += '-';
  } else {
    append_decimal(entry.size, out);
  }
  out += "</td><td>";
  append_time(entry.mtime_ns, false, out);
  out += "</td></tr>\n";
}

void ListingWriter::write_tail(std::string& out) {
  if (format_ == ListingFormat::JSON) {
    out += "\n]}\n";
    return;
  }
  out += "</table>\n";
  if (list_->truncated()) {
    out += "<p>Only the first ";
    append_decimal(list_->entries().size(), out);
    out += " entries found are shown.</p>\n";
  }
  out += footer_;
  out += "</body></html>\n";
}

}  // namespace penstock
