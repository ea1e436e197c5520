"""Writes a tiny Llama with random weights, for the real engine to serve. Usage: model.py FOLDER

It runs with the engine's own Python. Each word of its vocabulary is one token, so that a test says how many
tokens a prompt has by its number of words.
"""

import itertools
import json
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

SPECIAL: Final = ("<start>", "<end>", "<other>")
ROLES: Final = ("system", "user", "assistant")
WORDS: Final = 2000
TEMPLATE: Final = (
    "{% for message in messages %}{{ message.role + ' ' + message.content + ' ' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant{% endif %}"
)
LAYERS, WIDTH, INNER, HEADS, KEYS, HEAD = 2, 128, 256, 4, 2, 32
SHARPNESS: Final = 3.0
"""Of the attention: at 1, all of the past would count alike, and a wrong cache would hardly be noticed."""


def words() -> list[str]:
    """The vocabulary beside the special tokens and the roles."""
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    return ["".join(pair) for pair in itertools.islice(itertools.product(syllables, repeat=2), WORDS)]


def write(folder: Path) -> None:
    """All files that the engine reads."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {word: number for number, word in enumerate((*SPECIAL, *ROLES, *words()))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL[2]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"bos_token": SPECIAL[0], "eos_token": SPECIAL[1], "pad_token": SPECIAL[2]}
    _json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": TEMPLATE, **names},
    )
    _json(folder / "config.json", _shape(len(vocabulary)))
    save_file(_weights(len(vocabulary)), folder / "model.safetensors", {"format": "pt"})


def _shape(size: int) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": size,
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEYS,
        "head_dim": HEAD,
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
    }


def _weights(size: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)

    def matrix(rows: int, columns: int, scale: float = 1.0) -> Any:
        return (rng.standard_normal((rows, columns)) * scale / columns**0.5).astype(np.float32)

    ones = np.ones(WIDTH, np.float32)
    head = matrix(size, WIDTH)
    head[: len(SPECIAL)] = 0.0  # far below the best of all others: no answer ends by itself
    weights = {
        "model.embed_tokens.weight": matrix(size, WIDTH, WIDTH**0.5),
        "model.norm.weight": ones,
        "lm_head.weight": head,
    }
    for number in range(LAYERS):
        layer = f"model.layers.{number}"
        weights |= {
            f"{layer}.input_layernorm.weight": ones.copy(),
            f"{layer}.post_attention_layernorm.weight": ones.copy(),
            f"{layer}.self_attn.q_proj.weight": matrix(HEADS * HEAD, WIDTH, SHARPNESS),
            f"{layer}.self_attn.k_proj.weight": matrix(KEYS * HEAD, WIDTH),
            f"{layer}.self_attn.v_proj.weight": matrix(KEYS * HEAD, WIDTH),
            f"{layer}.self_attn.o_proj.weight": matrix(WIDTH, HEADS * HEAD),
            f"{layer}.mlp.gate_proj.weight": matrix(INNER, WIDTH),
            f"{layer}.mlp.up_proj.weight": matrix(INNER, WIDTH),
            f"{layer}.mlp.down_proj.weight": matrix(WIDTH, INNER),
        }
    return weights


def _json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
