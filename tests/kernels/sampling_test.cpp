#include "kernels/sampling.h"

#include "base/error.h"
#include "base/json.h"
#include "support/support.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <set>

namespace narae::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> random_logits(std::size_t count, std::mt19937_64& random, float deviation) {
    std::normal_distribution<float> normal(0.0f, deviation);
    std::vector<float> logits(count);
    for (float& logit : logits) logit = normal(random);
    return logits;
}

std::int32_t sample(const std::vector<float>& logits, const SamplingParameters& parameters, std::int64_t position = 0) {
    SamplingRow row;
    row.parameters = &parameters;
    row.position = position;
    const Sampled sampled = sample_token(logits, row);
    EXPECT_TRUE(sampled.finite);
    return sampled.id;
}

// ---- an oracle in double precision, sorting everything ------------------------------------------------------------------

struct Token {
    std::int32_t id;
    double logit, y, weight;
};

struct Oracle {
    std::vector<Token> survivors;  // by id
    bool ambiguous = false;        // a limit lies so close to a token that rounding decides
};

constexpr double kClose = 1e-5;

double total(const std::vector<Token>& tokens) {
    double sum = 0.0;
    for (const Token& token : tokens) sum += token.weight;
    return sum;
}

// Keeps the first tokens whose weight reaches `share` of all; `key` is what they are sorted by.
template <class Key>
void keep_share(Oracle& oracle, double share, Key key) {
    std::vector<Token>& tokens = oracle.survivors;
    std::ranges::stable_sort(tokens, {}, key);  // by id within equal keys
    const double sum = total(tokens);
    double before = 0.0;
    std::size_t kept = 0;
    while (kept < tokens.size() && (kept == 0 || before < share * sum)) {
        if (kept > 0 && std::abs(before - share * sum) < kClose * sum) oracle.ambiguous = true;
        before += tokens[kept++].weight;
    }
    if (std::abs(before - share * sum) < kClose * sum && kept < tokens.size()) oracle.ambiguous = true;
    for (const Token& token : tokens)  // nearly equal keys may change places
        if (token.logit != tokens[kept - 1].logit && std::abs(key(token) - key(tokens[kept - 1])) < kClose)
            oracle.ambiguous = true;
    tokens.resize(kept);
    std::ranges::sort(tokens, {}, &Token::id);
}

std::vector<double> processed(const std::vector<float>& logits, const SamplingRow& row) {
    const SamplingParameters& p = *row.parameters;
    std::vector<double> changed(logits.begin(), logits.end());
    for (std::size_t i = 0; i < changed.size(); ++i)
        if (!row.allowed.empty() && !(row.allowed[i / 32] >> (i % 32) & 1u))
            changed[i] = -std::numeric_limits<double>::infinity();
    for (const auto& [id, bias] : p.logit_bias) changed[static_cast<std::size_t>(id)] += static_cast<double>(bias);
    std::set<std::int32_t> seen(row.prompt.begin(), row.prompt.end());
    seen.insert(row.output.begin(), row.output.end());
    for (const std::int32_t id : seen) {
        double& logit = changed[static_cast<std::size_t>(id)];
        logit =
            logit < 0 ? logit * static_cast<double>(p.repetition_penalty) : logit / static_cast<double>(p.repetition_penalty);
    }
    std::map<std::int32_t, int> counts;
    for (const std::int32_t id : row.output) ++counts[id];
    for (const auto& [id, count] : counts)
        changed[static_cast<std::size_t>(id)] -=
            static_cast<double>(p.frequency_penalty) * count + static_cast<double>(p.presence_penalty);
    return changed;
}

