#include "quant/quantize.h"

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/text_files.h"
#include "formats/scales.h"
#include "quant/awq.h"
#include "quant/block_runner.h"
#include "quant/dense.h"
#include "quant/gptq.h"
#include "text/tokenizer/regex.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <set>

namespace narae {
namespace {

constexpr std::string_view kStateEnding = ".quantizing", kRecipeFile = "recipe.json", kReportFile = "report.json",
                           kPattern = "re:";
constexpr std::uint64_t kSampledBytes = 4096;  // of each weight, to know the model again

bool is_integer(const Recipe& recipe) { return recipe.format.starts_with("int"); }
bool is_4bit_float(const Recipe& recipe) { return recipe.format == "nf4" || recipe.format == "fp4"; }

IntRounding rounding_of(const Recipe& recipe) {
    IntRounding rounding;
    const bool as_awq = recipe.layout == "awq" || recipe.method == "awq";
    rounding.rule = as_awq ? IntRule::awq : recipe.layout == "compressed-tensors" ? IntRule::compressed_tensors : IntRule::gptq;
    rounding.bits = int_bits(*find_format(recipe.format));
    rounding.symmetric = recipe.symmetric;
    rounding.dtype = recipe.model;
    return rounding;
}

Scaling scaling_of(const Recipe& recipe) {
    Scaling scaling = find_format(recipe.format)->scaling;
    if (is_integer(recipe)) {
        scaling.columns = recipe.group > 0 ? recipe.group : kWhole;
        scaling.dtype = recipe.model;
    }
    if (is_4bit_float(recipe)) {
        scaling.nested = recipe.double_quantization ? 256 : 0;
        scaling.dtype = recipe.double_quantization ? DType::u8 : DType::f32;
    }
    return scaling;
}

std::vector<BufferRole> roles_of(const Recipe& recipe) {
    if (is_integer(recipe) && !recipe.symmetric) return {BufferRole::zeros};
    return {};
}

OwnedWeight round_to_nearest(const Recipe& recipe, const std::vector<float>& values, std::int64_t out, std::int64_t in,
                             const std::string& name) {
    for (const float value : values)
        if (!std::isfinite(value)) throw_error<BadFileError>("{}: holds a value that is not finite", name);
    OwnedWeight weight = make_weight(*find_format(recipe.format), out, in, scaling_of(recipe), roles_of(recipe), name);
    if (is_integer(recipe))
        pack_int_groups(rounding_of(recipe), values.data(), weight);
    else
        weight.weight.format->pack_weight(values.data(), weight);
    return weight;
}

// A weight of this shape without bytes, to ask a layout about.
PackedWeight like(const Recipe& recipe, std::int64_t out, std::int64_t in, const std::string& name) {
    PackedWeight weight;
    weight.format = find_format(recipe.format);
    weight.out = out;
    weight.in = in;
    weight.scaling = scaling_of(recipe);
    weight.name = name;
    weight.buffers = {PackedBuffer({}, BufferRole::codes), PackedBuffer({}, BufferRole::scales)};
    for (const BufferRole role : roles_of(recipe)) weight.buffers.push_back(PackedBuffer({}, role));
    if (recipe.act_order && !recipe.static_groups && recipe.group > 0)
        weight.buffers.push_back(PackedBuffer({}, BufferRole::group_index));
    return weight;
}

// With the layout's first variant where none was asked for.
Recipe with_variant(Recipe recipe) {
    const QuantizedLayout& layout = *find_quantized_layout(recipe.layout);
    if (recipe.variant.empty() && !layout.variants.empty()) recipe.variant = layout.variants.front();
    return recipe;
}

// A recipe that can be, with what is looked up once.
struct Plan {
    Recipe recipe;  // with a variant
    const QuantizedLayout& layout;
    std::vector<Regex> ignored;  // of re:PATTERN

