// What this processor can run of what the files *_avx2.cpp and *_avx512.cpp are compiled for (cmake/rooms.cmake).
#pragma once

#include <cstdint>

namespace narae::kernels {

enum class InstructionSet : std::uint8_t {
    generic,
    avx2,    // AVX2, FMA and F16C
    avx512,  // AVX-512 F, BW, VL, DQ and VNNI; and those of avx2
};
InstructionSet best_instruction_set();

}  // namespace narae::kernels
