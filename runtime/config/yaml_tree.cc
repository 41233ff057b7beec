#include "runtime/config/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string_view>
#include <utility>

#include "core/printable.h"

namespace kvferry {
namespace {

constexpr size_t kMaxEchoed = 64;

/// Builds the tree, within its bounds: past one of them it takes in nothing more. yaml-cpp has a
/// bound on depth of its own.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(std::string_view text, YamlDocument& document) : text_(text), document_(document) {}

  /// Whether what follows the last problem makes no sense any more.
  bool is_over() const { return is_over_; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++num_documents_ == 1) return;
    refuse(mark, "a second document starts here; one is read");
    is_over_ = true;
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    add(make(mark, YamlNode::Kind::kNull), anchor);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) {
      refuse(mark, "an alias stands inside what it names");
      return;
    }
    YamlNode copy = found->second;
    num_nodes_ += count(copy) - 1;
    copy.line = mark.line + 1;
    add(std::move(copy), 0);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    check_tag(mark, tag);
    YamlNode node = make(mark, YamlNode::Kind::kScalar);
    node.is_quoted = tag == "!";
    if (node.is_quoted) check_quotes(mark);
    node.text = value;
    if (!node.is_quoted && is_null_text(value)) {
      node.kind = YamlNode::Kind::kNull;
      node.text.clear();
    }
    add(std::move(node), anchor);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value /*style*/) override {
    check_tag(mark, tag);
    open(make(mark, YamlNode::Kind::kList), anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value /*style*/) override {
    check_tag(mark, tag);
    open(make(mark, YamlNode::Kind::kMap), anchor);
  }
  void OnMapEnd() override { close(); }

 private:
  /// A list or map whose end has not come.
  struct Open {
    YamlNode node;
    YAML::anchor_t anchor = 0;
    std::optional<YamlEntry> entry;  // a key that waits for its value
    bool is_dropped = false;         // that key was refused
  };

  static bool is_null_text(const std::string& text) {
    return text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL";
  }
  static YamlNode make(const YAML::Mark& mark, YamlNode::Kind kind) {
    YamlNode node;
    node.kind = kind;
    node.line = mark.line + 1;
    return node;
  }
  static int64_t count(const YamlNode& node) {
    int64_t total = 1;
    for (const YamlNode& item : node.items) total += count(item);
    for (const YamlEntry& entry : node.entries) total += 1 + count(entry.value);
    return total;
  }

  void refuse(const YAML::Mark& mark, std::string text) {
    refuse_line(mark.line + 1, std::move(text));
  }
  void refuse_line(int64_t line, std::string text) {
    if (!is_over_) document_.problems.push_back({line, std::move(text)});
  }
  void check_tag(const YAML::Mark& mark, const std::string& tag) {
    if (tag.empty() || tag == "?" || tag == "!") return;
    refuse(mark, "the tag '" + detail::printable(tag, kMaxEchoed) + "' is not read; remove it");
  }

  /// yaml-cpp takes the end of the file for a missing quote.
  void check_quotes(const YAML::Mark& mark) {
    const auto at = static_cast<size_t>(std::max(mark.pos, 0));
    const size_t begin = std::min(text_.find_first_of("\"'|>", at), text_.size());
    if (begin == text_.size() || text_[begin] == '|' || text_[begin] == '>') return;
    const char quote = text_[begin];
    for (size_t i = begin + 1; i < text_.size(); ++i) {
      if (quote == '"' && text_[i] == '\\')
        ++i;
      else if (text_[i] == quote)
        return;
    }
    refuse(mark, std::string("the quote ") + quote + " that starts here has no end");
    is_over_ = true;
  }

  void open(YamlNode node, YAML::anchor_t anchor) {
    if (open_.size() >= kMaxYamlDepth) {
      refuse_line(node.line, "nested deeper than " + std::to_string(kMaxYamlDepth) + " levels");
      is_over_ = true;
    }
    if (is_over_) return;
    open_.push_back({std::move(node), anchor, std::nullopt});
  }
  void close() {
    if (is_over_) return;
    Open last = std::move(open_.back());
    open_.pop_back();
    add(std::move(last.node), last.anchor);
  }
  void add(YamlNode node, YAML::anchor_t anchor) {
    if (is_over_) return;
    if (++num_nodes_ > kMaxYamlNodes) {
      refuse_line(node.line, "more than " + std::to_string(kMaxYamlNodes) +
                                 " values, with what aliases repeat");
      is_over_ = true;
      return;
    }
    if (anchor != 0) anchors_.insert_or_assign(anchor, node);
    if (open_.empty()) {
      document_.root = std::move(node);
    } else if (open_.back().node.kind == YamlNode::Kind::kList) {
      open_.back().node.items.push_back(std::move(node));
    } else {
      add_to_map(open_.back(), std::move(node));
    }
  }
  void add_to_map(Open& map, YamlNode node) {
    if (!map.entry) {
      map.is_dropped = !check_key(node);
      map.entry = YamlEntry{node.text, node.line, {}};
      return;
    }
    YamlEntry entry = *std::move(map.entry);
    map.entry.reset();
    if (map.is_dropped) return;
    entry.value = std::move(node);
    auto& entries = map.node.entries;
    const auto twin = std::ranges::find(entries, entry.key, &YamlEntry::key);
    if (twin == entries.end()) {
      entries.push_back(std::move(entry));
      return;
    }
    refuse_line(entry.line, "key '" + detail::printable(entry.key, kMaxEchoed) +
                                "' is there twice, first in line " + std::to_string(twin->line) +
                                "; keep one");
  }
  bool check_key(const YamlNode& node) {
    if (node.kind != YamlNode::Kind::kScalar) {
      refuse_line(node.line, "a key must be a word");
      return false;
    }
    if (node.text != "<<") return true;
    refuse_line(node.line, "merge keys (<<) are not read; write the keys out");
    return false;
  }

  const std::string_view text_;
  YamlDocument& document_;
  std::vector<Open> open_;
  std::map<YAML::anchor_t, YamlNode> anchors_;
  int64_t num_nodes_ = 0;
  int num_documents_ = 0;
  bool is_over_ = false;
};

