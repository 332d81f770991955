"""Genotypes: every notation, exact round trips, and refusals of everything else; nothing is ever evaluated."""

from __future__ import annotations

import builtins
import copy
import json
import pickle
import re
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poise.errors import Refused
from poise.genotype import NOTATIONS, Genotype, Notation

GENOTYPE = Genotype("darts", {"reduce": {"1->2": ["skip_connect"], "0->2": ()}, "normal": {"0->2": ("b", "a")}})


def test_order_does_not_matter_and_empty_rows_vanish() -> None:
    same = Genotype("darts", {"normal": {"0->2": ["a", "b"]}, "reduce": {"1->2": ("skip_connect",)}})
    assert same == GENOTYPE
    assert hash(same) == hash(GENOTYPE)
    assert same.to_json() == GENOTYPE.to_json()
    assert same.choices["normal"]["0->2"] == ("a", "b")
    assert "0->2" not in same.choices["reduce"]


@pytest.mark.parametrize(
    "other",
    [
        Genotype("s1", GENOTYPE.choices),
        Genotype("darts", {"normal": {"0->2": ("a",)}, "reduce": {"1->2": ("skip_connect",)}}),
        Genotype("darts", {"normal": {"0->2": ("a", "b")}, "reduce": {}}),
    ],
)
def test_different_genotypes_differ(other: Genotype) -> None:
    assert other != GENOTYPE
    assert hash(other) != hash(GENOTYPE)
    assert len({other, GENOTYPE, GENOTYPE}) == 2


def test_nothing_can_be_changed() -> None:
    source = {"normal": {"0->2": ["a"]}}
    genotype = Genotype("darts", source)
    source["normal"]["0->2"].append("b")
    source["reduce"] = {}
    assert genotype == Genotype("darts", {"normal": {"0->2": ("a",)}})
    with pytest.raises(FrozenInstanceError):
        genotype.space = "s1"  # type: ignore[misc]
    with pytest.raises(TypeError):
        genotype.choices["reduce"] = {}  # type: ignore[index]
    with pytest.raises(TypeError):
        genotype.choices["normal"]["0->2"] = ("b",)  # type: ignore[index]


def test_json_has_its_version_and_comes_back() -> None:
    value = json.loads(GENOTYPE.to_json())
    assert value == {
        "format": "poise.genotype",
        "version": 1,
        "space": "darts",
        "choices": {"normal": {"0->2": ["a", "b"]}, "reduce": {"1->2": ["skip_connect"]}},
    }
    assert Genotype.from_json(GENOTYPE.to_json()) == GENOTYPE
    assert Genotype.parse(f"\n {GENOTYPE.to_json()} \n") == GENOTYPE


def test_it_is_printed_as_it_is_written() -> None:
    assert repr(GENOTYPE) == (
        "Genotype('darts', {'normal': {'0->2': ['a', 'b']}, 'reduce': {'1->2': ['skip_connect']}})"
    )


def test_copies_and_pickles() -> None:
    assert copy.deepcopy(GENOTYPE) == GENOTYPE
    assert pickle.loads(pickle.dumps(GENOTYPE)) == GENOTYPE  # noqa: S301


