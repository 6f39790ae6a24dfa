// narae chat: a conversation in the terminal, or line by line through a pipe.
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "cli/answer.h"
#include "cli/conversation.h"
#include "cli/model_options.h"
#include "cli/output.h"
#include "cli/suggest.h"
#include "cli/terminal/line_editor.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

namespace narae::cli {
namespace {

constexpr std::string_view kPrompt = ">>> ", kContinuation = "... ", kQuotes = "\"\"\"";

struct Options {
    ModelOptions model;
    SamplingOptions sampling;
    std::optional<std::string> system, load;
    std::vector<std::string> stop;
    int max_tokens = 0;
    bool no_history = false, json = false;
};

// Lines of a person at a terminal, or of a pipe.
class Input {
public:
    Input(Terminal* terminal, History& history, const SignalWatch& signals) : signals_(signals) {
        if (terminal) editor_.emplace(*terminal, history);
    }

    // False at the end. Throws Interrupted for a signal that means to leave.
    bool read_line(std::string_view prompt, std::string& line) {
        if (!editor_) {
            if (!read_piped(line)) return false;
            if (line.ends_with('\r')) line.pop_back();
            if (!unicode::is_valid(line))
                throw_error<UsageError>(
                    "standard input: not valid UTF-8 at byte {} of a line; convert it first, for example with iconv",
                    unicode::valid_prefix(line));
            return true;
        }
        while (true) {
            switch (editor_->read(prompt, line)) {
                case LineEditor::Result::line:
                    return true;
                case LineEditor::Result::end:
                    return false;
                case LineEditor::Result::interrupted:
                    print_output("(/bye or Ctrl-D leaves)\n");
                    break;
                case LineEditor::Result::signal:
                    if (const int signal = signals_.caught()) throw Interrupted(signal);
                    break;
            }
        }
    }

    // A message: a line, or several between """ and """.
    bool read_message(std::string& message) {
        if (!read_line(kPrompt, message)) return false;
        if (!message.starts_with(kQuotes)) return true;
        message.erase(0, kQuotes.size());
        std::string line;
        while (!message.ends_with(kQuotes)) {
            if (!read_line(kContinuation, line)) return false;
            message += "\n" + line;
        }
        message.resize(message.size() - kQuotes.size());
        if (message.starts_with('\n')) message.erase(0, 1);
        if (message.ends_with('\n')) message.pop_back();
        return true;
    }

    bool interactive() const { return editor_.has_value(); }

private:
    // The next line of standard input, or what stands after the last line end; false at the end.
    bool read_piped(std::string& line) {
        std::size_t end = 0, searched = 0;
        while ((end = unread_.find('\n', searched)) == std::string::npos) {
            searched = unread_.size();
            if (signals_.wait_for(STDIN_FILENO, -1) == SignalWatch::Ready::signal) throw Interrupted(signals_.caught());
            char buffer[4096];
            const ssize_t n = read(STDIN_FILENO, buffer, sizeof buffer);
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) throw_error<IoError>("standard input: {}", std::strerror(errno));
            if (n > 0) {
                unread_.append(buffer, static_cast<std::size_t>(n));
                continue;
            }
            if (unread_.empty()) return false;
            end = unread_.size();
            break;
        }
        line = unread_.substr(0, end);
        unread_.erase(0, end + 1);
        return true;
    }

    const SignalWatch& signals_;
    std::optional<LineEditor> editor_;
    std::string unread_;  // of a pipe
};

class Chat {
public:
    Chat(const Options& options, Model& model, const ModelText& text, const kernels::SamplingParameters& sampling, Input& input,
         SignalWatch& signals)
        : options_(options),
          model_(model),
          text_(text),
          sampling_(sampling),
          engine_(model),
          input_(input),
          signals_(signals) {}

    Conversation conversation;

