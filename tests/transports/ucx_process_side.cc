#include "tests/transports/ucx_process_side.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <future>
#include <utility>

namespace kvferry {
namespace {

// A page of hashed bytes, repeated with its number at its start: cheap enough for sanitizers.
std::vector<std::byte> pattern(uint64_t seed, size_t num_bytes) {
  constexpr size_t kPageBytes = 4096;
  std::array<std::byte, kPageBytes> page;
  for (size_t i = 0; i < kPageBytes; ++i) {
    page.at(i) = static_cast<std::byte>(((i + seed) * 0x9E3779B97F4A7C15U) >> 56U);
  }
  std::vector<std::byte> bytes(num_bytes);
  for (size_t at = 0; at < num_bytes; at += kPageBytes) {
    std::memcpy(page.data(), &at, sizeof(at));
    std::memcpy(bytes.data() + at, page.data(), std::min(kPageBytes, num_bytes - at));
  }
  return bytes;
}

}  // namespace

UcxProcessSide::UcxProcessSide(PeerClass peer_class, bool mirror)
    : mirror_(mirror), transport_(make_ucx_transport()) {
  executor_ = ThreadExecutor::create("side", clock_).value();
  std::promise<void> done;
  executor_->post([&] {
    link_ = transport_->open_link(peer_class, *executor_).value();
    link_->set_offer_handler([this](std::span<const std::byte> header, size_t payload_bytes) {
      return accept(header, payload_bytes);
    });
    done.set_value();
  });
  done.get_future().wait();
}

UcxProcessSide::~UcxProcessSide() {
  executor_->post([this] { link_.reset(); });
  executor_.reset();
}

std::string UcxProcessSide::address() {
  std::promise<std::string> address;
  executor_->post([&] { address.set_value(link_->address()); });
  return address.get_future().get();
}

Status UcxProcessSide::connect(const std::string& peer_address) {
  std::promise<Status> status;
  executor_->post([&] { status.set_value(link_->connect(peer_address)); });
  return status.get_future().get();
}

void UcxProcessSide::offer(uint64_t seed, size_t payload_bytes) {
  auto payload = std::make_shared<Payload>(Payload{seed, pattern(seed, payload_bytes)});
  executor_->post([this, payload = std::move(payload)] { offer_here(payload, false); });
}

void UcxProcessSide::offer_forever(int depth, size_t payload_bytes) {
  for (int i = 0; i < depth; ++i) {
    const auto seed = static_cast<uint64_t>(i);
    auto payload = std::make_shared<Payload>(Payload{seed, pattern(seed, payload_bytes)});
    executor_->post([this, payload = std::move(payload)] { offer_here(payload, true); });
  }
}

void UcxProcessSide::offer_here(std::shared_ptr<Payload> payload, bool forever) {
  note([](Counts& counts) { ++counts.num_offered; });
  const std::span<const std::byte> bytes = payload->bytes;
  const auto header = std::as_bytes(std::span(&payload->seed, 1));
  link_->offer(header, bytes, [this, payload, forever](const Status& status) {
    note([](Counts& counts) { ++counts.num_sent; });
    if (forever && status.is_ok() && !closing_) offer_here(payload, true);
  });
}

OfferReply UcxProcessSide::accept(std::span<const std::byte> header, size_t payload_bytes) {
  auto payload = std::make_shared<Payload>();
  if (header.size() != sizeof(payload->seed)) return RefuseOffer{};
  std::memcpy(&payload->seed, header.data(), header.size());
  payload->bytes.resize(payload_bytes);
  note([](Counts& counts) { ++counts.num_accepted; });
  return AcceptOffer{payload->bytes, [this, payload](const Status& status) {
                       const bool is_wrong =
                           status.is_ok() &&
                           payload->bytes != pattern(payload->seed, payload->bytes.size());
                       note([&](Counts& counts) {
                         ++counts.num_received;
                         counts.num_received_ok += status.is_ok() ? 1 : 0;
                         counts.num_wrong += is_wrong ? 1 : 0;
                       });
                       if (mirror_ && status.is_ok() && !closing_) offer_here(payload, false);
                     }};
}

void UcxProcessSide::close() {
  executor_->post([this] {
    closing_ = true;
    link_->close([this] { note([](Counts& counts) { counts.is_quiet = true; }); });
  });
}

UcxProcessSide::Counts UcxProcessSide::counts() const {
  MutexLock lock(mutex_);
  return counts_;
}

}  // namespace kvferry
