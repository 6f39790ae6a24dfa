// A conversation at a real (pseudo) terminal: keys go in as a keyboard sends them, and what the screen shows is checked.
#include "cli/output.h"
#include "support/support.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <sstream>
#include <vector>

namespace narae::test {
namespace {

using Clock = std::chrono::steady_clock;

class ChatAtTerminal {
public:
    ChatAtTerminal(const Path& model, const Path& cache, std::vector<std::string> options = {}) {
        std::vector<std::string> words = {NARAE_PROGRAM, "chat", model.string(), "--temp", "0"};
        words.insert(words.end(), options.begin(), options.end());
        std::vector<char*> argv;
        for (std::string& word : words) argv.push_back(word.data());
        argv.push_back(nullptr);
        winsize size{24, 80, 0, 0};
        process_ = forkpty(&terminal_, nullptr, nullptr, &size);
        if (process_ == 0) {
            setenv("NARAE_CACHE", cache.c_str(), 1);
            execv(argv[0], argv.data());
            _exit(127);
        }
    }
    ~ChatAtTerminal() {
        if (!ended_) {
            kill(process_, SIGKILL);
            waitpid(process_, nullptr, 0);
        }
        close(terminal_);
    }
    ChatAtTerminal(const ChatAtTerminal&) = delete;
    ChatAtTerminal& operator=(const ChatAtTerminal&) = delete;

