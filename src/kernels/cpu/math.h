// exp, tanh, erf and the curves of an MLP on sixteen lanes. Errors are a few units in the last place of float32; the
// polynomials were fitted by weighted least squares to their functions in double precision.
#pragma once

#include "kernels/cpu/kernels.h"

namespace narae::kernels::cpu {

template <class Isa>
struct Math {
    using F = typename Isa::F;

    // 2^n e^r with x = n ln 2 + r; the series of e^r to r^7. exp(0) is 1; 0 where the result would not be a normal number
    // (denormal ones cost hundreds of cycles); at most exp(88); a NaN stays a NaN.
    static NARAE_INLINE F exp(F x) {
        const F least = Isa::set(-87.3f), inside = Isa::min(Isa::set(88.0f), Isa::max(least, x));
        const F n = Isa::round(Isa::mul(inside, Isa::set(1.44269504f)));
        F r = Isa::fma(n, Isa::set(-0.693359375f), inside);
        r = Isa::fma(n, Isa::set(2.12194440e-4f), r);
        F p = Isa::set(1.98412698e-4f);
        p = Isa::fma(p, r, Isa::set(1.38888889e-3f));
        p = Isa::fma(p, r, Isa::set(8.33333333e-3f));
        p = Isa::fma(p, r, Isa::set(4.16666667e-2f));
        p = Isa::fma(p, r, Isa::set(1.66666667e-1f));
        p = Isa::fma(p, r, Isa::set(0.5f));
        p = Isa::fma(p, r, Isa::set(1.0f));
        p = Isa::fma(p, r, Isa::set(1.0f));
        return Isa::select_less(x, least, Isa::zero(), Isa::scale_by_power(p, n));
    }

    static NARAE_INLINE F tanh(F x) {
        const F size = Isa::abs(x), z = Isa::mul(x, x);
        F small = Isa::set(-6.045393089e-03f);
        small = Isa::fma(small, z, Isa::set(2.096151212e-02f));
        small = Isa::fma(small, z, Isa::set(-5.384330911e-02f));
        small = Isa::fma(small, z, Isa::set(1.333271921e-01f));
        small = Isa::fma(small, z, Isa::set(-3.333332844e-01f));
        small = Isa::fma(Isa::mul(small, z), size, size);
        const F e = exp(Isa::add(size, size));
        const F large = Isa::sub(Isa::set(1.0f), Isa::div(Isa::set(2.0f), Isa::add(e, Isa::set(1.0f))));
        return Isa::copy_sign(Isa::select_less(size, Isa::set(0.625f), small, large), x);
    }

    static NARAE_INLINE F sigmoid(F x) { return Isa::reciprocal(Isa::add(Isa::set(1.0f), exp(Isa::sub(Isa::zero(), x)))); }

    // x / 2 * erfc(-x / sqrt 2): near 0 through erf, elsewhere through exp(a^2) erfc(a), which keeps the left tail's digits.
    static NARAE_INLINE F gelu_erf(F x) {
        const F one = Isa::set(1.0f), half_x = Isa::mul(x, Isa::set(0.5f));
        const F signed_a = Isa::mul(x, Isa::set(0.707106781f)), a = Isa::abs(signed_a);
        const F z = Isa::mul(a, a);
        F erf = Isa::set(-9.641514850e-06f);
        erf = Isa::fma(erf, z, Isa::set(1.125694791e-04f));
        erf = Isa::fma(erf, z, Isa::set(-8.482828932e-04f));
        erf = Isa::fma(erf, z, Isa::set(5.220945447e-03f));
        erf = Isa::fma(erf, z, Isa::set(-2.686540005e-02f));
        erf = Isa::fma(erf, z, Isa::set(1.128378197e-01f));
        erf = Isa::fma(erf, z, Isa::set(-3.761263843e-01f));
        erf = Isa::fma(erf, z, Isa::set(1.128379167e+00f));
        const F near = Isa::fma(half_x, Isa::mul(erf, signed_a), half_x);

        const F b = Isa::min(Isa::set(10.2f), a), two = Isa::set(2.0f);
        const F t = Isa::div(Isa::sub(b, two), Isa::add(b, two));
        F tail = Isa::set(1.368090494e-04f);
        tail = Isa::fma(tail, t, Isa::set(-1.734393010e-03f));
        tail = Isa::fma(tail, t, Isa::set(1.188146346e-03f));
        tail = Isa::fma(tail, t, Isa::set(8.795918972e-03f));
        tail = Isa::fma(tail, t, Isa::set(-8.034133997e-03f));
        tail = Isa::fma(tail, t, Isa::set(-5.422582940e-02f));
        tail = Isa::fma(tail, t, Isa::set(1.640515840e-01f));
        tail = Isa::fma(tail, t, Isa::set(-1.660302427e-01f));
        tail = Isa::fma(tail, t, Isa::set(-9.276383234e-02f));
        tail = Isa::fma(tail, t, Isa::set(1.276978381e+00f));
        tail = Isa::div(Isa::mul(tail, exp(Isa::sub(Isa::zero(), z))), Isa::fma(two, b, one));
        const F far = Isa::mul(half_x, Isa::select_less(x, Isa::zero(), tail, Isa::sub(two, tail)));
        return Isa::select_less(a, one, near, far);
    }

    static NARAE_INLINE F gelu_tanh(F x) {
        const F cube = Isa::mul(Isa::mul(x, x), x);
        const F inner = Isa::mul(Isa::set(0.797884561f), Isa::fma(Isa::set(0.044715f), cube, x));
        // (1 + tanh u) / 2 = sigmoid(2u), without the cancellation on the left.
        return Isa::mul(x, sigmoid(Isa::add(inner, inner)));
    }

    static NARAE_INLINE F curve(Curve curve, F x) {
        switch (curve) {
            case Curve::silu:
                return Isa::mul(x, sigmoid(x));
            case Curve::gelu_erf:
                return gelu_erf(x);
            case Curve::gelu_tanh:
                return gelu_tanh(x);
            case Curve::quick_gelu:
                return Isa::mul(x, sigmoid(Isa::mul(x, Isa::set(1.702f))));
            case Curve::relu:
                break;
        }
        return Isa::max(Isa::zero(), x);
    }
};

}  // namespace narae::kernels::cpu
