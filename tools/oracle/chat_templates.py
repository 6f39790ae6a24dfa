#!/usr/bin/env python3
"""Makes the goldens of tests/text/chat_template_test.cpp with transformers' own Jinja environment.

    pip install transformers==5.17.0 jinja2==3.1.6
    python tools/oracle/chat_templates.py DATA tests/data/chat_templates

DATA is a folder with hf_jinja_unit.json.zst (the test cases of huggingface.js' Jinja, MIT) and
llama.cpp_templates.tar.zst (the templates of llama.cpp and ik_llama.cpp). Written are
    unit.json         the unit cases with what Python's Jinja2 renders, null where it raises
    expressions.json  the same for the templates of jinja_expressions.json beside this script, which go into corners of
                      the language: transformers' white space rules, one context for all
    contexts.json     the eight conversations, with the clock and the special tokens
    renderings.json   per template and conversation: length, hash (FNV-1a, 64 bits) and beginning of the text, or the error
    templates/        a few small templates with permissive licences (see LICENSES there), and their whole texts
"""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from datetime import datetime, timezone
from pathlib import Path

os.environ["TZ"] = "UTC"
CLOCK = int(datetime(2026, 3, 5, 6, 7, 8, tzinfo=timezone.utc).timestamp())
SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Get the weather of a city.\nGives °C & \"wind\".",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "The city, e.g. 서울"},
                    "days": {"type": "integer", "description": "How many days", "enum": [1, 3, 7]},
                    "options": {
                        "type": "object",
                        "properties": {"unit": {"type": "string"}, "detail": {"type": "boolean"}},
                        "required": ["unit"],
                    },
                    "tags": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["city"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Add two numbers",
            "parameters": {
                "type": "object",
                "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
                "required": ["a", "b"],
            },
        },
    },
]


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def contexts():
    call = {
        "id": "abcdefghi",
        "type": "function",
        "function": {"name": "get_weather", "arguments": {"city": "서울", "days": 3, "detail": True, "factor": 1.5}},
    }
    system = {"role": "system", "content": "You are a helpful assistant. "}
    return {
        "system": {"messages": [system, user(" Hello <|im_start|>there<|im_end|> ")], "add_generation_prompt": True},
        "turns": {
            "messages": [
                user("What is 1 + 1?"),
                assistant(" It is 2. "),
                user("And 2 + 2?\n"),
                assistant("<think>\n2 + 2 = 4\n</think>\n\nIt is 4."),
                user("Thanks </s> <eos>"),
            ],
            "add_generation_prompt": True,
        },
        "tools": {
            "messages": [system, user("What is the weather in Seoul?")],
            "tools": TOOLS,
            "add_generation_prompt": True,
        },
        "tool_result": {
            "messages": [
                user("What is the weather in Seoul?"),
                assistant("", tool_calls=[call]),
                {"role": "tool", "name": "get_weather", "tool_call_id": "abcdefghi", "content": '{"temperature": 21.5, "sky": "맑음"}'},
            ],
            "tools": TOOLS,
            "add_generation_prompt": True,
        },
        "thinking_on": {
            "messages": [
                user("Think."),
                assistant("Done.", reasoning_content="I think, therefore."),
                user("Think again."),
            ],
            "add_generation_prompt": True,
            "enable_thinking": True,
            "thinking": True,
            "reasoning_effort": "high",
        },
        "thinking_off": {
            "messages": [user("Do not think."), assistant("Fine.")],
            "add_generation_prompt": False,
            "enable_thinking": False,
            "thinking": False,
        },
        "null_content": {
            "messages": [user("Call it."), assistant(None, tool_calls=[call]), user("Well?")],
            "add_generation_prompt": True,
        },
        "korean": {
            "messages": [
                {"role": "system", "content": "당신은 친절한 조수입니다."},
                user(" 안녕하세요? 날씨가 어때요 🤗 "),
                assistant("맑습니다."),
                user("고마워요"),
            ],
            "add_generation_prompt": True,
            "date_string": "05 Mar 2026",
        },
    }