Oracle survivors(const std::vector<float>& logits, const SamplingRow& row) {
    const SamplingParameters& p = *row.parameters;
    const std::vector<double> changed = processed(logits, row);
    const double max = *std::ranges::max_element(changed);
    Oracle oracle;
    for (std::size_t i = 0; i < changed.size(); ++i) {
        const double y = (changed[i] - max) / static_cast<double>(p.temperature) / std::log(2.0);
        if (y > -40) oracle.survivors.push_back({static_cast<std::int32_t>(i), changed[i], y, std::exp2(y)});
    }
    if (p.min_p > 0.0f) {
        const double limit = static_cast<double>(p.min_p);
        std::erase_if(oracle.survivors, [&](const Token& token) {
            if (std::abs(token.weight - limit) < kClose * limit) oracle.ambiguous = true;
            return token.weight < limit;
        });
    }
    if (p.top_k > 0 && oracle.survivors.size() > static_cast<std::size_t>(p.top_k)) {
        std::vector<double> sorted;
        for (const Token& token : oracle.survivors) sorted.push_back(token.logit);
        std::ranges::sort(sorted, std::greater<>());
        const double limit = sorted[static_cast<std::size_t>(p.top_k) - 1];
        std::erase_if(oracle.survivors, [&](const Token& token) {
            if (token.logit != limit && std::abs(token.logit - limit) < kClose) oracle.ambiguous = true;
            return token.logit < limit;
        });
    }
    if (p.top_p < 1.0f) keep_share(oracle, static_cast<double>(p.top_p), [](const Token& token) { return -token.logit; });
    if (p.typical_p < 1.0f) {
        const double sum = total(oracle.survivors);
        double entropy = 0.0;
        for (const Token& token : oracle.survivors) entropy -= token.weight / sum * std::log2(token.weight / sum);
        keep_share(oracle, static_cast<double>(p.typical_p),
                   [sum, entropy](const Token& token) { return std::abs(-std::log2(token.weight / sum) - entropy); });
    }
    return oracle;
}

// The token that the row's random number chooses, or -1 where the number lies at a border.
std::int32_t oracle_choice(const Oracle& oracle, const SamplingRow& row) {
    const SamplingParameters& p = *row.parameters;
    const auto position = static_cast<std::uint64_t>(row.position);
    const auto words =
        philox4x32({static_cast<std::uint32_t>(p.seed), static_cast<std::uint32_t>(p.seed >> 32)},
                   {static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(position >> 32), p.choice, 0});
    const double sum = total(oracle.survivors);
    const double target = std::ldexp(static_cast<double>(std::uint64_t{words[1]} << 32 | words[0]), -64) * sum;
    double reached = 0.0;
    for (const Token& token : oracle.survivors) {
        if (std::abs(reached - target) < kClose * sum && reached > 0.0) return -1;
        reached += token.weight;
        if (reached > target)
            return std::abs(reached - target) < kClose * sum && token.id != oracle.survivors.back().id ? -1 : token.id;
    }
    return -1;
}

struct Case {
    std::vector<float> logits;
    SamplingParameters parameters;
    std::vector<std::int32_t> prompt, output;
    std::vector<std::uint32_t> allowed;
};

Case random_case(std::mt19937_64& random) {
    const auto below = [&](std::uint64_t n) { return random() % n; };
    const auto maybe = [&](std::uint64_t of) { return below(of) == 0; };
    const auto uniform = [&] { return std::uniform_real_distribution<float>(0.02f, 0.98f)(random); };
    Case c;
    constexpr std::array<std::size_t, 8> kVocabs = {1, 2, 5, 16, 17, 50, 333, 3000};
    const std::size_t vocab = kVocabs[below(kVocabs.size())];
    c.logits = random_logits(vocab, random, maybe(4) ? 0.3f : 3.0f);
    if (maybe(3))
        for (float& logit : c.logits) logit = std::round(logit * 4.0f) / 4.0f;  // ties
    if (maybe(8)) c.logits[below(vocab)] = -kInfinity;
    SamplingParameters& p = c.parameters;
    p.temperature = maybe(3) ? 1.0f : 0.2f + 2.0f * uniform();
    if (maybe(3)) p.top_k = 1 + static_cast<int>(below(vocab + 3));
    if (maybe(2)) p.top_p = uniform();
    if (maybe(4)) p.min_p = 0.3f * uniform();
    if (maybe(4)) p.typical_p = uniform();
    if (maybe(4)) p.repetition_penalty = 0.5f + uniform();
    if (maybe(4)) p.frequency_penalty = uniform() - 0.5f;
    if (maybe(4)) p.presence_penalty = uniform() - 0.5f;
    p.seed = random();
    p.choice = static_cast<std::uint32_t>(below(3));
    if (maybe(4))
        for (int i = 0; i < 3; ++i) p.logit_bias.emplace_back(static_cast<std::int32_t>(below(vocab)), 4.0f * uniform() - 2.0f);
    for (std::uint64_t i = below(20); i > 0; --i) c.prompt.push_back(static_cast<std::int32_t>(below(vocab)));
    for (std::uint64_t i = below(20); i > 0; --i) c.output.push_back(static_cast<std::int32_t>(below(vocab)));
    if (maybe(4)) {
        c.allowed.assign((vocab + 31) / 32, 0);
        for (std::uint32_t& word : c.allowed) word = static_cast<std::uint32_t>(random());
        const std::size_t sure = below(vocab);
        c.allowed[sure / 32] |= 1u << (sure % 32);
    }
    return c;
}

