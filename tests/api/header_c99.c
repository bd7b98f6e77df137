/* minnow.h as C99 sees it: compiled with -std=c99 -pedantic-errors, called from handles_test.cpp. */
#include <minnow/minnow.h>

int minnow_test_use_header_from_c(const char* path);

/* Loads a model and generates three tokens; the first status that is not MINNOW_OK. */
int minnow_test_use_header_from_c(const char* path) {
  minnow_engine_params ep = minnow_engine_params_default();
  minnow_session_params sp = minnow_session_params_default();
  minnow_generate_params gp = minnow_generate_params_default();
  minnow_engine* engine = NULL;
  minnow_model* model = NULL;
  minnow_session* session = NULL;
  const int32_t prompt[2] = {1, 5};
  minnow_status status;
  ep.threads = 1;
  sp.context = 16;
  gp.max_tokens = 3;
  status = minnow_engine_create(&ep, &engine);
  if (status == MINNOW_OK) status = minnow_model_load(engine, path, &model);
  if (status == MINNOW_OK) status = minnow_session_create(model, &sp, &session);
  if (status == MINNOW_OK) status = minnow_generate_tokens(session, prompt, 2, &gp, NULL, NULL, NULL);
  minnow_session_destroy(session);
  minnow_model_destroy(model);
  minnow_engine_destroy(engine);
  return (int)status;
}
