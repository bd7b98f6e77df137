// Generation: determinism, ends of every kind, stop strings, whole characters, reuse of prefixes.
#include "support/fixtures.h"
#include "text/utf8.h"

namespace minnow::testing {
namespace {

const char* const kPrompt = "It was a dark and stormy night, and the old house";

class Generate : public ::testing::Test {
 protected:
  Engine engine = make_engine(1);
  Model books = load_model(engine, books_path());
  Model tiny = load_model(engine, tiny_path());

  Session session(uint32_t context = 256) { return make_session(books, context); }
  std::string greedy_text(uint32_t n, const char* prompt = kPrompt) {
    const Generated g = generate_text(session(), prompt, greedy_params(n));
    EXPECT_EQ(g.status, MINNOW_OK) << minnow_last_error();
    return g.text;
  }
};

TEST_F(Generate, Defaults) {
  const minnow_generate_params p = minnow_generate_params_default();
  EXPECT_EQ(p.struct_size, sizeof p);
  EXPECT_EQ(p.max_tokens, 128u);
  EXPECT_EQ(p.temperature, 0.8f);
  EXPECT_EQ(p.top_k, 40u);
  EXPECT_EQ(p.top_p, 0.95f);
  EXPECT_EQ(p.min_p, 0.05f);
  EXPECT_EQ(p.repetition_penalty, 1.0f);
  EXPECT_EQ(p.presence_penalty, 0.0f);
  EXPECT_EQ(p.frequency_penalty, 0.0f);
  EXPECT_EQ(p.penalty_window, 64u);
  EXPECT_EQ(p.seed, 0u);
  EXPECT_EQ(p.logit_bias_count, 0u);
  EXPECT_EQ(p.stop_count, 0u);
  EXPECT_EQ(p.ignore_eos, 0);
}

TEST_F(Generate, GreedyIsTheSameHoweverTheWorkIsCut) {
  const std::string expected = greedy_text(12);  // by one thread
  ASSERT_GT(expected.size(), 20u);
  EXPECT_EQ(greedy_text(12), expected);
  for (const uint32_t threads : {2u, 3u}) {
    const Engine other = make_engine(threads);
    const Model model = load_model(other, books_path());
    for (const uint32_t chunk : {0u, 5u}) {
      const Session s = make_session(model, 256, MINNOW_KV_F32, chunk);
      EXPECT_EQ(generate_text(s, kPrompt, greedy_params(12)).text, expected)
          << threads << " threads, chunks of " << chunk;
    }
  }
}

TEST_F(Generate, ASeedDecidesTheText) {
  minnow_generate_params p = minnow_generate_params_default();
  p.max_tokens = 30;
  p.seed = 7;
  const std::string first = generate_text(session(), kPrompt, p).text;
  EXPECT_EQ(generate_text(session(), kPrompt, p).text, first);
  p.seed = 8;
  EXPECT_NE(generate_text(session(), kPrompt, p).text, first);
  EXPECT_NE(first, greedy_text(30));
}

TEST_F(Generate, CountsAndReasons) {
  const Session s = session();
  Generated g = generate_text(s, kPrompt, greedy_params(12));
  EXPECT_EQ(g.status, MINNOW_OK);
  EXPECT_EQ(g.result.reason, MINNOW_STOP_LENGTH);
  EXPECT_EQ(g.result.generated_tokens, 12u);
  EXPECT_EQ(g.result.prompt_tokens, tokenize(books, kPrompt, true).size());
  EXPECT_EQ(minnow_session_position(s.get()), g.result.prompt_tokens + 12);
  EXPECT_GT(g.result.prefill_seconds, 0.0);
  EXPECT_GT(g.result.decode_seconds, 0.0);
  g = continue_text(s, greedy_params(0));
  EXPECT_EQ(g.status, MINNOW_OK);
  EXPECT_EQ(g.result.generated_tokens, 0u);
  EXPECT_EQ(g.result.reason, MINNOW_STOP_LENGTH);
  EXPECT_TRUE(g.pieces.empty());
}

TEST_F(Generate, InPiecesIsTheSameTextAsInOne) {
  const std::string expected = greedy_text(40);
  const Session s = session();
  std::string text = generate_text(s, kPrompt, greedy_params(1)).text;
  for (const uint32_t n : {2u, 1u, 16u, 20u}) text += continue_text(s, greedy_params(n)).text;
  EXPECT_EQ(text, expected);
}

TEST_F(Generate, CallbackEnds) {
  const Session s = session();
  const Generated g = generate_text(s, kPrompt, greedy_params(40), /*stop_after=*/5);
  EXPECT_EQ(g.status, MINNOW_OK);
  EXPECT_EQ(g.result.reason, MINNOW_STOP_CALLBACK);
  EXPECT_EQ(g.pieces.size(), 5u);
  const std::string rest = continue_text(s, greedy_params(40 - g.result.generated_tokens)).text;
  EXPECT_EQ(g.text + rest, greedy_text(40));
}

TEST_F(Generate, StopStringsAreNeverHandedOut) {
  const std::string whole = greedy_text(30);
  // Every stretch of the text of some lengths: within a token, over token borders, at its very beginning.
  for (const size_t length : {size_t{1}, size_t{4}, size_t{11}}) {
    for (size_t at = 0; at + length <= std::min<size_t>(whole.size(), 60); at += 17) {
      const std::string stop = whole.substr(at, length);
      const char* stops[] = {"", "never to be found", stop.c_str()};
      minnow_generate_params p = greedy_params(30);
      p.stop = stops;
      p.stop_count = 3;
      const Generated g = generate_text(session(), kPrompt, p);
      EXPECT_EQ(g.result.reason, MINNOW_STOP_STRING) << '"' << stop << '"';
      EXPECT_EQ(g.text, whole.substr(0, whole.find(stop))) << '"' << stop << '"';
    }
  }
}

TEST_F(Generate, WhatOnlyBeginsLikeAStopStringIsHandedOut) {
  const std::string whole = greedy_text(20);
  const std::string stop = whole.substr(whole.size() - 5) + "\x01";  // begun by the last tokens, never ended
  const char* stops[] = {stop.c_str()};
  minnow_generate_params p = greedy_params(20);
  p.stop = stops;
  p.stop_count = 1;
  const Generated g = generate_text(session(), kPrompt, p);
  EXPECT_EQ(g.result.reason, MINNOW_STOP_LENGTH);
  EXPECT_EQ(g.text, whole);
}

TEST_F(Generate, BadStopsAndBiases) {
  minnow_generate_params p = greedy_params(1);
  p.stop_count = 1;
  EXPECT_EQ(generate_text(session(), kPrompt, p).status, MINNOW_INVALID_ARGUMENT);
  const char* stops[] = {nullptr};
  p.stop = stops;
  EXPECT_EQ(generate_text(session(), kPrompt, p).status, MINNOW_INVALID_ARGUMENT);
  p = greedy_params(1);
  p.logit_bias_count = 1;
  EXPECT_EQ(generate_text(session(), kPrompt, p).status, MINNOW_INVALID_ARGUMENT);
  for (const minnow_logit_bias bias : {minnow_logit_bias{4096, 1.0f}, minnow_logit_bias{-1, 1.0f},
                                       minnow_logit_bias{5, NAN}, minnow_logit_bias{5, INFINITY}}) {
    p.logit_bias = &bias;
    EXPECT_EQ(generate_text(session(), kPrompt, p).status, MINNOW_INVALID_ARGUMENT)
        << bias.token << ' ' << bias.bias;
  }
  const auto refused = [&](auto edit) {
    minnow_generate_params q = minnow_generate_params_default();
    edit(q);
    return generate_text(session(), kPrompt, q).status;
  };
  EXPECT_EQ(refused([](auto& q) { q.temperature = -1.0f; }), MINNOW_INVALID_ARGUMENT);
  EXPECT_EQ(refused([](auto& q) { q.temperature = NAN; }), MINNOW_INVALID_ARGUMENT);
  EXPECT_EQ(refused([](auto& q) { q.top_p = 1.5f; }), MINNOW_INVALID_ARGUMENT);
  EXPECT_EQ(refused([](auto& q) { q.min_p = -0.5f; }), MINNOW_INVALID_ARGUMENT);
  EXPECT_EQ(refused([](auto& q) { q.repetition_penalty = 0.0f; }), MINNOW_INVALID_ARGUMENT);
}

TEST_F(Generate, ABiasBansATokenAndForcesAnother) {
  const Generated free = generate_tokens(make_session(tiny, 64), {5, 6, 7}, greedy_params(12));
  ASSERT_EQ(free.tokens.size(), 12u);
  const minnow_logit_bias ban{free.tokens[0], -INFINITY};
  minnow_generate_params p = greedy_params(12);
  p.logit_bias = &ban;
  p.logit_bias_count = 1;
  const Generated banned = generate_tokens(make_session(tiny, 64), {5, 6, 7}, p);
  EXPECT_EQ(banned.tokens.size(), 12u);
  EXPECT_EQ(std::count(banned.tokens.begin(), banned.tokens.end(), free.tokens[0]), 0);
  const minnow_logit_bias force{77, 1000.0f};
  p.logit_bias = &force;
  EXPECT_EQ(generate_tokens(make_session(tiny, 64), {5, 6, 7}, p).tokens, std::vector<int32_t>(12, 77));
}

TEST_F(Generate, EndsAtTheEndToken) {
  const minnow_logit_bias force{2, 1000.0f};
  minnow_generate_params p = greedy_params(12);
  p.logit_bias = &force;
  p.logit_bias_count = 1;
  const Session s = make_session(tiny, 64);
  Generated g = generate_tokens(s, {5, 6, 7}, p);
  EXPECT_EQ(g.result.reason, MINNOW_STOP_EOS);
  EXPECT_EQ(g.result.generated_tokens, 0u);
  EXPECT_TRUE(g.pieces.empty());
  EXPECT_EQ(minnow_session_position(s.get()), 3u);
  p.ignore_eos = 1;
  g = continue_text(s, p);
  EXPECT_EQ(g.result.reason, MINNOW_STOP_LENGTH);
  EXPECT_EQ(g.tokens, std::vector<int32_t>(12, 2));
}

TEST_F(Generate, PiecesAreWholeCharacters) {
  // Bytes of three characters only, at a temperature that puts them into any order: mostly broken characters.
  std::vector<minnow_logit_bias> biases;
  for (const int32_t id : tokenize(books, "\xF0\x9F\xA6\x88\xE2\x82\xAC\xC3\xB1"))
    biases.push_back({id, 1000.0f});
  ASSERT_GT(biases.size(), 6u);
  size_t split = 0, replaced = 0;
  for (uint64_t seed = 0; seed < 6; ++seed) {
    minnow_generate_params p = minnow_generate_params_default();
    p.temperature = 50.0f;
    p.top_k = 0, p.top_p = 1.0f, p.min_p = 0.0f;
    p.max_tokens = 40;
    p.seed = seed;
    p.logit_bias = biases.data();
    p.logit_bias_count = biases.size();
    const Generated g = generate_text(session(), kPrompt, p);
    ASSERT_EQ(g.status, MINNOW_OK) << minnow_last_error();
    for (const std::string& piece : g.pieces) {
      ASSERT_EQ(text::find_invalid_utf8(piece), std::string_view::npos);
      ASSERT_FALSE(piece.empty());
      replaced += piece.find("\xEF\xBF\xBD") != std::string::npos;
    }
    split += g.pieces.size() < g.result.generated_tokens;
  }
  EXPECT_GT(split, 0u);     // some characters really came in parts
  EXPECT_GT(replaced, 0u);  // and some never were one
}

TEST_F(Generate, ReusesThePrefixTheSessionHolds) {
  const std::vector<int32_t> a = tokenize(books, "The ship sailed at dawn, and the captain", true);
  std::vector<int32_t> b(a.begin(), a.end() - 3);
  for (const int32_t id : tokenize(books, " crew sang of the sea")) b.push_back(id);
  const auto same =
      static_cast<uint32_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
  const Session s = session();
  const minnow_generate_params p = greedy_params(16);
  const Generated first = generate_tokens(s, a, p);
  EXPECT_EQ(first.result.prompt_tokens, a.size());
  const Generated second = generate_tokens(s, b, p);
  EXPECT_EQ(second.result.prompt_tokens, b.size() - same);
  // A fresh session that is given the prefix by itself computes the same sums in the same order.
  const Session fresh = session();
  prefill(fresh, {b.begin(), b.begin() + same});
  EXPECT_EQ(second.text, generate_tokens(fresh, b, p).text);
  EXPECT_EQ(minnow_session_position(s.get()), b.size() + 16);
  // The same prompt again: only the last token goes through once more, for its logits.
  const Generated again = generate_tokens(s, b, p);
  EXPECT_EQ(again.result.prompt_tokens, 1u);
  // One column and several are summed in another order, so this too is compared with the same cuts.
  const Session cut = session();
  prefill(cut, {b.begin(), b.begin() + same});
  prefill(cut, {b.begin() + same, b.end()});
  ASSERT_EQ(minnow_session_rewind(cut.get(), static_cast<uint32_t>(b.size()) - 1), MINNOW_OK);
  EXPECT_EQ(again.text, generate_tokens(cut, b, p).text);
  // A prompt that is all the session holds, its last token not decoded yet: nothing new.
  std::vector<int32_t> grown = {5, 6, 7};
  const Session t = make_session(tiny, 64);
  const Generated head = generate_tokens(t, grown, p);
  grown.insert(grown.end(), head.tokens.begin(), head.tokens.end());
  const Generated tail = generate_tokens(t, grown, p);
  EXPECT_EQ(tail.result.prompt_tokens, 0u);
  EXPECT_EQ(tail.tokens, generate_tokens(make_session(tiny, 64), grown, p).tokens);
  // And one that goes on behind that undecoded token.
  grown.insert(grown.end(), tail.tokens.begin(), tail.tokens.end());
  grown.push_back(9);
  const Generated more = generate_tokens(t, grown, p);
  EXPECT_EQ(more.result.prompt_tokens, 2u);
  EXPECT_EQ(more.tokens, generate_tokens(make_session(tiny, 64), grown, p).tokens);
}

TEST_F(Generate, ContextFull) {
  const std::vector<int32_t> prompt = some_tokens(10);
  const Session s = make_session(tiny, 16);
  Generated g = generate_tokens(s, prompt, greedy_params(100));
  EXPECT_EQ(g.status, MINNOW_OK);
  EXPECT_EQ(g.result.reason, MINNOW_STOP_CONTEXT);
  EXPECT_EQ(g.result.generated_tokens, 6u);
  EXPECT_EQ(minnow_session_position(s.get()), 16u);
  g = continue_text(s, greedy_params(5));
  EXPECT_EQ(g.status, MINNOW_OK);
  EXPECT_EQ(g.result.reason, MINNOW_STOP_CONTEXT);
  EXPECT_EQ(g.result.generated_tokens, 0u);
  EXPECT_EQ(generate_tokens(s, some_tokens(17), greedy_params(1)).status, MINNOW_CONTEXT_FULL);
  EXPECT_EQ(generate_tokens(s, prompt, greedy_params(1)).status, MINNOW_OK) << minnow_last_error();
}

TEST_F(Generate, ACancelledGenerationGoesOnWhereItWas) {
  const std::vector<int32_t> expected =
      generate_tokens(make_session(tiny, 64), {5, 6, 7}, greedy_params(20)).tokens;
  const Session s = make_session(tiny, 64);
  struct Context {
    minnow_session* session;
    std::vector<int32_t> tokens;
  } context{s.get(), {}};
  const int32_t prompt[] = {5, 6, 7};
  const minnow_generate_params p = greedy_params(20);
  ASSERT_EQ(minnow_generate_tokens(
                s.get(), prompt, 3, &p,
                [](void* user, const char*, size_t, int32_t token) {
                  auto* c = static_cast<Context*>(user);
                  c->tokens.push_back(token);
                  if (c->tokens.size() == 8) minnow_session_cancel(c->session);
                  return 0;
                },
                &context, nullptr),
            MINNOW_CANCELLED);
  EXPECT_EQ(context.tokens.size(), 8u);
  EXPECT_EQ(minnow_session_position(s.get()), 11u);  // what was handed out is in the sequence
  const Generated rest = continue_text(s, greedy_params(12));
  EXPECT_EQ(rest.status, MINNOW_OK) << minnow_last_error();
  context.tokens.insert(context.tokens.end(), rest.tokens.begin(), rest.tokens.end());
  EXPECT_EQ(context.tokens, expected);
}

TEST_F(Generate, AnEmptyPromptBeginsWithBosWhereThereIsOne) {
  const Session s = session();
  const Generated g = generate_text(s, "", greedy_params(5));
  EXPECT_EQ(g.status, MINNOW_OK) << minnow_last_error();
  EXPECT_EQ(g.result.prompt_tokens, 1u);
}

TEST_F(Generate, PenaltiesHinderRepetition) {
  minnow_generate_params p = greedy_params(60);
  p.presence_penalty = 100.0f;
  const Generated g = generate_tokens(make_session(tiny, 128), {5, 6, 7}, p);
  std::vector<int32_t> seen = g.tokens;
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(g.tokens.size(), 60u);
  EXPECT_EQ(std::adjacent_find(seen.begin(), seen.end()), seen.end());
  EXPECT_EQ(std::count(g.tokens.begin(), g.tokens.end(), 5), 0);  // the prompt counts too
}

}  // namespace
}  // namespace minnow::testing
