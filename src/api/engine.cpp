#include <algorithm>
#include <chrono>

#include "api/objects.h"
#include "base/buffer.h"
#include "base/cpu.h"
#include "kernels/read_wall/read_wall.h"

namespace minnow::api {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

namespace {

Result<double> measure_read_wall(Engine& engine, uint64_t bytes, uint32_t passes) {
  constexpr uint64_t kPiece = uint64_t{4} << 20;
  bytes = bytes / kPiece * kPiece;
  if (bytes < (uint64_t{64} << 20) || passes == 0) {
    return fail(Code::invalid_argument, "a read wall needs at least 64 MiB and one pass");
  }
  MINNOW_ASSIGN(const Buffer memory, Buffer::allocate(bytes, "the read wall"));
  std::memset(memory.data(), 1, bytes);
  const ReadWallKernel* kernel = select_read_wall(ReadWallOp::read_sum, engine.isa);
  double best = 0.0;
  for (uint32_t pass = 0; pass < passes; ++pass) {
    std::atomic<uint64_t> total{0};
    const double start = now();
    engine.pool->parallel_for(bytes / kPiece, 1, [&](size_t begin, size_t end, uint32_t) {
      uint64_t sum = 0;
      const ReadWallArgs args{memory.data() + begin * kPiece, (end - begin) * kPiece, &sum};
      kernel->fn(&args);
      total.fetch_xor(sum, std::memory_order_relaxed);
    });
    best = std::max(best, static_cast<double>(bytes) / (now() - start));
    if (total.load() != 0) return fail(Code::internal, "the read wall read wrong values");
  }
  return best;
}

}  // namespace
}  // namespace minnow::api

using namespace minnow;
using namespace minnow::api;

extern "C" {

minnow_engine_params minnow_engine_params_default(void) {
  return {sizeof(minnow_engine_params), 0, nullptr};
}

minnow_status minnow_engine_create(const minnow_engine_params* params, minnow_engine** out) {
  return guard([&]() -> Status {
    MINNOW_TRY(check_pointer(out, "out"));
    MINNOW_ASSIGN(const minnow_engine_params p,
                  read_params(params, minnow_engine_params_default(), "minnow_engine_params"));
    auto engine = std::make_shared<Engine>();
    MINNOW_ASSIGN(engine->isa, choose_isa(p.isa == nullptr ? "" : p.isa));
    MINNOW_ASSIGN(engine->pool, ThreadPool::create(p.threads));
    engine->cpu = cpu_name();
    auto handle = std::make_unique<minnow_engine>();
    handle->impl = std::move(engine);
    *out = handle.release();
    return {};
  });
}

void minnow_engine_destroy(minnow_engine* engine) {
  if (engine == nullptr || engine->magic != kEngineMagic) return;
  engine->magic = 0;
  delete engine;
}

uint32_t minnow_engine_threads(const minnow_engine* engine) {
  return check_handle(engine, kEngineMagic, "engine").ok() ? engine->impl->pool->threads() : 0;
}

const char* minnow_engine_isa(const minnow_engine* engine) {
  return check_handle(engine, kEngineMagic, "engine").ok() ? isa_name(engine->impl->isa) : "";
}

const char* minnow_engine_cpu(const minnow_engine* engine) {
  return check_handle(engine, kEngineMagic, "engine").ok() ? engine->impl->cpu.c_str() : "";
}

minnow_status minnow_engine_read_wall(minnow_engine* engine, uint64_t bytes, uint32_t passes,
                                      double* bytes_per_second) {
  return guard([&]() -> Status {
    MINNOW_TRY(check_handle(engine, kEngineMagic, "engine"));
    MINNOW_TRY(check_pointer(bytes_per_second, "bytes_per_second"));
    MINNOW_ASSIGN(*bytes_per_second, measure_read_wall(*engine->impl, bytes, passes));
    return {};
  });
}

}  // extern "C"
