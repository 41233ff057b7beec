#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <kvferry/backend_plugin.hpp>
#include <kvferry/plugin/test_host.hpp>

#include <thread>

// The C++ face, held against the plugin's own test host.

namespace kvferry::plugin {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// Does what its setting `mode` says.
class ModalBackend final : public Backend {
 public:
  static constexpr const char* kClassName = "ModalBackend";
  static constexpr Traits kTraits = {.retains = false, .pins = true, .persists = true};

  ModalBackend(Host host, const std::string& name)
      : Backend(host), name_(name), mode_(host.required_setting("mode")) {
    host.number_or("number", 0);
  }
  ~ModalBackend() override {
    if (thread_.joinable()) thread_.join();
  }

  bool contains(std::string_view key) override {
    if (mode_ == "throws_error") throw Error(KVFERRY_UNAVAILABLE, "away");
    if (mode_ == "throws_std") throw std::logic_error("oops");
    if (mode_ == "throws_int") throw 7;
    return key == name_;
  }
  bool get(std::string_view, GetRequest& request) override {
    const std::string header = "head";
    const std::string payload = "body";
    request.found({std::as_bytes(std::span(header)), std::as_bytes(std::span(payload))});
    return true;
  }
  void submit_remove(std::vector<Request> requests, const CallInfo&) override {
    if (mode_ == "drops") return;
    if (mode_ == "throws_std") throw std::logic_error("oops");
    thread_ = std::thread([kept = std::move(requests)]() mutable {
      for (Request& request : kept) request.answer(true);
    });
  }
  bool pin(std::string_view, uint64_t owner, bool is_unpin) override {
    return owner == 5 && !is_unpin;
  }
  void put(std::string_view key, const ChunkView&) override {
    host().post([host = host(), text = std::string(key)] { host.log_info("later: " + text); });
    host().post([host = host()] { host.log_info("much later"); }, std::chrono::hours(1));
  }

 private:
  const std::string name_;
  const std::string mode_;
  std::thread thread_;
};

class EmptyBackend final : public Backend {
 public:
  static constexpr const char* kClassName = "EmptyBackend";
  using Backend::Backend;
};

const kvferry_plugin* plugin() { return detail::plugin_of<ModalBackend, EmptyBackend>("1"); }

TestHost modal(const std::string& mode) { return {plugin(), "ModalBackend", {{"mode", mode}}}; }

template <typename Call>
std::string error_of(Call call) {
  try {
    call();
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "no error";
}

TEST(PluginFace, TableSaysWhatTheClassSays) {
  ASSERT_EQ(plugin()->class_count, 2U);
  EXPECT_EQ(plugin()->classes[0]->traits, uint32_t{KVFERRY_PINS | KVFERRY_PERSISTS});
  EXPECT_EQ(plugin()->classes[1]->traits, uint32_t{KVFERRY_RETAINS});
}

TEST(PluginFace, OneKeyAtATimeAnswersByReturning) {
  TestHost host = modal("");
  EXPECT_TRUE(host.contains("test"));  // the sink's name
  EXPECT_FALSE(host.contains("other"));
  EXPECT_EQ(host.get("k"), (TestHost::Chunk{"head", "body"}));
  EXPECT_TRUE(host.pin("k", 5));
  EXPECT_FALSE(host.pin("k", 6));
  EXPECT_FALSE(host.unpin("k", 5));
}

TEST(PluginFace, RequestsMayBeAnsweredElsewhere) { EXPECT_TRUE(modal("").remove("k")); }

TEST(PluginFace, ExceptionsBecomeOutcomes) {
  EXPECT_EQ(error_of([] { modal("throws_error").contains("k"); }), "away");
  EXPECT_EQ(error_of([] { modal("throws_std").contains("k"); }), "oops");
  EXPECT_THAT(error_of([] { modal("throws_int").contains("k"); }), HasSubstr("no std::exception"));
}

TEST(PluginFace, DroppedRequestEndsAsAnError) {
  EXPECT_THAT(error_of([] { modal("drops").remove("k"); }), HasSubstr("dropped the request"));
  EXPECT_THAT(error_of([] { modal("throws_std").remove("k"); }), HasSubstr("dropped the request"));
}

TEST(PluginFace, WhatIsNotOverriddenSaysSo) {
  TestHost host(plugin(), "EmptyBackend");
  EXPECT_THAT(error_of([&] { host.contains("k"); }), HasSubstr("does not override contains()"));
  EXPECT_THAT(error_of([&] { host.put("k", {"h", "p"}); }), HasSubstr("put()"));
}

TEST(PluginFace, ThrowingConstructorMakesNoInstance) {
  EXPECT_EQ(error_of([] { TestHost host(plugin(), "ModalBackend"); }), "'mode' is not set");
}

TEST(PluginFace, NumbersThatAreNoneMakeNoInstance) {
  const auto open_with = [](const std::string& number) {
    return error_of([&] {
      TestHost host(plugin(), "ModalBackend", {{"mode", ""}, {"number", number}});
    });
  };
  for (const char* number : {"", "1GB", "1e9", "-1", "18446744073709551616"}) {
    EXPECT_EQ(open_with(number), "'number' is '" + std::string(number) + "', no whole number");
  }
  EXPECT_EQ(open_with("18446744073709551615"), open_with("0"));
}

TEST(PluginFace, PostedTasksRunOnceAndAtTheLatestBeforeTheEnd) {
  TestHost host = modal("");
  host.put("k", {"h", "p"});
  host.contains("k");  // what is due runs while it waits for an answer
  EXPECT_THAT(host.log_lines(), ElementsAre("later: k"));
  // LeakSanitizer finds it if the other one never runs.
}

}  // namespace
}  // namespace kvferry::plugin
