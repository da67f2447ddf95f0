// Fuzzed by src/config/parse_fuzz.cc
// Item types of lists, and CPU lists.
#include "src/base/bytes.h"
#include "src/config/log_term.h"
#include "src/config/schema.h"
#include "src/config/types.h"

#include <algorithm>
#include <arpa/inet.h>
#include <fmt/format.h>

namespace penstock {
namespace {

constexpr size_t UNIX_NAME_BYTES_MAX = 107;  // sockaddr_un::sun_path with its NUL, and an abstract name after one
constexpr uint32_t CPU_MAX = 1023;           // what a plain cpu_set_t can name

std::unexpected<std::string> none() { return std::unexpected(std::string()); }

Parsed<ListenAddress> parse_unix(std::string_view name) {
  ListenAddress out;
  const bool abstract = name.starts_with('@');
  out.kind = abstract ? ListenAddress::Kind::UNIX_ABSTRACT : ListenAddress::Kind::UNIX_PATH;
  if (abstract) name.remove_prefix(1);
  if (name.size() < (abstract ? 1 : 2) || name.size() > UNIX_NAME_BYTES_MAX) return none();
  if (!abstract && !name.starts_with('/')) return none();
  out.name = name;
  return out;
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), ascii_lower);
  return out;
}

// Labels of letters, digits, '-', '_': RFC 1123 names and the underscores that are seen in the wild.
bool is_host_name(std::string_view host) {
  if (host.empty() || host.size() > 253) return false;
  while (true) {
    const size_t end = std::min(host.find('.'), host.size());
    const std::string_view label = host.substr(0, end);
    const bool allowed =
        std::all_of(label.begin(), label.end(), [](char c) { return is_alnum(c) || c == '-' || c == '_'; });
    if (label.empty() || label.size() > 63 || label.front() == '-' || label.back() == '-' || !allowed) return false;
    if (end == host.size()) return true;
    host.remove_prefix(end + 1);
  }
}

}  // namespace

std::string join_words(const std::vector<std::string_view>& words) { return fmt::format("{}", fmt::join(words, ", ")); }

std::string expects_list(const std::string& what, SettingRange range) {
  return fmt::format("a list of {} to {} items, each {}", range.min, range.max, what);
}

std::string ConfigListenItem::what() { return "ADDR:PORT, [V6]:PORT, unix:/PATH or unix:@NAME"; }

Parsed<ListenAddress> ConfigListenItem::parse_item(const std::string& text) {
  if (text.starts_with("unix:")) return parse_unix(std::string_view(text).substr(5));
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) return none();
  const auto port = parse_decimal(std::string_view(text).substr(colon + 1));
  if (!port || *port > 65535) return none();
  ListenAddress out;
  out.port = static_cast<uint16_t>(*port);
  std::string host = text.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    out.kind = ListenAddress::Kind::IPV6;
    host = host.substr(1, host.size() - 2);
  }
  const int family = out.kind == ListenAddress::Kind::IPV6 ? AF_INET6 : AF_INET;
  if (host.find('\0') != std::string::npos || inet_pton(family, host.c_str(), out.ip.data()) != 1) return none();
  return out;
}

std::string ConfigListenItem::print_item(const ListenAddress& item) { return to_text(item); }

std::string ConfigAddressItem::what() { return "an IP address, ADDRESS/BITS with nothing set beyond BITS, or unix"; }

Parsed<AddressRange> ConfigAddressItem::parse_item(const std::string& text) {
  AddressRange out;
  if (text == "unix") {
    out.unix_peers = true;
    return out;
  }
  const size_t slash = text.find('/');
  const std::string address = text.substr(0, slash);
  const bool v4 = address.find(':') == std::string::npos;
  if (v4) out.ip[10] = out.ip[11] = 0xff;
  if (address.find('\0') != std::string::npos) return none();
  if (inet_pton(v4 ? AF_INET : AF_INET6, address.c_str(), out.ip.data() + (v4 ? 12 : 0)) != 1) return none();
  if (slash == std::string::npos) return out;
  const auto bits = parse_decimal(std::string_view(text).substr(slash + 1));
  if (!bits || *bits > (v4 ? 32 : 128)) return none();
  out.bits = static_cast<uint8_t>(*bits + (v4 ? 96 : 0));
  for (size_t bit = out.bits; bit < 128; ++bit) {
    if ((out.ip[bit / 8] >> (7 - bit % 8) & 1) != 0) return none();
  }
  return out;
}

