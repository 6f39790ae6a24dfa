#include "model/convert.h"

#include "base/error.h"
#include "base/log.h"
#include "base/threads.h"
#include "checkpoint/text_files.h"
#include "model/convert_text.h"
#include "model/model.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace narae {
namespace {

// How narae quantizes a weight by a format's own rule; the file types of general.file_type that stand for it.
struct FileType {
    std::string_view format;
    std::uint32_t number;
};
constexpr FileType kFileTypes[] = {{"f32", 0},  {"f16", 1},  {"q4_0", 2}, {"q4_1", 3},
                                   {"q8_0", 7}, {"q5_0", 8}, {"q5_1", 9}, {"bf16", 32}};

bool quantized(const Format& format) { return !format.dtype.has_value(); }

// Row `r` of a rotary projection in Hugging Face order (halves) as GGUF's interleaved row, and back.
std::int64_t gguf_row(std::int64_t r, std::int64_t head_dim) {
    const std::int64_t head = r / head_dim, in_head = r % head_dim, half = head_dim / 2;
    return head * head_dim + 2 * (in_head % half) + in_head / half;
}
std::int64_t hugging_face_row(std::int64_t r, std::int64_t head_dim) {
    const std::int64_t head = r / head_dim, in_head = r % head_dim, half = head_dim / 2;
    return head * head_dim + (in_head % 2) * half + in_head / 2;
}

// Produces one weight in the target's order and format.
struct Producer {
    const FoundWeight* found;
    Naming from, to;
    const Format* format;
    std::shared_ptr<ThreadPool> threads;

    std::int64_t rows() const { return found->slot.shape.rank() == 2 ? found->slot.shape[0] : 1; }
    std::int64_t columns() const { return found->slot.shape[found->slot.shape.rank() - 1]; }

    // Which stored row holds the target's row `row`. A bias is one row; its elements are permuted instead.
    std::int64_t source_index(std::int64_t index, std::int64_t count) const {
        const int heads = found->slot.gguf_rotary_heads;
        if (heads == 0 || from == to) return index;
        const std::int64_t head_dim = count / heads;
        return to == Naming::gguf ? hugging_face_row(index, head_dim) : gguf_row(index, head_dim);
    }

    void operator()(std::span<std::byte> target) const {
        const bool transposed_from = from == Naming::hugging_face && found->slot.hf_transposed;
        const bool transposed_to = to == Naming::hugging_face && found->slot.hf_transposed;
        if (transposed_from != transposed_to)
            transpose(target);
        else if (found->slot.shape.rank() == 1)
            vector(target);
        else
            matrix(target, transposed_from);
    }

    void transpose(std::span<std::byte> target) const {
        const PackedWeight& packed = found->stored->packed;
        const std::vector<float> values = unpack_all(packed);
        std::vector<float> turned(values.size());
        for (std::int64_t row = 0; row < packed.out; ++row)
            for (std::int64_t column = 0; column < packed.in; ++column)
                turned[static_cast<std::size_t>(column * packed.out + row)] =
                    values[static_cast<std::size_t>(row * packed.in + column)];
        format->pack(turned.data(), static_cast<std::int64_t>(turned.size()), target.data());
    }

    void vector(std::span<std::byte> target) const {
        const std::vector<float> values = unpack_all(found->stored->packed);
        std::vector<float> ordered(values.size());
        const auto count = static_cast<std::int64_t>(values.size());
        for (std::int64_t i = 0; i < count; ++i)
            ordered[static_cast<std::size_t>(i)] = values[static_cast<std::size_t>(source_index(i, count))];
        format->pack(ordered.data(), count, target.data());
    }

