import dataclasses

import pytest
from loratune.errors import SpaceError
from loratune.spaces.choices import Choices
from loratune.spaces.dimensions import stored
from loratune.spaces.parse import build_space, configuration, dimension, load_space, parse_set
from loratune.spaces.presets import PRESETS

TINY = PRESETS["tiny"]


@pytest.fixture
def space_file(tmp_path):
    def write(text):
        path = tmp_path / "space.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("learning_rate=1e-5..2e-3:log", {"low": 1e-5, "high": 2e-3, "log": True}),
        ("learning_rate = 1e-5 .. 2e-3 : log ", {"low": 1e-5, "high": 2e-3, "log": True}),
        ("learning_rate=1e-5..2e-3:linear", {"low": 1e-5, "high": 2e-3, "log": False}),
        ("learning_rate=1E-4,.001,1e-5", {"choices": (1e-5, 1e-4, 1e-3)}),
        ("learning_rate=0.001", {"choices": (0.001,)}),
        ("lora_rank=8,16,32", {"choices": (8, 16, 32)}),
        (" lora_rank = 32 , 8 ", {"choices": (8, 32)}),
        ("batch_size=8", {"choices": (8,)}),
        ("batch_size=4..64", {"choices": (4, 8, 16, 32, 64)}),
        ("lora_rank=1..2:log", {"choices": (1, 2)}),
        ("lora_rank=8..8", {"choices": (8,)}),
        ("lora_alpha=16,32", {"choices": (16.0, 32.0)}),
        ("lora_target=q_proj, v_proj | all", {"choices": ("q_proj,v_proj", "all")}),
        ("lora_target=q_proj,v_proj", {"choices": ("q_proj,v_proj",)}),
        ("lr_scheduler_type=linear,cosine", {"choices": ("linear", "cosine")}),
    ],
)
def test_a_set_text_means_what_it_says(text, expected):
    assert parse_set(text) == stored(text.partition("=")[0].strip(), expected)


@pytest.mark.parametrize(
    ("text", "log"),
    [("learning_rate=1e-5..1e-3", True), ("warmup_ratio=0.01..0.2", False), ("weight_decay=0..0.1", False)],
)
def test_a_range_is_searched_in_log_by_itself_where_it_spans_a_hundredfold(text, log):
    assert parse_set(text).log is log


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"low": "1e-5", "high": 2e-3, "log": True}, {"low": 1e-5, "high": 2e-3, "log": True}),
        ({"low": 1e-5, "high": 2e-3}, {"low": 1e-5, "high": 2e-3, "log": True}),
        ({"low": 1e-5, "high": 2e-3, "log": False}, {"low": 1e-5, "high": 2e-3}),
        (["1e-5", 0.001], {"choices": (1e-5, 1e-3)}),
        (1, {"choices": (1.0,)}),
        ("1e-5..2e-3:log", {"low": 1e-5, "high": 2e-3, "log": True}),
    ],
)
def test_yaml_values_mean_the_same_as_texts(spec, expected):
    assert dimension("learning_rate", spec) == stored("learning_rate", expected)


def test_targets_in_a_list_hold_their_commas():
    assert dimension("lora_target", ["q_proj,v_proj", "all"]).choices == ("q_proj,v_proj", "all")


def test_a_file_goes_over_the_preset_then_the_settings_then_the_sets(space_file):
    path = space_file("learning_rate: 1e-4..1e-3:log\nlora_rank: [4, 8]\nbatch_size: 8\nlora_alpha: 16\n")
    space = build_space(TINY, path, ["lora_rank=32"], {"lora_rank": 2, "batch_size": [4, 16]})
    assert dict(space.describe()) == {
        "learning_rate": "0.0001 to 0.001, log scale",
        "batch_size": "4, 16",
        "lora_rank": "32 (fixed)",
        "lora_alpha": "16 (fixed)",
        "warmup_ratio": "0 to 0.1",
    }


def test_without_words_of_the_user_the_space_is_the_presets():
    assert build_space(TINY, None, []) == TINY.space


