"""Write the tokenizer goldens of the tests: small tokenizer.json files with what Hugging Face's tokenizers makes of texts.

usage: tokenizer_goldens.py [--smollm2 MODEL.gguf] [OUT_DIR]        OUT_DIR: tests/data/tokenizer

  NAME.json         {"tokenizer": tokenizer.json, "cases": [[text, ids, ids without special tokens, decoded, decoded without
                    special tokens], ...]}: vocabularies trained here on a few sentences, one for each kind of pipeline
  smollm2.json      {"cases": [...]} for the default model: its GGUF vocabulary under the pipeline of SmolLM2's tokenizer.json
"""
import argparse
import json
import pathlib
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ROOT = pathlib.Path(__file__).resolve().parents[2]
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}"
          r"\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
BLOOM = " ?[^(\\s|[.,!?…。，、।۔،])]+"

TRAINING = [
    "The wing of the bird is light. The model answers a question in the user's own language.",
    "나래는 날개라는 뜻이다. 나래는 언어 모델을 가볍게 하고 일하게 한다. 안녕하세요, 세계! 대한민국의 수도는 서울입니다.",
    "for (int i = 0; i < 10; ++i) {\n\tprintf(\"%d\\n\", i);\n}\n    return x == 1 ? 'a' : 'b';\n\n",
    "I'm sure that you've seen what they'll do; we'd rather not. It's 2024, 12,345 won, 3.14159.",
    "Быстрая лиса прыгает через ленивую собаку. 日本語の文章です。中文也可以。 كل عام وأنتم بخير. ภาษาไทย हिन्दी",
    "😀😁🇰🇷👨‍👩‍👧 naïve café Führer École ½ ² Ⅷ → ≤ ≥ « » “quoted” …",
] * 4

TEXTS = [
    "", " ", "  ", "   ", "\n", "\n\n", "\t", "\t\n", " \n ", "\r\n\r\n", "a", " a", "a ", "  a  ",
    "Hello world", " Hello", "Hello  World", "Hello, y'all! How are you 😁 ?我想在apple工作1314151天～",
    "The wing of the bird is light.", "나래는 날개라는 뜻이다.", " 안녕하세요, 세계!", "대한민국의 수도는 서울입니다. 2024년 12월 25일 12,345원",
    "I'm I'M we'LL they'Re x'S it\u2019s 's 'S 'x '", "'\u017f \u017f K \u212a İ I ı ß ẞ ΑΣ Σ",
    "for (int i = 0; i < 10; ++i) {\n\tprintf(\"%d\\n\", i);\n}\n", "x = 1\n\tif y:\n        z", "a\r\n\r\nb \r\n c\t\td \t e",
    "a\u00a0b\u3000c\u2003\u2003d\u0085e\u200bf\u2028g", "E\u0301cole École e\u0323\u0302 a\u0302\u0323", "\u1112\u1161\u11ab\u1100\u1173\u11af 한글 각\u11a8",
    "1 12 123 1234 12345 ½ ² Ⅷ ٣٤ １２ x1y22z333", "!!!!!! ... ?! -- == (a) [b] {c} <d> a/b\\c #1 @x $5 ~^`|",
    "😀한국어🇰🇷👨‍👩‍👧 \u200d\ufe0f ㅋㅋㅋ ㅠㅠ", "Быстрая лиса прыгает", "日本語の文章です。中文也可以。", "كل عام وأنتم بخير",
    "ภาษาไทย हिन्दी क्षत्रिय", "ied 4 ½ months\n =\n' era", "CamelCase HTTPServer XMLHttpRequest iOS mRNA ABCdef",
    "<s>", "</s>", "<s>Hello</s>", " <s> a </s> ", "<unk>", "a<mask>b", "a <mask> b", "xwordx word x word", "word", "wordword",
    "<|im_start|>user\n안녕<|im_end|>\n", "<|im_start|><|im_end|>", "<think>\nhm\n</think>", "a<think>b", "<tool_call>{}</tool_call>",
    "▁a▁ b", "<0x0A><0x41>", "\u0000\u0001\u007f\u0080\u00ad\ufeff\ufffd\U0010ffff", "𝔘𝔫𝔦 𠮷野家 \U000e0041",
    "\u0300\u0301a", "ﬁ ﬃ ㎏ ｱﾞ ①", "the wing of the wing of the the",
]
SCRIPTS = [(0x41, 0x7a), (0xAC00, 0xD7A3), (0x4E00, 0x9FA5), (0x410, 0x44F), (0x620, 0x64A), (0x905, 0x94D), (0xE01, 0xE4E), (0x1F600, 0x1F64F)]
BETWEEN = list("  \n\t.,!?'-0123456789()\"") + ["  ", "\n\n", "'s", " '", "<s>", "\u0301", "\u3000"]


