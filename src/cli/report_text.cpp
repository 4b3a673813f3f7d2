#include "cli/report_text.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "io/json.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

constexpr std::size_t kIndent = 18;  // columns before the values

std::string word(const OrderedJson& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : "";
}

// 859520964 -> "859,520,964"
std::string grouped(std::uint64_t number) {
  std::string text = std::to_string(number);
  for (std::size_t at = text.size(); at > 3;) text.insert(at -= 3, 1, ',');
  return text;
}

std::string bytes(std::uint64_t count) {
  char text[32];
  if (count < 10'000) return concat(count, " bytes");
  const bool giga = count >= 1'000'000'000, mega = count >= 1'000'000;
  std::snprintf(text, sizeof text, "%.*f %s",
                giga   ? 2
                : mega ? 1
                       : 0,
                double(count) / (giga   ? 1e9
                                 : mega ? 1e6
                                        : 1e3),
                giga   ? "GB"
                : mega ? "MB"
                       : "kB");
  return text;
}

// "F16" where all are, else "F32 x 12, F16 x 300".
std::string counted_each(const OrderedJson& counts) {
  std::vector<std::string> each;
  for (const auto& [name, count] : counts.items())
    each.push_back(counts.size() > 1 ? concat(name, " x ", count.get<std::uint64_t>()) : name);
  return joined(each);
}

std::string listed(const OrderedJson& list, std::size_t most = 8) {
  return joined(list.get<std::vector<std::string>>(), ", ", most);
}

std::string counted(std::uint64_t count, const char* one, const char* several) {
  return concat(count, ' ', count == 1 ? one : several);
}

// "3 tensors: a, b, ..."
std::string tensor_names(const OrderedJson& list) {
  const auto count = list["count"].get<std::uint64_t>();
  if (count == 0) return "";
  constexpr std::size_t most = 4;
  std::string text = concat(counted(count, "tensor: ", "tensors: "), listed(list["names"], most));
  return count > most && list["names"].size() <= most ? text + ", ..." : text;
}

class Lines {
 public:
  explicit Lines(std::string head) : text_(std::move(head) + "\n") {}

  // A value of several lines goes on below its first one. Empty values are left out.
  void add(std::string label, const std::string& value) {
    if (value.empty()) return;
    std::size_t begin = 0;
    do {
      const std::size_t end = std::min(value.find('\n', begin), value.size());
      text_ += "  " + label + std::string(label.size() + 2 < kIndent ? kIndent - 2 - label.size() : 1, ' ');
      text_ += value.substr(begin, end - begin) + '\n';
      label.clear();
      begin = end + 1;
    } while (begin < value.size());
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

std::string kind(const OrderedJson& report) {
  std::string text = word(report, "kind");
  if (const std::string what = word(report, "what"); !what.empty() && text != "unknown") text = what;
  std::string more = word(report, "format");
  if (const std::string layout = word(report, "layout"); !layout.empty()) more += concat(", ", layout, " names");
  if (const std::string c = word(report, "class"); !c.empty()) more += concat(", ", c);
  return more.empty() ? text : concat(text, " (", more, ")");
}

// "F16" where all are, else "NF4 x 50 (79 %), F32 x 62 (21 %)", by bytes.
std::string encodings_of(const OrderedJson& parts) {
  const OrderedJson& counts = parts["dtypes"];
  const double all = std::max(parts["bytes"].get<double>(), 1.0);
  if (counts.size() < 2 || !parts.contains("dtype_bytes")) return counted_each(counts);
  std::vector<std::string> each;
  for (const auto& [name, count] : counts.items()) {
    const double share = 100 * parts["dtype_bytes"].value(name, 0.0) / all;
    each.push_back(concat(name, " x ", count.get<std::uint64_t>(), " (", std::lround(share), " %)"));
  }
  return joined(each);
}

std::string size_of(const OrderedJson& parts) {
  const auto stored = parts["bytes"].get<std::uint64_t>(), memory = parts.value("memory", stored);
  return concat(grouped(parts["parameters"].get<std::uint64_t>()), " parameters, ", bytes(stored), ", ",
                encodings_of(parts), memory == stored ? "" : concat("; in memory ", bytes(memory)));
}

void add_lora(Lines& lines, const OrderedJson& report) {
  if (!report.contains("algorithms")) return;
  std::vector<std::string> parts;
  if (report.contains("modules"))
    for (const auto& [part, count] : report["modules"].items())
      parts.push_back(concat(part, " ", count.get<std::uint64_t>()));
  lines.add("algorithm", listed(report["algorithms"]));
  lines.add("names", listed(report["spellings"]));
  lines.add("modules", joined(parts));
  lines.add("rank", counted_each(report["ranks"]));
}

}  // namespace

std::string report_json(const OrderedJson& report) { return line_of_json(report) + "\n"; }

std::string report_text(const OrderedJson& report) {
  Lines lines(printable(word(report, "file"), 4096));
  lines.add("kind", kind(report));
  lines.add("family", word(report, "family"));
  lines.add("pipeline", word(report, "pipeline"));
  lines.add("prediction", word(report, "prediction_type") + (report.contains("zero_snr") ? ", zero terminal SNR" : ""));
  lines.add("scheduler", word(report, "scheduler"));
  for (const auto& [label, key] : {std::pair{"native size", "native_size"}, {"size", "size"}})
    if (report.contains(key)) lines.add(label, concat(report[key][0].get<int>(), "x", report[key][1].get<int>()));
  if (report.contains("components"))
    for (const OrderedJson& part : report["components"]) lines.add(word(part, "name"), size_of(part));
  if (report.contains("lacks")) lines.add("in other files", listed(report["lacks"]));
  if (report.contains("notes"))
    for (const OrderedJson& note : report["notes"]) lines.add("decided", note.get<std::string>());
  add_lora(lines, report);
  if (report.contains("vectors"))
    for (const OrderedJson& entry : report["vectors"])
      lines.add("vectors", concat(entry["count"].get<std::uint64_t>(), " x ", entry["width"].get<std::uint64_t>(), ": ",
                                  word(entry, "name")));
  if (report.contains("tensors")) {
    lines.add("tensors", std::to_string(report["tensors"].get<std::uint64_t>()));
    lines.add("in all", size_of(report));
  }
  if (report.contains("names")) lines.add("first names", listed(report["names"]));
  if (report.contains("unread")) lines.add("not read", tensor_names(report["unread"]));
  if (report.contains("other_tensors")) lines.add("others", tensor_names(report["other_tensors"]));
  if (report.contains("leftovers"))
    lines.add("leftovers",
              concat(counted(report["leftovers"]["tensors"].get<std::uint64_t>(), "tensor", "tensors"),
                     " that no network needs, ", bytes(report["leftovers"]["bytes"].get<std::uint64_t>())));
  lines.add("title", word(report, "title"));
  lines.add("base model", word(report, "base_model"));
  if (report.contains("metadata"))
    lines.add("metadata", counted(report["metadata"].size(), "entry", "entries") + " (see --json)");
  lines.add("source type", word(report, "source_type"));
  lines.add("parameters", word(report, "kind") == "picture" ? word(report, "parameters") : "");
  if (report.contains("texts"))
    for (const OrderedJson& text : report["texts"]) lines.add(word(text, "keyword"), word(text, "text"));
  if (report.contains("warnings"))
    for (const OrderedJson& warning : report["warnings"]) lines.add("warning", warning.get<std::string>());
  if (report.contains("files"))
    for (const OrderedJson& file : report["files"]) {
      if (report["files"].size() > 1)
        lines.add("file", concat(printable(word(file, "file")), ", ", bytes(file["bytes"].get<std::uint64_t>())));
      lines.add("sha256", concat(word(file, "sha256"), " (AUTOMATIC1111: ", word(file, "a1111_hash"), ")"));
    }
  lines.add("problem", printable(word(report, "problem"), 4096));
  return lines.take();
}

}  // namespace sdgen::cli
