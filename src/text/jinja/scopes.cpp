#include "text/jinja/scopes.h"

#include "base/error.h"
#include "text/jinja/builtins.h"
#include "text/jinja/lexer.h"
#include "text/jinja/name_walk.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <unordered_map>

namespace narae::jinja {
namespace {

constexpr std::uint16_t kMaxSlots = std::numeric_limits<std::uint16_t>::max();

// A function's slots; one for each (level of the frame, name).
struct FunctionSlots {
    FunctionSlots* parent = nullptr;
    std::map<std::pair<int, std::string>, std::uint16_t> slots;

    std::uint16_t count() const { return static_cast<std::uint16_t>(slots.size()); }
};

struct Slot {
    FunctionSlots* function = nullptr;
    std::uint16_t slot = 0;

    auto operator<=>(const Slot&) const = default;
};

struct Load {
    FrameLoad::Source source = FrameLoad::Source::nothing;
    Slot variable;
    std::string name;
};

// The names of a frame. While the arms of an if are analysed, each works on a layer over the frame's own (`base`).
class Symbols {
public:
    Symbols(const Symbols* parent, FunctionSlots* function)
        : parent_(parent), function_(function), level_(parent == nullptr ? 0 : parent->level_ + 1) {}

    static Symbols layer_over(const Symbols& base) {
        Symbols layer(base.parent_, base.function_);
        layer.base_ = &base;
        return layer;
    }

    FunctionSlots* function() const { return function_; }
    const std::map<Slot, Load>& loads() const { return loads_; }
    const std::set<std::string>& stores() const { return stores_; }

    const Slot* find(const std::string& name) const {
        if (const Slot* own = find_own(name); own != nullptr) return own;
        return parent_ != nullptr ? parent_->find(name) : nullptr;
    }

    void load(const std::string& name) {
        if (find(name) == nullptr) define(name, {FrameLoad::Source::context, {}, name});
    }

    void store(const std::string& name) {
        stores_.insert(name);
        if (find_own(name) != nullptr) return;
        const Slot* outer = parent_ != nullptr ? parent_->find(name) : nullptr;
        if (outer != nullptr) {
            define(name, {FrameLoad::Source::variable, *outer, {}});
        } else {
            define(name, {});
        }
    }

    Slot declare_parameter(const std::string& name) {
        stores_.insert(name);
        return define(name, {FrameLoad::Source::parameter, {}, {}});
    }

    // After the arms of an if: what any of them stored may be unset, so that it is loaded at the frame's start.
    void merge(std::initializer_list<const Symbols*> arms) {
        std::set<std::string> stored;
        for (const Symbols* arm : arms)
            for (const std::string& name : arm->stores_)
                if (!stores(name)) stored.insert(name);
        for (const Symbols* arm : arms) {
            for (const auto& [name, slot] : arm->names_) names_[name] = slot;
            for (const auto& [slot, load] : arm->loads_) loads_[slot] = load;
            stores_.insert(arm->stores_.begin(), arm->stores_.end());
        }
        for (const std::string& name : stored) {
            const Slot* outer = parent_ != nullptr ? parent_->find(name) : nullptr;
            loads_[*find(name)] =
                outer != nullptr ? Load{FrameLoad::Source::variable, *outer, {}} : Load{FrameLoad::Source::context, {}, name};
        }
    }

private:
    const Slot* find_own(const std::string& name) const {
        for (const Symbols* layer = this; layer != nullptr; layer = layer->base_)
            if (const auto found = layer->names_.find(name); found != layer->names_.end()) return &found->second;
        return nullptr;
    }

    bool stores(const std::string& name) const {
        for (const Symbols* layer = this; layer != nullptr; layer = layer->base_)
            if (layer->stores_.contains(name)) return true;
        return false;
    }

    Slot define(const std::string& name, Load load) {
        const std::pair<int, std::string> key(level_, name);
        if (function_->slots.size() == kMaxSlots) syntax_error(1, fmt::format("more than {} variables", kMaxSlots));
        const auto slot = function_->slots.emplace(key, function_->count()).first->second;
        loads_[{function_, slot}] = std::move(load);
        return names_[name] = {function_, slot};
    }

    const Symbols* parent_;
    const Symbols* base_ = nullptr;
    FunctionSlots* function_;
    int level_;
    std::unordered_map<std::string, Slot> names_;
    std::map<Slot, Load> loads_;
    std::set<std::string> stores_;
};

class Resolver {
public:
    void run(Template& parsed) {
        FunctionSlots function;
        Symbols symbols(nullptr, &function);
        analyze(symbols, parsed.body);
        resolve(symbols, parsed.body, false);
        parsed.frame = frame_of(symbols);
        parsed.slots = function.count();
        for (const std::string& name : symbols.stores()) parsed.top_level.emplace_back(name, symbols.find(name)->slot);
    }

private:
    // ---- what a frame loads and stores, without what is in frames inside it