/// How many bytes the UTF-8 character at the start of `text` has; 0 if it is none, or a control
/// character.
size_t character_bytes(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80)
    return first >= ' ' && first != 0x7f ? 1 : first == '\t' || first == '\n' || first == '\r';
  const size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < size) return 0;
  for (size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  if ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) > 0x9f)) return 0;
  if ((first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) > 0x8f)) return 0;
  return size;
}

std::optional<YamlProblem> check_characters(std::string_view text) {
  int64_t line = 1;
  for (size_t i = 0; i < text.size();) {
    const size_t size = character_bytes(text.substr(i));
    if (size == 0) {
      return YamlProblem{line, "byte " + std::to_string(static_cast<unsigned char>(text[i])) +
                                   " is no text; the file must be UTF-8"};
    }
    if (text[i] == '\n') ++line;
    i += size;
  }
  return std::nullopt;
}

nlohmann::json to_json(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return nullptr;
    case YamlNode::Kind::kScalar:
      return node.text;
    case YamlNode::Kind::kList: {
      nlohmann::json list = nlohmann::json::array();
      for (const YamlNode& item : node.items) list.push_back(to_json(item));
      return list;
    }
    case YamlNode::Kind::kMap: {
      nlohmann::json map = nlohmann::json::object();
      for (const YamlEntry& entry : node.entries) map[entry.key] = to_json(entry.value);
      return map;
    }
  }
  return nullptr;
}

std::string_view line_of(std::string_view text, int line) {
  for (; line > 0 && text.find('\n') != std::string_view::npos; --line) {
    text.remove_prefix(text.find('\n') + 1);
  }
  return text.substr(0, text.find('\n'));
}

/// What is wrong with a line, if it is what people get wrong most; else in yaml-cpp's words.
std::string explained(const std::string& message, std::string_view line) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kKnown = {{
      {"illegal map value",
       "a second ': ' in one line, or a line that is indented otherwise than those of its map; "
       "one key a line, and quote a value that has ': ' in it"},
      {"end of map not found", "this line is no 'key: value' as deep as the lines before it"},
      {"end of sequence flow not found", "a list that starts with [ has no ]"},
  }};
  const std::string_view indent = line.substr(0, line.find_first_not_of(" \t"));
  if (indent.find('\t') != std::string_view::npos) return "a tab indents this line; use spaces";
  const auto found = std::ranges::find(kKnown, std::string_view(message),
                                       [](const auto& each) { return each.first; });
  return found == kKnown.end() ? message : std::string(found->second);
}

}  // namespace

YamlDocument parse_yaml(std::string_view text) {
  YamlDocument document;
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);  // a byte order mark
  if (text.size() > kMaxYamlBytes) {
    document.problems.push_back({1, "larger than " + std::to_string(kMaxYamlBytes / 1024) +
                                        " KiB; this is no configuration"});
    return document;
  }
  if (const auto problem = check_characters(text)) {
    document.problems.push_back(*problem);
    return document;
  }
  TreeBuilder builder(text, document);
  std::istringstream stream{std::string(text)};
  try {
    YAML::Parser parser(stream);
    while (document.problems.empty() && parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& error) {
    if (!builder.is_over()) {
      document.problems.push_back(
          {error.mark.line + 1,
           "no valid YAML: " + explained(error.msg, line_of(text, error.mark.line))});
    }
  } catch (const std::exception& error) {
    document.problems.push_back({1, std::string("no valid YAML: ") + error.what()});
  }
  return document;
}

std::string yaml_text(const YamlNode& node) {
  if (node.kind == YamlNode::Kind::kNull || node.kind == YamlNode::Kind::kScalar) return node.text;
  return to_json(node).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace kvferry
