// The pure parts of the command line: editing, layout on a screen, suggestions, tables, conversations.
#include "base/error.h"
#include "cli/conversation.h"
#include "cli/suggest.h"
#include "cli/table.h"
#include "cli/terminal/line.h"
#include "cli/terminal/line_editor.h"
#include "support/support.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

namespace narae::cli {
namespace {

Line line_of(std::string text) {
    Line line;
    line.set(std::move(text));
    return line;
}

TEST(Line, BackspaceTakesOneSyllable) {
    Line line = line_of("안녕");
    line.backspace();
    EXPECT_EQ(line.text(), "안");
    line.backspace();
    line.backspace();
    EXPECT_EQ(line.text(), "");
    EXPECT_EQ(line.cursor(), 0u);
}

TEST(Line, ADecomposedSyllableIsOneCharacter) {
    // U+1112 U+1161 U+11AB: 한 as conjoining letters, as macOS writes it into file names.
    Line line = line_of("a\u1112\u1161\u11ab");
    line.left();
    EXPECT_EQ(line.cursor(), 1u);
    line.erase();
    EXPECT_EQ(line.text(), "a");
}

TEST(Line, AnEmojiOfSeveralPartsIsOneCharacter) {
    Line line = line_of("x\U0001F469\u200D\U0001F4BB");
    line.backspace();
    EXPECT_EQ(line.text(), "x");
}

TEST(Line, InsertsWhereTheCursorIs) {
    Line line = line_of("나를 보라");
    for (int i = 0; i < 4; ++i) line.left();
    line.insert("래");
    EXPECT_EQ(line.text(), "나래를 보라");
    EXPECT_EQ(line.cursor(), std::string("나래").size());
    line.right();
    line.erase_to_end();
    EXPECT_EQ(line.text(), "나래를");
}

TEST(Line, MovesAndErasesWords) {
    Line line = line_of("one two  셋");
    line.word_left();
    EXPECT_EQ(line.cursor(), 9u);
    line.erase_word();
    EXPECT_EQ(line.text(), "one 셋");
    line.home();
    line.word_right();
    EXPECT_EQ(line.cursor(), 3u);
    line.erase_to_begin();
    EXPECT_EQ(line.text(), " 셋");
}

TEST(Line, HomeAndEndStayInTheRow) {
    Line line = line_of("first\nsecond");
    line.home();
    EXPECT_EQ(line.cursor(), 6u);
    line.left();
    line.home();
    EXPECT_EQ(line.cursor(), 0u);
    line.end();
    EXPECT_EQ(line.cursor(), 5u);
}

TEST(Screen, KoreanTakesTwoColumns) {
    Line line = line_of("안녕a");
    Screen screen = lay_out("> ", line, 80);
    EXPECT_EQ(screen.shown, "> 안녕a");
    EXPECT_EQ(screen.end, (ScreenPosition{0, 7}));
    line.left();
    line.left();
    screen = lay_out("> ", line, 80);
    EXPECT_EQ(screen.cursor, (ScreenPosition{0, 4}));
}

TEST(Screen, AWideCharacterThatDoesNotFitGoesDownWhole) {
    const Screen screen = lay_out("> ", line_of("가나다"), 5);
    EXPECT_EQ(screen.shown, "> 가\n나다");
    EXPECT_EQ(screen.end, (ScreenPosition{1, 4}));
}

TEST(Screen, AFullRowPutsTheCursorBelow) {
    const Screen screen = lay_out("> ", line_of("abcd"), 6);
    EXPECT_EQ(screen.shown, "> abcd\n");
    EXPECT_EQ(screen.cursor, (ScreenPosition{1, 0}));
}

TEST(Screen, PastedRowsAreRows) {
    Line line = line_of("ab\n가");
    line.left();
    const Screen screen = lay_out("> ", line, 80);
    EXPECT_EQ(screen.shown, "> ab\n가");
    EXPECT_EQ(screen.cursor, (ScreenPosition{1, 0}));
    EXPECT_EQ(screen.end, (ScreenPosition{1, 2}));
}

TEST(Suggest, DistanceCountsSwapsOnce) {
    EXPECT_EQ(edit_distance("", "abc"), 3);
    EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
    EXPECT_EQ(edit_distance("ifno", "info"), 1);
}

TEST(Suggest, NearestOrNothing) {
    const std::vector<std::string> names = {"bench", "chat", "convert", "generate", "info", "list"};
    EXPECT_EQ(closest_name("ifno", names), "info");
    EXPECT_EQ(closest_name("genrate", names), "generate");
    EXPECT_EQ(closest_name("conv", names), "convert");
    EXPECT_EQ(closest_name("quantum", names), "");
    EXPECT_EQ(closest_name("", names), "");
}

TEST(Table, AlignsByDisplayWidth) {
    Table table({{"name"}, {"n", Align::right}});
    table.add({"나래", "5"});
    table.add({"wing!", "12"});
    EXPECT_EQ(table.text(), "name    n\n나래    5\nwing!  12\n");
    EXPECT_EQ(table.markdown(), "| name  |  n |\n| ----- | -: |\n| 나래  |  5 |\n| wing! | 12 |\n");
}

TEST(Table, Numbers) {
    EXPECT_EQ(with_commas(0), "0");
    EXPECT_EQ(with_commas(999), "999");
    EXPECT_EQ(with_commas(98362432), "98,362,432");
    EXPECT_EQ(count_text(134515008), "134.5 M");
    EXPECT_EQ(count_text(8030000000), "8.03 B");
}

TEST(Conversation, SavesWhatItLoads) {
    const test::ScratchFolder scratch;
    const Path path = scratch.path() / "talk.json";
    save_conversation({"짧게", {{"user", "안녕"}, {"assistant", "네\n\"나래\""}}}, path);
    const Conversation loaded = load_conversation(path);
    EXPECT_EQ(loaded.system, "짧게");
    ASSERT_EQ(loaded.messages.size(), 2u);
    EXPECT_EQ(loaded.messages[1].role, "assistant");
    EXPECT_EQ(loaded.messages[1].content, "네\n\"나래\"");
}

TEST(Conversation, RefusesWhatIsNone) {
    EXPECT_THROW(parse_conversation(Json::parse(R"({"a": 1})"), "x"), BadFileError);
    EXPECT_THROW(parse_conversation(Json::parse(R"([{"role": "user", "content": 5}])"), "x"), BadFileError);
    EXPECT_THROW(parse_conversation(Json::parse(R"(["hello"])"), "x"), BadFileError);
}

TEST(Conversation, LeavesTheOldestOutWhenTheContextIsFull) {
    const ModelText text = load_model_text(test::data_file("models/llama-gqa-tied"));
    Conversation conversation{"", {}};
    for (int i = 0; i < 6; ++i)
        conversation.messages.push_back({i % 2 ? "assistant" : "user", "The little bird " + std::to_string(i)});
    conversation.messages.push_back({"user", "last"});
    const ChatPrompt all = chat_prompt(conversation, text, 10000);
    EXPECT_EQ(all.left_out, 0u);
    const ChatPrompt some = chat_prompt(conversation, text, all.ids.size() - 1);
    EXPECT_EQ(some.left_out, 2u);
    EXPECT_LT(some.ids.size(), all.ids.size());
    const ChatPrompt least = chat_prompt(conversation, text, 1);
    EXPECT_EQ(least.left_out, 6u);
    EXPECT_FALSE(least.ids.empty());
}

TEST(History, KeepsLinesForThisUserOnly) {
    const test::ScratchFolder scratch;
    const Path path = scratch.path() / "new" / "history";
    History history;
    history.add("안녕");
    history.add("안녕");
    history.add("두 줄\n\"이다\"");
    history.save(path);
    struct stat status {};
    ASSERT_EQ(stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600u);
    History loaded;
    loaded.load(path);
    ASSERT_EQ(loaded.size(), 2u);
    EXPECT_EQ(loaded.at(1), "두 줄\n\"이다\"");
}

TEST(History, IgnoresWhatIsNoLine) {
    const test::ScratchFolder scratch;
    History history;
    history.load(scratch.write("history", "\"good\"\n{broken\n5\n\"also\""));
    ASSERT_EQ(history.size(), 2u);
    EXPECT_EQ(history.at(1), "also");
    history.load(scratch.path() / "missing");
    EXPECT_EQ(history.size(), 2u);
}

}  // namespace
}  // namespace narae::cli
