// Arithmetic on sizes that come from a file or a request: an overflow is an error, never a small number.
#pragma once

#include "base/error.h"

#include <concepts>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

namespace narae {

// a * b; BadFileError naming `what` when the product does not fit.
template <std::unsigned_integral T>
T checked_mul(T a, T b, std::string_view what) {
    T r;
    if (__builtin_mul_overflow(a, b, &r)) throw_error<BadFileError>("{}: {} x {} overflows", what, a, b);
    return r;
}

template <std::unsigned_integral T>
T checked_add(T a, T b, std::string_view what) {
    T r;
    if (__builtin_add_overflow(a, b, &r)) throw_error<BadFileError>("{}: {} + {} overflows", what, a, b);
    return r;
}

// The value as type To; BadFileError naming `what` when it does not fit.
template <std::integral To, std::integral From>
To checked_cast(From value, std::string_view what) {
    To r;
    if (__builtin_add_overflow(value, From{0}, &r)) throw_error<BadFileError>("{}: {} is out of range", what, value);
    return r;
}

}  // namespace narae
