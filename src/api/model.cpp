#include <algorithm>

#include "api/objects.h"
#include "exec/float_gemm.h"
#include "text/chat_format.h"

namespace minnow::api {

Result<exec::ListingLimits> Model::listing_limits() {
  const std::lock_guard lock(listing_mutex_);
  if (!listing_) {
    MINNOW_ASSIGN(listing_, exec::measure_listing(*plan, *engine->pool));
  }
  return *listing_;
}

bool Model::is_eos(int32_t token) const {
  const auto& ids = container->metadata().eos_ids;
  return std::find(ids.begin(), ids.end(), token) != ids.end() ||
         (tokenizer != nullptr && tokenizer->is_end(token));
}

Result<std::shared_ptr<Model>> open_model(std::shared_ptr<Engine> engine, MappedFile file,
                                          bool with_tokenizer) {
  auto model = std::make_shared<Model>();
  MINNOW_ASSIGN(format::Container container, format::Container::open(std::move(file)));
  model->container = std::make_unique<format::Container>(std::move(container));
  MINNOW_ASSIGN(model::Weights weights, model::Weights::create(*model->container));
  model->weights = std::make_unique<model::Weights>(std::move(weights));
  MINNOW_ASSIGN(model::Plan plan,
                model::Plan::create(*model->weights, engine->isa, exec::float_gemm_available()));
  model->plan = std::make_unique<model::Plan>(std::move(plan));
  if (const auto bytes = model->container->tokenizer(); with_tokenizer && !bytes.empty()) {
    MINNOW_ASSIGN(const format::TokenizerView view, format::TokenizerView::open(bytes));
    if (view.size() > model->config().vocab_size) {
      return fail(Code::corrupt, "the tokenizer has ", view.size(), " tokens, the model's vocabulary ",
                  model->config().vocab_size);
    }
    model->chat_format = std::string(view.chat.name);
    MINNOW_ASSIGN(model->tokenizer, text::Tokenizer::create(view));
  }
  model->engine = std::move(engine);
  return model;
}

namespace {

Status load(minnow_engine* engine, Result<MappedFile> file, const char* name, minnow_model** out) {
  if (!file.ok()) return std::move(file).status();
  auto model = open_model(engine->impl, std::move(file).value(), /*with_tokenizer=*/true);
  if (!model.ok()) return std::move(model).status().within(name);
  auto handle = std::make_unique<minnow_model>();
  handle->impl = std::move(model).value();
  *out = handle.release();
  return {};
}

Status check_model(const minnow_model* model) {
  return check_handle(model, kModelMagic, "model");
}

Result<const text::Tokenizer*> tokenizer_of(const minnow_model* model) {
  MINNOW_TRY(check_model(model));
  if (model->impl->tokenizer == nullptr) {
    return fail(Code::unsupported, "this model carries no tokenizer; give it token ids");
  }
  return model->impl->tokenizer.get();
}

/// The rule of all variable-length results: count always, contents if they fit.
template <typename T>
Status hand_out(const T* data, size_t size, T* out, size_t capacity, size_t* count) {
  MINNOW_TRY(check_pointer(count, "count"));
  *count = size;
  if (out == nullptr && capacity == 0) return {};
  MINNOW_TRY(check_pointer(out, "the buffer"));
  if (size > capacity)
    return fail(Code::invalid_argument, "the result has ", size, " elements, the buffer room for ", capacity);
  std::copy_n(data, size, out);
  return {};
}

}  // namespace
}  // namespace minnow::api

using namespace minnow;
using namespace minnow::api;

