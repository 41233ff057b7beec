#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace kvferry {

// The life of one chunk's transfer, on each side, as two tables: whoever holds a state changes it
// by next_state() only. docs/transfer-protocol.md shows the same tables, and a test compares them.

/// A chunk on the side that holds it. The last four are ends: its memory is quiet, or in
/// quarantine.
enum class SourceState : uint8_t {
  kPlanned,      ///< asked for; nothing is promised
  kPosted,       ///< offered: staging memory is leased
  kDraining,     ///< granted: the own link and the peer may read it
  kSent,         ///< the own link needs it no more; the peer has not acknowledged
  kVerified,     ///< acknowledged; the own link may still read it
  kRejected,     ///< acknowledged as not taken; the own link may still read it
  kCompleted,    ///< the peer has published it
  kFailed,       ///< not served, not taken, or lost with the peer
  kCancelled,    ///< withdrawn, or the session ended before it was granted
  kQuarantined,  ///< failed, and the peer may still read its memory
};

enum class SourceEvent : uint8_t {
  kOffered,          ///< we offer it
  kUnserved,         ///< we cannot
  kWithdrawn,        ///< the peer wants it no more
  kGranted,          ///< the peer's Grant
  kSent,             ///< the own link is done with it, well or not
  kAckVerified,      ///< the peer's Ack
  kAckNotTaken,      ///< the peer's Ack: refused or failed
  kSessionQuiet,     ///< the session has ended; the peer cannot read any more
  kSessionUnfenced,  ///< the session has ended; the peer may still read what it was granted
};

/// An item of a fetch on the side that wants it. The last three are ends.
enum class DestinationState : uint8_t {
  kPlanned,    ///< wanted; not asked for (again) yet
  kRequested,  ///< asked for
  kOffered,    ///< the peer holds it; waits for landing memory
  kGranted,    ///< landing memory is leased; fragments may come
  kPausing,    ///< its path failed; asked for again after a moment
  kEnding,     ///< granted and wanted no more; a fragment may still be scattered into its pages
  kReleasing,  ///< its owner knows the end, its pages are quiet; the landing memory is not yet
  kCompleted,  ///< verified and published
  kFailed,     ///< not published
  kCancelled,  ///< ended before it arrived: cancel or timeout
};

enum class DestinationEvent : uint8_t {
  kRequested,     ///< we ask for it
  kUnserved,      ///< the peer cannot serve it
  kOffered,       ///< the peer's Offer
  kGranted,       ///< we have landing memory
  kMisfits,       ///< the item makes no sense, or the offer is of another layout or size
  kVerified,      ///< all fragments are scattered and verified; the landing memory is quiet
  kMismatched,    ///< a digest is wrong; the landing memory is quiet
  kPathFailed,    ///< link or sender gave up; the landing memory is quiet
  kGaveUp,        ///< as one of the last two, and it was the last attempt
  kPauseOver,     ///< the moment has passed
  kEnded,         ///< its fetch is cancelled, or its timeout is up
  kPagesQuiet,    ///< nothing scatters into its pages any more
  kSessionEnded,  ///< the session has ended, the own link is quiet
};

inline constexpr size_t kNumSourceStates = 10;
inline constexpr size_t kNumSourceEvents = 9;
inline constexpr size_t kNumDestinationStates = 10;
inline constexpr size_t kNumDestinationEvents = 13;

/// Empty: cannot happen, or comes too late, and changes nothing.
std::optional<SourceState> next_state(SourceState state, SourceEvent event);
std::optional<DestinationState> next_state(DestinationState state, DestinationEvent event);

constexpr bool is_end(SourceState state) { return state >= SourceState::kCompleted; }
constexpr bool is_end(DestinationState state) { return state >= DestinationState::kCompleted; }
/// The owner of the item hears of its end when it gets here, and never again.
constexpr bool is_told(DestinationState state) { return state >= DestinationState::kReleasing; }

std::string_view state_name(SourceState state);
std::string_view state_name(DestinationState state);
std::string_view event_name(SourceEvent event);
std::string_view event_name(DestinationEvent event);

/// Takes `event` to `state`. False: it changes nothing.
template <typename State, typename Event>
bool step(State& state, Event event) {
  const std::optional<State> next = next_state(state, event);
  if (next) state = *next;
  return next.has_value();
}

}  // namespace kvferry
