#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/model_files.h"
#include "checkpoint/split_name.h"
#include "support/support.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>

namespace narae {
namespace {

using testing::HasSubstr;

// An environment variable for a scope.
class Variable {
public:
    Variable(const char* name, const std::string& value) : name_(name) {
        if (const char* before = std::getenv(name)) before_ = before;
        setenv(name, value.c_str(), 1);
    }
    ~Variable() {
        if (before_)
            setenv(name_, before_->c_str(), 1);
        else
            unsetenv(name_);
    }
    Variable(const Variable&) = delete;
    Variable& operator=(const Variable&) = delete;

private:
    const char* name_;
    std::optional<std::string> before_;
};

struct Hub {
    test::ScratchFolder scratch;
    Variable cache{"HF_HUB_CACHE", (scratch.path() / "hub").string()};
    Variable own{"NARAE_CACHE", (scratch.path() / "narae").string()};

    Path write(std::string_view repository, std::string_view snapshot, std::string_view file, std::string_view contents) const {
        return scratch.write(fmt::format("hub/models--{}/snapshots/{}/{}", repository, snapshot, file), contents);
    }
    void set_main(std::string_view repository, std::string_view commit) const {
        scratch.write(fmt::format("hub/models--{}/refs/main", repository), commit);
    }
    Path snapshot(std::string_view repository, std::string_view name) const {
        return scratch.path() / fmt::format("hub/models--{}/snapshots/{}", repository, name);
    }
};

void expect_error(std::string_view model, ExitCode code, std::string_view text) {
    try {
        const Path path = resolve_model(model);
        ADD_FAILURE() << model << " became " << path;
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), code) << error.what();
        EXPECT_THAT(error.what(), HasSubstr(text));
    }
}

TEST(ResolveModel, Default) {
    const Hub hub;
    expect_error("default", ExitCode::io, "make demo");
    const Path path = hub.scratch.write("narae/SmolLM2-135M-Instruct.Q4_1.gguf", "GGUF");
    EXPECT_EQ(resolve_model("default"), path);
}

TEST(ResolveModel, PathsComeFirst) {
    const Hub hub;
    const Path file = hub.scratch.write("model.gguf", test::good_gguf());
    EXPECT_EQ(resolve_model(file.string()), file);
    const Path folder = hub.scratch.write("folder/config.json", "{}").parent_path();
    EXPECT_EQ(resolve_model(folder.string()), folder);
}

TEST(ResolveModel, AFolderOfOneGgufFile) {
    const Hub hub;
    const Path file = hub.scratch.write("one/model.gguf", "GGUF");
    EXPECT_EQ(resolve_model(file.parent_path().string()), file);
    const Path first = hub.scratch.write("split/m-00001-of-00002.gguf", "GGUF");
    hub.scratch.write("split/m-00002-of-00002.gguf", "GGUF");
    EXPECT_EQ(resolve_model(first.parent_path().string()), first);
    hub.scratch.write("one/other.gguf", "GGUF");
    expect_error(file.parent_path().string(), ExitCode::usage, "model.gguf, other.gguf");
}

TEST(ResolveModel, HubCache) {
    const Hub hub;
    hub.write("org--name", "abc1", "config.json", "{}");
    hub.write("org--name", "abc2", "config.json", "{}");
    hub.set_main("org--name", "abc1\n");
    EXPECT_EQ(resolve_model("org/name"), hub.snapshot("org--name", "abc1"));
    EXPECT_EQ(resolve_model("hf://org/name"), hub.snapshot("org--name", "abc1"));

    // A reference that leads out of the folder or to nothing is not followed: the newest snapshot is taken.
    std::filesystem::last_write_time(hub.snapshot("org--name", "abc1"),
                                     std::filesystem::file_time_type::clock::now() - std::chrono::hours(1));
    for (const std::string_view reference : {"../../../../etc", "abc3", ""}) {
        hub.set_main("org--name", reference);
        EXPECT_EQ(resolve_model("org/name"), hub.snapshot("org--name", "abc2")) << reference;
    }
    expect_error("org/other", ExitCode::io, "models--org--other");
    expect_error("org/name:Q4_K_M", ExitCode::io, "Q4_K_M");
}

