#include "compress/report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/file.h"

namespace minnow::compress {
namespace {

std::string escaped(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '<') {
      out += "&lt;";
    } else if (c == '&') {
      out += "&amp;";
    } else {
      out += c;
    }
  }
  return out;
}

std::string number(double v, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, v);
  return text;
}

double bits_of(const LinearSummary& l) {
  return static_cast<double>(l.bytes) * 8.0 / static_cast<double>(std::max<uint64_t>(l.weights, 1));
}

/// From blue (2 bits) over green to red (8).
std::string colour(double bits) {
  const double share = std::clamp((bits - 2.0) / 3.0, 0.0, 1.0);
  return cat("hsl(", number(230.0 - 230.0 * share, 0), " 70% 50%)");
}

void picture(const std::vector<LinearSummary>& linears, std::string& page) {
  page += "<h2>Bits of each linear</h2><div class=grid>";
  for (const LinearSummary& l : linears) {
    page += cat("<i style='background:", colour(bits_of(l)), "' title='", escaped(l.name), ": ", l.slabs,
                "'>", number(bits_of(l), 1), "</i>");
  }
  page += "</div>";
}

void curve(const std::vector<CurvePoint>& points, double chosen_bits, std::string& page) {
  if (points.size() < 2) return;
  const double first = points.front().bits, last = points.back().bits, top = points.front().loss;
  const auto x = [&](double bits) { return number(40.0 + 560.0 * (bits - first) / (last - first), 1); };
  const auto y = [&](double loss) { return number(20.0 + 220.0 * (1.0 - std::sqrt(loss / top)), 1); };
  page +=
      "<h2>Predicted loss over bits a parameter</h2><svg viewBox='0 0 620 280' width=620>"
      "<polyline fill=none stroke=#26c stroke-width=2 points='";
  for (const CurvePoint& p : points) page += cat(x(p.bits), ",", y(p.loss), " ");
  page += cat("'/><line x1=", x(chosen_bits), " x2=", x(chosen_bits), " y1=20 y2=240 stroke=#c33 />");
  for (const CurvePoint* p : {&points.front(), &points.back()}) {
    page += cat("<text x=", x(p->bits), " y=260>", number(p->bits, 2), "</text><text x=0 y=", y(p->loss), ">",
                number(p->loss, 3), "</text>");
  }
  page += "</svg>";
}

}  // namespace

std::string report_page(const BudgetReport& r, const std::string& title) {
  std::string page =
      cat("<!doctype html><meta charset=utf-8><title>", escaped(title),
          "</title><style>body{font:15px sans-serif;max-width:60em;margin:2em "
          "auto}table{border-collapse:collapse}"
          "td,th{padding:.2em .8em;text-align:right}td:first-child{text-align:left}.grid{display:grid;"
          "grid-template-columns:repeat(14,1fr);gap:2px}.grid i{color:#fff;font-style:normal;font-size:11px;"
          "text-align:center;padding:.4em 0}</style><h1>",
          escaped(title), "</h1><table>");
  const auto row = [&](const char* what, const std::string& value) {
    page += cat("<tr><td>", what, "<td>", value);
  };
  row("file bytes", cat(r.file.file_bytes));
  row("bits a parameter", number(r.file.bits_per_parameter(), 4));
  row("parameters", cat(r.file.parameters));
  row("calibration sequences", cat(r.sequences));
  row("predicted loss", number(r.predicted_loss, 4));
  if (r.held_out.tokens != 0) {
    row("held-out loss before", number(r.held_out.reference_nll, 4));
    row("held-out loss after", number(r.held_out.nll, 4));
    row("KL divergence", number(r.held_out.kld, 4));
  }
  for (const auto& [stage, seconds] : r.seconds) row(stage.c_str(), number(seconds, 1) + " s");
  page += "</table>";
  picture(r.linears, page);
  curve(r.curve, r.file.bits_per_parameter(), page);
  page += "<h2>Linears</h2><table><tr><th>name<th>slabs<th>bytes<th>bits<th>predicted loss";
  for (const LinearSummary& l : r.linears) {
    page += cat("<tr><td>", escaped(l.name), "<td>", l.slabs, "<td>", l.bytes, "<td>", number(bits_of(l), 2),
                "<td>", number(l.predicted_loss, 5));
  }
  return page + "</table>\n";
}

Status write_report(const BudgetReport& report, const std::string& title, const std::string& path) {
  const std::string page = report_page(report, title);
  MINNOW_ASSIGN(AtomicFileWriter file, AtomicFileWriter::create(path));
  MINNOW_TRY(file.write(std::as_bytes(std::span(page))));
  return file.commit();
}

}  // namespace minnow::compress
