/* The same 112 bytes from FastCGI: answer_fastcgi SOCKET. Each thread has a connection at a time. */
#include <fcgiapp.h>
#include <pthread.h>
#include <stdio.h>

#define THREADS 320 /* more than there are connections: each keeps its own, and nothing waits behind an idle one */

static const char ANSWER[] =
    "Content-Type: text/plain\r\n"
    "Content-Length: 112\r\n"
    "\r\n"
    "112 bytes of an answer, which is what every server here sends: a worker, a program behind nginx, and a file too\n";

static void* serve(void* argument) {
  FCGX_Request request;
  if (FCGX_InitRequest(&request, *(int*)argument, 0) != 0) return 0;
  while (FCGX_Accept_r(&request) == 0) {
    FCGX_PutStr(ANSWER, sizeof ANSWER - 1, request.out);
    FCGX_Finish_r(&request);
  }
  return 0;
}

int main(int argc, char** argv) {
  int listener;
  if (argc != 2 || FCGX_Init() != 0 || (listener = FCGX_OpenSocket(argv[1], 1024)) < 0) {
    fprintf(stderr, "usage: answer_fastcgi SOCKET\n");
    return 2;
  }
  for (int started = 1; started < THREADS; ++started) {
    pthread_t thread;
    if (pthread_create(&thread, 0, serve, &listener) != 0) return 1;
  }
  serve(&listener);
  return 1;
}
