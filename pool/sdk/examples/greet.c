/* A shared object for penstock-native: greets who is named in the query, with the words from its command line.
 *
 *     pool.greet.runtime = native
 *     pool.greet.app = /srv/app/greet.so Good morning
 */
#include "pool/sdk/penstock_worker.h"

#include <stdio.h>

struct greet {
  int words;
  char** word;
};

static void add(char* line, size_t* size, size_t room, const char* text, size_t bytes) {
  size_t i = 0;
  for (; i < bytes && *size < room; ++i) line[(*size)++] = text[i];
}

static void request(penstock_exchange* exchange, void* context) {
  const struct greet* const greet = context;
  const penstock_header type = {PENSTOCK_TEXT("Content-Type"), PENSTOCK_TEXT("text/plain; charset=utf-8")};
  const penstock_string who = penstock_query(exchange);
  char line[512];
  size_t size = 0;
  int i = 0;
  for (; i < greet->words; ++i) {
    const char* end = greet->word[i];
    while (*end != '\0') ++end;
    add(line, &size, sizeof line, greet->word[i], (size_t)(end - greet->word[i]));
    add(line, &size, sizeof line, " ", 1);
  }
  add(line, &size, sizeof line, who.data, who.size);
  add(line, &size, sizeof line, "\n", 1);
  penstock_answer(exchange, 200, &type, 1, line, size);
}

int penstock_application(int argc, char** argv, penstock_callbacks* callbacks, void** context) {
  static struct greet greet;
  if (argc < 2) {
    fprintf(stderr, "greet: no words to greet with; they follow the object's name in pool.NAME.app\n");
    return 2;
  }
  greet.words = argc - 1;
  greet.word = argv + 1;
  callbacks->request = request;
  *context = &greet;
  return 0;
}