    // Why a weight is not quantized; nullopt: it is.
    std::optional<std::string> refused(const WeightSlot& slot) const {
        if (is_ignored(module_of(slot.hf))) return "ignored";
        const std::int64_t out = slot.shape[0], in = slot.shape[1];
        if (is_integer(recipe) && recipe.group > 0 && in % recipe.group != 0)
            return fmt::format("{} columns are no multiple of the group of {}", in, recipe.group);
        return layout.refuses(like(recipe, out, in, slot.hf), recipe.variant);
    }

private:
    bool is_ignored(const std::string& module) const {
        bool found = std::ranges::any_of(recipe.ignored, [&](const std::string& name) {
            return !name.starts_with(kPattern) && module.find(name) != std::string::npos;
        });
        for (const Regex& regex : ignored) regex.for_each(module, [&](std::size_t, std::size_t) { found = true; });
        return found;
    }
};

// Patterns match from the name's beginning, as Python's re.match. UsageError: one that does not compile.
std::vector<Regex> ignored_patterns(const Recipe& recipe) {
    std::vector<Regex> patterns;
    for (const std::string& name : recipe.ignored) {
        if (!name.starts_with(kPattern)) continue;
        try {
            patterns.emplace_back(fmt::format("\\A(?:{})[\\s\\S]*", name.substr(kPattern.size())), "ignored " + name);
        } catch (const BadFileError& e) {
            throw_error<UsageError>("{}", e.what());
        }
    }
    return patterns;
}

Json json_of(const Recipe& r) {
    return {{"method", r.method},
            {"format", r.format},
            {"layout", r.layout},
            {"variant", r.variant},
            {"group", r.group},
            {"symmetric", r.symmetric},
            {"double_quantization", r.double_quantization},
            {"damping", r.damping},
            {"act_order", r.act_order},
            {"static_groups", r.static_groups},
            {"true_sequential", r.true_sequential},
            {"model", std::string(dtype_name(r.model))},
            {"ignored", r.ignored},
            {"samples", r.samples},
            {"tokens", r.tokens}};
}

std::string hash_of_source(const Source& source, const Checkpoint& checkpoint) {
    Sha256 hash;
    hash.update(dump_json(source.contents().config));
    for (const StoredWeight& weight : checkpoint.weights) {
        hash.update(weight.name());
        const std::span<const std::byte> codes = weight.packed.codes();
        hash.update(codes.first(std::min<std::size_t>(codes.size(), kSampledBytes)));
    }
    return hash.finish();
}

Json json_of(const QuantizedLinear& l) {
    return {{"module", l.module}, {"out", l.out},   {"in", l.in},
            {"format", l.format}, {"bits", l.bits}, {"error_nearest", l.error_nearest},
            {"error", l.error},   {"note", l.note}};
}

QuantizedLinear linear_of(const Json& json, const std::string& what) {
    const auto needed = [&](auto found, const char* key) {
        if (!found) throw_error<BadFileError>("{}: no \"{}\"; remove the folder to begin anew", what, key);
        return *found;
    };
    if (!json.is_object())
        throw_error<BadFileError>("{}: need an object for each linear; remove the folder to begin anew", what);
    QuantizedLinear l;
    l.module = needed(get_string(json, "module", what), "module");
    l.out = needed(get_int(json, "out", what), "out");
    l.in = needed(get_int(json, "in", what), "in");
    l.format = needed(get_string(json, "format", what), "format");
    l.bits = needed(get_double(json, "bits", what), "bits");
    l.error_nearest = needed(get_double(json, "error_nearest", what), "error_nearest");
    l.error = needed(get_double(json, "error", what), "error");
    l.note = needed(get_string(json, "note", what), "note");
    return l;
}

// The work of a run, on disk: a folder for each block that is finished, and the hidden states that enter the next one.
class State {
public:
    State(const Path& out, const Json& identity) : folder_(out.string() + std::string(kStateEnding)) {
        FileSystem& files = file_system();
        const Path recipe = folder_ / kRecipeFile;
        if (files.is_directory(folder_)) {
            const std::string found = files.is_file(recipe) ? read_text_file(recipe) : std::string();
            if (!found.empty() && parse_json(found, recipe.string()) != identity)
                throw_error<UsageError>(
                    "{}: was begun with another recipe, model or calibration text; remove it, or choose another OUT",
                    folder_.string());
        } else {
            files.create_directories(folder_);
        }
        if (!files.is_file(recipe)) write(recipe, dump_json(identity, 2) + "\n");
        while (files.is_directory(block(finished_))) ++finished_;
    }

    // What was said about the linears of the finished blocks.
    std::vector<QuantizedLinear> linears() const {
        std::vector<QuantizedLinear> all;
        for (int i = 0; i < finished_; ++i) {
            const Path path = block(i) / kReportFile;
            for (const Json& json : parse_json(read_text_file(path), path.string()))
                all.push_back(linear_of(json, path.string()));
        }
        return all;
    }

