// Greedy decoding through libllama, for reference ids.
// usage: greedy MODEL.gguf THREADS TOKENS < prompts > out.jsonl
// A prompt is "NAME BYTES\n" and then that many bytes of text; special tokens in it are parsed, none are added.
// One JSON object a line: name, prompt_ids, ids (the end of text does not stop it), margins (best logit minus second best).
// The KV cache is float32 and flash attention is off; with a float32 model every product is a float32 product. All prompts
// are continued together, so the weights are read once per step.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "llama.h"

namespace {

struct Sequence {
    std::string name;
    std::vector<llama_token> prompt, ids;
    std::vector<float> margins;
};

// Appends the most likely token and how far it is ahead of the next.
void choose(Sequence& sequence, const float* logits, int vocabulary) {
    int first = logits[1] > logits[0] ? 1 : 0, second = 1 - first;
    for (int token = 2; token < vocabulary; ++token) {
        if (logits[token] > logits[first]) {
            second = first;
            first = token;
        } else if (logits[token] > logits[second]) {
            second = token;
        }
    }
    sequence.ids.push_back(first);
    sequence.margins.push_back(logits[first] - logits[second]);
}

void add(llama_batch& batch, llama_token token, size_t position, size_t sequence, bool logits) {
    const int row = batch.n_tokens++;
    batch.token[row] = token;
    batch.pos[row] = static_cast<llama_pos>(position);
    batch.n_seq_id[row] = 1;
    batch.seq_id[row][0] = static_cast<llama_seq_id>(sequence);
    batch.logits[row] = logits;
}

std::vector<Sequence> read_prompts(const llama_vocab* vocabulary) {
    std::vector<Sequence> sequences;
    std::string name;
    int bytes = 0;
    while (std::cin >> name >> bytes) {
        std::cin.get();
        std::string text(static_cast<size_t>(bytes), '\0');
        std::cin.read(text.data(), bytes);
        std::vector<llama_token> ids(text.size() + 16);
        const int count = llama_tokenize(vocabulary, text.data(), bytes, ids.data(), static_cast<int>(ids.size()), false, true);
        ids.resize(static_cast<size_t>(std::max(count, 0)));
        sequences.push_back({name, ids, {}, {}});
    }
    return sequences;
}

void print(const char* key, const std::vector<llama_token>& ids) {
    std::printf(", \"%s\": [", key);
    for (size_t i = 0; i < ids.size(); ++i) std::printf("%s%d", i ? "," : "", ids[i]);
    std::printf("]");
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        std::fprintf(stderr, "usage: greedy MODEL.gguf THREADS TOKENS < prompts\n");
        return 2;
    }
    const int threads = std::atoi(argv[2]);
    const size_t count = static_cast<size_t>(std::atoi(argv[3]));
    llama_log_set(
        [](ggml_log_level level, const char* text, void*) {
            if (level == GGML_LOG_LEVEL_ERROR) std::fputs(text, stderr);
        },
        nullptr);
    llama_backend_init();
    llama_model* model = llama_model_load_from_file(argv[1], llama_model_default_params());
    if (!model) return 1;
    const llama_vocab* vocabulary = llama_model_get_vocab(model);
    const int tokens = llama_vocab_n_tokens(vocabulary);
    std::vector<Sequence> sequences = read_prompts(vocabulary);
    size_t longest = 0;
    for (const Sequence& sequence : sequences) longest = std::max(longest, sequence.prompt.size());

    llama_context_params parameters = llama_context_default_params();
    parameters.n_seq_max = static_cast<uint32_t>(sequences.size());
    parameters.n_ctx = static_cast<uint32_t>(sequences.size() * ((longest + count + 255) / 256 * 256));
    parameters.n_batch = parameters.n_ubatch = 512;
    parameters.n_threads = parameters.n_threads_batch = threads;
    parameters.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    parameters.type_k = parameters.type_v = GGML_TYPE_F32;
    llama_context* context = llama_init_from_model(model, parameters);
    if (!context) return 1;

    llama_batch batch = llama_batch_init(512, 0, 1);
    for (size_t s = 0; s < sequences.size(); ++s) {
        batch.n_tokens = 0;
        const std::vector<llama_token>& prompt = sequences[s].prompt;
        for (size_t i = 0; i < prompt.size(); ++i) add(batch, prompt[i], i, s, i + 1 == prompt.size());
        if (llama_decode(context, batch)) return 1;
        choose(sequences[s], llama_get_logits_ith(context, -1), tokens);
    }
    for (size_t step = 1; step < count; ++step) {
        batch.n_tokens = 0;
        for (size_t s = 0; s < sequences.size(); ++s)
            add(batch, sequences[s].ids.back(), sequences[s].prompt.size() + step - 1, s, true);
        if (llama_decode(context, batch)) return 1;
        for (size_t s = 0; s < sequences.size(); ++s)
            choose(sequences[s], llama_get_logits_ith(context, static_cast<int32_t>(s)), tokens);
    }

    for (const Sequence& sequence : sequences) {
        std::printf("{\"name\": \"%s\"", sequence.name.c_str());
        print("prompt_ids", sequence.prompt);
        print("ids", sequence.ids);
        std::printf(", \"margins\": [");
        for (size_t i = 0; i < sequence.margins.size(); ++i) std::printf("%s%.3f", i ? "," : "", sequence.margins[i]);
        std::printf("]}\n");
    }
    llama_batch_free(batch);
    llama_free(context);
    llama_model_free(model);
}
