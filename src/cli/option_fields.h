// Builds the fields of option rows: a member of Options and the type of its value make both set and get.
//   field(&Request::eta, number(0, 1))
#pragma once

#include <algorithm>
#include <tuple>
#include <type_traits>
#include <utility>

#include "cli/model_path.h"
#include "cli/option_row.h"
#include "cli/options.h"
#include "cli/record.h"
#include "cli/values.h"
#include "formats/quantize.h"

namespace sdgen::cli {

// How a value is written, read, and told in a record.
template <class T>
struct Type {
  Value value;
  std::function<T(const Argument&)> read;
  std::function<OrderedJson(const T&)> write = [](const T& x) { return OrderedJson(x); };
};

inline Type<double> number(double low, double high) {
  return {{.kind = Value::Kind::real, .low = low, .high = high}, [=](const Argument& a) { return a.real(low, high); }};
}

template <class T = int>
Type<T> whole(std::uint64_t least, std::uint64_t most) {
  return {{.kind = Value::Kind::integer, .least = least, .most = most},
          [=](const Argument& a) { return static_cast<T>(a.integer(least, most)); }};
}

inline Type<std::string> text() {
  return {{.kind = Value::Kind::text}, [](const Argument& a) { return a.utf8(); }};
}

inline Type<std::string> path(Value::Kind kind = Value::Kind::path) {
  return {{.kind = kind}, [](const Argument& a) { return a.path(); }};
}

inline Type<std::string> written_path() {
  Type<std::string> type = path();
  type.value.written = true;
  return type;
}
// Of a model or a network: see located().
inline Type<std::filesystem::path> network_path() {
  return {{.kind = Value::Kind::path},
          [](const Argument& a) { return located(a.path()); },
          [](const std::filesystem::path& p) { return OrderedJson(p.string()); }};
}

// A type of several parts, as values.h reads and writes it.
template <class T>
Type<T> parts(T (*read)(const Argument&), std::string (*write)(const T&), Value value = {.kind = Value::Kind::path}) {
  return {std::move(value), read, [write](const T& x) { return OrderedJson(write(x)); }};
}
inline Type<Size> size_type() {
  return parts<Size>(size, written, {.kind = Value::Kind::text, .pattern = "[0-9]+x[0-9]+"});
}
inline Type<Point> point_type() {
  return parts<Point>(point, written, {.kind = Value::Kind::text, .pattern = "[0-9]+,[0-9]+"});
}
inline Type<Margins> margins_type() {
  return parts<Margins>(margins, written, {.kind = Value::Kind::text, .pattern = "[0-9]+(,[0-9]+){3}"});
}
inline Type<std::vector<int>> layers_type() {
  return parts<std::vector<int>>(layers, written, {.kind = Value::Kind::text, .pattern = "[0-9]+(,[0-9]+)*"});
}
inline Type<Interval> interval_type() {
  return parts<Interval>(interval, written, {.kind = Value::Kind::text, .pattern = "[0-9.]+,[0-9.]+"});
}
inline Type<StepCache> step_cache_type() {
  return parts<StepCache>(step_cache, written,
                          {.kind = Value::Kind::text, .pattern = "deepcache:[0-9]+(:[0-9]+)?|first-block:[0-9.]+"});
}
inline Type<GridSize> grid_type() {
  return parts<GridSize>(grid, written, {.kind = Value::Kind::text, .pattern = "auto|[0-9]+x[0-9]+"});
}
inline Type<std::string> device_type() {
  return {{.kind = Value::Kind::text, .words = {"auto", "cpu", "cuda"}, .pattern = "auto|cpu|cuda(:[0-9]+)?"}, device};
}

inline Type<std::string> words(std::vector<std::string> all) {
  return {{.kind = Value::Kind::words, .words = all}, [all](const Argument& a) { return a.choice(all); }};
}

template <class T>
Type<T> words(std::vector<std::pair<std::string, T>> all) {
  Value value{.kind = Value::Kind::words};
  for (const auto& [word, meaning] : all) value.words.push_back(word);
  return {
      value,
      [all, words = value.words](const Argument& a) {
        return all[static_cast<std::size_t>(std::ranges::find(words, a.choice(words)) - words.begin())].second;
      },
      [all](const T& x) { return OrderedJson(std::ranges::find(all, x, &std::pair<std::string, T>::second)->first); }};
}

inline Type<Quantize> quantize_type() {
  using enum Quantize;
  std::vector<std::pair<std::string, Quantize>> all;
  for (const Quantize how : {none, q8_0, q4_k, float8, int8}) all.emplace_back(quantize_name(how), how);
  return words<Quantize>(std::move(all));
}

// The part of the options that is one of these, or the whole.
template <class Owner>
Owner& part(Options& o) {
  return std::get<Owner&>(
      std::tie(o, o.request, o.request.sizes, o.inputs, o.load, o.run, o.output, o.limits, o.process));
}

bool was_given(const PictureFacts& made, std::string_view option);

template <class Member, class T>
OrderedJson recorded_value(const Member& member, const Type<T>& type) {
  if constexpr (requires { member.has_value(); }) {
    return member ? type.write(*member) : OrderedJson();
  } else if constexpr (requires(Member m, T x) { m.push_back(x); }) {
    OrderedJson list;
    for (const T& each : member) list.push_back(type.write(each));
    return list;
  } else {
    return type.write(member);
  }
}

// What an option sets, a record says where it is a part of the request.
template <class Owner, class Member, class T>
Field field(Member Owner::*member, const Type<T>& type) {
  constexpr bool list = requires(Member m, T x) { m.emplace_back(x); };
  Field field{.value = type.value,
              .set =
                  [=](Options& o, const Argument& a) {
                    if constexpr (list)
                      (part<Owner>(o).*member).emplace_back(type.read(a));
                    else
                      part<Owner>(o).*member = type.read(a);
                  },
              .list = list};
  if constexpr (std::is_same_v<Owner, Request>)
    field.get = [=](const PictureFacts& made, std::string_view) { return recorded_value(made.request.*member, type); };
  if constexpr (std::is_same_v<Owner, TrainingSizes>)
    field.get = [=](const PictureFacts& made, std::string_view) {
      return recorded_value(made.request.sizes.*member, type);
    };
  return field;
}

// One that a record has as it was said.
Field as_given(Field field);
template <class Owner, class Member>
Field file(Member Owner::*member) {
  return as_given(field(member, path()));
}
// Of a model or a network.
template <class Owner, class Member>
Field network(Member Owner::*member) {
  return as_given(field(member, network_path()));
}
// --output
Field output_file();

// Switches.
template <class Owner, class Member, class T>
Field set_to(Member Owner::*member, T value) {
  Field field{.set = [=](Options& o, const Argument&) { part<Owner>(o).*member = value; }};
  if constexpr (std::is_same_v<Owner, Request>)
    field.get = [=](const PictureFacts& made, std::string_view) {
      return made.request.*member == Member(value) ? OrderedJson(value) : OrderedJson();
    };
  return field;
}
template <class Owner, class Member>
Field on(Member Owner::*member) {
  return set_to(member, true);
}

OptionRow no_mark_row(const Section& in);

// The rows of several sections.
std::vector<OptionRow> together(std::vector<OptionRow> first, std::vector<OptionRow> second,
                                std::vector<OptionRow> third = {}, std::vector<OptionRow> fourth = {},
                                std::vector<OptionRow> fifth = {});

}  // namespace sdgen::cli