    void run(History& history) {
        std::string message;
        while (!left_ && input_.read_message(message)) {
            if (message.find_first_not_of(" \t\n") == std::string::npos) continue;
            history.add(message);
            try {
                if (message.starts_with("//"))
                    say(message.substr(1));
                else if (message.starts_with('/'))
                    command(message);
                else
                    say(message);
            } catch (const Error& error) {
                // A person can try again; a script has to know.
                if (!input_.interactive() || error.code() == ExitCode::internal || error.code() == ExitCode::resources) throw;
                log_info("{}", error.what());
            }
        }
        if (options_.json)
            print_output("{}\n", dump_json({{"messages", conversation_json(conversation)},
                                            {"turns", turns_},
                                            {"memory", memory_json(model_, engine_)},
                                            {"numerics", model_.numerics()}},
                                           2));
    }

private:
    struct Command {
        std::string name, argument, help;
        void (Chat::*act)(const std::string& argument);
    };
    static const std::vector<Command>& commands() {
        static const std::vector<Command> all = {
            {"/help", "", "this list", &Chat::show_help},
            {"/system", "TEXT", "set the system message; alone: show it", &Chat::set_system},
            {"/clear", "", "forget what was said", &Chat::clear},
            {"/save", "FILE", "write the conversation to a JSON file", &Chat::save},
            {"/load", "FILE", "go on with a saved conversation", &Chat::load},
            {"/stats", "", "speed and memory of the last answer", &Chat::show_stats},
            {"/bye", "", "leave (or Ctrl-D)", &Chat::leave},
        };
        return all;
    }

    void command(const std::string& line) {
        const std::size_t space = std::min(line.find_first_of(" \t\n"), line.size());
        const std::string name = line.substr(0, space);
        const std::size_t begin = line.find_first_not_of(" \t\n", space);
        const std::string argument =
            begin == std::string::npos ? "" : line.substr(begin, line.find_last_not_of(" \t\n") + 1 - begin);
        std::vector<std::string> names;
        for (const Command& each : commands()) {
            if (each.name == name) return (this->*each.act)(argument);
            names.push_back(each.name);
        }
        const std::string closest = closest_name(name, names);
        throw_error<UsageError>("unknown command {}; {} (a message that begins with / is written with //)", name,
                                closest.empty() ? "/help lists them" : "did you mean " + closest + "?");
    }

    void show_help(const std::string&) {
        for (const Command& each : commands()) print_output("  {:14} {}\n", each.name + " " + each.argument, each.help);
        print_output("  {:14} {}\n", "\"\"\"", "begins and ends a message of several lines");
        print_output("  {:14} {}\n", "Ctrl-C", "stops the answer");
    }

    void set_system(const std::string& argument) {
        if (argument.empty())
            print_output("{}\n", conversation.system.empty() ? "(no system message)" : terminal_text(conversation.system));
        else
            conversation.system = argument;
    }

    void clear(const std::string&) { conversation.messages.clear(); }
    void leave(const std::string&) { left_ = true; }

    void save(const std::string& argument) {
        if (argument.empty()) throw_error<UsageError>("/save needs a file name");
        save_conversation(conversation, argument);
        log_info("saved {} messages to {}", conversation_json(conversation).size(), argument);
    }

    void load(const std::string& argument) {
        if (argument.empty()) throw_error<UsageError>("/load needs a file name");
        conversation = load_conversation(argument);
        log_info("loaded {} messages from {}", conversation_json(conversation).size(), argument);
    }

    void show_stats(const std::string&) {
        if (!last_) {
            print_output("(no answer yet)\n");
            return;
        }
        print_output("prompt: {} tokens at {:.1f} tokens/s, first token after {:.3f} s\nanswer: {} tokens at {:.1f} tokens/s\n",
                     last_->prompt_tokens, last_->prompt_rate(), last_->prompt_seconds, last_->ids.size(),
                     last_->decode_rate());
        print_output("context: {} of {} tokens\nmemory: {} (weights {}, KV cache {})\n",
                     last_->prompt_tokens + last_->ids.size(), model_.limits.max_context, format_bytes(resident_bytes()),
                     format_bytes(model_.plan.weights), format_bytes(static_cast<std::uint64_t>(engine_.stats().kv_bytes)));
    }

    // Tokens that a prompt may have so that an answer still fits.
    std::size_t prompt_room() const {
        const int context = model_.limits.max_context;
        const int wanted = options_.max_tokens > 0 ? options_.max_tokens : 512;
        return static_cast<std::size_t>(context - std::min(wanted, std::max(context / 4, 1)));
    }

    void say(const std::string& content) {
        conversation.messages.push_back({"user", content});
        try {
            const ChatPrompt prompt = chat_prompt(conversation, text_, prompt_room());
            if (prompt.left_out > 0) log_info("(the context is full: the oldest {} messages were left out)", prompt.left_out);
            answer(prompt.ids);
        } catch (const Error&) {
            conversation.messages.pop_back();
            throw;
        }
    }