def changed(**fields: object) -> str:
    return json.dumps(GENOTYPE.to_dict() | fields)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected poise's JSON"),
        ("{", "JSON is damaged"),
        (GENOTYPE.to_json()[:-1], "JSON is damaged"),
        ("{}", "format"),
        ("[]", "expected poise's JSON"),
        (changed(format="other"), "format"),
        (changed(version=2), "version 2 is not supported; this poise reads 1"),
        (changed(version=True), "version True"),
        (changed(version=1.0), "version 1.0"),
        (changed(version="1"), "version '1'"),
        (changed(extra=1), "keys"),
        (changed(space=3), "the space"),
        (changed(space="a\nb"), "the space"),
        (changed(space="x" * 300), "the space"),
        (changed(choices=[]), "choices"),
        (changed(choices={"normal": []}), "'normal'"),
        (changed(choices={"normal": {"0->2": "sep"}}), "'0->2'"),
        (changed(choices={"normal": {"0->2": [1]}}), "a candidate of row '0->2'"),
        (changed(choices={"normal": {"0->2": ["a", "a"]}}), "twice: a, a"),
        (changed(choices={"": {}}), "a group"),
        (changed(choices={"normal": {"<b>": ["a"]}}), "a row"),
        (GENOTYPE.to_json().replace('"version"', '"space": "s1", "version"'), "a key stands twice"),
        ('{"format": ' + "[" * 100_000, "JSON is damaged"),
        ("{" + "x" * 1_000_000, "at most 1,000,000 characters"),
        ("Genotype(normal=" + "[" * 50_000, "expected poise's JSON"),
        ("Genotype(normal=" + "-" * 200_000 + "1, reduce=[])", "expected poise's JSON"),
        ("\x00", "expected poise's JSON"),
        ("\ud800", "expected poise's JSON"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(Refused) as refusal:
        Genotype.parse(text)
    assert message in str(refusal.value)
    assert len(str(refusal.value)) < 400


def test_missing_keys_are_refused() -> None:
    for key in ("space", "choices", "version", "format"):
        value = GENOTYPE.to_dict()
        del value[key]
        with pytest.raises(Refused):
            Genotype.from_json(json.dumps(value))


def test_from_json_reads_no_other_notation_and_limits_length() -> None:
    for text in ("|a~0|+|a~0|a~1|+|a~0|a~1|a~2|", "x" * 1_000_001):
        with pytest.raises(Refused):
            Genotype.from_json(text)


def test_python_text_of_pairs() -> None:
    genotype = Genotype.parse(
        "G = Genotype(normal=[('a', 0), ('b', 1), ('c', 2), ('none', 0)], normal_concat=range(2, 6),"
        " reduce=(['d', 1], ['e', 0]))",
        "s2",
    )
    assert genotype == Genotype(
        "s2", {"normal": {"0->2": ("a",), "1->2": ("b",), "2->3": ("c",)}, "reduce": {"1->2": ("d",), "0->2": ("e",)}}
    )


def test_python_text_of_triples() -> None:
    genotype = Genotype.parse("Genotype(normal=[('a', 5, 4), ('b', 5, 4), ('c', 2, 0)], reduce=[])")
    assert genotype == Genotype("darts", {"normal": {"4->5": ("a", "b"), "0->2": ("c",)}, "reduce": {}})


def test_nasbench201_string() -> None:
    genotype = Genotype.parse("|a~0|+|none~0|b~1|+|c~0|none~1|d~2|")
    assert genotype == Genotype(
        "nasbench201", {"cell": {"0->1": ("a",), "1->2": ("b",), "0->3": ("c",), "2->3": ("d",)}}
    )


@pytest.mark.parametrize(
    "text",
    [
        "|a~0|+|a~0|a~1|",
        "|a~0|+|a~0|a~1|+|a~0|a~1|a~2|+|a~0|a~1|a~2|a~3|",
        "|a~0|+|a~1|a~0|+|a~0|a~1|a~2|",
        "|a~0|+|a~0|+|a~0|a~1|a~2|",
        "|a|+|a~0|a~1|+|a~0|a~1|a~2|",
        "|a~0||+|a~0|a~1|+|a~0|a~1|a~2|",
        "|a~0|a~1|+|a~0|a~1|+|a~0|a~1|a~2|",
        "|",
    ],
)
def test_other_nasbench201_strings_are_refused(text: str) -> None:
    with pytest.raises(Refused, match="not a NAS-Bench-201 string"):
        Genotype.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "Genotype(normal=[('a', 2), ('b', 0)], reduce=[])",  # node 2 cannot read itself
        "Genotype(normal=[('a', -1), ('b', 0)], reduce=[])",
        "Genotype(normal=[('a', 0)], reduce=[])",
        "Genotype(normal=[('a', True), ('b', 0)], reduce=[])",
        "Genotype(normal=[('a', 2, 0), ('b', 0)], reduce=[])",
        "Genotype(normal=[('a', 0), ('b', 2, 0)], reduce=[])",
        "Genotype(normal=[('a', 0x" + "f" * 5000 + ", 0)], reduce=[])",
        "Genotype(normal=[('a', 0.0), ('b', 1)], reduce=[])",
        "Genotype(normal=[('a', 0), ('a', 0)], reduce=[])",
        "Genotype(normal=[('a b', 0), ('a', 0)], reduce=[])",
        "Genotype(normal=5, reduce=[])",
        "Genotype(normal='ab', reduce=[])",
        "Genotype(normal=[])",
        "Genotype([], [])",
        "Genotype(normal=[], reduce=[], other=[])",
        "Genotype(normal=[], reduce=[], **{})",
        "Genotype(normal=[], reduce=[], normal_concat=[2, 3])",
        "Genotype(normal=[], reduce=[], normal_concat=range(0, 10**9))",
        "Genotype(normal=[], reduce=[], normal_concat=range(0, 1000000000))",
        "Genotype(normal=[], reduce=[], normal_concat=range(-1000000000, 6))",
        "Genotype(normal=[], reduce=open('x'))",
        "lambda: Genotypes(normal=[], reduce=[])",
    ],
)
def test_other_python_texts_are_refused(text: str) -> None:
    with pytest.raises(Refused):
        Genotype.parse(text)