    void analyze(Symbols& symbols, const Expression* expression) {
        if (expression != nullptr) walk_names(*expression, [&](const std::string& name) { symbols.load(name); });
    }

    void analyze(Symbols& symbols, const Body& body) {
        for (const auto& statement : body) analyze(symbols, *statement);
    }

    void analyze_stores(Symbols& symbols, const Target& target) {
        switch (target.kind) {
            case Target::Kind::name:
                symbols.store(target.name);
                break;
            case Target::Kind::attribute:
                symbols.load(target.name);
                break;
            case Target::Kind::tuple:
                for (const Target& item : target.items) analyze_stores(symbols, item);
        }
    }

    void declare(Symbols& symbols, const Target& target) {
        if (target.kind == Target::Kind::name) symbols.declare_parameter(target.name);
        for (const Target& item : target.items) declare(symbols, item);
    }

    void analyze(Symbols& symbols, const Statement& statement) {
        switch (statement.kind) {
            case StatementKind::text:
            case StatementKind::generation:
            case StatementKind::block:
            case StatementKind::break_loop:
            case StatementKind::continue_loop:
                break;
            case StatementKind::print:
                analyze(symbols, static_cast<const PrintStatement&>(statement).value.get());
                break;
            case StatementKind::branch:
                analyze_branches(symbols, static_cast<const BranchStatement&>(statement));
                break;
            case StatementKind::loop:
                analyze(symbols, static_cast<const ForStatement&>(statement).iterable.get());
                break;
            case StatementKind::set: {
                const auto& set = static_cast<const SetStatement&>(statement);
                analyze(symbols, set.value.get());
                analyze_stores(symbols, set.target);
                break;
            }
            case StatementKind::set_block:
                analyze_stores(symbols, static_cast<const SetBlockStatement&>(statement).target);
                break;
            case StatementKind::macro:
                symbols.store(static_cast<const MacroStatement&>(statement).definition.name);
                break;
            case StatementKind::call_block:
                analyze(symbols, static_cast<const CallBlockStatement&>(statement).call.get());
                break;
            case StatementKind::filter_block:
                analyze(symbols, static_cast<const FilterBlockStatement&>(statement).filter.get());
                break;
            case StatementKind::with:
                for (const auto& [target, value] : static_cast<const WithStatement&>(statement).bindings)
                    analyze(symbols, value.get());
                break;
            case StatementKind::refused: {
                const auto& refused = static_cast<const RefusedStatement&>(statement);
                for (const auto& expression : refused.expressions) analyze(symbols, expression.get());
                for (const Target& target : refused.targets) analyze_stores(symbols, target);
            }
        }
    }

    // Jinja's if has the elifs in its middle arm, each as an if of its own without other arms.
    void analyze_branches(Symbols& symbols, const BranchStatement& branch) {
        if (branch.branches.empty()) return analyze(symbols, branch.otherwise);
        analyze(symbols, branch.branches[0].first.get());
        Symbols body = Symbols::layer_over(symbols);
        analyze(body, branch.branches[0].second);
        Symbols elifs = Symbols::layer_over(symbols);
        for (std::size_t i = 1; i < branch.branches.size(); ++i) {
            analyze(elifs, branch.branches[i].first.get());
            Symbols arm = Symbols::layer_over(elifs);
            analyze(arm, branch.branches[i].second);
            elifs.merge({&arm});
        }
        Symbols otherwise = Symbols::layer_over(symbols);
        analyze(otherwise, branch.otherwise);
        symbols.merge({&body, &elifs, &otherwise});
    }

    // ---- references

    Frame frame_of(const Symbols& symbols) const {
        Frame frame;
        for (const auto& [slot, load] : symbols.loads()) {
            FrameLoad entry;
            entry.source = load.source;
            entry.slot = slot.slot;
            entry.name = load.name;
            if (load.source == FrameLoad::Source::variable) entry.variable = reference(symbols, load.variable);
            frame.push_back(std::move(entry));
        }
        return frame;
    }

    VariableRef reference(const Symbols& symbols, const Slot& slot) const {
        VariableRef result;
        result.slot = slot.slot;
        for (const FunctionSlots* function = symbols.function(); function != slot.function; function = function->parent)
            ++result.hops;
        return result;
    }

    VariableRef reference(const Symbols& symbols, const std::string& name, int line) const {
        const Slot* slot = symbols.find(name);
        if (slot == nullptr) syntax_error(line, fmt::format("the variable '{}' cannot be used here", name));
        return reference(symbols, *slot);
    }

