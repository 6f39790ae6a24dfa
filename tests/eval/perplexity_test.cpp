// Perplexity of a whole model: against transformers' recipes, and independent of how the work is cut.
#include "eval/perplexity.h"

#include "base/error.h"
#include "base/json.h"
#include "engine/prompt_logits.h"
#include "eval/corpus.h"
#include "eval/divergence.h"
#include "evaluation_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace narae::eval {
namespace {

using test::load_small_model;

std::vector<double> score(Model& model, std::span<const std::int32_t> ids, std::span<const Window> windows, int threads,
                          std::int32_t bos = -1) {
    ThreadPool pool(threads);
    WindowLogits logits(model);
    std::vector<double> nll;
    score_windows(logits, pool, ids, windows, bos, nll);
    return nll;
}

// Logits of a window fed alone, by the path of `narae logits`.
std::vector<double> expected_nll(Model& model, std::vector<std::int32_t> ids, const Window& window, std::int32_t bos) {
    ids = {ids.begin() + window.begin, ids.begin() + window.begin + window.length};
    if (bos >= 0) ids[0] = bos;
    std::vector<double> nll;
    prompt_logits(model, ids, 0, [&](std::int64_t position, std::span<const float> row) {
        if (position + 1 < window.first_target || position + 1 >= window.length) return;
        nll.push_back(sum_row(row).log_sum_exp() -
                      static_cast<double>(row[static_cast<std::size_t>(ids[static_cast<std::size_t>(position) + 1])]));
    });
    return nll;
}

std::vector<std::int32_t> some_ids(std::size_t count) {
    std::vector<std::int32_t> ids(count);
    for (std::size_t i = 0; i < count; ++i) ids[i] = static_cast<std::int32_t>((i * i + 7 * i) % 320);
    return ids;
}

TEST(Perplexity, IsWhatTransformersComputes) {
    const Path folder = test::data_file("goldens/perplexity");
    const Json golden = parse_json(read_text_file(folder / "golden.json"), "golden.json");
    const ModelText text = load_model_text(test::small_model_path());
    for (const Json& item : golden["cases"]) {
        const ProtocolSettings settings =
            protocol_settings(*find_protocol(item["protocol"].get<std::string>()), item["window"].get<int>(),
                              item["stride"].get<int>(), 128, adds_bos(*text.tokenizer));
        const Corpus corpus = load_corpus((folder / "text.txt").string(), settings, *text.tokenizer);
        EXPECT_EQ(corpus.text_sha256, golden["text_sha256"].get<std::string>());
        EXPECT_EQ(corpus.ids_sha256, golden["ids_sha256"].get<std::string>());
        const auto windows = cut_windows(settings, static_cast<std::int64_t>(corpus.ids.size()), 0);
        EXPECT_EQ(windows.size(), item["windows"].get<std::size_t>());
        for (const char* instruction_set : {"", "generic"}) {
            Model model = load_small_model(settings.window, {256, 2, 256}, instruction_set);
            const Perplexity p = perplexity_of(windows, score(model, corpus.ids, windows, 2));
            // transformers' losses are float32: means of up to 127 of them, each to a few ulp of the largest.
            const double bound = 4.0 * std::numeric_limits<float>::epsilon() * p.nll.value;
            EXPECT_NEAR(p.nll.value, std::log(item["ppl"].get<double>()), bound) << item << instruction_set;
        }
    }
}

TEST(Perplexity, DoesNotDependOnTheBatching) {
    const std::vector<std::int32_t> ids = some_ids(400);
    for (const Protocol protocol : {Protocol::gptq_2048, Protocol::llamacpp_512, Protocol::hf_strided}) {
        const ProtocolSettings settings = protocol_settings(protocol, 70, protocol == Protocol::hf_strided ? 40 : 0, 128, true);
        const std::vector<Window> windows = cut_windows(settings, 400, 0);
        const std::int32_t bos = settings.bos_in_each_window ? 0 : -1;
        for (const kernels::Activations activations : {kernels::Activations::f32, kernels::Activations::int8}) {
            std::vector<double> expected;
            {
                Model model = load_small_model(70, {70, 1, 70}, "", activations);
                for (const Window& window : windows)
                    for (const double value : expected_nll(model, ids, window, bos)) expected.push_back(value);
            }
            for (const WindowLimits limits :
                 {WindowLimits{70, 1, 70}, {1, 1, 1}, {7, 1, 3}, {200, 3, 200}, {64, 3, 5}, {512, 7, 16}, {90, 2, 1}}) {
                Model model = load_small_model(70, limits, "", activations);
                EXPECT_EQ(score(model, ids, windows, 2, bos), expected)
                    << protocol_name(protocol) << " rows " << limits.rows << " sequences " << limits.sequences;
            }
        }
    }
}

TEST(Perplexity, RowsComeInTheOrderOfTheirTargets) {
    const std::vector<std::int32_t> ids = some_ids(400);
    const std::vector<Window> windows = cut_windows(protocol_settings(Protocol::llamacpp_512, 50, 0, 128, false), 400, 0);
    Model model = load_small_model(50, {120, 3, 11});
    ThreadPool threads(2);
    WindowLogits logits(model);
    std::vector<double> nll, from_rows;
    const auto keep = [&](std::span<const float> row, const RowSums& sums, std::int32_t target) {
        from_rows.push_back(sums.log_sum_exp() - static_cast<double>(row[static_cast<std::size_t>(target)]));
    };
    const RowSink sink = keep;
    score_windows(logits, threads, ids, windows, -1, nll, &sink);
    EXPECT_EQ(nll, from_rows);
}

TEST(Perplexity, IdsOutsideOfTheVocabularyAreRefused) {
    std::vector<std::int32_t> ids = some_ids(20);
    ids[5] = 320;
    const std::vector<Window> windows = cut_windows(protocol_settings(Protocol::gptq_2048, 10, 0, 128, false), 20, 0);
    Model model = load_small_model(10, {10, 1, 10});
    EXPECT_THROW(score(model, ids, windows, 1), UsageError);
}

TEST(Divergence, OfAModelFromItselfIsNothing) {
    const std::vector<std::int32_t> ids = some_ids(200);
    const std::vector<Window> windows = cut_windows(protocol_settings(Protocol::llamacpp_512, 50, 0, 128, false), 200, 0);
    Model model = load_small_model(50, {64, 1, 64}), base = load_small_model(50, {30, 1, 7});
    ThreadPool threads(2);
    WindowLogits logits(model), base_logits(base);
    std::vector<TokenComparison> tokens;
    compare_with_model(logits, base_logits, threads, ids, windows, -1, tokens);
    const DivergenceStatistics s = divergence_statistics(tokens);
    EXPECT_EQ(s.tokens, 4 * 24);
    EXPECT_EQ(s.divergence_percentiles.front().value, 0.0);
    EXPECT_EQ(s.divergence_percentiles.back().value, 0.0);
    EXPECT_EQ(s.same_most_likely.value, 1.0);
    EXPECT_EQ(s.ratio.value, 1.0);
}

// A file holds logarithms of probabilities to half a step of 16 / 65535: so far may its divergences be from the exact ones.
TEST(Divergence, FromAFileIsNearlyThatFromTheModel) {
    const std::vector<std::int32_t> ids = some_ids(200);
    const std::vector<Window> windows = cut_windows(protocol_settings(Protocol::llamacpp_512, 50, 0, 128, false), 200, 0);
    Model model = load_small_model(50, {64, 1, 64}, "", kernels::Activations::int8), base = load_small_model(50, {64, 1, 64});
    ThreadPool threads(2);
    WindowLogits logits(model), base_logits(base);
    const test::ScratchFolder scratch;
    const Path path = scratch.path() / "base";
    LogitsFileWriter writer(path, 50, 320, ids);
    const auto write = [&](std::span<const float> row, const RowSums& sums, std::int32_t) { writer.append(row, sums); };
    const RowSink sink = write;
    std::vector<TokenComparison> exact, coded, in_parts;
    compare_with_model(logits, base_logits, threads, ids, windows, 0, exact, &sink);
    writer.commit();
    const LogitsFile file = LogitsFile::open(path);
    EXPECT_EQ(file.ids(), ids);
    compare_with_file(logits, file, threads, windows, 0, 0, coded);
    compare_with_file(logits, file, threads, std::span(windows).first(1), 0, 0, in_parts);
    compare_with_file(logits, file, threads, std::span(windows).subspan(1), 1, 0, in_parts);
    ASSERT_EQ(exact.size(), coded.size());
    const double step = 16.0 / 65535.0;
    for (std::size_t i = 0; i < exact.size(); ++i) {
        EXPECT_EQ(coded[i].nll, exact[i].nll);
        EXPECT_NEAR(coded[i].base_nll, exact[i].base_nll, 0.51 * step);
        EXPECT_NEAR(coded[i].divergence, exact[i].divergence, step);
        EXPECT_EQ(coded[i].divergence, in_parts[i].divergence);
    }
}

// Counts that the field knows: GPT-2's 287644, Llama 2's 341469 (166 windows).
TEST(Corpus, WikiTextHasTheKnownNumberOfTokens) {
    NARAE_NEEDS_TEST_DATA(data);
    const test::ScratchFolder scratch;
    const Path text = scratch.write("wiki.test.raw", test::read_zst(data / "wikitext2/wiki.test.raw.zst"));
    const ProtocolSettings settings = protocol_settings(Protocol::gptq_2048, 0, 0, 4096, true);
    const Tokenizer gpt2 = Tokenizer::from_json(test::read_zst(data / "tokenizers/gpt2/tokenizer.json.zst"), "", "gpt2");
    EXPECT_EQ(load_corpus(text.string(), settings, gpt2).ids.size(), 287644u);
    const Tokenizer llama2 = Tokenizer::from_json(test::read_zst(data / "tokenizers/llama2/tokenizer.json.zst"), "", "llama2");
    const Corpus corpus = load_corpus(text.string(), settings, llama2);
    EXPECT_EQ(corpus.ids.size(), 341469u);
    EXPECT_EQ(corpus.ids.front(), 1);  // BOS, once
    EXPECT_EQ(cut_windows(settings, static_cast<std::int64_t>(corpus.ids.size()), 0).size(), 166u);
}

TEST(Corpus, BuiltInTexts) {
    const ModelText text = load_model_text(test::small_model_path());
    EXPECT_EQ(built_in_texts(), (std::vector<std::string_view>{"english", "korean"}));
    const ProtocolSettings settings = protocol_settings(Protocol::llamacpp_512, 0, 0, 128, false);
    for (const std::string name : {"english", "korean"}) {
        const Corpus corpus = load_corpus(name, settings, *text.tokenizer);
        EXPECT_EQ(corpus.name, name + " (built in)");
        EXPECT_GT(corpus.text_bytes, 16000u);
        EXPECT_EQ(*built_in_text(name), read_text_file(test::data_file("../../data/eval/" + name + ".txt")));
        EXPECT_EQ(corpus.text_bytes + 1, built_in_text(name)->size());  // the last line end is dropped
    }
    EXPECT_FALSE(built_in_text("klingon"));
}

TEST(Corpus, BadTexts) {
    const ModelText text = load_model_text(test::small_model_path());
    const test::ScratchFolder scratch;
    const ProtocolSettings settings = protocol_settings(Protocol::llamacpp_512, 0, 0, 128, false);
    EXPECT_THROW(load_corpus(scratch.write("latin1", "caf\xe9").string(), settings, *text.tokenizer), UsageError);
    EXPECT_THROW(load_corpus((scratch.path() / "none").string(), settings, *text.tokenizer), IoError);
}

}  // namespace
}  // namespace narae::eval
