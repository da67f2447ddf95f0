#include "src/route/host_table.h"

#include "src/route/route_table.h"

#include <gtest/gtest.h>
#include <string>

namespace penstock {
namespace {

TEST(HostTable, tells_names_apart_that_begin_alike_or_end_the_table) {
  HostTable table;
  EXPECT_EQ(table.find("a"), nullptr);
  const Site one;
  const Site two;
  table.add("a.example", one);
  table.add("a.example.org", two);
  table.add("a", two);
  EXPECT_EQ(table.find("a.example"), &one);
  EXPECT_EQ(table.find("a.example.org"), &two);
  EXPECT_EQ(table.find("a"), &two);
  for (const char* other : {"", "a.exampl", "a.example.", "a.example.org.", "a.example.orgx", "A", "b"}) {
    EXPECT_EQ(table.find(other), nullptr) << other;
  }
  EXPECT_EQ(table.find(std::string(10'000, 'a')), nullptr);
}

TEST(HostTable, leaves_a_name_with_the_site_that_had_it_first) {
  HostTable table;
  const Site one;
  const Site two;
  table.add("a", one);
  table.add("a", two);
  EXPECT_EQ(table.find("a"), &one);
}

// FEATURES VH1: 100,000 of them, each found, and none that is not there.
TEST(HostTable, finds_each_of_a_hundred_thousand_hosts) {
  constexpr size_t SITES = 10;
  constexpr size_t NAMES = 100'000;
  const auto name_of = [](size_t number) { return "host" + std::to_string(number) + ".example.org"; };
  Settings settings;
  settings.sites.resize(SITES);
  for (size_t i = 0; i < SITES; ++i) settings.sites[i].name = "s" + std::to_string(i);
  for (size_t n = 0; n < NAMES; ++n) settings.sites[n % SITES].hosts.push_back(name_of(n));
  const RouteTable table(settings);
  size_t wrong = 0;
  for (size_t n = 0; n < NAMES; ++n) {
    const Site* site = table.find_site(name_of(n));
    if (site == nullptr || site->number != n % SITES) ++wrong;
  }
  EXPECT_EQ(wrong, 0U);
  EXPECT_EQ(table.find_site(name_of(NAMES)), nullptr);
  EXPECT_EQ(table.find_site("a." + name_of(0)), nullptr);
}

}  // namespace
}  // namespace penstock
