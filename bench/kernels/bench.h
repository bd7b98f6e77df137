// What kernel benchmarks share: threads that start together, a pool of memory no cache holds, the read wall.
#pragma once

#include <benchmark/benchmark.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace kernel_bench {

// Threads that spin between jobs: starting one costs less than a microsecond, as in the runtime's own pool.
class Team {
 public:
  explicit Team(size_t threads);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;
  size_t size() const { return workers_.size() + 1; }
  // Calls job(i) for every thread i, the caller being thread 0; returns when all are done.
  void run(const std::function<void(size_t)>& job);

 private:
  void work(size_t index);
  const std::function<void(size_t)>* job_ = nullptr;
  std::atomic<uint32_t> turn_{0}, busy_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

Team& team(size_t threads);  // one of each size, made on first use

// 512 MB of values that are ordinary numbers as f32, f16, bf16 and codes; far beyond any last-level cache.
class Pool {
 public:
  static Pool& get();
  const char* data() const { return data_; }
  size_t bytes() const { return kBytes; }
  // A place for `bytes` that was not used for as long as possible. 64-byte aligned, slack behind it.
  const char* next(size_t bytes);

 private:
  static constexpr size_t kBytes = (size_t)512 << 20;
  Pool();
  char* data_;
  size_t at_ = 0;
};

// Times job(i) on every thread, then a plain read of as many other bytes by as many threads, in turns: on a
// shared machine the read wall moves from second to second, and only neighbours compare. Sets
// bytes_per_second and "wall", the kernel's speed over the plain read's.
class AgainstWall {
 public:
  AgainstWall(benchmark::State& state, size_t bytes, size_t threads);
  void iterate(const std::function<void(size_t)>& job);
  ~AgainstWall();

 private:
  benchmark::State& state_;
  size_t bytes_, threads_;
  std::vector<double> kernel_seconds_, wall_seconds_;
};

// Which kernels this machine can run.
uint32_t machine_isa();

// What is multiplied: f32; int8; int8 in the int16 lanes that products need where both factors are signed
// (the same as bytes where an instruction set multiplies bytes into int32 lanes).
enum class Products { floats, bytes, words };

// Multiply-adds a second of one thread that does nothing else, in the widest form of that level. 0 where no
// loop is written.
double peak_macs(uint32_t isa, Products products);

// An array for each thread, on cache lines that no other thread's share or lie beside, as in the runtime.
template <typename T>
class PerThread {
 public:
  PerThread(size_t count, size_t threads)
      : lines_((count * sizeof(T) + sizeof(Line) - 1) / sizeof(Line) + 2), all_(lines_ * threads) {}
  T* of(size_t thread) { return (T*)(all_.data() + thread * lines_); }

 private:
  struct alignas(64) Line {
    char bytes[64];
  };
  size_t lines_;
  std::vector<Line> all_;
};

struct Shape {
  std::string model, name;
  size_t n, k;
};
std::vector<Shape> shapes();

// Portion i of `count` in `parts`, cut at multiples of 4 rows.
inline size_t cut(size_t count, size_t parts, size_t i) {
  return i == parts ? count : count / 4 * i / parts * 4;
}

}  // namespace kernel_bench
