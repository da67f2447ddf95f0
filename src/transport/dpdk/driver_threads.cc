#include "src/transport/dpdk/driver_threads.h"

#include "src/base/clock.h"
#include "src/transport/dpdk/dpdk_eal.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <ctime>
#include <rte_alarm.h>
#include <rte_vhost.h>
#include <semaphore.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace penstock {
namespace {

constexpr Duration PATIENCE = seconds(10);

struct DriverJob {
  const std::function<void()>* job;
  sem_t done;
};

void do_job(void* argument) {
  auto* work = static_cast<DriverJob*>(argument);
  if (work->job != nullptr) (*work->job)();
  ::sem_post(&work->done);
}

bool wait_for(DriverJob& work) {
  const MonoTime until = RealClock().now() + PATIENCE;
  const timespec at{.tv_sec = until.ns / 1'000'000'000, .tv_nsec = until.ns % 1'000'000'000};
  int waited = 0;
  do {
    waited = ::sem_clockwait(&work.done, CLOCK_MONOTONIC, &at);
  } while (waited != 0 && errno == EINTR);
  return waited == 0;
}

// Alarms go off in the thread that waits for interrupts.
Status run_by_alarm(const std::function<void()>& job) {
  DriverJob work{.job = &job, .done = {}};
  ::sem_init(&work.done, 0, 0);
  if (rte_eal_alarm_set(1, &do_job, &work) != 0) return fail("DPDK takes no alarm");
  if (wait_for(work)) return {};
  (void)rte_eal_alarm_cancel(&do_job, &work);  // waits for one that has begun
  return fail("DPDK's thread for interrupts does not answer");
}

// The calls that librte_vhost makes have no argument of ours: whoever waits stands here.
std::atomic<DriverJob*> vhost_job = nullptr;

rte_vhost_msg_result vhost_message(int, void*) {
  if (DriverJob* work = vhost_job.exchange(nullptr)) do_job(work);
  return RTE_VHOST_MSG_RESULT_OK;
}

int vhost_met(int vid) {
  static constexpr rte_vhost_user_extern_ops OPS = {.pre_msg_handle = &vhost_message, .post_msg_handle = nullptr};
  if (rte_vhost_extern_callback_register(vid, &OPS, nullptr) != 0) return -1;
  if (DriverJob* work = vhost_job.exchange(nullptr)) do_job(work);
  return 0;
}

bool wait_for_vhost(DriverJob& work) {
  if (wait_for(work)) return true;
  // Taken back, unless it has just begun: then its end is waited for.
  while (vhost_job.exchange(nullptr) == nullptr && ::sem_wait(&work.done) != 0) {
  }
  return false;
}

}  // namespace

Result<std::unique_ptr<DriverThreads>> DriverThreads::find(const std::string& device) {
  std::unique_ptr<DriverThreads> threads(new DriverThreads);
  if (!device.starts_with("net_vhost") && !device.starts_with("eth_vhost")) return threads;
  if (Status met = threads->meet_vhost(device_option(device, "iface") + ".penstock"); !met)
    return std::unexpected(std::move(met.error()));
  return threads;
}

Status DriverThreads::meet_vhost(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return fail("dpdk.device: the path of its socket is too long: " + path);
  std::copy(path.begin(), path.end(), address.sun_path);
  (void)::unlink(path.c_str());  // left by one that was killed
  static rte_vhost_device_ops ops{};
  ops.new_connection = &vhost_met;
  DriverJob work{.job = nullptr, .done = {}};
  ::sem_init(&work.done, 0, 0);
  vhost_job = &work;
  if (rte_vhost_driver_register(path.c_str(), 0) != 0 || rte_vhost_driver_callback_register(path.c_str(), &ops) != 0 ||
      rte_vhost_driver_start(path.c_str()) != 0) {
    vhost_job = nullptr;
    return fail("dpdk.device: no socket can be made at " + path);
  }
  vhost_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int connected = ::connect(vhost_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
  const int error = errno;
  (void)::unlink(path.c_str());
  if (!wait_for_vhost(work) || connected != 0) return fail_errno("DPDK's thread for vhost-user does not answer", error);
  return {};
}

Status DriverThreads::run(const std::function<void()>& job) const {
  if (Status ran = run_by_alarm(job); !ran || !vhost_.valid()) return ran;
  DriverJob work{.job = &job, .done = {}};
  ::sem_init(&work.done, 0, 0);
  vhost_job = &work;
  // The smallest message there is: VHOST_USER_GET_FEATURES, version 1, no payload.
  constexpr uint32_t MESSAGE[] = {1, 1, 0};
  const bool sent = ::send(vhost_.get(), MESSAGE, sizeof MESSAGE, MSG_NOSIGNAL) == sizeof MESSAGE;
  if (wait_for_vhost(work) && sent) return {};
  return fail("DPDK's thread for vhost-user does not answer");
}

}  // namespace penstock
