#include "tools/json_file.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::HasSubstr;

class JsonFileTest : public ::testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path); }

  std::string text() const {
    std::ostringstream all;
    all << std::ifstream(path).rdbuf();
    return all.str();
  }

  const std::string path =
      ::testing::TempDir() + "kvferry_json_file_" + std::to_string(::getpid()) + ".json";
};

TEST_F(JsonFileTest, ReplacesWhatWasThereWhenItIsWrittenAndNotBefore) {
  std::ofstream(path) << "the report of yesterday, which is longer";
  auto file = JsonFile::open(path);
  ASSERT_THAT(file, IsOk());
  EXPECT_THAT(text(), HasSubstr("yesterday"));
  EXPECT_THAT((*file)->write({{"requests", 3}}), IsOk());
  EXPECT_EQ(text(), "{\n  \"requests\": 3\n}\n");
}

TEST_F(JsonFileTest, ARunThatFailsLeavesWhatWasThere) {
  std::ofstream(path) << "the report of yesterday";
  ASSERT_THAT(JsonFile::open(path), IsOk());
  EXPECT_EQ(text(), "the report of yesterday");
}

TEST_F(JsonFileTest, ARunThatFailsLeavesNoEmptyFile) {
  ASSERT_THAT(JsonFile::open(path), IsOk());
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(JsonFileTest, RefusesWhatCannotBeWritten) {
  EXPECT_THAT(JsonFile::open(""), StatusIs(StatusCode::kInvalidArgument, HasSubstr("name")));
  EXPECT_THAT(
      JsonFile::open("/no/such/folder/a.json"),
      StatusIs(StatusCode::kUnavailable, ::testing::AllOf(HasSubstr("/no/such/folder/a.json"),
                                                          HasSubstr("No such file or directory"))));
  EXPECT_THAT(JsonFile::open(::testing::TempDir()),
              StatusIs(StatusCode::kUnavailable, HasSubstr("Is a directory")));
}

TEST_F(JsonFileTest, WritesTextThatIsNoUtf8) {
  auto file = JsonFile::open(path);
  ASSERT_THAT(file, IsOk());
  EXPECT_THAT((*file)->write({{"workload", "\xff.jsonl"}}), IsOk());
  EXPECT_THAT(text(), HasSubstr(".jsonl"));
}

TEST_F(JsonFileTest, SaysWhatTheSystemSaysWhenTheDiskIsFull) {
  auto file = JsonFile::open("/dev/full");
  ASSERT_THAT(file, IsOk());
  EXPECT_THAT((*file)->write({{"requests", 3}}),
              StatusIs(StatusCode::kUnavailable, HasSubstr("No space left on device")));
}

}  // namespace
}  // namespace kvferry