std::string ConfigAddressItem::print_item(const AddressRange& item) { return to_text(item); }

std::string ConfigGatewayItem::what() { return "an IP address"; }

Parsed<InterfaceAddress> ConfigGatewayItem::parse_item(const std::string& text) {
  InterfaceAddress out;
  out.v6 = text.find(':') != std::string::npos;
  out.prefix_bits = out.v6 ? 128 : 32;
  if (text.find('\0') != std::string::npos) return none();
  if (inet_pton(out.v6 ? AF_INET6 : AF_INET, text.c_str(), out.ip.data()) != 1) return none();
  return out;
}

std::string ConfigGatewayItem::print_item(const InterfaceAddress& item) {
  char text[INET6_ADDRSTRLEN] = "";
  (void)inet_ntop(item.v6 ? AF_INET6 : AF_INET, item.ip.data(), text, sizeof text);
  return text;
}

std::string ConfigInterfaceItem::what() { return "ADDRESS/BITS"; }

Parsed<InterfaceAddress> ConfigInterfaceItem::parse_item(const std::string& text) {
  const size_t slash = text.find('/');
  if (slash == std::string::npos) return none();
  auto out = ConfigGatewayItem::parse_item(text.substr(0, slash));
  const auto bits = parse_decimal(std::string_view(text).substr(slash + 1));
  if (!out || !bits || *bits == 0 || *bits > out->prefix_bits) return none();
  out->prefix_bits = static_cast<uint8_t>(*bits);
  return out;
}

std::string ConfigInterfaceItem::print_item(const InterfaceAddress& item) {
  return fmt::format("{}/{}", ConfigGatewayItem::print_item(item), item.prefix_bits);
}

std::string ConfigHostItem::what() { return "a host name in ASCII, *.NAME, an IP address ([V6] in brackets) or *"; }

Parsed<std::string> ConfigHostItem::parse_item(const std::string& text) {
  if (text == "*") return text;
  if (text.size() > 2 && text.front() == '[' && text.back() == ']') {
    in6_addr address;
    char canonical[INET6_ADDRSTRLEN];
    const std::string inner = text.substr(1, text.size() - 2);
    if (inner.find('\0') != std::string::npos || inet_pton(AF_INET6, inner.c_str(), &address) != 1) return none();
    if (inet_ntop(AF_INET6, &address, canonical, sizeof canonical) == nullptr) return none();
    return fmt::format("[{}]", canonical);
  }
  std::string host = lower(text);
  if (host.ends_with('.')) host.pop_back();  // the same name, fully qualified
  const std::string_view name = host;
  if (!is_host_name(name.starts_with("*.") ? name.substr(2) : name)) return none();
  return host;
}

std::string ConfigHostItem::print_item(const std::string& item) { return item; }

std::string ConfigFileNameItem::what() { return "a file name without /"; }

Parsed<std::string> ConfigFileNameItem::parse_item(const std::string& text) {
  const bool named = !text.empty() && text.size() <= 255 && text != "." && text != "..";
  if (!named || text.find('/') != std::string::npos || text.find('\0') != std::string::npos) return none();
  return text;
}

std::string ConfigFileNameItem::print_item(const std::string& item) { return item; }

std::string ConfigPoolItem::what() { return "the name of a pool"; }

Parsed<std::string> ConfigPoolItem::parse_item(const std::string& text) {
  if (text.size() > 64 || !is_instance_name(text)) return none();
  return text;
}

std::string ConfigPoolItem::print_item(const std::string& item) { return item; }

std::string ConfigUrlItem::what() { return "a URL: /PATH or http://HOST/PATH, escaped, without #"; }