    // Row by row: copied where the format stays, else through float32, which holds code x scale exactly.
    void matrix(std::span<std::byte> target, bool stored_as_is) const {
        const PackedWeight& packed = found->stored->packed;
        const std::int64_t count = stored_as_is ? packed.out : rows(), in = stored_as_is ? packed.in : columns();
        const std::int64_t from_bytes = packed.format->row_bytes(in), to_bytes = format->row_bytes(in);
        threads->parallel_for(count, 16, [&](std::int64_t begin, std::int64_t end) {
            std::vector<float> row(static_cast<std::size_t>(in));
            for (std::int64_t r = begin; r < end; ++r) {
                const std::int64_t source = source_index(r, count);
                std::byte* const out = target.data() + r * to_bytes;
                if (packed.format == format) {
                    std::memcpy(out, packed.codes().data() + source * from_bytes, static_cast<std::size_t>(to_bytes));
                } else {
                    packed.format->unpack(packed, source, source + 1, row.data());
                    format->pack(row.data(), in, out);
                }
            }
        });
    }
};

// The format of one tensor in the target. The rules are llama-quantize's for the file types that narae can pack, but for the
// output matrix: it stays in 8 bits, since that costs little and a tied one is also the embedding.
const Format* target_format(const FoundWeight& found, const ConvertOptions& options, const Format* wanted, bool is_head) {
    const Format* const stored = found.stored->packed.format;
    const bool gguf = options.naming == Naming::gguf;
    const bool matrix = found.slot.shape.rank() == 2;
    if (!matrix || found.slot.slot == Slot::position_embedding) {
        if (gguf) return find_format("f32");
        return wanted ? wanted : stored;
    }
    if (!wanted) {
        const bool fits = gguf ? stored->gguf_type.has_value() : !quantized(*stored);
        return fits ? stored : find_format("f16");
    }
    if (!quantized(*wanted)) return wanted;
    const Format* format = is_head ? find_format("q8_0") : wanted;
    return found.slot.shape[1] % format->block == 0 ? format : find_format("f16");
}

const Format* wanted_format(const ConvertOptions& options) {
    if (!options.format) return nullptr;
    const Format* format = find_format(*options.format);
    std::vector<std::string_view> possible;
    for (const Format* candidate : all_formats()) {
        const bool holds = options.naming == Naming::gguf ? candidate->gguf_type.has_value() : !quantized(*candidate);
        if (candidate->pack && holds) possible.push_back(candidate->name);
    }
    if (!format || std::find(possible.begin(), possible.end(), format->name) == possible.end())
        throw_error<UsageError>("--dtype {}: cannot be written to a {} target; possible: {}", *options.format,
                                options.naming == Naming::gguf ? "gguf" : "safetensors", fmt::join(possible, ", "));
    return format;
}

// Llama 3's scaling out of GGUF's table of frequency factors: the published low and high factors, and the power of two as
// original length with which they give the same table.
void recover_rope_scaling(ModelConfig& config, const Path& path) {
    if (config.rope.type != "factors") return;
    const std::vector<double>& table = config.rope.long_factor;
    RopeConfig plain = config.rope, guess = config.rope;
    plain.type = "default";
    guess.type = "llama3";
    guess.factor = *std::max_element(table.begin(), table.end());
    guess.low_freq_factor = 1.0;
    guess.high_freq_factor = 4.0;
    guess.long_factor.clear();
    const auto base = rotary_frequencies(plain, config.rotary_dim(), config.max_positions, config.max_positions).inverse;
    for (guess.original_max_positions = 16; guess.original_max_positions <= (1 << 24); guess.original_max_positions *= 2) {
        const auto scaled = rotary_frequencies(guess, config.rotary_dim(), config.max_positions, config.max_positions).inverse;
        bool same = true;
        for (std::size_t i = 0; i < table.size(); ++i) same = same && std::abs(base[i] / scaled[i] / table[i] - 1.0) < 1e-5;
        if (same) {
            config.rope = guess;
            return;
        }
    }
    throw_error<BadFileError>(
        "{}: rope_freqs.weight is no Llama 3 scaling, and config.json has no other way to say it; keep the GGUF layout",
        path.string());
}

// Llama 3's scaling as the table of factors that GGUF wants.
void add_rope_factors(const ModelConfig& config, CheckpointToSave& result) {
    if (config.rope.type != "llama3") return;
    RopeConfig plain = config.rope;
    plain.type = "default";
    const auto base = rotary_frequencies(plain, config.rotary_dim(), config.max_positions, config.max_positions).inverse;
    const auto scaled =
        rotary_frequencies(config.rope, config.rotary_dim(), config.max_positions, config.max_positions).inverse;
    std::vector<float> factors(base.size());
    for (std::size_t i = 0; i < base.size(); ++i) factors[i] = base[i] / scaled[i];
    result.weights.push_back(
        {"rope_freqs.weight", Shape{static_cast<std::int64_t>(factors.size())}, find_format("f32"),
         [factors](std::span<std::byte> target) { std::memcpy(target.data(), factors.data(), target.size()); }});
}

}  // namespace

