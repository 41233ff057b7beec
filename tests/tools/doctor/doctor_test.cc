#include "tools/doctor/doctor.h"

#include <gmock/gmock.h>

namespace kvferry {
namespace {

using ::testing::HasSubstr;

const std::vector<Finding> kFindings = {
    {.subject = "locked memory",
     .health = Health::kLimited,
     .found = "limit 8 MiB",
     .advice = "ask for more",
     .value = 8 << 20,
     .unit = "bytes"},
    {.subject = "a subject of many words", .found = "available", .advice = ""},
};

TEST(Doctor, ColumnsStandBelowOneAnotherHoweverLongASubjectIs) {
  EXPECT_THAT(findings_text(kFindings, true),
              HasSubstr("\n"
                        "  limited  locked memory            limit 8 MiB\n"
                        "                                    -> ask for more\n"
                        "  ok       a subject of many words  available\n"));
}

TEST(Doctor, JsonHasNumbersAsNumbers) {
  const nlohmann::json json = findings_json(kFindings, true);
  EXPECT_EQ(json.at("works"), true);
  EXPECT_EQ(json.at("findings").at(0).at("value"), 8 << 20);
  EXPECT_EQ(json.at("findings").at(0).at("unit"), "bytes");
  EXPECT_FALSE(json.at("findings").at(1).contains("value"));
}

TEST(Doctor, SaysWhichPathWorksHereWhenOneDoes) {
  for (const Finding& finding : examine_machine()) {
    if (finding.subject != "path on this host" || finding.health == Health::kMissing) continue;
    EXPECT_THAT(finding.found, ::testing::MatchesRegex("(same_host_(pull|shm)|network) is.*"));
  }
}

}  // namespace
}  // namespace kvferry
