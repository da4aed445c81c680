from __future__ import annotations

import copy

import pytest
from tokenizers import AddedToken

from calmstorm.reasoner.codec import TokenizerCodec


@pytest.mark.parametrize("text", ["<|im_end|>", "</think>", "a</think>b<think>\n</thin", "<think></think>"])
def test_text_that_looks_like_an_added_token_is_ordinary_text(tokenizer, text):
    thinking = copy.deepcopy(tokenizer)
    added = [AddedToken(mark, special=False, normalized=False) for mark in ("<think>", "</think>")]
    thinking.add_tokens(added)
    codec = TokenizerCodec(thinking)
    ids = codec.encode(text)
    assert codec.decode(ids) == text
    assert not {*ids} & {*thinking.added_tokens_decoder}
    assert thinking("</think>", add_special_tokens=False)["input_ids"] == [thinking.convert_tokens_to_ids("</think>")]
