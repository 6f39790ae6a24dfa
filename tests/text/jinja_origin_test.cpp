// Where text comes from, through every operation on strings.
#include "text/chat_template_goldens.h"

#include <random>
#include <string>
#include <vector>

namespace narae::test {
namespace {

// The text with what is not trusted in [].
std::string marked(const std::string& source, const Json& variables) {
    const TaggedText rendered = ChatTemplate(source).render(variables);
    expect_runs_cover(rendered);
    std::string result;
    for (const TextRun& run : rendered.runs) {
        const std::string part = rendered.text.substr(run.begin, run.end - run.begin);
        result += run.trusted ? part : "[" + part + "]";
    }
    return result;
}

TEST(JinjaOrigin, FollowsTheText) {
    const Json variables = {{"u", "user"}, {"v", " a b "},  {"n", 42},           {"f", 1.5},
                            {"t", true},   {"l", {"x", 1}}, {"d", {{"k", "w"}}}, {"lines", "a\nb"}};
    const std::vector<std::pair<std::string, std::string>> cases = {
        {"A{{ u }}B", "A[user]B"},
        {"{{ 'A' + u + 'B' }}", "A[user]B"},
        {"{{ 'A' ~ u ~ n ~ f ~ t }}", "A[user421.5True]"},
        {"{{ u ~ 'A' ~ u }}", "[user]A[user]"},
        {"{{ (u ~ 'ABC')[2:6] }}", "[er]AB"},
        {"{{ (u ~ 'ABC')[::-1] }}", "CBA[resu]"},
        {"{{ (u ~ 'ABC')[4] }}{{ (u ~ 'ABC')[3] }}", "A[r]"},
        {"{{ ('A' ~ u)|upper }}{{ ('A' ~ u).lower() }}{{ (u ~ ' B')|title }}{{ u|capitalize }}", "A[USER]a[userUser] B[User]"},
        {"{{ v|trim }}{{ v.strip() }}{{ ('  ' ~ v ~ 'A ')|trim }}", "[a ba ba b ]A"},
        {"{{ 'AxB'.replace('x', u) }}{{ u.replace('s', 'S') }}{{ u|replace('er', 'ER') }}", "A[user]B[u]S[erus]ER"},
        {"{{ 'A,' ~ u ~ ',B' }}{{ ('A,' ~ u ~ ',B').split(',')|join('+') }}", "A,[user],BA+[user]+B"},
        {"{{ [u, 'A', n]|join(',') }}{{ ','.join([u, 'A']) }}", "[user],A,[42user],A"},
        {"{{ '%s-%d' % (u, n) }}{{ '{}-{}'.format(u, 'A') }}{{ '%5s' % u }}{{ '{:>6}'.format(u) }}",
         "[user]-[42user]-A [user]  [user]"},
        {"{{ lines|indent }}{{ 'A\\nB'|indent(2) }}", "[a\n]    [b]A\n  B"},
        {"{{ d|tojson }}{{ {'A': u, 'B': 1}|tojson }}", "[{\"k\": \"w\"}]{\"A\": [\"user\"], \"B\": 1}"},
        {"{{ l }}{{ [u, 'A', n] }}", "[['x', 1]][['user'], 'A', [42]]"},
        {"{{ d.k }}{{ d['k'] }}{{ d.keys()|first }}{% for k, w in d.items() %}{{ k ~ w }}{% endfor %}", "[wwkkw]"},
        {"{{ n + 1 }}{{ 1 + 1 }}{{ n * 2 }}{{ -n }}{{ n|abs }}{{ n / 4 }}", "[43]2[84-424210.5]"},
        {"{{ '7'|int }}{{ '7'|float }}{{ '8x'|int }}", "77.00"},
        {"{{ s|int }}{{ s|float }}{{ s|string }}{{ n|string }}", "[1212.01242]"},
        {"{% set x %}A{{ u }}{% endset %}{{ x }}{{ x|length }}", "A[user]5"},
        {"{% macro m(a) %}<{{ a }}>{% endmacro %}{{ m(u) }}{{ m('A') }}", "<[user]><A>"},
        {"{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}{{ u }}B{% endcall %}", "<[user]B>"},
        {"{% filter upper %}a{{ u }}{% endfilter %}{% generation %}G{{ u }}{% endgeneration %}", "A[USER]G[user]"},
        {"{{ u|e }}{{ '<' ~ u ~ '>' }}{{ ('<' ~ h)|e }}{{ u|urlencode }}", "[user]<[user]>&lt;[&lt;user]"},
        {"{{ u|safe }}{{ u|default('A') }}{{ nope|default(u) }}{{ nope|default('A') }}", "[useruseruser]A"},
        {"{{ u.center(8, 'X') }}{{ u.ljust(6) }}{{ '7'.zfill(3) }}{{ u * 2 }}{{ 'A' * 2 }}",
         "XX[user]XX[user]  007[useruser]AA"},
        {"{{ u.partition('s')|join('|') }}{{ (u ~ '\\n' ~ 'A').splitlines()|join('|') }}", "[u]|s|[eruser]|A"},
        {"{{ u|list|join('-') }}{{ u|first }}{{ u|reverse }}", "[u]-[s]-[e]-[ruresu]"},
        {"{{ ('A' ~ u)|map('upper')|join }}{{ [u]|map('upper')|first }}{{ [u, 'A']|sort|join }}", "A[USERUSER]A[user]"},
    };
    Json all = variables;
    all["s"] = "12";
    all["h"] = "<";
    for (const auto& [source, expected] : cases) {
        SCOPED_TRACE(source);
        EXPECT_EQ(marked(source, all), expected);
    }
}

// Whatever is done to strings without changing their letters: those of the user (small ones) are not trusted, those of
// the template (capitals) are.
class Expressions {
public:
    explicit Expressions(unsigned seed) : random_(seed) {}

