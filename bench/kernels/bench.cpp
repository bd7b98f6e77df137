#include "bench.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

#include "kernels/read_wall/read_wall.h"
#if MINNOW_AARCH64
#include <sys/auxv.h>
#endif

namespace kernel_bench {

static void pin(size_t cpu);

Team::Team(size_t threads) {
  pin(0);
  for (size_t i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
}

Team::~Team() {
  stop_ = true;
  turn_.fetch_add(1, std::memory_order_release);
  for (std::thread& worker : workers_) worker.join();
}

// Left to itself the scheduler may leave two spinning threads on one core for milliseconds.
static void pin(size_t cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu % std::thread::hardware_concurrency(), &set);
  sched_setaffinity(0, sizeof set, &set);
}

void Team::work(size_t index) {
  pin(index);
  uint32_t seen = 0;
  for (;;) {
    for (int i = 0; turn_.load(std::memory_order_acquire) == seen; ++i) {
      if (i > 10000) sched_yield();
    }
    seen = turn_.load(std::memory_order_acquire);
    if (stop_) return;
    (*job_)(index);
    busy_.fetch_sub(1, std::memory_order_release);
  }
}

void Team::run(const std::function<void(size_t)>& job) {
  job_ = &job;
  busy_.store((uint32_t)workers_.size(), std::memory_order_relaxed);
  turn_.fetch_add(1, std::memory_order_release);
  job(0);
  for (int i = 0; busy_.load(std::memory_order_acquire) != 0; ++i) {
    if (i > 10000) sched_yield();
  }
}

Team& team(size_t threads) {
  // Only one team is alive: the threads of another would spin beside the measured ones.
  static std::unique_ptr<Team> current;
  if (current == nullptr || current->size() != threads) {
    current.reset();
    current = std::make_unique<Team>(threads);
  }
  return *current;
}

Pool::Pool() : data_((char*)std::aligned_alloc(4096, kBytes + 4096)) {
  uint32_t state = 1;
  for (size_t i = 0; i < kBytes + 4096; ++i) {
    state = state * 1664525u + 1013904223u;
    data_[i] = (char)(0x38 + (state >> 29));  // exponents near 1 in every format
  }
}

Pool& Pool::get() {
  static Pool pool;
  return pool;
}

const char* Pool::next(size_t bytes) {
  bytes = (bytes + 4095) / 4096 * 4096;
  if (at_ + bytes > kBytes) at_ = 0;
  const char* place = data_ + at_;
  at_ += bytes;
  return place;
}

static double seconds_of(size_t threads, const std::function<void(size_t)>& job) {
  Team& crew = team(threads);
  const auto start = std::chrono::steady_clock::now();
  crew.run(job);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

AgainstWall::AgainstWall(benchmark::State& state, size_t bytes, size_t threads)
    : state_(state), bytes_(bytes), threads_(threads) {}

void AgainstWall::iterate(const std::function<void(size_t)>& job) {
  static const ReadWallKernel* kernel = select_read_wall(ReadWallOp::read_sum, machine_isa());
  const double seconds = seconds_of(threads_, job);
  state_.SetIterationTime(seconds);
  kernel_seconds_.push_back(seconds);
  const char* data = Pool::get().next(bytes_);
  const size_t part = bytes_ / threads_ / 64 * 64;
  wall_seconds_.push_back(seconds_of(threads_, [&](size_t t) {
    uint64_t result;
    const ReadWallArgs args{data + t * part, part, &result};
    kernel->fn(&args);
    benchmark::DoNotOptimize(result);
  }));
}

static double fastest_tenth(std::vector<double>& seconds) {
  std::sort(seconds.begin(), seconds.end());
  return seconds.empty() ? 1 : seconds[seconds.size() / 10];
}

AgainstWall::~AgainstWall() {
  const double kernel = fastest_tenth(kernel_seconds_);
  state_.counters["GB/s"] = (double)bytes_ / kernel * 1e-9;
  state_.counters["wall"] = fastest_tenth(wall_seconds_) / kernel;
}

uint32_t machine_isa() {
  uint32_t mask = kIsaScalar;
#if MINNOW_X86_64
  // __builtin_cpu_supports looks at XCR0 too. AVX-VNNI has no name in it before GCC 13.
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    mask |= kIsaAvx2;
    uint32_t eax = 7, ebx = 0, ecx = 1, edx = 0;
    asm("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    if ((eax & (1u << 4)) != 0) mask |= kIsaAvxVnni;
    if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
      mask |= kIsaAvx512Vnni;
    }
  }
#elif MINNOW_AARCH64
  mask |= kIsaNeon;
  if ((getauxval(AT_HWCAP) & (1ul << 20)) != 0) mask |= kIsaNeonDotprod;
#endif
  return mask;
}

std::vector<Shape> shapes() {
  std::vector<Shape> all;
  for (const auto& entry : std::filesystem::directory_iterator(MINNOW_SHAPES)) {
    std::ifstream file(entry.path());
    std::string line;
    while (std::getline(file, line)) {
      Shape shape{entry.path().stem().string(), "", 0, 0};
      std::istringstream words(line);
      if (line[0] != '#' && words >> shape.name >> shape.n >> shape.k) all.push_back(shape);
    }
  }
  std::sort(all.begin(), all.end(), [](const Shape& a, const Shape& b) { return a.model < b.model; });
  return all;
}

}  // namespace kernel_bench
