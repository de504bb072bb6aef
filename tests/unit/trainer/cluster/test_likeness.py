from trainer.cluster.likeness import Likeness, differences, likeness_of


def test_what_counts_of_a_machine_is_its_code_its_python_and_the_packages_that_are_named():
    found = likeness_of(("numpy", "no-such-package"), ("sklearn.svm.SVC", "trainer.errors.DataError"))
    assert set(found.packages) == {"python", "numpy", "no-such-package", "scikit-learn"}
    assert found.packages["no-such-package"] == "absent"
    assert found == likeness_of(("numpy", "no-such-package"), ("sklearn.svm.SVC",))
    assert differences(found, found) == ()


def test_a_module_of_the_projects_own_counts_by_its_content(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "ours_alone.py"
    file.write_text("class Own: ...\n")
    first = likeness_of((), ("ours_alone.Own",))
    file.write_text("class Own: pass\n")
    assert differences(first, likeness_of((), ("ours_alone.Own",))) != ()


def test_differences_name_what_it_is_there_and_here():
    here = Likeness("one", {"python": "3.11.2", "numpy": "2.4"})
    there = Likeness("two", {"python": "3.11.2", "numpy": "2.3", "more": "1"})
    assert differences(here, there) == ("Fieldloop's code two, here one", "numpy 2.3, here 2.4")
    assert differences(here, Likeness("one", {"python": "3.11.2"})) == ("numpy absent, here 2.4",)
