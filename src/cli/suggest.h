// What a person may have meant. Pure functions.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace narae::cli {

// How many letters must be inserted, left out, replaced or swapped with their neighbour to get from one word to the other
// (optimal string alignment distance).
int edit_distance(std::string_view from, std::string_view to);

// The name nearest to `word`, if it is near enough to be a slip of the fingers or begins with it; otherwise empty. Ties go to
// the first.
std::string closest_name(std::string_view word, std::span<const std::string> names);

}  // namespace narae::cli
