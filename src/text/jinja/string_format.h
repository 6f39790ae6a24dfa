// "%s of %d" % values, "{} of {}".format(values), and format specifications.
#pragma once

#include "text/jinja/value.h"

namespace narae::jinja {

// `format` % `values`, where values is a tuple, a dict for %(name)s, or the one value.
Value format_percent(Runtime& runtime, const Value& format, const Value& values);

// format.format(*positional, **keywords).
Value format_braces(Runtime& runtime, const Value& format, const CallArguments& arguments);

}  // namespace narae::jinja
