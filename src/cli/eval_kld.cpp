// narae eval kld
#include "base/error.h"
#include "base/log.h"
#include "cli/evaluation.h"
#include "cli/table.h"
#include "eval/divergence.h"

namespace narae::cli {
namespace {

constexpr std::size_t kValues = 5;  // doubles of a TokenComparison in the state file

std::vector<eval::TokenComparison> comparisons_of(std::span<const double> values) {
    std::vector<eval::TokenComparison> tokens;
    for (std::size_t i = 0; i + kValues <= values.size(); i += kValues)
        tokens.push_back({values[i], values[i + 1], values[i + 2], values[i + 3], values[i + 4] != 0.0});
    return tokens;
}

void append_values(std::span<const eval::TokenComparison> tokens, std::vector<double>& values) {
    for (const eval::TokenComparison& t : tokens)
        for (const double value : {t.nll, t.base_nll, t.divergence, t.probability_change, t.same_most_likely ? 1.0 : 0.0})
            values.push_back(value);
}

std::string share_name(double share) {
    if (share == 1.0) return "maximum";
    if (share == 0.5) return "median";
    if (share == 0.0) return "minimum";
    return fmt::format("{:.1f} %", 100.0 * share);
}

Json estimate_json(const eval::Estimate& e) { return {{"value", e.value}, {"error", e.error}}; }

Json percentiles_json(std::span<const eval::Percentile> percentiles) {
    Json json = Json::object();
    for (const eval::Percentile& p : percentiles) {
        const std::string name = p.share == 1.0   ? "max"
                                 : p.share == 0.5 ? "median"
                                 : p.share == 0.0 ? "min"
                                                  : fmt::format("p{:g}", 100.0 * p.share);
        json[name] = p.value;
    }
    return json;
}

Json statistics_json(const eval::DivergenceStatistics& s) {
    return {{"tokens", s.tokens},
            {"ppl", estimate_json(s.perplexity)},
            {"base_ppl", estimate_json(s.base_perplexity)},
            {"correlation", s.correlation},
            {"ln_ratio", estimate_json(s.log_ratio)},
            {"ratio", estimate_json(s.ratio)},
            {"difference", estimate_json(s.difference)},
            {"kld", estimate_json(s.divergence)},
            {"kld_percentiles", percentiles_json(s.divergence_percentiles)},
            {"delta_p", estimate_json(s.probability_change)},
            {"delta_p_percentiles", percentiles_json(s.probability_percentiles)},
            {"delta_p_rms", estimate_json(s.rms_probability_change)},
            {"same_top", estimate_json(s.same_most_likely)}};
}

std::string statistics_text(const eval::DivergenceStatistics& s) {
    Table table({{"statistic"}, {"value", Align::right}, {"+/-", Align::right}});
    const auto add = [&](std::string name, const eval::Estimate& e) {
        table.add({std::move(name), fmt::format("{:.6f}", e.value), fmt::format("{:.6f}", e.error)});
    };
    const auto add_percent = [&](std::string name, const eval::Estimate& e) {
        table.add({std::move(name), fmt::format("{:.3f} %", 100.0 * e.value), fmt::format("{:.3f} %", 100.0 * e.error)});
    };
    add("mean PPL(Q)", s.perplexity);
    add("mean PPL(base)", s.base_perplexity);
    table.add({"Cor(ln PPL(Q), ln PPL(base))", fmt::format("{:.2f} %", 100.0 * s.correlation), ""});
    add("mean ln(PPL(Q) / PPL(base))", s.log_ratio);
    add("mean PPL(Q) / PPL(base)", s.ratio);
    add("mean PPL(Q) - PPL(base)", s.difference);
    add("mean KLD", s.divergence);
    for (const eval::Percentile& p : s.divergence_percentiles)
        table.add({share_name(p.share) + " KLD", fmt::format("{:.6f}", p.value), ""});
    add_percent("mean delta p", s.probability_change);
    for (const eval::Percentile& p : s.probability_percentiles)
        table.add({share_name(p.share) + " delta p", fmt::format("{:.3f} %", 100.0 * p.value), ""});
    add_percent("RMS delta p", s.rms_probability_change);
    add_percent("same top p", s.same_most_likely);
    return table.markdown();
}

// Where the base's predictions come from, and the tokens.
struct Base {
    std::optional<EvaluationModel> subject;
    std::optional<Model> model;
    std::optional<eval::WindowLogits> logits;
    std::optional<eval::LogitsFile> file;
    eval::Corpus corpus;  // of a file: only ids and what names them
    Json description;
};

void check_options(const EvaluationOptions& o) {
    if (o.base.has_value() == o.kld_base.has_value())
        throw_error<UsageError>("kld needs a base to compare with: give either --base MODEL or --kld-base FILE");
    if (o.kld_base && !o.texts.empty())
        throw_error<UsageError>("--text and --kld-base: the file brings its own tokens; leave --text out");
    if (o.kld_base && o.save_base)
        throw_error<UsageError>("--save-base and --kld-base: that file is there already; --save-base goes with --base");
    if (o.kld_base && o.window > 0) throw_error<UsageError>("--window and --kld-base: the file says how long its windows are");
    if (o.texts.size() > 1) throw_error<UsageError>("kld takes one text, found {}; run it for each", o.texts.size());
    if (o.resume && o.save_base)
        throw_error<UsageError>("--save-base and --resume: a file of logits cannot be gone on with; give one of them");
}

void read_base_file(const EvaluationOptions& o, const EvaluationModel& subject, Base& base) {
    base.file = eval::LogitsFile::open(*o.kld_base);
    if (base.file->vocab() != subject.vocab)
        throw_error<UsageError>("{}: a vocabulary of {}, the model has {}; both must share the tokenizer", *o.kld_base,
                                base.file->vocab(), subject.vocab);
    base.corpus.name = *o.kld_base;
    base.corpus.ids = base.file->ids();
    base.corpus.ids_sha256 = eval::ids_sha256(base.corpus.ids);
    base.description = {{"file", *o.kld_base}};
}

void open_base_model(const EvaluationOptions& o, const EvaluationModel& subject, const eval::ProtocolSettings& settings,
                     Base& base) {
    base.subject = open_for_evaluation(*o.base);
    if (base.subject->vocab != subject.vocab)
        throw_error<UsageError>("{}: a vocabulary of {}, the base {} has {}; both must share the tokenizer", subject.name,
                                subject.vocab, base.subject->name, base.subject->vocab);
    const std::string text = o.texts.empty() ? "english" : o.texts.front();
    const Tokenizer& tokenizer = subject.text.require_tokenizer();
    base.corpus = eval::load_corpus(text, settings, tokenizer);
    if (base.subject->text.tokenizer &&
        eval::load_corpus(text, settings, *base.subject->text.tokenizer).ids_sha256 != base.corpus.ids_sha256)
        throw_error<UsageError>("{}: its tokenizer and that of the base {} cut {} differently; both must share the tokenizer",
                                subject.name, base.subject->name, base.corpus.name);
    base.description = {{"model", base.subject->name}, {"path", base.subject->path.string()}};
}

}  // namespace

void run_divergence(const EvaluationOptions& o) {
    check_options(o);
    EvaluationModel subject = open_for_evaluation(o.model.model);
    const Tokenizer& tokenizer = subject.text.require_tokenizer();
    Base base;
    if (o.kld_base) read_base_file(o, subject, base);
    const eval::ProtocolSettings settings =
        eval::protocol_settings(eval::Protocol::llamacpp_512, base.file ? base.file->window() : o.window, 0, subject.context,
                                eval::adds_bos(tokenizer));
    if (o.base) open_base_model(o, subject, settings, base);
    const std::int32_t bos = settings.bos_in_each_window ? *tokenizer.bos() : -1;
    const std::vector<std::int32_t>& ids = base.corpus.ids;
    const std::vector<eval::Window> windows = eval::cut_windows(settings, static_cast<std::int64_t>(ids.size()), o.chunks);

    ThreadPool threads(o.model.threads > 0 ? o.model.threads : usable_processors());
    Json identity = {{"subject", "divergence"},
                     {"protocol", protocol_json(settings)},
                     {"text_sha256", base.corpus.text_sha256},
                     {"ids_sha256", base.corpus.ids_sha256}};
    if (o.resume) {
        identity["model_sha256"] = eval::model_sha256(subject.checkpoint, threads);
        identity["base_sha256"] = base.subject ? eval::model_sha256(base.subject->checkpoint, threads) : base.file->sha256();
    }
    if (base.subject) {
        base.model.emplace(load_for_windows(*base.subject, o, settings.window));
        base.logits.emplace(*base.model);
        identity["base_numerics"] = comparable_numerics(*base.model);
    }
    Model model = load_for_windows(subject, o, settings.window);
    identity["numerics"] = comparable_numerics(model);
    eval::WindowLogits logits(model);

    EvaluationRun run(o, "kld", identity, windows, kValues);
    std::optional<eval::LogitsFileWriter> writer;
    if (o.save_base)
        writer.emplace(*o.save_base, settings.window, subject.vocab,
                       std::span(ids).first(windows.size() * static_cast<std::size_t>(settings.window)));
    const auto write = [&](std::span<const float> row, const eval::RowSums& sums, std::int32_t) { writer->append(row, sums); };
    const eval::RowSink sink = write;
    std::vector<eval::TokenComparison> tokens = comparisons_of(run.values());
    double sum = 0.0;
    for (const eval::TokenComparison& token : tokens) sum += token.divergence;
    run.work_off(
        static_cast<std::size_t>(model.limits.max_sequences),
        [&](std::span<const eval::Window> batch, std::int64_t first) {
            const std::size_t before = tokens.size();
            if (base.file)
                eval::compare_with_file(logits, *base.file, threads, batch, first, bos, tokens);
            else
                eval::compare_with_model(logits, *base.logits, threads, ids, batch, bos, tokens, writer ? &sink : nullptr);
            const std::span<const eval::TokenComparison> fresh = std::span(tokens).subspan(before);
            for (const eval::TokenComparison& token : fresh) sum += token.divergence;
            append_values(fresh, run.values());
        },
        [&](std::size_t) { return fmt::format("{:.6f}", sum / static_cast<double>(tokens.size())); });
    if (writer) writer->commit();
    if (run.computed_tokens() > 0)
        log_info("{}: {} tokens in {:.2f} s, {:.1f} tokens/s", base.corpus.name, run.computed_tokens(), run.seconds(),
                 static_cast<double>(run.computed_tokens()) / run.seconds());

    const eval::DivergenceStatistics statistics = eval::divergence_statistics(tokens);
    Json corpus = corpus_json(base.corpus);
    if (base.file) corpus = {{"ids", ids.size()}, {"ids_sha256", base.corpus.ids_sha256}};
    if (o.json) {
        print_output("{}\n", dump_json({{"subject", "kld"},
                                        {"model", subject.name},
                                        {"path", subject.path.string()},
                                        {"base", base.description},
                                        {"protocol", protocol_json(settings)},
                                        {"corpus", corpus},
                                        {"windows", windows.size()},
                                        {"statistics", statistics_json(statistics)},
                                        {"numerics", model.numerics()},
                                        {"base_numerics", base.model ? base.model->numerics() : Json()},
                                        {"timings", run.timings()},
                                        {"version", std::string(kVersion)}},
                                       2));
        return;
    }
    const std::string base_name = base.subject ? base.subject->name : base.corpus.name;
    const Json numerics = comparable_numerics(model);
    print_output(
        "{} (Q) and {} (base), {} tokens of {} windows\n\n{}\n{}\n{} ids, sha256 {}\nactivations {}, keys and values {}, {}\n",
        subject.name, base_name, statistics.tokens, windows.size(), statistics_text(statistics), protocol_text(settings),
        ids.size(), base.corpus.ids_sha256, numerics["activations"].get<std::string>(), numerics["kv"].get<std::string>(),
        model.backend->description());
}

}  // namespace narae::cli