    const Path& folder() const { return folder_; }
    int finished() const { return finished_; }
    Path block(int index) const { return folder_ / fmt::format("block-{:05}", index); }

    // Hidden states that enter block `index`, if they are there.
    bool load_hidden(int index, std::vector<float>& hidden) const {
        const Path path = hidden_path(index);
        if (!file_system().is_file(path)) return false;
        const auto file = file_system().open(path);
        if (file->size() != hidden.size() * sizeof(float))
            throw_error<BadFileError>("{}: {} bytes, need {}; remove {} to begin anew", path.string(), file->size(),
                                      hidden.size() * sizeof(float), folder_.string());
        file->read_at(0, std::as_writable_bytes(std::span(hidden)));
        return true;
    }
    // First the states that enter the next block, then the block itself: a block that is there has its successor's input.
    void save(int index, const std::vector<float>* hidden, const CheckpointToSave& tensors) {
        if (hidden) {
            AtomicFile file(hidden_path(index + 1));
            file.write(std::as_bytes(std::span(*hidden)));
            file.commit();
        }
        save_safetensors(tensors, block(index));
        if (hidden) file_system().remove(hidden_path(index));
        finished_ = index + 1;
    }
    void remove() { file_system().remove(folder_); }

private:
    Path hidden_path(int index) const { return folder_ / fmt::format("hidden-{:05}.bin", index); }
    static void write(const Path& path, std::string_view text) {
        AtomicFile file(path);
        file.write(text);
        file.commit();
    }

    Path folder_;
    int finished_ = 0;
};

double square(std::span<const float> values) {
    double sum = 0.0;
    for (const float value : values) sum += static_cast<double>(value) * static_cast<double>(value);
    return sum;
}

// What a weight lost, relative to itself: of outputs where there is a Gram matrix, else of the weight.
double relative_error(const PackedWeight& weight, const std::vector<float>& values, std::span<const double> gram,
                      ThreadPool& threads) {
    std::vector<float> difference = unpack_all(weight);
    for (std::size_t i = 0; i < values.size(); ++i) difference[i] -= values[i];
    const double size = gram.empty() ? square(values) : output_square(values, weight.in, gram, threads);
    const double error = gram.empty() ? square(difference) : output_square(difference, weight.in, gram, threads);
    return size > 0.0 ? error / size : 0.0;
}

PackedWeight dense(const WeightSlot& slot, const std::vector<float>& values) {
    PackedWeight weight;
    weight.format = find_format("f32");
    weight.out = slot.shape[0];
    weight.in = slot.shape[1];
    weight.buffers = {std::as_bytes(std::span(values))};
    weight.name = slot.hf;
    return weight;
}

// Quantizes the blocks of one model.
class Run {
public:
    Run(const Source& source, const Plan& plan, State& state, const kernels::BackendOptions& backend, QuantizeResult& result,
        const std::function<void(const QuantizeProgress&)>& progress)
        : source_(source),
          plan_(plan),
          recipe_(plan.recipe),
          state_(state),
          threads_(backend.threads > 0 ? backend.threads : usable_processors()),
          result_(result),
          progress_(progress) {}

    void without_calibration() {
        for (int layer = state_.finished(); layer < source_.config().layers; ++layer) {
            begin(layer);
            for (const Product product : kProducts)
                for (const WeightSlot* slot : weights_of(source_, layer, product)) quantize(*slot, source_.values(*slot), {});
            finish(layer, nullptr);
        }
    }

    void with_calibration(BlockRunner& runner) {
        if (state_.finished() > 0 && state_.finished() < source_.config().layers &&
            !state_.load_hidden(state_.finished(), runner.hidden()))
            throw_error<BadFileError>("{}: the hidden states of block {} are missing; remove the folder to begin anew",
                                      state_.folder().string(), state_.finished());
        for (int layer = state_.finished(); layer < source_.config().layers; ++layer) {
            begin(layer);
            runner.load_block(layer);
            if (recipe_.method == "awq")
                block_by_scales(runner, layer);
            else if (recipe_.true_sequential)
                block_by_products(runner, layer);
            else
                block_at_once(runner, layer);
            finish(layer, &runner.hidden());
        }
    }

private:
    struct Part {
        const WeightSlot* slot = nullptr;
        std::vector<float> values;
        double nearest = 0.0;   // AWQ: the error of rounding it as it was
        OwnedWeight quantized;  // of a weight that stays: none
        PackedWeight packed() const { return quantized.weight.format ? quantized.weight : dense(*slot, values); }
    };

