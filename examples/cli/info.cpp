// minnow info: what is inside a .mnw file, and which kernels this machine would use for it.
#include "common.h"
#include "compress/inspect.h"

namespace cli {
namespace {

struct Options {
  std::string path;
  bool json = false, verify = false;
};

void print_text(const nlohmann::json& j) {
  const auto& c = j["config"];
  std::printf("%-20s %s\n", "architecture", c["architecture"].get<std::string>().c_str());
  std::printf("%-20s %.2f M, %.2f bits each\n", "parameters", j["parameters"].get<double>() / 1e6,
              j["bits_per_parameter"].get<double>());
  std::printf("%-20s %.2f MB, of which metadata %.1f KB\n", "file", j["file_bytes"].get<double>() / 1e6,
              j["metadata_bytes"].get<double>() / 1e3);
  std::printf("%-20s %.2f MB\n", "read per token", j["bytes_per_token"].get<double>() / 1e6);
  for (const auto& [key, value] : c.items()) {
    if (key != "architecture") std::printf("%-20s %s\n", key.c_str(), value.dump().c_str());
  }
  std::printf("%-20s %s\n", "layers", j["layers"].dump().c_str());
  if (j.contains("tokenizer")) std::printf("%-20s %s\n", "tokenizer", j["tokenizer"].dump().c_str());
  std::printf("%-20s %s\n", "provenance", j["provenance"].dump().c_str());
  std::printf("%-20s %s\n", "machine", j["machine"].dump().c_str());
  std::printf("%-20s %s\n", "kernels", j["kernels"].dump().c_str());
  std::printf("\n%-44s %8s %8s %8s %7s %10s  %s\n", "linear", "rows", "cols", "layout", "bits", "bytes",
              "slabs");
  for (const auto& l : j["linears"]) {
    std::string slabs;
    for (const auto& s : l["slabs"]) {
      slabs += s["type"].get<std::string>() + "x" + s["channels"].dump();
      if (s["group"] != 0) slabs += "/g" + s["group"].dump();
      slabs += " ";
    }
    if (l["thresholds"]) slabs += "thresholds ";
    std::printf("%-44s %8s %8s %8s %7.3f %10s  %s\n", l["name"].get<std::string>().c_str(),
                l["rows"].dump().c_str(), l["cols"].dump().c_str(), l["layout"].get<std::string>().c_str(),
                l["bits_per_weight"].get<double>(), l["bytes"].dump().c_str(), slabs.c_str());
  }
  std::printf("\n%-44s %8s %10s\n", "other tensor", "values", "bytes");
  for (const auto& t : j["tensors"]) {
    std::printf("%-44s %8s %10s\n", t["name"].get<std::string>().c_str(), t["count"].dump().c_str(),
                t["bytes"].dump().c_str());
  }
  if (j["verified"]) std::printf("\nall checksums match, all scales and float weights are finite\n");
}

void info(const Options& o) {
  auto j = minnow::compress::inspect_file(o.path, o.verify);
  if (!j.ok()) throw Failure{j.status().message()};
  if (o.json) {
    std::printf("%s\n", j->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  } else {
    print_text(*j);
  }
}

}  // namespace

void add_info(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("info", "show what is inside a .mnw file");
  sub->add_option("file", o->path, "the .mnw file")->required();
  sub->add_flag("--verify", o->verify, "also check every checksum and look for values that are not finite");
  sub->add_flag("--json", o->json, "one JSON object on stdout");
  sub->callback([o] { info(*o); });
}

}  // namespace cli