@pytest.mark.parametrize(
    "code",
    [
        "open('evaluated', 'w')",
        "__import__('os').system('true')",
        "[x for x in (1,)]",
        "().__class__",
        "9 ** 9 ** 9",
        "range(open('evaluated', 'w'), 6)",
    ],
)
def test_nothing_is_evaluated(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*arguments: object) -> None:
        raise AssertionError("evaluated")

    for text in (
        code,
        f"Genotype(normal={code}, reduce=[])",
        f"Genotype(normal=[('a', {code})], reduce=[])",
        f"Genotype(normal=[], reduce=[], reduce_concat={code})",
    ):
        with monkeypatch.context() as patch:
            for name in ("eval", "exec", "open"):
                patch.setattr(builtins, name, forbidden)
            with pytest.raises(Refused):
                Genotype.parse(text)


PYTHON = "Genotype(normal=[('a', 0), ('b', 1)], normal_concat=range(2, 6), reduce=[('c', 2, 1)])"
CELL = "|a~0|+|none~0|b~1|+|c~0|none~1|d~2|"
BLOCKS = "011110001110000000000001000001000000 input," + 4 * "conv3x3-bn-relu," + "output"


@pytest.mark.parametrize(
    "line",
    [
        "2024-01-01 12:00:00,123 INFO genotype = {}",
        "0 {}",
        "1 | genotype: {} (accuracy 97.2, loss 0.1)",
        "[epoch 49] {}, {{'lr': 0.1}}",
        "search log (of run 7\n\n10:11:12 best={};\n10:11:13 best={}",
        "genotypes.{}; import os",
        "Structure(4 nodes with {})",
    ],
)
@pytest.mark.parametrize("written", [PYTHON.replace("('c', 2, 1)", ""), CELL, BLOCKS])
def test_a_line_of_a_log_is_read_as_the_genotype_in_it(line: str, written: str) -> None:
    assert Genotype.parse(line.format(written, written), "s3") == Genotype.parse(written, "s3")


