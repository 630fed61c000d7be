"""Plan files: what they may say, what is said about those that are wrong, and that nothing is lost on the way back."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flipproof.errors import SpecError, UnknownNameError
from flipproof.study.plan import (
    Plan,
    Trials,
    check,
    make_plan,
    plan_from_toml,
    read_plan,
    reduce,
    spread,
    write_plan,
)

LEAST = {"name": "a", "pictures": ["bundled"], "codecs": ["jpeg"], "channels": ["bsc[ber=0.01]"]}
TEXT = """
name = "a"
pictures = ["bundled"]
codecs = ["jpeg"]
channels = ["bsc[ber=0.01]"]
"""


def plan(**values) -> Plan:
    return make_plan(LEAST | values)


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
names = st.text("abcXYZ019_-", min_size=1, max_size=20)
some = st.lists(texts, min_size=1, max_size=4, unique=True)
any_number = st.lists(texts, max_size=4, unique=True)
rates = st.lists(st.floats(0, 24, exclude_min=True), max_size=4, unique=True)
counts = st.integers(1, 1000)
trials = st.one_of(
    counts,
    counts.map(lambda n: {"least": n}),
    st.tuples(counts, counts).map(lambda n: {"least": n[0], "most": n[0] + n[1], "until_failures": n[1]}),
    st.tuples(counts, st.floats(1e-9, 1e9)).map(lambda n: {"most": n[0] + 1, "until_db": n[1]}),
)
plans = st.fixed_dictionaries(
    {"name": names, "pictures": some, "codecs": some, "channels": some},
    optional={
        "seed": st.integers(0, 2**63 - 1),
        "only": any_number,
        "frame": texts,
        "rates": rates,
        "trials": trials,
        "metrics": any_number,
        "gallery": st.integers(0, 10_000),
    },
).map(make_plan)


@given(plans)
def test_a_written_plan_is_toml_and_reads_as_the_same_plan(made):
    text = write_plan(made)
    assert set(tomllib.loads(text)) == set(Plan.model_fields)
    assert plan_from_toml(text) == made
    assert write_plan(plan_from_toml(text)) == text


@given(plans)
def test_a_plan_survives_json_as_records_keep_it(made):
    assert Plan.model_validate_json(made.model_dump_json()) == made


def test_a_short_plan_has_defaults():
    made = plan_from_toml(TEXT)
    assert made == plan(seed=0, only=[], frame="centre[512]", rates=[], trials=1, metrics=[], gallery=4)
    assert made.metrics == ("psnr",)
    assert made.trials == Trials(least=1)
    assert made.trials.limit == 1


def test_psnr_comes_first_and_once():
    assert plan(metrics=["ms-ssim", "psnr"]).metrics == ("psnr", "ms-ssim")
    assert plan(metrics=["lpips-alex"]).metrics == ("psnr", "lpips-alex")


def test_a_channel_without_errors_has_one_trial():
    made = plan(trials={"least": 3, "most": 9, "until_db": 0.5})
    assert made.trials_of("bsc[ber=0]") == 1
    assert made.trials_of("bsc[ber=0.01]") == 9


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('codec = ["x"]', "plan.toml: unknown key 'codec'; did you mean 'codecs'? known: name, seed"),
        ("trials = { leest = 3 }", "unknown key 'trials.leest'; did you mean 'trials.least'?"),
        ("trials = 0", "trials.least: expected at least 1, got 0"),
        ("trials = 1.5", "trials: expected a number or a table, got 1.5"),
        ("trials = true", "trials: expected a number or a table, got True"),
        ("trials = { least = '3' }", "trials.least: expected a whole number, got '3'"),
        ("trials = { least = 3, most = 2 }", "trials: expected most of at least 3, got 2"),
        ("trials = { least = 3, most = 5 }", "trials: expected until_db or until_failures beside most, got neither"),
        ("trials = { least = 3, until_db = 0.1 }", "trials: expected most above least (3) beside until_db"),
        ("trials = { most = 3, until_db = -1 }", "trials.until_db: expected above 0, got -1"),
        ("rates = [0]", "rates[1]: expected above 0, got 0"),
        ("rates = [0.1, 24.1]", "rates[2]: expected at most 24, got 24.1"),
        ("rates = [nan]", "rates[1]: expected a finite number, got nan"),
        ("rates = [true]", "rates[1]: expected a number, got True"),
        ("rates = [1, 1.0]", "rates: expected each once, got 1.0 twice"),
        ("rates = 0.1", "rates: expected a list, got 0.1"),
        ("seed = -1", "seed: expected at least 0, got -1"),
        ("seed = 9223372036854775808", "seed: expected below 9223372036854775808"),
        ("seed = 1.5", "seed: expected a whole number, got 1.5"),
        ("gallery = true", "gallery: expected a whole number, got True"),
        ('metrics = "psnr"', "metrics: expected a list, got 'psnr'"),
        ('metrics = ["ssim", "ssim"]', "metrics: expected each once, got 'ssim' twice"),
        ('only = [""]', "only[1]: expected text that is not empty, got ''"),
        ("frame = 512", "frame: expected text, got 512"),
        ("seed = 1979-05-27", "seed: expected a whole number, got datetime.date(1979, 5, 27)"),
        ("x = ]", "plan.toml: expected TOML, got an error: Invalid value (at line 6, column 5)"),
        ('name = "b"', "plan.toml: expected TOML, got an error: Cannot overwrite a value (at line 6, column 11)"),
        (f"seed = {'9' * 5000}", "plan.toml: expected TOML, got an error: Exceeds the limit"),
        (f"seed = {'[' * 100_000}", "plan.toml: expected TOML, got an error: "),
    ],
)
def test_what_is_wrong_is_said_in_one_line(line, expected):
    with pytest.raises(SpecError) as error:
        plan_from_toml(f"{TEXT}{line}\n# end", "plan.toml")
    assert expected in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_everything_that_is_wrong_is_said_at_once():
    with pytest.raises(SpecError) as error:
        plan_from_toml('name = "a b"\nrates = [-1, 99]\npicture = []\n')
    assert str(error.value) == (
        "plan: unknown key 'picture'; did you mean 'pictures'? known: name, seed, pictures, only, frame, codecs, "
        "rates, channels, trials, metrics, gallery; name: expected letters, digits, - and _, got 'a b'; "
        "pictures: expected a value, got none; codecs: expected a value, got none; "
        "rates[1]: expected above 0, got -1; rates[2]: expected at most 24, got 99; "
        "channels: expected a value, got none"
    )


@given(st.text(max_size=200))
def test_any_text_is_a_plan_or_a_typed_error(text):
    with pytest.raises(SpecError):
        plan_from_toml(text)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(Plan.model_fields)), values)
def test_any_value_is_taken_or_a_typed_error(key, value):
    try:
        made = make_plan(LEAST | {key: value})
    except SpecError as error:
        assert key in str(error)  # noqa: PT017 (either outcome is right)
    else:
        assert plan_from_toml(write_plan(made)) == made


def test_a_plan_file_is_read(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    assert read_plan(path) == plan()
    assert read_plan(str(path)) == plan()


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"name = '\xff'", "expected text in UTF-8, got byte 0xff at 8"), (b"#" * (2**20 + 1), "at most 1048576 bytes")],
)
def test_a_file_that_is_no_text_is_an_error(tmp_path, data, expected):
    path = tmp_path / "plan.toml"
    path.write_bytes(data)
    with pytest.raises(SpecError, match=f"{path}: .*{expected}"):
        read_plan(path)


def test_a_missing_file_and_a_folder_are_errors(tmp_path):
    with pytest.raises(SpecError, match=r"cannot read .*plan\.toml: No such file"):
        read_plan(tmp_path / "plan.toml")
    with pytest.raises(SpecError, match=r"cannot read .*: Is a directory"):
        read_plan(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("jpeg", ["jpeg"]),
        ("a[b={1, 2},c={x,y}]", ["a[b=1,c=x]", "a[b=1,c=y]", "a[b=2,c=x]", "a[b=2,c=y]"]),
        (
            "{jpeg,bpg}+fec[bch,t={4,8}]",
            ["jpeg+fec[bch,t=4]", "jpeg+fec[bch,t=8]", "bpg+fec[bch,t=4]", "bpg+fec[bch,t=8]"],
        ),
        ("a[b={1}]", ["a[b=1]"]),
    ],
)
def test_lists_in_braces_are_written_out(text, expected):
    assert spread(text) == expected


@pytest.mark.parametrize("text", ["a[b={1,2]", "a[b=1}]", "a[b={{1,2}}]", "}{"])
def test_braces_that_do_not_match_are_an_error(text):
    with pytest.raises(SpecError, match="expected lists in braces"):
        spread(text)


def test_lists_that_explode_are_an_error():
    with pytest.raises(SpecError, match="at most 10000 spellings, got 16777216"):
        spread("a[" + "b={1,2,3,4,5,6,7,8}," * 8 + "]")


def test_rates_go_to_codecs_that_spell_none():
    codecs = ["jpeg", "jpeg[bpp=1]", "jpeg[quality=30]", "tracks", "turbo-ddcm[count=9]", "jpeg[quality=9]+fec[bch]"]
    made = plan(codecs=[*codecs, "jpeg+fec[bch]"], rates=[0.25, 0.5])
    assert list(made.all_codecs()) == [
        "jpeg[bpp=0.25]",
        "jpeg[bpp=0.5]",
        "jpeg[bpp=1]",
        "jpeg[quality=30]",
        "tracks[bpp=0.25]",
        "tracks[bpp=0.5]",
        "turbo-ddcm[count=9]",
        "jpeg[quality=9]+fec[bch,t=20,m=10]",
        "jpeg+fec[bch,t=20,m=10,bpp=0.25]",
        "jpeg+fec[bch,t=20,m=10,bpp=0.5]",
    ]


def test_a_good_plan_passes_the_check():
    check(plan(codecs=["jpeg", "tracks[protect={none,uep}]"], rates=[0.5], metrics=["lpips-alex"], frame="fit[64]"))
    check(plan(pictures=["kodak24", "photos/*.png", "./mine", "~/pictures"]))
    check(plan(pictures=["mine"]), known=["mine"])


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ({"codecs": ["jpgg"]}, UnknownNameError, "unknown codec 'jpgg'; did you mean 'jpeg'? known: avif"),
        ({"codecs": ["jpeg[qualty=3]"]}, SpecError, "jpeg has no parameter 'qualty'"),
        ({"codecs": ["jpeg[quality=300]"]}, SpecError, "jpeg: expected quality from 1 to 95, got 300"),
        ({"codecs": ["jpeg+fec[bhc]"]}, UnknownNameError, "unknown code 'bhc'; did you mean 'bch'?"),
        ({"codecs": ["jpeg[quality={3,3}]"]}, SpecError, "codecs: expected each once, got jpeg[quality=3] twice"),
        ({"codecs": ["jpeg", "jpeg[quality=75]"]}, SpecError, "codecs: expected each once, got jpeg twice"),
        ({"channels": ["bcs"]}, UnknownNameError, "unknown channel 'bcs'; did you mean 'bsc'?"),
        ({"channels": ["bsc[ber=2]"]}, SpecError, "bsc: expected ber from 0 to 1"),
        ({"channels": ["bsc[ber={0.01,1e-2}]"]}, SpecError, "channels: expected each once, got bsc[ber=0.01] twice"),
        ({"metrics": ["lpips-alexx"]}, UnknownNameError, "unknown metric 'lpips-alexx'; did you mean 'lpips-alex'?"),
        ({"pictures": ["kodak42"]}, UnknownNameError, "unknown data set 'kodak42'; did you mean 'kodak24'?"),
        ({"frame": "center[512]"}, UnknownNameError, "unknown frame 'center'; did you mean 'centre'?"),
        ({"frame": "centre[0]"}, SpecError, "frame: expected sides from 1 to 16383 pixels, got 0"),
        ({"rates": [1.0], "codecs": ["jpeg[quality=3]"]}, SpecError, "rates: expected a codec whose spelling sets no"),
    ],
)
def test_names_are_checked_before_anything_runs(values, kind, expected):
    with pytest.raises(kind) as error:
        check(plan(**values))
    assert expected in str(error.value)


def test_parts_of_a_plan_can_be_replaced():
    made = plan(rates=[0.5], trials=7, only=["astronaut"])
    assert reduce(made) == made
    smaller = reduce(
        made,
        codecs=["tracks"],
        channels=["bsc[ber=0]"],
        rates=[0.1],
        trials=1,
        metrics=["ms-ssim"],
        only=["chelsea"],
        frame="centre[64]",
    )
    assert smaller == plan(
        codecs=["tracks"],
        channels=["bsc[ber=0]"],
        rates=[0.1],
        trials=1,
        metrics=["ms-ssim"],
        only=["chelsea"],
        frame="centre[64]",
    )
    assert reduce(made, trials=Trials(least=1, most=4, until_db=1)).trials.limit == 4


def test_other_data_take_their_own_pictures():
    made = plan(only=["astronaut"])
    assert reduce(made, data=["kodak24"]) == plan(pictures=["kodak24"])
    assert reduce(made, data=["kodak24"], only=["01"]) == plan(pictures=["kodak24"], only=["01"])


def test_a_part_that_is_wrong_is_a_typed_error():
    with pytest.raises(SpecError, match=r"study a: rates\[1\]: expected above 0"):
        reduce(plan(), rates=[-1])


def test_a_missing_pydantic_says_how_to_get_it():
    code = (
        "import sys; sys.modules['pydantic'] = None\n"
        "from flipproof.errors import MissingExtraError\n"
        "from flipproof.study.preset import preset, presets\n"
        "assert 'quick' in presets()\n"
        "try: preset('quick')\n"
        "except MissingExtraError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "pydantic is not installed; run: pip install 'flipproof[study]'\n"


def test_importing_flipproof_does_not_import_what_studies_need():
    code = "import flipproof, sys; print([m for m in ('pydantic', 'tomllib', 'filelock') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_closest_name_is_offered_whatever_its_case():
    assert UnknownNameError("codec", "JPEG", ["jpeg", "bpg"]).closest == "jpeg"
    assert UnknownNameError("codec", "xyz", ["jpeg", "bpg"]).closest is None
    assert str(UnknownNameError("codec", "xyz", ["jpeg", "bpg"])) == "unknown codec 'xyz'; known: jpeg, bpg"
    assert UnknownNameError("codec", "j" * 10**6, ["jpeg"]).closest is None
