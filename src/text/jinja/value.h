// The values of a rendering, with Python's kinds. Strings remember byte by byte whether the template or the request
// wrote them (TaggedText); numbers and containers carry one such flag for the text they print as.
// A Value is 16 bytes: a scalar, or a counted reference to an Object of the rendering's Runtime. All objects but
// namespaces, environments, loops and cyclers are immutable once made.
#pragma once

#include "text/jinja/runtime.h"
#include "text/tagged_text.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace narae::jinja {

class Interpreter;
struct MacroDefinition;

enum class Type : std::uint8_t {
    missing,  // a variable that was never set; not a value of the language
    undefined,
    none,
    boolean,
    integer,
    real,
    string,
    list,
    tuple,
    dict,
    space,  // namespace()
    range,
    view,  // dict.keys(), .values(), .items()
    generator,
    macro,
    function,
    loop,
    cycler,
    joiner,
    environment,  // not a value of the language
};

class Value {
public:
    Value() = default;
    Value(const Value& other) : type_(other.type_), trusted_(other.trusted_), payload_(other.payload_) {
        if (type_ >= Type::string || type_ == Type::undefined) retain();
    }
    Value(Value&& other) noexcept : type_(other.type_), trusted_(other.trusted_), payload_(other.payload_) {
        other.type_ = Type::missing;
    }
    Value& operator=(const Value& other) {
        Value copy(other);
        swap(copy);
        return *this;
    }
    Value& operator=(Value&& other) noexcept {
        swap(other);
        return *this;
    }
    ~Value() {
        if (type_ >= Type::string || type_ == Type::undefined) release();
    }

    static Value none() { return Value(Type::none); }
    static Value boolean(bool value, bool trusted = true) {
        Value result(Type::boolean, trusted);
        result.payload_.integer = value ? 1 : 0;
        return result;
    }
    static Value integer(std::int64_t value, bool trusted = true) {
        Value result(Type::integer, trusted);
        result.payload_.integer = value;
        return result;
    }
    static Value real(double value, bool trusted = true) {
        Value result(Type::real, trusted);
        result.payload_.real = value;
        return result;
    }
    Value(Type type, Object* object, bool trusted = true) : type_(type), trusted_(trusted) {
        payload_.object = object;
        retain();
    }

    Type type() const { return type_; }
    bool is(Type type) const { return type_ == type; }
    bool is_missing() const { return type_ == Type::missing; }
    bool is_undefined() const { return type_ == Type::undefined; }
    bool is_none() const { return type_ == Type::none; }
    bool is_string() const { return type_ == Type::string; }
    bool is_sequence() const { return type_ == Type::list || type_ == Type::tuple; }
    bool is_integral() const { return type_ == Type::integer || type_ == Type::boolean; }
    bool is_number() const { return is_integral() || type_ == Type::real; }
    // For scalars and containers: did the template make it?
    bool trusted() const { return trusted_; }
    Value with_trust(bool trusted) const {
        Value copy(*this);
        copy.trusted_ = trusted;
        return copy;
    }

    bool as_boolean() const { return payload_.integer != 0; }
    std::int64_t as_integer() const { return payload_.integer; }  // integer or boolean
    double as_real() const { return payload_.real; }
    Object* object() const { return payload_.object; }
    template <class T>
    T& as() const {
        return static_cast<T&>(*payload_.object);
    }

    void swap(Value& other) noexcept {
        std::swap(type_, other.type_);
        std::swap(trusted_, other.trusted_);
        std::swap(payload_, other.payload_);
    }

private:
    explicit Value(Type type, bool trusted = true) : type_(type), trusted_(trusted) {}
    void retain() const { ++payload_.object->references; }
    void release() const noexcept {
        if (--payload_.object->references == 0) payload_.object->runtime.destroy(payload_.object);
    }

    Type type_ = Type::missing;
    bool trusted_ = true;
    union {
        std::int64_t integer = 0;
        double real;
        Object* object;
    } payload_;
};

// The arguments of a call.
struct CallArguments {
    std::vector<Value> positional;
    std::vector<std::pair<std::string, Value>> keywords;

    // The keyword's value taken out, or missing.
    Value take_keyword(std::string_view name);
};

// Why something is undefined: for the error that its use raises.
struct UndefinedObject : Object {
    UndefinedObject(Runtime& owner, std::string because)
        : Object(owner, sizeof(*this) + because.size()), reason(std::move(because)) {}
    std::string reason;
};

struct StringObject : Object {
    StringObject(Runtime& owner, TaggedText content, bool is_markup);
    TaggedText text;
    std::size_t code_points;
    bool markup;  // made by |safe or |escape: what is added to it is HTML-escaped, as in Python's markupsafe
};

// A list or a tuple.
struct SequenceObject : Object {
    SequenceObject(Runtime& owner, std::vector<Value> content)
        : Object(owner, sizeof(*this) + content.capacity() * sizeof(Value)), items(std::move(content)) {}
    const std::vector<Value> items;
    bool is_group = false;  // one of |groupby's tuples, whose items are also .grouper and .list
};

struct DictObject : Object {
    explicit DictObject(Runtime& owner) : Object(owner, sizeof(*this)) {}
    // Sets, keeping the place of a key that is there. Only while the dict is made. Unhashable keys fail.
    void set(const Value& key, const Value& value);
    // nullptr when absent.
    const Value* find(const Value& key) const;
    const Value* find(std::string_view key) const;

