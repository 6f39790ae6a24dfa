// narae eval: what a model is worth on a text. One subcommand for each subject.
#include "cli/evaluation.h"

namespace narae::cli {
namespace {

void add_texts(CLI::App& verb, EvaluationOptions& o) {
    verb.add_option(
            "--text", o.texts,
            "A UTF-8 file, or the name of a text that comes with narae: english, korean; may be repeated; default: english")
        ->allow_extra_args(false);
}

void add_ppl(CLI::App& app) {
    auto o = std::make_shared<EvaluationOptions>();
    CLI::App& verb = *app.add_subcommand("ppl", "Perplexity on a text, by a protocol");
    add_evaluation_options(verb, *o);
    add_texts(verb, *o);
    verb.add_option(
            "--protocol", o->protocol,
            "llama.cpp-512 (llama-perplexity), gptq-2048 (the GPTQ and AWQ papers), hf-strided (transformers' documentation)")
        ->check(CLI::IsMember({"gptq-2048", "llama.cpp-512", "hf-strided"}));
    verb.add_option("--stride", o->stride, "hf-strided: tokens between the beginnings of two windows; 0: 512")
        ->check(CLI::Range(0, 1 << 24));
    verb.add_option("--save-base", o->save_base,
                    "llama.cpp-512: also write the logits, as llama-perplexity --kl-divergence-base does");
    verb.footer(
        "Compare only numbers of the same protocol, window, text and tokenizer: the hashes say whether they are.\n"
        "gptq-2048 and hf-strided read a file as `datasets` gives WikiText: each line a row, rows joined by two line ends.\n"
        "Example:\n  narae eval ppl default\n  narae eval ppl default --text wiki.test.raw --protocol gptq-2048 --json");
    verb.callback([o] { run_perplexity(*o); });
}

void add_kld(CLI::App& app) {
    auto o = std::make_shared<EvaluationOptions>();
    CLI::App& verb = *app.add_subcommand("kld", "How far a model's predictions are from those of the model it was made of");
    add_evaluation_options(verb, *o);
    add_texts(verb, *o);
    verb.add_option("--base", o->base, "The model to compare with, also loaded: folder, .gguf file, org/name, or `default`");
    verb.add_option("--kld-base,--kl-divergence-base", o->kld_base,
                    "A file of the base's logits instead, by llama-perplexity or --save-base; it brings its own tokens");
    verb.add_option("--save-base", o->save_base, "Write the base's logits to such a file");
    verb.footer(
        "Windows are those of the protocol llama.cpp-512, and the statistics those of llama-perplexity --kl-divergence.\n"
        "With --base the divergence is exact; a file holds logarithms of probabilities in 16 bits.\n"
        "Example:\n  narae convert default smollm2-q4_0.gguf --dtype q4_0\n  narae eval kld smollm2-q4_0.gguf --base default\n"
        "  narae eval ppl default --save-base base.kld && narae eval kld smollm2-q4_0.gguf --kld-base base.kld");
    verb.callback([o] { run_divergence(*o); });
}

void add(CLI::App& app) {
    CLI::App& verb = *app.add_subcommand("eval", "What a model is worth: perplexity, divergence from another");
    verb.require_subcommand(1);
    add_ppl(verb);
    add_kld(verb);
    verb.footer("Example:\n  narae eval ppl default\n  narae eval kld smollm2-q4_0.gguf --base default");
}

const Verb kEval = {"eval", add};
const RegisterVerb kRegister(kEval);

}  // namespace
}  // namespace narae::cli
