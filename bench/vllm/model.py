"""Writes a Llama with random weights, for the real engine to serve. Usage: model.py FOLDER [tiny|wide]

It runs with the engine's own Python. Each word of its vocabulary is one token, so that whoever asks says how
many tokens a prompt has by its number of words.
"""

import itertools
import json
import sys
from dataclasses import dataclass
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
SHARPNESS: Final = 3.0
"""Of the attention: at 1, all of the past would count alike, and a wrong cache would hardly be noticed."""


@dataclass(frozen=True)
class Shape:
    """How large a model is."""

    layers: int
    width: int
    inner: int
    heads: int
    keys: int
    """Heads of keys and values."""
    head: int
    """Width of each."""


SHAPES: Final = {
    "tiny": Shape(layers=2, width=128, inner=256, heads=4, keys=2, head=32),
    "wide": Shape(layers=2, width=512, inner=1024, heads=1, keys=1, head=64),
}


def words() -> list[str]:
    """The vocabulary beside the special tokens and the roles."""
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    return ["".join(pair) for pair in itertools.islice(itertools.product(syllables, repeat=2), WORDS)]


def write(folder: Path, shape: Shape) -> None:
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
    _json(folder / "config.json", _config(len(vocabulary), shape))
    save_file(_weights(len(vocabulary), shape), folder / "model.safetensors", {"format": "pt"})


def _config(size: int, shape: Shape) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": size,
        "hidden_size": shape.width,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.keys,
        "head_dim": shape.head,
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
    }


def _weights(size: int, shape: Shape) -> dict[str, Any]:
    rng = np.random.default_rng(0)

    def matrix(rows: int, columns: int, scale: float = 1.0) -> Any:
        return (rng.standard_normal((rows, columns)) * scale / columns**0.5).astype(np.float32)

    ones = np.ones(shape.width, np.float32)
    head = matrix(size, shape.width)
    head[: len(SPECIAL)] = 0.0  # far below the best of all others: no answer ends by itself
    weights = {
        "model.embed_tokens.weight": matrix(size, shape.width, shape.width**0.5),
        "model.norm.weight": ones,
        "lm_head.weight": head,
    }
    for number in range(shape.layers):
        layer = f"model.layers.{number}"
        weights |= {
            f"{layer}.input_layernorm.weight": ones.copy(),
            f"{layer}.post_attention_layernorm.weight": ones.copy(),
            f"{layer}.self_attn.q_proj.weight": matrix(shape.heads * shape.head, shape.width, SHARPNESS),
            f"{layer}.self_attn.k_proj.weight": matrix(shape.keys * shape.head, shape.width),
            f"{layer}.self_attn.v_proj.weight": matrix(shape.keys * shape.head, shape.width),
            f"{layer}.self_attn.o_proj.weight": matrix(shape.width, shape.heads * shape.head),
            f"{layer}.mlp.gate_proj.weight": matrix(shape.inner, shape.width),
            f"{layer}.mlp.up_proj.weight": matrix(shape.inner, shape.width),
            f"{layer}.mlp.down_proj.weight": matrix(shape.width, shape.inner),
        }
    return weights


def _json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]), SHAPES[sys.argv[2] if len(sys.argv) > 2 else "tiny"])
