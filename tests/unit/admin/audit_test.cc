// Records of the kernel's audit log as it writes them, and events put together from them.
#include "src/admin/audit_record.h"
#include "src/admin/kernel_audit.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

constexpr std::string_view STAMP = "audit(1729738800.268:30): ";

AuditRecord record(uint16_t type, const std::string& text) {
  auto parsed = parse_audit_record(type, std::string(STAMP) + text);
  EXPECT_TRUE(parsed) << text;
  return parsed.value_or(AuditRecord{});
}

AuditRecord access_record(const std::string& text) {
  return record(AUDIT_RECORD_LANDLOCK_ACCESS, "domain=195ba459b " + text);
}

TEST(AuditRecord, of_a_denied_file_has_its_path_and_the_right) {
  const AuditRecord file = access_record(R"(blockers=fs.write_file,fs.truncate path="/dev/tty" dev="devtmpfs" ino=9)");
  EXPECT_EQ(file.unix_ms, 1729738800268);
  EXPECT_EQ(file.serial, 30U);
  EXPECT_EQ(file.domain, 0x195ba459bU);
  EXPECT_EQ(file.denied, "fs.write_file,fs.truncate");
  EXPECT_EQ(file.object, "/dev/tty");
}

TEST(AuditRecord, decodes_names_that_no_quotes_can_hold) {
  EXPECT_EQ(access_record("blockers=fs.read_file path=2F746D702F6120620A22 dev=\"vda\" ino=1").object, "/tmp/a b\n\"");
  EXPECT_EQ(access_record("blockers=fs.read_file path=<no_memory>").object, "<no_memory>");
  EXPECT_EQ(access_record("blockers=fs.make_reg path=\"/a b\" uid=7").object, "/a b");
}

TEST(AuditRecord, of_an_address_or_a_process_says_which) {
  EXPECT_EQ(access_record("blockers=net.connect_tcp daddr=127.0.0.1 dest=80").object, "127.0.0.1 port 80");
  EXPECT_EQ(access_record("blockers=net.bind_tcp src=8080").object, "port 8080");
  EXPECT_EQ(access_record("blockers=scope.signal opid=300 ocomm=\"x\"").object, "process 300");
}

TEST(AuditRecord, of_a_domain_and_of_a_call_say_whose_they_are) {
  const AuditRecord domain =
      record(AUDIT_RECORD_LANDLOCK_DOMAIN,
             "domain=195ba459b status=allocated mode=enforcing pid=300 uid=0 exe=\"/x\" comm=\"x\"");
  EXPECT_EQ(domain.pid, 300);
  EXPECT_FALSE(domain.gone);
  EXPECT_TRUE(record(AUDIT_RECORD_LANDLOCK_DOMAIN, "domain=195ba459b status=deallocated denials=3").gone);
  const AuditRecord call =
      record(AUDIT_RECORD_SYSCALL,
             "arch=c000003e syscall=257 success=no exit=-13 ppid=1 pid=301 auid=4294967295 uid=1000 comm=\"a b\"");
  EXPECT_EQ(call.pid, 301);
  EXPECT_EQ(call.uid, 1000U);
}

TEST(AuditRecord, that_is_none_is_nothing) {
  for (const std::string text :
       {"", "audit(", "audit(1.2:3", "audit(x.2:3): domain=1", "audit(1.2000:3): domain=1", "audit(1.2:): domain=1",
        "audit(1:2.3): domain=1", "audit(1.2:3): domain=0 blockers=a", "audit(1.2:3): domain=zz",
        "audit(1.2:3): blockers=a", "audit(99999999999999.2:3): domain=1"}) {
    EXPECT_FALSE(parse_audit_record(AUDIT_RECORD_LANDLOCK_ACCESS, text)) << text;
  }
  EXPECT_FALSE(parse_audit_record(1300 + 1, std::string(STAMP) + "domain=1"));
}

TEST(AuditEvents, are_put_together_from_records_in_any_order) {
  AuditEvents events;
  const MonoTime now{5};
  events.take(access_record("blockers=fs.read_file path=\"/a\""), now);
  EXPECT_FALSE(events.next(now)) << "its call may still be told of";
  EXPECT_EQ(events.next_deadline(), now + AuditEvents::HOLD);
  events.take(record(AUDIT_RECORD_LANDLOCK_DOMAIN, "domain=195ba459b status=allocated pid=300"), now);
  int unknown = 0;
  events.each_unknown([&](AccessDenial& denial) {
    ++unknown;
    EXPECT_EQ(denial.domain_pid, 300);
    denial.worker = 7;
  });
  EXPECT_EQ(unknown, 1);
  events.each_unknown([](AccessDenial&) { FAIL() << "it is known"; });
  events.take(record(AUDIT_RECORD_SYSCALL, "pid=301 uid=5"), now);
  const auto denial = events.next(now);
  ASSERT_TRUE(denial);
  EXPECT_EQ(denial->pid, 301);
  EXPECT_EQ(denial->uid, 5U);
  EXPECT_EQ(denial->worker, 7U);
  EXPECT_EQ(denial->object, "/a");
  EXPECT_EQ(events.next_deadline(), MonoTime::never());
}

TEST(AuditEvents, without_a_call_are_given_away_after_a_while_and_a_domain_is_remembered) {
  AuditEvents events;
  events.take(record(AUDIT_RECORD_LANDLOCK_DOMAIN, "domain=195ba459b status=allocated pid=300"), {});
  events.take(access_record("blockers=fs.read_file path=\"/a\""), {});
  EXPECT_FALSE(events.next(MonoTime{} + AuditEvents::HOLD - Duration{1}));
  const auto denial = events.next(MonoTime{} + AuditEvents::HOLD);
  ASSERT_TRUE(denial);
  EXPECT_EQ(denial->domain_pid, 300);
  EXPECT_EQ(denial->pid, -1);
  events.take(record(AUDIT_RECORD_LANDLOCK_DOMAIN, "domain=195ba459b status=deallocated denials=1"), {});
  events.take(access_record("blockers=fs.read_file path=\"/a\""), {});
  EXPECT_EQ(events.next(MonoTime::never())->domain_pid, -1);
}

TEST(AuditEvents, beyond_what_can_wait_the_oldest_goes_without_its_call) {
  AuditEvents events;
  for (size_t i = 0; i <= AuditEvents::WAITING_MAX; ++i) {
    events.take(access_record("blockers=fs.read_file path=\"/" + std::to_string(i) + "\""), {});
  }
  EXPECT_EQ(events.next({})->object, "/0");
  EXPECT_FALSE(events.next({}));
}

}  // namespace
}  // namespace penstock
