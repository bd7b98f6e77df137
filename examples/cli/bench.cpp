#include "common.h"
namespace cli { void add_bench(CLI::App&) {} }
