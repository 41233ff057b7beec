#include "runtime/transfer/transfer_states.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace kvferry {
namespace {

using Table = std::vector<std::vector<std::string>>;

std::vector<std::string> cells(const std::string& row) {
  std::vector<std::string> cells;
  std::istringstream in(row.substr(1));
  for (std::string cell; std::getline(in, cell, '|');) {
    const size_t begin = cell.find_first_not_of(' ');
    const size_t end = cell.find_last_not_of(' ');
    cells.push_back(begin == std::string::npos ? "" : cell.substr(begin, end - begin + 1));
  }
  return cells;
}

/// The table of the document whose first cell is `corner`, without the line below its head.
Table documented_table(const std::string& corner) {
  std::ifstream file(KVFERRY_TRANSFER_PROTOCOL);
  Table table;
  for (std::string line; std::getline(file, line);) {
    const bool is_row = line.rfind('|', 0) == 0;
    if (table.empty() && (!is_row || cells(line).front() != corner)) continue;
    if (!is_row) break;
    if (line.rfind("|--", 0) != 0) table.push_back(cells(line));
  }
  return table;
}

/// What the table must be: a row for each event, a column for each state that is not an end.
template <typename State, typename Event>
Table table_of_code(const std::string& corner, size_t num_states, size_t num_events) {
  Table table(num_events + 1);
  table[0].push_back(corner);
  for (size_t e = 0; e < num_events; ++e) {
    table[e + 1].emplace_back(event_name(static_cast<Event>(e)));
  }
  for (size_t s = 0; s < num_states; ++s) {
    const auto state = static_cast<State>(s);
    if (is_end(state)) continue;
    table[0].emplace_back(state_name(state));
    for (size_t e = 0; e < num_events; ++e) {
      const auto next = next_state(state, static_cast<Event>(e));
      table[e + 1].emplace_back(next ? std::string(state_name(*next)) : "");
    }
  }
  return table;
}

std::string markdown(const Table& table) {
  std::string text;
  for (const auto& row : table) {
    text += '|';
    for (const auto& cell : row) text += ' ' + cell + " |";
    text += '\n';
    if (&row != &table.front()) continue;
    text += '|';
    for (size_t i = 0; i < row.size(); ++i) text += "---|";
    text += '\n';
  }
  return text;
}

TEST(TransferStates, TheDocumentShowsTheTablesOfTheCode) {
  const Table source =
      table_of_code<SourceState, SourceEvent>("at the source", kNumSourceStates, kNumSourceEvents);
  EXPECT_EQ(documented_table("at the source"), source) << markdown(source);
  const Table destination = table_of_code<DestinationState, DestinationEvent>(
      "at the destination", kNumDestinationStates, kNumDestinationEvents);
  EXPECT_EQ(documented_table("at the destination"), destination) << markdown(destination);
}

template <typename State, typename Event>
void expect_that_all_ends(size_t num_states, size_t num_events, std::vector<Event> session_ends) {
  std::set<State> reached = {State::kPlanned};
  for (size_t i = 0; i < num_states; ++i) {
    for (const State from : std::set<State>(reached)) {
      for (size_t e = 0; e < num_events; ++e) {
        const auto next = next_state(from, static_cast<Event>(e));
        if (next) reached.insert(*next);
        EXPECT_FALSE(is_end(from) && next) << state_name(from) << " is an end";
      }
    }
  }
  EXPECT_EQ(reached.size(), num_states) << "every state is reached";
  for (const State state : reached) {
    for (const Event event : session_ends) {
      const auto next = next_state(state, event);
      EXPECT_TRUE(is_end(state) || (next && is_end(*next)))
          << "a " << state_name(state) << " chunk has no end when the session has one";
    }
  }
}

TEST(TransferStates, EveryStateIsReachedAndEndsWithItsSession) {
  expect_that_all_ends<SourceState, SourceEvent>(
      kNumSourceStates, kNumSourceEvents,
      {SourceEvent::kSessionQuiet, SourceEvent::kSessionUnfenced});
  expect_that_all_ends<DestinationState, DestinationEvent>(
      kNumDestinationStates, kNumDestinationEvents, {DestinationEvent::kSessionEnded});
}

TEST(TransferStates, OnlyTheAcknowledgementOrAQuietSessionFreesASourceThatWasGranted) {
  for (const SourceState granted : {SourceState::kDraining, SourceState::kSent}) {
    for (size_t e = 0; e < kNumSourceEvents; ++e) {
      const auto event = static_cast<SourceEvent>(e);
      const bool is_proof = event == SourceEvent::kAckVerified ||
                            event == SourceEvent::kAckNotTaken ||
                            event == SourceEvent::kSessionQuiet;
      const auto next = next_state(granted, event);
      const bool is_freed = next && is_end(*next) && *next != SourceState::kQuarantined;
      EXPECT_TRUE(!is_freed || is_proof) << event_name(event);
    }
  }
}

TEST(TransferStates, AnOwnerIsToldOnce) {
  for (size_t s = 0; s < kNumDestinationStates; ++s) {
    for (size_t e = 0; e < kNumDestinationEvents; ++e) {
      const auto state = static_cast<DestinationState>(s);
      const auto next = next_state(state, static_cast<DestinationEvent>(e));
      EXPECT_TRUE(!next || !is_told(state) || is_told(*next)) << state_name(state);
    }
  }
}

}  // namespace
}  // namespace kvferry
