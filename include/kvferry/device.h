#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "kvferry/status.h"

namespace kvferry {

enum class DeviceType : uint8_t { kHost = 0, kCuda = 1 };

/// Where memory lies: the host, or a CUDA device as CUDA numbers it in this process.
struct Device {
  DeviceType type = DeviceType::kHost;
  int32_t index = 0;  ///< 0 of the host

  static constexpr Device host() { return {}; }
  static constexpr Device cuda(int32_t index) { return {DeviceType::kCuda, index}; }
  constexpr bool is_host() const { return type == DeviceType::kHost; }

  friend bool operator==(const Device&, const Device&) = default;
};

/// "host", "cuda:0".
KVFERRY_EXPORT std::string device_name(Device device);

/// Errors: kInvalidArgument naming the text and the forms.
KVFERRY_EXPORT Result<Device> parse_device(std::string_view name);

}  // namespace kvferry
