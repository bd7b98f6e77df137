// minnow compress: a Hugging Face directory or a GGUF file to one .mnw file.
#include "compress/compress.h"

#include <csignal>

#include "common.h"

namespace cli {
namespace {

using minnow::compress::CompressOptions;
using minnow::compress::Storage;

volatile std::sig_atomic_t interrupted = 0;

struct Options {
  std::string input, output, storage16 = "source", chat_format, method = "rtn";
  uint32_t width = 0, head_width = 0, group = 64, threads = 0;
  double bits = 0.0;
  bool json = false, no_retrieval = false;
};

Storage float_storage(const Options& o, double bits) {
  if (bits == 32.0) return Storage::f32;
  return o.storage16 == "f16" ? Storage::f16 : o.storage16 == "bf16" ? Storage::bf16 : Storage::source16;
}

Storage code_storage(uint32_t width, const char* option, const char* known) {
  switch (width) {
    case 2:
      return Storage::w2;
    case 3:
      return Storage::w3;
    case 4:
      return Storage::w4;
    case 8:
      return Storage::w8;
    default:
      throw Misuse{{std::string(option) + " " + std::to_string(width) + ": a width is " + known}};
  }
}

CompressOptions settings(const Options& o) {
  CompressOptions c;
  c.group = o.group;
  c.threads = o.threads;
  c.chat_format = o.chat_format;
  if (o.bits != 0.0) {
    if (o.bits != 16.0 && o.bits != 32.0) {
      throw Misuse{{"--bits " + std::to_string(o.bits) +
                    ": this version stores 16 or 32 bits as floats; for codes of 2, 3, 4 or 8 bits give --width"}};
    }
    c.storage = c.head_storage = float_storage(o, o.bits);
  } else {
    c.storage = c.head_storage = code_storage(o.width != 0 ? o.width : 8, "--width", "2, 3, 4 or 8");
  }
  if (o.head_width != 0) {
    c.head_storage =
        o.head_width == 16 ? float_storage(o, 16.0) : code_storage(o.head_width, "--head-width", "2, 3, 4, 8 or 16");
  }
  return c;
}

void run_compress(const Options& o) {
  CompressOptions c = settings(o);
  auto imported = minnow::compress::import_model(o.input);
  if (!imported.ok()) throw Failure{imported.status().message()};
  for (const std::string& w : imported->warnings) std::fprintf(stderr, "warning: %s\n", w.c_str());
  ProgressBar bar("compress");
  std::signal(SIGINT, [](int) { interrupted = 1; });  // ends cleanly: no half-written file stays behind
  std::signal(SIGTERM, [](int) { interrupted = 1; });
  c.progress = [&](const char*, uint64_t done, uint64_t total) {
    bar.update(static_cast<double>(done) / static_cast<double>(total));
    return interrupted == 0;
  };
  auto report = minnow::compress::compress_model(*imported, c, o.output);
  if (!report.ok()) throw Failure{report.status().message()};
  if (o.json) {
    std::printf("%s\n", nlohmann::json{{"output", o.output},
                                       {"file_bytes", report->file_bytes},
                                       {"parameters", report->parameters},
                                       {"bits_per_parameter", report->bits_per_parameter()},
                                       {"warnings", imported->warnings}}
                            .dump()
                            .c_str());
  } else {
    std::fprintf(stderr, "%s: %.1f MB, %.2f bits for each of %.1f M parameters\n", o.output.c_str(),
                 static_cast<double>(report->file_bytes) / 1e6, report->bits_per_parameter(),
                 static_cast<double>(report->parameters) / 1e6);
  }
}

}  // namespace

void add_compress(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* sub =
      app.add_subcommand("compress", "make a .mnw file from a Hugging Face directory or a GGUF file");
  sub->add_option("input", o->input, "Hugging Face directory or GGUF file")->required();
  sub->add_option("-o,--output", o->output, "the .mnw file to write")->required();
  auto* width = sub->add_option("--width", o->width, "bits of every weight's code: 2, 3, 4 or 8 (default)");
  sub->add_option("--bits", o->bits, "16 or 32: store floats")->excludes(width);
  sub->add_option("--float-type", o->storage16, "16-bit floats: source keeps bf16 where the source has it")
      ->check(CLI::IsMember({"source", "f16", "bf16"}));
  sub->add_option("--head-width", o->head_width, "the same for the embedding and the output head; 16: floats");
  sub->add_option("--group", o->group, "channels that share a scale")->check(CLI::IsMember({32, 64, 128}));
  sub->add_option("--method", o->method, "how codes are chosen")->check(CLI::IsMember({"rtn"}));
  sub->add_option("--chat-format", o->chat_format, "chat format, where the template is not recognised");
  sub->add_flag("--no-retrieval", o->no_retrieval, "no retrieval codebooks (this version makes none)");
  sub->add_option("-t,--threads", o->threads, "threads; 0: all performance cores")->check(CLI::Range(0, 256));
  sub->add_flag("--json", o->json, "one JSON object on stdout");
  sub->callback([o] { run_compress(*o); });
}

}  // namespace cli
