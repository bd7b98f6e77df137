// The minnow command. Exit status: 0 done, 1 the work failed, 2 wrong usage.
#include <cstdio>
#include <exception>

#include "common.h"

int main(int argc, char** argv) {
  CLI::App app{"minnow runs small language models on the CPUs people already have."};
  app.require_subcommand(1);
  app.set_version_flag("--version", MINNOW_VERSION);
  cli::add_compress(app);
  cli::add_complete(app);
  cli::add_chat(app);
  cli::add_eval(app);
  cli::add_bench(app);
  cli::add_info(app);
  cli::add_tokenize(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  } catch (const cli::Misuse& f) {
    std::fprintf(stderr, "minnow: %s\n", f.message.c_str());
    return 2;
  } catch (const cli::Failure& f) {
    std::fflush(stdout);
    std::fprintf(stderr, "minnow: %s\n", f.message.c_str());
    return 1;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "minnow: %s\n", e.what());
    return 1;
  }
  return std::fflush(stdout) == 0 ? 0 : 1;
}