TEST(ResolveModel, QuantizationChoosesAGgufFile) {
    const Hub hub;
    for (const char* quantization : {"Q4_K_M", "Q4_K_S", "Q8_0", "f16"})
        hub.write("org--name-GGUF", "abc", fmt::format("name-{}.gguf", quantization), "GGUF");
    hub.write("org--name-GGUF", "abc", "name-BF16-00001-of-00002.gguf", "GGUF");
    hub.write("org--name-GGUF", "abc", "name-BF16-00002-of-00002.gguf", "GGUF");
    EXPECT_EQ(resolve_model("org/name-GGUF:Q8_0").filename(), "name-Q8_0.gguf");
    EXPECT_EQ(resolve_model("org/name-GGUF:q4_k_m").filename(), "name-Q4_K_M.gguf");
    EXPECT_EQ(resolve_model("org/name-GGUF:bf16").filename(), "name-BF16-00001-of-00002.gguf");
    expect_error("org/name-GGUF", ExitCode::usage, "ORG/NAME:QUANTIZATION");
    expect_error("org/name-GGUF:Q4_K", ExitCode::usage, "name-Q4_K_M.gguf, name-Q4_K_S.gguf");
    expect_error("org/name-GGUF:Q2_K", ExitCode::io, "Q2_K");
}

TEST(ResolveModel, NamesThatAreNoNames) {
    const Hub hub;
    hub.scratch.write("hub/secret/config.json", "{}");
    for (const std::string_view model :
         {"../secret", "org/..", "org/name/..", "/absent/path", "org//name", "org/", "/name", "a--b/c", "org/na me",
          "org/name\\..", "org/%2e%2e", "-org/name", ".org/name", "org/name.", "org/name:", "org/name:../x", "plain"})
        expect_error(model, ExitCode::io, "no such file or folder");
    expect_error("", ExitCode::usage, "MODEL");
    expect_error(std::string_view("org/name\0x", 10), ExitCode::usage, "MODEL");
    expect_error("org/" + std::string(10000, 'n'), ExitCode::io, "no such file or folder");
}

TEST(CachedModels, ListsDefaultAndHub) {
    const Hub hub;
    EXPECT_TRUE(cached_models().empty());
    hub.scratch.write("narae/SmolLM2-135M-Instruct.Q4_1.gguf", "GGUF1234");
    hub.write("org--name", "abc", "config.json", "{}");
    hub.write("org--name", "abc", "model.safetensors", "12345678");
    hub.write("org--many", "abc", "a.gguf", "GGUF");
    hub.write("org--many", "abc", "b.gguf", "GGUF");
    hub.write("org--none", "abc", "readme.md", "x");
    hub.scratch.write("hub/datasets--org--data/snapshots/abc/config.json", "{}");
    hub.scratch.write("hub/models--org--empty/refs/main", "abc");
    const std::vector<CachedModel> models = cached_models();
    std::vector<std::string> lines;
    for (const CachedModel& model : models)
        lines.push_back(fmt::format("{} {} {}", model.name, model.path.filename().string(), model.bytes));
    EXPECT_THAT(lines, testing::ElementsAre("default SmolLM2-135M-Instruct.Q4_1.gguf 8", "org/many a.gguf 4",
                                            "org/many b.gguf 4", "org/name abc 10"));
}

TEST(SplitNames, AreWrittenAndRead) {
    EXPECT_EQ(split_name("model", 2, 12), "model-00002-of-00012.gguf");
    const auto name = parse_split_name("a-b-00002-of-00012.gguf");
    ASSERT_TRUE(name);
    EXPECT_EQ(name->stem, "a-b");
    EXPECT_EQ(name->index, 2);
    EXPECT_EQ(name->count, 12);
    for (const std::string_view other : {"model.gguf", "m-0001-of-00002.gguf", "m-00003-of-00002.gguf", "m-00000-of-00002.gguf",
                                         "m-00001-of-0000x.gguf", "m-00001-of-00002", "00001-of-00002.gguf", ""})
        EXPECT_FALSE(parse_split_name(other)) << other;
}

}  // namespace
}  // namespace narae
