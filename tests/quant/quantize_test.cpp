// The driver: what it writes, and that it goes on after every interruption to the same bytes. With a layout of its own, which
// stores the canonical buffers as they are.
#include "quant/quantize.h"

#include "base/error.h"
#include "checkpoint/safetensors.h"
#include "model/convert.h"
#include "support/faulty_file_system.h"
#include "support/support.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>

namespace narae::test {
namespace {

constexpr std::array<std::string_view, 1> kVariants = {"only"};

TensorToWrite bytes_tensor(std::string name, std::span<const std::byte> bytes) {
    Buffer buffer(bytes.size());
    std::memcpy(buffer.data(), bytes.data(), bytes.size());
    return {.name = std::move(name),
            .dtype = DType::u8,
            .shape = Shape{static_cast<std::int64_t>(bytes.size())},
            .bytes = std::move(buffer)};
}

const QuantizedLayout kPlain{
    .name = "plain",
    .variants = kVariants,
    .refuses = [](const PackedWeight& weight, std::string_view) -> std::optional<std::string> {
        if (weight.out == 7) return "seven rows";
        return std::nullopt;
    },
    .tensors =
        [](const PackedWeight& weight, std::string_view module, DType, std::string_view) {
            std::vector<TensorToWrite> tensors;
            for (const PackedBuffer& buffer : weight.buffers)
                tensors.push_back(bytes_tensor(std::string(module) + "." + std::string(role_name(buffer.role)), buffer.bytes));
            return tensors;
        },
    .config =
        [](const QuantizationSummary& summary) {
            return Json{{"quant_method", "plain"}, {"method", summary.method}};
        }};
const RegisterQuantizedLayout kRegister(kPlain);

Recipe recipe_of(std::string method) {
    Recipe recipe;
    recipe.method = std::move(method);
    recipe.layout = "plain";
    recipe.group = 16;
    recipe.samples = 6;
    recipe.tokens = 24;
    return recipe;
}

std::vector<std::string> documents() {
    std::vector<std::string> all;
    for (int i = 0; i < 60; ++i) all.push_back("sample text number " + std::to_string(i * i) + ", with some more words");
    return all;
}

const kernels::BackendOptions kBackend{.device = "cpu", .threads = 2, .instruction_set = "generic"};

QuantizeResult run(const Recipe& recipe, const Path& out) {
    const Checkpoint checkpoint = open_checkpoint(data_file("models/llama-gqa-tied"));
    return quantize(checkpoint, recipe, documents(), out, kBackend, {});
}

std::string contents(const Path& folder) {
    std::string all;
    for (const Path& path : file_system().list(folder)) all += path.filename().string() + "\n" + read_text_file(path);
    return all;
}

TEST(Quantize, WritesEveryLinearAndLeavesTheRest) {
    const ScratchFolder folder;
    for (const char* method : {"rtn", "gptq", "awq"}) {
        const Path out = folder.path() / method;
        const QuantizeResult result = run(recipe_of(method), out);
        const Checkpoint original = open_checkpoint(data_file("models/llama-gqa-tied"));
        const MappedFile file(out / "model.safetensors");
        const std::vector<SafetensorsTensor> tensors = parse_safetensors(file.bytes(), "model.safetensors");
        const auto has = [&](std::string_view name) {
            return std::ranges::find(tensors, name, &SafetensorsTensor::name) != tensors.end();
        };
        std::size_t linears = 0;
        for (const StoredWeight& weight : original.weights) {
            const bool linear = weight.name().find("_proj.weight") != std::string::npos;
            linears += linear;
            EXPECT_EQ(has(weight.name()), !linear) << weight.name();
            if (!linear) continue;
            const std::string module = weight.name().substr(0, weight.name().size() - std::string_view(".weight").size());
            for (const char* role : {"codes", "scales", "zeros"}) EXPECT_TRUE(has(module + "." + role)) << module;
        }
        ASSERT_EQ(result.linears.size(), linears);
        EXPECT_EQ(result.resumed_blocks, 0);
        double nearest = 0.0, error = 0.0;
        for (const QuantizedLinear& linear : result.linears) {
            EXPECT_EQ(linear.format, "int4");
            EXPECT_NEAR(linear.bits, 4.0 + 24.0 / 16.0, 1e-9);
            nearest += linear.error_nearest;
            error += linear.error;
        }
        if (needs_calibration(recipe_of(method))) {
            EXPECT_LT(error, nearest);
        } else {
            EXPECT_EQ(error, nearest);
        }
        EXPECT_NE(read_text_file(out / "config.json").find("\"plain\""), std::string::npos);
        EXPECT_TRUE(file_system().is_file(out / "tokenizer.json"));
        EXPECT_FALSE(file_system().is_directory(out.string() + ".quantizing"));
    }
}

TEST(Quantize, WhatCannotBeRoundedStays) {
    const ScratchFolder folder;
    Recipe recipe = recipe_of("rtn");
    recipe.ignored = {"re:.*layers\\.1\\.", "down_proj"};
    const QuantizeResult result = run(recipe, folder.path() / "a");
    for (const QuantizedLinear& linear : result.linears) {
        const bool ignored =
            linear.module.find("layers.1.") != std::string::npos || linear.module.find("down_proj") != std::string::npos;
        EXPECT_EQ(linear.format, ignored ? "f16" : "int4") << linear.module;
        EXPECT_EQ(linear.note, ignored ? "ignored" : "");
    }
    recipe = recipe_of("rtn");
    recipe.group = 48;
    bool some = false;
    for (const QuantizedLinear& linear : run(recipe, folder.path() / "b").linears) {
        EXPECT_EQ(linear.format, linear.in % 48 == 0 ? "int4" : "f16");
        some = some || linear.in % 48 != 0;
    }
    EXPECT_TRUE(some);
}

// A run whose k-th call to the file system fails, or at which the power goes off, and what is there afterwards.
enum class Fault { failure, power_loss_renames_kept, power_loss_renames_undone };

bool interrupted(const Recipe& recipe, const Path& out, int k, Fault fault) {
    FaultyFileSystem files;
    if (fault == Fault::failure)
        files.fail_at(k);
    else
        files.lose_power_at(k);
    bool failed = false;
    {
        const FileSystemScope scope(files);
        try {
            run(recipe, out);
        } catch (const Error&) {
            failed = true;
        } catch (const PowerLoss&) {
            failed = true;
        }
    }
    if (failed && fault != Fault::failure)
        files.forget_unsynced(fault == Fault::power_loss_renames_kept ? FaultyFileSystem::UnsyncedRenames::kept
                                                                      : FaultyFileSystem::UnsyncedRenames::undone);
    return failed;
}

TEST(Quantize, GoesOnFromEveryInterruptionToTheSameBytes) {
    const ScratchFolder folder;
    for (const bool sequential : {true, false}) {
        Recipe recipe = recipe_of("gptq");
        recipe.true_sequential = sequential;
        const std::string name = sequential ? "sequential" : "at-once";
        run(recipe, folder.path() / name);
        const std::string expected = contents(folder.path() / name);
        for (const Fault fault : {Fault::failure, Fault::power_loss_renames_kept, Fault::power_loss_renames_undone}) {
            // Every call fails in one of the two; of the others a share, for they take a disk's time.
            const int step = !sequential ? 23 : fault == Fault::failure ? 1 : 7;
            int failures = 0;
            for (int k = 1;; k += step) {
                const Path out = folder.path() / fmt::format("{}-{}-{}", name, static_cast<int>(fault), k);
                const bool failed = interrupted(recipe, out, k, fault);
                if (failed && !file_system().is_directory(out)) {
                    EXPECT_EQ(run(recipe, out).linears.size(), 14u) << k;
                }
                EXPECT_TRUE(contents(out) == expected) << k;
                file_system().remove(out);
                file_system().remove(out.string() + ".quantizing");
                if (!failed) break;
                ++failures;
            }
            EXPECT_GT(failures, 150 / step);
        }
    }
}

TEST(Quantize, ADamagedReportOfAnEarlierRunIsRefused) {
    const ScratchFolder folder;
    const Path out = folder.path() / "out";
    int k = 1;
    const Path report = out.string() + ".quantizing/block-00000/report.json";
    for (; !file_system().is_file(report); ++k) {
        file_system().remove(out.string() + ".quantizing");
        ASSERT_TRUE(interrupted(recipe_of("rtn"), out, k, Fault::failure));
    }
    for (const std::string_view damaged : {"", "[{}]", "[3]", "[{\"module\": 3}]"}) {
        AtomicFile file(report);
        file.write(damaged);
        file.commit();
        EXPECT_THROW(run(recipe_of("rtn"), out), BadFileError) << damaged;
        EXPECT_FALSE(file_system().is_directory(out));
    }
}

TEST(Quantize, RefusesWhatCannotBe) {
    const ScratchFolder folder;
    const auto refuses = [&](const Recipe& recipe, std::string_view words) {
        try {
            run(recipe, folder.path() / "out");
            ADD_FAILURE() << words;
        } catch (const UsageError& e) {
            EXPECT_NE(std::string(e.what()).find(words), std::string::npos) << e.what();
        }
        EXPECT_FALSE(file_system().is_directory(folder.path() / "out"));
    };
    Recipe recipe = recipe_of("gptq");
    recipe.format = "nf4";
    refuses(recipe, "--method rtn --format nf4");
    recipe = recipe_of("magic");
    refuses(recipe, "magic");
    recipe = recipe_of("rtn");
    recipe.layout = "papyrus";
    refuses(recipe, "plain");
    recipe = recipe_of("gptq");
    recipe.samples = 4000;
    refuses(recipe, "--samples");

    recipe = recipe_of("rtn");
    recipe.ignored = {"re:layers\\.(1"};
    refuses(recipe, "re:layers");

    // Begun with another recipe.
    { ASSERT_TRUE(interrupted(recipe_of("gptq"), folder.path() / "out", 40, Fault::failure)); }
    ASSERT_TRUE(file_system().is_directory((folder.path() / "out").string() + ".quantizing"));
    refuses(recipe_of("rtn"), "another recipe");
    file_system().create_directories(folder.path() / "there");
    EXPECT_THROW(run(recipe_of("rtn"), folder.path() / "there"), UsageError);
}

}  // namespace
}  // namespace narae::test
