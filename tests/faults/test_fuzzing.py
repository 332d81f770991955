"""No text that poise reads does anything but give a valid value, which comes back as it was, or a clean refusal.

Genotypes in every notation, JSON, configuration files, overrides, class names. ``POISE_FAULTS=full`` tries 1,000
examples of each.
"""

from __future__ import annotations

import ast
import json
import tracemalloc
import warnings
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from counted import counted_calls
from poise.config.reading import LARGEST, parse_override, parse_yaml
from poise.config.resolve import dump, read_yaml, resolve
from poise.config.settings import setting_names
from poise.data.labels import Seen
from poise.data.pixels import Pixels
from poise.errors import Refused
from poise.export.card import Card
from poise.export.exports import lean, target
from poise.export.literals import literal
from poise.export.python import TEMPLATE, notation, source_text
from poise.genotype import Genotype
from poise.notations.call import LONGEST_PYTHON
from poise.report.curves import curves_figure, flatten
from poise.report.page import Code, Drawing, Grid, Paragraph, Section, write_page
from poise.spaces.nasbench201_network import NasBench201Network
from poise.spaces.space import SPACES, ImageShape
from poise.tasks import Classification
from poise.tasks.images import ImageInputs
from poise.tasks.task import task_facts


@pytest.fixture(scope="module", autouse=True)
def unrendered() -> None:
    """Figures are rendered here: what stands in them is looked at."""


FAULTS = settings.get_profile("faults")
LONGEST_MESSAGE = 800
T = TypeVar("T")


def clean(read: Callable[[], T]) -> T | None:
    """What ``read`` gives; None where it refuses, in one line that can be printed anywhere."""
    try:
        return read()
    except Refused as refusal:
        message = str(refusal)
        assert message
        assert message.isprintable()
        assert len(message) <= LONGEST_MESSAGE
        message.encode()
        return None


# Texts

PIECES = (
    *"{}[]()|+~:,'\"#&*!%@`?-=<>\\\n\t \0\x1b\ufeff\ud800\u2028\x85é",
    *("1e400", "-1e400", "9" * 5000, "0x" + "f" * 5000, "NaN", "Infinity", "-Infinity", ".nan", "0b_", "1:9"),
    *("&a ", "*a", "<<: *a", "!!python/object/apply:os.system ['true']", "!!int x", "!!set {a}", "--- "),
    *("[" * 500, "{a: " * 500, "(" * 500, "- " * 500, '{"a":' * 2000, "-" * 3000, "x" * 5000, "2020-13-45"),
    *("lambda: 0", "__import__('os')", "f'{1}'", "b''", "**{}", "\\d", "range(0, 9)", "normal_concat=", "\\ud800"),
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, documents: tuple[str, ...]) -> str:
    """A valid document with parts deleted, inserted, swapped and repeated; now and then as it is."""
    text = draw(st.sampled_from(documents))
    for _ in range(draw(st.integers(0, 4))):
        first, last = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
        short = min(last, first + draw(st.integers(0, 12)))
        text = draw(
            st.sampled_from(
                (
                    text[:first] + text[short:],
                    text[:first] + draw(st.sampled_from(PIECES)) + text[first:],
                    text[:first] + draw(st.sampled_from(PIECES)) + text[short:],
                    text[:first] + text[last:] + text[first:last],
                    text[:short] + text[first:short] + text[short:],
                    text[:first] + draw(st.text(max_size=5)) + text[short:],
                    text[:last],
                )
            )
        )
    return text


def fuzzed(documents: tuple[str, ...]) -> st.SearchStrategy[str]:
    return st.one_of(
        mutated(documents), st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=8).map("".join)
    )


# Genotypes

