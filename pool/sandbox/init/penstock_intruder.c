/* penstock-intruder: what `penstock alarm test` runs inside the sandbox of a pool. It tries to start the program that
 * its argument names, which the pool may not start, and says by its exit code that it could not: the errno.
 * Links the C library statically: the smallest profile of system calls is enough for it. */
#include <errno.h>
#include <unistd.h>

int main(int argc, char** argv) {
  if (argc != 2) return 255;
  char* const words[] = {argv[1], "-c", "exit 254", 0};
  char* const variables[] = {0};
  execve(argv[1], words, variables);
  return errno;
}
