"""CoNLL files as the world has them: columns, separators, comments, documents, schemes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from candelabra.data.files.layout import Layout
from candelabra.data.files.readers import read_table
from candelabra.data.files.table import Table
from candelabra.data.loading import load_task
from candelabra.data.sources import Files
from candelabra.errors import ConfigError, DataError

TOKENS = [["Ana", "lives"], ["She", "sings"]]
TAGS = [["B-PER", "O"], ["O", "O"]]
PLAIN = "Ana B-PER\nlives O\n\nShe O\nsings O\n"


def read(tmp_path: Path, text: str, **settings: Any) -> Table:
    file = tmp_path / "rows.conll"
    file.write_text(text, encoding="utf-8")
    return read_table(file, Layout(**settings))


VARIANTS = {
    "tabs": PLAIN.replace(" ", "\t"),
    "several spaces": PLAIN.replace(" ", "   "),
    "a tab at each end": PLAIN.replace(" ", "\t").replace("\n", "\t\n").replace("\n\t\n", "\n\n"),
    "a space behind each tag": PLAIN.replace(" ", "\t").replace("\n", " \n"),
    "documents": "-DOCSTART- (1 A)\n\n" + PLAIN,
    "documents of CoNLL-2012": "#begin document (a); part 000\n" + PLAIN + "\n#end document\n",
    "sentence ids": "# sent_id = 1\n# text = Ana lives O\n" + PLAIN,
    "ids of MultiCoNER": "# id 7fa1 domain=en\n" + PLAIN.replace(" ", " _ _ "),
    "a source of GermEval": "#\thttp://a.example [1]\tx\n" + PLAIN.replace(" ", "\t"),
    "phrases before the tags": PLAIN.replace(" ", " NNP B-NP "),
    "Windows": PLAIN.replace("\n", "\r\n"),
    "an old Mac": PLAIN.replace("\n", "\r"),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variant_has_the_same_rows(name: str, tmp_path: Path) -> None:
    table = read(tmp_path, VARIANTS[name])
    assert table.columns == {"tokens": TOKENS, "tags": TAGS}
    assert not table.faults


def test_words_that_start_with_a_number_sign_are_kept(tmp_path: Path) -> None:
    table = read(tmp_path, "# O\n1 O\n\n#fun\tB-TAG\nday\tO\n\nx O\n# O\n")
    assert table.columns["tokens"] == [["#", "1"], ["#fun", "day"], ["x", "#"]]
    assert table.locate(0) == "row 0 (counted from 0; line 1)"


def test_sentences_of_words_that_start_with_a_number_sign_are_kept(tmp_path: Path) -> None:
    text = "#fail\tB-TAG\n\nAna\tB-PER\n\n# id = O\n# a note\n\n#a\tO\n#b\tB-TAG\n"
    table = read(tmp_path, text)
    assert table.columns["tokens"] == [["#fail"], ["Ana"], ["#a", "#b"]]
    assert table.columns["tags"] == [["B-TAG"], ["B-PER"], ["O", "B-TAG"]]
    assert table.locate(2) == "row 2 (counted from 0; line 8)"


def test_comments_by_a_given_beginning(tmp_path: Path) -> None:
    text = "% a b\nx O\n% c O\ny O\n"
    assert read(tmp_path, text, comment="%").columns["tokens"] == [["x", "y"]]
    table = read(tmp_path, "# c\nx O\n", comment="")
    assert table.columns["tokens"] == [["#", "x"]]


@pytest.mark.parametrize("space", ["\u00a0", "\u2009", "\u3000", "\u202f"])
@pytest.mark.parametrize("gap", [" ", "\t"])
def test_unicode_spaces_are_part_of_a_word(space: str, gap: str, tmp_path: Path) -> None:
    table = read(tmp_path, f"10{space}000{gap}B-NUM\nx{gap}O\n")
    assert table.columns == {"tokens": [[f"10{space}000", "x"]], "tags": [["B-NUM", "O"]]}


INDEXED = "1 Rio NNP I-NP B-LOC\n2 sings VB I-VP O\n\n1 She PRP I-NP O\n2 sings VB I-VP O\n"


def test_words_that_count_are_refused_with_the_setting_that_reads_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"only counts 1, 2, .* set source\.word_column=1"):
        read(tmp_path, INDEXED)
    table = read(tmp_path, INDEXED, word_column=1)
    assert table.columns["tokens"] == [["Rio", "sings"], ["She", "sings"]]
    assert table.columns["tags"] == [["B-LOC", "O"], ["O", "O"]]
    zero = INDEXED.replace("1 ", "0 ").replace("2 ", "1 ")
    with pytest.raises(DataError, match="only counts 0, 1"):
        read(tmp_path, zero)


def test_a_count_over_the_whole_file_is_refused_too(tmp_path: Path) -> None:
    for numbers in ("12345", ("1-1", "1-2", "1-3", "2-1", "2-2"), ("1-2", "1", "2", "2.1", "3")):
        rows = [f"{number} w{place} O" for place, number in enumerate(numbers)]
        text = "\n".join([*rows[:3], "", *rows[3:]])
        with pytest.raises(DataError, match=r"only numbers: set source\.word_column=1"):
            read(tmp_path, text)
        assert read(tmp_path, text, word_column=1).columns["tokens"] == [
            ["w0", "w1", "w2"],
            ["w3", "w4"],
        ]


@pytest.mark.parametrize(
    ("before", "column"), [("d1", 1), ("d/1 0", 2), ("d1 0 3", 3), ("0 3", 2), ("0:3", 1)]
)
def test_the_column_that_holds_the_words_is_named(before: str, column: int, tmp_path: Path) -> None:
    """Documents, sentences and places of words come first, and are the same in every line."""
    lines = [f"{before} {line}" if line else "" for line in PLAIN.split("\n")]
    with pytest.raises(DataError, match=rf"word column only .* set source\.word_column={column} "):
        read(tmp_path, "\n".join(lines))
    words = read(tmp_path, "\n".join(lines), word_column=column).columns["tokens"]
    assert words == TOKENS


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (["Sentence:1", "_", "_"], "only has a text at the start of each sentence"),
        (["t1", "t2", "t3"], "only counts, such as 't1 t2'"),
    ],
)
def test_a_first_column_of_marks_is_refused(first: list[str], said: str, tmp_path: Path) -> None:
    lines = zip(first, ["Ana", "saw", "Rio"], ["B-PER", "O", "B-LOC"], strict=True)
    file = tmp_path / "a.conll"
    file.write_text("\n".join("\t".join(line) for line in lines) + "\n")
    with pytest.raises(DataError, match=rf"{said}.*: set source\.word_column=1"):
        read_table(file)


def test_lines_of_unequal_width_need_a_chosen_column(tmp_path: Path) -> None:
    file = tmp_path / "a.conll"
    file.write_text("Ana B-PER\nsaw O\nNew York B-LOC\n")
    with pytest.raises(DataError, match=r"its lines have 2 to 3 columns: choose those"):
        read_table(file)
    table = read_table(file, Layout(word_column=0, tag_column=-1))
    assert table.columns["tokens"] == [["Ana", "saw", "New"]]


def test_a_file_without_words_is_told_no_column_of_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"only counts 1, 2, .*, and no other column holds words"):
        read(tmp_path, "1 B-LOC\n2 O\n\n1 O\n")


def test_a_word_that_repeats_is_kept_without_other_columns(tmp_path: Path) -> None:
    assert read(tmp_path, "ha O\nha O\n").columns["tokens"] == [["ha", "ha"]]


@pytest.mark.parametrize("behind", [("1", "2"), ("0.9", "0.8"), ("NNP", "VB")])
def test_a_last_column_without_tags_is_refused(behind: tuple[str, str], tmp_path: Path) -> None:
    """Numbers in it would be read as positions in the given labels."""
    text = f"Ana B-PER {behind[0]}\nlives O {behind[1]}\n\nShe O {behind[0]}\nsings O {behind[1]}"
    with pytest.raises(DataError, match=r"last column holds no tag, .* set source\.tag_column=1 "):
        read(tmp_path, text)
    assert read(tmp_path, text, tag_column=1).columns["tags"] == TAGS
    assert read(tmp_path, text.replace("B-PER", "B-NP")).columns["tags"][0] == list(behind)
    hidden = text.replace(behind[0], "_").replace(behind[1], "_")
    assert read(tmp_path, hidden).columns["tags"] == [["_", "_"]] * 2


def test_words_that_are_tags_are_refused_with_the_setting_that_reads_them(tmp_path: Path) -> None:
    text = "B-PER Ana\nO lives\n\nO She\n"
    with pytest.raises(DataError, match=r"such as 'B-PER': set source\.tag_first=true"):
        read(tmp_path, text)
    assert read(tmp_path, text, tag_first=True).columns["tags"] == [["B-PER", "O"], ["O"]]
    assert read(tmp_path, "O O\nB-X B-X\n").columns["tokens"] == [["O", "B-X"]]


@pytest.mark.parametrize("tag", ["B_PER", "I/PER", "b-per", "PER-B"])
def test_tags_of_no_scheme_are_bad_rows(tag: str, tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text(f"Ana {tag}\nx O\n\ny B-LOC\n".replace("B-LOC", tag))
    source = Files(train="a.conll", folder=str(tmp_path))
    with pytest.raises(DataError, match=rf"row 0 .*no BIO tag: '{tag}'"):
        load_task("t", source=source, columns={"words": "tokens", "tags": "tags"}, validation=1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a O\nb O\n\nc O\n", "column 'tags' must have an entity, found 'O' alone"),
        ("a,B-X\nb,O\n\nc,O\n", r"row 0 .*line 1\): .* expected, found 'a,B-X'"),
    ],
)
def test_files_without_labels_say_why(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text(text)
    source = Files(train="a.conll", folder=str(tmp_path))
    with pytest.raises(DataError, match=rf"a\.conll.*{said}"):
        load_task("t", source=source, columns={"words": "tokens", "tags": "tags"}, validation=1)


def test_numbers_as_words_are_kept_where_they_do_not_count(tmp_path: Path) -> None:
    assert read(tmp_path, "1 O\n\n1 O\n").columns["tokens"] == [["1"], ["1"]]
    assert read(tmp_path, "1 O\n2 O\n\n3 O\n").columns["tokens"] == [["1", "2"], ["3"]]
    assert read(tmp_path, "1 O\n2 O\n", word_column=0).columns["tokens"] == [["1", "2"]]


NESTED = "Lumia\tB-PRO\tO\n520\tI-PRO\tB-NUM\nis\tO\tO\n\nShe\tO\tO\n"


def test_nested_tags_are_read_by_the_chosen_column(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="last two columns both hold tags"):
        read(tmp_path, NESTED)
    outer = read(tmp_path, NESTED, tag_column=1).columns["tags"]
    assert outer == [["B-PRO", "I-PRO", "O"], ["O"]]
    inner = read(tmp_path, NESTED, tag_column=-1).columns["tags"]
    assert inner == [["O", "B-NUM", "O"], ["O"]]


def test_a_line_without_the_chosen_column_is_a_fault(tmp_path: Path) -> None:
    table = read(tmp_path, "a b O\nc O\n\nd e O\n", word_column=1, tag_column=2)
    assert list(table.faults) == [0]
    assert "a word and its tag expected, found 'c O'" in str(table.faults[0])
    assert table.columns["tokens"] == [None, ["e"]]


SCHEMES = {
    "iob1": "Ana I-PER\nEva B-PER\nin O\nPorto I-LOC\nNovo I-LOC\n",
    "iobes": "Ana S-PER\nEva S-PER\nin O\nPorto B-LOC\nNovo E-LOC\n",
    "bilou": "Ana U-PER\nEva U-PER\nin O\nPorto B-LOC\nNovo L-LOC\n",
    "bmes": "Ana S-PER\nEva S-PER\nin O\nPorto B-LOC\nNovo M-LOC\nSul E-LOC\n",
    "iob2": "Ana B-PER\nEva B-PER\nin O\nPorto B-LOC\nNovo I-LOC\n",
}


@pytest.mark.parametrize("given", ["auto", "by name"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_schemes_become_bio(scheme: str, given: str, tmp_path: Path) -> None:
    table = read(tmp_path, SCHEMES[scheme], scheme="auto" if given == "auto" else scheme)
    inside = 2 if scheme == "bmes" else 1
    assert table.columns["tags"] == [["B-PER", "B-PER", "O", "B-LOC", *["I-LOC"] * inside]]
    said = "" if scheme == "iob2" else f"its tags are {scheme.upper()}; they are converted to BIO"
    assert table.note == said


def test_broken_sequences_of_a_scheme_are_bad_rows(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("Ana S-PER\nx O\n\nBo B-PER\nx O\n\nCy S-PER\n")
    source = Files(train="a.conll", folder=str(tmp_path))
    columns = {"words": "tokens", "tags": "tags"}
    with pytest.raises(DataError, match=r"line 4\): invalid IOBES: 'O' of word 1 follows 'B-PER'"):
        load_task("t", source=source, columns=columns, validation=1)
    data = load_task("t", source=source, columns=columns, validation=1, on_bad_row="skip")
    assert data.skipped == {"train": {"invalid IOBES": 1}}


def test_the_scheme_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.conll").write_text(SCHEMES["iobes"] + "\nx O\n")
    source = Files(train="a.conll", folder=str(tmp_path))
    load_task("t", source=source, columns={"words": "tokens", "tags": "tags"}, validation=1)
    assert "task 't': " in (err := capsys.readouterr().err)
    assert "its tags are IOBES; they are converted to BIO" in err


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"scheme": "iobs"}, "scheme must be one of .*iobes"),
        ({"word_column": 1.5}, "word_column must be a whole number, got 1.5"),
        ({"tag_column": "last"}, "tag_column must be a whole number"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text(PLAIN)
    with pytest.raises(ConfigError, match=said):
        Files(train="a.conll", folder=str(tmp_path), **settings).check()
