"""Search by text, with a tiny CLIP of random weights and, where transformers is not installed, without."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rsam_app.review.analysis.text_search import write_text_index

HAS_TRANSFORMERS = importlib.util.find_spec("transformers") is not None


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A folder with a CLIP of random weights that knows ten words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, PreTrainedTokenizerFast

    words = ["<pad>", "<start>", "<end>", "<unk>", "a", "photo", "of", "crow", "blue", "tit"]
    tokens = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("<start>", 1), ("<end>", 2)]
    tokens.post_processor = processors.TemplateProcessing(single="<start> $A <end>", special_tokens=ends)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokens, pad_token="<pad>", unk_token="<unk>")
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**sizes, "vocab_size": 16, "max_position_embeddings": 16, "eos_token_id": 2, "pad_token_id": 0}
    vision = {**sizes, "image_size": 32, "patch_size": 8}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(tmp_path / "clip")
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(images, tokenizer).save_pretrained(tmp_path / "clip")
    return tmp_path / "clip"


@pytest.mark.skipif(not HAS_TRANSFORMERS, reason="transformers is not installed")
def test_images_are_sorted_by_a_text_as_the_model_itself_sorts_them(review_set: Any, clip: Path) -> None:
    import torch
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

    samples, words = review_set.values("id"), "a photo of a crow"
    assert write_text_index(review_set, "run_one", samples, str(clip)) == []
    assert review_set.get_brain_info("run_one_text").config.supports_prompts, "the App offers it"
    found = review_set.sort_by_similarity(words, brain_key="run_one_text").values("id")
    model, tokenizer = CLIPModel.from_pretrained(clip).eval(), AutoTokenizer.from_pretrained(clip)
    pixels = AutoImageProcessor.from_pretrained(clip)
    shown = [Image.open(path).convert("RGB") for path in review_set.values("filepath")]
    with torch.no_grad():
        text = model.get_text_features(**tokenizer([words], return_tensors="pt"))
        images = model.get_image_features(**pixels(shown, return_tensors="pt"))
    text, images = (getattr(features, "pooler_output", features) for features in (text, images))
    cosines = torch.nn.functional.cosine_similarity(text, images).numpy()
    order = [samples[i] for i in np.argsort(-cosines, kind="stable")]
    assert found[:3] == order[:3] and found[-1] == order[-1]
    assert write_text_index(review_set, "run_one", samples, None) == []
    assert not review_set.has_brain_run("run_one_text")


def test_without_a_usable_model_the_reason_is_said(review_set: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (note,) = write_text_index(review_set, "run_one", review_set.values("id"), str(tmp_path / "empty"))
    assert note.startswith(f"no search by text: review.text_model={tmp_path / 'empty'}: ") and len(note) > 100
    assert HAS_TRANSFORMERS or "transformers" in note
    assert not review_set.has_brain_run("run_one_text")
