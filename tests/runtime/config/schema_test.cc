#include "runtime/config/schema.h"

#include <gmock/gmock.h>

#include <set>

#include "runtime/config/nearest_name.h"
#include "runtime/config/values.h"

namespace kvferry {
namespace {

YamlNode scalar(const std::string& text) {
  YamlNode node;
  node.kind = YamlNode::Kind::kScalar;
  node.text = text;
  return node;
}

TEST(ConfigSchema, EveryKeyIsThereOnceWithAMeaning) {
  std::set<std::string_view> names;
  for (const KeySpec& spec : config_schema()) {
    EXPECT_TRUE(names.insert(spec.name).second) << spec.name;
    EXPECT_TRUE(spec.meaning.ends_with('.')) << spec.name;
    EXPECT_EQ(find_key(spec.name), &spec);
  }
  EXPECT_EQ(find_key("chunk"), nullptr);
}

TEST(ConfigSchema, DefaultsAreValuesOfTheirKeys) {
  for (const KeySpec& spec : config_schema()) {
    const std::string shown = show_value(spec, {});
    CacheConfig config;
    EXPECT_EQ(apply_value(spec, scalar(shown), config).error, "") << spec.name << " " << shown;
    EXPECT_EQ(show_value(spec, config), shown);
  }
}

TEST(ConfigSchema, BothEndsOfARangeAreInItAndWhatIsBeyondIsNot) {
  for (const KeySpec& spec : config_schema()) {
    if (spec.most == 0) continue;
    CacheConfig config;
    for (const double number : {spec.least, spec.most}) {
      EXPECT_EQ(apply_value(spec, scalar(number_text(number)), config).error, "") << spec.name;
      EXPECT_EQ(show_value(spec, config), number_text(number)) << spec.name;
    }
    for (const double number : {spec.least - 1, spec.most + 1}) {
      EXPECT_NE(apply_value(spec, scalar(number_text(number)), config).error, "") << spec.name;
    }
    EXPECT_EQ(show_value(spec, config), number_text(spec.most)) << "changed by a wrong value";
  }
}

TEST(ConfigSchema, ANullBringsTheDefaultBack) {
  for (const KeySpec& spec : config_schema()) {
    if (spec.most == 0) continue;
    CacheConfig config;
    apply_value(spec, scalar(number_text(spec.most)), config);
    EXPECT_EQ(apply_value(spec, YamlNode(), config).error, "");
    EXPECT_EQ(show_value(spec, config), show_value(spec, {}));
  }
}

TEST(NearestName, CountsEditsAndSwaps) {
  EXPECT_EQ(detail::edit_distance("", "abc"), 3U);
  EXPECT_EQ(detail::edit_distance("kitten", "sitting"), 3U);
  EXPECT_EQ(detail::edit_distance("local_cup", "local_cpu"), 1U);
  const std::vector<std::string_view> names = {"local_cpu", "local_disk", "io"};
  EXPECT_EQ(detail::nearest_name("local_dsk", names), "local_disk");
  EXPECT_EQ(detail::nearest_name("locl_cpu", names), "local_cpu");
  EXPECT_EQ(detail::nearest_name("remote_url", names), "");
  EXPECT_EQ(detail::nearest_name("xx", names), "");
  EXPECT_EQ(detail::nearest_name(std::string(10'000, 'x'), names), "");
}

}  // namespace
}  // namespace kvferry