def random_texts(count, seed):
    """Random strings over eight scripts, mixed with spaces, digits and punctuation."""
    rng = random.Random(seed)
    texts = []
    for _ in range(count):
        parts = []
        for _ in range(rng.randint(1, 12)):
            low, high = rng.choice(SCRIPTS)
            parts.append("".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 5))))
            parts.append(rng.choice(BETWEEN))
        texts.append("".join(parts))
    return texts


def byte_level(add_prefix_space=False, use_regex=True):
    return pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space, use_regex=use_regex)


def splits(*regexes):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r), "isolated") for r in regexes] + [byte_level(use_regex=False)])


def trained(model, pre_tokenizer, normalizer, size, alphabet=()):
    tokenizer = Tokenizer(model)
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    special = [t for t in ("<unk>",) if model.unk_token]
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, initial_alphabet=list(alphabet), show_progress=False)
    tokenizer.train_from_iterator(TRAINING, trainer)
    return tokenizer


def rebuilt(tokenizer, extra=(), **options):
    """The tokenizer with other model options and further words in its vocabulary."""
    state = json.loads(tokenizer.to_str())
    model = state["model"]
    vocab = dict(model["vocab"])
    for word in extra:
        vocab.setdefault(word, len(vocab))
    model.update(vocab=vocab, **options)
    return Tokenizer.from_str(json.dumps(state))


BYTES = pre_tokenizers.ByteLevel.alphabet()
BYTE_TOKENS = [f"<0x{b:02X}>" for b in range(256)]


def byte_level_bpe(pre_tokenizer, normalizer=None, **options):
    tokenizer = rebuilt(trained(models.BPE(), pre_tokenizer, normalizer, 420, BYTES), **options)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def bos_template(tokenizer, bos, eos=None):
    ids = [(t, tokenizer.token_to_id(t)) for t in (bos, eos) if t]
    return processors.TemplateProcessing(single=f"{bos} $A" + (f" {eos}" if eos else ""), pair=None, special_tokens=ids)


def make_gpt2():
    tokenizer = byte_level_bpe(byte_level())
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", normalized=True, special=True)])
    tokenizer.add_tokens([AddedToken("word", single_word=True, normalized=True)])
    return tokenizer


def make_gpt2_prefix_space():
    tokenizer = byte_level_bpe(byte_level(add_prefix_space=True))
    tokenizer.add_special_tokens([AddedToken("<s>", special=True), AddedToken("</s>", special=True), AddedToken("<mask>", lstrip=True, special=True)])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", tokenizer.token_to_id("</s>")), ("<s>", tokenizer.token_to_id("<s>")))
    return tokenizer


def make_llama3():
    tokenizer = byte_level_bpe(splits(LLAMA3), ignore_merges=True, extra=["Ġwing", "Ġlight", "안녕"])
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in ("<|begin_of_text|>", "<s>", "</s>")])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), bos_template(tokenizer, "<|begin_of_text|>")])
    return tokenizer


def make_qwen2():
    tokenizer = byte_level_bpe(splits(QWEN2), normalizers.NFC())
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in ("<|im_start|>", "<|im_end|>")])
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t in ("<tool_call>", "</tool_call>", "<think>", "</think>")])
    return tokenizer


def make_smollm():
    tokenizer = byte_level_bpe(pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level()]))
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    return tokenizer


def make_tekken():
    return byte_level_bpe(splits(TEKKEN), ignore_merges=True)


def make_bloom():
    return byte_level_bpe(splits(BLOOM))