    void begin(int layer) {
        tensors_ = {};
        first_linear_ = result_.linears.size();
        report(layer, "");
    }
    void finish(int layer, const std::vector<float>* hidden) {
        Json report = Json::array();
        for (std::size_t i = first_linear_; i < result_.linears.size(); ++i) report.push_back(json_of(result_.linears[i]));
        tensors_.text_files = {{std::string(kReportFile), dump_json(report, 1) + "\n"}};
        state_.save(layer, hidden, tensors_);
    }
    void report(int layer, const std::string& module) {
        if (progress_) progress_({.block = layer, .blocks = source_.config().layers, .module = module});
    }

    // Products see what the products before them, as quantized, make of the calibration set.
    void block_by_products(BlockRunner& runner, int layer) {
        for (const Product product : kProducts) {
            std::vector<Part> parts = read(layer, product);
            const std::vector<double> gram = watch(runner, product, parts.front().values.size() / rows_of(parts.front()));
            set(runner, product, quantize_parts(layer, parts, gram));
            if (product == Product::o) runner.add_attention();
            if (product == Product::down) runner.add_mlp();
        }
    }

    // All products see the block as it was; then it is run again as quantized.
    void block_at_once(BlockRunner& runner, int layer) {
        std::vector<std::vector<Part>> parts;
        for (const Product product : kProducts) {
            parts.push_back(read(layer, product));
            set(runner, product, parts.back());
        }
        const std::vector<float> before = runner.hidden();
        std::vector<std::vector<double>> grams;
        for (const Product product : kProducts) {
            if (product == Product::gate_up) runner.add_attention();
            const Part& first = parts[grams.size()].front();
            grams.push_back(watch(runner, product, first.values.size() / rows_of(first)));
        }
        runner.hidden() = before;
        for (std::size_t p = 0; p < parts.size(); ++p) {
            quantize_parts(layer, parts[p], grams[p]);
            set(runner, kProducts[p], parts[p]);
        }
        runner.add_attention();
        runner.add_mlp();
    }

    // What AWQ needs to know of the inputs of a product.
    struct Inputs {
        std::vector<float> means;  // of magnitudes, float16 values
        std::vector<double> gram;
    };
    Inputs watch_inputs(BlockRunner& runner, Product product, std::size_t columns) {
        Gram gram(static_cast<std::int64_t>(columns));
        std::vector<double> sums(columns);
        runner.watch(product, [&](std::span<const float> rows) {
            gram.add(rows, threads_);
            for (std::size_t i = 0; i < rows.size(); ++i) sums[i % columns] += std::fabs(static_cast<double>(rows[i]));
        });
        Inputs inputs;
        for (const double sum : sums)
            inputs.means.push_back(rounded_to(DType::f16, static_cast<float>(sum / static_cast<double>(gram.rows()))));
        inputs.gram = gram.take(threads_);
        return inputs;
    }

    // The search of one group of weights with the same inputs; by the square error of what `output` shows.
    std::vector<float> search(BlockRunner& runner, Product product, const std::vector<Part>& parts, const Inputs& inputs,
                              FunctionRef<void(FunctionRef<void(std::span<const float>)>)> output) {
        const std::int64_t in = parts.front().slot->shape[1], group = recipe_.group > 0 ? recipe_.group : in;
        std::vector<std::span<const float>> weights;
        for (const Part& part : parts) weights.push_back(part.values);
        std::vector<float> before;
        output([&](std::span<const float> rows) { before.insert(before.end(), rows.begin(), rows.end()); });
        const AwqSearch found =
            awq_search(inputs.means, awq_weight_means(weights, in, group), [&](std::span<const float> scales) {
                std::vector<std::vector<float>> changed;
                std::vector<PackedWeight> packed;
                for (const Part& part : parts) {
                    changed.push_back(awq_rounded(part.values, in, scales, rounding_of(recipe_), group, threads_));
                    packed.push_back(dense(*part.slot, changed.back()));
                }
                runner.set_weights(product, packed);
                double loss = 0.0;
                std::size_t at = 0;
                output([&](std::span<const float> rows) {
                    for (const float value : rows) {
                        const double difference = static_cast<double>(value) - static_cast<double>(before[at++]);
                        loss += difference * difference;
                    }
                });
                return loss / static_cast<double>(before.size());
            });
        set(runner, product, parts);
        return found.scales;
    }
    // The same where what is watched is the weight's own output: no more than its inputs' second moments are needed.
    std::vector<float> search(const Part& part, const Inputs& inputs) {
        const std::int64_t in = part.slot->shape[1], group = recipe_.group > 0 ? recipe_.group : in;
        const std::array<std::span<const float>, 1> weights = {part.values};
        return awq_search(inputs.means, awq_weight_means(weights, in, group),
                          [&](std::span<const float> scales) {
                              std::vector<float> changed =
                                  awq_rounded(part.values, in, scales, rounding_of(recipe_), group, threads_);
                              for (std::size_t i = 0; i < changed.size(); ++i) changed[i] -= part.values[i];
                              return output_square(changed, in, inputs.gram, threads_);
                          })
            .scales;
    }

