"""Every plan that comes with flipproof is one that can run."""

from __future__ import annotations

import re

import pytest

from flipproof import registry
from flipproof.errors import UnknownNameError
from flipproof.study.dataset import catalogue
from flipproof.study.plan import Plan, Trials, check, plan_from_toml, spread, write_plan
from flipproof.study.preset import TEMPLATE, preset, preset_text, presets, summary

ALL = [*presets(), TEMPLATE]
PUBLISHED_RATES = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


@pytest.mark.parametrize("name", ALL)
def test_all_codecs_and_channels_can_be_built(name):
    plan = preset(name)
    check(plan)
    assert len(plan.all_codecs()) >= sum(len(spread(text)) for text in plan.codecs)
    assert len(plan.all_channels()) == sum(len(spread(text)) for text in plan.channels)
    assert "bsc[ber=0]" in plan.all_channels()
    assert plan_from_toml(write_plan(plan)) == plan


@pytest.mark.parametrize("name", presets())
def test_a_preset_is_called_like_its_file_and_says_what_it_is_for(name):
    assert preset(name).name == name
    assert summary(name).endswith(".")
    assert 20 < len(summary(name)) <= 120


@pytest.mark.parametrize("name", ALL)
def test_texts_fit_a_terminal(name):
    lines = preset_text(name).splitlines()
    assert all(len(line) <= 140 for line in lines)
    assert lines[0].startswith("# ")


def test_an_unknown_preset_is_an_error():
    with pytest.raises(
        UnknownNameError, match="unknown study 'qiuck'; did you mean 'quick'\\? known: bursts, channels"
    ):
        preset("qiuck")
    with pytest.raises(UnknownNameError):
        preset_text("../plan")


def test_the_template_explains_every_key():
    text = preset_text(TEMPLATE)
    keys = re.findall(r"^(\w+) = ", text, re.MULTILINE)
    assert keys == list(
        dict.fromkeys(["name", "seed", "pictures", "only", "frame", "codecs", "rates", "channels", "trials", *keys])
    )
    assert set(keys) == set(Plan.model_fields)
    for key in keys:
        assert re.search(rf"^# .*\n{key} = ", text, re.MULTILINE), key
    alternative = re.search(r"^#   trials = (\{.*\})$", text, re.MULTILINE)
    assert alternative
    trials = plan_from_toml(re.sub(r"^trials = 3$", f"trials = {alternative[1]}", text, flags=re.MULTILINE)).trials
    assert trials == Trials(least=3, most=100, until_db=0.2, until_failures=50)


def test_the_template_names_all_data_sets_and_metrics():
    text = preset_text(TEMPLATE)
    for name in [*catalogue.names(), *registry.names("metrics")]:
        assert re.search(rf"\b{name}\b", text, re.IGNORECASE), name


def test_the_demo_needs_nothing_from_elsewhere():
    plan = preset("quick")
    assert plan.pictures == ("bundled",)
    assert plan.metrics == ("psnr",)
    assert list(plan.all_codecs()) == [
        "trellis[bpp=0.25]",
        "robust-turbo-ddcm[bpp=0.25]",
        "turbo-ddcm[bpp=0.25]",
        "jpeg[bpp=0.5]",
    ]


def test_the_paper_is_measured_as_its_authors_did():
    plan = preset("paper")
    assert plan.pictures == ("kodak24", "div2k-valid")
    assert plan.frame == "centre[512]"
    assert plan.trials == Trials(least=10)
    assert set(plan.metrics) == {"psnr", "lpips-alex"}
    assert plan.all_channels() == tuple(str(registry.channel(f"bsc[ber={rate}]")) for rate in PUBLISHED_RATES)
    names = [codec.name for codec in plan.all_codecs().values()]
    assert set(names) == {
        "jpeg", "bpg", "ms-illm", "stablecodec", "diffc", "ddcm", "turbo-ddcm", "robust-turbo-ddcm", "trellis",
    }  # fmt: skip
    large = [codec for codec in plan.all_codecs().values() if "stable-diffusion" in str(codec)]
    settings = {codec.name: codec.get_config() for codec in large}
    assert set(settings) == {"diffc", "ddcm", "turbo-ddcm", "robust-turbo-ddcm"}
    ddcm = settings["ddcm"]
    assert [ddcm[key] for key in ("steps", "atoms", "count", "coefficient_bits")] == [1000, 8192, 2, 3]
    for name, count in (("turbo-ddcm", 114), ("robust-turbo-ddcm", 73)):
        assert [settings[name][key] for key in ("steps", "atoms", "count")] == [30, 16384, count]
    assert settings["diffc"]["bpp"] == 0.1


def test_codes_are_compared_at_equal_rates():
    plan = preset("fec")
    codecs = list(plan.all_codecs())
    assert all(codec.endswith("bpp=0.5]") for codec in codecs)
    bare = [
        codec.replace("bpp=0.5", "").replace(",]", "]").removesuffix("[]") for codec in codecs if "+fec" not in codec
    ]
    behind = {codec.partition("+fec")[0] for codec in codecs if "+fec" in codec}
    assert set(bare) - {"trellis"} == behind
    assert {codec.partition("+fec[")[2].partition(",bpp")[0] for codec in codecs if "+fec" in codec} == {
        "bch,t=8,m=10",
        "bch,t=24,m=10",
        "ldpc,data=512,parity=512,ber=0.05,iterations=40",
    }
