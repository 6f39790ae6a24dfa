#include "checkpoint/text_files.h"

#include "base/error.h"
#include "checkpoint/model_files.h"
#include "checkpoint/special_tokens.h"
#include "support/support.h"
#include "text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace narae {
namespace {

using test::GgufFileText;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// Byte-level BPE with one merge and two special tokens.
constexpr std::string_view kTokenizer = R"({"version":"1.0","added_tokens":[
{"id":3,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},
{"id":4,"content":"</s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],
"normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},
"post_processor":null,"decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true},
"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}})";

struct Folder {
    test::ScratchFolder scratch;
    explicit Folder(std::vector<std::pair<std::string, std::string>> files) {
        for (const auto& [name, contents] : files) scratch.write(name, contents);
    }
    ModelText load() const { return load_model_text(scratch.path()); }
};

TEST(ModelText, TokenizerAlone) {
    const Folder folder({{"tokenizer.json", std::string(kTokenizer)}});
    const ModelText text = folder.load();
    ASSERT_NE(text.tokenizer, nullptr) << text.missing;
    EXPECT_THAT(text.require_tokenizer().encode("ab"), ElementsAre(2));
    EXPECT_THAT(text.chat_template, IsEmpty());
    EXPECT_THAT(text.end_ids, IsEmpty());
    EXPECT_TRUE(text.generation_config.is_null());
}

TEST(ModelText, EndIdsAreTheUnion) {
    const Folder folder({{"tokenizer.json", std::string(kTokenizer)},
                         {"tokenizer_config.json", R"({"eos_token":"</s>"})"},
                         {"generation_config.json", R"({"eos_token_id":[7,2]})"},
                         {"config.json", R"({"eos_token_id":2})"}});
    EXPECT_THAT(folder.load().end_ids, ElementsAre(2, 4, 7));
    const Folder one({{"tokenizer.json", std::string(kTokenizer)}, {"generation_config.json", R"({"eos_token_id":9})"}});
    EXPECT_THAT(one.load().end_ids, ElementsAre(9));
    const Folder none({{"tokenizer.json", std::string(kTokenizer)}, {"config.json", R"({"eos_token_id":null})"}});
    EXPECT_THAT(none.load().end_ids, IsEmpty());
    for (const char* wrong : {R"({"eos_token_id":"2"})", R"({"eos_token_id":[1.5]})", R"({"eos_token_id":-1})",
                              R"({"eos_token_id":[4294967296]})"}) {
        const Folder bad({{"tokenizer.json", std::string(kTokenizer)}, {"generation_config.json", wrong}});
        try {
            bad.load();
            ADD_FAILURE() << wrong;
        } catch (const BadFileError& error) {
            EXPECT_THAT(error.what(), HasSubstr("generation_config.json"));
            EXPECT_THAT(error.what(), HasSubstr("eos_token_id"));
        }
    }
}

TEST(ModelText, SpecialTokensAreStringsOrObjects) {
    const Json texts = special_token_texts(parse_json(
        R"({"bos_token":{"content":"<s>","lstrip":false},"eos_token":"</s>","pad_token":null,"unk_token":3,"add_bos_token":true,
            "additional_special_tokens":["<a>",{"content":"<b>"},null],"model_max_length":1000000000000000019884624838656})",
        "config"));
    EXPECT_EQ(texts,
              parse_json(R"({"bos_token":"<s>","eos_token":"</s>","additional_special_tokens":["<a>","<b>"]})", "expected"));
}

TEST(ModelText, SpecialTokensMapFillsWhatTheConfigLacks) {
    const Folder folder({{"tokenizer.json", std::string(kTokenizer)},
                         {"tokenizer_config.json", R"({"bos_token":"<s>"})"},
                         {"special_tokens_map.json", R"({"bos_token":"a","eos_token":{"content":"</s>"}})"}});
    const ModelText text = folder.load();
    EXPECT_EQ(text.special_tokens["bos_token"], "<s>");
    EXPECT_EQ(text.special_tokens["eos_token"], "</s>");
    EXPECT_THAT(text.end_ids, ElementsAre(4));
}

TEST(ModelText, TemplatePlacesInOrder) {
    const std::string tokenizer(kTokenizer);
    const std::string config = R"({"chat_template":"from config"})";
    EXPECT_EQ(Folder({{"tokenizer.json", tokenizer}, {"chat_template.jinja", "from file"}, {"tokenizer_config.json", config}})
                  .load()
                  .chat_template,
              "from file");
    EXPECT_EQ(Folder({{"tokenizer.json", tokenizer},
                      {"tokenizer_config.json", config},
                      {"chat_template.json", R"({"chat_template":"old"})"}})
                  .load()
                  .chat_template,
              "from config");
    EXPECT_EQ(
        Folder({{"tokenizer.json", tokenizer}, {"chat_template.json", R"({"chat_template":"old"})"}}).load().chat_template,
        "old");
}

