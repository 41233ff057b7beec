#include "runtime/transfer/transfer_states.h"

#include <algorithm>
#include <span>

namespace kvferry {
namespace {

template <typename State, typename Event>
struct Transition {
  State from;
  Event event;
  State to;
};

template <typename State, typename Event>
std::optional<State> find(std::span<const Transition<State, Event>> table, State state,
                          Event event) {
  const auto found = std::find_if(table.begin(), table.end(), [&](const auto& each) {
    return each.from == state && each.event == event;
  });
  return found == table.end() ? std::nullopt : std::optional<State>(found->to);
}

using S = SourceState;
using SE = SourceEvent;
constexpr Transition<S, SE> kSourceTable[] = {
    {S::kPlanned, SE::kOffered, S::kPosted},
    {S::kPlanned, SE::kUnserved, S::kFailed},
    {S::kPlanned, SE::kWithdrawn, S::kCancelled},
    {S::kPlanned, SE::kSessionQuiet, S::kCancelled},
    {S::kPlanned, SE::kSessionUnfenced, S::kCancelled},
    {S::kPosted, SE::kGranted, S::kDraining},
    // Nothing was read. Who claims to have verified it all the same is not believed.
    {S::kPosted, SE::kAckVerified, S::kFailed},
    {S::kPosted, SE::kAckNotTaken, S::kFailed},
    {S::kPosted, SE::kSessionQuiet, S::kCancelled},
    {S::kPosted, SE::kSessionUnfenced, S::kCancelled},
    {S::kDraining, SE::kSent, S::kSent},
    {S::kDraining, SE::kAckVerified, S::kVerified},
    {S::kDraining, SE::kAckNotTaken, S::kRejected},
    {S::kDraining, SE::kSessionQuiet, S::kFailed},
    {S::kDraining, SE::kSessionUnfenced, S::kQuarantined},
    {S::kSent, SE::kAckVerified, S::kCompleted},
    {S::kSent, SE::kAckNotTaken, S::kFailed},
    {S::kSent, SE::kSessionQuiet, S::kFailed},
    {S::kSent, SE::kSessionUnfenced, S::kQuarantined},
    {S::kVerified, SE::kSent, S::kCompleted},
    {S::kVerified, SE::kSessionQuiet, S::kCompleted},
    {S::kVerified, SE::kSessionUnfenced, S::kCompleted},
    {S::kRejected, SE::kSent, S::kFailed},
    {S::kRejected, SE::kSessionQuiet, S::kFailed},
    {S::kRejected, SE::kSessionUnfenced, S::kFailed},
};

using D = DestinationState;
using DE = DestinationEvent;
constexpr Transition<D, DE> kDestinationTable[] = {
    {D::kPlanned, DE::kRequested, D::kRequested},
    {D::kPlanned, DE::kMisfits, D::kFailed},
    {D::kPlanned, DE::kEnded, D::kCancelled},
    {D::kPlanned, DE::kSessionEnded, D::kFailed},
    {D::kRequested, DE::kUnserved, D::kFailed},
    {D::kRequested, DE::kOffered, D::kOffered},
    {D::kRequested, DE::kEnded, D::kCancelled},
    {D::kRequested, DE::kSessionEnded, D::kFailed},
    {D::kOffered, DE::kGranted, D::kGranted},
    {D::kOffered, DE::kMisfits, D::kFailed},
    {D::kOffered, DE::kEnded, D::kCancelled},
    {D::kOffered, DE::kSessionEnded, D::kFailed},
    {D::kGranted, DE::kVerified, D::kCompleted},
    {D::kGranted, DE::kMismatched, D::kPlanned},
    {D::kGranted, DE::kPathFailed, D::kPausing},
    {D::kGranted, DE::kGaveUp, D::kFailed},
    {D::kGranted, DE::kEnded, D::kEnding},
    {D::kGranted, DE::kSessionEnded, D::kFailed},
    {D::kPausing, DE::kPauseOver, D::kPlanned},
    {D::kPausing, DE::kEnded, D::kCancelled},
    {D::kPausing, DE::kSessionEnded, D::kFailed},
    {D::kEnding, DE::kVerified, D::kCompleted},  // it arrived before we could stop it
    {D::kEnding, DE::kMismatched, D::kCancelled},
    {D::kEnding, DE::kPathFailed, D::kCancelled},
    {D::kEnding, DE::kGaveUp, D::kCancelled},
    {D::kEnding, DE::kPagesQuiet, D::kReleasing},
    {D::kEnding, DE::kSessionEnded, D::kCancelled},
    {D::kReleasing, DE::kVerified, D::kCancelled},
    {D::kReleasing, DE::kMismatched, D::kCancelled},
    {D::kReleasing, DE::kPathFailed, D::kCancelled},
    {D::kReleasing, DE::kGaveUp, D::kCancelled},
    {D::kReleasing, DE::kSessionEnded, D::kCancelled},
};

constexpr std::array<std::string_view, kNumSourceStates> kSourceStateNames = {
    "planned",  "posted",    "draining", "sent",      "verified",
    "rejected", "completed", "failed",   "cancelled", "quarantined"};
constexpr std::array<std::string_view, kNumSourceEvents> kSourceEventNames = {
    "offered",      "unserved",      "withdrawn",     "granted",         "sent",
    "ack verified", "ack not taken", "session quiet", "session unfenced"};
constexpr std::array<std::string_view, kNumDestinationStates> kDestinationStateNames = {
    "planned", "requested", "offered",   "granted", "pausing",
    "ending",  "releasing", "completed", "failed",  "cancelled"};
constexpr std::array<std::string_view, kNumDestinationEvents> kDestinationEventNames = {
    "requested",   "unserved", "offered",    "granted", "misfits",     "verified",     "mismatched",
    "path failed", "gave up",  "pause over", "ended",   "pages quiet", "session ended"};

}  // namespace

std::optional<SourceState> next_state(SourceState state, SourceEvent event) {
  return find<S, SE>(kSourceTable, state, event);
}

std::optional<DestinationState> next_state(DestinationState state, DestinationEvent event) {
  return find<D, DE>(kDestinationTable, state, event);
}

std::string_view state_name(SourceState state) {
  return kSourceStateNames[static_cast<size_t>(state)];
}
std::string_view state_name(DestinationState state) {
  return kDestinationStateNames[static_cast<size_t>(state)];
}
std::string_view event_name(SourceEvent event) {
  return kSourceEventNames[static_cast<size_t>(event)];
}
std::string_view event_name(DestinationEvent event) {
  return kDestinationEventNames[static_cast<size_t>(event)];
}

}  // namespace kvferry
