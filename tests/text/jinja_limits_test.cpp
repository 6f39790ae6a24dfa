// Templates that are meant to hurt, and templates that are broken.
#include "text/chat_template_goldens.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

namespace narae::test {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif
#else
constexpr bool kSanitized = false;
#endif
#ifdef NDEBUG
constexpr bool kOptimized = true;
#else
constexpr bool kOptimized = false;
#endif

std::string repeated(std::string_view text, int times) {
    std::string result;
    for (int i = 0; i < times; ++i) result += text;
    return result;
}

std::string nested_macros() {
    std::string source = "{% macro m0() %}x{% endmacro %}";
    for (int i = 1; i <= 10; ++i)
        source += fmt::format("{{% macro m{}() %}}{}{{% endmacro %}}", i, repeated(fmt::format("{{{{ m{}() }}}}", i - 1), 10));
    return source + "{{ m10() }}";
}

std::string doubling(std::string_view start, std::string_view step, std::string_view end) {
    return fmt::format("{{% set ns = namespace(s={0}) %}}{{% for i in range(100) %}}{{% set ns.s = {1} %}}{{% endfor %}}{2}",
                       start, step, end);
}

bool refuses(const std::string& source) {
    try {
        ChatTemplate(source).render({{"u", "user"}});
        return false;
    } catch (const UsageError&) {
        return true;
    } catch (const BadFileError&) {
        return true;
    }
}

// In a child process: CPU seconds and the most memory it held, in KiB; refused or not.
struct Cost {
    bool refused = false;
    double seconds = 0;
    long kib = 0;
};

template <class Work>
Cost cost_of(Work work) {
    const pid_t child = fork();
    if (child == 0) _exit(work() ? 0 : 1);
    int status = 0;
    rusage used{};
    wait4(child, &status, 0, &used);
    Cost cost;
    cost.refused = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    cost.seconds = static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                   static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
    cost.kib = used.ru_maxrss;
    return cost;
}

void expect_cheap_refusal(const std::string& name, const std::string& source) {
    SCOPED_TRACE(name);
    if (kSanitized) {
        EXPECT_TRUE(refuses(source));
        return;
    }
    static const Cost nothing = cost_of([] { return true; });
    const Cost cost = cost_of([&] { return refuses(source); });
    EXPECT_TRUE(cost.refused);
    if (kOptimized) {
        EXPECT_LE(cost.seconds, 0.2);
    }
    EXPECT_LE(cost.kib - nothing.kib, 64 * 1024);
}

TEST(JinjaLimits, BombsAreRefusedWithinTheBudget) {
    const std::vector<std::pair<std::string, std::string>> bombs = {
        {"a long range", "{% for i in range(10**9) %}x{% endfor %}"},
        {"loops in loops", "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}"},
        {"output in loops", "{% for i in range(100000) %}{% for j in range(100000) %}{{ 'x' * 1000 }}{% endfor %}{% endfor %}"},
        {"nested macros", nested_macros()},
        {"a macro that calls itself", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"},
        {"a loop that calls itself", "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}"},
        {"a long string", "{{ 'a' * 10**9 }}"},
        {"a string just too long", "{{ 'a' * (16 * 1024 * 1024 + 1) }}"},
        {"parentheses", "{{ " + repeated("(", 100000) + "1" + repeated(")", 100000) + " }}"},
        {"parentheses, fewer", "{{ " + repeated("(", 1000) + "1" + repeated(")", 1000) + " }}"},
        {"brackets", "{{ " + repeated("[", 100000)},
        {"not", "{{ " + repeated("not ", 100000) + "1 }}"},
        {"signs", "{{ " + repeated("-", 100000) + "1 }}"},
        {"a sum", "{{ " + repeated("1+", 90000) + "1 }}"},
        {"attributes", "{{ a" + repeated(".b", 90000) + " }}"},
        {"calls", "{{ a" + repeated("()", 60000) + " }}"},
        {"filters", "{{ a" + repeated("|upper", 90000) + " }}"},
        {"conditionals", "{{ " + repeated("1 if 1 else ", 40000) + "1 }}"},
        {"ifs", repeated("{% if 1 %}", 40000)},
        {"loops without end", repeated("{% for i in [1] %}", 20000)},
        {"openings", repeated("{{", 500000)},
        {"openings of blocks", repeated("{%", 500000)},
        {"an include", "{% include 'x' %}"},
        {"a parent", "{% extends 'x' %}"},
        {"strings that double", doubling("'ab'", "ns.s + ns.s", "")},
        {"lists that double", doubling("[1, 2]", "ns.s + ns.s", "")},
        {"shared lists, printed", doubling("['x']", "[ns.s, ns.s]", "{{ ns.s }}")},
        {"shared lists, dumped", doubling("['x']", "[ns.s, ns.s]", "{{ ns.s|tojson }}")},
        {"shared tuples, hashed", doubling("('x',)", "(ns.s, ns.s)", "{{ {ns.s: 1} }}")},
        {"shared tuples, looked up", doubling("('x',)", "(ns.s, ns.s)", "{{ ns.s in {} }}")},
        {"shared lists, compared",
         "{% set ns = namespace(s=['x'], t=['x']) %}{% for i in range(100) %}{% set ns.s = [ns.s, ns.s] %}"
         "{% set ns.t = [ns.t, ns.t] %}{% endfor %}{{ ns.s == ns.t }}"},
        {"deep tuples, looked up",
         "{% set ns = namespace(s=()) %}{% for i in range(90000) %}{% set ns.s = (ns.s,) %}{% endfor %}{{ ns.s in {} }}"},
        {"replacing by more", "{{ ('a' * 1000000).replace('a', 'b' * 1000000) }}"},
        {"padding", "{{ 'x'.center(10**12) }}{{ '%1000000d' % 1 * 20 }}"},
        {"formatting", "{{ '{:99999999999}'.format(1) }}"},
        {"escaping", "{{ ('\"' * 16000000)|e }}"},
        {"dumping", "{{ ('\\x01' * 16000000)|tojson }}"},
        {"characters", "{{ ('a' * 16000000)|list }}"},
        {"words", "{{ ('a ' * 8000000).split() }}"},
        {"lines", "{{ ('\\n' * 16000000).splitlines() }}"},
        {"indentation", "{{ ('a\\n' * 1000000)|indent(1000) }}"},
        {"origins", "{% for i in range(100000) %}{% for j in range(100000) %}x{{ u }}{% endfor %}{% endfor %}"},
        {"far characters", "{% set k = '한' * 5000000 %}{% for i in range(100000) %}{{ k[4999999] }}{% endfor %}"},
        {"searching", "{% set k = 'a' * 8000000 %}{% for i in range(100000) %}{{ k.rfind('a' * 4000000 ~ 'b') }}{% endfor %}"},
        {"comparing",
         "{% set k = 'a' * 9000000 %}{% set l = 'a' * 9000000 %}{% for i in range(100000) %}{{ k == l }}{% endfor %}"},
        {"powers", "{{ 2 ** 10**9 }}"},
        {"sorting", "{% for i in range(100000) %}{{ range(100000)|sort(reverse=true) }}{% endfor %}"},
        {"arguments",
         "{% macro m() %}{{ varargs }}{% endmacro %}{% for i in range(100000) %}{{ m(*range(100000)) }}{% endfor %}"},
        {"generators in generators",
         "{% set ns = namespace(g=[1]) %}{% for i in range(50000) %}{% set ns.g = ns.g|map('string') %}{% endfor %}{{ "
         "ns.g|list }}"},
        {"batches", "{{ [1]|batch(10**12, 'x')|list }}{{ [1]|slice(10**12)|list }}"},
    };
    for (const auto& [name, source] : bombs) expect_cheap_refusal(name, source);
}

// Deep values and rings are legal as long as nobody walks them; they must go without recursion.
TEST(JinjaLimits, DeepValuesAreDestroyed) {
    const auto text = [](std::string_view source) { return ChatTemplate(source).render(Json::object()).text; };
    EXPECT_EQ(text("{% set ns = namespace(s=[]) %}{% for i in range(100000) %}{% set ns.s = [ns.s] %}{% endfor %}ok"), "ok");
    EXPECT_EQ(text("{% set ns = namespace(p=0) %}{% for i in range(20000) %}{% set ns.p = namespace(p=ns.p) %}{% endfor %}ok"),
              "ok");
    EXPECT_EQ(text("{% for i in range(20000) %}{% set a = namespace() %}{% set a.a = a %}{% endfor %}ok"), "ok");
    EXPECT_EQ(text("{% macro m() %}{% macro n() %}{% endmacro %}{% set ns.n = n %}{% endmacro %}{% set ns = namespace() %}{{ "
                   "m() }}ok"),
              "ok");
    EXPECT_EQ(text("{% set ns = namespace() %}{% for i in [1] %}{% set ns.l = loop %}{{ loop.changed(loop) }}{% endfor %}{{ "
                   "ns.l.index }}"),
              "True1");
}

// The deepest evaluation that is allowed, on a stack as small as a thread may get.
TEST(JinjaLimits, DeepEvaluationFitsTheStack) {
    const std::string nested = repeated("(1 + ", 100) + "m(n - 1)" + repeated(")", 100);
    const std::string source = "{% macro m(n) %}{% if n > 0 %}{{ " + nested + " }}{% endif %}{% endmacro %}{{ m(63) }}";
    EXPECT_TRUE(refuses(source));
}

TEST(JinjaLimits, BrokenTemplatesSayWhereAndWhy) {
    const std::vector<std::pair<std::string, std::string>> broken = {
        {"a\nb{% if x %}", "line 2: unexpected end of template, need 'endif'"},
        {"{% endif %}", "line 1: unknown tag 'endif'"},
        {"{% for x in y %}{% endif %}", "line 1: unknown tag 'endif'"},
        {"{{ x", "line 1: expected '}}', found the end of the template"},
        {"{{ 'x }}", "line 1: unexpected character '''"},
        {"\n\n{{ x ? y }}", "line 3: unexpected character '?'"},
        {"{{ (x] }}", "line 1: unexpected ']', expected ')'"},
        {"{{ }}", "line 1: expected an expression, found '}}'"},
        {"{# x", "line 1: a comment has no end"},
        {"{% raw %}", "line 1: a raw block has no end"},
        {"{% nope %}", "line 1: unknown tag 'nope'"},
        {"{{ x|nope }}", "line 1: no filter named 'nope'"},
        {"{{ x is nope }}", "line 1: no test named 'nope'"},
        {"{% set 1 = 2 %}", "line 1: this cannot be assigned to"},
        {"{% set none = 2 %}", "line 1: this cannot be assigned to"},
        {"{% break %}", "line 1: 'break' outside of a loop"},
        {"{% for loop in x %}{% endfor %}", "line 1: the special variable 'loop' cannot be assigned to"},
        {"{{ 99999999999999999999 }}", "line 1: the integer 99999999999999999999 does not fit 64 bits"},
        {"{{ '\\ud800' }}", "line 1: a string has the escape \\ud800, which is no character"},
        {"{% macro m(a=1, b) %}{% endmacro %}", "line 1: the parameter 'b' has no default but follows one that has"},
        {"{% autoescape true %}{% endautoescape %}", "line 1: the tag 'autoescape' is not supported"},
    };
    for (const auto& [source, message] : broken) {
        SCOPED_TRACE(source);
        try {
            const ChatTemplate parsed(source);
            ADD_FAILURE() << "parsed";
        } catch (const BadFileError& error) {
            EXPECT_THAT(error.what(), testing::StartsWith("chat template, " + message));
        }
    }
}

TEST(JinjaLimits, FailuresSayWhereAndWhy) {
    const std::vector<std::pair<std::string, std::string>> failing = {
        {"\n{{ x.y.z }}", "line 2: 'dict object' has no attribute 'y'"},
        {"{{ nope.y }}", "line 1: 'nope' is undefined"},
        {"{{ 'a' in none }}", "line 1: argument of type 'NoneType' is not iterable"},
        {"{{ 'a' + 1 }}", "line 1: unsupported operand types for +: 'str' and 'int'"},
        {"{{ l.append(1) }}", "line 1: 'append' of a list is forbidden: a template may not change it"},
        {"{{ x.items }}", "line 1: a 'function' object is printed, need a value; is a call missing?"},
        {"{{ l|map('upper') }}",
         "line 1: a generator is printed, found the result of a filter such as map or selectattr; put |list behind it"},
        {"{{ l|selectattr('a')|length }}", "line 1: object of type 'generator' has no len()"},
        {"{{ 'a'|urlize }}", "line 1: this filter is not supported in chat templates"},
        {"{{ nope|tojson }}", "line 1: object of type Undefined is not JSON serializable"},
    };
    for (const auto& [source, message] : failing) {
        SCOPED_TRACE(source);
        try {
            ADD_FAILURE() << ChatTemplate(source).render({{"x", Json::object()}, {"l", {1, 2}}}).text;
        } catch (const UsageError& error) {
            EXPECT_EQ(error.what(), "chat template, " + message);
        }
    }
}

}  // namespace
}  // namespace narae::test