    void type(std::string_view keys) {
        ASSERT_EQ(write(terminal_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
    }

    // Reads until the screen's bytes hold `text` after what was found before.
    testing::AssertionResult shows(std::string_view text) {
        const auto limit = Clock::now() + std::chrono::seconds(120);
        while (true) {
            if (const std::size_t at = seen_.find(text, found_); at != std::string::npos) {
                found_ = at + text.size();
                return testing::AssertionSuccess();
            }
            if (Clock::now() > limit || !read_some(limit))
                return testing::AssertionFailure() << "no \"" << text << "\" in\n" << seen_.substr(found_);
        }
    }

    // Reads until there is anything after what was found before.
    testing::AssertionResult shows_more() {
        const auto limit = Clock::now() + std::chrono::seconds(120);
        while (seen_.size() == found_)
            if (!read_some(limit)) return testing::AssertionFailure() << "nothing more";
        return testing::AssertionSuccess();
    }

    int exit_code() {
        const auto limit = Clock::now() + std::chrono::seconds(120);
        while (read_some(limit)) {
        }
        if (Clock::now() > limit) {
            ADD_FAILURE() << "the conversation did not end; it showed\n" << seen_;
            kill(process_, SIGKILL);
        }
        int status = 0;
        waitpid(process_, &status, 0);
        ended_ = true;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    const std::string& seen() const { return seen_; }
    pid_t process() const { return process_; }
    int terminal() const { return terminal_; }

private:
    bool read_some(Clock::time_point limit) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(limit - Clock::now()).count();
        pollfd wait{terminal_, POLLIN, 0};
        if (left <= 0 || poll(&wait, 1, static_cast<int>(left)) <= 0) return false;
        char buffer[4096];
        const ssize_t n = read(terminal_, buffer, sizeof buffer);
        if (n <= 0) return false;
        seen_.append(buffer, static_cast<std::size_t>(n));
        return true;
    }

    pid_t process_ = -1;
    int terminal_ = -1;
    bool ended_ = false;
    std::string seen_;
    std::size_t found_ = 0;
};

std::string file_text(const Path& path) {
    std::ifstream in(path, std::ios::binary);
    std::stringstream text;
    text << in.rdbuf();
    return text.str();
}

constexpr const char* kLeft = "\x1b[D";
constexpr const char* kUp = "\x1b[A";
constexpr const char* kBackspace = "\x7f";

const Path kModel = data_file("models/llama-gqa-tied");

TEST(ChatTerminal, KoreanIsEditedBySyllables) {
    const ScratchFolder scratch;
    const Path saved = scratch.path() / "talk.json";
    ChatAtTerminal chat(kModel, scratch.path(), {"-n", "2"});
    ASSERT_TRUE(chat.shows(">>> "));
    chat.type("안녕하셍");
    ASSERT_TRUE(chat.shows("안녕하셍"));
    chat.type(kBackspace);
    chat.type("세요");
    ASSERT_TRUE(chat.shows("안녕하세요"));
    chat.type(kLeft);
    // Before 요: the prompt's 4 columns and four syllables of two.
    ASSERT_TRUE(chat.shows("\r\x1b[12C"));
    chat.type(std::string(kLeft) + kLeft);
    ASSERT_TRUE(chat.shows("\r\x1b[8C"));
    chat.type(" ");
    ASSERT_TRUE(chat.shows("안녕 하세요"));
    chat.type("\r");
    ASSERT_TRUE(chat.shows(">>> "));
    chat.type("/save " + saved.string() + "\r");
    ASSERT_TRUE(chat.shows("saved 2 messages"));
    chat.type("/bye\r");
    EXPECT_EQ(chat.exit_code(), 0);
    EXPECT_NE(file_text(saved).find("\"안녕 하세요\""), std::string::npos) << file_text(saved);
}

TEST(ChatTerminal, BytesOfACharacterMayComeOneByOne) {
    const ScratchFolder scratch;
    ChatAtTerminal chat(kModel, scratch.path(), {"-n", "1"});
    ASSERT_TRUE(chat.shows(">>> "));
    for (const char byte : std::string("/system 나래")) chat.type(std::string(1, byte));
    ASSERT_TRUE(chat.shows("/system 나래"));
    chat.type("\r/system\r");
    ASSERT_TRUE(chat.shows("\n나래\r\n"));
    chat.type("\x04");
    EXPECT_EQ(chat.exit_code(), 0);
}

TEST(ChatTerminal, HistoryComesBackAlsoInTheNextProgram) {
    const ScratchFolder scratch;
    {
        ChatAtTerminal chat(kModel, scratch.path(), {"-n", "1"});
        ASSERT_TRUE(chat.shows(">>> "));
        chat.type("/system 먼저\r/system 나중\r");
        ASSERT_TRUE(chat.shows("나중\r\n"));
        chat.type("/bye\r");
        EXPECT_EQ(chat.exit_code(), 0);
    }
    ChatAtTerminal chat(kModel, scratch.path(), {"-n", "1"});
    ASSERT_TRUE(chat.shows(">>> "));
    chat.type(kUp);
    ASSERT_TRUE(chat.shows("/bye"));
    chat.type(kUp);
    ASSERT_TRUE(chat.shows("/system 나중"));
    chat.type(kUp);
    ASSERT_TRUE(chat.shows("/system 먼저"));
    chat.type("\r/system\r");
    ASSERT_TRUE(chat.shows("\n먼저\r\n"));
    chat.type("/bye\r");
    EXPECT_EQ(chat.exit_code(), 0);
}

TEST(ChatTerminal, CtrlCStopsTheAnswerNotTheProgram) {
    const ScratchFolder scratch;
    ChatAtTerminal chat(default_model(), scratch.path(), {"-c", "4096"});
    ASSERT_TRUE(chat.shows(">>> "));
    chat.type("Write a long story about a bird that learns to fly.\r");
    ASSERT_TRUE(chat.shows("fly.\r\n"));
    ASSERT_TRUE(chat.shows_more());  // the answer has begun
    chat.type("\x03");
    ASSERT_TRUE(chat.shows(">>> "));
    chat.type("/stats\r");
    ASSERT_TRUE(chat.shows("answer: "));
    chat.type("/bye\r");
    EXPECT_EQ(chat.exit_code(), 0);
    // The key went to the answer, not to the empty line after it.
    EXPECT_EQ(chat.seen().find("Ctrl-D leaves"), std::string::npos);
}

TEST(ChatTerminal, CtrlCEmptiesTheLine) {
    const ScratchFolder scratch;
    ChatAtTerminal chat(kModel, scratch.path(), {"-n", "1"});
    ASSERT_TRUE(chat.shows(">>> "));
    chat.type("never mind\x03");
    ASSERT_TRUE(chat.shows("never mind\r\n"));
    ASSERT_TRUE(chat.shows(">>> "));
    chat.type("\x03");
    ASSERT_TRUE(chat.shows("leaves"));
    chat.type("\x04");
    EXPECT_EQ(chat.exit_code(), 0);
}

TEST(ChatTerminal, APasteMayHaveSeveralRows) {
    const ScratchFolder scratch;
    ChatAtTerminal chat(kModel, scratch.path(), {"-n", "1"});
    ASSERT_TRUE(chat.shows(">>> "));
    chat.type("\x1b[200~/system 첫 줄\r둘째 줄\x1b[201~");
    ASSERT_TRUE(chat.shows("둘째 줄"));
    chat.type("\r");
    ASSERT_TRUE(chat.shows(">>> "));
    chat.type("/system\r");
    ASSERT_TRUE(chat.shows("\n첫 줄\r\n둘째 줄\r\n"));
    chat.type("/bye\r");
    EXPECT_EQ(chat.exit_code(), 0);
}

TEST(ChatTerminal, AnUnknownCommandNamesTheNearest) {
    const ScratchFolder scratch;
    ChatAtTerminal chat(kModel, scratch.path(), {"-n", "1"});
    ASSERT_TRUE(chat.shows(">>> "));
    chat.type("/sytsem x\r");
    ASSERT_TRUE(chat.shows("did you mean /system?"));
    chat.type("/load missing.json\r");
    ASSERT_TRUE(chat.shows("missing.json"));
    chat.type("/bye\r");
    EXPECT_EQ(chat.exit_code(), 0);
}

TEST(ChatTerminal, TerminationGivesTheTerminalBack) {
    const ScratchFolder scratch;
    ChatAtTerminal chat(kModel, scratch.path(), {"-n", "1"});
    ASSERT_TRUE(chat.shows(">>> "));
    termios mode{};
    ASSERT_EQ(tcgetattr(chat.terminal(), &mode), 0);
    EXPECT_EQ(mode.c_lflag & static_cast<tcflag_t>(ICANON | ECHO), 0u);
    kill(chat.process(), SIGTERM);
    EXPECT_EQ(chat.exit_code(), 143);
    EXPECT_NE(chat.seen().find("\x1b[?2004l"), std::string::npos);
}

// The signal may come between the last look at it and the waiting.
TEST(ChatTerminal, ASignalBeforeTheWaitingIsNotMissed) {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    cli::SignalWatch signals;
    EXPECT_EQ(signals.wait_for(ends[0], 0), cli::SignalWatch::Ready::nothing);
    std::raise(SIGTERM);
    EXPECT_EQ(signals.wait_for(ends[0], -1), cli::SignalWatch::Ready::signal);
    EXPECT_EQ(signals.caught(), SIGTERM);
    signals.clear();
    EXPECT_EQ(signals.wait_for(ends[0], 0), cli::SignalWatch::Ready::nothing);
    close(ends[1]);
    EXPECT_EQ(signals.wait_for(ends[0], -1), cli::SignalWatch::Ready::input);
    close(ends[0]);
}

}  // namespace
}  // namespace narae::test
