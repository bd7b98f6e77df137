// Handles, struct sizes, defaults and lifetimes: what minnow.h promises of every call.
#include <cstring>

#include "support/fixtures.h"

extern "C" int minnow_test_use_header_from_c(const char* path);

namespace minnow::testing {
namespace {

TEST(Header, WorksFromC) {
  EXPECT_EQ(minnow_test_use_header_from_c(tiny_path().c_str()), MINNOW_OK);
}

TEST(Names, StatusAndVersion) {
  EXPECT_STREQ(minnow_status_name(MINNOW_OK), "MINNOW_OK");
  EXPECT_STREQ(minnow_status_name(MINNOW_INTERNAL), "MINNOW_INTERNAL");
  EXPECT_STREQ(minnow_status_name(static_cast<minnow_status>(15)), "unknown status");
  EXPECT_STREQ(minnow_version(), MINNOW_VERSION);
  EXPECT_EQ(std::string(MINNOW_VERSION), std::to_string(MINNOW_VERSION_MAJOR) + "." +
                                             std::to_string(MINNOW_VERSION_MINOR) + "." +
                                             std::to_string(MINNOW_VERSION_PATCH));
}

TEST(Engine, DefaultsAndQueries) {
  const minnow_engine_params p = minnow_engine_params_default();
  EXPECT_EQ(p.struct_size, sizeof p);
  EXPECT_EQ(p.threads, 0u);
  EXPECT_EQ(p.isa, nullptr);
  minnow_engine* e = nullptr;
  ASSERT_EQ(minnow_engine_create(nullptr, &e), MINNOW_OK) << minnow_last_error();
  const Engine engine(e);
  EXPECT_GE(minnow_engine_threads(e), 1u);
  EXPECT_STRNE(minnow_engine_isa(e), "");
  EXPECT_STRNE(minnow_engine_cpu(e), "");
  EXPECT_EQ(minnow_engine_threads(make_engine(3).get()), 3u);
  EXPECT_STREQ(minnow_engine_isa(make_engine(1, "scalar").get()), "scalar");
}

TEST(Engine, RefusesWhatItCannotHonour) {
  minnow_engine* e = nullptr;
  minnow_engine_params p = minnow_engine_params_default();
  EXPECT_EQ(minnow_engine_create(&p, nullptr), MINNOW_INVALID_ARGUMENT);
  p.isa = "sse9";
  EXPECT_EQ(minnow_engine_create(&p, &e), MINNOW_INVALID_ARGUMENT);
  EXPECT_NE(std::string(minnow_last_error()).find("sse9"), std::string::npos);
  p = minnow_engine_params_default();
  p.threads = 257;
  EXPECT_EQ(minnow_engine_create(&p, &e), MINNOW_INVALID_ARGUMENT);
  EXPECT_EQ(e, nullptr);
}

TEST(Engine, ReadWallChecksItsArguments) {
  const Engine engine = make_engine(1);
  double wall = -1.0;
  EXPECT_EQ(minnow_engine_read_wall(nullptr, 64u << 20, 1, &wall), MINNOW_INVALID_ARGUMENT);
  EXPECT_EQ(minnow_engine_read_wall(engine.get(), 64u << 20, 1, nullptr), MINNOW_INVALID_ARGUMENT);
  EXPECT_EQ(minnow_engine_read_wall(engine.get(), (64u << 20) - 1, 1, &wall), MINNOW_INVALID_ARGUMENT);
  EXPECT_EQ(minnow_engine_read_wall(engine.get(), 64u << 20, 0, &wall), MINNOW_INVALID_ARGUMENT);
  EXPECT_EQ(wall, -1.0);
  EXPECT_EQ(minnow_engine_read_wall(engine.get(), 64u << 20, 1, &wall), MINNOW_OK) << minnow_last_error();
  EXPECT_GT(wall, 0.0);
}

TEST(StructSize, TooSmallTooLargeAndOlder) {
  minnow_engine* e = nullptr;
  minnow_engine_params p = minnow_engine_params_default();
  for (const size_t size : {size_t{0}, size_t{4}, sizeof p + 1, size_t{1} << 40}) {
    p.struct_size = size;
    EXPECT_EQ(minnow_engine_create(&p, &e), MINNOW_INVALID_ARGUMENT) << size;
    EXPECT_NE(std::string(minnow_last_error()).find("struct_size"), std::string::npos);
  }
  // An older header, which ended before `isa`: what lies there is not looked at.
  p.struct_size = offsetof(minnow_engine_params, isa);
  p.threads = 2;
  p.isa = "not a level";
  ASSERT_EQ(minnow_engine_create(&p, &e), MINNOW_OK) << minnow_last_error();
  const Engine engine(e);
  EXPECT_EQ(minnow_engine_threads(e), 2u);

  const Model model = load_model(engine, tiny_path());
  minnow_session* s = nullptr;
  minnow_session_params sp = minnow_session_params_default();
  sp.struct_size = sizeof sp + 8;
  EXPECT_EQ(minnow_session_create(model.get(), &sp, &s), MINNOW_INVALID_ARGUMENT);
  sp.struct_size = offsetof(minnow_session_params, prefill_chunk);
  sp.context = 17;
  sp.kv_type = static_cast<minnow_kv_type>(3);  // behind the end of this struct
  ASSERT_EQ(minnow_session_create(model.get(), &sp, &s), MINNOW_OK) << minnow_last_error();
  const Session session(s);
  EXPECT_EQ(minnow_session_context(s), 17u);
  minnow_generate_params gp = minnow_generate_params_default();
  gp.struct_size = 1;
  EXPECT_EQ(generate_tokens(session, {5}, gp).status, MINNOW_INVALID_ARGUMENT);
}

/// A result struct as a newer and as an older header would have it.
TEST(StructSize, ResultsFillWhatTheCallerKnows) {
  const Engine engine = make_engine(1);
  const Model model = load_model(engine, tiny_path());
  struct {
    minnow_model_info info;
    uint64_t newer;
  } larger;
  std::memset(&larger, 0xAB, sizeof larger);
  larger.info.struct_size = sizeof larger;
  ASSERT_EQ(minnow_model_get_info(model.get(), &larger.info), MINNOW_OK);
  EXPECT_EQ(larger.info.struct_size, sizeof larger);
  EXPECT_EQ(larger.info.vocab_size, 320u);
  EXPECT_EQ(larger.newer, 0xABABABABABABABABu);

  minnow_model_info older;
  std::memset(&older, 0xAB, sizeof older);
  older.struct_size = offsetof(minnow_model_info, parameters);
  ASSERT_EQ(minnow_model_get_info(model.get(), &older), MINNOW_OK);
  EXPECT_STREQ(older.architecture, "llama");
  EXPECT_EQ(older.parameters, 0xABABABABABABABABu);
  for (const size_t size : {size_t{0}, size_t{7}}) {
    older.struct_size = size;
    EXPECT_EQ(minnow_model_get_info(model.get(), &older), MINNOW_INVALID_ARGUMENT);
  }

  const Session session = make_session(model, 8);
  minnow_session_stats stats{};
  EXPECT_EQ(minnow_session_get_stats(session.get(), &stats), MINNOW_INVALID_ARGUMENT);  // struct_size 0
  minnow_generate_result result{};
  const minnow_generate_params p = greedy_params(1);
  const int32_t token = 5;
  EXPECT_EQ(minnow_generate_tokens(session.get(), &token, 1, &p, nullptr, nullptr, &result),
            MINNOW_INVALID_ARGUMENT);
  minnow_plan_report report{};
  EXPECT_EQ(minnow_plan(engine.get(), tiny_path().c_str(), nullptr, 0, &report), MINNOW_INVALID_ARGUMENT);
}

TEST(Handles, NullIsRefusedEverywhere) {
  const Engine engine = make_engine(1);
  const Model model = load_model(engine, tiny_path());
  const Session session = make_session(model, 8);
  minnow_model* m = nullptr;
  minnow_session* s = nullptr;
  const int32_t token = 5;
  int32_t ids[4];
  char text[4];
  size_t count = 0;
  float score = 0.0f;
  const float* logits = nullptr;
  minnow_model_info info{};
  info.struct_size = sizeof info;
  minnow_session_stats stats{};
  stats.struct_size = sizeof stats;
  minnow_plan_report report{};
  report.struct_size = sizeof report;
  const auto on_logits = [](void*, size_t, const float*, size_t) { return 0; };
  const minnow_message message{"user", "hello"};
  const minnow_status results[] = {
      minnow_model_load(nullptr, tiny_path().c_str(), &m),
      minnow_model_load(engine.get(), nullptr, &m),
      minnow_model_load(engine.get(), tiny_path().c_str(), nullptr),
      minnow_model_load_fd(nullptr, 0, 0, 0, &m),
      minnow_model_load_fd(engine.get(), 0, 0, 0, nullptr),
      minnow_model_load_memory(nullptr, text, 4, &m),
      minnow_model_load_memory(engine.get(), nullptr, 4, &m),
      minnow_model_load_memory(engine.get(), text, 4, nullptr),
      minnow_model_get_info(nullptr, &info),
      minnow_model_get_info(model.get(), nullptr),
      minnow_tokenize(nullptr, "a", 1, 0, 0, ids, 4, &count),
      minnow_detokenize(nullptr, &token, 1, 0, text, 4, &count),
      minnow_chat_render(nullptr, nullptr, &message, 1, text, 4, &count),
      minnow_plan(nullptr, tiny_path().c_str(), nullptr, 0, &report),
      minnow_plan(engine.get(), nullptr, nullptr, 0, &report),
      minnow_plan(engine.get(), tiny_path().c_str(), nullptr, 0, nullptr),
      minnow_session_create(nullptr, nullptr, &s),
      minnow_session_create(model.get(), nullptr, nullptr),
      minnow_session_fork(nullptr, &s),
      minnow_session_fork(session.get(), nullptr),
      minnow_prefill(nullptr, &token, 1, nullptr, nullptr),
      minnow_prefill(session.get(), nullptr, 1, nullptr, nullptr),
      minnow_prefill(session.get(), &token, 0, nullptr, nullptr),
      minnow_decode(nullptr, 5),
      minnow_logits(nullptr, &logits, &count),
      minnow_logits(session.get(), nullptr, &count),
      minnow_logits(session.get(), &logits, nullptr),
      minnow_score(nullptr, &token, 1, &score),
      minnow_score(session.get(), nullptr, 1, &score),
      minnow_score(session.get(), &token, 1, nullptr),
      minnow_score(session.get(), &token, 0, &score),
      minnow_prefill_logits(nullptr, &token, 1, on_logits, nullptr),
      minnow_prefill_logits(session.get(), nullptr, 1, on_logits, nullptr),
      minnow_prefill_logits(session.get(), &token, 1, nullptr, nullptr),
      minnow_prefill_logits(session.get(), &token, 0, on_logits, nullptr),
      minnow_session_rewind(nullptr, 0),
      minnow_generate(nullptr, nullptr, nullptr, nullptr, nullptr),
      minnow_generate_text(nullptr, "a", nullptr, nullptr, nullptr, nullptr),
      minnow_generate_text(session.get(), nullptr, nullptr, nullptr, nullptr, nullptr),
      minnow_generate_tokens(nullptr, &token, 1, nullptr, nullptr, nullptr, nullptr),
      minnow_generate_tokens(session.get(), nullptr, 1, nullptr, nullptr, nullptr, nullptr),
      minnow_generate_tokens(session.get(), &token, 0, nullptr, nullptr, nullptr, nullptr),
      minnow_session_get_stats(nullptr, &stats),
      minnow_session_get_stats(session.get(), nullptr),
  };
  for (size_t i = 0; i < std::size(results); ++i)
    EXPECT_EQ(results[i], MINNOW_INVALID_ARGUMENT) << "call " << i;
  EXPECT_EQ(m, nullptr);
  EXPECT_EQ(s, nullptr);
  EXPECT_EQ(minnow_session_position(session.get()), 0u);
  // Calls without a status answer with nothing.
  EXPECT_EQ(minnow_engine_threads(nullptr), 0u);
  EXPECT_STREQ(minnow_engine_isa(nullptr), "");
  EXPECT_STREQ(minnow_engine_cpu(nullptr), "");
  EXPECT_EQ(minnow_model_is_eos(nullptr, 2), 0);
  EXPECT_STREQ(minnow_model_chat_format(nullptr), "");
  EXPECT_EQ(minnow_session_position(nullptr), 0u);
  EXPECT_EQ(minnow_session_context(nullptr), 0u);
  minnow_session_cancel(nullptr);
  minnow_session_destroy(nullptr);
  minnow_model_destroy(nullptr);
  minnow_engine_destroy(nullptr);
}

TEST(Handles, OfAnotherKindAreRefused) {
  const Engine engine = make_engine(1);
  const Model model = load_model(engine, tiny_path());
  const Session session = make_session(model, 8);
  minnow_model* m = nullptr;
  minnow_session* s = nullptr;
  EXPECT_EQ(minnow_model_load(reinterpret_cast<minnow_engine*>(model.get()), tiny_path().c_str(), &m),
            MINNOW_INVALID_ARGUMENT);
  EXPECT_NE(std::string(minnow_last_error()).find("not a living engine"), std::string::npos);
  EXPECT_EQ(minnow_session_create(reinterpret_cast<minnow_model*>(engine.get()), nullptr, &s),
            MINNOW_INVALID_ARGUMENT);
  EXPECT_EQ(minnow_decode(reinterpret_cast<minnow_session*>(model.get()), 5), MINNOW_INVALID_ARGUMENT);
  // Destroying through the wrong function leaves the object alone.
  minnow_model_destroy(reinterpret_cast<minnow_model*>(session.get()));
  EXPECT_EQ(minnow_decode(session.get(), 5), MINNOW_OK);
}

TEST(Lifetime, TheOrderOfDestructionDoesNotMatter) {
  minnow_engine* e = nullptr;
  minnow_model* m = nullptr;
  minnow_session* s = nullptr;
  ASSERT_EQ(minnow_engine_create(nullptr, &e), MINNOW_OK);
  ASSERT_EQ(minnow_model_load(e, tiny_path().c_str(), &m), MINNOW_OK) << minnow_last_error();
  ASSERT_EQ(minnow_session_create(m, nullptr, &s), MINNOW_OK) << minnow_last_error();
  minnow_engine_destroy(e);
  minnow_model_destroy(m);
  EXPECT_EQ(minnow_decode(s, 5), MINNOW_OK) << minnow_last_error();
  minnow_session_destroy(s);
}

TEST(LastError, IsKeptUntilTheNextFailure) {
  const Engine engine = make_engine(1);
  minnow_model* m = nullptr;
  EXPECT_EQ(minnow_model_load(engine.get(), "/nowhere/model.mnw", &m), MINNOW_NOT_FOUND);
  EXPECT_NE(std::string(minnow_last_error()).find("/nowhere/model.mnw"), std::string::npos);
  // A path longer than the room for the message, cut at a whole character.
  std::string path = "/nowhere/";
  while (path.size() < 3000) path += "\xC3\xA9";
  EXPECT_NE(minnow_model_load(engine.get(), path.c_str(), &m), MINNOW_OK);
  const std::string message = minnow_last_error();
  ASSERT_FALSE(message.empty());
  EXPECT_LT(message.size(), 2000u);
  EXPECT_FALSE(message.ends_with("\xC3"));
}

}  // namespace
}  // namespace minnow::testing