    // AWQ: all scales are searched in the block as it was, then applied, then ranges are cut; the next block sees what the
    // block as it was makes of its inputs.
    void block_by_scales(BlockRunner& runner, int layer) {
        std::map<Product, std::vector<Part>> parts;
        std::map<Product, Inputs> inputs;
        std::map<Product, std::vector<float>> scales;
        for (const Product product : kProducts) {
            parts[product] = read(layer, product);
            set(runner, product, parts[product]);
        }
        const auto columns = [&](Product product) {
            return parts[product].front().values.size() / rows_of(parts[product].front());
        };
        const auto may_scale = [&](Product product) {
            return std::ranges::any_of(parts[product], [&](const Part& part) { return !plan_.refused(*part.slot); });
        };
        report(layer, "attention");
        for (const Product product : {Product::qkv, Product::o})
            inputs[product] = watch_inputs(runner, product, columns(product));
        if (may_scale(Product::qkv))
            scales[Product::qkv] =
                search(runner, Product::qkv, parts[Product::qkv], inputs[Product::qkv],
                       [&](FunctionRef<void(std::span<const float>)> seen) { runner.attention_output(seen); });
        const bool apart = parts[Product::qkv].size() == 3;
        if (apart && parts[Product::qkv][2].slot->shape == parts[Product::o][0].slot->shape && may_scale(Product::o))
            scales[Product::o] = search(parts[Product::o][0], inputs[Product::o]);
        runner.add_attention();
        report(layer, "mlp");
        for (const Product product : {Product::gate_up, Product::down})
            inputs[product] = watch_inputs(runner, product, columns(product));
        if (may_scale(Product::gate_up))
            scales[Product::gate_up] = search(runner, Product::gate_up, parts[Product::gate_up], inputs[Product::gate_up],
                                              [&](FunctionRef<void(std::span<const float>)> seen) { runner.mlp_output(seen); });
        if (source_.config().gated && may_scale(Product::down))
            scales[Product::down] = search(parts[Product::down][0], inputs[Product::down]);
        runner.add_mlp();

        for (const Product product : kProducts)
            for (Part& part : parts[product])
                if (!plan_.refused(*part.slot))
                    part.nearest = relative_error(
                        round_to_nearest(recipe_, part.values, part.slot->shape[0], part.slot->shape[1], part.slot->hf).weight,
                        part.values, inputs[product].gram, threads_);
        fold_into_norm(layer, Slot::attention_norm, Slot::attention_norm_bias, scales[Product::qkv]);
        scale_columns(parts[Product::qkv], scales[Product::qkv]);
        if (!scales[Product::o].empty()) fold_into_rows(layer, parts[Product::qkv][2], Slot::v_bias, scales[Product::o]);
        scale_columns(parts[Product::o], scales[Product::o]);
        fold_into_norm(layer, Slot::mlp_norm, Slot::mlp_norm_bias, scales[Product::gate_up]);
        scale_columns(parts[Product::gate_up], scales[Product::gate_up]);
        if (!scales[Product::down].empty())
            fold_into_rows(layer, parts[Product::gate_up].back(), Slot::up_bias, scales[Product::down]);
        scale_columns(parts[Product::down], scales[Product::down]);

        for (const Product product : kProducts) {
            std::vector<double>& gram = inputs[product].gram;
            const std::vector<float>& s = scales[product];
            const std::size_t n = columns(product);
            if (!s.empty())
                for (std::size_t i = 0; i < n; ++i)
                    for (std::size_t j = 0; j < n; ++j)
                        gram[i * n + j] /= static_cast<double>(s[i]) * static_cast<double>(s[j]);
            for (Part& part : parts[product]) {
                report(layer, module_of(part.slot->hf));
                const std::vector<float> whole = part.values;
                // What meets in the products of queries and keys is hard to cut well.
                const Slot slot = part.slot->slot;
                if (slot != Slot::q && slot != Slot::k && slot != Slot::qkv && !plan_.refused(*part.slot))
                    awq_clip(part.values, static_cast<std::int64_t>(n), gram, rounding_of(recipe_),
                             recipe_.group > 0 ? recipe_.group : static_cast<std::int64_t>(n), threads_);
                const OwnedWeight weight = quantize(*part.slot, part.values, gram);
                if (weight.weight.format) {
                    result_.linears.back().error_nearest = part.nearest;
                    result_.linears.back().error = relative_error(weight.weight, whole, gram, threads_);
                } else if (!s.empty() || changed_.contains(part.slot->hf)) {
                    save_dense(*part.slot, part.values);
                }
            }
        }
        changed_.clear();
    }