def test_brackets_in_names_are_no_brackets() -> None:
    with pytest.raises(Refused, match=re.escape("a candidate of row '0->2'")):
        Genotype.parse("12:00 Genotype(normal=[('a)', 0), ('b', 1)], reduce=[])")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2024-01-01 12:00 INFO epoch 3, no genotype yet", "not a genotype: expected poise's JSON"),
        ("1.5", "not a genotype: expected poise's JSON"),
        ("12:00 genotype = Genotype(normal=[('a', 0), ('b', 1)], reduce=[('c', 0)", "not a genotype: expected poise's"),
        ("12:00 |a~0|+|a~0|a~1|", "not a NAS-Bench-201 string: expected 3 nodes"),
        ("12:00 best = Genotype(normal=[('a', 2), ('b', 0)], reduce=[])", "node 2 can take inputs 0 to 1"),
        ("one\n|a~0|+|a~0|a~1|+|a~0|a~1|a~2|\n" + CELL, "2 different genotypes stand in the text (lines 2, 3)"),
        (
            "".join(f"{CELL.replace('a', 'a' * n)}\n" for n in range(1, 9)),
            "8 different genotypes stand in the text (lines 1, 2, 3, ..., 8); keep the one you mean",
        ),
        ("Genotype(" * 100_000, "not a genotype: expected poise's JSON"),
        ("0110 input,a,output", "not a cell of NAS-Bench-101"),
    ],
)
def test_other_logs_are_refused_for_what_they_are(text: str, message: str) -> None:
    with pytest.raises(Refused) as refusal:
        Genotype.parse(text)
    assert message in str(refusal.value)


def test_a_notation_that_is_registered_is_read_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(text: str, space: str) -> Genotype:
        if not text.endswith(">>"):
            raise Refused("one of ours ends in >>")
        return Genotype(space, {"cell": {"0->1": (text.strip("<>"),)}})

    monkeypatch.setitem(NOTATIONS._items, "ours", Notation("<<op>>", "<<[a-z]+>>", "<<", read))
    assert Genotype.parse(f"best of {BLOCKS[:9]}: <<a>>, again <<a>>", "s1") == Genotype(
        "s1", {"cell": {"0->1": ("a",)}}
    )
    for text, message in (("best: <<a>", "ends in"), ("1.5", "or <<op>>, got '1.5'"), (f"<<a>> {CELL}", "2 different")):
        with pytest.raises(Refused, match=message):
            Genotype.parse(text)


NAMES = st.text("abz_09.>:-", min_size=1, max_size=8)
ROWS = st.dictionaries(NAMES, st.one_of(st.lists(NAMES, max_size=3), NAMES, st.integers()), max_size=3)
TOKENS = st.sampled_from(
    ["Genotype(", "normal=", "reduce=", "[", "]", "(", ")", ",", "'a'", "0", "1", "-1", "range(2, 6)", "x", "|a~0|",
     "+", "|", "~", "{", "}", '"', "\n", "\\", "None", "True", "**", "*", "lambda:", "f''", "b''", "normal_concat="]
)  # fmt: skip


def refuses_or_comes_back(text: str) -> None:
    try:
        genotype = Genotype.parse(text)
    except Refused:
        return
    assert Genotype.from_json(genotype.to_json()) == genotype


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.text(max_size=80),
        st.lists(TOKENS, max_size=25).map("".join),
        st.builds(
            "Genotype(normal=[{}], reduce=[{}])".format,
            *[
                st.lists(
                    st.one_of(
                        st.tuples(st.text(max_size=4), st.integers(-1, 6)),
                        st.tuples(st.sampled_from("abc"), st.integers(0, 6), st.integers(0, 4)),
                        st.tuples(st.sampled_from("abc"), st.booleans()),
                    ),
                    max_size=4,
                ).map(lambda entries: ", ".join(map(repr, entries)))
            ]
            * 2,
        ),
    )
)
def test_any_text_is_refused_or_comes_back(text: str) -> None:
    refuses_or_comes_back(text)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(NAMES, ROWS, max_size=3), NAMES)
def test_any_json_is_refused_or_comes_back(choices: dict[str, object], space: str) -> None:
    value = {"format": "poise.genotype", "version": 1, "space": space, "choices": choices}
    refuses_or_comes_back(json.dumps(value))
    try:
        genotype = Genotype(space, choices)  # type: ignore[arg-type]
    except Refused:
        return
    assert Genotype.from_json(genotype.to_json()) == genotype
    kept = {group: {row: set(names) for row, names in rows.items() if names} for group, rows in choices.items()}  # type: ignore[attr-defined]
    assert {group: {row: set(names) for row, names in rows.items()} for group, rows in genotype.choices.items()} == kept