CheckpointToSave convert(const Checkpoint& checkpoint, const ConvertOptions& options) {
    require_weights(checkpoint);
    const Format* const wanted = wanted_format(options);
    const Family& family = find_family(checkpoint);
    ModelConfig config = read_model_config(family, checkpoint);
    auto found = std::make_shared<std::vector<FoundWeight>>(find_weights(family, config, checkpoint));
    const bool to_gguf = options.naming == Naming::gguf, from_gguf = checkpoint.naming == Naming::gguf;
    config.tied_head = head_is_embedding(config, *found, checkpoint.path);
    if (!to_gguf) recover_rope_scaling(config, checkpoint.path);

    CheckpointToSave result;
    auto threads = std::make_shared<ThreadPool>(options.threads > 0 ? options.threads : usable_processors());
    const Format* main = nullptr;  // what most matrices become: named in the configuration
    for (const FoundWeight& weight : *found) {
        const Slot slot = weight.slot.slot;
        if (slot == Slot::head && config.tied_head) continue;
        if (slot == Slot::rope_factors && !to_gguf) continue;
        const bool is_head = slot == Slot::head || (slot == Slot::token_embedding && config.tied_head);
        const Format* format = target_format(weight, options, wanted, is_head);
        if (weight.slot.shape.rank() == 2 && !is_head && slot != Slot::token_embedding && slot != Slot::position_embedding)
            main = format;
        Shape shape = weight.slot.shape;
        if (!to_gguf && weight.slot.hf_transposed && shape.rank() == 2) shape = Shape{shape[1], shape[0]};
        const Producer produce{&weight, checkpoint.naming, options.naming, format, threads};
        result.weights.push_back({to_gguf ? weight.slot.gguf : weight.slot.hf, shape, format,
                                  [found, produce, progress = options.progress](std::span<std::byte> target) {
                                      produce(target);
                                      const PackedWeight& packed = produce.found->stored->packed;
                                      if (packed.file) packed.file->release_pages(packed.codes());
                                      if (progress) progress(target.size());
                                  }});
    }

    const ModelText text = load_model_text(checkpoint);
    if (!text.tokenizer) log_warning("{}: the result has no tokenizer: {}", checkpoint.path.string(), text.missing);
    if (to_gguf) {
        if (!from_gguf) add_rope_factors(config, result);
        result.metadata = from_gguf ? copy_metadata(checkpoint.metadata) : family.write_metadata(config);
        std::uint32_t file_type = 0;
        for (const FileType& type : kFileTypes)
            if (main && type.format == main->name) file_type = type.number;
        set_metadata(result.metadata, "general.file_type", file_type);
        if (main && quantized(*main)) set_metadata(result.metadata, "general.quantization_version", std::uint32_t{2});
        if (!from_gguf) {
            set_metadata(result.metadata, "general.name",
                         options.name.empty() ? checkpoint.path.filename().string() : options.name);
            add_tokenizer_metadata(text, static_cast<std::size_t>(config.vocab), result.metadata);
        }
    } else {
        if (from_gguf) {
            result.config = family.write_config(config);
            add_token_ids(checkpoint.metadata, result.config);
            result.generation_config = generation_config(text, result.config);
            result.text_files = tokenizer_files(text);
        } else {
            result.config = checkpoint.config;
            result.config["tie_word_embeddings"] = config.tied_head;
            result.generation_config = checkpoint.generation_config;
            result.text_files = copy_text_files(checkpoint.path);
        }
        result.config.erase("dtype");
        const std::string_view dtype = !main                  ? "float32"
                                       : main->name == "f16"  ? "float16"
                                       : main->name == "bf16" ? "bfloat16"
                                                              : "float32";
        result.config["torch_dtype"] = dtype;
    }
    return result;
}

}  // namespace narae