CELL = Genotype(
    "darts",
    {
        "normal": {f"{source}->{node}": ("sep_conv_3x3",) for node in range(2, 6) for source in (0, 1)},
        "reduce": {f"{source}->{node}": ("skip_connect",) for node in range(2, 6) for source in (0, 1)},
    },
)
BENCH = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|none~2|"
GENOTYPES = (
    CELL.to_json(),
    json.dumps(CELL.to_dict()),
    SPACES["darts"]().describe(CELL),
    "Genotype(normal=[('a', 2, 0), ('b', 2, 0)], normal_concat=range(2, 6), reduce=[], reduce_concat=[2, 3, 4, 5])",
    BENCH,
)
NAMES = st.from_regex("[abz_09][abz_09.>:-]{0,7}", fullmatch=True)
KEPT = st.lists(NAMES, max_size=3, unique=True)
NUMBERS = st.one_of(
    st.integers(), st.floats(), st.sampled_from((10**4200, -(10**400), 2**63, 2**64, 0, 1, -1, 3)), st.booleans()
)
ANYTHING = st.recursive(
    st.one_of(st.none(), NUMBERS, st.text(max_size=8), NAMES),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=12,
)


def comes_back(genotype: Genotype) -> None:
    """In its JSON, and in its paper's notation where its space has one."""
    assert Genotype.from_json(genotype.to_json()) == genotype
    assert Genotype.parse(genotype.to_json()) == genotype
    if genotype.space in ("darts", "nasbench201") and clean(lambda: SPACES[genotype.space]().check(genotype) or True):
        assert Genotype.parse(notation(genotype)) == genotype


def test_the_documents_are_valid_before_they_are_mutated() -> None:
    for text in GENOTYPES:
        comes_back(Genotype.parse(text))


