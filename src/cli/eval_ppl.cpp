// narae eval ppl
#include "base/error.h"
#include "base/log.h"
#include "cli/evaluation.h"
#include "cli/table.h"
#include "eval/logits_file.h"
#include "eval/perplexity.h"

#include <cmath>

namespace narae::cli {
namespace {

struct Result {
    eval::Corpus corpus;
    eval::Perplexity perplexity;
    Json timings;

    // Bits that a byte of the text costs: the mean of a token, times the text's tokens to a byte.
    double bits_per_byte() const {
        const auto tokens = static_cast<double>(corpus.ids.size() - (corpus.starts_with_bos ? 1 : 0));
        return perplexity.nll.value / std::log(2.0) * tokens / static_cast<double>(corpus.text_bytes);
    }
};

Json result_json(const Result& r) {
    Json json = corpus_json(r.corpus);
    json["windows"] = r.perplexity.windows;
    json["tokens"] = r.perplexity.tokens;
    json["ppl"] = r.perplexity.perplexity.value;
    json["ppl_error"] = r.perplexity.perplexity.error;
    json["nll"] = r.perplexity.nll.value;
    json["nll_error"] = r.perplexity.nll.error;
    json["bits_per_byte"] = r.bits_per_byte();
    json["timings"] = r.timings;
    return json;
}

std::string results_text(const EvaluationModel& subject, const Model& model, const eval::ProtocolSettings& settings,
                         const std::vector<Result>& results) {
    Table table({{"model"},
                 {"text"},
                 {"PPL", Align::right},
                 {"+/-", Align::right},
                 {"nll / token", Align::right},
                 {"tokens", Align::right},
                 {"windows", Align::right},
                 {"bits / byte", Align::right}});
    std::string hashes;
    for (const Result& r : results) {
        const eval::Perplexity& p = r.perplexity;
        table.add({subject.name, r.corpus.name, fmt::format("{:.4f}", p.perplexity.value),
                   fmt::format("{:.5f}", p.perplexity.error), fmt::format("{:.6f}", p.nll.value), std::to_string(p.tokens),
                   std::to_string(p.windows), fmt::format("{:.4f}", r.bits_per_byte())});
        hashes += fmt::format("{}: {} bytes, sha256 {}; {} ids, sha256 {}\n", r.corpus.name, r.corpus.text_bytes,
                              r.corpus.text_sha256, r.corpus.ids.size(), r.corpus.ids_sha256);
    }
    const Json numerics = comparable_numerics(model);
    return fmt::format("{}\n{}\n{}activations {}, keys and values {}, {}\n", table.markdown(), protocol_text(settings), hashes,
                       numerics["activations"].get<std::string>(), numerics["kv"].get<std::string>(),
                       model.backend->description());
}

}  // namespace

void run_perplexity(const EvaluationOptions& o) {
    std::vector<std::string> texts = o.texts;
    if (texts.empty()) texts.emplace_back("english");
    if (texts.size() > 1 && (o.resume || o.save_base))
        throw_error<UsageError>("{} takes one text, found {}; run it for each", o.resume ? "--resume" : "--save-base",
                                texts.size());
    if (o.resume && o.save_base)
        throw_error<UsageError>("--save-base and --resume: a file of logits cannot be gone on with; give one of them");
    const eval::Protocol protocol = *eval::find_protocol(o.protocol);
    if (o.save_base && protocol != eval::Protocol::llamacpp_512)
        throw_error<UsageError>("--save-base: the file's windows are those of llama.cpp-512; leave --protocol out");

    EvaluationModel subject = open_for_evaluation(o.model.model);
    const Tokenizer& tokenizer = subject.text.require_tokenizer();
    const eval::ProtocolSettings settings =
        eval::protocol_settings(protocol, o.window, o.stride, subject.context, eval::adds_bos(tokenizer));
    const std::int32_t bos = settings.bos_in_each_window ? *tokenizer.bos() : -1;
    std::vector<Result> results;
    std::vector<std::vector<eval::Window>> windows;
    int longest = 2;
    for (const std::string& text : texts) {
        Result result;
        result.corpus = eval::load_corpus(text, settings, tokenizer);
        windows.push_back(eval::cut_windows(settings, static_cast<std::int64_t>(result.corpus.ids.size()), o.chunks));
        for (const eval::Window& window : windows.back()) longest = std::max(longest, window.length);
        results.push_back(std::move(result));
    }

    ThreadPool threads(o.model.threads > 0 ? o.model.threads : usable_processors());
    const std::string model_hash = o.resume ? eval::model_sha256(subject.checkpoint, threads) : "";
    Model model = load_for_windows(subject, o, longest);
    eval::WindowLogits logits(model);
    for (std::size_t i = 0; i < results.size(); ++i) {
        Result& result = results[i];
        const std::vector<std::int32_t>& ids = result.corpus.ids;
        const Json identity = {{"subject", "perplexity"},
                               {"model_sha256", model_hash},
                               {"protocol", protocol_json(settings)},
                               {"text_sha256", result.corpus.text_sha256},
                               {"ids_sha256", result.corpus.ids_sha256},
                               {"numerics", comparable_numerics(model)}};
        EvaluationRun run(o, "ppl", identity, windows[i], 1);
        std::optional<eval::LogitsFileWriter> writer;
        if (o.save_base)
            writer.emplace(*o.save_base, settings.window, model.config().vocab,
                           std::span(ids).first(windows[i].size() * static_cast<std::size_t>(settings.window)));
        const auto write = [&](std::span<const float> row, const eval::RowSums& sums, std::int32_t) {
            writer->append(row, sums);
        };
        const eval::RowSink sink = write;
        run.work_off(
            static_cast<std::size_t>(model.limits.max_sequences),
            [&](std::span<const eval::Window> batch, std::int64_t) {
                eval::score_windows(logits, threads, ids, batch, bos, run.values(), writer ? &sink : nullptr);
            },
            [&](std::size_t done) {
                return fmt::format("{:.4f}",
                                   eval::perplexity_of(std::span(windows[i]).first(done), run.values()).perplexity.value);
            });
        if (writer) writer->commit();
        result.perplexity = eval::perplexity_of(windows[i], run.values());
        result.timings = run.timings();
        if (run.computed_tokens() > 0)
            log_info("{}: {} tokens in {:.2f} s, {:.1f} tokens/s", result.corpus.name, run.computed_tokens(), run.seconds(),
                     static_cast<double>(run.computed_tokens()) / run.seconds());
    }
    if (!o.json) {
        write_output(results_text(subject, model, settings, results));
        return;
    }
    Json list = Json::array();
    for (const Result& result : results) list.push_back(result_json(result));
    print_output("{}\n", dump_json({{"subject", "ppl"},
                                    {"model", subject.name},
                                    {"path", subject.path.string()},
                                    {"protocol", protocol_json(settings)},
                                    {"results", list},
                                    {"numerics", model.numerics()},
                                    {"version", std::string(kVersion)}},
                                   2));
}

}  // namespace narae::cli
