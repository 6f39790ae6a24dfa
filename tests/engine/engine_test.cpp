// The engine: a sequence's tokens do not depend on its company, on chunking, on preemption; nothing leaks.
#include "engine/engine.h"

#include "base/error.h"
#include "support/support.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

namespace narae::test {
namespace {

struct Choice {
    std::string device = "cpu";
    int threads = 1, max_rows = 64, max_sequences = 4, context = 128;
    std::int64_t kv_bytes = 0;
    kernels::Activations activations = kernels::Activations::automatic;
};

Model load(const Choice& s) {
    LoadOptions options;
    options.backend = {s.device, s.threads, ""};
    options.activations = s.activations;
    options.context = s.context;
    options.max_rows = s.max_rows;
    options.max_sequences = s.max_sequences;
    options.kv_bytes = s.kv_bytes;
    return load_model(open_checkpoint(data_file("models/llama-gqa-tied")), options);
}

std::vector<Request> requests(int count, std::uint64_t seed, int vocab) {
    std::mt19937_64 random(seed);
    std::vector<Request> all;
    for (int i = 0; i < count; ++i) {
        Request request;
        const auto length = 1 + random() % 70;
        for (std::uint64_t k = 0; k < length; ++k)
            request.prompt.push_back(static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(vocab)));
        request.max_tokens = static_cast<int>(1 + random() % 40);
        request.sampling.temperature = i % 3 == 0 ? 0.0f : 0.8f;
        request.sampling.top_k = i % 2 ? 20 : 0;
        request.sampling.repetition_penalty = i % 4 == 1 ? 1.3f : 1.0f;
        request.sampling.seed = seed + static_cast<std::uint64_t>(i);
        all.push_back(std::move(request));
    }
    return all;
}

using Answers = std::map<std::size_t, std::vector<std::int32_t>>;

Answers run(Model& model, const std::vector<Request>& all, bool together) {
    Engine engine(model);
    Answers answers;
    std::map<RequestId, std::size_t> index;
    std::vector<Event> events;
    const auto drain = [&] {
        while (!engine.idle()) {
            events.clear();
            engine.step(events);
            engine.check_integrity();
            for (const Event& event : events) answers[index.at(event.request)].push_back(event.token);
        }
    };
    for (std::size_t i = 0; i < all.size(); ++i) {
        index[engine.submit(all[i])] = i;
        if (!together) drain();
    }
    drain();
    return answers;
}

TEST(Engine, tokens_do_not_depend_on_company_chunking_or_threads) {
    Choice alone;
    Model base = load(alone);
    const auto all = requests(12, 7, base.config().vocab);
    const Answers expected = run(base, all, false);
    for (int max_rows : {1, 3, 17, 64}) {
        for (int threads : {1, 2, 3}) {
            Choice setup;
            setup.max_rows = max_rows;
            setup.threads = threads;
            setup.max_sequences = max_rows == 1 ? 1 : 4;
            Model model = load(setup);
            EXPECT_EQ(run(model, all, true), expected) << max_rows << " rows, " << threads << " threads";
        }
    }
}

TEST(Engine, preempted_sequences_give_the_same_tokens) {
    Choice plain;
    Model base = load(plain);
    const auto all = requests(10, 11, base.config().vocab);
    const Answers expected = run(base, all, false);
    Choice tight;
    tight.max_sequences = 4;
    tight.kv_bytes = 3 * base.shape.groups.front().block_bytes();
    Model model = load(tight);
    EXPECT_EQ(run(model, all, true), expected);
}

TEST(Engine, random_submit_and_cancel_leaks_nothing) {
    Choice setup;
    setup.kv_bytes = 4 * 2 * 64 * 2 * 2 * 16 * 2;
    Model model = load(setup);
    Engine engine(model);
    std::mt19937_64 random(3);
    std::vector<RequestId> open;
    std::vector<Event> events;
    int finished = 0;
    for (int i = 0; i < 1500; ++i) {
        const auto what = random() % 10;
        if (what < 3 && open.size() < 12) {
            open.push_back(engine.submit(requests(1, random(), model.config().vocab).front()));
        } else if (what == 3 && !open.empty()) {
            engine.cancel(open[random() % open.size()]);
        } else {
            events.clear();
            engine.step(events);
            for (const Event& event : events) {
                if (event.finish == FinishReason::none) continue;
                ++finished;
                EXPECT_EQ(std::erase(open, event.request), 1u);
            }
        }
        engine.check_integrity();
    }
    while (!engine.idle()) {
        events.clear();
        engine.step(events);
        for (const Event& event : events)
            if (event.finish != FinishReason::none) std::erase(open, event.request);
    }
    engine.check_integrity();
    EXPECT_TRUE(open.empty());
    EXPECT_GT(finished, 20);
}

TEST(Engine, end_ids_and_lengths) {
    Choice setup;
    Model model = load(setup);
    Engine engine(model);
    Request request;
    request.prompt = {5, 6, 7};
    request.sampling.temperature = 0.0f;
    request.max_tokens = 20;
    const Answers plain = run(model, {request}, false);
    const std::int32_t end = plain.at(0)[4];
    request.end_ids = {end};
    engine.submit(request);
    std::vector<Event> events;
    while (!engine.idle()) engine.step(events);
    EXPECT_EQ(events.back().finish, FinishReason::stop);
    EXPECT_EQ(events.back().token, end);
    EXPECT_LE(events.size(), 5u);
    request.ignore_end = true;
    events.clear();
    engine.submit(request);
    while (!engine.idle()) engine.step(events);
    EXPECT_EQ(events.size(), 20u);
    EXPECT_EQ(events.back().finish, FinishReason::length);
    // Without a limit the context's end is the end.
    request.max_tokens = 0;
    events.clear();
    engine.submit(request);
    while (!engine.idle()) engine.step(events);
    EXPECT_EQ(events.size(), 125u);
    EXPECT_EQ(events.back().finish, FinishReason::length);
}

TEST(Engine, requests_that_cannot_be_served_are_refused) {
    Choice setup;
    Model model = load(setup);
    Engine engine(model);
    Request request;
    EXPECT_THROW(engine.submit(request), UsageError);
    request.prompt = {-1};
    EXPECT_THROW(engine.submit(request), UsageError);
    request.prompt = {model.config().vocab};
    EXPECT_THROW(engine.submit(request), UsageError);
    request.prompt.assign(128, 1);
    EXPECT_THROW(engine.submit(request), UsageError);
    request.prompt = {1};
    request.sampling.top_p = 0.0f;
    EXPECT_THROW(engine.submit(request), UsageError);
    request.sampling.top_p = 1.0f;
    request.max_tokens = -1;
    EXPECT_THROW(engine.submit(request), UsageError);
    EXPECT_TRUE(engine.idle());
}

TEST(BlockPool, hands_out_the_lowest_free_block) {
    BlockPool pool(3);
    EXPECT_EQ(pool.allocate(), 0);
    EXPECT_EQ(pool.allocate(), 1);
    EXPECT_EQ(pool.allocate(), 2);
    EXPECT_EQ(pool.allocate(), std::nullopt);
    pool.release(1);
    pool.release(0);
    EXPECT_EQ(pool.allocate(), 0);
    pool.share(0);
    pool.release(0);
    EXPECT_EQ(pool.used(), 2);
    EXPECT_EQ(pool.allocate(), 1);
    EXPECT_EQ(pool.high_water(), 3);
    EXPECT_THROW(pool.release(7), InternalError);
}

}  // namespace
}  // namespace narae::test