    void scale_columns(std::vector<Part>& parts, const std::vector<float>& scales) {
        if (scales.empty()) return;
        for (Part& part : parts)
            for (std::size_t i = 0; i < part.values.size(); ++i)
                part.values[i] = rounded_to(recipe_.model, part.values[i] * scales[i % scales.size()]);
    }
    void fold_into_rows(int layer, Part& part, Slot bias, const std::vector<float>& scales) {
        const std::size_t in = part.values.size() / rows_of(part);
        for (std::size_t i = 0; i < part.values.size(); ++i)
            part.values[i] = rounded_to(recipe_.model, part.values[i] / scales[i / in]);
        changed_.insert(part.slot->hf);
        fold_into_vector(layer, bias, scales);
    }
    void fold_into_norm(int layer, Slot weight, Slot bias, const std::vector<float>& scales) {
        if (scales.empty()) return;
        fold_into_vector(layer, weight, scales);
        fold_into_vector(layer, bias, scales);
    }
    void fold_into_vector(int layer, Slot slot, const std::vector<float>& scales) {
        const WeightSlot* found = source_.find(layer, slot);
        if (!found) return;
        std::vector<float> values = source_.values(*found);
        for (std::size_t i = 0; i < values.size(); ++i) values[i] /= scales[i];
        save_dense(*found, values);
    }
    // A weight that is not quantized, but changed.
    void save_dense(const WeightSlot& slot, std::vector<float> values) {
        NARAE_CHECK(!slot.hf_transposed || slot.shape.rank() == 1, "{} is stored transposed", slot.hf);
        WeightToSave& weight = tensors_.weights.emplace_back();
        weight.name = slot.hf;
        weight.shape = slot.shape;
        weight.format = find_format(recipe_.model);
        weight.produce = [format = weight.format, values = std::move(values)](std::span<std::byte> target) {
            format->pack(values.data(), static_cast<std::int64_t>(values.size()), target.data());
        };
    }

    static std::size_t rows_of(const Part& part) { return static_cast<std::size_t>(part.slot->shape[0]); }

    std::vector<Part> read(int layer, Product product) const {
        std::vector<Part> parts;
        for (const WeightSlot* slot : weights_of(source_, layer, product))
            parts.push_back({.slot = slot, .values = source_.values(*slot), .quantized = {}});
        return parts;
    }

    std::vector<double> watch(BlockRunner& runner, Product product, std::size_t columns) {
        Gram gram(static_cast<std::int64_t>(columns));
        runner.watch(product, [&](std::span<const float> rows) { gram.add(rows, threads_); });
        return gram.take(threads_);
    }

    static void set(BlockRunner& runner, Product product, const std::vector<Part>& parts) {
        std::vector<PackedWeight> packed;
        for (const Part& part : parts) packed.push_back(part.packed());
        runner.set_weights(product, packed);
    }

    std::vector<Part>& quantize_parts(int layer, std::vector<Part>& parts, const std::vector<double>& gram) {
        for (Part& part : parts) {
            report(layer, module_of(part.slot->hf));
            part.quantized = quantize(*part.slot, part.values, gram);
        }
        return parts;
    }

