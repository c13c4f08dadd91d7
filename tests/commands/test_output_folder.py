"""What separate.py may overwrite and delete in its folder, whatever lies there."""

import csv
import math
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import full_disk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vaebss.commands.output_folder import LOCK, OF_ALL, SHEET, OutputFolder
from vaebss.commands.separation_list import COLUMNS, LIST, NEWER
from vaebss.errors import FileError


def save(paths: list[Path]) -> None:
    for path in paths:
        path.write_text("new")


def files_of(pattern: str, count: int) -> list[str]:
    """The names that a pattern stands for: a mixture has so many sources, or the classes that the pattern states."""
    start, _, classes = pattern.partition("{1..")
    number, _, suffix = classes.partition("}")
    if classes:
        return [f"{start}{k + 1}{suffix}" for k in range(int(number))]
    return [pattern.replace("*", str(k + 1)) for k in range(count)]


def put(output: OutputFolder, path: Path, name: str, count: int, pattern: str, picture: str = "") -> None:
    output.write(files_of(pattern, count) + [picture] * bool(picture), save)
    output.note(path, name, count, 0.5, pattern, picture)


def listed(out: Path) -> list[dict[str, str]]:
    with (out / LIST).open(newline="") as file:
        return list(csv.DictReader(file))


def doctored(out: Path, *rows: tuple[object, ...]) -> Path:
    """A list with rows of somebody else's, in a folder."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / LIST).open("w", newline="", errors="surrogateescape") as file:
        whole = [(*row[:4], *[""] * (len(COLUMNS) - len(row)), *row[4:]) for row in rows]
        csv.writer(file).writerows([COLUMNS, *whole])
    return out


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_later_run_clears_away_what_an_earlier_one_wrote_and_nothing_else(tmp_path):
    path, out = tmp_path / "m.png", tmp_path / "out"
    with OutputFolder(out, [path]) as output:
        put(output, path, "m", 3, "m_source*.png")
        put(output, path, "k", 1, "k_source*.png")
    (out / "m_source4.png").touch()
    (out / "n_source1.png").touch()
    with OutputFolder(out, [path]) as output:
        put(output, path, "m", 1, "m_source*.tiff")
    left = {"m_source4.png", "n_source1.png", "m_source1.tiff", "k_source1.png", LIST}
    assert {file.name for file in out.iterdir()} == left
    assert [row["name"] for row in listed(out)] == ["k", "m"]


def test_fewer_rows_of_an_array_leave_no_trace_of_the_others(tmp_path):
    path, out = tmp_path / "m.npy", tmp_path / "out"
    with OutputFolder(out, [path]) as output:
        output.note(path, "m[1]", 1, 0.5, "m_source*.npy")
        put(output, path, "m[0]", 2, "m_source*.npy")
    with OutputFolder(out, [path]) as output:
        put(output, path, "m[0]", 1, "m_source*.npy")
    assert {file.name for file in out.iterdir()} == {"m_source1.npy", LIST}
    assert [row["name"] for row in listed(out)] == ["m[0]"]


def test_files_of_classes_are_written_anew_and_cleared_away_and_nothing_else(tmp_path):
    """As many as the list says, whatever the number of sources is."""
    path = tmp_path / "m.png"
    for name in ("m_class3.png", "m_source1.png"):
        (tmp_path / name).write_text("mine")
    for _ in range(2):
        with OutputFolder(tmp_path, [path]) as output:
            put(output, path, "m", 1, "m_class{1..2}.png")
            put(output, path, "k", 0, "k_class{1..2}.png")
    mine = {"m_class3.png": "mine", "m_source1.png": "mine"}
    others = {"k_class1.png": "new", "k_class2.png": "new"}
    assert contents(tmp_path) | {LIST: ""} == mine | others | {"m_class1.png": "new", "m_class2.png": "new", LIST: ""}
    with OutputFolder(tmp_path, [path]) as output:
        put(output, path, "m", 1, "m_class{1..1}.tiff")
    assert contents(tmp_path) | {LIST: ""} == mine | others | {"m_class1.tiff": "new", LIST: ""}
    with OutputFolder(tmp_path, [path]) as output, pytest.raises(FileError, match=r"m_class3\.png is there already"):
        put(output, path, "m", 3, "m_class{1..3}.png")
    assert contents(tmp_path)["m_class3.png"] == "mine"


def test_what_somebody_else_wrote_is_not_overwritten(tmp_path):
    path = tmp_path / "m.png"
    (tmp_path / "m_source2.png").write_text("mine")
    says = r"m_source2\.png is there already, and no result of an earlier run, though perhaps of one that still runs"
    with OutputFolder(tmp_path, [path]) as output, pytest.raises(FileError, match=says):
        put(output, path, "m", 2, "m_source*.png")
    assert contents(tmp_path) == {"m_source2.png": "mine", LIST: ",".join(COLUMNS) + "\n"}  # not half of it either
    assert not listed(tmp_path)


@pytest.mark.parametrize("name", [*OF_ALL, LIST])
def test_what_somebody_else_calls_as_a_file_of_all_mixtures_is_refused_before_anything_is_done(tmp_path, name):
    (tmp_path / name).write_text("name,file,sources\n")
    with pytest.raises(FileError, match="is there already"):
        OutputFolder(tmp_path, [], of_all=OF_ALL)
    assert contents(tmp_path) == {name: "name,file,sources\n"}


def test_an_earlier_result_that_is_now_an_input_stays(tmp_path):
    path, source = tmp_path / "m.png", tmp_path / "m_source1.png"
    with OutputFolder(tmp_path, [path]) as output:
        put(output, path, "m", 1, "m_source*.png")
    link = tmp_path / "link.png"
    link.symlink_to(source)
    for given_as in (source, link):  # whatever it is called
        with OutputFolder(tmp_path, [path, given_as]) as output, pytest.raises(FileError, match="is there already"):
            put(output, path, "m", 1, "m_source*.png")
        assert source.is_file()


def test_two_inputs_do_not_share_names(tmp_path):
    with OutputFolder(tmp_path, []) as output:
        put(output, Path("a.gif"), "m_00000", 1, "m_00000_source*.png")
        with pytest.raises(FileError, match="called m_00000 already"):
            output.check_new("m_00000")
        with pytest.raises(FileError, match="another input"):
            put(output, Path("m_00000.png"), "other", 1, "m_00000_source*.png")
    assert [row["name"] for row in listed(tmp_path)] == ["m_00000"]


PATTERNS = [
    "../victim.txt",
    "{outside}/victim.txt",
    "../victim_source*.png",
    "{outside}/victim_source*.png",
    "below/victim_source*.png",
    "linked/victim_source*.png",
    "victim.txt",
    "victim*.png",
    "*",
    "",
    ".",
    "..",
    "_source*.png",
    "a\0_source*.png",
    "a_source*.png/../../victim_source1.png",
    "a_source*.py",
    "../victim_class{{1..2}}.png",
    "{outside}/victim_class{{1..2}}.png",
    "_class{{1..2}}.png",
    "a_class{{1..2}}.py",
    "a_class*.png",
    "a_class.png",
    "a_class1.png",
    "a_class{{1..0}}.png",
    "a_class{{1..02}}.png",
    "a_class{{0..2}}.png",
    "a_class{{2..3}}.png",
    "a_class{{1..10000}}.png",
    "a_class{{1..\u0661}}.png",
    "a_class{{1..-1}}.png",
    "a_class{{1,2}}.png",
    "a_source{{1..2}}.png",
    "a_{{class{{1..2}}.png",
    "a_class{{1..2}},residual}}.png",
    "a_{{class{{1..2}}}}.png",
    "a_{{source*,class{{1..2}},residual}}.png",
    "separations.csv",
    "contact_sheet.png",
]
COUNTS = ["x", "-1", "1.5", "", " 1", "+1", str(10**9), "1e3", "\u0661", "nan"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_list_with_names_that_this_program_would_not_write_is_refused(tmp_path, pattern):
    outside = tmp_path / "outside"
    outside.mkdir()
    out = doctored(tmp_path / "out", (outside / "m.png", "m", 1, 0.5, pattern.format(outside=outside)))
    (out / "below").mkdir()
    (out / "linked").symlink_to(outside)
    for folder in (tmp_path, outside, out, out / "below"):
        for name in ("victim.txt", "victim_source1.png", "victim1.png"):
            (folder / name).write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(FileError, match="written") as error:
        OutputFolder(out, [])
    assert "\n" not in str(error.value)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("count", COUNTS)
def test_a_list_with_odd_counts_is_refused(tmp_path, count):
    with pytest.raises(FileError, match="row 1 is malformed"):
        OutputFolder(doctored(tmp_path, ("m.png", "m", count, 0.5, "m_source*.png")), [])


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xfe", b"\0", b'"', b"file,name,count,confidence,written\na,b\n", b"x" * 200_000],
    ids=["empty", "no text", "NUL", "quote", "short row", "long"],
)
def test_a_list_that_is_none_is_refused(tmp_path, data):
    (tmp_path / LIST).write_bytes(data)
    with pytest.raises(FileError, match="written"):
        OutputFolder(tmp_path, [])
    assert (tmp_path / LIST).read_bytes() == data


def test_links_are_not_followed(tmp_path):
    """Neither one in place of a result that is written anew, nor of one that is to be cleared away."""
    victim, out = tmp_path / "victim.txt", tmp_path / "out"
    victim.write_text("mine")
    doctored(out, ("m.png", "m", 2, 0.5, "m_source*.png"), ("k.png", "k", 1, 0.5, "k_source*.png"))
    for name in ("m_source1.png", "m_source2.png", "k_source1.png"):
        (out / name).symlink_to(victim)
    with OutputFolder(out, []) as output:
        with pytest.raises(FileError, match="is there already"):
            put(output, Path("m.png"), "m", 1, "m_source*.png")
        output.note(Path("k.png"), "k", 0, 0.5, "k_source*.png")
    assert victim.read_text() == "mine"
    assert all((out / name).is_symlink() for name in ("m_source1.png", "m_source2.png", "k_source1.png"))


@pytest.mark.parametrize(("name", "says"), [(LIST, "exists and is not a regular file"), (SHEET, "is there already")])
def test_links_in_place_of_the_list_or_the_sheet_are_refused(tmp_path, name, says):
    victim, out = tmp_path / "victim.txt", tmp_path / "out"
    victim.write_text("mine")
    doctored(out)
    (out / name).unlink(missing_ok=True)
    (out / name).symlink_to(victim if name == SHEET else tmp_path / "nowhere")
    with pytest.raises(FileError, match=says):
        OutputFolder(out, [])
    assert contents(tmp_path)["victim.txt"] == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_other_names_of_a_file_that_is_written_anew_keep_what_they_hold(tmp_path):
    other, out = tmp_path / "other.txt", doctored(tmp_path / "out", ("m.png", "m", 1, 0.5, "m_source*.png"))
    other.write_text("mine")
    os.link(other, out / "m_source1.png")
    with OutputFolder(out, []) as output:
        put(output, Path("m.png"), "m", 1, "m_source*.png")
    assert (other.read_text(), (out / "m_source1.png").read_text()) == ("mine", "new")


def test_a_mixture_whose_writing_fails_keeps_its_earlier_sources_and_their_row(tmp_path):
    with OutputFolder(tmp_path, []) as output:
        put(output, Path("m.png"), "m", 2, "m_source*.png")

    def full(paths: list[Path]) -> None:
        for path in paths:
            path.write_text("half")
        raise OSError(28, "No space left on device", str(paths[1]))

    with (
        OutputFolder(tmp_path, []) as output,
        pytest.raises(FileError, match=r"m_source2\.png cannot be written.+No space"),
    ):
        output.write(["m_source1.png", "m_source2.png"], full)
    assert contents(tmp_path) | {LIST: ""} == {"m_source1.png": "new", "m_source2.png": "new", LIST: ""}
    assert [(row["name"], row["count"]) for row in listed(tmp_path)] == [("m", "2")]


def test_a_list_for_which_there_is_no_room_is_told_with_what_lacks_on_it(tmp_path):
    with OutputFolder(tmp_path, []) as output:
        put(output, Path("m.png"), "m", 1, "m_source*.png")
    before = contents(tmp_path)
    output = OutputFolder(tmp_path, [])
    for number in range(300):
        put(output, Path(f"a folder/with a long name/{number}.png"), f"{number}", 1, f"{number}_source*.png")
    told = (
        r"separations\.csv cannot be written, is the disk full\?; the one from before is kept \(.+\): sources of 300 "
    )
    told += "mixtures are written but not listed, and a later run will not replace them: delete them first$"
    with pytest.raises(FileError, match=told), full_disk():
        output.__exit__()
    assert before.items() <= contents(tmp_path).items()
    with pytest.raises(FileError, match=r"0_source1\.png is there already"):
        OutputFolder(tmp_path, []).place("0_source1.png")


NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
WORDS = st.sampled_from(["source", "class"])
SUFFIXES = st.sampled_from([".png", ".npy", ".txt", ""])
PLAIN = st.builds("{}_{}{}{}".format, NAMES, WORDS, st.integers(0, 12), SUFFIXES)
OF_CLASSES = st.builds("{}_class{{1..{}}}.png".format, NAMES, st.integers(0, 12))
OUTSIDE = st.sampled_from(["../victim_source*.png", "../victim_class{1..2}.png"])
WRITTEN = st.one_of(NAMES, st.builds("{}_source*.png".format, NAMES), OF_CLASSES, OUTSIDE)
ROWS = st.lists(st.tuples(NAMES, NAMES, st.one_of(st.integers(-2, 99).map(str), NAMES), NAMES, WRITTEN), max_size=4)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=ROWS, names=st.lists(PLAIN, max_size=6), again=NAMES, files=st.sampled_from(["source*", "class{1..2}"]))
def test_whatever_a_list_says_only_plain_names_of_sources_in_the_folder_are_ever_changed(
    tmp_path_factory, rows, names, again, files
):
    root = tmp_path_factory.mktemp("root")
    out = doctored(root / "out", *rows)
    spoken_for = {row[4] for row in rows}
    for folder in (root, out):
        for name in {"victim_source1.png", "victim_class1.png", "victim.txt", *names}:
            if "/" not in name and len(name.encode()) < 200:
                (folder / name).write_text("mine")
    before = contents(root)
    try:
        with OutputFolder(out, []) as output:
            name = again.replace("/", "")
            put(output, Path("m"), name, 1, f"{name}_{files}.png")
    except FileError:
        pass
    after = contents(root)
    for path, text in before.items():
        if after.get(path) == text or path == f"out/{LIST}":
            continue
        name = path.removeprefix("out/")
        assert path.startswith("out/")
        assert "/" not in name
        stem, word, number = re.fullmatch(r"(.+)_(source|class)([1-9][0-9]{0,3})\.png", name, re.DOTALL).groups()
        if word == "source":
            assert f"{stem}_source*.png" in spoken_for
        else:
            assert any(f"{stem}_class{{1..{most}}}.png" in spoken_for for most in range(int(number), 13))


def filled(out: Path, numbers: list[int], share: slice, shared: bool) -> None:
    """A run that separates a share of the files 0.png, 1.png and so on."""
    paths = [out.parent / f"{number}.png" for number in numbers]
    with OutputFolder(out, paths, shared=shared) as output:
        for path in paths[share]:
            put(output, path, path.stem, 2, f"{path.stem}_source*.png")


def test_shares_that_are_written_at_the_same_time_make_one_list(tmp_path):
    """The second run of half of the shares replaces what their first one wrote."""
    numbers = list(range(24))[::-1]
    filled(tmp_path / "whole", numbers, slice(None), shared=False)
    shares = [slice(number, None, 8) for number in (*range(8), *range(4))]
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda share: filled(tmp_path / "out", numbers, share, shared=True), shares[:8]))
        list(pool.map(lambda share: filled(tmp_path / "out", numbers, share, shared=True), shares[8:]))
    assert listed(tmp_path / "out") == listed(tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole") | {LOCK: ""}


def test_a_share_keeps_what_another_has_listed_since_it_began(tmp_path):
    """Also the share that began first and ends last, and the one that finds less than its earlier run did."""
    paths, out = [tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "out"
    for most in (3, 1):
        with OutputFolder(out, paths, shared=True) as first:
            put(first, paths[0], "a", most, "a_source*.png")
            with OutputFolder(out, paths, shared=True) as second:
                put(second, paths[1], "b", most, "b_source*.png")
        assert [(row["name"], int(row["count"])) for row in listed(out)] == [("a", most), ("b", most)]
        sources = {f"{name}_source{k + 1}.png" for name in "ab" for k in range(most)}
        assert {file.name for file in out.iterdir()} == sources | {LIST, LOCK}


def test_scores_are_listed_and_a_list_without_them_is_read(tmp_path):
    with OutputFolder(tmp_path, []) as output:
        put(output, Path("m.png"), "m", 1, "m_source*.png")
        put(output, Path("k.png"), "k", 1, "k_source*.png")
        output.add_scores({"m": 31.257, "not written": 1.0})
    assert {row["name"]: row["blind_score"] for row in listed(tmp_path)} == {"m": "31.26", "k": ""}
    text = (tmp_path / LIST).read_text()
    for lacking in (NEWER, NEWER[1:]):
        with (tmp_path / LIST).open("w", newline="") as file:
            writer = csv.DictWriter(file, [name for name in COLUMNS if name not in lacking], extrasaction="ignore")
            writer.writeheader()
            writer.writerows(csv.DictReader(text.splitlines()))
        assert [row.name for row in OutputFolder(tmp_path, []).earlier] == ["m", "k"]
        with OutputFolder(tmp_path, []) as output:
            put(output, Path("k.png"), "k", 1, "k_source*.png")
        expected = text if "blind_score" not in lacking else text.replace("31.26", "")
        assert (tmp_path / LIST).read_bytes().decode() == expected.replace("\n", "\r\n")


def test_scores_of_sources_are_columns_of_their_own(tmp_path):
    with OutputFolder(tmp_path, []) as output:
        put(output, Path("m.png"), "m", 2, "m_source*.png")
        put(output, Path("k.png"), "k", 1, "k_source*.png")
        put(output, Path("n.png"), "n", 1, "n_source*.png")
        scores = {"m": [30.0, 32.504], "k": [7.0], "n": [1.0, 2.0]}  # of n, another number than was written
        output.add_scores(dict.fromkeys("mkn", 1.0), scores)
    names = [f"blind_score_source{k}" for k in (1, 2)]
    assert {row["name"]: [row[name] for name in names] for row in listed(tmp_path)} == {
        "m": ["30.00", "32.50"],
        "k": ["7.00", ""],
        "n": ["", ""],
    }
    text = (tmp_path / LIST).read_text()
    assert [row.source_scores for row in OutputFolder(tmp_path, []).earlier] == [("30.00", "32.50"), ("7.00",), ()]
    with OutputFolder(tmp_path, []) as output:
        put(output, Path("k.png"), "k", 1, "k_source*.png")
    again = {row["name"]: [row[name] for name in names] for row in listed(tmp_path)}
    assert again == {"m": ["30.00", "32.50"], "k": ["", ""], "n": ["", ""]}
    (tmp_path / LIST).write_text(text.replace("blind_score_source1", "blind_score_source3"))
    with pytest.raises(FileError, match="not a list"):
        OutputFolder(tmp_path, [])


def test_scores_of_classes_stay_in_the_columns_of_their_files(tmp_path):
    with OutputFolder(tmp_path, []) as output:
        for name, count in (("m", 1), ("k", 2), ("n", 1)):
            put(output, Path(f"{name}.png"), name, count, f"{name}_class{{1..2}}.png")
        scores = {"m": [math.nan, 32.504], "k": [7.0, 8.0], "n": [1.0]}  # of n, another number than was written
        output.add_scores(dict.fromkeys("mkn", 1.0), scores)
    names, text = [f"blind_score_source{k}" for k in (1, 2)], (tmp_path / LIST).read_bytes()
    expected = {"m": ["", "32.50"], "k": ["7.00", "8.00"], "n": ["", ""]}
    assert {row["name"]: [row[name] for name in names] for row in listed(tmp_path)} == expected
    with OutputFolder(tmp_path, []):
        pass
    assert (tmp_path / LIST).read_bytes() == text


def test_a_picture_is_written_with_its_sources_and_goes_with_them(tmp_path):
    path = tmp_path / "m.wav"
    (tmp_path / "k_spectrogram.png").write_text("mine")
    with OutputFolder(tmp_path, [path]) as output:
        put(output, path, "m", 2, "m_source*.wav", "m_spectrogram.png")
        with pytest.raises(FileError, match=r"k_spectrogram\.png is there already"):
            put(output, Path("k.wav"), "k", 1, "k_source*.wav", "k_spectrogram.png")
    assert [(row["name"], row["picture"]) for row in listed(tmp_path)] == [("m", "m_spectrogram.png")]
    with OutputFolder(tmp_path, [path]) as output:
        put(output, Path("n.wav"), "n", 1, "n_source*.wav")
    assert (tmp_path / "m_spectrogram.png").is_file()
    with OutputFolder(tmp_path, [path]) as output:
        put(output, path, "m", 1, "m_source*.wav", "m_spectrogram.png")
    assert (tmp_path / "m_spectrogram.png").read_text() == "new"
    with OutputFolder(tmp_path, [path]) as output:
        put(output, path, "m", 1, "m_source*.wav")
    left = {"k_spectrogram.png", "m_source1.wav", "n_source1.wav", LIST}
    assert {file.name for file in tmp_path.iterdir()} == left


@pytest.mark.parametrize("picture", ["../victim_spectrogram.png", "victim.png", "a/b_spectrogram.png", "m_source1.png"])
def test_a_list_with_pictures_that_this_program_would_not_write_is_refused(tmp_path, picture):
    with pytest.raises(FileError, match="row 1 is malformed"):
        OutputFolder(doctored(tmp_path, ("m.wav", "m", 1, 0.5, picture, "m_source*.wav")), [])
