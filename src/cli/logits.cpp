// narae logits: what the model thinks of every next token, as numbers.
#include "base/error.h"
#include "base/log.h"
#include "base/progress.h"
#include "checkpoint/text_files.h"
#include "cli/model_options.h"
#include "cli/output.h"
#include "cli/table.h"
#include "engine/prompt_logits.h"
#include "tensor/npy.h"
#include "text/tokenizer.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace narae::cli {
namespace {

// Rows whose logits are held at once.
constexpr int kLogitRows = 64;

struct Options {
    ModelOptions model;
    std::optional<std::string> prompt, file, ids, out;
    int top = 10;
    bool no_special = false, json = false;
};

struct Candidate {
    std::int32_t id = 0;
    float logit = 0.0f;
    double probability = 0.0;
};

// The `count` most likely tokens of one row [vocab]; ties go to the lower id.
std::vector<Candidate> most_likely(std::span<const float> row, int count) {
    std::vector<std::int32_t> order(row.size());
    std::iota(order.begin(), order.end(), 0);
    const auto logit = [&](std::int32_t id) { return row[static_cast<std::size_t>(id)]; };
    const std::size_t kept = std::min(row.size(), static_cast<std::size_t>(count));
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(kept), order.end(),
                      [&](std::int32_t a, std::int32_t b) { return logit(a) != logit(b) ? logit(a) > logit(b) : a < b; });
    const double largest = *std::max_element(row.begin(), row.end());
    double sum = 0.0;
    for (const float value : row) sum += std::exp(static_cast<double>(value) - largest);
    std::vector<Candidate> candidates;
    for (std::size_t i = 0; i < kept; ++i)
        candidates.push_back({order[i], logit(order[i]), std::exp(static_cast<double>(logit(order[i])) - largest) / sum});
    return candidates;
}

// Rows in order to the file, where there is one; the last row stays.
class LogitSink {
public:
    LogitSink(const std::optional<std::string>& path, std::int64_t tokens, std::int64_t vocab)
        : last_(static_cast<std::size_t>(vocab)) {
        if (path) writer_.emplace(*path, DType::f32, Shape{tokens, vocab});
    }
    void append(std::span<const float> row) {
        for (const float value : row) finite_ = finite_ && std::isfinite(value);
        if (writer_) writer_->append(std::as_bytes(row));
        std::copy(row.begin(), row.end(), last_.begin());
    }
    void finish() {
        if (!finite_) throw_error<InternalError>("the model's logits are not finite numbers; the weights may be damaged");
        if (writer_) writer_->commit();
    }
    std::span<const float> last() const { return last_; }

private:
    std::optional<NpyWriter> writer_;
    std::vector<float> last_;
    bool finite_ = true;
};

std::vector<std::int32_t> input_ids(const Options& o, const ModelText& text) {
    if (o.ids) return parse_ids(*o.ids);
    return text.require_tokenizer().encode(read_prompt(o.prompt, o.file), {.add_special = !o.no_special});
}

void run(const Options& o) {
    if ((o.prompt ? 1 : 0) + (o.file ? 1 : 0) + (o.ids ? 1 : 0) > 1) throw_error<UsageError>("give one of -p, -f and --ids");
    Checkpoint checkpoint = open_checkpoint(resolve_model(o.model.model));
    const ModelText text = load_model_text(checkpoint);
    const std::vector<std::int32_t> ids = input_ids(o, text);
    if (ids.empty()) throw_error<UsageError>("the input is empty; give at least one token");
    if (ids.size() > (std::size_t{1} << 24))
        throw_error<UsageError>("the input has {} tokens, need at most {}", ids.size(), 1 << 24);

    LoadOptions load = load_options(o.model);
    load.context = static_cast<int>(ids.size());
    load.max_rows = load.max_logit_rows = std::min(kLogitRows, load.context);
    Model model = load_model(std::move(checkpoint), load);
    const std::int64_t vocab = model.config().vocab;

    SignalWatch signals;
    LogitSink sink(o.out, static_cast<std::int64_t>(ids.size()), vocab);
    ProgressBar bar("logits", ids.size(), "tokens");
    prompt_logits(model, ids, 0, [&](std::int64_t, std::span<const float> row) {
        sink.append(row);
        bar.advance(1);
        if (const int signal = signals.caught()) throw Interrupted(signal);
    });
    sink.finish();

    const std::vector<Candidate> top = most_likely(sink.last(), o.top);
    const auto piece = [&](std::int32_t id) { return text.tokenizer ? std::string(text.tokenizer->piece(id)) : std::string(); };
    if (o.json) {
        Json candidates = Json::array();
        for (const Candidate& c : top) {
            Json entry = {{"id", c.id}, {"logit", static_cast<double>(c.logit)}, {"probability", c.probability}};
            if (text.tokenizer) entry["piece"] = piece(c.id);
            candidates.push_back(entry);
        }
        print_output("{}\n", dump_json({{"ids", ids},
                                        {"shape", {ids.size(), vocab}},
                                        {"out", o.out ? Json(*o.out) : Json()},
                                        {"next", candidates},
                                        {"numerics", model.numerics()}},
                                       2));
    } else if (o.out) {
        log_info("{}: float32 [{}, {}]", *o.out, ids.size(), vocab);
    } else {
        Table table({{"next id", Align::right}, {"logit", Align::right}, {"probability", Align::right}, {"piece"}});
        for (const Candidate& c : top)
            table.add(
                {std::to_string(c.id), fmt::format("{:.4f}", c.logit), fmt::format("{:.4f}", c.probability), piece(c.id)});
        write_output(table.text());
    }
}

void add(CLI::App& app) {
    auto o = std::make_shared<Options>();
    o->model.activations = "f32";
    CLI::App& verb = *app.add_subcommand("logits", "The model's scores of every next token");
    add_model_options(verb, o->model, true);
    verb.add_option("-p,--prompt", o->prompt, "The text; without -p, -f and --ids it is read from standard input");
    verb.add_option("-f,--file", o->file, "Read the text from a file");
    verb.add_option("--ids", o->ids, "Token ids: \"1,2,3\"; works without a tokenizer");
    verb.add_flag("--no-special", o->no_special, "Do not add the tokens that open a text (BOS)");
    verb.add_option("-o,--out", o->out, "Write float32 [tokens, vocabulary] to a NumPy file");
    verb.add_option("--top", o->top, "Without --out: show so many of the most likely next tokens")->check(CLI::Range(1, 1000));
    verb.add_flag("--json", o->json, "One JSON document with ids, the likely next tokens and the numerics");
    verb.footer(
        "Weights are used exactly (--activations f32) unless said otherwise; the context is the number of tokens.\nExample:\n  "
        "narae logits default -p \"The sky is\"\n  narae logits default --ids \"504,260,3575\" --out logits.npy");
    verb.callback([o] { run(*o); });
}

const Verb kLogits = {"logits", add};
const RegisterVerb kRegister(kLogits);

}  // namespace
}  // namespace narae::cli
