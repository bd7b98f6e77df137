#include "common.h"
namespace cli { void add_info(CLI::App&) {} }