Parsed<std::string> ConfigUrlItem::parse_item(const std::string& text) {
  constexpr std::string_view SCHEME = "http://";
  std::string_view target = text;
  if (target.starts_with(SCHEME)) {
    target.remove_prefix(SCHEME.size());
    const std::string host(target.substr(0, target.find('/')));
    if (host.find('*') != std::string::npos || !ConfigHostItem::parse_item(host)) return none();
    target.remove_prefix(host.size());
  }
  const bool plain = std::all_of(target.begin(), target.end(), [](char c) { return c > 0x20 && c < 0x7f && c != '#'; });
  if (!target.starts_with('/') || !plain || text.size() > 4096) return none();
  return text;
}

std::string ConfigUrlItem::print_item(const std::string& item) { return item; }

std::string ConfigPathItem::what() { return "absolute path"; }

Parsed<std::string> ConfigPathItem::parse_item(const std::string& text) {
  if (!text.starts_with('/') || text.size() > 4095) return none();
  return text;
}

std::string ConfigPathItem::print_item(const std::string& item) { return item; }

std::string ConfigPatternItem::what() { return "a path or a pattern of paths, with *, ? and […]"; }

Parsed<std::string> ConfigPatternItem::parse_item(const std::string& text) {
  if (text.empty() || text.size() > 4095 || text.find('\0') != std::string::npos) return none();
  return text;
}

std::string ConfigPatternItem::print_item(const std::string& item) { return item; }

std::string ConfigUserItem::what() { return "a group of the system, by name or number"; }

Parsed<std::string> ConfigUserItem::parse_item(const std::string& text) {
  if (!ConfigUser::parse(text, {1, 32}) || text == "auto") return none();
  return text;
}

std::string ConfigUserItem::print_item(const std::string& item) { return item; }

std::string ConfigMethodItem::what() { return "a method such as GET"; }

Parsed<std::string> ConfigMethodItem::parse_item(const std::string& text) {
  if (!is_token_text(text) || text.size() > 32) return none();
  return text;
}

std::string ConfigMethodItem::print_item(const std::string& item) { return item; }

std::string ConfigSha256Item::what() { return "a SHA-256 sum of 64 hexadecimal digits"; }

Parsed<std::string> ConfigSha256Item::parse_item(const std::string& text) {
  std::string out = text;
  for (char& c : out) {
    if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return none();
  }
  if (out.size() != 64) return none();
  return out;
}

std::string ConfigSha256Item::print_item(const std::string& item) { return item; }

std::string ConfigFieldNameItem::what() { return "a header name such as Accept-Language"; }

Parsed<std::string> ConfigFieldNameItem::parse_item(const std::string& text) {
  if (!is_token_text(text) || text.size() > 64 || text == "*") return none();
  return lower(text);
}

std::string ConfigFieldNameItem::print_item(const std::string& item) { return item; }

std::string ConfigMimeGlobItem::what() { return "TYPE/SUBTYPE or TYPE/*"; }

Parsed<std::string> ConfigMimeGlobItem::parse_item(const std::string& text) {
  const size_t slash = text.find('/');
  if (slash == std::string::npos || text.size() > 255) return none();
  const std::string_view type = std::string_view(text).substr(0, slash);
  const std::string_view subtype = std::string_view(text).substr(slash + 1);
  const bool plain = type.find('*') == std::string_view::npos && is_token_text(type) && is_token_text(subtype) &&
                     (subtype == "*" || subtype.find('*') == std::string_view::npos);
  if (!plain) return none();
  return lower(text);
}

std::string ConfigMimeGlobItem::print_item(const std::string& item) { return item; }

std::string ConfigLogFieldItem::what() { return "a field such as sc-status or cs(User-Agent)"; }

Parsed<std::string> ConfigLogFieldItem::parse_item(const std::string& text) {
  constexpr std::string_view NAMES[] = {
#define FIELD(name, w3c, json, type, help) w3c,
#include "src/config/log_fields.def"
  };
  if (iequals(text, "cs(Host)")) return "cs-host";
  for (const std::string_view name : NAMES) {
    if (iequals(text, name)) return std::string(name);
  }
  return none();
}

std::string ConfigLogFieldItem::print_item(const std::string& item) { return item; }

std::string ConfigLogTermItem::what() { return "a condition on a field of the log, such as status>=500 or site=shop"; }

Parsed<std::string> ConfigLogTermItem::parse_item(const std::string& text) {
  if (text.size() > 1024 || !parse_log_term(text)) return none();
  return text;
}

