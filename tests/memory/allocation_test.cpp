// Memory that runs out: whichever allocation fails, a call answers MINNOW_NO_MEMORY or succeeds, and
// whatever it had begun is given back. In a binary of its own, as it replaces operator new.
#include <atomic>
#include <cstdlib>
#include <new>

#include "support/disk.h"
#include "support/fixtures.h"

namespace {

// Allocations of this thread until one fails; negative: none does. Only the thread under test is hit.
thread_local int64_t countdown = -1;
thread_local int64_t counted = 0;
std::atomic<int64_t> everywhere{0};  // of all threads

void* allocate(size_t size, size_t alignment) {
  ++counted;
  everywhere.fetch_add(1, std::memory_order_relaxed);
  if (countdown >= 0 && countdown-- == 0) throw std::bad_alloc();
  const size_t rounded = (size + alignment - 1) / alignment * alignment;
  void* p = alignment <= alignof(std::max_align_t)
                ? std::malloc(size == 0 ? 1 : size)
                : std::aligned_alloc(alignment, rounded == 0 ? alignment : rounded);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

}  // namespace

void* operator new(size_t size) {
  return allocate(size, 1);
}
void* operator new[](size_t size) {
  return allocate(size, 1);
}
void* operator new(size_t size, std::align_val_t a) {
  return allocate(size, static_cast<size_t>(a));
}
void* operator new[](size_t size, std::align_val_t a) {
  return allocate(size, static_cast<size_t>(a));
}
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  try {
    return allocate(size, 1);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void* operator new[](size_t size, const std::nothrow_t& t) noexcept {
  return operator new(size, t);
}
// Not inlined: GCC 12 would see free() of what it knows to come from operator new.
[[gnu::noinline]] void operator delete(void* p) noexcept {
  std::free(p);
}
void operator delete(void* p, const std::nothrow_t&) noexcept {
  std::free(p);
}
void operator delete[](void* p, const std::nothrow_t&) noexcept {
  std::free(p);
}
void operator delete[](void* p) noexcept {
  std::free(p);
}
[[gnu::noinline]] void operator delete(void* p, size_t) noexcept {
  std::free(p);
}
void operator delete[](void* p, size_t) noexcept {
  std::free(p);
}
void operator delete(void* p, std::align_val_t) noexcept {
  std::free(p);
}
void operator delete[](void* p, std::align_val_t) noexcept {
  std::free(p);
}
void operator delete(void* p, size_t, std::align_val_t) noexcept {
  std::free(p);
}
void operator delete[](void* p, size_t, std::align_val_t) noexcept {
  std::free(p);
}

namespace minnow::testing {
namespace {

/// Runs `call` with its 0th, 1st, ... allocation failing (about `rounds` of them, evenly spread), until
/// it gets through. `call` gives a status and takes back what it made.
template <typename Call>
void fail_each_allocation(Call call, int64_t rounds, const char* what) {
  const int64_t before = counted;
  ASSERT_EQ(call(), MINNOW_OK) << what << ": " << minnow_last_error();
  const int64_t total = counted - before;
  ASSERT_GT(total, 0) << what;
  int64_t failed = 0;
  for (int64_t n = 0; n < total; n += std::max<int64_t>(1, total / rounds)) {
    countdown = n;
    const minnow_status status = call();
    const bool hit = countdown < 0;
    countdown = -1;
    ASSERT_TRUE(hit) << what << ": allocation " << n << " of " << total << " was not reached";
    ASSERT_TRUE(status == MINNOW_NO_MEMORY || status == MINNOW_OK)
        << what << ", allocation " << n << ": " << minnow_last_error();
    failed += status == MINNOW_NO_MEMORY;
    if (status != MINNOW_OK) {
      ASSERT_STRNE(minnow_last_error(), "") << what;
    }
  }
  EXPECT_GT(failed, 0) << what;
  EXPECT_EQ(call(), MINNOW_OK) << what << ": " << minnow_last_error();
}

TEST(OutOfMemory, Engine) {
  fail_each_allocation(
      [] {
        minnow_engine* e = nullptr;
        minnow_engine_params p = minnow_engine_params_default();
        p.threads = 2;
        const minnow_status status = minnow_engine_create(&p, &e);
        minnow_engine_destroy(e);
        return status;
      },
      1000, "engine");
}

TEST(OutOfMemory, LoadPlanSession) {
  const Engine engine = make_engine(1);
  for (const std::string& path : {tiny_path(), books_path()}) {
    fail_each_allocation(
        [&] {
          minnow_model* m = nullptr;
          const minnow_status status = minnow_model_load(engine.get(), path.c_str(), &m);
          minnow_model_destroy(m);
          return status;
        },
        300, "load");
    fail_each_allocation(
        [&] {
          minnow_plan_report r{};
          r.struct_size = sizeof r;
          return minnow_plan(engine.get(), path.c_str(), nullptr, 1 << 20, &r);
        },
        100, "plan");
    const Model model = load_model(engine, path);
    fail_each_allocation(
        [&] {
          minnow_session* s = nullptr;
          const minnow_status status = minnow_session_create(model.get(), nullptr, &s);
          minnow_session_destroy(s);
          return status;
        },
        300, "session");
    const DiskDir disk;
    if (disk.path().empty()) continue;
    minnow_session_params p = minnow_session_params_default();
    p.kv_budget = 1;
    p.kv_dir = disk.path().c_str();
    const auto create = [&] {
      minnow_session* s = nullptr;
      const minnow_status status = minnow_session_create(model.get(), &p, &s);
      minnow_session_destroy(s);
      return status;
    };
    ASSERT_EQ(create(), MINNOW_OK);  // what guards its file stays, for the next one
    fail_each_allocation(create, 300, "session with a KV file");
    EXPECT_TRUE(disk.empty());
    EXPECT_TRUE(nameless_files(disk.path()).empty());
  }
}

// Every thread counts: pool threads allocate nothing either.
TEST(NoAllocation, PrefillAndDecode) {
  const DiskDir disk;
  for (compress::Storage storage :
       {compress::Storage::w4, compress::Storage::w8, compress::Storage::source16}) {
    const TempDir dir;
    compress(std::string(MINNOW_EXAMPLE_MODELS) + "/books-7m", dir.file("m.mnw"), storage);
    const Engine engine = make_engine(2);
    const Model model = load_model(engine, dir.file("m.mnw"));
    const std::vector<int32_t> tokens = some_tokens(300, 3, 4096);
    for (const auto& [kv, filed] : {std::pair(MINNOW_KV_F16, false),
                                    {MINNOW_KV_Q8, false},
                                    {MINNOW_KV_F16, true},
                                    {MINNOW_KV_Q8, true}}) {
      if (filed && disk.path().empty()) continue;  // no directory here lies on a disk
      minnow_session_params p = minnow_session_params_default();
      p.context = 512, p.kv_type = kv;
      if (filed) p.kv_budget = 1 << 18, p.kv_dir = disk.path().c_str();  // some layers in a file
      minnow_session* s = nullptr;
      ASSERT_EQ(minnow_session_create(model.get(), &p, &s), MINNOW_OK) << minnow_last_error();
      const Session session(s);
      const int64_t before = everywhere.load();
      ASSERT_EQ(minnow_prefill(session.get(), tokens.data(), tokens.size(), nullptr, nullptr), MINNOW_OK);
      // XNNPACK makes an operator a tile of float weights.
      if (storage != compress::Storage::source16) {
        EXPECT_EQ(everywhere.load(), before) << "prefill";
      }
      const int64_t filled = everywhere.load();
      for (int i = 0; i < 100; ++i) ASSERT_EQ(minnow_decode(session.get(), tokens[i]), MINNOW_OK);
      EXPECT_EQ(everywhere.load(), filled) << "decode";
    }
  }
}

// Sampling, stop strings and text assembly make their buffers at the start of a generation; its tokens make
// none.
TEST(NoAllocation, TokensOfAGeneration) {
  const Engine engine = make_engine(2);
  const Model model = load_model(engine, books_path());
  const Session session = make_session(model, 512, MINNOW_KV_Q8);
  minnow_generate_params p = minnow_generate_params_default();
  p.ignore_eos = 1;
  const auto allocations = [&](uint32_t tokens) {
    p.max_tokens = tokens;
    EXPECT_EQ(minnow_session_rewind(session.get(), 0), MINNOW_OK);
    const int64_t before = everywhere.load();
    EXPECT_EQ(minnow_generate_text(session.get(), "The ship sailed", &p, nullptr, nullptr, nullptr),
              MINNOW_OK);
    return everywhere.load() - before;
  };
  allocations(8);
  EXPECT_EQ(allocations(200), allocations(20));
}

TEST(OutOfMemory, CallsOfASessionLeaveItUsable) {
  const Engine engine = make_engine(1);
  const Model model = load_model(engine, books_path());
  const std::vector<int32_t> tokens = some_tokens(20, 3, 4096);
  const Session base = make_session(model, 128);
  prefill(base, tokens);
  const std::vector<float> expected = logits_of(base);
  fail_each_allocation(
      [&] {
        minnow_session* f = nullptr;
        const minnow_status status = minnow_session_fork(base.get(), &f);
        minnow_session_destroy(f);
        return status;
      },
      300, "fork");
  const char* stops[] = {"a stop string that is longer than any small string", "another one"};
  const minnow_logit_bias bias{17, 1.0f};
  minnow_generate_params p = minnow_generate_params_default();
  p.max_tokens = 8;
  p.stop = stops, p.stop_count = 2;
  p.logit_bias = &bias, p.logit_bias_count = 1;
  std::vector<float> scores(tokens.size());
  std::vector<char> text(4096);
  size_t length = 0;
  const minnow_message message{"user", "a message that is longer than any small string"};
  fail_each_allocation(
      [&] { return minnow_generate_text(base.get(), "The ship sailed", &p, nullptr, nullptr, nullptr); }, 300,
      "generate");
  ASSERT_EQ(minnow_session_rewind(base.get(), 0), MINNOW_OK);
  ASSERT_EQ(minnow_score(base.get(), tokens.data(), tokens.size(), scores.data()),
            MINNOW_OK);  // makes a decoder, once
  fail_each_allocation(
      [&] {
        (void)minnow_session_rewind(base.get(), 0);
        return minnow_score(base.get(), tokens.data(), tokens.size(), scores.data());
      },
      300, "score");
  fail_each_allocation(
      [&] { return minnow_tokenize(model.get(), "The ship sailed", 15, 1, 0, nullptr, 0, &length); }, 300,
      "tokenize");
  fail_each_allocation(
      [&] {
        return minnow_detokenize(model.get(), tokens.data(), tokens.size(), 0, text.data(), text.size(),
                                 &length);
      },
      300, "detokenize");
  fail_each_allocation(
      [&] {
        return minnow_chat_render(model.get(), nullptr, &message, 1, text.data(), text.size(), &length);
      },
      300, "chat_render");
  ASSERT_EQ(minnow_session_rewind(base.get(), 0), MINNOW_OK);
  prefill(base, tokens);
  EXPECT_EQ(logits_of(base), expected);
}

}  // namespace
}  // namespace minnow::testing