    std::string string(int depth) { return "(" + bare(depth) + ")"; }

private:
    std::string bare(int depth) {
        if (depth == 0) return pick({"'AB'", "'C D'", "'E\\nF'", "''", "u", "v", "w", "k"});
        switch (below(16)) {
            case 0:
                return "(" + string(depth - 1) + " ~ " + string(depth - 1) + ")";
            case 1:
                return "(" + string(depth - 1) + " + " + string(depth - 1) + ")";
            case 2:
                return string(depth - 1) + fmt::format("[{}:{}]", below(5) - 2, below(9) - 2);
            case 3:
                return string(depth - 1) + fmt::format("[{}::{}]", below(5), pick({"-1", "2", "-2", "1"}));
            case 4:
                return string(depth - 1) + ".replace(" + string(0) + ", " + string(depth - 1) + ")";
            case 5:
                return string(depth - 1) + "|trim";
            case 6:
                return string(depth - 1) + ".strip('A a')";
            case 7:
                return "[" + string(depth - 1) + ", " + string(depth - 1) + "]|join(" + string(depth - 1) + ")";
            case 8:
                return string(depth - 1) + ".split()|join(" + string(0) + ")";
            case 9:
                return string(depth - 1) + ".split('a', 2)|join('B')";
            case 10:
                return "('%s-%5s' % (" + string(depth - 1) + ", " + string(depth - 1) + "))";
            case 11:
                return "'{}{:>4}'.format(" + string(depth - 1) + ", " + string(depth - 1) + ")";
            case 12:
                return string(depth - 1) + "|indent(1, " + pick({"true", "false"}) + ")";
            case 13:
                return string(depth - 1) + "|list|sort|join";
            case 14:
                return string(depth - 1) + ".center(12, 'X')";
            default:
                return string(depth - 1) + ".splitlines()|reverse|join(" + string(0) + ")";
        }
    }

    int below(int limit) { return static_cast<int>(random_() % static_cast<unsigned>(limit)); }
    std::string pick(std::vector<std::string> choices) { return choices[random_() % choices.size()]; }

    std::mt19937 random_;
};

TEST(JinjaOrigin, LettersKeepTheirOrigin) {
    const Json variables = {{"u", "abc"}, {"v", " d a "}, {"w", "f\ng\n"}, {"k", "한a글"}};
    for (unsigned seed = 0; seed < 3000; ++seed) {
        const std::string source = "{{ " + Expressions(seed).string(1 + static_cast<int>(seed % 4)) + " }}";
        SCOPED_TRACE(source);
        TaggedText rendered;
        try {
            rendered = ChatTemplate(source).render(variables);
        } catch (const UsageError& error) {
            // Slices by zero steps and the like do not occur; only growth beyond the limits could stop these.
            ADD_FAILURE() << error.what();
            continue;
        }
        expect_runs_cover(rendered);
        for (const TextRun& run : rendered.runs)
            for (std::size_t i = run.begin; i < run.end; ++i) {
                const char c = rendered.text[i];
                const bool user = (c >= 'a' && c <= 'z') || static_cast<unsigned char>(c) >= 0x80;
                if (user) {
                    EXPECT_FALSE(run.trusted) << rendered.text;
                }
                if (c >= 'A' && c <= 'Z') {
                    EXPECT_TRUE(run.trusted) << rendered.text;
                }
            }
        if (HasFailure()) return;
    }
}

}  // namespace
}  // namespace narae::test