TEST(ModelText, NamedTemplates) {
    const std::string tokenizer(kTokenizer);
    for (
        const char* config :
        {R"({"chat_template":[{"name":"default","template":"plain"},{"name":"tool_use","template":"tools"},{"name":"rag","template":"r"}]})",
         R"({"chat_template":{"default":"plain","tool_use":"tools"}})"}) {
        const ModelText text = Folder({{"tokenizer.json", tokenizer}, {"tokenizer_config.json", config}}).load();
        EXPECT_EQ(text.chat_template, "plain");
        EXPECT_EQ(text.tool_template, "tools");
    }
    const ModelText files = Folder({{"tokenizer.json", tokenizer},
                                    {"chat_template.jinja", "plain"},
                                    {"additional_chat_templates/tool_use.jinja", "tools"}})
                                .load();
    EXPECT_EQ(files.tool_template, "tools");
    for (const char* config :
         {R"({"chat_template":3})", R"({"chat_template":[{"name":"default"}]})", R"({"chat_template":[1]})"})
        EXPECT_THROW(Folder({{"tokenizer.json", tokenizer}, {"tokenizer_config.json", config}}).load(), BadFileError) << config;
}

TEST(ModelText, AFaultOfTheTokenizerBlocksOnlyText) {
    const auto check = [](std::vector<std::pair<std::string, std::string>> files, std::string_view text) {
        files.emplace_back("config.json", R"({"eos_token_id":5})");
        files.emplace_back("chat_template.jinja", "{{ bos_token }}");
        const ModelText loaded = Folder(files).load();
        EXPECT_EQ(loaded.tokenizer, nullptr);
        EXPECT_THAT(loaded.missing, HasSubstr(text));
        EXPECT_THAT(loaded.end_ids, ElementsAre(5));
        EXPECT_EQ(loaded.chat_template, "{{ bos_token }}");
        EXPECT_THROW(loaded.require_tokenizer(), BadFileError);
    };
    check({}, "no tokenizer.json");
    check({{"tokenizer.json", "{"}}, "tokenizer.json");
    check({{"tokenizer.json", R"({"model":{"type":"Unigram","vocab":[["a",0.0]]}})"}}, "tokenizer.json");
    check({{"tokenizer.model", "x"}}, "SentencePiece");
    check({{"tokenizer.json", std::string(kTokenizer)}, {"tokenizer_config.json", "["}}, "tokenizer_config.json");
    check({{"merges.txt", "a b\n"}}, "vocab.json");
    check({{"merges.txt", "a b c\n"}, {"vocab.json", R"({"a":0,"b":1,"ab":2})"}}, "line 1");
    check({{"merges.txt", "a b\n"}, {"vocab.json", R"({"a":0,"b":1,"ab":"2"})"}}, "vocab.json");
}

TEST(ModelText, VocabularyAndMergesMakeATokenizer) {
    const Folder folder(
        {{"vocab.json", R"({"a":0,"b":1,"ab":2,"</s>":3})"},
         {"merges.txt", "#version: 0.2\r\na b\r\n"},
         {"added_tokens.json", R"({"<x>":4})"},
         {"tokenizer_config.json",
          R"({"add_bos_token":true,"bos_token":{"content":"</s>"},"eos_token":"</s>","tokenizer_class":"GPT2Tokenizer"})"}});
    const ModelText text = folder.load();
    ASSERT_NE(text.tokenizer, nullptr) << text.missing;
    EXPECT_THAT(text.tokenizer->encode("aba<x>"), ElementsAre(3, 2, 0, 4));
    EXPECT_THAT(text.tokenizer->encode("ab</s>", {.add_special = false}), ElementsAre(2, 3));
    EXPECT_THAT(text.end_ids, ElementsAre(3));
}

