// Any bytes as a safetensors file: BadFileError, or tensors that tile the data. The mutator keeps the header's length true,
// and often changes one number of the header, so that most inputs come past the first checks.
#include "checkpoint/safetensors.h"
#include "base/error.h"
#include "formats/format.h"
#include "mutation.h"

#include <cctype>
#include <vector>

using namespace narae;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    try {
        const auto tensors = parse_safetensors(fuzz::bytes_of(data, size), "model.safetensors");
        std::uint64_t bytes = 0;
        for (const SafetensorsTensor& tensor : tensors) {
            fuzz::touch(tensor.bytes);
            bytes += tensor.bytes.size();
            const auto bits =
                static_cast<std::uint64_t>(tensor.shape.elements()) * static_cast<std::uint64_t>(dtype_bits(tensor.dtype));
            NARAE_CHECK(bits == tensor.bytes.size() * 8, "{} bits in {} bytes", bits, tensor.bytes.size());
        }
        NARAE_CHECK(bytes + 8 <= size, "{} bytes of tensors in a file of {}", bytes, size);
    } catch (const BadFileError&) {
    }
    return 0;
}

namespace {

// The places of whole numbers in a JSON text.
std::vector<std::pair<std::size_t, std::size_t>> numbers_in(std::string_view text) {
    std::vector<std::pair<std::size_t, std::size_t>> places;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (!std::isdigit(static_cast<unsigned char>(text[i]))) continue;
        const std::size_t begin = i;
        while (i < text.size() && std::isdigit(static_cast<unsigned char>(text[i]))) ++i;
        places.emplace_back(begin, i - begin);
    }
    return places;
}

std::string changed_header(std::string header, std::size_t limit, std::size_t data_bytes, fuzz::Choice& choice) {
    if (choice.one_in(2)) return fuzz::mutated(std::move(header), limit);
    const auto places = numbers_in(header);
    if (places.empty()) return header;
    const auto [begin, length] = places[choice.below(places.size())];
    header.replace(begin, length, std::to_string(choice.border(data_bytes)));
    return header;
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t limit, unsigned seed) {
    fuzz::Choice choice(seed);
    std::uint64_t length = 0;
    if (size >= 8) std::memcpy(&length, data, 8);
    if (size < 8 || length > size - 8 || choice.one_in(8)) return LLVMFuzzerMutate(data, size, limit);
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    std::string tail(text.substr(8 + length));
    if (choice.one_in(4))
        tail.resize(choice.one_in(2) ? choice.below(64) : tail.size() + choice.below(3) - (tail.empty() ? 0 : 1));
    const std::string header = changed_header(std::string(text.substr(8, length)), limit / 2, tail.size(), choice);
    length = header.size();
    return fuzz::put(std::string(reinterpret_cast<const char*>(&length), 8) + header + tail, data, limit);
}