    void resolve(const Symbols& symbols, Target& target) {
        if (target.kind == Target::Kind::tuple) {
            for (Target& item : target.items) resolve(symbols, item);
            return;
        }
        if (loops_ > 0 && target.kind == Target::Kind::name && target.name == "loop")
            syntax_error(target.line, "the special variable 'loop' cannot be assigned to");
        target.variable = reference(symbols, target.name, target.line);
    }

    void resolve(const Symbols& symbols, ExpressionPtr& expression, bool soft) {
        if (expression != nullptr) resolve(symbols, *expression, soft);
    }

    void resolve(const Symbols& symbols, ArgumentExpressions& arguments, bool soft) {
        for (auto& argument : arguments.positional) resolve(symbols, argument, soft);
        for (auto& [name, argument] : arguments.keywords) resolve(symbols, argument, soft);
        resolve(symbols, arguments.more_positional, soft);
        resolve(symbols, arguments.more_keywords, soft);
    }

    // `soft`: behind a condition, where an unknown filter fails only when it is reached.
    void resolve(const Symbols& symbols, Expression& expression, bool soft) {
        switch (expression.kind) {
            case ExpressionKind::literal:
                break;
            case ExpressionKind::name: {
                auto& name = static_cast<NameExpression&>(expression);
                name.variable = reference(symbols, name.name, name.line);
                break;
            }
            case ExpressionKind::conditional: {
                auto& conditional = static_cast<ConditionalExpression&>(expression);
                resolve(symbols, conditional.test, true);
                resolve(symbols, conditional.then, true);
                resolve(symbols, conditional.otherwise, true);
                break;
            }
            case ExpressionKind::filter: {
                auto& filter = static_cast<FilterExpression&>(expression);
                filter.filter = find_filter(filter.name);
                if (filter.filter == nullptr && !soft)
                    syntax_error(filter.line, fmt::format("no filter named '{}'", filter.name));
                resolve(symbols, filter.operand, soft);
                resolve(symbols, filter.arguments, soft);
                break;
            }
            case ExpressionKind::test: {
                auto& test = static_cast<TestExpression&>(expression);
                test.test = find_test(test.name);
                if (test.test == nullptr && !soft) syntax_error(test.line, fmt::format("no test named '{}'", test.name));
                resolve(symbols, test.operand, soft);
                resolve(symbols, test.arguments, soft);
                break;
            }
            default:
                for_each_part(expression, [&](ExpressionPtr& part) { resolve(symbols, part, soft); });
        }
    }

    void resolve(const Symbols& symbols, Body& body, bool soft) {
        for (auto& statement : body) resolve(symbols, *statement, soft);
    }

    void resolve(const Symbols& symbols, Statement& statement, bool soft) {
        switch (statement.kind) {
            case StatementKind::text:
            case StatementKind::break_loop:
            case StatementKind::continue_loop:
                break;
            case StatementKind::print:
                resolve(symbols, static_cast<PrintStatement&>(statement).value, soft);
                break;
            case StatementKind::branch: {
                auto& branch = static_cast<BranchStatement&>(statement);
                const bool inside = soft || !branch.branches.empty();
                for (auto& [test, body] : branch.branches) {
                    resolve(symbols, test, inside);
                    resolve(symbols, body, inside);
                }
                resolve(symbols, branch.otherwise, inside);
                break;
            }
            case StatementKind::loop:
                resolve_loop(symbols, static_cast<ForStatement&>(statement), soft);
                break;
            case StatementKind::set: {
                auto& set = static_cast<SetStatement&>(statement);
                resolve(symbols, set.value, soft);
                resolve(symbols, set.target);
                break;
            }
            case StatementKind::set_block: {
                auto& set = static_cast<SetBlockStatement&>(statement);
                Symbols inner(&symbols, symbols.function());
                analyze(inner, set.body);
                analyze(inner, set.filter.get());
                resolve(inner, set.body, false);
                resolve(inner, set.filter, false);
                set.frame = frame_of(inner);
                resolve(symbols, set.target);
                break;
            }
            case StatementKind::macro: {
                auto& macro = static_cast<MacroStatement&>(statement);
                resolve_macro(symbols, macro.definition);
                macro.variable = reference(symbols, macro.definition.name, macro.line);
                break;
            }
            case StatementKind::call_block:
            case StatementKind::generation: {
                auto& block = static_cast<CallBlockStatement&>(statement);
                resolve_macro(symbols, block.caller);
                resolve(symbols, block.call, soft);
                break;
            }
            case StatementKind::filter_block: {
                auto& block = static_cast<FilterBlockStatement&>(statement);
                Symbols inner(&symbols, symbols.function());
                analyze(inner, block.body);
                analyze(inner, block.filter.get());
                resolve(inner, block.body, false);
                resolve(inner, block.filter, false);
                block.frame = frame_of(inner);
                break;
            }
            case StatementKind::with: {
                auto& with = static_cast<WithStatement&>(statement);
                Symbols inner(&symbols, symbols.function());
                for (auto& [target, value] : with.bindings) declare(inner, target);
                analyze(inner, with.body);
                for (auto& [target, value] : with.bindings) {
                    resolve(symbols, value, soft);
                    resolve(inner, target);
                }
                resolve(inner, with.body, false);
                with.frame = frame_of(inner);
                break;
            }
            case StatementKind::block: {
                auto& block = static_cast<BlockStatement&>(statement);
                FunctionSlots function;
                function.parent = symbols.function();
                Symbols inner(block.scoped ? &symbols : nullptr, &function);
                analyze(inner, block.body);
                resolve(inner, block.body, false);
                block.frame = frame_of(inner);
                block.slots = function.count();
                break;
            }
            case StatementKind::refused: {
                auto& refused = static_cast<RefusedStatement&>(statement);
                for (auto& expression : refused.expressions) resolve(symbols, expression, soft);
                for (Target& target : refused.targets) resolve(symbols, target);
            }
        }
    }