extern "C" {

minnow_status minnow_model_load(minnow_engine* engine, const char* path, minnow_model** out) {
  return guard([&]() -> Status {
    MINNOW_TRY(check_handle(engine, kEngineMagic, "engine"));
    MINNOW_TRY(check_pointer(path, "path"));
    MINNOW_TRY(check_pointer(out, "out"));
    return load(engine, MappedFile::open(path), path, out);
  });
}

minnow_status minnow_model_load_fd(minnow_engine* engine, int fd, uint64_t offset, uint64_t length,
                                   minnow_model** out) {
  return guard([&]() -> Status {
    MINNOW_TRY(check_handle(engine, kEngineMagic, "engine"));
    MINNOW_TRY(check_pointer(out, "out"));
    return load(engine, MappedFile::from_fd(fd, offset, length, "file descriptor"), "file descriptor", out);
  });
}

minnow_status minnow_model_load_memory(minnow_engine* engine, const void* data, size_t size,
                                       minnow_model** out) {
  return guard([&]() -> Status {
    MINNOW_TRY(check_handle(engine, kEngineMagic, "engine"));
    MINNOW_TRY(check_pointer(data, "data"));
    MINNOW_TRY(check_pointer(out, "out"));
    return load(engine, MappedFile::from_memory({static_cast<const std::byte*>(data), size}), "memory", out);
  });
}

void minnow_model_destroy(minnow_model* model) {
  if (model == nullptr || model->magic != kModelMagic) return;
  model->magic = 0;
  delete model;
}

minnow_status minnow_model_get_info(const minnow_model* model, minnow_model_info* info) {
  return guard([&]() -> Status {
    MINNOW_TRY(check_model(model));
    const Model& m = *model->impl;
    const format::Metadata& meta = m.container->metadata();
    const format::Config& c = meta.config;
    minnow_model_info r{};
    r.architecture = c.architecture.c_str();
    r.source = meta.provenance.source.c_str();
    r.license = meta.provenance.license.c_str();
    r.parameters = meta.parameters;
    r.file_bytes = m.container->file_size();
    r.bytes_per_token = m.plan->bytes_per_token;
    r.vocab_size = c.vocab_size, r.hidden_size = c.hidden_size,
    r.layers = static_cast<uint32_t>(meta.layers.size());
    r.heads = c.head_count, r.kv_heads = c.kv_head_count, r.head_dim = c.head_dim, r.ffn_size = c.ffn_size;
    r.max_context = c.max_context;
    r.bos_id = meta.bos_id;
    r.has_tokenizer = m.tokenizer != nullptr;
    return write_report(info, r, "info");
  });
}

int minnow_model_is_eos(const minnow_model* model, int32_t token) {
  return check_model(model).ok() && model->impl->is_eos(token) ? 1 : 0;
}

minnow_status minnow_tokenize(const minnow_model* model, const char* text, size_t length, int add_special,
                              int parse_special, int32_t* tokens, size_t capacity, size_t* count) {
  return guard([&]() -> Status {
    MINNOW_ASSIGN(const text::Tokenizer* tokenizer, tokenizer_of(model));
    if (length > 0) MINNOW_TRY(check_pointer(text, "text"));
    std::vector<int32_t> ids;
    MINNOW_TRY(tokenizer->encode({text, length}, add_special != 0, parse_special != 0, ids));
    return hand_out(ids.data(), ids.size(), tokens, capacity, count);
  });
}

minnow_status minnow_detokenize(const minnow_model* model, const int32_t* tokens, size_t count,
                                int skip_special, char* text, size_t capacity, size_t* length) {
  return guard([&]() -> Status {
    MINNOW_ASSIGN(const text::Tokenizer* tokenizer, tokenizer_of(model));
    if (count > 0) MINNOW_TRY(check_pointer(tokens, "tokens"));
    const std::string s = tokenizer->decode({tokens, count}, skip_special != 0);
    return hand_out(s.data(), s.size(), text, capacity, length);
  });
}

const char* minnow_model_chat_format(const minnow_model* model) {
  return check_model(model).ok() ? model->impl->chat_format.c_str() : "";
}

}  // extern "C"

namespace {

Result<std::string> render(const minnow_model* model, const char* format, const minnow_message* messages,
                           size_t count) {
  MINNOW_ASSIGN(const text::Tokenizer* tokenizer, tokenizer_of(model));
  if (count > 0) MINNOW_TRY(check_pointer(messages, "messages"));
  text::ChatFormat chat = text::copy_chat_format(tokenizer->view().chat);
  if (format != nullptr) {
    MINNOW_ASSIGN(chat, text::chat_format_by_name(format));
  }
  std::vector<text::ChatMessage> turns;
  for (size_t i = 0; i < count; ++i) {
    MINNOW_TRY(check_pointer(messages[i].role, "a message's role"));
    MINNOW_TRY(check_pointer(messages[i].text, "a message's text"));
    turns.push_back({messages[i].role, messages[i].text});
  }
  return text::render_chat(chat, turns, /*add_generation_prompt=*/true);
}

}  // namespace

extern "C" minnow_status minnow_chat_render(const minnow_model* model, const char* format,
                                            const minnow_message* messages, size_t count, char* text,
                                            size_t capacity, size_t* length) {
  return guard([&]() -> Status {
    MINNOW_ASSIGN(const std::string rendered, render(model, format, messages, count));
    return hand_out(rendered.data(), rendered.size(), text, capacity, length);
  });
}
