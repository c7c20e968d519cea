"""Studies of numbered names are found up to the first name that nobody has."""

from loratune.storage import queries
from loratune.storage.numbered import numbered


def name_of(number):
    return f"a.x{number}"


def test_a_free_first_name_is_all_there_is(store):
    assert list(numbered(store, name_of)) == [("a.x1", None)]


def test_each_study_comes_with_its_name_and_the_free_name_last(store, make_study):
    first, second = make_study(store, name="a.x1"), make_study(store, name="a.x2")
    make_study(store, name="a.x4")  # past a free name, so it does not belong to them
    found = list(numbered(store, name_of))
    assert [name for name, _ in found] == ["a.x1", "a.x2", "a.x3"]
    assert [None if one is None else one.id for _, one in found] == [first.id, second.id, None]


def test_a_name_of_optunas_tables_alone_is_passed_over(store, make_study, monkeypatch):
    study = make_study(store, name="a.x2")
    monkeypatch.setattr(queries, "optuna_has", lambda _, name: name == "a.x1")
    assert [(name, one and one.id) for name, one in numbered(store, name_of)] == [
        ("a.x2", study.id),
        ("a.x3", None),
    ]
