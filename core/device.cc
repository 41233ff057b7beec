#include "kvferry/device.h"

#include <charconv>

namespace kvferry {

std::string device_name(Device device) {
  return device.is_host() ? "host" : "cuda:" + std::to_string(device.index);
}

Result<Device> parse_device(std::string_view name) {
  constexpr std::string_view kCuda = "cuda:";
  if (name == "host") return Device::host();
  if (name.starts_with(kCuda)) {
    const std::string_view number = name.substr(kCuda.size());
    int32_t index = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), index);
    if (error == std::errc() && end == number.data() + number.size() && index >= 0) {
      return Device::cuda(index);
    }
  }
  return make_error(StatusCode::kInvalidArgument,
                    "device '" + std::string(name) + "' is unknown; use host, or cuda:0 and so on");
}

}  // namespace kvferry