    // By the recipe's method, into the block's tensors and the report; an empty weight where it stays as it was.
    OwnedWeight quantize(const WeightSlot& slot, const std::vector<float>& values, const std::vector<double>& gram) {
        const std::string module = module_of(slot.hf);
        const std::int64_t out = slot.shape[0], in = slot.shape[1];
        QuantizedLinear& linear = result_.linears.emplace_back();
        linear.module = module;
        linear.out = out;
        linear.in = in;
        linear.format = find_format(recipe_.model)->name;
        linear.bits = dtype_bits(recipe_.model);
        if (const std::optional<std::string> reason = plan_.refused(slot)) {
            linear.note = *reason;
            for (const float value : values)
                if (!std::isfinite(value)) throw_error<BadFileError>("{}: holds a value that is not finite", slot.hf);
            return {};
        }
        OwnedWeight weight = round_to_nearest(recipe_, values, out, in, slot.hf);
        linear.error_nearest = linear.error = relative_error(weight.weight, values, gram, threads_);
        if (recipe_.method == "gptq") {
            GptqOptions options;
            options.rounding = rounding_of(recipe_);
            options.group = recipe_.group;
            options.scales = recipe_.model;
            options.damping = recipe_.damping;
            options.act_order = recipe_.act_order;
            options.static_groups = recipe_.static_groups;
            GptqWeight found = gptq(options, values, out, in, gram, slot.hf, threads_);
            weight = std::move(found.weight);
            linear.error = relative_error(weight.weight, values, gram, threads_);
            if (found.damping != recipe_.damping) linear.note = fmt::format("damping raised to {:g}", found.damping);
            if (found.dead > 0)
                linear.note += fmt::format("{}{} inputs are always zero", linear.note.empty() ? "" : ", ", found.dead);
        }
        linear.format = recipe_.format;
        linear.bits = weight.weight.bits_per_weight();
        for (TensorToWrite& tensor : plan_.layout.tensors(weight.weight, module, recipe_.model, recipe_.variant))
            tensors_.weights.push_back(tensor_to_save(std::move(tensor)));
        return weight;
    }

