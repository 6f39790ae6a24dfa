// What this process and machine use and have, in bytes (Linux).
#pragma once

#include <cstdint>

namespace narae {

std::uint64_t resident_bytes();       // resident set now, mapped file pages included
std::uint64_t peak_resident_bytes();  // highest so far
std::uint64_t available_bytes();      // what the machine (or the container's limit) can still give

}  // namespace narae
