// Where models come from: paths, descriptors, memory; what they say of themselves; plans.
#include <fcntl.h>

#include <cstring>
#include <fstream>

#include "base/buffer.h"
#include "support/bytes.h"
#include "support/fixtures.h"

namespace minnow::testing {
namespace {

const Bytes& tiny_bytes() {
  static const Bytes bytes = read_bytes(tiny_path());
  return bytes;
}

std::vector<int32_t> continuation(const Model& model) {
  return greedy(make_session(model, 32), {5, 6, 7}, 12);
}

class File {
 public:
  explicit File(const std::string& path) : fd_(open(path.c_str(), O_RDONLY)) {}
  ~File() { close(); }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

TEST(Load, DescriptorAndMemoryGiveTheSameModelAsAPath) {
  const Engine engine = make_engine(1);
  const std::vector<int32_t> expected = continuation(load_model(engine, tiny_path()));
  const TempDir dir;
  for (const size_t offset : {size_t{0}, size_t{64}, size_t{4096 + 192}, size_t{1} << 16}) {
    Bytes package(offset, 'x');
    package.insert(package.end(), tiny_bytes().begin(), tiny_bytes().end());
    const size_t end = package.size();
    write_bytes(dir.file("exact"), package);
    package.resize(end + 777, 'y');
    write_bytes(dir.file("package"), package);
    minnow_model* m = nullptr;
    File file(dir.file("package"));
    ASSERT_EQ(minnow_model_load_fd(engine.get(), file.get(), offset, tiny_bytes().size(), &m), MINNOW_OK)
        << minnow_last_error();
    const Model embedded(m);
    file.close();  // the descriptor is not needed any more
    EXPECT_EQ(continuation(embedded), expected) << offset;
    File exact(dir.file("exact"));
    ASSERT_EQ(minnow_model_load_fd(engine.get(), exact.get(), offset, 0, &m), MINNOW_OK)
        << minnow_last_error();
    EXPECT_EQ(continuation(Model(m)), expected) << offset;
  }
  auto buffer = Buffer::allocate(tiny_bytes().size(), "a test");
  ASSERT_TRUE(buffer.ok());
  std::memcpy(buffer->data(), tiny_bytes().data(), tiny_bytes().size());
  minnow_model* m = nullptr;
  ASSERT_EQ(minnow_model_load_memory(engine.get(), buffer->data(), buffer->size(), &m), MINNOW_OK)
      << minnow_last_error();
  EXPECT_EQ(continuation(Model(m)), expected);
}

TEST(Load, RefusesBadPlaces) {
  const Engine engine = make_engine(1);
  const TempDir dir;
  Bytes package(64 + 32, 'x');
  package.insert(package.end(), tiny_bytes().begin(), tiny_bytes().end());
  write_bytes(dir.file("package"), package);
  const File file(dir.file("package"));
  const size_t size = tiny_bytes().size();
  minnow_model* m = nullptr;
  EXPECT_EQ(minnow_model_load_fd(engine.get(), file.get(), 96, size, &m),
            MINNOW_INVALID_ARGUMENT);  // unaligned
  EXPECT_NE(std::string(minnow_last_error()).find("multiple of 64"), std::string::npos)
      << minnow_last_error();
  EXPECT_EQ(minnow_model_load_fd(engine.get(), file.get(), 128, size, &m),
            MINNOW_INVALID_ARGUMENT);  // past the end
  EXPECT_EQ(minnow_model_load_fd(engine.get(), file.get(), 1u << 30, 0, &m), MINNOW_INVALID_ARGUMENT);
  EXPECT_EQ(minnow_model_load_fd(engine.get(), file.get(), ~uint64_t{63}, 128, &m), MINNOW_INVALID_ARGUMENT);
  EXPECT_EQ(minnow_model_load_fd(engine.get(), file.get(), 0, 0, &m), MINNOW_UNSUPPORTED);  // no magic
  EXPECT_EQ(minnow_model_load_fd(engine.get(), -1, 0, 0, &m), MINNOW_IO);
  EXPECT_EQ(minnow_model_load(engine.get(), dir.path().c_str(), &m), MINNOW_IO);
  EXPECT_EQ(minnow_model_load(engine.get(), "/dev/zero", &m), MINNOW_IO);
  EXPECT_EQ(minnow_model_load(engine.get(), "", &m), MINNOW_NOT_FOUND);
  alignas(64) static char nothing[128] = {};
  EXPECT_EQ(minnow_model_load_memory(engine.get(), nothing, 0, &m), MINNOW_CORRUPT);
  EXPECT_EQ(minnow_model_load_memory(engine.get(), nothing + 1, 100, &m), MINNOW_INVALID_ARGUMENT);
  EXPECT_EQ(minnow_model_load_memory(engine.get(), nothing, 128, &m), MINNOW_UNSUPPORTED);
  EXPECT_EQ(m, nullptr);
}

TEST(Info, SaysWhatTheModelIs) {
  const Engine engine = make_engine(1);
  const Model model = load_model(engine, books_path());
  minnow_model_info i{};
  i.struct_size = sizeof i;
  ASSERT_EQ(minnow_model_get_info(model.get(), &i), MINNOW_OK);
  EXPECT_STREQ(i.architecture, "llama");
  EXPECT_EQ(i.parameters, 7344384u);
  EXPECT_EQ(i.file_bytes, std::filesystem::file_size(books_path()));
  EXPECT_EQ(i.vocab_size, 4096u);
  EXPECT_EQ(i.hidden_size, 256u);
  EXPECT_EQ(i.layers, 8u);
  EXPECT_EQ(i.heads, 4u);
  EXPECT_EQ(i.kv_heads, 2u);
  EXPECT_EQ(i.head_dim, 64u);
  EXPECT_EQ(i.ffn_size, 768u);
  EXPECT_EQ(i.max_context, 2048u);
  EXPECT_EQ(i.bos_id, 0);
  EXPECT_EQ(i.has_tokenizer, 1);
  // 8-bit codes and an f16 scale for each 64 of them, but for the norms all that a step reads.
  const uint64_t weights = 4096u * 256 + 8u * (256 * 256 * 2 + 2 * 128 * 256 + 3 * 256 * 768);
  EXPECT_EQ(i.bytes_per_token, weights + weights / 64 * 2);
  EXPECT_EQ(minnow_model_is_eos(model.get(), 0), 1);
  EXPECT_EQ(minnow_model_is_eos(model.get(), 77), 0);
  EXPECT_EQ(minnow_model_is_eos(model.get(), -1), 0);
  EXPECT_EQ(minnow_model_is_eos(model.get(), 1 << 30), 0);
  EXPECT_STREQ(minnow_model_chat_format(model.get()), "chatml");

  const Model tiny = load_model(engine, tiny_path());
  ASSERT_EQ(minnow_model_get_info(tiny.get(), &i), MINNOW_OK);
  EXPECT_EQ(i.has_tokenizer, 0);
  EXPECT_EQ(i.bos_id, 1);
  EXPECT_STREQ(minnow_model_chat_format(tiny.get()), "");
}

TEST(Plan, IsWhatASessionTakes) {
  const Engine engine = make_engine(2);
  const Model model = load_model(engine, tiny_path());
  for (const uint32_t context : {1u, 33u, 512u, 0u}) {
    for (const uint32_t chunk : {0u, 1u, 48u, 5000u}) {
      for (const minnow_kv_type kv : {MINNOW_KV_F32, MINNOW_KV_F16, MINNOW_KV_Q8}) {
        minnow_session_params p = minnow_session_params_default();
        p.context = context, p.prefill_chunk = chunk, p.kv_type = kv;
        minnow_plan_report plan{};
        plan.struct_size = sizeof plan;
        ASSERT_EQ(minnow_plan(engine.get(), tiny_path().c_str(), &p, 0, &plan), MINNOW_OK)
            << minnow_last_error();
        minnow_session* s = nullptr;
        ASSERT_EQ(minnow_session_create(model.get(), &p, &s), MINNOW_OK) << minnow_last_error();
        const Session session(s);
        minnow_session_stats stats{};
        stats.struct_size = sizeof stats;
        ASSERT_EQ(minnow_session_get_stats(s, &stats), MINNOW_OK);
        EXPECT_EQ(plan.kv_cache, stats.kv_bytes);
        EXPECT_EQ(plan.workspace, stats.workspace_bytes);
        EXPECT_EQ(plan.weights, std::filesystem::file_size(tiny_path()));
        EXPECT_EQ(plan.total, plan.weights + plan.kv_cache + plan.workspace);
        EXPECT_EQ(plan.context, context != 0 ? context : 512u);
        EXPECT_EQ(plan.context, minnow_session_context(s));
        EXPECT_EQ(plan.context_that_fits, 0u);
      }
    }
  }
}

TEST(Plan, ContextThatFitsIsTheLargest) {
  const Engine engine = make_engine(2);
  const auto plan = [&](uint32_t context, uint64_t budget) {
    minnow_session_params p = minnow_session_params_default();
    p.context = context;
    minnow_plan_report r{};
    r.struct_size = sizeof r;
    EXPECT_EQ(minnow_plan(engine.get(), tiny_path().c_str(), &p, budget, &r), MINNOW_OK)
        << minnow_last_error();
    return r;
  };
  const uint64_t least = plan(1, 0).total;
  EXPECT_EQ(plan(1, least - 1).context_that_fits, 0u);
  EXPECT_EQ(plan(1, least).context_that_fits, 1u);
  EXPECT_EQ(plan(1, uint64_t{1} << 40).context_that_fits, 512u);  // the model's maximum
  const uint64_t budget = least + (plan(512, 0).total - least) / 3;
  const uint32_t fits = plan(1, budget).context_that_fits;
  ASSERT_GT(fits, 1u);
  ASSERT_LT(fits, 512u);
  EXPECT_LE(plan(fits, 0).total, budget);
  EXPECT_GT(plan(fits + 1, 0).total, budget);
}

TEST(SessionParams, DefaultsAndRefusals) {
  const minnow_session_params d = minnow_session_params_default();
  EXPECT_EQ(d.struct_size, sizeof d);
  EXPECT_EQ(d.context, 0u);
  EXPECT_EQ(d.prefill_chunk, 0u);
  EXPECT_EQ(d.kv_type, MINNOW_KV_F16);
  const Engine engine = make_engine(1);
  const Model model = load_model(engine, tiny_path());
  minnow_session* s = nullptr;
  minnow_session_params p = d;
  p.kv_type = static_cast<minnow_kv_type>(3);
  EXPECT_EQ(minnow_session_create(model.get(), &p, &s), MINNOW_INVALID_ARGUMENT);
  p = d;
  p.context = 0xffffffffu;
  EXPECT_EQ(minnow_session_create(model.get(), &p, &s), MINNOW_INVALID_ARGUMENT);
  EXPECT_EQ(s, nullptr);
  ASSERT_EQ(minnow_session_create(model.get(), nullptr, &s), MINNOW_OK);
  EXPECT_EQ(minnow_session_context(s), 512u);
  minnow_session_destroy(s);
}

}  // namespace
}  // namespace minnow::testing