    std::vector<std::pair<Value, Value>> entries;

private:
    std::unordered_multimap<std::size_t, std::uint32_t> index_;
};

struct SpaceObject : MutableObject {
    explicit SpaceObject(Runtime& owner) : MutableObject(owner, sizeof(*this)) {}
    void drain(std::vector<Value>& into) override;
    void set(std::string_view name, const Value& value);
    const Value* find(std::string_view name) const;

    std::vector<std::pair<std::string, Value>> attributes;

private:
    std::unordered_map<std::string, std::size_t> index_;
};

struct RangeObject : Object {
    RangeObject(Runtime& owner, std::int64_t first, std::int64_t limit, std::int64_t stride, std::int64_t count)
        : Object(owner, sizeof(*this)), start(first), stop(limit), step(stride), length(count) {}
    std::int64_t start, stop, step, length;
};

struct ViewObject : Object {
    enum class Kind : std::uint8_t { keys, values, items };
    ViewObject(Runtime& owner, Value of, Kind which) : Object(owner, sizeof(*this)), dict(std::move(of)), kind(which) {}
    Value dict;
    Kind kind;
};

// Items that are made when they are first asked for, and can be had only once.
struct GeneratorObject : Object {
    GeneratorObject(Runtime& owner, std::string_view type, std::function<std::vector<Value>()> make)
        : Object(owner, sizeof(*this) + 64), type_name(type), produce(std::move(make)) {}
    std::string_view type_name;
    std::function<std::vector<Value>()> produce;
    std::vector<Value> items;
    std::size_t position = 0;
    bool started = false;
};

// The variables of one function call (the template itself, a macro, a recursive loop).
struct EnvironmentObject : MutableObject {
    EnvironmentObject(Runtime& owner, Value outer, std::size_t slot_count)
        : MutableObject(owner, sizeof(*this) + slot_count * sizeof(Value)), parent(std::move(outer)), slots(slot_count) {}
    void drain(std::vector<Value>& into) override;

    Value parent;  // an environment, or missing
    std::vector<Value> slots;
};

struct MacroObject : Object {
    MacroObject(Runtime& owner, const MacroDefinition& of, Value outer)
        : Object(owner, sizeof(*this)), definition(of), environment(std::move(outer)) {}
    const MacroDefinition& definition;
    Value environment;  // the one that the macro was defined in
};

// A built-in function, or a method bound to a value.
using Function = Value (*)(Interpreter& interpreter, const Value& self, CallArguments& arguments);
struct FunctionObject : Object {
    FunctionObject(Runtime& owner, std::string_view called, Function code, Value bound)
        : Object(owner, sizeof(*this)), name(called), function(code), self(std::move(bound)) {}
    std::string_view name;
    Function function;
    Value self;
};

// The special variable `loop`, and the loop itself: which items of the source it runs over. Those that its inline if
// lets pass are found only when they are needed, since the loop's body may change what the if sees.
struct ForStatement;
struct LoopObject : MutableObject {
    LoopObject(Interpreter& owner, const ForStatement& of, Value over, Value outer, std::size_t depth_before);
    void drain(std::vector<Value>& into) override;
    bool has(std::size_t index);          // whether there is an item of this index
    Value item(std::size_t index) const;  // of one that there is
    std::size_t length();

    Interpreter& interpreter;
    const ForStatement& statement;
    Value source;            // a list or tuple
    Value environment;       // around the loop
    Value test_environment;  // of the inline if; missing before it was needed
    std::vector<Value> passed;
    std::size_t tested = 0;
    std::size_t index0 = 0;
    std::size_t depth0;
    Value last_changed;
};

struct CyclerObject : Object {
    CyclerObject(Runtime& owner, std::vector<Value> content)
        : Object(owner, sizeof(*this) + content.capacity() * sizeof(Value)), items(std::move(content)) {}
    std::vector<Value> items;
    std::size_t position = 0;
};

struct JoinerObject : Object {
    JoinerObject(Runtime& owner, Value between) : Object(owner, sizeof(*this)), separator(std::move(between)) {}
    Value separator;
    bool used = false;
};

// Factories. `string` refuses more than the limit.
Value make_string(Runtime& runtime, TaggedText text, bool markup = false);
Value make_string(Runtime& runtime, std::string_view text, bool trusted = true);
Value make_list(Runtime& runtime, std::vector<Value> items, bool trusted = true);
Value make_tuple(Runtime& runtime, std::vector<Value> items, bool trusted = true);
Value make_undefined(Runtime& runtime, std::string reason);
Value make_function(Runtime& runtime, std::string_view name, Function function, Value self = Value());
Value make_generator(Runtime& runtime, std::string_view type, std::function<std::vector<Value>()> produce);

const TaggedText& text_of(const Value& string);             // of a string
std::string_view view_of(const Value& string);              // of a string
const std::vector<Value>& items_of(const Value& sequence);  // of a list or tuple

// Python's name of the value's type.
std::string_view type_name(const Value& value);

// Python's == and hash(): 1 == 1.0 == True. Unhashable kinds fail.
bool equals(Runtime& runtime, const Value& a, const Value& b);
std::size_t hash_of(Runtime& runtime, const Value& value);

}  // namespace narae::jinja
