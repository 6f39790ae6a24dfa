// The nonlinearities of the MLPs, in double. Sources: Hendrycks and Gimpel 2016 (GELU, both forms and x * sigmoid(1.702 x)),
// Elfwing et al. 2017 (SiLU), Shazeer 2020 (gated MLPs).
#pragma once

#include "kernels/backend.h"

namespace narae::kernels::ref {

double activate(Activation activation, double x);

}  // namespace narae::kernels::ref