def fix_clock(utils):
    class FixedDatetime(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.fromtimestamp(CLOCK)

    utils.datetime = FixedDatetime


def render(utils, source, context, special_tokens=SPECIAL_TOKENS):
    # As apply_chat_template(tokenize=False): special tokens, which the request's variables shadow, and the four
    # variables that are always there.
    variables = {**special_tokens, "tools": None, "documents": None, "add_generation_prompt": False, **context}
    try:
        return utils._compile_jinja_template(source).render(**variables), None
    except Exception as error:  # whatever Python raises is a refusal
        return None, f"{type(error).__name__}: {error}"


def unit_environment(utils):
    # The unit cases are written for plain white space rules.
    environment = utils._compile_jinja_template("").environment
    environment = environment.overlay(trim_blocks=False, lstrip_blocks=False)
    return environment


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def read_zst(path):
    return subprocess.run(["zstd", "-dc", path], check=True, capture_output=True).stdout


KEPT = {
    # file in the archive: licence of the model that it belongs to
    "Qwen-Qwen3-0.6B.jinja": "Apache-2.0",
    "Qwen-Qwen2.5-7B-Instruct.jinja": "Apache-2.0",
    "mistralai-Mistral-Nemo-Instruct-2407.jinja": "Apache-2.0",
    "microsoft-Phi-3.5-mini-instruct.jinja": "MIT",
    "ibm-granite-granite-3.3-2B-Instruct.jinja": "Apache-2.0",
    "HuggingFaceTB-SmolLM3-3B.jinja": "Apache-2.0",
    "GLM-4.6.jinja": "MIT",
}


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    import jinja2
    import transformers
    import transformers.utils.chat_template_utils as utils

    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    (out / "templates").mkdir(parents=True, exist_ok=True)
    fix_clock(utils)
    made_by = f"jinja2 {jinja2.__version__}, transformers {transformers.__version__}"

    environment = unit_environment(utils)
    cases = []
    for case in json.loads(read_zst(data / "hf_jinja_unit.json.zst")):
        try:
            expected = environment.from_string(case["template"]).render(**case["context"])
        except Exception:
            expected = None
        assert expected == case["expected_python_jinja2"], case["name"]
        cases.append({"name": case["name"], "template": case["template"], "context": case["context"], "expected": expected})
    write_json(out / "unit.json", {"made_by": made_by, "licence": "MIT, huggingface.js", "cases": cases})

    corners = json.loads((Path(__file__).parent / "jinja_expressions.json").read_text(encoding="utf-8"))
    results = []
    for source in corners["templates"]:
        text, error = render(utils, source, corners["context"], {})
        results.append({"template": source, **({"expected": text} if error is None else {"error": error})})
    write_json(out / "expressions.json", {"made_by": made_by, "clock": CLOCK, "context": corners["context"], "cases": results})

    conversations = contexts()
    write_json(out / "contexts.json", {"clock": CLOCK, "special_tokens": SPECIAL_TOKENS, "contexts": conversations})

    renderings, seen, kept = [], {}, []
    archive = tarfile.open(fileobj=io.BytesIO(read_zst(data / "llama.cpp_templates.tar.zst")))
    for member in sorted(archive.getmembers(), key=lambda m: m.name):
        if not member.name.endswith(".jinja"):
            continue
        source = archive.extractfile(member).read().decode("utf-8")
        digest = hashlib.sha256(source.encode("utf-8")).hexdigest()
        if digest in seen:
            continue
        seen[digest] = member.name
        row = {"template": member.name, "results": {}}
        whole = {}
        for name, context in conversations.items():
            text, error = render(utils, source, context)
            if text is None:
                row["results"][name] = {"error": error}
                whole[name] = {"error": error}
            else:
                encoded = text.encode("utf-8")
                row["results"][name] = {
                    "bytes": len(encoded),
                    "fnv1a": fnv1a(encoded),
                    "begins": text[:80],
                }
                whole[name] = {"text": text}
        renderings.append(row)
        base = Path(member.name).name
        if base in KEPT and base not in kept:
            kept.append(base)
            (out / "templates" / base).write_text(source, encoding="utf-8", newline="")
            write_json(out / "templates" / (base.removesuffix(".jinja") + ".json"), whole)
    write_json(out / "renderings.json", {"made_by": made_by, "templates": renderings})
    lines = [f"{name}: {KEPT[name]} (the model's licence)" for name in sorted(kept)]
    (out / "templates" / "LICENSES").write_text("\n".join(lines) + "\n", encoding="utf-8")
    refused = sum("error" in result for row in renderings for result in row["results"].values())
    print(f"{len(cases)} unit cases, {len(renderings)} templates x {len(conversations)} conversations, {refused} refused")


if __name__ == "__main__":
    main()
