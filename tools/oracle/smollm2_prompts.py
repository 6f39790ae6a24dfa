"""The prompts of the SmolLM2 goldens: English, Korean and code. They hold no special tokens; "chat-" ones get the chat template."""

SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"  # what the model's template says by itself

PROMPTS = {
    "english-river": "The river had been rising since midnight, and by the time the bells rang for",
    "english-history": "The invention of the printing press in the fifteenth century changed Europe because",
    "english-recipe": "To bake a simple loaf of bread you need flour, water, salt and yeast. First,",
    "english-physics": "When an object falls freely near the surface of the Earth, its velocity",
    "english-list": "Three things to remember before you climb a mountain in winter:\n\n1.",
    "english-letter": "Dear Ms. Harper,\n\nThank you for your letter of 14 March 2023 about the broken",
    "english-story": "Once upon a time a small wooden robot lived in a lighthouse. Every evening the robot",
    "english-definition": "In economics, inflation is defined as",
    "chat-english": "Why is the sky blue? Answer in a few sentences.",
    "korean-capital": "대한민국의 수도는 서울이다. 서울은",
    "korean-weather": "오늘은 아침부터 비가 내렸다. 나는 우산을 들고",
    "korean-story": "옛날 어느 마을에 마음씨 착한 나무꾼이 살고 있었다. 어느 날",
    "korean-science": "물은 수소와 산소로 이루어진 화합물이며, 온도가 0도 아래로 내려가면",
    "korean-english": "Translate into English: 나는 학교에 갑니다.\nEnglish:",
    "korean-list": "한국의 사계절:\n1. 봄\n2. 여름\n3.",
    "korean-history": "세종대왕은 1443년에 훈민정음을 만들었다. 한글은",
    "chat-korean": "안녕하세요! 한국어로 간단히 자기소개를 해 주세요.",
    "code-fibonacci": "def fibonacci(n):\n    \"\"\"Return the n-th Fibonacci number.\"\"\"\n",
    "code-c": "#include <stdio.h>\n\nint main(void) {\n    for (int i = 0; i < 10; ++i) {\n",
    "code-json": "{\n  \"name\": \"example\",\n  \"version\": \"1.0.0\",\n  \"dependencies\": {\n",
    "code-sql": "-- The ten customers who spent most in 2022\nSELECT customers.name, SUM(orders.total) AS spent\nFROM",
    "code-class": "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(self, item):\n",
    "code-html": "<!DOCTYPE html>\n<html>\n<head>\n  <title>My page</title>\n</head>\n<body>\n",
    "code-rust": "fn is_prime(n: u64) -> bool {\n    if n < 2 {\n        return false;\n    }\n",
    "chat-code": "Write a Python function that reverses a string.",
}


def text(name):
    """What the model is given, special tokens spelled out."""
    if not name.startswith("chat-"):
        return PROMPTS[name]
    return f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{PROMPTS[name]}<|im_end|>\n<|im_start|>assistant\n"
