// A session: appending, logits, scores, forks, rewinding, cancelling, statistics.
#include "support/fixtures.h"

namespace minnow::testing {
namespace {

class SessionTest : public ::testing::Test {
 protected:
  Engine engine = make_engine(1);
  Model model = load_model(engine, tiny_path());
  std::vector<int32_t> tokens = some_tokens(100);

  minnow_session_stats stats(const Session& s) {
    minnow_session_stats r{};
    r.struct_size = sizeof r;
    EXPECT_EQ(minnow_session_get_stats(s.get(), &r), MINNOW_OK);
    return r;
  }
};

// Chunks of different lengths go through different kernels, which round differently; codes of 8 bits
// then flip here and there. A wrong position or a stale row moves logits by their whole spread.
constexpr double kSame = 0.05;

TEST_F(SessionTest, PrefillAtOnceEqualsTokenByToken) {
  const Session at_once = make_session(model, 128), single = make_session(model, 128);
  const Session chunked = make_session(model, 128, MINNOW_KV_F32, 7);
  prefill(at_once, tokens);
  prefill(chunked, tokens);
  for (int32_t t : tokens) ASSERT_EQ(minnow_decode(single.get(), t), MINNOW_OK);
  EXPECT_EQ(minnow_session_position(at_once.get()), 100u);
  EXPECT_EQ(minnow_session_position(single.get()), 100u);
  EXPECT_LE(relative_difference(logits_of(single), logits_of(at_once)), kSame);
  EXPECT_LE(relative_difference(logits_of(chunked), logits_of(at_once)), kSame);
  // and the bound tells sequences apart
  EXPECT_EQ(minnow_decode(single.get(), 5), MINNOW_OK);
  EXPECT_GT(relative_difference(logits_of(single), logits_of(at_once)), kSame);
}

TEST_F(SessionTest, LogitsNeedAToken) {
  const Session s = make_session(model, 16);
  const float* logits = nullptr;
  size_t count = 0;
  EXPECT_EQ(minnow_logits(s.get(), &logits, &count), MINNOW_BAD_STATE);
  EXPECT_EQ(continue_text(s, greedy_params(1)).status, MINNOW_BAD_STATE);
  prefill(s, {5, 6});
  EXPECT_EQ(minnow_logits(s.get(), &logits, &count), MINNOW_OK);
  EXPECT_EQ(count, 320u);
  ASSERT_EQ(minnow_session_rewind(s.get(), 2), MINNOW_OK);  // nothing forgotten
  EXPECT_EQ(minnow_logits(s.get(), &logits, &count), MINNOW_OK);
  ASSERT_EQ(minnow_session_rewind(s.get(), 1), MINNOW_OK);
  EXPECT_EQ(minnow_logits(s.get(), &logits, &count), MINNOW_BAD_STATE);
  // Generation runs the last token again, and goes on as a sequence of that token alone does.
  const Session fresh = make_session(model, 16);
  prefill(fresh, {5});
  EXPECT_EQ(continue_text(s, greedy_params(4)).tokens, continue_text(fresh, greedy_params(4)).tokens);
  // So does scoring.
  float again = 0.0f, first = 0.0f;
  const int32_t token = 9;
  ASSERT_EQ(minnow_session_rewind(s.get(), 1), MINNOW_OK);
  ASSERT_EQ(minnow_session_rewind(fresh.get(), 0), MINNOW_OK);
  prefill(fresh, {5});
  ASSERT_EQ(minnow_score(s.get(), &token, 1, &again), MINNOW_OK);
  ASSERT_EQ(minnow_score(fresh.get(), &token, 1, &first), MINNOW_OK);
  EXPECT_FLOAT_EQ(again, first);
}

TEST_F(SessionTest, RewindThenAnotherContinuation) {
  const Session s = make_session(model, 128), fresh = make_session(model, 128);
  prefill(s, tokens);
  EXPECT_EQ(minnow_session_rewind(s.get(), 101), MINNOW_INVALID_ARGUMENT);
  EXPECT_EQ(minnow_session_position(s.get()), 100u);
  ASSERT_EQ(minnow_session_rewind(s.get(), 40), MINNOW_OK);
  EXPECT_EQ(minnow_session_position(s.get()), 40u);
  const std::vector<int32_t> other = some_tokens(30, 9);
  prefill(s, other);
  std::vector<int32_t> whole(tokens.begin(), tokens.begin() + 40);
  whole.insert(whole.end(), other.begin(), other.end());
  prefill(fresh, whole);
  EXPECT_LE(relative_difference(logits_of(s), logits_of(fresh)), kSame);
  ASSERT_EQ(minnow_session_rewind(s.get(), 0), MINNOW_OK);
  prefill(s, whole);
  EXPECT_EQ(logits_of(s), logits_of(fresh));  // the same work once more, to the bit
}

TEST_F(SessionTest, ContextFullChangesNothing) {
  const Session s = make_session(model, 101);
  prefill(s, tokens);
  const std::vector<float> before = logits_of(s);
  EXPECT_EQ(minnow_prefill(s.get(), tokens.data(), 2, nullptr, nullptr), MINNOW_CONTEXT_FULL);
  EXPECT_NE(std::string(minnow_last_error()).find("101"), std::string::npos);
  EXPECT_EQ(minnow_session_position(s.get()), 100u);
  EXPECT_EQ(logits_of(s), before);
  float scores[2] = {7.0f, 7.0f};
  EXPECT_EQ(minnow_score(s.get(), tokens.data(), 2, scores), MINNOW_CONTEXT_FULL);
  EXPECT_EQ(scores[0], 7.0f);  // written only on success
  EXPECT_EQ(scores[1], 7.0f);
  EXPECT_EQ(minnow_decode(s.get(), 5), MINNOW_OK);
  EXPECT_EQ(minnow_decode(s.get(), 5), MINNOW_CONTEXT_FULL);
  EXPECT_EQ(minnow_session_position(s.get()), 101u);
  EXPECT_EQ(minnow_session_context(s.get()), 101u);
}

TEST_F(SessionTest, TokensOutsideTheVocabularyChangeNothing) {
  const Session s = make_session(model, 64);
  prefill(s, {5});
  const std::vector<float> before = logits_of(s);
  for (const int32_t bad : {-1, 320, INT32_MAX, INT32_MIN}) {
    const int32_t ids[] = {6, bad};
    EXPECT_EQ(minnow_prefill(s.get(), ids, 2, nullptr, nullptr), MINNOW_INVALID_ARGUMENT) << bad;
    EXPECT_EQ(minnow_decode(s.get(), bad), MINNOW_INVALID_ARGUMENT) << bad;
    float scores[2];
    EXPECT_EQ(minnow_score(s.get(), ids, 2, scores), MINNOW_INVALID_ARGUMENT) << bad;
    EXPECT_EQ(generate_tokens(make_session(model, 8), {6, bad}, greedy_params(1)).status,
              MINNOW_INVALID_ARGUMENT)
        << bad;
  }
  EXPECT_EQ(minnow_session_position(s.get()), 1u);
  EXPECT_EQ(logits_of(s), before);
}

double log_softmax_at(const float* logits, size_t n, int32_t token) {
  double largest = -INFINITY, sum = 0.0;
  for (size_t i = 0; i < n; ++i) largest = std::max(largest, double{logits[i]});
  for (size_t i = 0; i < n; ++i) sum += std::exp(logits[i] - largest);
  return logits[token] - largest - std::log(sum);
}

TEST_F(SessionTest, ScoresAreTheLogSoftmaxOfTheLogits) {
  const Session a = make_session(model, 128), b = make_session(model, 128);
  std::vector<float> scores(tokens.size());
  ASSERT_EQ(minnow_score(a.get(), tokens.data(), tokens.size(), scores.data()), MINNOW_OK)
      << minnow_last_error();
  EXPECT_TRUE(std::isnan(scores[0]));  // nothing stood before it
  const std::vector<float> logits = all_logits(b, tokens, tokens.size());
  ASSERT_EQ(logits.size(), tokens.size() * 320);
  for (size_t i = 1; i < tokens.size(); ++i) {
    EXPECT_NEAR(scores[i], log_softmax_at(logits.data() + (i - 1) * 320, 320, tokens[i]), 1e-5) << i;
  }
  EXPECT_EQ(minnow_session_position(a.get()), 100u);
  EXPECT_EQ(logits_of(a), logits_of(b));
  // Behind something, the first token has a score too.
  const int32_t next = 17;
  float score = 0.0f;
  ASSERT_EQ(minnow_score(a.get(), &next, 1, &score), MINNOW_OK);
  EXPECT_NEAR(score, log_softmax_at(logits.data() + 99 * 320, 320, next), 1e-5);
}

TEST_F(SessionTest, PrefillLogitsHandsOutEveryRowInOrder) {
  const Session s = make_session(model, 128, MINNOW_KV_F32, 16);
  struct Seen {
    std::vector<size_t> indices;
    std::vector<float> last;
    size_t vocab = 0;
  } seen;
  ASSERT_EQ(minnow_prefill_logits(
                s.get(), tokens.data(), tokens.size(),
                [](void* user, size_t index, const float* logits, size_t vocab) {
                  auto* o = static_cast<Seen*>(user);
                  o->indices.push_back(index);
                  o->vocab = vocab;
                  o->last.assign(logits, logits + vocab);
                  return 0;
                },
                &seen),
            MINNOW_OK);
  ASSERT_EQ(seen.indices.size(), 100u);
  for (size_t i = 0; i < 100; ++i) EXPECT_EQ(seen.indices[i], i);
  EXPECT_EQ(seen.vocab, 320u);
  EXPECT_EQ(logits_of(s), seen.last);
}

TEST_F(SessionTest, PrefillLogitsStopsWhenAsked) {
  const Session s = make_session(model, 128, MINNOW_KV_F32, 16);
  size_t rows = 0;
  const auto stop_at_20 = [](void* user, size_t, const float*, size_t) {
    return ++*static_cast<size_t*>(user) == 20 ? 1 : 0;
  };
  EXPECT_EQ(minnow_prefill_logits(s.get(), tokens.data(), tokens.size(), stop_at_20, &rows),
            MINNOW_CANCELLED);
  EXPECT_EQ(rows, 20u);
  EXPECT_EQ(minnow_session_position(s.get()), 16u);  // the chunk that was whole
  const std::vector<int32_t> rest(tokens.begin() + 16, tokens.end());
  const Session fresh = make_session(model, 128);
  prefill(s, rest);
  prefill(fresh, tokens);
  EXPECT_LE(relative_difference(logits_of(s), logits_of(fresh)), kSame);
}

TEST_F(SessionTest, ForkContinuesIdenticallyAndIndependently) {
  for (const minnow_kv_type kv : {MINNOW_KV_F32, MINNOW_KV_F16, MINNOW_KV_Q8}) {
    const Session s = make_session(model, 128, kv);
    prefill(s, tokens);
    minnow_session* f = nullptr;
    ASSERT_EQ(minnow_session_fork(s.get(), &f), MINNOW_OK) << minnow_last_error();
    Session fork(f);
    EXPECT_EQ(minnow_session_position(f), 100u);
    EXPECT_EQ(minnow_session_context(f), 128u);
    EXPECT_EQ(logits_of(fork), logits_of(s));
    const Generated one = continue_text(s, greedy_params(10));
    ASSERT_EQ(minnow_decode(f, 7), MINNOW_OK);  // goes another way
    const Generated two = continue_text(fork, greedy_params(10));
    EXPECT_EQ(one.status, MINNOW_OK);
    EXPECT_EQ(one.tokens.size(), 10u);
    const Session again = make_session(model, 128, kv);
    prefill(again, tokens);
    EXPECT_EQ(continue_text(again, greedy_params(10)).tokens, one.tokens);
    ASSERT_EQ(minnow_session_rewind(again.get(), 100), MINNOW_OK);
    ASSERT_EQ(minnow_decode(again.get(), 7), MINNOW_OK);
    EXPECT_EQ(continue_text(again, greedy_params(10)).tokens, two.tokens);
    // A fork in the middle of a generation, its last token not yet decoded.
    ASSERT_EQ(minnow_session_fork(s.get(), &f), MINNOW_OK);
    fork.reset(f);
    EXPECT_EQ(minnow_session_position(f), 110u);
    const Generated rest = continue_text(fork, greedy_params(5));
    EXPECT_EQ(rest.tokens, continue_text(s, greedy_params(5)).tokens);
    EXPECT_EQ(rest.tokens.size(), 5u);
  }
}

TEST_F(SessionTest, ForkOutlivesItsOrigin) {
  Session s = make_session(model, 32);
  prefill(s, {5, 6, 7});
  minnow_session* f = nullptr;
  ASSERT_EQ(minnow_session_fork(s.get(), &f), MINNOW_OK);
  const Session fork(f);
  s.reset();
  EXPECT_EQ(continue_text(fork, greedy_params(4)).tokens,
            generate_tokens(make_session(model, 32), {5, 6, 7}, greedy_params(4)).tokens);
}

TEST_F(SessionTest, ProgressGrowsToOneAndCancels) {
  const Session s = make_session(model, 128, MINNOW_KV_F32, 16);
  std::vector<float> seen;
  ASSERT_EQ(minnow_prefill(
                s.get(), tokens.data(), tokens.size(),
                [](void* user, float done) {
                  static_cast<std::vector<float>*>(user)->push_back(done);
                  return 1;
                },
                &seen),
            MINNOW_OK);
  ASSERT_EQ(seen.size(), 7u * 3u);  // chunks, layers
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_GT(seen.front(), 0.0f);
  EXPECT_NEAR(seen.back(), 1.0f, 1e-6f);

  ASSERT_EQ(minnow_session_rewind(s.get(), 0), MINNOW_OK);
  const auto at_half = [](void*, float done) { return done < 0.5f ? 1 : 0; };
  EXPECT_EQ(minnow_prefill(s.get(), tokens.data(), tokens.size(), at_half, nullptr), MINNOW_CANCELLED);
  EXPECT_EQ(minnow_session_position(s.get()), 48u);
  // It goes on from there as if nothing had happened.
  const std::vector<int32_t> rest(tokens.begin() + 48, tokens.end());
  prefill(s, rest);
  const Session fresh = make_session(model, 128, MINNOW_KV_F32, 16);
  prefill(fresh, tokens);
  EXPECT_EQ(logits_of(s), logits_of(fresh));
}

TEST_F(SessionTest, CancelEndsOnlyTheCallThatRuns) {
  const Session s = make_session(model, 128, MINNOW_KV_F32, 16);
  minnow_session_cancel(s.get());  // none runs
  prefill(s, {5});
  struct Context {
    minnow_session* session;
    float at;
  };
  const auto cancel_at = [](void* user, float done) {
    const auto* c = static_cast<Context*>(user);
    if (done >= c->at) minnow_session_cancel(c->session);
    return 1;
  };
  Context early{s.get(), 0.4f};
  EXPECT_EQ(minnow_prefill(s.get(), tokens.data(), tokens.size(), cancel_at, &early), MINNOW_CANCELLED);
  EXPECT_EQ(minnow_session_position(s.get()), 1u + 32u);
  prefill(s, {5});
  // In the last layer it comes too late for this call and must not reach the next one.
  Context late{s.get(), 1.0f};
  EXPECT_EQ(minnow_prefill(s.get(), tokens.data(), 16, cancel_at, &late), MINNOW_OK) << minnow_last_error();
  EXPECT_EQ(minnow_decode(s.get(), 5), MINNOW_OK) << minnow_last_error();
}

TEST_F(SessionTest, CallsFromACallbackAreRefused) {
  const Session s = make_session(model, 128);
  struct Context {
    minnow_session* session;
    minnow_status status;
  } context{s.get(), MINNOW_OK};
  ASSERT_EQ(minnow_prefill(
                s.get(), tokens.data(), 10,
                [](void* user, float) {
                  auto* c = static_cast<Context*>(user);
                  c->status = minnow_decode(c->session, 5);
                  return 1;
                },
                &context),
            MINNOW_OK);
  EXPECT_EQ(context.status, MINNOW_BUSY);
  EXPECT_EQ(minnow_session_position(s.get()), 10u);
}

TEST_F(SessionTest, StatsCount) {
  const Session s = make_session(model, 128);
  const minnow_session_stats empty = stats(s);
  EXPECT_EQ(empty.tokens_prefilled, 0u);
  EXPECT_EQ(empty.tokens_decoded, 0u);
  EXPECT_GT(empty.kv_bytes, 0u);
  EXPECT_GT(empty.workspace_bytes, 0u);
  prefill(s, tokens);
  ASSERT_EQ(minnow_decode(s.get(), 5), MINNOW_OK);
  ASSERT_EQ(minnow_decode(s.get(), 6), MINNOW_OK);
  const minnow_session_stats after = stats(s);
  EXPECT_EQ(after.tokens_prefilled, 100u);
  EXPECT_EQ(after.tokens_decoded, 2u);
  EXPECT_GT(after.prefill_seconds, 0.0);
  EXPECT_GT(after.decode_seconds, 0.0);
  // 102 positions of 3 layers, 2 KV heads, K and V of 32 (16 padded) floats
  EXPECT_EQ(after.bytes_per_token - empty.bytes_per_token, 102u * 3 * 2 * 2 * 32 * 4);
}

}  // namespace
}  // namespace minnow::testing
