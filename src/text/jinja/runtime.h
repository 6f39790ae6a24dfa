// What one rendering uses: steps, memory and depth against the limits, the template line it is at, and the life of
// its values. One rendering runs on one thread, so nothing here is shared and reference counts are plain integers.
#pragma once

#include "base/error.h"
#include "text/jinja/limits.h"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace narae::jinja {

class Value;
class Runtime;

// A value that lives on the heap, counted by Value. `bytes` is what it charges against the memory limit.
class Object {
public:
    Object(Runtime& runtime, std::size_t bytes);
    virtual ~Object();
    Object(const Object&) = delete;
    Object& operator=(const Object&) = delete;

    // Charges what the object grew by.
    void grow(std::size_t bytes);

    Runtime& runtime;
    std::uint32_t references = 0;

private:
    std::size_t bytes_;
};

// An object whose content changes after it was made, and which may therefore hold itself. The runtime knows all of
// them, and empties them at the end, which breaks the rings.
class MutableObject : public Object {
public:
    MutableObject(Runtime& runtime, std::size_t bytes);
    ~MutableObject() override;
    // Moves all values out.
    virtual void drain(std::vector<Value>& into) = 0;

    MutableObject* previous = nullptr;
    MutableObject* next = nullptr;
};

class Runtime {
public:
    Runtime() = default;
    ~Runtime();
    Runtime(const Runtime&) = delete;
    Runtime& operator=(const Runtime&) = delete;

    int line = 1;
    int depth = 0;
    int macro_depth = 0;
    int value_depth = 0;

    void charge(std::uint64_t steps = 1) {
        steps_ += steps;
        if (steps_ > kMaxSteps) [[unlikely]]
            refuse_steps();
    }
    // The time of copying bytes, and of looking at each, in steps.
    void charge_bytes(std::size_t bytes) { charge(1 + bytes / 32); }
    void charge_scan(std::size_t bytes) { charge(1 + bytes / 8); }
    // The time of making an object.
    void charge_object(std::size_t items = 0) { charge(3 + items / 4); }
    void take(std::size_t bytes) {
        live_bytes_ += bytes;
        if (live_bytes_ > kMaxLiveBytes) [[unlikely]]
            refuse_memory(bytes);
    }
    void give(std::size_t bytes) noexcept { live_bytes_ -= bytes; }
    // Refuses a string that would be longer than the limit, before it is made.
    void check_string_bytes(std::size_t bytes) const;

    // Ends the rendering: UsageError with the template's line.
    template <class... Args>
    [[noreturn]] void fail(fmt::format_string<Args...> text, Args&&... args) const {
        fail_with(fmt::format(text, std::forward<Args>(args)...));
    }
    [[noreturn]] void fail_with(const std::string& message) const;

    // Destroys an object that nothing refers to; values inside it are destroyed in a loop, not by recursion.
    void destroy(Object* object) noexcept;
    // Empties all mutable objects.
    void break_rings() noexcept;

private:
    friend class MutableObject;

    [[noreturn]] void refuse_steps() const;
    [[noreturn]] void refuse_memory(std::size_t bytes);

    std::uint64_t steps_ = 0;
    std::size_t live_bytes_ = 0;
    std::vector<Object*> dying_;
    bool destroying_ = false;
    MutableObject* mutables_ = nullptr;
};

// One more level of something for a scope.
class DepthScope {
public:
    DepthScope(Runtime& runtime, int& depth, int limit, const char* what) : depth_(depth) {
        if (depth_ >= limit) [[unlikely]]
            runtime.fail("{} deeper than {} levels", what, limit);
        ++depth_;
    }
    ~DepthScope() { --depth_; }
    DepthScope(const DepthScope&) = delete;
    DepthScope& operator=(const DepthScope&) = delete;

private:
    int& depth_;
};

}  // namespace narae::jinja
