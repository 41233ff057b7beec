#include "runtime/config/values.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <optional>

#include "core/printable.h"
#include "runtime/config/custom_values.h"

namespace kvferry {
namespace {

constexpr size_t kMaxEchoed = 64;

template <typename... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <typename... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

bool is_scalar(const YamlNode& node) { return node.kind == YamlNode::Kind::kScalar; }
bool is_null(const YamlNode& node) {
  return node.kind == YamlNode::Kind::kNull || (is_scalar(node) && node.text.empty());
}
std::string shown(const YamlNode& node) {
  if (node.kind == YamlNode::Kind::kList) return "a list";
  if (node.kind == YamlNode::Kind::kMap) return "a map";
  return "'" + detail::printable(node.text, kMaxEchoed) + "'";
}

bool is_equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::ranges::equal(
      a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

/// Decimal digits, with a point and an exponent if it need not be whole. No spellings that YAML 1.1
/// reads in another way than people do (010 is 8 to it).
template <typename Number>
std::optional<Number> parse_number(std::string_view text) {
  const bool may_be_fraction = std::is_floating_point_v<Number>;
  if (text.starts_with('+')) text.remove_prefix(1);
  const auto is_allowed = [&](char c) {
    return std::isdigit(static_cast<unsigned char>(c)) != 0 || c == '-' ||
           (may_be_fraction && (c == '.' || c == 'e' || c == 'E' || c == '+'));
  };
  if (text.empty() || !std::ranges::all_of(text, is_allowed)) return std::nullopt;
  const std::string_view digits = text.substr(text.starts_with('-') ? 1 : 0);
  if (digits.size() > 1 && digits[0] == '0' &&
      std::isdigit(static_cast<unsigned char>(digits[1]))) {
    return std::nullopt;
  }
  Number number = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || stopped != end) return std::nullopt;
  return number;
}

Verdict out_of_range(const KeySpec& spec, const YamlNode& node, std::string_view kind) {
  const std::string unit = spec.unit.empty() ? "" : " (" + std::string(spec.unit) + ")";
  return {.error = shown(node) + " is no " + std::string(kind) + " from " + range_text(spec) + unit,
          .warning = ""};
}

/// A number of units within its range, or nothing.
std::optional<double> read_units(const KeySpec& spec, const YamlNode& node) {
  const auto number = is_scalar(node) ? parse_number<double>(node.text) : std::nullopt;
  if (!number || !(*number >= spec.least && *number <= spec.most)) return std::nullopt;
  return number;
}

Verdict set_choice(const ChoiceField& field, const YamlNode& node, CacheConfig& config) {
  for (size_t i = 0; i < field.names.size(); ++i) {
    if (!is_scalar(node) || !is_equal_ignoring_case(node.text, field.names[i])) continue;
    field.set(config, static_cast<int>(i));
    return {};
  }
  std::string known;
  for (const std::string_view name : field.names) {
    known += (known.empty() ? "" : ", ") + std::string(name);
  }
  return {.error = shown(node) + " is not known; write one of " + known, .warning = ""};
}

Verdict set_text(TextField field, const YamlNode& node, CacheConfig& config) {
  if (!is_scalar(node)) return {.error = shown(node) + " is no text", .warning = ""};
  field(config) = node.text;
  return {};
}

void set_default(const KeySpec& spec, CacheConfig& config) {
  CacheConfig fresh;
  std::visit(Overloaded{
                 [&](const ChoiceField& field) { field.set(config, field.get(fresh)); },
                 [](const CustomField& /*field*/) {},  // takes nulls itself
                 [&](const auto& field) { field(config) = field(fresh); },
             },
             spec.field);
}

}  // namespace

Verdict apply_value(const KeySpec& spec, const YamlNode& node, CacheConfig& config) {
  const bool is_custom = std::holds_alternative<CustomField>(spec.field);
  if (is_null(node) && !is_custom) {
    set_default(spec, config);
    return {};
  }
  const auto set = Overloaded{
      [&](BoolField field) -> Verdict {
        const Result<bool> value = read_bool(node);
        if (!value) return {.error = std::string(value.error().message()), .warning = ""};
        field(config) = *value;
        return {};
      },
      [&](CountField field) -> Verdict {
        const auto number = is_scalar(node) ? parse_number<int64_t>(node.text) : std::nullopt;
        if (!number || static_cast<double>(*number) < spec.least ||
            static_cast<double>(*number) > spec.most) {
          return out_of_range(spec, node, "whole number");
        }
        field(config) = *number;
        return {};
      },
      [&](BytesField field) -> Verdict {
        const auto units = read_units(spec, node);
        if (!units) return out_of_range(spec, node, "number");
        field(config) = static_cast<size_t>(std::floor(*units * spec.scale));
        return {};
      },
      [&](TimeField field) -> Verdict {
        const auto units = read_units(spec, node);
        if (!units) return out_of_range(spec, node, "number");
        field(config) = Duration(static_cast<int64_t>(std::floor(*units * spec.scale)));
        return {};
      },
      [&](TextField field) { return set_text(field, node, config); },
      [&](const ChoiceField& field) { return set_choice(field, node, config); },
      [&](const CustomField& field) { return field.set(config, node); },
  };
  return std::visit(set, spec.field);
}

std::string show_value(const KeySpec& spec, CacheConfig config) {
  const auto show = Overloaded{
      [&](BoolField field) -> std::string { return field(config) ? "True" : "False"; },
      [&](CountField field) { return std::to_string(field(config)); },
      [&](BytesField field) {
        return number_text(static_cast<double>(field(config)) / spec.scale);
      },
      [&](TimeField field) {
        return number_text(static_cast<double>(field(config).count()) / spec.scale);
      },
      [&](TextField field) { return field(config); },
      [&](const ChoiceField& field) {
        return std::string(field.names[static_cast<size_t>(field.get(config))]);
      },
      [&](const CustomField& field) { return field.show ? field.show(config) : std::string(); },
  };
  return std::visit(show, spec.field);
}

std::string type_name(const KeySpec& spec) {
  const auto name = Overloaded{
      [](BoolField) { return "bool"; },
      [](CountField) { return "whole number"; },
      [](BytesField) { return "number"; },
      [](TimeField) { return "number"; },
      [](TextField) { return "text"; },
      [](const ChoiceField&) { return "text"; },
      [](const CustomField& field) { return field.type.data(); },
  };
  return std::visit(name, spec.field);
}

std::string range_text(const KeySpec& spec) {
  if (const auto* choice = std::get_if<ChoiceField>(&spec.field)) {
    std::string names;
    for (const std::string_view name : choice->names) {
      names += (names.empty() ? "" : ", ") + std::string(name);
    }
    return names;
  }
  if (spec.most == 0) return "";
  return number_text(spec.least) + " to " + number_text(spec.most);
}

std::string number_text(double number) {
  std::array<char, 64> text{};
  const auto [end, error] =
      std::to_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (error != std::errc()) return "?";
  return {text.data(), end};
}

}  // namespace kvferry