@FAULTS
@given(fuzzed(GENOTYPES))
def test_any_genotype_text(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        genotype = clean(lambda: Genotype.parse(text))
    if genotype is not None:
        comes_back(genotype)


@FAULTS
@given(st.binary(max_size=60), st.sampled_from(GENOTYPES), st.integers(0, 200))
def test_any_genotype_bytes(noise: bytes, document: str, place: int) -> None:
    content = document.encode()[:place] + noise + document.encode()[place:]
    genotype = clean(lambda: Genotype.parse(content.decode("utf-8", "surrogateescape")))
    if genotype is not None:
        comes_back(genotype)


def dumped(value: Any) -> str:
    """JSON; numbers of any length, which the standard library refuses to write, written by hand."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {dumped(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(dumped, value)) + "]"
    return f"{'-' * (value < 0)}{'9' * 5000}" if type(value) is int and abs(value) > 10**4000 else json.dumps(value)


@FAULTS
@given(
    st.one_of(
        ANYTHING,
        st.fixed_dictionaries(
            {
                "format": st.one_of(st.just("poise.genotype"), ANYTHING),
                "version": st.one_of(st.just(1), ANYTHING),
                "space": st.one_of(NAMES, ANYTHING),
                "choices": st.one_of(
                    st.dictionaries(NAMES, st.dictionaries(NAMES, st.one_of(KEPT, ANYTHING), max_size=3), max_size=3),
                    ANYTHING,
                ),
            },
            optional={"extra": ANYTHING},
        ),
    )
)
def test_any_json(value: Any) -> None:
    text = dumped(value)
    for read in (Genotype.from_json, Genotype.parse):
        genotype = clean(lambda read=read: read(text))
        if genotype is not None:
            comes_back(genotype)


@FAULTS
@given(NAMES, st.dictionaries(NAMES, st.dictionaries(NAMES, KEPT, max_size=3), max_size=3))
def test_any_valid_genotype_comes_back(space: str, choices: dict[str, dict[str, list[str]]]) -> None:
    comes_back(Genotype(space, choices))


ENTRIES = st.lists(
    st.one_of(
        st.tuples(NAMES, st.integers(-1, 7)),
        st.tuples(NAMES, st.integers(0, 6), st.integers(0, 4)),
        st.tuples(st.text(max_size=4), ANYTHING),
        st.sampled_from(("0x" + "f" * 5000, "1e400", "('a', 0x" + "f" * 5000 + ")", "('a', 5, -0x" + "f" * 5000 + ")")),
    ),
    max_size=5,
).map(lambda entries: "[" + ", ".join(e if isinstance(e, str) else written(e) for e in entries) + "]")


def written(value: Any) -> str:
    """Python; some numbers longer than Python writes in decimals."""
    return repr(value).replace(str(10**4200), "0x" + "f" * 5000)


@FAULTS
@given(ENTRIES, ENTRIES, st.one_of(st.just("range(2, 6)"), ENTRIES, ANYTHING.map(written)))
def test_any_python_notation(normal: str, reduce: str, concat: str) -> None:
    genotype = clean(lambda: Genotype.parse(f"Genotype(normal={normal}, normal_concat={concat}, reduce={reduce})"))
    if genotype is not None:
        comes_back(genotype)


@pytest.mark.parametrize(
    "text",
    [
        "Genotype(normal=[('a', 0x" + "f" * 5000 + "), ('b', 0)], reduce=[])",
        "Genotype(normal=[('a', 2, 0x" + "f" * 5000 + ")], reduce=[])",
        "Genotype(normal=[(0x" + "f" * 5000 + ", 0)], reduce=[])",
        "Genotype(normal=[], normal_concat=[0x" + "f" * 5000 + "], reduce=[])",
        "Genotype(normal=[" + "1," * LONGEST_PYTHON + "], reduce=[])",
        "Genotype(" + ", ".join(f"{'x' * 50}{i}=1" for i in range(500)) + ")",
        json.dumps(CELL.to_dict() | {"version": "x" * 10_000}),
        json.dumps(CELL.to_dict() | {"x" * 10_000: 1}),
        json.dumps(CELL.to_dict() | {"choices": {"a": {"b": ["c" * 150, "c" * 150] * 50}}}),
        *(json.dumps(CELL.to_dict() | {"space": 0}).replace("0", deep) for deep in ("[" * 900 + "]" * 900, "1e400")),
        "'\\d'",
    ],
)
def test_hostile_genotypes_are_refused_in_few_words(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert clean(lambda: Genotype.parse(text)) is None


# Configurations


def written_out(found: Any, folder: Path) -> Path:
    file = folder / "again.yaml"
    file.write_text(dump(found), encoding="utf-8")
    return file


def resolves_or_refuses(content: bytes, folder: Path) -> None:
    file = folder / "config.yaml"
    file.write_bytes(content)
    found = clean(lambda: resolve(file=file))
    if found is not None:
        assert resolve(file=written_out(found, folder)) == found


CONFIGURATIONS = (
    dump(resolve(preset="demo")),
    dump(resolve(space="nasbench201", method="fair-darts", preset="paper")),
    "preset: demo\nspace: {name: nasbench201, channels: 5}\nmethod: {name: sdarts-rs, perturbation: {final: 0.5}}\n",
    "search: {epochs: 3, alphas: {learning_rate: 1e-3}}\nseed: 1\ndata: {source: 'digits', size: null}\n",
    "method:\n  name: fair-darts\n  penalty:\n  - kind: zero-one\n    weight: 2.0\n  - {kind: zero-one, norm: l1}\n",
)


@FAULTS
@given(fuzzed(CONFIGURATIONS))
def test_any_configuration_text(tmp_path: Path, text: str) -> None:
    resolves_or_refuses(text.encode("utf-8", "surrogatepass"), tmp_path)


@FAULTS
@given(
    st.one_of(
        st.binary(max_size=100),
        st.tuples(st.sampled_from(CONFIGURATIONS), st.integers(0, 300), st.binary(max_size=8)).map(
            lambda part: part[0].encode()[: part[1]] + part[2] + part[0].encode()[part[1] :]
        ),
        st.tuples(st.sampled_from(CONFIGURATIONS), st.sampled_from(("utf-16", "utf-32", "utf-8-sig", "utf-7"))).map(
            lambda part: part[0].encode(part[1])
        ),
    )
)
def test_any_configuration_bytes(tmp_path: Path, content: bytes) -> None:
    resolves_or_refuses(content, tmp_path)


LEAVES = sorted({part for name in setting_names() for part in name.split(".")} | {"kind", "name", "preset", "excluded"})
KINDS = ("zero-one", "softmax", "sigmoid", "random", "adversarial", "threshold", "corr", "digits", "demo", "cpu")
SETTINGS = st.recursive(
    st.one_of(st.none(), NUMBERS, st.sampled_from(KINDS), st.text(max_size=5), st.sampled_from(("1e400", "1e-3"))),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(LEAVES), inner, max_size=3)),
    max_leaves=8,
)  # fmt: skip


@FAULTS
@given(
    st.dictionaries(st.sampled_from(("data", "task", "space", "method", "search", "train", "seed", "preset")), SETTINGS)
)
def test_any_configuration_of_known_names(tmp_path: Path, value: dict[str, Any]) -> None:
    resolves_or_refuses(dumped(value).encode("utf-8", "surrogatepass"), tmp_path)


DOTTED = st.one_of(
    st.sampled_from(
        (
            *setting_names(),
            "penalty",
            "penalty.weight",
            "relaxation.kind.x",
            "method.name",
            "method.name.x",
            "space.name",
        )
    ),
    st.lists(st.one_of(st.sampled_from(LEAVES), st.text(max_size=4)), min_size=1, max_size=4).map(".".join),
)


@FAULTS
@given(
    st.lists(
        st.one_of(
            st.tuples(DOTTED, st.one_of(fuzzed(("3", "0.5", "softmax", "{kind: zero-one, weight: 2}", "[a, b]")))).map(
                "=".join
            ),
            st.text(max_size=30),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_any_override(tmp_path: Path, texts: list[str]) -> None:
    found = clean(lambda: resolve(preset="demo", overrides=[parse_override(text) for text in texts]))
    if found is not None:
        assert resolve(file=written_out(found, tmp_path)) == found


@FAULTS
@given(DOTTED, SETTINGS)
def test_any_override_in_python(tmp_path: Path, name: str, value: Any) -> None:
    found = clean(lambda: resolve(preset="demo", method="fair-darts", overrides=[(name, value)]))
    if found is not None:
        assert resolve(file=written_out(found, tmp_path)) == found


def bomb(levels: int = 9, merge: bool = False) -> str:
    """A small text that stands for ``9 ** levels`` values."""
    lines = ["l0: &l0 {x: 1}"]
    for level in range(1, levels + 1):
        inner = ", ".join([f"*l{level - 1}"] * 9)
        lines.append(f"l{level}: &l{level} " + (f"{{<<: [{inner}]}}" if merge else f"[{inner}]"))
    return "\n".join([*lines, f"space: *l{levels}"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (bomb(), "an alias"),
        (bomb(merge=True), "an alias"),
        ("method: {name: darts, penalty: &a [*a]}", "an alias"),
        ("seed: !!python/object/apply:os.system ['true']", "a tag"),
        ("seed: !!timestamp x", "a tag"),
        ("seed: !!bool x", "a tag"),
        ("seed: 1\nseed: 2", "'seed' stands twice"),
        ("search: {epochs: 1, epochs: 2}", "'epochs' stands twice"),
        ("1: 2", "must be text"),
        ("? [a]\n: 2", "must be text"),
        ("seed: " + "9" * 5000, "not a number"),
        ("seed: " + "9" * 4000, "64 bits"),
        ("seed: 0b_", "not a number"),
        ("seed: 1" + ":59" * 20_000 + ".5", "not a number"),
        ("method: {name: fair-darts, penalty: {kind: zero-one, weight: .inf}}", "finite"),
        ("method: {name: lambda-darts, alignment: {kind: layers, strength: 1e400}}", "finite|unknown"),
        ('data: {source: "a\\0b"}', "NUL"),
        ("a: " + "[" * 60_000, "20 deep"),
        ("a: " + "x" * LARGEST, f"at most {LARGEST:,} bytes"),
        ("preset: 0", "unknown preset '0'"),
        ("space: ''", "unknown space ''"),
        ("method: ''", "unknown method ''"),
        ("seed: 1\n---\nseed: 2", "not valid YAML"),
        ("seed: \x1b", "may not stand"),
        ("!<" + "x" * 60_000 + "> a", "a tag"),
    ],
)
def test_hostile_configurations_are_refused_at_once(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text, encoding="utf-8")
    resolve(preset="demo")
    tracemalloc.start()
    with pytest.raises(Refused, match=message), counted_calls() as calls:
        resolve(file=file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert calls() < 200_000
    assert peak < 64 * 2**20


def test_a_file_is_measured_before_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    with file.open("wb") as sparse:
        sparse.truncate(2**32)
    with pytest.raises(Refused, match="too long"):
        read_yaml(file)
    with pytest.raises(Refused, match="no file has that name"):
        read_yaml(tmp_path / "a\0b")


@pytest.mark.parametrize("unit", ["a,", "[],", "{},", "'',", "1,", "a: b,"])
def test_texts_are_read_in_steps_that_grow_as_they_do(unit: str) -> None:
    """Twice the text, twice the calls."""
    seen = []
    for length in (LARGEST // 32, LARGEST // 16):
        with counted_calls() as calls:
            found = clean(lambda length=length: parse_yaml("[" + unit * (length // len(unit) - 2) + "]", "x"))
        assert isinstance(found, list)
        seen.append(calls())
    assert seen[1] < 2.1 * seen[0]


def test_python_values_that_no_file_could_hold_are_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    for value in (10**5000, float("nan"), float("-inf"), "a\0b", endless, {"a": [2**63]}):
        for name in ("search.epochs", "space.channels", "penalty", "data.source", "relaxation"):
            assert clean(lambda n=name, v=value: resolve(preset="demo", overrides=[(n, v)])) is None


def test_aliases_are_never_written() -> None:
    shared = [{"kind": "zero-one"}] * 2
    found = resolve(preset="demo", method="fair-darts", overrides=[("penalty", shared)])
    betas = [0.5, 0.5]
    same = found.model_copy(update={"space": SimpleNamespace(name="own", facts={"a": betas, "b": [betas, betas]})})
    for text in (dump(found), dump(same)):
        assert "*" not in text
        assert parse_yaml(text, "x") == yaml.safe_load(text)


# Exports and pages

HOSTILE = (
    *("'", '"', '"""', "'''", "\\", "\\'", "\n", "\r", "\x00", "\x0b", "\x85", "\u2028", "\u2029", "\ud800", "\u202e"),
    *("{x}", "{", "}", "{{", "%s", "#", "\\N{DIGIT ONE}", "\\u0041", "猫", "'); raise SystemExit(1) #"),
    *('"""\nraise SystemExit\n"""', "<script>", "</script>", "</style>", "</title>", "<!--", "-->", "]]>"),
    *("&amp;", "&lt;", "&#0;", "<img src=x onerror=x>"),
)  # fmt: skip
HOSTILE_NAMES = st.lists(
    st.one_of(st.lists(st.sampled_from(HOSTILE), max_size=4).map("".join), st.text(max_size=30)), min_size=1, max_size=3
)
GREY = Pixels("grey", 255.0, 0.0, 1.0, (0.5,), (0.2,))
BENCH_GENOTYPE = Genotype.parse(BENCH)