TEST(Sampling, PhiloxGivesTheKnownAnswers) {  // kat_vectors of Random123
    using Words = std::array<std::uint32_t, 4>;
    EXPECT_EQ(philox4x32({0, 0}, {0, 0, 0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
    EXPECT_EQ(philox4x32({0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}),
              (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
    EXPECT_EQ(philox4x32({0xa4093822, 0x299f31d0}, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}),
              (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Sampling, ChoosesWhatTheOracleChooses) {
    std::mt19937_64 random(1);
    int compared = 0, cases = 0;
    for (int i = 0; i < 3000; ++i) {
        const Case c = random_case(random);
        SamplingRow row{&c.parameters, 0, c.prompt, c.output, c.allowed};
        const std::vector<double> changed = processed(c.logits, row);
        if (*std::ranges::max_element(changed) == -std::numeric_limits<double>::infinity()) continue;
        const Oracle oracle = survivors(c.logits, row);
        for (row.position = 0; row.position < 8; ++row.position) {
            ++cases;
            const std::int32_t expected = oracle.ambiguous ? -1 : oracle_choice(oracle, row);
            const Sampled sampled = sample_token(c.logits, row);
            ASSERT_TRUE(sampled.finite);
            if (expected < 0) continue;
            ++compared;
            ASSERT_EQ(sampled.id, expected)
                << "case " << i << ", position " << row.position << ", vocabulary " << c.logits.size();
        }
    }
    EXPECT_GT(compared, cases * 95 / 100);
}

// The same tokens as a second implementation of the definition gives, bit for bit (tools/oracle/sampling.py).
TEST(Sampling, ChoosesTheStoredTokens) {
    const Json cases = parse_json(read_text_file(test::data_file("goldens/sampling.json")), "sampling.json");
    constexpr std::array<std::int64_t, 5> kPositions = {0, 1, 2, 1000, std::int64_t{1} << 33};
    for (const Json& of : cases) {
        std::vector<float> logits(of.at("vocab").get<std::size_t>());
        const double range = of.at("range").get<double>(), step = of.at("step").get<double>();
        for (std::size_t i = 0; i < logits.size(); ++i) {
            const auto word = static_cast<std::uint32_t>((i + 1) * 2654435761u) >> 8;
            double value = word * 0x1p-24 * range;
            if (step > 0.0) value = std::floor(value / step) * step;
            logits[i] = static_cast<float>(value);
        }
        const Json& given = of.at("parameters");
        SamplingParameters p;
        p.temperature = given.at("temperature").get<float>();
        p.seed = given.at("seed").get<std::uint64_t>();
        p.top_k = given.value("top_k", p.top_k);
        p.top_p = given.value("top_p", p.top_p);
        p.min_p = given.value("min_p", p.min_p);
        p.typical_p = given.value("typical_p", p.typical_p);
        p.repetition_penalty = given.value("repetition_penalty", p.repetition_penalty);
        p.frequency_penalty = given.value("frequency_penalty", p.frequency_penalty);
        p.presence_penalty = given.value("presence_penalty", p.presence_penalty);
        p.choice = given.value("choice", p.choice);
        if (given.contains("logit_bias"))
            for (const Json& bias : given.at("logit_bias"))
                p.logit_bias.emplace_back(bias.at(0).get<std::int32_t>(), bias.at(1).get<float>());
        const auto prompt = of.at("prompt").get<std::vector<std::int32_t>>(),
                   output = of.at("output").get<std::vector<std::int32_t>>();
        for (std::size_t i = 0; i < kPositions.size(); ++i)
            EXPECT_EQ(sample_token(logits, {&p, kPositions[i], prompt, output, {}}).id, of.at("ids").at(i).get<std::int32_t>())
                << of.dump() << " at position " << kPositions[i];
    }
}

TEST(Sampling, GreedyTakesTheLargestAndTheLowerIdOfEqualOnes) {
    SamplingParameters p;
    p.temperature = 0.0f;
    p.top_k = 1;
    EXPECT_EQ(sample({1, 3, 3, 2}, p), 1);
    EXPECT_EQ(sample({-5}, p), 0);
    std::vector<float> logits(128256, -1.0f);
    logits[128255] = 0.0f;
    EXPECT_EQ(sample(logits, p), 128255);
    p.logit_bias = {{17, 2.0f}};
    EXPECT_EQ(sample(logits, p), 17);
}

TEST(Sampling, PenaltiesFollowTheirFormulas) {
    SamplingParameters p;
    p.temperature = 0.0f;
    const std::vector<std::int32_t> prompt = {0, 0, -1, 99}, output = {1, 1};
    SamplingRow row{&p, 0, prompt, output, {}};
    p.repetition_penalty = 2.0f;  // 4 / 2, 3 / 2 (once), -1 stays
    EXPECT_EQ(sample_token(std::vector<float>{4, 3, 2.5f, -1}, row).id, 2);
    EXPECT_EQ(sample_token(std::vector<float>{-1, -1, -1.5f, -4}, row).id, 2);  // -1 * 2
    p.repetition_penalty = 1.0f;
    p.frequency_penalty = 0.5f;  // 3 - 2 * 0.5; the prompt does not count
    EXPECT_EQ(sample_token(std::vector<float>{1, 3, 2.1f, 0}, row).id, 2);
    EXPECT_EQ(sample_token(std::vector<float>{1, 3, 1.9f, 0}, row).id, 1);
    p.frequency_penalty = 0.0f;
    p.presence_penalty = 0.5f;  // once
    EXPECT_EQ(sample_token(std::vector<float>{1, 3, 2.6f, 0}, row).id, 2);
    EXPECT_EQ(sample_token(std::vector<float>{1, 3, 2.4f, 0}, row).id, 1);
    EXPECT_EQ(sample_token(std::vector<float>{2.8f, 3, 2.4f, 0}, row).id, 0);
}

// Pearson's statistic of `draws` draws; its mean is the degrees of freedom k, its variance 2 k. Seeds are fixed, so the
// test does not flicker; five deviations would be passed by chance once in about a million choices of seeds.
template <class Draw>
void expect_distribution(const std::vector<double>& probabilities, int draws, Draw draw) {
    std::vector<int> counts(probabilities.size(), 0);
    for (int i = 0; i < draws; ++i) ++counts.at(static_cast<std::size_t>(draw(i)));
    double statistic = 0.0, freedom = -1.0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        const double expected = probabilities[i] * draws;
        if (expected == 0.0) {
            EXPECT_EQ(counts[i], 0) << "token " << i;
            continue;
        }
        statistic += (counts[i] - expected) * (counts[i] - expected) / expected;
        freedom += 1.0;
    }
    EXPECT_LT(statistic, freedom + 5.0 * std::sqrt(2.0 * freedom));
    EXPECT_GT(statistic, freedom - 5.0 * std::sqrt(2.0 * freedom));
}

TEST(Sampling, DrawsFollowTheDistribution) {
    const std::vector<double> probabilities = {0.4, 0.05, 0.25, 0.1, 0.15, 0.05};
    std::vector<float> logits;
    for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)) + 7.0f);
    SamplingParameters p;
    p.seed = 42;
    expect_distribution(probabilities, 200000, [&](int i) { return sample(logits, p, i); });  // over positions
    expect_distribution(probabilities, 200000, [&](int i) {                                   // over seeds
        SamplingParameters of_seed = p;
        of_seed.seed = static_cast<std::uint64_t>(i) << 20;
        return sample(logits, of_seed, 3);
    });
    expect_distribution(probabilities, 200000, [&](int i) {  // over choices
        SamplingParameters of_choice = p;
        of_choice.choice = static_cast<std::uint32_t>(i);
        return sample(logits, of_choice, 3);
    });
    p.temperature = 0.5f;  // squares the probabilities
    p.top_k = 3;
    const double sum = 0.4 * 0.4 + 0.25 * 0.25 + 0.15 * 0.15;
    expect_distribution({0.16 / sum, 0, 0.0625 / sum, 0, 0.0225 / sum, 0}, 200000, [&](int i) { return sample(logits, p, i); });
}

TEST(Sampling, AFlatVocabularyIsDrawnEvenly) {
    const std::vector<float> logits(1000, 0.25f);
    SamplingParameters p;
    p.seed = 7;
    expect_distribution(std::vector<double>(1000, 0.001), 60000, [&](int i) { return sample(logits, p, i); });
    p.top_p = 0.5f;  // ties at the limit: the lower ids stay
    std::vector<double> half(1000, 0.0);
    std::fill_n(half.begin(), 500, 0.002);
    expect_distribution(half, 30000, [&](int i) { return sample(logits, p, i); });
    p.top_p = 1.0f;
    p.top_k = 3;  // ties with the third: all stay
    expect_distribution(std::vector<double>(1000, 0.001), 60000, [&](int i) { return sample(logits, p, i); });
}

TEST(Sampling, TheSameInputsGiveTheSameToken) {
    std::mt19937_64 random(5);
    for (int i = 0; i < 200; ++i) {
        const Case c = random_case(random);
        const SamplingRow row{&c.parameters, i, c.prompt, c.output, c.allowed};
        const Sampled first = sample_token(c.logits, row);
        for (int again = 0; again < 3; ++again) {
            const Sampled second = sample_token(c.logits, row);
            EXPECT_EQ(first.id, second.id);
            EXPECT_EQ(first.finite, second.finite);
        }
    }
}

TEST(Sampling, NumbersThatAreNotFiniteAreReported) {
    const SamplingParameters drawn, greedy{.temperature = 0.0f};
    for (const SamplingParameters* p : {&drawn, &greedy})
        for (const std::size_t vocab : {std::size_t{1}, std::size_t{16}, std::size_t{37}})
            for (std::size_t at = 0; at < vocab; ++at)
                for (const float bad : {kNan, -kNan, kInfinity}) {
                    std::vector<float> logits(vocab, 1.0f);
                    logits[at] = bad;
                    SamplingRow row;
                    row.parameters = p;
                    EXPECT_FALSE(sample_token(logits, row).finite);
                    logits[at] = -kInfinity;
                    EXPECT_EQ(sample_token(logits, row).finite, vocab > 1);
                }
    const std::vector<std::uint32_t> none = {0};
    SamplingRow row;
    row.parameters = &drawn;
    row.allowed = none;
    EXPECT_FALSE(sample_token(std::vector<float>{1, 2}, row).finite);
}

TEST(Sampling, ExtremeNumbersAreHandled) {
    SamplingParameters p;
    for (const float temperature : {1e-45f, 1e-30f, 1e-3f}) {
        p.temperature = temperature;
        EXPECT_EQ(sample({1.0f, 2.0f, -3.4e38f, 3.4e38f}, p), 3);
    }
    p.temperature = 3e38f;
    std::set<std::int32_t> seen;
    for (int i = 0; i < 100; ++i) seen.insert(sample({1.0f, 2.0f, -10.0f, -kInfinity}, p, i));
    EXPECT_EQ(seen, (std::set<std::int32_t>{0, 1, 2}));
    p.temperature = 1.0f;
    p.top_p = 1e-40f;
    EXPECT_EQ(sample({1.0f, 2.0f, 2.0f}, p), 1);
    p.typical_p = 1e-40f;
    p.top_k = std::numeric_limits<int>::max();
    EXPECT_EQ(sample({1.0f, 2.0f, 2.0f}, p), 1);
}

TEST(Sampling, ParametersAreChecked) {
    const auto refused = [](auto change, const char* name) {
        SamplingParameters p;
        change(p);
        try {
            validate(p, 100);
            ADD_FAILURE() << name << " was accepted";
        } catch (const UsageError& error) {
            EXPECT_NE(std::string(error.what()).find(name), std::string::npos) << error.what();
        }
    };
    validate(SamplingParameters{}, 100);
    validate(
        SamplingParameters{.temperature = 0.0f, .top_k = 1000, .top_p = 1e-6f, .min_p = 0.99f, .logit_bias = {{99, -100.0f}}},
        100);
    for (const float bad : {-0.1f, kInfinity, kNan})
        refused([=](SamplingParameters& p) { p.temperature = bad; }, "temperature");
    refused([](SamplingParameters& p) { p.top_k = -1; }, "top_k");
    for (const float bad : {0.0f, -1.0f, 1.01f, kNan}) refused([=](SamplingParameters& p) { p.top_p = bad; }, "top_p");
    for (const float bad : {-0.1f, 1.0f, kNan}) refused([=](SamplingParameters& p) { p.min_p = bad; }, "min_p");
    for (const float bad : {0.0f, 1.01f, kNan}) refused([=](SamplingParameters& p) { p.typical_p = bad; }, "typical_p");
    for (const float bad : {0.0f, -1.0f, kInfinity, kNan})
        refused([=](SamplingParameters& p) { p.repetition_penalty = bad; }, "repetition_penalty");
    for (const float bad : {-2.1f, 2.1f, kNan}) {
        refused([=](SamplingParameters& p) { p.frequency_penalty = bad; }, "frequency_penalty");
        refused([=](SamplingParameters& p) { p.presence_penalty = bad; }, "presence_penalty");
    }
    for (const std::int32_t bad : {-1, 100})
        refused([=](SamplingParameters& p) { p.logit_bias = {{bad, 1.0f}}; }, "logit_bias");
    for (const float bad : {100.5f, -kInfinity, kNan})
        refused([=](SamplingParameters& p) { p.logit_bias = {{1, bad}}; }, "logit_bias");
}

}  // namespace
}  // namespace narae::kernels
