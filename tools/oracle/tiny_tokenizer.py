"""A byte-level BPE tokenizer of 320 tokens with a chat template, for the tiny models."""
import json
import pathlib

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

VOCABULARY = 320
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are small.<|im_end|>\n{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TRAINING_TEXT = [
    "The little bird opened its wings and the wind carried it over the river and the hill.",
    "There is nothing in the world that the bird did not see, and it told the others in the morning.",
    "나래를 펴고 바람을 타고 강을 건너 산을 넘어 아침에 돌아왔다. 나래는 날개라는 말이다.",
    "def wing(bird):\n    return bird.wings[0]\n\nfor bird in birds:\n    print(wing(bird))\n",
]
SAMPLES = [
    "", "a", "The little bird", "  two  spaces", "나래를 펴고", "a나b래\n\n\tc", "it's 2026!", "<|im_start|>user\nhi<|im_end|>", "\u00e9\U0001F426\u200d\u2b1b",
    "def wing(bird):\n    return bird",
]
CHATS = [
    [{"role": "user", "content": "나래가 뭐야?"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}, {"role": "user", "content": "bye"}],
]


def build():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=SPECIAL, show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator(TRAINING_TEXT, trainer)
    assert tokenizer.get_vocab_size() == VOCABULARY
    return tokenizer


def save(folder: pathlib.Path):
    """Write tokenizer.json and tokenizer_config.json; return what transformers makes of the samples, read from the folder."""
    fast = PreTrainedTokenizerFast(tokenizer_object=build(), bos_token=SPECIAL[0], eos_token=SPECIAL[2], pad_token=SPECIAL[2],
                                   clean_up_tokenization_spaces=False)
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder, save_jinja_files=False)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    config_path = folder / "tokenizer_config.json"
    config = json.loads(config_path.read_text()) | {"chat_template": CHAT_TEMPLATE}
    config_path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")
    loaded = AutoTokenizer.from_pretrained(folder)
    encoded = [{"text": text, "ids": loaded.encode(text, add_special_tokens=False)} for text in SAMPLES]
    chats = []
    for messages in CHATS:
        rendered = loaded.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        chats.append({"messages": messages, "rendered": rendered, "ids": loaded.encode(rendered, add_special_tokens=False)})
    for sample in encoded:
        assert loaded.decode(sample["ids"]) == sample["text"], sample
    return {"encoded": encoded, "chats": chats}


def gguf_lists(tokenizer):
    """Tokens, types (1 normal, 3 control) and merges as GGUF stores them."""
    description = json.loads(tokenizer.to_str())
    vocabulary = sorted(tokenizer.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])
    tokens = [token for token, _ in vocabulary]
    types = [3 if token in SPECIAL else 1 for token in tokens]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in description["model"]["merges"]]
    return tokens, types, merges