def make_falcon():
    return byte_level_bpe(pre_tokenizers.Sequence([pre_tokenizers.Punctuation("contiguous"), byte_level(), pre_tokenizers.Digits(False),
                                                   pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated")]))


def sentencepiece_bpe(normalizer, pre_tokenizer):
    tokenizer = trained(models.BPE(unk_token="<unk>"), pre_tokenizer, normalizer, 360)
    tokenizer = rebuilt(tokenizer, extra=["<s>", "</s>"] + BYTE_TOKENS, byte_fallback=True, fuse_unk=True)
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in ("<unk>", "<s>", "</s>")])
    tokenizer.post_processor = bos_template(tokenizer, "<s>")
    return tokenizer


def make_llama2():
    spaces = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer = sentencepiece_bpe(spaces, None)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return tokenizer


def make_llama2_metaspace():
    tokenizer = sentencepiece_bpe(None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False))
    tokenizer.add_tokens([AddedToken("<mask>", rstrip=True, normalized=True)])
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    return tokenizer


def make_gemma():
    tokenizer = sentencepiece_bpe(normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous"))
    tokenizer.add_tokens([AddedToken("\n" * n, normalized=False) for n in range(1, 4)] + [AddedToken("▁▁", normalized=False)])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = bos_template(tokenizer, "<s>", "</s>")
    return tokenizer


def make_unknown():
    """No byte fallback: characters outside the vocabulary, and no decoder."""
    tokenizer = trained(models.BPE(unk_token="<unk>"), pre_tokenizers.Whitespace(), normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip()]), 200)
    tokenizer.add_special_tokens([AddedToken("<s>", lstrip=True, rstrip=True, normalized=True, special=True)])
    return tokenizer


def make_unknown_fused():
    normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Nmt(), normalizers.Replace(Regex(r"\d+"), "0")])
    pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("merged_with_previous"),
                                             pre_tokenizers.Split("-", "merged_with_next"), pre_tokenizers.CharDelimiterSplit("/"),
                                             pre_tokenizers.Split(Regex("[a-c]+"), "contiguous"), pre_tokenizers.Split(Regex("[^=]+"), "removed", invert=True)])
    tokenizer = rebuilt(trained(models.BPE(unk_token="<unk>"), pre_tokenizer, normalizer, 200), fuse_unk=True)
    tokenizer.decoder = decoders.Sequence([decoders.Replace(Regex("[lm]"), "+"), decoders.Strip("e", 1, 0), decoders.Fuse(), decoders.Replace("th", "[th]")])
    return tokenizer


MAKERS = [make_gpt2, make_gpt2_prefix_space, make_llama3, make_qwen2, make_smollm, make_tekken, make_bloom, make_falcon,
          make_llama2, make_llama2_metaspace, make_gemma, make_unknown, make_unknown_fused]


def cases(tokenizer, texts):
    rows = []
    for text in texts:
        ids = tokenizer.encode(text).ids
        bare = tokenizer.encode(text, add_special_tokens=False).ids
        rows.append([text, ids, bare, tokenizer.decode(ids, skip_special_tokens=False), tokenizer.decode(ids, skip_special_tokens=True)])
    return rows


def smollm2(path):
    import gguf

    fields = gguf.GGUFReader(path).fields
    strings = lambda key: [str(bytes(fields[key].parts[i]), "utf-8") for i in fields[key].data]
    tokens, merges = strings("tokenizer.ggml.tokens"), strings("tokenizer.ggml.merges")
    types = [int(fields["tokenizer.ggml.token_type"].parts[i][0]) for i in fields["tokenizer.ggml.token_type"].data]
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, [tuple(m.split(" ")) for m in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level()])
    tokenizer.decoder = decoders.ByteLevel()
    control = gguf.TokenType.CONTROL
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t, kind in zip(tokens, types) if kind == control])
    return tokenizer


def write_rows(file, head, rows):
    with open(file, "w", encoding="utf-8") as out:
        out.write('{"made_by": "tools/oracle/tokenizer_goldens.py",\n' + head + '"cases": [\n')
        out.write(",\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
        out.write("\n]}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smollm2")
    parser.add_argument("out", nargs="?", default=ROOT / "tests/data/tokenizer", type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for number, make in enumerate(MAKERS):
        tokenizer = make()
        name = make.__name__.removeprefix("make_")
        state = json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False)
        write_rows(arguments.out / f"{name}.json", f'"tokenizer": {state},\n', cases(tokenizer, TEXTS + random_texts(20, number)))
    if arguments.smollm2:
        tokenizer = smollm2(arguments.smollm2)
        write_rows(arguments.out / "smollm2.json", "", cases(tokenizer, TEXTS + random_texts(200, 1000)))


if __name__ == "__main__":
    main()
