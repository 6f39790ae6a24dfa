#include "base/error.h"

namespace narae {

void check_failed(const char* file, int line, const char* condition, const std::string& values) {
    throw_error<InternalError>("internal check failed at {}:{}: {} ({}); this is a defect of narae", file, line, condition,
                               values);
}

}  // namespace narae
