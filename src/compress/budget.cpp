#include "compress/budget.h"

#include <unistd.h>

#include <cstdio>

#include "compress/json.h"
#include "compress/mlwq/checkpoint.h"

namespace minnow::compress {
namespace {

const char* name_of(Method m) {
  constexpr const char* kNames[] = {"mlwq", "gptq", "rtn"};
  return kNames[static_cast<size_t>(m)];
}

}  // namespace

Result<BudgetReport> compress_to_budget(const ImportedModel& model, const MlwqOptions& mlwq,
                                        const CompressOptions& options, const Additions& additions,
                                        const std::string& path) {
  CompressOptions pack = options;
  const Json settings = {{"method", name_of(mlwq.method)}, {"bits", mlwq.bits}, {"seed", mlwq.seed}};
  pack.settings = settings.dump();
  pack.progress = nullptr;
  if (mlwq.paper) pack.storage = pack.head_storage = Storage::source16;
  const auto write = [&](const ImportedModel& m, const QuantisedSet& linears, const std::string& to) {
    pack.quantised = &linears;
    return compress_model(m, pack, to);
  };
  const MeasureFile measure = [&](const ImportedModel& m, const QuantisedSet& linears) -> Result<uint64_t> {
    const std::string trial = cat(path, ".size.", static_cast<uint64_t>(::getpid()));
    auto report = write(m, linears, trial);
    Result<uint64_t> size = report.ok() ? Result<uint64_t>(report->file_bytes) : report.status();
    if (size.ok() && !additions.none()) size = size_with(trial, additions);
    std::remove(trial.c_str());
    return size;
  };
  MlwqOptions resumable = mlwq;
  if (resumable.checkpoint.empty()) resumable.checkpoint = path + ".resume";
  if (resumable.scratch.empty()) resumable.scratch = cat(path, ".", static_cast<uint64_t>(::getpid()));
  MINNOW_ASSIGN(QuantisedModel quantised, quantise_model(model, resumable, measure));
  BudgetReport out;
  const auto to = [&](const std::string& file) { return write(quantised.model, quantised.linears, file); };
  MINNOW_ASSIGN(out.file, through_plain_file(path, additions, to));
  out.sequences = quantised.sequences;
  out.held_out = quantised.after;
  out.linears = std::move(quantised.summary);
  out.curve = std::move(quantised.curve);
  out.seconds = std::move(quantised.seconds);
  for (const LinearSummary& l : out.linears) out.predicted_loss += l.predicted_loss;
  if (mlwq.checkpoint.empty()) Checkpoint(resumable.checkpoint).remove();
  return out;
}

}  // namespace minnow::compress