    void resolve_loop(const Symbols& symbols, ForStatement& loop, bool soft) {
        ++loops_;
        FunctionSlots own_function;
        own_function.parent = symbols.function();
        FunctionSlots* function = loop.recursive ? &own_function : symbols.function();

        Symbols inner(&symbols, function);
        loop.loop_slot = inner.declare_parameter("loop").slot;
        declare(inner, loop.target);
        analyze(inner, loop.body);

        Symbols otherwise(&symbols, function);
        analyze(otherwise, loop.otherwise);

        resolve(symbols, loop.iterable, soft);
        if (loop.test != nullptr) {
            FunctionSlots test_function;
            test_function.parent = symbols.function();
            Symbols test(&symbols, &test_function);
            loop.test_target = loop.target;
            declare(test, loop.test_target);
            analyze(test, loop.test.get());
            resolve(test, loop.test_target);
            resolve(test, loop.test, false);
            loop.test_frame = frame_of(test);
            loop.test_slots = test_function.count();
        }
        resolve(inner, loop.target);
        resolve(inner, loop.body, false);
        resolve(otherwise, loop.otherwise, false);
        loop.frame = frame_of(inner);
        loop.otherwise_frame = frame_of(otherwise);
        loop.own_slots = own_function.count();
        --loops_;
    }

    void resolve_macro(const Symbols& symbols, MacroDefinition& macro) {
        FunctionSlots function;
        function.parent = symbols.function();
        Symbols inner(&symbols, &function);
        for (const MacroParameter& parameter : macro.parameters) inner.declare_parameter(parameter.name);
        for (const MacroParameter& parameter : macro.parameters) analyze(inner, parameter.fallback.get());
        analyze(inner, macro.body);

        const auto parameter_named = [&](std::string_view name) {
            const auto found =
                std::find_if(macro.parameters.begin(), macro.parameters.end(), [&](const auto& p) { return p.name == name; });
            return found != macro.parameters.end() ? &*found : nullptr;
        };
        const MacroParameter* caller = parameter_named("caller");
        macro.explicit_caller = caller != nullptr;
        if (reads_undeclared(macro.body, "caller", steps_)) {
            if (caller == nullptr) {
                macro.caller_slot = inner.declare_parameter("caller").slot;
            } else if (caller->fallback == nullptr) {
                syntax_error(macro.line, "the special parameter 'caller' needs a default");
            }
        }
        if (reads_undeclared(macro.body, "kwargs", steps_) && parameter_named("kwargs") == nullptr)
            macro.kwargs_slot = inner.declare_parameter("kwargs").slot;
        if (reads_undeclared(macro.body, "varargs", steps_) && parameter_named("varargs") == nullptr)
            macro.varargs_slot = inner.declare_parameter("varargs").slot;

        for (MacroParameter& parameter : macro.parameters) {
            parameter.slot = inner.find(parameter.name)->slot;
            resolve(inner, parameter.fallback, false);
        }
        resolve(inner, macro.body, false);
        macro.frame = frame_of(inner);
        macro.slots = function.count();
    }

    int loops_ = 0;
    std::uint64_t steps_ = 0;
};

}  // namespace

void resolve_scopes(Template& parsed) { Resolver().run(parsed); }

}  // namespace narae::jinja
