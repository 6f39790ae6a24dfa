// narae tokenize: text to token ids and back.
#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "checkpoint/text_files.h"
#include "cli/model_options.h"
#include "cli/output.h"
#include "cli/table.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

namespace narae::cli {
namespace {

struct Options {
    ModelOptions model;
    std::optional<std::string> text, file, decode;
    bool no_special = false, ids_only = false, json = false;
};

// The bytes of one token between quotes; a part of a character is shown in hexadecimal.
std::string shown(std::string_view bytes) {
    std::string out = "\"";
    for (std::size_t at = 0; at < bytes.size();) {
        const unicode::Decoded next = unicode::decode(bytes, at);
        const std::string_view character = bytes.substr(at, next.length);
        if (character == "\n") {
            out += "\\n";
        } else if (character == "\t") {
            out += "\\t";
        } else if (character == "\"" || character == "\\") {
            out += '\\';
            out += character;
        } else if (!unicode::is_valid(character) || unicode::is_control(next.code_point)) {
            for (const char byte : character) out += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
        } else {
            out += character;
        }
        at += next.length;
    }
    return out + "\"";
}

void encode(const Options& o, const Tokenizer& tokenizer) {
    const std::string text = read_prompt(o.text, o.file);
    const std::vector<std::int32_t> ids = tokenizer.encode(text, {.add_special = !o.no_special});
    if (o.json) {
        Json pieces = Json::array();
        for (const std::int32_t id : ids) pieces.push_back(std::string(tokenizer.piece(id)));
        print_output("{}\n", dump_json({{"ids", ids}, {"pieces", pieces}}));
    } else if (o.ids_only) {
        print_output("{}\n", fmt::join(ids, ","));
    } else {
        Table table({{"id", Align::right}, {"text", Align::left}, {"piece", Align::left}});
        for (const std::int32_t id : ids)
            table.add({std::to_string(id), shown(tokenizer.token_bytes(id)), std::string(tokenizer.piece(id))});
        if (!table.empty()) write_output(table.text());
        log_info("{} token{}", ids.size(), ids.size() == 1 ? "" : "s");
    }
}

void decode(const Options& o, const Tokenizer& tokenizer) {
    const std::vector<std::int32_t> ids = parse_ids(*o.decode);
    for (const std::int32_t id : ids)
        if (!tokenizer.is_token(id))
            throw_error<UsageError>("token id {} names no token; the vocabulary has {}", id, tokenizer.vocabulary_size());
    const std::string text = tokenizer.decode(ids, o.no_special);
    if (o.json)
        print_output("{}\n", dump_json({{"ids", ids}, {"text", text}}));
    else
        print_output("{}\n", text);
}

void run(const Options& o) {
    if ((o.text ? 1 : 0) + (o.file ? 1 : 0) + (o.decode ? 1 : 0) > 1)
        throw_error<UsageError>("give one of TEXT, -f and --decode");
    const ModelText text = load_model_text(resolve_model(o.model.model));
    const Tokenizer& tokenizer = text.require_tokenizer();
    if (o.decode)
        decode(o, tokenizer);
    else
        encode(o, tokenizer);
}

void add(CLI::App& app) {
    auto o = std::make_shared<Options>();
    CLI::App& verb = *app.add_subcommand("tokenize", "Text to token ids and back");
    add_model_options(verb, o->model, false);
    verb.add_option("text", o->text, "The text; without it, -f and --decode it is read from standard input");
    verb.add_option("-f,--file", o->file, "Read the text from a file");
    verb.add_option("--decode", o->decode, "Ids to text: \"1,2,3\"");
    verb.add_flag("--no-special", o->no_special,
                  "Without the tokens that open and end a text (BOS, EOS); with --decode, leave special tokens out");
    verb.add_flag("--ids", o->ids_only, "Only the ids, separated by commas");
    verb.add_flag("--json", o->json, "One JSON document with ids and pieces");
    verb.footer(
        "Special tokens that are written in the text are recognised.\nExample:\n  narae tokenize default \"나래를 펴다\"\n  "
        "narae tokenize default --decode \"504,260,3575\"");
    verb.callback([o] { run(*o); });
}

const Verb kTokenize = {"tokenize", add};
const RegisterVerb kRegister(kTokenize);

}  // namespace
}  // namespace narae::cli
