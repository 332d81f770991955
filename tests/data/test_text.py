"""Text as data: vocabulary, splits, what is refused, and the pieces that it is read in."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from data_helpers import class_folders

from poise.data import Text, TextBatches, TextSource, open_data, open_source
from poise.data.text import text_files, text_fingerprint, tokens_of, vocabulary_of
from poise.engine.objective import NEXT_WORD, perplexity
from poise.errors import Refused
from poise.supernet.inputs import SEARCH, TRAINING

TRAIN = " the cat <unk> sat \n the dog sat \n\n"
PTB = Path(__file__).parents[3] / "shared" / "data" / "ptb"


def folder(root: Path, **files: str) -> Path:
    for name, text in files.items():
        (root / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return root


def text_of(count: int, words: int = 50) -> Text:
    return Text(torch.arange(count) % words, tuple(f"w{n}" for n in range(words)))


def batches(count: int, size: int, sequence: int, vary: bool = False, stream: int = TRAINING) -> TextBatches:
    return TextBatches(text_of(count, count), size, sequence=sequence, vary=vary, stream=stream)


def opened(root: Path) -> TextSource:
    source = open_data(root)
    assert isinstance(source, TextSource)
    return source


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_lines_end_in_a_word_of_their_own() -> None:
    assert tokens_of(" a b \n\nc") == ["a", "b", "<eos>", "<eos>", "c", "<eos>"]
    assert tokens_of("a\r\nb\r") == ["a", "<eos>", "b", "<eos>"]
    assert tokens_of("") == []


def test_vocabulary_is_the_training_text_s() -> None:
    assert vocabulary_of(tokens_of(TRAIN)) == ("the", "cat", "<unk>", "sat", "<eos>", "dog")
    # Without <unk>, words that occur once stand for all that are unknown.
    assert vocabulary_of(tokens_of("a b a c\na")) == ("a", "<unk>", "<eos>")


def test_splits_are_written_in_the_training_text_s_words(tmp_path: Path) -> None:
    source = open_data(folder(tmp_path, ptb__train__txt=TRAIN, ptb__valid__txt="the bird sat", ptb__test__txt="dog\n"))
    assert isinstance(source, TextSource)
    assert source.load("train").tokens.tolist() == [0, 1, 2, 3, 4, 0, 5, 3, 4, 4]
    assert source.load("valid").tokens.tolist() == [0, 2, 3, 4]
    assert source.load("test").tokens.tolist() == [5, 4]
    again = TextSource.of(TRAIN, "the bird sat")
    assert again.words == source.words
    assert not again.has("test")
    assert text_fingerprint(again.load("valid")) == text_fingerprint(source.load("valid"))
    assert text_fingerprint(again.load("valid")) != text_fingerprint(source.load("test"))


def test_a_search_reads_no_test_text(tmp_path: Path) -> None:
    def forbidden() -> str:
        raise AssertionError("the test text was read")

    source = TextSource("text", {"train": lambda: TRAIN, "valid": lambda: "the", "test": forbidden})
    assert source.has("test")
    assert len(source.load("valid")) == 2


def test_which_folders_hold_text(tmp_path: Path) -> None:
    for number, names in enumerate((("train.txt",), ("wiki.train.tokens", "wiki.valid.tokens"), ("notes.txt",))):
        root = tmp_path / str(number)
        root.mkdir()
        for name in names:
            (root / name).write_text("a b a b\n")
        assert bool(text_files(root)) == (number < 2)
    images = class_folders(tmp_path / "images")
    (images / "train.txt").write_text("cat/0.png\n")  # lists of images beside their folders
    (images / "other.train.txt").write_text("cat/0.png\n")
    assert text_files(images) == {}
    assert open_source(images).names == ("cat", "dog")


def test_what_is_refused(tmp_path: Path) -> None:
    def refused(message: str, split: str | None = None, **files: str | bytes) -> None:
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        root.mkdir()
        for name, content in files.items():
            (root / name.replace("__", ".")).write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(Refused, match=message) as caught:
            opened(root).load(split or "train")
        assert "\n" not in str(caught.value)

    refused("no text to search on; add valid.txt", train__txt="a a")
    refused("holds a.train.txt and train.txt: one file for train", train__txt="a", a__train__txt="b", valid__txt="a")
    refused("is not UTF-8 text: byte 2 ", train__txt=b"a \xff", valid__txt="a")
    refused("the train text of .* is empty", train__txt="", valid__txt="a")
    refused("has 1 different words, expected 2", train__txt="\n\n", valid__txt="a")
    refused("holds 'b', which its training text does not, and no <unk>", "valid", train__txt="a a", valid__txt="b")
    refused("unknown split", "test", train__txt="a a b", valid__txt="a")
    (tmp_path / "last").mkdir()
    with pytest.raises(Refused, match="is text, expected images"):
        open_source(folder(tmp_path / "last", train__txt="a", valid__txt="a"))


def test_links_and_large_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").write_text("a b")
    root = tmp_path / "text"
    root.mkdir()
    (root / "train.txt").symlink_to(tmp_path / "elsewhere")
    (root / "valid.txt").write_text("a")
    source = open_data(root)
    assert isinstance(source, TextSource)
    with pytest.raises(Refused, match="is a link out of"):
        source.load("train")
    (root / "train.txt").unlink()
    (root / "train.txt").write_text("a a b b")
    monkeypatch.setattr("poise.data.text.LARGEST_FILE", 3)
    with pytest.raises(Refused, match="has 7 bytes, expected a text of at most 3"):
        source.load("train")


def test_pieces_follow_each_other_and_labels_come_next() -> None:
    made = batches(4 * 11 + 3, 4, 3)
    found = list(made.epoch(drawn()))
    assert len(found) == len(made) == 3
    joined = torch.cat([batch.tokens for batch, _ in found])
    assert joined[:, 0].tolist() == list(range(10))
    assert joined[0].tolist() == [0, 11, 22, 33]  # columns are consecutive parts
    for batch, labels in found:
        assert torch.equal(labels.view(batch.tokens.shape), batch.tokens + 1)
    assert [batch.fresh for batch, _ in found] == [True, False, False]
    assert [batch.pace for batch, _ in found] == [1.0, 1.0, 4 / 3]


@pytest.mark.parametrize(("count", "sequence"), [(2, 1), (3, 2), (9, 1), (30, 4), (500, 7), (500, 35), (999, 100)])
def test_random_lengths_cover_the_text_whatever_they_are(count: int, sequence: int) -> None:
    made = batches(3 * count, 3, sequence, vary=True)
    for seed in range(20):
        found = [batch for batch, _ in made.epoch(drawn(seed))]
        assert len(found) == len(made) == max(1, (count - 1) // sequence)
        assert all(len(batch.tokens) >= 1 for batch in found)
        assert torch.equal(torch.cat([batch.tokens for batch in found])[:, 0], torch.arange(count - 1))
        assert all(batch.pace == len(batch.tokens) / sequence for batch in found)


def test_random_lengths_are_about_the_sequence_and_now_and_then_half_of_it() -> None:
    made = batches(70_000, 1, 35, vary=True)
    lengths = torch.tensor([len(batch.tokens) for batch, _ in made.epoch(drawn())], dtype=torch.float64)
    assert 34 < lengths.mean() < 36
    assert 0.03 < (lengths < 22).double().mean() < 0.07
    assert 4 < lengths[lengths > 22].std() < 6
    assert lengths.max() <= 58


def test_an_epoch_goes_on_where_it_stopped() -> None:
    made = batches(200, 2, 7, vary=True)
    first, second = drawn(), drawn()
    whole = list(made.epoch(first))
    rest = list(made.epoch(second, 5))
    assert torch.equal(first.get_state(), second.get_state())
    assert len(rest) == len(whole) - 5
    for (one, labels), (other, others) in zip(whole[5:], rest, strict=True):
        assert torch.equal(one.tokens, other.tokens)
        assert torch.equal(labels, others)
        assert (one.fresh, one.pace) == (other.fresh, other.pace)
    with pytest.raises(Refused, match=r"expected 0\.\."):
        made.epoch(drawn(), len(made) + 1)


def test_ordered_pieces_are_every_word_once_and_depend_on_nothing() -> None:
    made = batches(2 * 12, 2, 5, vary=True, stream=SEARCH)
    found = list(made.ordered())
    assert [len(batch.tokens) for batch, _ in found] == [5, 5, 1]
    assert torch.equal(torch.cat([batch.tokens for batch, _ in found])[:, 0], torch.arange(11))
    assert all(batch.fresh and batch.stream == SEARCH for batch, _ in found)
    batch, labels = made.first(1)
    assert batch.tokens.shape == (10, 1)
    assert torch.equal(labels, batch.tokens.flatten() + 1)


def test_too_short_a_text_is_refused_and_perplexity_is_finite() -> None:
    with pytest.raises(Refused, match="7 words do not fill 4 columns with two words each"):
        batches(7, 4, 3)
    assert perplexity(math.log(50.0)) == pytest.approx(50.0)
    assert math.isfinite(perplexity(1e9))
    assert NEXT_WORD.derived(0.0) == {"perplexity": 1.0}


@pytest.mark.skipif(not PTB.is_dir(), reason="the Penn Treebank is not here")
def test_penn_treebank() -> None:
    source = open_data(PTB)
    assert isinstance(source, TextSource)
    assert len(source.words) == 10_000
    assert [len(source.load(split)) for split in ("train", "valid", "test")] == [929_589, 73_760, 82_430]