std::string ConfigLogTermItem::print_item(const std::string& item) { return item; }

std::string ConfigCodingItem::what() { return "one of gzip, br, zstd"; }

Parsed<Coding> ConfigCodingItem::parse_item(const std::string& text) {
  for (const Coding coding : {Coding::GZIP, Coding::BR, Coding::ZSTD}) {
    if (print_item(coding) == text) return coding;
  }
  return none();
}

std::string ConfigCodingItem::print_item(const Coding& item) {
  return item == Coding::GZIP ? "gzip" : item == Coding::BR ? "br" : "zstd";
}

std::string ConfigTimeOfDayItem::what() { return "a time of day from 00:00 to 23:59"; }

Parsed<uint32_t> ConfigTimeOfDayItem::parse_item(const std::string& text) {
  if (text.size() != 5 || text[2] != ':') return none();
  const auto hours = parse_decimal(std::string_view(text).substr(0, 2));
  const auto minutes = parse_decimal(std::string_view(text).substr(3, 2));
  if (!hours || !minutes || *hours > 23 || *minutes > 59) return none();
  return static_cast<uint32_t>(*hours * 60 + *minutes);
}

std::string ConfigTimeOfDayItem::print_item(const uint32_t& item) {
  return fmt::format("{:02}:{:02}", item / 60, item % 60);
}

std::string ConfigTlsGroupItem::what() {
  return "a group of the key exchange such as X25519, or ?X25519MLKEM768 where it need not be known";
}

// Which names there are the library knows; in its lists these bytes alone mean nothing but a name.
Parsed<std::string> ConfigTlsGroupItem::parse_item(const std::string& text) {
  const std::string_view name = std::string_view(text).substr(text.starts_with('?') ? 1 : 0);
  const auto is_of_a_name = [](char c) { return is_alnum(c) || c == '-' || c == '_' || c == '.'; };
  if (name.empty() || name.size() > 64 || !is_alnum(name.front()) || iequals(name, "DEFAULT")) return none();
  if (!std::ranges::all_of(name, is_of_a_name)) return none();
  return text;
}

std::string ConfigTlsGroupItem::print_item(const std::string& item) { return item; }

std::string ConfigTlsCompressionItem::what() { return "one of zlib, brotli, zstd, with a ? before it or not"; }

Parsed<std::string> ConfigTlsCompressionItem::parse_item(const std::string& text) {
  const std::string_view name = std::string_view(text).substr(text.starts_with('?') ? 1 : 0);
  if (name != "zlib" && name != "brotli" && name != "zstd") return none();
  return text;
}

std::string ConfigTlsCompressionItem::print_item(const std::string& item) { return item; }

std::string ConfigCpuList::expects(SettingRange range) {
  return fmt::format("core numbers and ranges such as 0-3 8, at most {} cores, none above {}", range.max, CPU_MAX);
}

Parsed<ConfigCpuList::Value> ConfigCpuList::parse(std::string_view text, SettingRange range) {
  const auto words = split_list(text);
  if (!words) return std::unexpected(words.error());
  Value out;
  for (const std::string& word : *words) {
    const std::string_view item = word;
    const size_t dash = item.find('-');
    const auto first = parse_decimal(item.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : parse_decimal(item.substr(dash + 1));
    if (!first || !last || *first > *last || *last > CPU_MAX) return std::unexpected(expects(range));
    for (uint64_t cpu = *first; cpu <= *last; ++cpu) out.push_back(static_cast<uint32_t>(cpu));
    if (out.size() > 64 * (CPU_MAX + 1)) return std::unexpected(expects(range));
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  if (out.size() < range.min || out.size() > range.max) return std::unexpected(expects(range));
  return out;
}

std::string ConfigCpuList::print(const Value& value) {
  std::string out;
  for (size_t i = 0; i < value.size();) {
    size_t end = i;
    while (end + 1 < value.size() && value[end + 1] == value[end] + 1) ++end;
    if (!out.empty()) out += ' ';
    out += i == end ? fmt::format("{}", value[i]) : fmt::format("{}-{}", value[i], value[end]);
    i = end + 1;
  }
  return out.empty() ? "\"\"" : out;
}

}  // namespace penstock