    void answer(const std::vector<std::int32_t>& prompt) {
        Request request;
        request.prompt = prompt;
        request.sampling = sampling_;
        request.max_tokens = options_.max_tokens;
        request.end_ids = !text_.end_ids.empty() ? text_.end_ids : model_.config().eos_ids;
        const bool terminal = output_is_terminal();
        last_ = generate_answer(engine_, std::move(request), text_.tokenizer.get(), {options_.stop, true},
                                [&](std::string_view piece) {
                                    if (!options_.json && !piece.empty()) {
                                        write_output(terminal ? terminal_text(piece) : std::string(piece));
                                        flush_output();
                                    }
                                    return signals_.caught() == 0;
                                });
        if (!options_.json) {
            write_output("\n");
            flush_output();
        }
        if (last_->finish == FinishReason::numeric_error)
            throw_error<InternalError>("the model's logits are not finite numbers; the weights may be damaged");
        if (last_->finish == FinishReason::length && !options_.json) log_info("(cut: the answer reached its limit)");
        conversation.messages.push_back({"assistant", last_->text});
        turns_.push_back({{"finish_reason", std::string(finish_reason_name(last_->finish))},
                          {"prompt_n", last_->prompt_tokens},
                          {"prompt_per_second", last_->prompt_rate()},
                          {"predicted_n", last_->ids.size()},
                          {"predicted_per_second", last_->decode_rate()}});
        const int signal = signals_.caught();
        if (signal != 0 && signal != SIGINT) throw Interrupted(signal);
        signals_.clear();
    }

    const Options& options_;
    Model& model_;
    const ModelText& text_;
    kernels::SamplingParameters sampling_;
    Engine engine_;
    Input& input_;
    SignalWatch& signals_;
    std::optional<Answer> last_;
    Json turns_ = Json::array();
    bool left_ = false;
};

void run(const Options& o) {
    const bool interactive = isatty(STDIN_FILENO) == 1 && output_is_terminal();
    if (o.json && interactive)
        throw_error<UsageError>("--json is for scripts: give the messages on standard input, a line each");
    SignalWatch signals;
    // From the start, so that what is typed while the model loads is edited like the rest.
    std::optional<Terminal> terminal;
    if (interactive) terminal.emplace(signals);

    Checkpoint checkpoint = open_checkpoint(resolve_model(o.model.model));
    const ModelText text = load_model_text(checkpoint);
    text.require_tokenizer();
    const kernels::SamplingParameters sampling = sampling_parameters(o.sampling, text.generation_config);
    Model model = load_model(std::move(checkpoint), load_options(o.model));
    if (const int signal = signals.caught()) throw Interrupted(signal);

    History history;
    const Path history_file = cache_folder() / "chat_history";
    const bool keep_history = interactive && !o.no_history;
    if (keep_history) history.load(history_file);
    Input input(terminal ? &*terminal : nullptr, history, signals);
    Chat chat(o, model, text, sampling, input, signals);
    if (o.load) chat.conversation = load_conversation(*o.load);
    if (o.system) chat.conversation.system = *o.system;
    if (interactive)
        print_output("{}: loaded in {:.2f} s. /help lists the commands, /bye leaves.\n", o.model.model, model.load_seconds);
    chat.run(history);
    if (keep_history) history.save(history_file);
}

void add(CLI::App& app) {
    auto o = std::make_shared<Options>();
    CLI::App& verb = *app.add_subcommand("chat", "Talk with a model in the terminal");
    add_model_options(verb, o->model, true);
    verb.add_option("--system", o->system, "A system message");
    verb.add_option("--load", o->load, "Go on with a saved conversation");
    verb.add_option("-n,--predict,--max-tokens", o->max_tokens, "Tokens of an answer; 0: until it or the context ends")
        ->check(CLI::Range(0, 1 << 24));
    verb.add_option("--stop", o->stop, "Stop before this text; may be repeated")->allow_extra_args(false);
    verb.add_flag("--no-history", o->no_history, "Neither read nor write the file of earlier lines");
    add_sampling_options(verb, o->sampling);
    verb.add_flag("--json", o->json, "Without a terminal: one JSON document with the conversation at the end");
    verb.footer(
        "In the conversation: /help lists the commands, \"\"\" begins and ends a message of several lines, Ctrl-C stops an "
        "answer, Ctrl-D leaves.\n"
        "Example:\n  narae chat default --system \"You answer in one sentence.\"\n  printf 'Hello\\nAnd in Korean?\\n' | narae "
        "chat default");
    verb.callback([o] { run(*o); });
}

const Verb kChat = {"chat", add};
const RegisterVerb kRegister(kChat);

}  // namespace
}  // namespace narae::cli
