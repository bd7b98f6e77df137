// The page that says what a compression did: one HTML file that needs nothing else.
#pragma once

#include <string>

#include "compress/budget.h"

namespace minnow::compress {

/// Bits of every linear as a picture, predicted loss of each, the allocation's curve, sizes, losses.
std::string report_page(const BudgetReport& report, const std::string& title);

/// Writes it, complete or not at all.
Status write_report(const BudgetReport& report, const std::string& title, const std::string& path);

}  // namespace minnow::compress