def test_a_file_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbflora_rank: 8\n")
    assert load_space(path) == (Choices(name="lora_rank", choices=(8,)),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lora_rank: [8, 0]", "lora_rank[1]: 0 is not a whole number from 1 to 65536"),
        ("lora_rnk: 8", "'lora_rnk': not a parameter that can be searched (did you mean 'lora_rank'?)"),
        ("learning_rate: {low: 1, hihg: 2}", "learning_rate.hihg: is not known here (did you mean 'high'?)"),
        ("learning_rate: {low: .nan, high: 2}", "learning_rate.low: nan is not a finite number"),
        ("learning_rate: {low: 1e-5, high: 1e-3, log: 1}",
         "learning_rate.log: 1 is neither true nor false"),
        ("learning_rate: 1\nlearning_rate: 2", "line 2: not valid YAML: 'learning_rate' is given twice"),
        ("a: b\nc: [1,\n", "line 3: not valid YAML: expected the node content, but found '<stream end>'"),
        ("a: 1\nb: \x07", "line 2: not valid YAML: special characters are not allowed"),
        ("- 8", "holds [8]; write lines such as 'lora_rank: [8, 16]'"),
        ("8: 8", "8: is not a name; write lines such as 'lora_rank: [8, 16]'"),
        ("", "is empty; write lines such as 'lora_rank: [8, 16]'"),
        ("[" * 3000, "not valid YAML: nested too deeply"),
        ("x: !!python/object/apply:os.system [ls]",
         "line 1: not valid YAML: could not determine a constructor for the tag "
         "'tag:yaml.org,2002:python/object/apply:os.system'"),
        ("lora_alpha: 8\nlora_alpha_ratio: 2",
         "lora_alpha: cannot be given beside lora_alpha_ratio; give one of them"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_by_file_and_field(space_file, text, message):
    path = space_file(text)
    with pytest.raises(SpaceError) as caught:
        load_space(path)
    assert str(caught.value) == f"{path}: {message}"


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none.yaml", tmp_path / "nul\0.yaml"):
        with pytest.raises(SpaceError, match="cannot be read"):
            load_space(path)
    (tmp_path / "big.yaml").write_text("a: 1\n" * 250_000)
    with pytest.raises(SpaceError, match="larger than 1 MB"):
        load_space(tmp_path / "big.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9t\xe9\n")
    with pytest.raises(SpaceError, match="byte 3 is not UTF-8"):
        load_space(tmp_path / "latin.yaml")


def test_of_two_texts_for_one_parameter_the_last_counts():
    space = build_space(TINY, None, ["lora_rank=4,8", "batch_size=8", "lora_rank=16"])
    assert space["lora_rank"].choices == (16,)
    assert space["batch_size"].choices == (8,)


def test_a_wrong_value_under_set_names_its_path():
    with pytest.raises(SpaceError, match=r"^set\.lora_rank: 0 is not"):
        build_space(TINY, None, [], {"lora_rank": 0})


def test_a_configuration_is_read_with_its_texts_and_its_ratio():
    params = configuration(
        {
            "learning_rate": "1e-4",
            "batch_size": 8,
            "lora_rank": 8,
            "lora_alpha_ratio": 2,
            "lora_target": "q_proj",
        }
    )
    assert (params.learning_rate, params.lora_alpha, params.lora_target) == (1e-4, 16.0, "q_proj")


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"learning_rate": 1e-4, "batch_size": 8, "lora_rank": [8, 16], "lora_alpha": 8}, "lora_rank"),
        ({"learning_rate": 1e-4, "batch_size": 8, "lora_alpha_ratio": 8}, "lora_rank"),
        ({"learning_rate": 1e-4, "batch_size": 8, "lora_rank": 8}, "lora_alpha"),
        ({"lr": 1e-4}, "'lr'"),
    ],
)
def test_a_configuration_that_is_not_one_is_refused(values, name):
    with pytest.raises(SpaceError, match=f"^{name}: "):
        configuration(values)


@pytest.mark.parametrize(
    ("values", "rank", "alpha"),
    [
        ({}, 16, 32.0),
        ({"lora_rank": 4}, 4, 8.0),
        ({"lora_alpha": 4}, 16, 4.0),
        ({"lora_alpha_ratio": 1}, 16, 16.0),
    ],
)
def test_what_a_configuration_leaves_out_is_as_in_another_and_alpha_follows_the_rank(values, rank, alpha):
    params = configuration(values, TINY.default)
    expected = dataclasses.replace(TINY.default, lora_rank=rank, lora_alpha=alpha)
    assert params == expected


@pytest.mark.parametrize(
    ("spec", "values"),
    [("true", (True,)), ("true,false", (True, False)), (False, (False,)), ([False, True], (False, True))],
)
def test_a_switch_is_written_as_true_and_false(spec, values):
    assert dimension("use_rslora", spec).values == values


def test_a_switch_takes_no_number_and_no_other_word():
    for spec in ("yes", "1", 1, [True, 1]):
        with pytest.raises(SpaceError, match=r"use_rslora(\[1\])?: .* is neither true nor false"):
            dimension("use_rslora", spec)


def test_an_enqueued_configuration_keeps_the_ratio_also_under_rslora():
    rest = TINY.default
    found = configuration({"use_rslora": True, "lora_rank": 4}, rest)
    assert (found.lora_alpha, found.use_rslora) == (8.0, True)
    assert configuration({"lora_rank": 8}, found).lora_alpha == 16.0
