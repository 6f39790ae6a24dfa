// What is said about repeated measurements.
#pragma once

#include <span>

namespace narae::bench {

// The middle value, or the mean of the two in the middle; at least one value.
double median(std::span<const double> values);

}  // namespace narae::bench
