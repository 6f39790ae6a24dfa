#include "text/jinja/interpreter.h"

#include "text/jinja/builtins.h"
#include "text/jinja/from_json.h"

#include <algorithm>

namespace narae::jinja {

LoopObject::LoopObject(Interpreter& owner, const ForStatement& of, Value over, Value outer, std::size_t depth_before)
    : MutableObject(owner.runtime, sizeof(*this)),
      interpreter(owner),
      statement(of),
      source(std::move(over)),
      environment(std::move(outer)),
      depth0(depth_before) {}

void LoopObject::drain(std::vector<Value>& into) {
    for (Value* value : {&environment, &test_environment, &last_changed}) into.push_back(std::move(*value));
    for (Value& value : passed) into.push_back(std::move(value));
    passed.clear();
}

bool LoopObject::has(std::size_t index) {
    const auto& items = items_of(source);
    if (statement.test == nullptr) return index < items.size();
    while (passed.size() <= index && tested < items.size()) {
        const Value& item_to_test = items[tested++];
        if (!interpreter.passes(*this, item_to_test)) continue;
        grow(sizeof(Value));
        passed.push_back(item_to_test);
    }
    return index < passed.size();
}

Value LoopObject::item(std::size_t index) const { return statement.test == nullptr ? items_of(source)[index] : passed[index]; }

std::size_t LoopObject::length() {
    if (statement.test == nullptr) return items_of(source).size();
    has(SIZE_MAX);
    return passed.size();
}

Interpreter::Interpreter(const Template& parsed, const Json& variables, const Json& trusted_variables)
    : template_(parsed), variables_(variables), trusted_variables_(trusted_variables), constants_(parsed.literals.size()) {}

Interpreter::~Interpreter() {
    root_ = Value();
    resolved_.clear();
    constants_.clear();
    runtime.break_rings();
}

TaggedText Interpreter::render() {
    TextBuilder output(runtime);
    root_ = new_environment(Value(), template_.slots);
    auto& environment = root_.as<EnvironmentObject>();
    enter(template_.frame, environment);
    execute(template_.body, environment, output);
    return output.take();
}

// ---- variables

Value Interpreter::new_environment(const Value& outer, std::size_t slots) {
    runtime.charge_object(slots);
    return Value(Type::environment, new EnvironmentObject(runtime, outer, slots));
}

Value& Interpreter::variable(const VariableRef& reference, EnvironmentObject& environment) {
    EnvironmentObject* in = &environment;
    for (int hops = reference.hops; hops > 0; --hops) in = &in->parent.as<EnvironmentObject>();
    return in->slots[reference.slot];
}

Value Interpreter::resolve(const std::string& name) {
    runtime.charge();
    if (const auto found = resolved_.find(name); found != resolved_.end()) return found->second;
    Value value;
    if (const auto given = variables_.find(name); given != variables_.end()) {
        value = name == "messages" ? from_json_messages(runtime, *given) : from_json(runtime, *given, false);
    } else if (const auto trusted = trusted_variables_.find(name); trusted != trusted_variables_.end()) {
        value = from_json(runtime, *trusted, true);
    } else {
        value = find_global(runtime, name);
    }
    resolved_.emplace(name, value);
    return value;
}

void Interpreter::enter(const Frame& frame, EnvironmentObject& environment) {
    runtime.charge(frame.size());
    for (const FrameLoad& load : frame) {
        switch (load.source) {
            case FrameLoad::Source::parameter:
                break;
            case FrameLoad::Source::context:
                environment.slots[load.slot] = resolve(load.name);
                break;
            case FrameLoad::Source::variable: {
                Value value = variable(load.variable, environment);
                environment.slots[load.slot] = std::move(value);
                break;
            }
            case FrameLoad::Source::nothing:
                environment.slots[load.slot] = Value();
                break;
        }
    }
}

// A block sees the names that were set at the top of the template as if the request had given them.
void Interpreter::enter_block(const Frame& frame, EnvironmentObject& environment) {
    enter(frame, environment);
    const auto& top = root_.as<EnvironmentObject>();
    for (const FrameLoad& load : frame) {
        if (load.source != FrameLoad::Source::context) continue;
        for (const auto& [name, slot] : template_.top_level)
            if (name == load.name && !top.slots[slot].is_missing()) environment.slots[load.slot] = top.slots[slot];
    }
}

void Interpreter::leave(const Frame& frame, EnvironmentObject& environment) {
    for (const FrameLoad& load : frame) environment.slots[load.slot] = Value();
}

void Interpreter::require_namespaces(const Target& target, EnvironmentObject& environment) {
    if (target.kind == Target::Kind::attribute && !variable(target.variable, environment).is(Type::space))
        runtime.fail("'{}' is not a namespace, so that its attribute '{}' cannot be set", target.name, target.attribute);
    for (const Target& item : target.items) require_namespaces(item, environment);
}

void Interpreter::assign(const Target& target, const Value& value, EnvironmentObject& environment) {
    switch (target.kind) {
        case Target::Kind::name:
            variable(target.variable, environment) = value;
            break;
        case Target::Kind::attribute:
            require_namespaces(target, environment);
            variable(target.variable, environment).as<SpaceObject>().set(target.attribute, value);
            break;
        case Target::Kind::tuple: {
            const Value list = iterate(runtime, value);
            const auto& items = items_of(list);
            if (items.size() != target.items.size())
                runtime.fail("cannot unpack {} values into {} variables", items.size(), target.items.size());
            for (std::size_t i = 0; i < items.size(); ++i) assign(target.items[i], items[i], environment);
        }
    }
}

// ---- statements

Interpreter::Flow Interpreter::execute(const Body& body, EnvironmentObject& environment, TextBuilder& output) {
    for (const auto& statement : body) {
        const Flow flow = execute(*statement, environment, output);
        if (flow != Flow::normal) return flow;
    }
    return Flow::normal;
}

Interpreter::Flow Interpreter::execute(const Statement& statement, EnvironmentObject& environment, TextBuilder& output) {
    runtime.charge();
    runtime.line = statement.line;
    switch (statement.kind) {
        case StatementKind::text:
            output.append(static_cast<const TextStatement&>(statement).text, true);
            break;
        case StatementKind::print:
            print(evaluate(*static_cast<const PrintStatement&>(statement).value, environment), output);
            break;
        case StatementKind::branch:
            return execute_branch(static_cast<const BranchStatement&>(statement), environment, output);
        case StatementKind::loop:
            return execute_for(static_cast<const ForStatement&>(statement), environment, output);
        case StatementKind::set: {
            const auto& set = static_cast<const SetStatement&>(statement);
            require_namespaces(set.target, environment);
            assign(set.target, evaluate(*set.value, environment), environment);
            break;
        }
        case StatementKind::set_block:
            return execute_set_block(static_cast<const SetBlockStatement&>(statement), environment);
        case StatementKind::macro: {
            const auto& macro = static_cast<const MacroStatement&>(statement);
            Value value(Type::macro, new MacroObject(runtime, macro.definition, Value(Type::environment, &environment)));
            variable(macro.variable, environment) = std::move(value);
            break;
        }
        case StatementKind::call_block:
        case StatementKind::generation:
            execute_call_block(static_cast<const CallBlockStatement&>(statement), environment, output);
            break;
        case StatementKind::filter_block:
            return execute_filter_block(static_cast<const FilterBlockStatement&>(statement), environment, output);
        case StatementKind::with: {
            const auto& with = static_cast<const WithStatement&>(statement);
            enter(with.frame, environment);
            for (const auto& [target, value] : with.bindings) assign(target, evaluate(*value, environment), environment);
            const Flow flow = execute(with.body, environment, output);
            leave(with.frame, environment);
            return flow;
        }
        case StatementKind::block:
            execute_block(static_cast<const BlockStatement&>(statement), environment, output);
            break;
        case StatementKind::break_loop:
            return Flow::break_loop;
        case StatementKind::continue_loop:
            return Flow::continue_loop;
        case StatementKind::refused:
            runtime.fail("'{}' needs another template, but a chat template stands alone",
                         static_cast<const RefusedStatement&>(statement).name);
    }
    return Flow::normal;
}

void Interpreter::print(const Value& value, TextBuilder& output) {
    if (value.is_string()) {
        output.append(text_of(value));
    } else {
        output.append(to_text(runtime, value));
    }
}

void Interpreter::write_block(const Value& value, TextBuilder& output) {
    if (!value.is_string()) runtime.fail("a block gives a '{}' for its text, need a string", type_name(value));
    output.append(text_of(value));
}

Interpreter::Flow Interpreter::execute_branch(const BranchStatement& branch, EnvironmentObject& environment,
                                              TextBuilder& output) {
    const DepthScope depth(runtime, runtime.depth, kMaxDepth, "evaluation");
    for (const auto& [test, body] : branch.branches) {
        runtime.line = test->line;
        if (truth(evaluate(*test, environment))) return execute(body, environment, output);
    }
    return execute(branch.otherwise, environment, output);
}

Interpreter::Flow Interpreter::execute_for(const ForStatement& statement, EnvironmentObject& environment, TextBuilder& output) {
    const DepthScope depth(runtime, runtime.depth, kMaxDepth, "evaluation");
    const Value iterable = evaluate(*statement.iterable, environment);
    const Value outer(Type::environment, &environment);
    if (statement.recursive) {
        print(call_loop(statement, iterable, outer, 0), output);
        return Flow::normal;
    }
    const Value loop(Type::loop, new LoopObject(*this, statement, iterate(runtime, iterable), outer, 0));
    return run_loop(loop, environment, output);
}

Value Interpreter::call_loop(const ForStatement& statement, const Value& iterable, const Value& outer, std::size_t depth) {
    const DepthScope scope(runtime, runtime.macro_depth, kMaxMacroDepth, "recursive loops and macros");
    const Value environment = new_environment(outer, statement.own_slots);
    const Value loop(Type::loop, new LoopObject(*this, statement, iterate(runtime, iterable), outer, depth));
    TextBuilder output(runtime);
    run_loop(loop, environment.as<EnvironmentObject>(), output);
    return make_string(runtime, output.take());
}

Interpreter::Flow Interpreter::run_loop(const Value& value, EnvironmentObject& environment, TextBuilder& output) {
    auto& loop = value.as<LoopObject>();
    const ForStatement& statement = loop.statement;
    bool completed = false;  // one turn ran to its end: continue and break do not count, as in Jinja
    for (std::size_t index = 0; loop.has(index); ++index) {
        runtime.charge(2);
        loop.index0 = index;
        assign(statement.target, loop.item(index), environment);
        environment.slots[statement.loop_slot] = value;
        enter(statement.frame, environment);
        const Flow flow = execute(statement.body, environment, output);
        if (flow == Flow::break_loop) break;
        if (flow == Flow::normal) completed = true;
    }
    leave(statement.frame, environment);
    if (completed || statement.otherwise.empty()) return Flow::normal;
    enter(statement.otherwise_frame, environment);
    const Flow flow = execute(statement.otherwise, environment, output);
    leave(statement.otherwise_frame, environment);
    return flow;
}

bool Interpreter::passes(LoopObject& loop, const Value& item) {
    const ForStatement& statement = loop.statement;
    if (loop.test_environment.is_missing()) {
        loop.test_environment = new_environment(loop.environment, statement.test_slots);
        enter(statement.test_frame, loop.test_environment.as<EnvironmentObject>());
    }
    const Value keep = loop.test_environment;
    auto& environment = keep.as<EnvironmentObject>();
    assign(statement.test_target, item, environment);
    return truth(evaluate(*statement.test, environment));
}

void Interpreter::execute_call_block(const CallBlockStatement& block, EnvironmentObject& environment, TextBuilder& output) {
    const Value caller(Type::macro, new MacroObject(runtime, block.caller, Value(Type::environment, &environment)));
    if (block.call != nullptr) {
        write_block(evaluate_call(static_cast<const CallExpression&>(*block.call), environment, caller), output);
    } else {
        CallArguments none;
        write_block(call(caller, none), output);
    }
}

Interpreter::Flow Interpreter::execute_set_block(const SetBlockStatement& block, EnvironmentObject& environment) {
    const DepthScope depth(runtime, runtime.depth, kMaxDepth, "evaluation");
    enter(block.frame, environment);
    TextBuilder output(runtime);
    const Flow flow = execute(block.body, environment, output);
    if (flow != Flow::normal) return flow;
    Value value = make_string(runtime, output.take());
    if (block.filter != nullptr)
        value = evaluate_filter(static_cast<const FilterExpression&>(*block.filter), environment, &value);
    leave(block.frame, environment);
    assign(block.target, value, environment);
    return Flow::normal;
}

Interpreter::Flow Interpreter::execute_filter_block(const FilterBlockStatement& block, EnvironmentObject& environment,
                                                    TextBuilder& output) {
    const DepthScope depth(runtime, runtime.depth, kMaxDepth, "evaluation");
    enter(block.frame, environment);
    TextBuilder inner(runtime);
    const Flow flow = execute(block.body, environment, inner);
    if (flow != Flow::normal) return flow;
    const Value text = make_string(runtime, inner.take());
    write_block(evaluate_filter(static_cast<const FilterExpression&>(*block.filter), environment, &text), output);
    leave(block.frame, environment);
    return Flow::normal;
}

void Interpreter::execute_block(const BlockStatement& block, EnvironmentObject& environment, TextBuilder& output) {
    const DepthScope depth(runtime, runtime.depth, kMaxDepth, "evaluation");
    const Value inner = new_environment(Value(Type::environment, &environment), block.slots);
    enter_block(block.frame, inner.as<EnvironmentObject>());
    execute(block.body, inner.as<EnvironmentObject>(), output);
}

// ---- calls

Value Interpreter::call(const Value& callee, CallArguments& arguments) {
    switch (callee.type()) {
        case Type::undefined:
            fail_undefined(runtime, callee);
        case Type::function: {
            const auto& function = callee.as<FunctionObject>();
            return function.function(*this, function.self, arguments);
        }
        case Type::macro:
            return call_macro(callee, arguments);
        case Type::loop: {
            auto& loop = callee.as<LoopObject>();
            if (!loop.statement.recursive) runtime.fail("only a loop that is marked 'recursive' can be called");
            if (arguments.positional.size() != 1 || !arguments.keywords.empty()) runtime.fail("loop() takes one argument");
            return call_loop(loop.statement, arguments.positional[0], loop.environment, loop.depth0 + 1);
        }
        case Type::joiner: {
            auto& joiner = callee.as<JoinerObject>();
            if (joiner.used) return joiner.separator;
            joiner.used = true;
            return make_string(runtime, "");
        }
        default:
            runtime.fail("'{}' object is not callable", type_name(callee));
    }
}

Value Interpreter::call_macro(const Value& value, CallArguments& arguments) {
    const DepthScope depth(runtime, runtime.macro_depth, kMaxMacroDepth, "macro calls");
    const Value keep = value;
    const auto& macro = keep.as<MacroObject>();
    const MacroDefinition& definition = macro.definition;
    const int line = runtime.line;
    const auto name = [&] { return definition.name.empty() ? "the call block" : "the macro '" + definition.name + "'"; };
    runtime.charge(20 + definition.parameters.size() * (2 + arguments.keywords.size() / 4));

    const Value environment_value = new_environment(macro.environment, definition.slots);
    auto& environment = environment_value.as<EnvironmentObject>();
    const std::size_t given = std::min(arguments.positional.size(), definition.parameters.size());
    bool found_caller = given == definition.parameters.size() && definition.explicit_caller;
    for (std::size_t i = 0; i < definition.parameters.size(); ++i) {
        const MacroParameter& parameter = definition.parameters[i];
        if (i >= given && parameter.name == "caller") found_caller = true;
        environment.slots[parameter.slot] = i < given ? arguments.positional[i] : arguments.take_keyword(parameter.name);
    }
    if (definition.caller_slot >= 0 && !found_caller) {
        Value caller = arguments.take_keyword("caller");
        if (caller.is_missing() || caller.is_none()) caller = make_undefined(runtime, "no caller defined");
        environment.slots[static_cast<std::size_t>(definition.caller_slot)] = caller;
    }
    if (definition.kwargs_slot >= 0) {
        const Value kwargs(Type::dict, new DictObject(runtime));
        for (const auto& [keyword, argument] : arguments.keywords)
            kwargs.as<DictObject>().set(make_string(runtime, keyword), argument);
        environment.slots[static_cast<std::size_t>(definition.kwargs_slot)] = kwargs;
    } else if (!arguments.keywords.empty()) {
        runtime.fail("{} takes no keyword argument '{}'", name(), arguments.keywords[0].first);
    }
    const auto rest = arguments.positional.begin() + static_cast<std::ptrdiff_t>(given);
    if (definition.varargs_slot >= 0) {
        environment.slots[static_cast<std::size_t>(definition.varargs_slot)] =
            make_tuple(runtime, {rest, arguments.positional.end()});
    } else if (rest != arguments.positional.end()) {
        runtime.fail("{} takes not more than {} arguments, {} given", name(), definition.parameters.size(),
                     arguments.positional.size());
    }

    enter(definition.frame, environment);
    for (const MacroParameter& parameter : definition.parameters) {
        if (!environment.slots[parameter.slot].is_missing()) continue;
        Value fallback = parameter.fallback != nullptr
                             ? evaluate(*parameter.fallback, environment)
                             : make_undefined(runtime, fmt::format("parameter '{}' was not provided", parameter.name));
        environment.slots[parameter.slot] = std::move(fallback);
    }
    TextBuilder output(runtime);
    execute(definition.body, environment, output);
    runtime.line = line;
    return make_string(runtime, output.take());
}

Value Interpreter::apply_filter(std::string_view name, const Value& operand, CallArguments& arguments) {
    const Filter* filter = find_filter(name);
    if (filter == nullptr) runtime.fail("no filter named '{}'", name);
    runtime.charge();
    return filter->apply(*this, operand, arguments);
}

bool Interpreter::apply_test(std::string_view name, const Value& operand, CallArguments& arguments) {
    const Test* test = find_test(name);
    if (test == nullptr) runtime.fail("no test named '{}'", name);
    runtime.charge();
    return test->holds(*this, operand, arguments);
}

}  // namespace narae::jinja