    const Source& source_;
    const Plan& plan_;
    const Recipe& recipe_;
    State& state_;
    ThreadPool threads_;
    QuantizeResult& result_;
    const std::function<void(const QuantizeProgress&)>& progress_;
    CheckpointToSave tensors_;       // of the block
    std::set<std::string> changed_;  // weights of it whose rows were scaled
    std::size_t first_linear_ = 0;
};

// A finished tensor of a block's folder, out of the mapped file.
WeightToSave copied(const SafetensorsTensor& tensor, const std::shared_ptr<MappedFile>& file) {
    WeightToSave weight;
    weight.name = tensor.name;
    weight.shape = tensor.shape;
    weight.dtype = tensor.dtype;
    weight.produce = [file, bytes = tensor.bytes](std::span<std::byte> target) {
        NARAE_CHECK(bytes.size() == target.size(), "{} bytes of {}", bytes.size(), target.size());
        std::ranges::copy(bytes, target.begin());
    };
    return weight;
}

void save(const Source& source, const Plan& plan, const State& state, const Path& out) {
    const Recipe& recipe = plan.recipe;
    CheckpointToSave contents = source.contents();
    std::vector<std::string> quantized;
    std::vector<WeightToSave> tensors;
    QuantizationSummary summary;
    for (int block = 0; block < source.config().layers; ++block) {
        for (const Product product : kProducts)
            for (const WeightSlot* slot : weights_of(source, block, product)) {
                if (!plan.refused(*slot))
                    quantized.push_back(slot->hf);
                else
                    summary.unquantized.push_back(module_of(slot->hf));
            }
        for (const Path& path : file_system().list(state.block(block))) {
            if (path.extension() != ".safetensors") continue;
            const auto file = std::make_shared<MappedFile>(path);
            for (const SafetensorsTensor& tensor : parse_safetensors(file->bytes(), path.string()))
                tensors.push_back(copied(tensor, file));
        }
    }
    for (const WeightToSave& tensor : tensors) quantized.push_back(tensor.name);  // or changed
    std::ranges::sort(quantized);
    std::erase_if(contents.weights,
                  [&](const WeightToSave& weight) { return std::ranges::binary_search(quantized, weight.name); });
    for (WeightToSave& tensor : tensors) contents.weights.push_back(std::move(tensor));
    std::ranges::sort(contents.weights, {}, &WeightToSave::name);

    summary.method = recipe.method;
    summary.variant = recipe.variant;
    summary.format = find_format(recipe.format);
    summary.scaling = scaling_of(recipe);
    summary.symmetric = !is_integer(recipe) || recipe.symmetric;
    summary.act_order = recipe.act_order;
    summary.static_groups = recipe.static_groups;
    summary.true_sequential = recipe.true_sequential;
    summary.damp_percent = recipe.damping;
    summary.model_dtype = recipe.model;
    summary.unquantized.push_back("lm_head");
    contents.config["quantization_config"] = plan.layout.config(summary);
    if (plan.layout.files)
        for (auto& file : plan.layout.files(summary)) contents.text_files.push_back(std::move(file));
    save_safetensors(contents, out);
}

}  // namespace

bool needs_calibration(const Recipe& recipe) { return recipe.method != "rtn"; }

std::string why_not(const Recipe& recipe) {
    const Format* format = find_format(recipe.format);
    const QuantizedLayout* layout = find_quantized_layout(recipe.layout);
    if (!format || !format->buffers) {
        std::vector<std::string_view> known;
        for (const Format* f : all_formats())
            if (f->buffers) known.push_back(f->name);
        return fmt::format("format {}: unknown; need one of {}", recipe.format, fmt::join(known, ", "));
    }
    if (!layout) {
        std::vector<std::string_view> known;
        for (const QuantizedLayout* l : quantized_layouts()) known.push_back(l->name);
        return fmt::format("layout {}: unknown; need one of {}", recipe.layout, fmt::join(known, ", "));
    }
    if (!recipe.variant.empty() && std::ranges::find(layout->variants, recipe.variant) == layout->variants.end())
        return fmt::format("layout {} has no variant {}; need one of {}", recipe.layout, recipe.variant,
                           fmt::join(layout->variants, ", "));
    if (recipe.method != "rtn" && recipe.method != "gptq" && recipe.method != "awq")
        return fmt::format("method {}: unknown; need rtn, gptq or awq", recipe.method);
    if (recipe.method != "rtn" && !is_integer(recipe))
        return fmt::format("{} chooses integer codes, {} has none; the nearest is --method rtn --format {}, or --format int4",
                           recipe.method, recipe.format, recipe.format);
    if (recipe.method == "awq" && recipe.model != DType::f16) return "awq computes in float16: the model's type must be f16";
    if (recipe.model != DType::f16 && recipe.model != DType::bf16) return "the model's type must be f16 or bf16";
    if (recipe.group < 0) return fmt::format("a group of {} columns", recipe.group);
    const Recipe full = with_variant(recipe);
    const std::int64_t columns = recipe.group > 0 ? 8 * recipe.group : 1024;
    if (const auto reason = layout->refuses(like(full, 1024, columns, "a weight"), full.variant)) return *reason;
    return {};
}

QuantizeResult quantize(const Checkpoint& checkpoint, const Recipe& asked, std::span<const std::string> documents,
                        const Path& out, const kernels::BackendOptions& backend,
                        const std::function<void(const QuantizeProgress&)>& progress) {
    if (const std::string reason = why_not(asked); !reason.empty()) throw_error<UsageError>("{}", reason);
    if (file_system().is_directory(out) || file_system().is_file(out))
        throw_error<UsageError>("{}: exists; remove it, or choose another name", out.string());
    const Plan plan{with_variant(asked), *find_quantized_layout(asked.layout), ignored_patterns(asked)};
    const Recipe& recipe = plan.recipe;

    const Source source(checkpoint, recipe.model);
    std::optional<CalibrationSet> set;
    Json identity = {{"recipe", json_of(recipe)}, {"model", hash_of_source(source, checkpoint)}};
    if (needs_calibration(recipe)) {
        const ModelText text = load_model_text(checkpoint);
        if (!text.tokenizer)
            throw_error<UsageError>("{}: {} needs calibration text, and the model has no tokenizer: {}",
                                    checkpoint.path.string(), recipe.method, text.missing);
        set = calibration_set(*text.tokenizer, documents, recipe.samples, recipe.tokens);
        identity["calibration"] = sha256_hex(std::as_bytes(std::span(set->ids)));
    }

    State state(out, identity);
    QuantizeResult result;
    result.resumed_blocks = state.finished();
    result.linears = state.linears();
    if (state.finished() < source.config().layers) {
        Run run(source, plan, state, backend, result, progress);
        if (set) {
            BlockRunner runner(source, *set, backend);
            run.with_calibration(runner);
        } else {
            run.without_calibration();
        }
    }
    save(source, plan, state, out);
    state.remove();
    return result;
}

}  // namespace narae
