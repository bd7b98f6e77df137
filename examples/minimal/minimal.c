/* The smallest use of minnow: minimal MODEL.mnw "Once upon a time" */
#include <minnow/minnow.h>
#include <stdio.h>

static int on_text(void* user, const char* text, size_t length, int32_t token) {
  (void)user;
  (void)token;
  fwrite(text, 1, length, stdout);
  fflush(stdout);
  return 0;
}

int main(int argc, char** argv) {
  minnow_engine* engine = NULL;
  minnow_model* model = NULL;
  minnow_session* session = NULL;
  minnow_status status = MINNOW_INVALID_ARGUMENT;
  if (argc != 3) {
    fprintf(stderr, "usage: %s MODEL.mnw PROMPT\n", argv[0]);
    return 2;
  }
  status = minnow_engine_create(NULL, &engine);
  if (status == MINNOW_OK) status = minnow_model_load(engine, argv[1], &model);
  if (status == MINNOW_OK) status = minnow_session_create(model, NULL, &session);
  if (status == MINNOW_OK) status = minnow_generate_text(session, argv[2], NULL, on_text, NULL, NULL);
  if (status != MINNOW_OK) fprintf(stderr, "%s: %s\n", minnow_status_name(status), minnow_last_error());
  printf("\n");
  minnow_session_destroy(session);
  minnow_model_destroy(model);
  minnow_engine_destroy(engine);
  return status == MINNOW_OK ? 0 : 1;
}
