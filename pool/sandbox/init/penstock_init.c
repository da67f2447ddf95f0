/* penstock-init: process 1 of a worker's pid namespace.
 *
 * A pid namespace ends with its first process, and its first process is special: signals without a handler do not
 * reach it, and orphans become its children. The worker must not be that process, or a failed assertion would not end
 * it and the supervisor would be told something else than the truth. So this one is: it has no privilege, no
 * descriptors of use, leaves its orphans to the kernel, and waits to be killed.
 * Started by src/admin/worker_process.cc. Links the C library statically to start quickly and stay small.
 */
#include <grp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(void) {
  const unsigned nobody = 65120; /* reserved for penstock: pool/sandbox/identity.cc */
  prctl(PR_SET_NAME, "penstock-init", 0, 0, 0);
  if (geteuid() == 0 &&
      (setgroups(0, 0) != 0 || setresgid(nobody, nobody, nobody) != 0 || setresuid(nobody, nobody, nobody) != 0)) {
    return 1;
  }
  /* After the identity, which clears it. */
  if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 || signal(SIGCHLD, SIG_IGN) == SIG_ERR) {
    return 1;
  }
  for (;;) pause();
}