def card(names: tuple[Any, ...]) -> Card:
    """Of a network for grey images of these classes."""
    task, inputs = Classification(), ImageInputs(ImageShape(1, (8, 8), len(names)), GREY)
    return Card(task, task_facts(task), Seen(names), inputs, BENCH_GENOTYPE)


@FAULTS
@given(HOSTILE_NAMES.map(tuple))
def test_any_class_name_stays_a_name_in_python(names: tuple[str, ...]) -> None:
    line = literal(names, used=10)
    assert ast.literal_eval(line) == names
    head = TEMPLATE.partition("\n\n\n# The network")[0]
    text = head.format(task="", takes="", gives="", imports="", constants=f"CLASSES = {line}", definitions="")
    text.encode()
    body = ast.parse(text).body
    assert [type(statement) for statement in body] == [ast.Expr, ast.ImportFrom, ast.Assign]
    space: dict[str, Any] = {}
    exec(compile(text, "exported", "exec"), {"__builtins__": {"__import__": __import__}}, space)  # noqa: S102
    assert space["CLASSES"] == names
    assert tuple(json.loads(card(names).metadata["labels"])["names"]) == names


def test_a_whole_exported_module_with_every_hostile_name_gives_them_back() -> None:
    rows = {row: list(kept) for row, kept in BENCH_GENOTYPE.choices["cell"].items()}
    network = NasBench201Network(rows, 1, len(HOSTILE), 2, 1)
    text = source_text(network, card(HOSTILE))
    text.encode()
    plain = source_text(network, card(tuple(f"c{index}" for index in range(len(HOSTILE)))))
    shape = [type(statement) for statement in ast.parse(plain).body]
    assert [type(statement) for statement in ast.parse(text).body] == shape, "the same statements, whatever the names"
    module = {"__name__": "exported", "__file__": "exported.py"}
    exec(compile(text, "exported", "exec", dont_inherit=True), module)  # noqa: S102
    assert module["LABELS"]["names"] == HOSTILE


