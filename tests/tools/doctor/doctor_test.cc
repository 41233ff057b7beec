#include "tools/doctor/doctor.h"

#include <gmock/gmock.h>

#include "tests/support/status_matchers.h"
#include "tools/doctor/probe_cuda.h"

namespace kvferry {
namespace {

using ::testing::AllOf;
using ::testing::Field;
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

// What query_cuda_devices() says: in builds without CUDA, without a driver, and with devices.
TEST(Doctor, SaysWhyThereIsNoCudaDevice) {
  for (const char* reason : {"built without CUDA; configure with nvcc on PATH or KVFERRY_CUDA=ON",
                             "no CUDA driver on this machine (libcuda.so.1 was not found)"}) {
    const Finding finding = cuda_finding(make_error(StatusCode::kNotFound, reason));
    EXPECT_EQ(finding.health, Health::kLimited);
    EXPECT_EQ(finding.found, reason);
    EXPECT_EQ(finding.advice, "chunks move between host memories only");
    EXPECT_EQ(finding.value, 0);
  }
}

TEST(Doctor, NamesTheCudaDevices) {
  const CudaDeviceInfo device{.name = "NVIDIA H100 80GB HBM3",
                              .compute_major = 9,
                              .compute_minor = 0,
                              .memory_bytes = 85'520'809'984,
                              .pci_bus_id = "0000:01:00.0",
                              .driver_version = 12080};
  const Finding finding = cuda_finding(std::vector{device, device});
  EXPECT_EQ(finding.health, Health::kOk);
  EXPECT_EQ(finding.found,
            "NVIDIA H100 80GB HBM3 (sm_90, 80 GiB), NVIDIA H100 80GB HBM3 (sm_90, 80 GiB), "
            "driver for CUDA 12.8");
  EXPECT_EQ(finding.value, 2);
}

TEST(Doctor, SaysWhatBecomesOfDeviceMemoryOverUcx) {
  EXPECT_THAT(
      device_memory_finding({.ucx_version = "1.13.1"}),
      AllOf(Field(&Finding::health, Health::kOk),
            Field(&Finding::found, "UCX 1.13.1 was not asked: kvferry has no CUDA device here"),
            Field(&Finding::advice, "")));
  EXPECT_THAT(device_memory_finding({.ucx_version = "1.13.1", .has_device = true}),
              AllOf(Field(&Finding::health, Health::kLimited),
                    Field(&Finding::found,
                          "UCX 1.13.1 does not move it: it is staged through pinned host memory"),
                    Field(&Finding::advice, HasSubstr("UCX_ROOT (docs/device-memory.md)"))));
  EXPECT_THAT(device_memory_finding(
                  {.ucx_version = "1.22.0", .has_device = true, .user_overrides_tls = true}),
              AllOf(Field(&Finding::health, Health::kLimited),
                    Field(&Finding::advice, HasSubstr("UCX_TLS is set"))));
  EXPECT_THAT(
      device_memory_finding({.ucx_version = "1.22.0", .has_device = true, .is_moved = true}),
      AllOf(Field(&Finding::health, Health::kOk),
            Field(&Finding::found, "UCX 1.22.0 moves it directly"), Field(&Finding::advice, "")));
}

// Of this machine, and for programs too.
TEST(Doctor, HasALineForTheDevicesAndOneForTheirMemoryWhereThereIsUcx) {
  std::vector<std::string> subjects;
  const nlohmann::json json = findings_json(examine_machine(), true);
  for (const nlohmann::json& finding : json.at("findings")) {
    subjects.push_back(finding.at("subject"));
  }
  EXPECT_THAT(subjects, ::testing::Contains("cuda"));
#if KVFERRY_HAVE_UCX
  EXPECT_THAT(subjects, ::testing::Contains("ucx, device memory"));
#endif
}

}  // namespace
}  // namespace kvferry