TEST(ModelText, OptsVocabulary) {
    NARAE_NEEDS_TEST_DATA(data);
    const Folder folder(
        {{"vocab.json", test::read_zst(data / "tokenizers/opt/vocab.json.zst")},
         {"merges.txt", test::read_zst(data / "tokenizers/opt/merges.txt.zst")},
         {"tokenizer_config.json", R"({"add_bos_token":true,"add_prefix_space":false,"bos_token":{"content":"</s>"},
                             "eos_token":{"content":"</s>"},"unk_token":{"content":"</s>"},"pad_token":{"content":"<pad>"},
                             "tokenizer_class":"GPT2Tokenizer"})"}});
    const ModelText text = folder.load();
    ASSERT_NE(text.tokenizer, nullptr) << text.missing;
    EXPECT_THAT(text.tokenizer->encode("A photo of a cat"), ElementsAre(2, 250, 1345, 9, 10, 4758));
    const Tokenizer whole = Tokenizer::from_json(test::read_zst(data / "tokenizers/opt/tokenizer.json.zst"), "", "opt");
    for (const std::string_view line : {"Hello world!  It's 3 o'clock\n\n\tNow", "한국어 텍스트 😀", "</s><pad>", ""})
        EXPECT_EQ(text.tokenizer->encode(line), whole.encode(line)) << line;
}

TEST(ModelText, Gguf) {
    const test::ScratchFolder scratch;
    const Path path = scratch.write(
        "model.gguf", GgufFileText()
                          .text("general.architecture", "llama")
                          .text("tokenizer.ggml.model", "gpt2")
                          .text("tokenizer.ggml.pre", "gpt-2")
                          .strings("tokenizer.ggml.tokens", {"a", "b", "ab", "<s>", "</s>", "<|eot|>"})
                          .strings("tokenizer.ggml.merges", {"a b"})
                          .numbers<std::int32_t>("tokenizer.ggml.token_type", GgufFileText::i32, {1, 1, 1, 3, 3, 3})
                          .entry<std::uint32_t>("tokenizer.ggml.bos_token_id", GgufFileText::u32, 3)
                          .entry<std::uint32_t>("tokenizer.ggml.eos_token_id", GgufFileText::u32, 4)
                          .entry<std::uint32_t>("tokenizer.ggml.eot_token_id", GgufFileText::u32, 5)
                          .entry<std::uint32_t>("tokenizer.ggml.unknown_token_id", GgufFileText::u32, ~0U)
                          .text("tokenizer.chat_template", "{{ bos_token }}")
                          .text("tokenizer.chat_template.tool_use", "tools")
                          .tensor("of an unknown type", {256}, 16, 0)
                          .build());
    const ModelText text = load_model_text(path);
    ASSERT_NE(text.tokenizer, nullptr) << text.missing;
    EXPECT_THAT(text.tokenizer->encode("ab</s>", {.add_special = false}), ElementsAre(2, 4));
    EXPECT_EQ(text.chat_template, "{{ bos_token }}");
    EXPECT_EQ(text.tool_template, "tools");
    EXPECT_EQ(text.special_tokens["bos_token"], "<s>");
    EXPECT_EQ(text.special_tokens["eos_token"], "</s>");
    EXPECT_FALSE(text.special_tokens.contains("unk_token"));
    EXPECT_THAT(text.end_ids, ElementsAre(4, 5));
}

TEST(ModelText, GgufWithoutTokenizer) {
    const test::ScratchFolder scratch;
    const auto check = [&](const GgufFileText& file, std::string_view part) {
        const ModelText text = load_model_text(scratch.write("model.gguf", file.build()));
        EXPECT_EQ(text.tokenizer, nullptr);
        EXPECT_THAT(text.missing, HasSubstr("model.gguf"));
        EXPECT_THAT(text.missing, HasSubstr(part));
    };
    check(GgufFileText(), "no tokenizer");
    check(GgufFileText().text("tokenizer.ggml.model", "gpt2"), "tokenizer.ggml.tokens");
    check(GgufFileText().text("tokenizer.ggml.model", "t5").strings("tokenizer.ggml.tokens", {"a"}), "t5");
    check(GgufFileText()
              .text("tokenizer.ggml.model", "gpt2")
              .strings("tokenizer.ggml.tokens", {"a"})
              .entry<std::int32_t>("tokenizer.ggml.eos_token_id", GgufFileText::i32, -2),
          "tokenizer.ggml.eos_token_id");
}

TEST(ModelText, TheDefaultModel) {
    const Path path = test::default_model();
    const ModelText text = load_model_text(path);
    ASSERT_NE(text.tokenizer, nullptr) << text.missing;
    EXPECT_THAT(text.chat_template, HasSubstr("<|im_start|>"));
    EXPECT_EQ(text.special_tokens["bos_token"], "<|im_start|>");
    EXPECT_EQ(text.special_tokens["eos_token"], "<|im_end|>");
    EXPECT_THAT(text.end_ids, testing::Contains(2));
    const Checkpoint checkpoint = open_checkpoint(path);
    const ModelText again = load_model_text(checkpoint);
    EXPECT_EQ(again.chat_template, text.chat_template);
    EXPECT_EQ(again.end_ids, text.end_ids);
}

TEST(ModelText, AFolderOfTheRepository) {
    const ModelText text = load_model_text(test::data_file("models/llama-gqa-tied"));
    ASSERT_NE(text.tokenizer, nullptr) << text.missing;
    EXPECT_EQ(text.special_tokens["eos_token"], "<|im_end|>");
    EXPECT_THAT(text.chat_template, HasSubstr("You are small."));
}

TEST(ModelText, NoModel) {
    const test::ScratchFolder scratch;
    EXPECT_THROW(load_model_text(scratch.path()), BadFileError);
    EXPECT_THROW(load_model_text(scratch.path() / "absent"), IoError);
    EXPECT_THROW(load_model_text(scratch.write("x.txt", "text")), BadFileError);
}

}  // namespace
}  // namespace narae