def test_an_export_checks_what_it_is_given(tmp_path: Path) -> None:
    network = NasBench201Network({}, 1, 2, 2, 1)
    for names in (("a", 1), ("a", None), ("a", ["b"])):
        with pytest.raises(Refused, match="must be texts"):
            lean(network, card(names))
    for genotype in (Genotype("nasbench201", {}), Genotype("darts", {"normal": {"0->2": ("a",)}})):
        assert clean(lambda g=genotype: notation(g)) is None
    (tmp_path / "file").write_text("")
    for path in (Path(), Path("/"), tmp_path / "a\0b", tmp_path / "file" / "inner", tmp_path / ("x" * 300) / "y"):
        assert clean(lambda p=path: target(p, ".py")) is None


class Texts(HTMLParser):
    """The tags and texts of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


def shown(page: Path) -> Texts:
    reader = Texts()
    with page.open(encoding="utf-8", newline="") as file:
        reader.feed(file.read())
    reader.close()
    return reader


@FAULTS
@given(HOSTILE_NAMES)
def test_any_text_stays_a_text_on_the_page(tmp_path: Path, names: list[str]) -> None:
    def page(texts: list[str]) -> Texts:
        blocks = [part for text in texts for part in (Paragraph(text), Code(text), Grid([[text, text]], head=[text]))]
        return shown(write_page(tmp_path, texts[0], Section(texts[-1], blocks)))

    found = page(names)
    assert found.tags == page(["plain"] * len(names)).tags
    for name in names:
        assert name.encode("utf-8", "backslashreplace").decode() in found.text


def test_hostile_names_in_a_history_stay_texts_in_a_figure(tmp_path: Path) -> None:
    hostile = "<script>alert('&\"]]>--></svg>"
    history = [{"epoch": e, "mixture": {hostile: {"entropy": 1.0}, "b": {"entropy": 2.0}}} for e in range(2)]
    page = write_page(tmp_path / "r", "run", Section("curves", [Drawing(curves_figure(history), hostile)]))
    found = shown(page)
    assert found.tags.count("script") == 1, "the page's own"
    assert found.text.count(hostile) == 2, "the legend and the caption"
    assert found.tags.count("svg") == 1
    assert page.read_text().count("</svg>") == 1
    surrogate = [{"epoch": 0, "mixture": {"\ud800": {"entropy": 1.0}, "b": {"entropy": 2.0}}}]
    write_page(tmp_path / "r", "run \udcff", Section("curves", [Drawing(curves_figure(surrogate))]))


def test_numbers_beyond_all_floats_are_left_out_of_a_history() -> None:
    assert flatten({"a": 10**400, "b": 1, "c": float("inf")}) == {"b": 1.0}
